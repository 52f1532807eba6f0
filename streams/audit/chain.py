"""The chain of the entries of one partition: linking an entry to the one before it, and checking a run of them. Pure.

    seq 0          seq 1              seq 2
    previous ""    previous H(0) ──▶  previous H(1)      H = SHA-256 over the bytes as they lie on the topic
                                                         the head row holds the newest entry and its H

Writers append an entry only after the one before it is acknowledged (`trail.py`), so the first occurrences of the entries lie on the
topic in the order of their numbers; anything else was done by somebody. An entry may lie there again later, with the same bytes.

One altered entry is named itself, not the one after it, where the chain stops fitting: if the entry after next fits, the older one of
the two was altered, else the younger one.
"""

from hashlib import sha256
from typing import Final, Literal, NamedTuple

import msgspec

from schemas.codec import Codec
from schemas.events import AuditEntry
from streams.audit.heads import Head

__all__ = ["FAULTS", "REPEATS_MAX", "STRAYS_MAX", "Broken", "Chain", "Fault", "Verdict", "linked"]

Fault = Literal["unreadable", "misplaced", "missing", "altered", "different", "cut_off", "no_head", "head_damaged", "beyond_head"]

FAULTS: Final[dict[Fault, str]] = {
    "unreadable": "it is no entry that can be read",
    "misplaced": "it does not belong into this partition, or lies under another key than its actor",
    "missing": "an entry before it is missing, or lies elsewhere",
    "altered": "its bytes are not those that the chain was made of",
    "different": "another entry of the same number is there",
    "cut_off": "entries after it are missing: the chain went on",
    "no_head": "the store has no head for this chain",
    "head_damaged": "the head row in the store was altered",
    "beyond_head": "the store knows nothing of it: the chain ended before it",
}

REPEATS_MAX: Final = 100_000
"""An entry may be repeated after at most so many others: a writer appends within seconds or not at all."""

STRAYS_MAX: Final = 100
"""Where a topic has lost its beginning to its retention, among so many records may be repeats of entries that are gone.

Whoever could hide something by that could as well have cut the beginning there: what is before the first whole run is not vouched for.
"""


class Broken(msgspec.Struct, frozen=True):
    """The first place where a chain does not hold. `offset` and `entry_id` are None where it is not a record that is wrong.

    `detail` says more in numbers, never personal.
    """

    partition: int
    offset: int | None
    seq: int
    entry_id: str | None
    fault: Fault
    detail: str


class Verdict(msgspec.Struct, frozen=True):
    """What a partition's chain came to. From `first_seq` on it is vouched for (None: it has no entries any more, or none yet).

    `entries` are counted once each, `repeats` apart. `pending`: the newest entry is not on the topic yet; the next writer appends it.
    """

    partition: int
    entries: int
    repeats: int
    first_seq: int | None
    last_seq: int | None
    since_us: int | None
    until_us: int | None
    actors: frozenset[str]
    pending: bool
    broken: Broken | None


class _Link(NamedTuple):
    offset: int
    entry: AuditEntry
    digest: bytes


def linked(entry: AuditEntry, partition: int, last: tuple[int, bytes] | None) -> AuditEntry:
    """Return the entry in its place: after the one with this (seq, digest), or as the first one."""
    seq, previous = (0, b"") if last is None else (last[0] + 1, last[1])
    return msgspec.structs.replace(entry, partition=partition, seq=seq, previous=previous)


