"""Ids of effects: the same for the same verdict, whoever noticed it, in any run and any version (engine.md §1)."""

from functools import lru_cache
from typing import Final

import uuid_utils

from schemas.handles import NAMESPACE

__all__ = ["effect_id"]

_IDS_CACHED_MAX: Final = 4096
_NAMESPACE: Final = uuid_utils.UUID(bytes=NAMESPACE.bytes)


@lru_cache(maxsize=_IDS_CACHED_MAX)
def effect_id(*parts: str | int) -> str:
    """Return the UUIDv5 of what names an effect: projection, conversation and home, kind, metric or rule, instance, turn."""
    return str(uuid_utils.uuid5(_NAMESPACE, "\0".join(map(str, parts))))
