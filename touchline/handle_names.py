"""Handles as people write them at this machine: `phone:+49301234567` becomes the kind and hash by which the tables know it."""

from typing import Final, get_args

from schemas.events import HandleKind
from schemas.handles import handle_hash, normalise
from streams.control_topic import KnownBy
from touchline.errors import Refused
from touchline.key_service import index_keys, require_keys
from touchline.settings import Settings

__all__ = ["handle_named"]

_KINDS: Final[tuple[HandleKind, ...]] = get_args(HandleKind)


def handle_named(settings: Settings, tenant: str, written: str) -> KnownBy:
    """Return the handle of a tenant that is written `KIND:VALUE`.

    Raises `Refused` for another form or a value that is none of its kind, never repeating it; `Misconfigured` without a key file.
    """
    given, colon, value = written.partition(":")
    kind = next((known for known in _KINDS if known == given.strip().lower()), None)
    if not colon or kind is None or not value.strip():
        raise Refused("A handle is written KIND:VALUE.", reason="handle_form", next_step=f"write phone:+49301234567; kinds: {', '.join(_KINDS)}.")
    normal = normalise(kind, value, settings.default_region, settings.subaddressed)
    require_keys(settings, "to the one that the importer uses")
    return KnownBy(kind, handle_hash(index_keys(settings).of(tenant), kind, normal))
