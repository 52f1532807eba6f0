"""Values that name nobody: withheld numbers, trunk lines, test addresses. One file, `KIND:VALUE` a line.

`#` begins a comment, at the beginning of a line or behind a space.

They are normalised as every handle is, so a number may be written as people write it. What is read is personal at worst (a number that
somebody once had), so no error repeats a value: lines are named by their numbers.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Final, get_args

from schemas.events import HandleKind
from schemas.handles import normalise
from touchline.errors import Misconfigured, Refused

__all__ = ["read_blocked"]

_LINES_MAX: Final = 100_000
_BYTES_MAX: Final = 16 * 2**20
_TOLD_MAX: Final = 10
_COMMENT: Final = re.compile(r"(^|\s)#.*")
_KINDS: Final[dict[str, HandleKind]] = {kind: kind for kind in get_args(HandleKind)}


def read_blocked(path: Path | None, region: str, subaddress_domains: Collection[str] = ()) -> frozenset[tuple[HandleKind, str]]:
    """Return (kind, normalised value) of every line of the file; nothing without one. Raises `Misconfigured` naming the lines that are wrong."""
    if path is None:
        return frozenset()
    try:
        if path.stat().st_size > _BYTES_MAX:
            raise Misconfigured(f"{path} is larger than {_BYTES_MAX} bytes.", next_step="keep only the values that many people come by.")
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(
            f"{path} cannot be read ({type(error).__name__}).", next_step="correct TOUCHLINE_BLOCKED_HANDLES, or save the file as UTF-8."
        ) from None
    if len(lines) > _LINES_MAX:
        raise Misconfigured(f"{path} has {len(lines)} lines, more than {_LINES_MAX}.", next_step="keep only the values that many people come by.")
    found: set[tuple[HandleKind, str]] = set()
    wrong: list[int] = []
    for number, line in enumerate(lines, 1):
        text = _COMMENT.sub("", line).strip()
        if not text:
            continue
        kind, _, value = text.partition(":")
        try:
            known = _KINDS[kind.strip().lower()]
            found.add((known, normalise(known, value, region, subaddress_domains)))
        except (KeyError, Refused):
            wrong.append(number)
    if wrong:
        told = ", ".join(map(str, wrong[:_TOLD_MAX])) + (f" and {len(wrong) - _TOLD_MAX} more" if len(wrong) > _TOLD_MAX else "")
        raise Misconfigured(
            f"{path}: line {told} names no handle.", next_step=f"write KIND:VALUE, as phone:+49 30 123456; kinds: {', '.join(sorted(_KINDS))}."
        )
    return frozenset(found)
