"""The timers of one subject: what is armed, when each expires, which is next. Values only; who notices it is `streams/waking.py`.

They are stored with the subject (static column `timers` of the state table), so they are as true as its states.
"""

from typing import Final, NamedTuple

import msgspec

from streams.store.port import StateRow
from streams.ties import Ties

__all__ = ["EXPIRIES_MAX", "NEVER_US", "ArmedTimers", "Due", "Expiry", "held", "next_of"]

NEVER_US: Final = 2**63 - 1
"""The expiry moment of what is not armed."""

EXPIRIES_MAX: Final = 10_000
"""More timers than this never expire before one record: a projection that arms for ever parks its customer."""

_Stored = list[tuple[str, str, int, int]]
_decode = msgspec.msgpack.Decoder(_Stored).decode
_encode = msgspec.msgpack.Encoder().encode


class Expiry(NamedTuple):
    """One armed timer, in the order in which timers expire."""

    expires_us: int
    due_us: int
    name: str
    projection: str


class Due(NamedTuple):
    """What the driver is told of a subject whose earliest timer is another one than it knew.

    It forgets the expiry moment `was_us` (-1: it knew none) and remembers `next`, unless that is None. Unless it is
    `indexed`, a row of the index is to be written, at `ts_us`.
    """

    tenant: str
    subject: str
    was_us: int
    next: Expiry | None
    indexed: bool
    ts_us: int


class ArmedTimers:
    """Timers by (projection, name), each with (due, expiry moment). `next_us` is the earliest expiry moment, or `NEVER_US`.

    Hot path: arming costs 0.4 µs. `changed` says whether `blob`, what was last stored, is out of date.
    """

    __slots__ = ("_armed", "blob", "changed", "indexed_us", "next_us", "told_us")

    def __init__(self, blob: bytes = b"") -> None:
        self.blob = blob
        self._armed: dict[tuple[str, str], tuple[int, int]] = {}
        self.changed = False
        self.next_us = NEVER_US
        if blob:
            self.restore()
        self.told_us = -1 if blob else NEVER_US
        """What the driver knows."""
        self.indexed_us = self.next_us
        """What the index has."""

    def __len__(self) -> int:
        return len(self._armed)

    def restore(self) -> None:
        """Go back to what was last stored."""
        self._armed = {(p, name): (due, x) for p, name, due, x in _decode(self.blob)} if self.blob else {}
        self.changed = False
        self._find_next()

    def arm(self, projection: str, name: str, due_us: int, expires_us: int) -> None:
        """Arm a timer, or move it; one that is armed for the same due time keeps its expiry moment."""
        key = (projection, name)
        old = self._armed.get(key)
        if old is not None and old[0] == due_us:
            return
        self._armed[key] = (due_us, expires_us)
        self.changed = True
        if expires_us <= self.next_us:
            self.next_us = expires_us
        elif old is not None and old[1] == self.next_us:
            self._find_next()

    def disarm(self, projection: str, name: str) -> None:
        """Disarm a timer; nothing happens if it is not armed."""
        old = self._armed.pop((projection, name), None)
        if old is not None:
            self.changed = True
            if old[1] == self.next_us:
                self._find_next()

    def earliest(self) -> Expiry | None:
        """Return the timer that expires next: of those of one moment that with the earlier due time, then by name."""
        if not self._armed:
            return None
        next_us = self.next_us
        return min(Expiry(x, due, name, projection) for (projection, name), (due, x) in self._armed.items() if x == next_us)

    def encode(self) -> bytes:
        """Return what is stored: MessagePack, in a fixed order; empty if nothing is armed."""
        return _encode(sorted((p, name, due, x) for (p, name), (due, x) in self._armed.items())) if self._armed else b""

    def stored(self, blob: bytes | None) -> None:
        """Note that what is armed is stored, as `blob`, or as it was."""
        if blob is not None:
            self.blob = blob
        self.changed = False

    def to_tell(self, tenant: str, subject: str, ts_us: int, held_until_us: int = 0) -> Due | None:
        """Return what the driver must be told, None if it knows; it knows afterwards. While timers are held the next expires when that ends."""
        next_us = max(self.next_us, held_until_us)
        if next_us == self.told_us:
            return None
        was_us = -1 if self.told_us == NEVER_US else self.told_us
        due = Due(tenant, subject, was_us, held(self.earliest(), held_until_us), next_us == self.indexed_us, ts_us)
        self.told_us = next_us
        self.indexed_us = next_us
        return due

    def to_tell_again(self, tenant: str, subject: str, ts_us: int) -> Due | None:
        """Return what makes the driver forget what it was told, after a wake-up that did nothing; None if it was told nothing."""
        if self.told_us in (-1, NEVER_US):
            return None
        due = Due(tenant, subject, self.told_us, None, True, ts_us)  # noqa: FBT003 - a tuple
        self.told_us = NEVER_US
        return due

    def _find_next(self) -> None:
        self.next_us = min([x for _, x in self._armed.values()], default=NEVER_US)


def held(expiry: Expiry | None, until_us: int) -> Expiry | None:
    """Return what expires next of a subject whose timers are held up to this moment."""
    return expiry if expiry is None or expiry.expires_us >= until_us else expiry._replace(expires_us=until_us)


def next_of(row: StateRow | None) -> Expiry | None:
    """Return what expires next of a subject that was read from the store."""
    if row is None or not row.timers:
        return None
    ties = Ties.decoded(row.ties)
    return held(ArmedTimers(row.timers).earliest(), 0 if ties is None else ties.held_until_us)
