"""The ties of one subject: to whom it is linked, whose records were copied to it, and for whom its timers are held. Values only; log.md §5.

    identity.linked, under both    P: `to` is C.             C: P is linked here, a run of copies from P is open
    a copy, under C                C: taken once; what it was taken from, and up to where; opens a run if none is open
    identity.copied, under C       C: the run is over
    identity.unlinked, under both  P: `to` is nobody.        C: P is gone; what still comes here of its home is handed on to it

While a run is open no timer of the subject expires, for at most `HOLD_US`: the answer that is on its way must be in time. All of it follows
from the subject's own log, so every group and version, live and in a replay, has the same ties. Stored with the subject (static column
`ties` of the state table); nobody's are the empty blob, and cost nothing.
"""

from typing import Final, Self, TypeVar

import msgspec

from projections.kernel import Subject
from schemas.events import IdentityCopied, IdentityLinked, IdentityUnlinked

__all__ = ["COPIES_KEPT", "HOLD_US", "RANGES_MAX", "TIED_MAX", "Ties"]

HOLD_US: Final = 60_000_000
"""How long a run of copies may hold the subject's timers, of log time from its beginning: a copier that died must not silence alerts."""

COPIES_KEPT: Final = 128
"""Copies that a subject remembers by their hashes, as it does the records that came directly."""

TIED_MAX: Final = 1024
"""Customers of each sort that are remembered, the ones of longest ago forgotten first: more than any that the limits of linking allow."""

RANGES_MAX: Final = 8
"""Ranges of offsets that are remembered of an origin: more than two are there only where links are made and undone faster than they are read."""

HANDED_MAX: Final = 64
"""Records that are remembered of those that were handed on to one who is gone: only what comes within a minute or so comes so."""

_HASH_BYTES: Final = 8

T = TypeVar("T")


