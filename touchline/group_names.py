"""How commands name a version of a group: `care@2`, or `care` where the command finds the version itself."""

import re
from typing import Final

from touchline.errors import Refused

__all__ = ["named"]

_FORM: Final = re.compile(r"([a-z][a-z0-9_]{0,39})(?:@v?([1-9][0-9]{0,5}))?")


def named(text: str) -> tuple[str, int | None]:
    """Return (group, version or None). Raises `Refused` for another form.

    >>> named("care@2"), named("view")
    (('care', 2), ('view', None))
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise Refused(f"{text[:60]!r} names no version of a group.", reason="version_form", next_step="write care@2, or care.")
    return found[1], None if found[2] is None else int(found[2])
