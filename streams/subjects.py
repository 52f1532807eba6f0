"""What is known of each subject while it is in memory: states, recent ids, how far it has been applied. Bounded."""

from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b

import msgspec

from projections.kernel import Subject
from streams.armed import ArmedTimers
from streams.store.port import CellValue, RowWrite, StateRow
from streams.ties import Ties

__all__ = ["RECENT_BYTES_MAX", "RECENT_IDS_MAX", "SubjectCache", "SubjectEntry", "record_hash"]

RECENT_IDS_MAX = 128
"""How many record ids a subject remembers. The resolver ends a batch at 64 records of one subject, so that whatever a
killed resolver appends again is still remembered."""

_HASH_BYTES = 8
RECENT_BYTES_MAX = RECENT_IDS_MAX * _HASH_BYTES


def record_hash(source: str, record_id: str) -> bytes:
    """Return the 8 bytes by which a subject remembers a record: the same source and id are the same event (CloudEvents)."""
    return blake2b(f"{source}\0{record_id}".encode(), digest_size=_HASH_BYTES).digest()


Position = tuple[bytes, int, int, int, int]


class SubjectEntry:
    """One subject of one group. `blobs` are the states as last encoded: what a failed fold falls back to.

    `books` is how many rulebooks of its partition it has heard of; -1 while that is not known. `ties` are None for who has none, and
    `ties_blob` as they were last stored.
    """

    __slots__ = (
        "appended_us",
        "applied_offset",
        "applied_partition",
        "blobs",
        "books",
        "recent",
        "states",
        "ties",
        "ties_blob",
        "timers",
        "work_number",
    )

    def __init__(self, states: list[msgspec.Struct | None], row: StateRow | None) -> None:
        self.states = states
        self.blobs: dict[str, bytes] = dict(row.blobs) if row else {}
        self.recent = row.recent_ids if row else b""
        self.applied_partition = row.applied_partition if row else -1
        self.applied_offset = row.applied_offset if row else -1
        self.appended_us = row.appended_us if row else 0
        self.timers = ArmedTimers(row.timers if row else b"")
        self.ties_blob = row.ties if row else b""
        self.ties = Ties.decoded(self.ties_blob) if self.ties_blob else None
        self.books = -1
        self.work_number = 0

    @property
    def held_until_us(self) -> int:
        """Up to when (inclusive) none of its timers expires, since records are being copied to it; 0 if they are not held."""
        return 0 if self.ties is None else self.ties.held_until_us

    def expires_before(self, before_us: int) -> bool:
        """Tell whether a timer expires before this moment."""
        return self.timers.next_us < before_us and (self.ties is None or self.ties.held_until_us < before_us)

    def seen(self, hashed: bytes) -> bool:
        """Tell whether a record with this hash is among the last `RECENT_IDS_MAX`."""
        recent = self.recent
        at = recent.find(hashed)
        while at >= 0 and at % _HASH_BYTES:
            at = recent.find(hashed, at + 1)
        return at >= 0

    def move_to(self, partition: int, offset: int, hashed: bytes) -> None:
        """Note that a record was applied, and remember its id (`hashed` is empty for wake-ups); the oldest id is forgotten."""
        self.applied_partition, self.applied_offset = partition, offset
        if hashed:
            self.recent = (self.recent + hashed)[-RECENT_BYTES_MAX:]

    def position(self) -> Position:
        """Return what `go_back` needs to undo a fold that failed."""
        return self.recent, self.applied_partition, self.applied_offset, self.appended_us, self.books

    def go_back(self, position: Position, states: list[msgspec.Struct | None]) -> None:
        """Undo a fold that failed: its projections may have changed their states in place, and armed timers."""
        self.recent, self.applied_partition, self.applied_offset, self.appended_us, self.books = position
        self.states = states
        self.timers.restore()
        self.ties = Ties.decoded(self.ties_blob)

    def common_columns(self) -> dict[str, CellValue]:
        """Return the static columns of the state table."""
        return {
            "recent_ids": self.recent,
            "applied_partition": self.applied_partition,
            "applied_offset": self.applied_offset,
            "appended_us": self.appended_us,
        }

    def stored(self, blobs: Mapping[str, bytes], timers: bytes | None, ties: bytes | None) -> None:
        """Note what is stored from now on; None: as it was."""
        self.blobs.update(blobs)
        self.timers.stored(timers)
        if ties is not None:
            self.ties_blob = ties

    def state_rows(
        self, table: str, subject: Subject, blobs: Mapping[str, bytes], timers: bytes | None, ts_us: int, *, ties: bytes | None = None
    ) -> list[RowWrite]:
        """Return the rows of the states in `blobs`, and of what is common to all; `timers` and `ties` None: as they were.

        The common values are static columns: they travel with the first row.
        """
        common = self.common_columns()
        if timers is not None:
            common["timers"] = timers
        if ties is not None:
            common["ties"] = ties
        if not blobs:
            return [RowWrite(table, tuple(subject), common, ts_us)]
        return [
            RowWrite(table, (*subject, name), {"state": blob} if number else {"state": blob, **common}, ts_us)
            for number, (name, blob) in enumerate(blobs.items())
        ]


class SubjectCache:
    """Entries by subject, least recently used first out, never one whose writes are not yet acknowledged.

    Dropped by partition when that partition is given away.
    """

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._entries: OrderedDict[Subject, SubjectEntry] = OrderedDict()
        self._partition: dict[Subject, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, subject: Subject) -> SubjectEntry | None:
        """Return the entry and mark it as used now."""
        entry = self._entries.get(subject)
        if entry is not None:
            self._entries.move_to_end(subject)
        return entry

    def peek(self, subject: Subject) -> SubjectEntry | None:
        """Return the entry without marking it as used."""
        return self._entries.get(subject)

    def __contains__(self, subject: Subject) -> bool:
        return subject in self._entries

    def put(self, subject: Subject, partition: int, entry: SubjectEntry) -> None:
        """Add an entry."""
        self._entries[subject] = entry
        self._partition[subject] = partition

    def replace(self, subject: Subject, partition: int, entry: SubjectEntry, work_number: int) -> None:
        """Put an entry in the place of another one; what the driver knows of the subject's timers is known of it still."""
        old = self._entries.get(subject)
        entry.timers.told_us = -1 if old is None else old.timers.told_us
        entry.timers.indexed_us = -1
        entry.work_number = work_number
        self.put(subject, partition, entry)

    def evict(self, acknowledged: int) -> None:
        """Drop the least recently used entries above the limit; an entry of a later work than `acknowledged` stays."""
        while len(self._entries) > self._entries_max:
            subject, entry = next(iter(self._entries.items()))
            if entry.work_number > acknowledged:
                return
            del self._entries[subject], self._partition[subject]

    def drop(self, partition: int) -> None:
        """Forget every subject of a partition."""
        for subject in [s for s, p in self._partition.items() if p == partition]:
            del self._entries[subject], self._partition[subject]
