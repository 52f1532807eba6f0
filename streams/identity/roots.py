"""Whose each handle is, as far as this process knows: what the resolver asks for every record. A bounded memory of claims that were followed.

What was read is believed for a while: 5 s where a handle was nobody's else, since the next event may link it; 60 s where it was linked.
Whoever believes it too long sends a record to the customer who was linked away, and it is copied on from there (log.md §5).
Must not read or change a claim itself.
"""

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Final

import msgspec

from streams.identity.claim import Name, Way

__all__ = ["LINKED_S", "SINGLE_S", "Rooted", "Roots"]

ENTRIES_MAX: Final = 100_000
SINGLE_S: Final = 5.0
LINKED_S: Final = 60.0


class Rooted(msgspec.Struct, frozen=True, gc=False):
    """Whose a handle is: `home` its own provisional customer, `customer` the root, `root` that one's home handle.

    `is_whole`: nothing is left to be done about its claims. Believed until `until_s`, of the clock of `Roots`.
    """

    home: str
    customer: str
    root: Name
    is_whole: bool
    until_s: float


class Roots:
    """A memory of `entries_max` handles, and of as many pairs of customers who are to stay two; what was learned longest ago goes first.

    `clock_s` tells the time by which things are forgotten; one that stands still forgets nothing (for a process that is alone).
    """

    def __init__(self, *, entries_max: int = ENTRIES_MAX, clock_s: Callable[[], float] = monotonic) -> None:
        self._max = entries_max
        self._clock_s = clock_s
        self._now_s = clock_s()
        self._known: dict[Name, Rooted] = {}
        self._apart: dict[tuple[str, str], float] = {}
        self.get = self._known.get
        """Return what is known of a handle (a `Name`, or a plain tuple that equals it), however old; None if nothing is. Hot path."""

    def stale(self, names: Iterable[Name]) -> list[Name]:
        """Return those of whom nothing is known, or nothing fresh enough; each once. Hot path: 0.1 µs a handle."""
        now_s = self._now_s = self._clock_s()
        known = self._known
        return [name for name in dict.fromkeys(names) if (found := known.get(name)) is None or found.until_s < now_s]

    def keep(self, ways: Iterable[tuple[Name, Way]]) -> None:
        """Remember what came of following these handles."""
        now_s = self._now_s = self._clock_s()
        for name, way in ways:
            home, end = way.claims[0], way.end
            self._known.pop(name, None)
            lasting_s = SINGLE_S if len(way.claims) == 1 else LINKED_S
            self._known[name] = Rooted(home.own, end.own, end.name, way.is_whole, now_s + lasting_s)
        _shorten(self._known, self._max)

    def forget(self, names: Iterable[Name]) -> None:
        """Forget handles: their claims have changed."""
        for name in names:
            self._known.pop(name, None)

    def set_apart(self, one: str, other: str) -> None:
        """Remember that two customers are to stay two, for a while: somebody may decide otherwise."""
        pair = _pair(one, other)
        self._apart.pop(pair, None)
        self._apart[pair] = self._clock_s() + LINKED_S
        _shorten(self._apart, self._max)

    def is_apart(self, one: str, other: str) -> bool:
        """Tell whether two customers are known to stay two."""
        return self._apart.get(_pair(one, other), -1.0) >= self._now_s

    def __len__(self) -> int:
        return len(self._known)


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)


def _shorten(entries: dict[Name, Rooted] | dict[tuple[str, str], float], most: int) -> None:
    while len(entries) > most:
        del entries[next(iter(entries))]  # type: ignore[arg-type] # a key of its own
