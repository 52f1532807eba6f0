"""Searches bytes for texts in every form in which they could be readable: as they are, in capitals, UTF-16, hex, base64.

A text stands for all that begin with it: who plants a thousand markers with one rare beginning searches for the beginning, and
so finds each of them, even cut off or with its number packed away by a compressor. `bytes.find` goes over 100 MB in seconds.
"""

import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Hit", "Search", "Searched", "cells", "files", "forms"]

_AROUND = 40
_BASE64_GROUP = 3


class Hit(NamedTuple):
    """A text that was found: in which form, where, between what."""

    text: str
    form: str
    where: str
    around: bytes


class Searched(NamedTuple):
    """What a search came to: the first hit of each text and form in each place, and how many bytes it went through, by place."""

    hits: list[Hit]
    sizes: dict[str, int]
    took_s: float

    def of(self, *texts: str) -> list[Hit]:
        """Return the hits of these texts."""
        return [hit for hit in self.hits if hit.text in texts]

    def places_of(self, text: str) -> set[str]:
        """Return where this text was found."""
        return {hit.where for hit in self.of(text)}

    def __str__(self) -> str:
        return f"{len(self.sizes)} places, {sum(self.sizes.values()) / 1e6:.1f} MB in {self.took_s:.1f} s, {len(self.hits)} hits"


class Search:
    """A search for some texts at once."""

    def __init__(self, *texts: str) -> None:
        self._patterns = [(pattern, text, form) for text in texts for form, pattern in forms(text).items()]

    def over(self, places: Iterable[tuple[str, bytes | bytearray]]) -> Searched:
        """Go through all places, each a name and its bytes."""
        hits: list[Hit] = []
        sizes: dict[str, int] = {}
        took_s = 0.0
        for where, data in places:
            began = time.monotonic()
            for pattern, text, form in self._patterns:
                if (at := data.find(pattern)) >= 0:
                    hits.append(Hit(text, form, where, bytes(data[max(0, at - _AROUND) : at + _AROUND])))
            sizes[where] = len(data)
            took_s += time.monotonic() - began
        return Searched(hits, sizes, took_s)


def forms(text: str) -> dict[str, bytes]:
    """Return what a text looks like in each form; of base64 the part that does not depend on what stands around it."""
    found: dict[bytes, str] = {}

    def add(pattern: bytes, name: str) -> None:
        found.setdefault(pattern, name)

    for name, form in {"": text, "capitals ": text.upper()}.items():
        plain = form.encode()
        add(plain, f"{name}utf-8")
        add(form.encode("utf-16-le"), f"{name}utf-16-le")
        add(form.encode("utf-16-be"), f"{name}utf-16-be")
        add(plain.hex().encode(), f"{name}hex")
        add(plain.hex().upper().encode(), f"{name}hex in capitals")
        for shift in range(_BASE64_GROUP):
            first, after = -(-shift * 8 // 6), (shift + len(plain)) * 8 // 6
            add(b64encode(bytes(shift) + plain)[first:after], f"{name}base64 +{shift}")
            add(urlsafe_b64encode(bytes(shift) + plain)[first:after], f"{name}base64url +{shift}")
    return {name: pattern for pattern, name in found.items()}


def cells(value: Any) -> Iterator[bytes]:
    """Return all bytes of a value of a store: of texts, numbers, blobs, and of whatever holds them."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, str):
        yield value.encode()
    elif isinstance(value, Mapping):
        for item in value.items():
            yield from cells(item)
    elif hasattr(value, "__iter__"):
        for item in value:
            yield from cells(item)
    elif value is not None:
        yield str(value).encode()


def files(folder: Path, pattern: str = "*") -> Iterator[tuple[str, bytes]]:
    """Read every file below a folder whose name fits; the name of the place is its path from there."""
    for path in sorted(folder.rglob(pattern)):
        if path.is_file() and not path.is_symlink():
            yield str(path.relative_to(folder)), path.read_bytes()