class Ties(msgspec.Struct, array_like=True):
    """What ties a subject to other customers. Mutable; the engine owns it.

    `to` is whom it is linked to ("" nobody), as of `turn`; the record at the offset `at` asked for all before it to be copied there.
    `origins` holds, by the customer from whom they were copied, from which offset to which copies were met: (low, high) one behind the
    other, the last pair the one that grows. `linked` are the customers who are linked here and `gone` those who were unlinked, each with
    the turn that says so. `runs` are the runs of copies that are open, each since when (µs). `copies` are the hashes of the last copies.
    `handed` holds, by who is gone, at which offset all of it was given back or handed on, and those of the records handed on since he is gone.
    """

    to: str = ""
    turn: int = -1
    origins: dict[str, list[int]] = {}
    linked: dict[str, int] = {}
    gone: dict[str, int] = {}
    runs: dict[str, int] = {}
    copies: bytes = b""
    at: int = -1
    handed: dict[str, list[int]] = {}

    @classmethod
    def decoded(cls, blob: bytes) -> Self | None:
        """Return what was stored; None for nothing."""
        return _decode(blob) if blob else None  # type: ignore[return-value]  # this class is never subclassed

    def encoded(self) -> bytes:
        """Return what is stored; empty if there are no ties."""
        return b"" if self == _NOTHING else _encode(self)

    # -- what a subject asks ------------------------------------------------------------------------------------------

    def takes(self, origin: str, origin_offset: int) -> bool:
        """Tell whether a copy is a new one by the place from where it was copied: a run that was cut off is repeated from its beginning."""
        met = self.origins.get(origin, ())
        return not any(low <= origin_offset <= high for low, high in zip(met[::2], met[1::2], strict=True))

    def knows(self, hashed: bytes) -> bool:
        """Tell whether a record with this hash is among the last copies."""
        at = self.copies.find(hashed)
        while at >= 0 and at % _HASH_BYTES:
            at = self.copies.find(hashed, at + 1)
        return at >= 0

    @property
    def held_until_us(self) -> int:
        """Up to when (inclusive) no timer expires; 0 if none is held."""
        return max(self.runs.values()) + HOLD_US if self.runs else 0

    # -- what happens to it -------------------------------------------------------------------------------------------

    def passed(self, origin: str, origin_offset: int) -> None:
        """Note that a copy was met.

        Between it and the one before there is none: runs go up. One that begins below is the run of a link that was made again: what
        came before it was still on its way from the first.
        """
        if not self.takes(origin, origin_offset):
            return
        met = self.origins.get(origin, [])
        low, high = met[-2:] or (origin_offset, origin_offset)
        if origin_offset < low:
            _put(self.origins, origin, [*met, origin_offset, origin_offset][-2 * RANGES_MAX :])
            return
        others = [one for one in zip(met[:-2:2], met[1:-2:2], strict=True) if one[0] > origin_offset or one[1] < low]
        _put(self.origins, origin, [*(end for one in others for end in one), low, max(high, origin_offset)])

    def took(self, origin: str, origin_offset: int, hashed: bytes, now_us: int) -> None:
        """Note a copy that was taken; `now_us` is the subject's clock."""
        self.passed(origin, origin_offset)
        self.copies = (self.copies + hashed)[-COPIES_KEPT * _HASH_BYTES :]
        if origin not in self.runs:
            _put(self.runs, origin, now_us)

    def hand_on(self, home: str, offset: int) -> None:
        """Note that a record of one who is gone was handed on to him, whoever does it."""
        asked, *handed = self.handed.get(home, (offset,))
        if offset not in handed:
            self.handed[home] = [asked, *[*handed, offset][-HANDED_MAX:]]

    def link(self, subject: Subject, event: IdentityLinked, now_us: int, offset: int) -> bool:
        """Take a link in, under either customer; tell whether it says anything new. `now_us` is the subject's clock, `offset` the record's."""
        if event.from_ == event.to:
            return False
        if event.from_ == subject.id:
            if event.turn < self.turn:
                return False
            self.to, self.turn, self.at = event.to, event.turn, offset
        elif event.to == subject.id:
            if event.turn < max(self.linked.get(event.from_, -1), self.gone.get(event.from_, -1)):
                return False
            for known in (self.gone, self.handed):
                known.pop(event.from_, None)
            _put(self.linked, event.from_, event.turn)
            _put(self.runs, event.from_, now_us)
        else:
            return False
        return True

    def complete(self, subject: Subject, event: IdentityCopied) -> bool:
        """Take in that a run of copies is over; tell whether one was open."""
        return event.to == subject.id and self.runs.pop(event.from_, None) is not None

    def unlink(self, subject: Subject, event: IdentityUnlinked, offset: int) -> bool:
        """Take in that a link was undone, under either customer; tell whether it says anything new.

        Of whom was unlinked from here nothing stays but that he is gone: linked again, he is copied again from the beginning.
        """
        if event.from_ == event.to:
            return False
        if event.from_ == subject.id:
            if event.turn < self.turn:
                return False
            self.to, self.turn, self.at = event.back, event.turn, offset
        elif event.to == subject.id:
            if event.turn < max(self.linked.get(event.from_, -1), self.gone.get(event.from_, -1)):
                return False
            self.origins.pop(event.from_, None)
            for known in (self.linked, self.runs):
                known.pop(event.from_, None)
            _put(self.gone, event.from_, event.turn)
            _put(self.handed, event.from_, [offset])
        else:
            return False
        return True


def _put(known: dict[str, T], customer: str, value: T) -> None:
    """Note a value of a customer, as the newest of all; the oldest is forgotten above the limit."""
    known.pop(customer, None)
    known[customer] = value
    if len(known) > TIED_MAX:
        del known[next(iter(known))]


_NOTHING: Final = Ties()
_decode: Final = msgspec.msgpack.Decoder(Ties).decode
_encode: Final = msgspec.msgpack.Encoder().encode