class Chain:
    """Checks one partition's records in the order of the topic. `first_offset` is where the topic begins: above 0 its beginning is gone.

    Memory: the digests of the last `REPEATS_MAX` entries, 10 MB. After the first broken place it looks at nothing more.
    """

    def __init__(self, partition: int, first_offset: int, codec: Codec) -> None:
        self._partition = partition
        self._first_offset = first_offset
        self._codec = codec
        self._first: _Link | None = None
        self._last: _Link | None = None
        self._doubted: _Link | None = None  # the last one does not fit to it: which of the two is altered, the next one shows
        self._digests: list[tuple[int, bytes]] = []  # (offset, digest) by seq modulo REPEATS_MAX
        self._entries = self._repeats = 0
        self._actors: set[str] = set()
        self.broken: Broken | None = None

    def take(self, offset: int, key: bytes | None, value: bytes) -> None:
        """Look at the next record."""
        if self.broken is not None:
            return
        entry = self._codec.decode(value)
        if not isinstance(entry, AuditEntry) or entry.seq < 0:
            self.broken = Broken(self._partition, offset, -1 if self._last is None else self._last.entry.seq + 1, None, "unreadable", "")
            return
        link = _Link(offset, entry, sha256(value).digest())
        if entry.partition != self._partition or key != entry.actor.encode():
            self._break(link, "misplaced", f"its partition is {entry.partition}" if entry.partition != self._partition else "its key is another one")
        elif self._last is not None and entry.seq <= self._last.entry.seq:
            self._repeated(link)
        else:
            self._next(link)

    def end(self, before: Head | None, after: Head | None) -> Verdict:
        """Return what it came to; `before` and `after` are the heads as they stood before the topic's end was taken, and after it."""
        pending = False
        if self.broken is None:
            pending = self._ended(before, after)
        return Verdict(
            partition=self._partition,
            entries=self._entries,
            repeats=self._repeats,
            first_seq=self._first and self._first.entry.seq,
            last_seq=self._last and self._last.entry.seq,
            since_us=self._first and self._first.entry.at_us,
            until_us=self._last and self._last.entry.at_us,
            actors=frozenset(self._actors),
            pending=pending,
            broken=self.broken,
        )

    def _next(self, link: _Link) -> None:
        """Take an entry of a number that was not there yet."""
        last, entry = self._last, link.entry
        if last is None:
            if self._is_at_the_beginning(0):
                if entry.seq:
                    self._break(link, "missing", "the chain begins with 0")
                elif entry.previous:
                    self._break(link, "altered", "the first entry has none before it")
            self._first = link
        elif entry.seq > last.entry.seq + 1:
            if self._is_at_the_beginning(link.offset):
                missing = f"{last.entry.seq + 1}" if entry.seq == last.entry.seq + 2 else f"{last.entry.seq + 1} to {entry.seq - 1}"
                self._break(link, "missing", f"missing: {missing}")
            else:  # what came so far were strays
                self._first, self._entries, self._doubted = link, 0, None
                self._actors.clear()
        elif self._doubted is not None:
            self._decide(entry.previous)
        elif entry.previous != last.digest:
            self._doubted = last
        if self.broken is None:
            self._keep(link)

    def _keep(self, link: _Link) -> None:
        self._last = link
        self._entries += 1
        self._actors.add(link.entry.actor)
        at = link.entry.seq % REPEATS_MAX
        if at < len(self._digests):
            self._digests[at] = (link.offset, link.digest)
        else:
            self._digests += [(-1, b"")] * (at - len(self._digests))
            self._digests.append((link.offset, link.digest))

    def _repeated(self, link: _Link) -> None:
        """Take an entry of a number that was there: the same one again, or another."""
        seq, first, last = link.entry.seq, self._first, self._last
        if first is not None and seq < first.entry.seq and not self._is_at_the_beginning(link.offset):
            return
        offset, digest = self._digests[seq % REPEATS_MAX] if self._is_kept(seq) else (-1, b"")
        if digest == link.digest:
            self._repeats += 1
        elif offset >= 0:
            self._break(link, "different", f"the other one lies at offset {offset}")
        else:
            self._break(link, "different", f"the chain is at {last.entry.seq if last else 0}, and begins at {first.entry.seq if first else 0}")

    def _is_kept(self, seq: int) -> bool:
        first, last = self._first, self._last
        return first is not None and last is not None and max(first.entry.seq, last.entry.seq - REPEATS_MAX + 1) <= seq <= last.entry.seq

    def _is_at_the_beginning(self, offset: int) -> bool:
        """Tell whether a chain has to be whole here: its beginning is there, or lies far enough back."""
        return self._first_offset == 0 or offset >= self._first_offset + STRAYS_MAX

    def _decide(self, previous: bytes | None) -> None:
        """Name the altered one of two that do not fit, by the digest that whatever follows has of the younger one; None: nothing follows."""
        if self._doubted is None or self._last is None:
            return
        older, younger = self._doubted, self._last
        altered = older if previous in {None, younger.digest} else younger
        said = (
            f"entry {younger.entry.seq} at offset {younger.offset} was chained to other bytes" if altered is older else "it is chained to other bytes"
        )
        self._break(altered, "altered", said)

    def _ended(self, before: Head | None, after: Head | None) -> bool:
        """Compare the end with the heads; tell whether the newest entry is still to be appended."""
        last = self._last
        if after is None:
            self._decide(None)
            if last is not None and self.broken is None:
                self._break(last, "no_head", "was the store restored?")
            return False
        newest = self._codec.decode(after.entry)
        if not isinstance(newest, AuditEntry) or newest.seq != after.seq or sha256(after.entry).digest() != after.digest:
            self._decide(None)
            if self.broken is None:
                self._break_off(after.seq, "head_damaged", "its columns contradict each other")
            return False
        if last is None:
            return self._without_entries(before, after)
        follows = {after.seq: after.digest, after.seq - 1: newest.previous}.get(last.entry.seq)
        self._decide(follows)
        if self.broken is None and last.entry.seq > after.seq:
            self._break_beyond(after)
        elif self.broken is None and follows not in {None, last.digest}:
            self._break(last, "altered", "the head row was made of other bytes")
        return self.broken is None and self._pending(before, after, last)

    def _pending(self, before: Head | None, after: Head, last: _Link) -> bool:
        """Find what was cut off: all that was acknowledged before the end was taken must be there, as it was."""
        if before is not None and last.entry.seq < before.seq - (not before.acknowledged):
            self._break(last, "cut_off", f"the chain goes up to {before.seq}")
        elif before is not None and self._is_kept(before.seq) and self._digests[before.seq % REPEATS_MAX][1] != before.digest:
            self._break(last, "different", f"entry {before.seq} is another one than the head row's")
        return self.broken is None and last.entry.seq == after.seq - 1 and not after.acknowledged

    def _without_entries(self, before: Head | None, after: Head) -> bool:
        """Judge a topic that holds nothing: never anything, nothing any more, or nothing yet."""
        if self._first_offset == 0 and before is not None and (before.seq or before.acknowledged):
            self._break_off(0, "cut_off", f"the topic is empty, and the chain goes up to {before.seq}")
        return self.broken is None and after.seq == 0 and not after.acknowledged

    def _break(self, link: _Link, fault: Fault, detail: str) -> None:
        self.broken = Broken(self._partition, link.offset, link.entry.seq, link.entry.id, fault, detail)

    def _break_off(self, seq: int, fault: Fault, detail: str) -> None:
        self.broken = Broken(self._partition, None, seq, None, fault, detail)

    def _break_beyond(self, after: Head) -> None:
        """Name the first entry that the store knows nothing of, as far as it is still known where that lies."""
        seq = after.seq + 1
        offset = self._digests[seq % REPEATS_MAX][0] if self._is_kept(seq) else None
        self.broken = Broken(self._partition, offset, seq, None, "beyond_head", f"the head is {after.seq}")
