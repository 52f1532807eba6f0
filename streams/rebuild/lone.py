"""One subject folded on its own, in memory: what its records come to in one version of a group. No I/O, no clock, no effects.

A rebuild folds a customer twice and writes the difference; a comparison of two versions follows both, record by record, to name
the one that parts them. It is the engine's own folding; wake-ups need not be among the records, since time passes without them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from projections.kernel import Config, Subject
from projections.registry import Group
from schemas.codec import Codec
from streams.books import Books
from streams.engine import SETTLE_S
from streams.folding import Folding
from streams.parking import Failure
from streams.rebuild.history import Place, PlacedRecord
from streams.records import Arrived, Batch, RawRecord
from streams.store.port import Checkpoint, RowWrite
from streams.subjects import SubjectEntry
from streams.taking import WAKE_UP, Taking
from streams.work import Fold, Tallied

__all__ = ["Alone", "Lone", "fold_alone"]

_BEGINNING: Final = Checkpoint(0, 0, active=False, event_time_us=0)


class Alone(msgspec.Struct):
    """What a subject's records come to.

    `rows` are in the order in which they take effect, tables by physical names, without states: `RowImage` (`streams/rebuild/row_image.py`)
    tells how they then stand. `states` are MessagePack by projection, `timers` too (`streams/armed.py`; empty: none armed). `done`
    records were folded; the one at `failed_at` could not be, for the reason `failure`, and neither were those behind it. `entry` is as
    the engine's cache has it.
    """

    rows: list[RowWrite]
    states: dict[str, bytes]
    timers: bytes
    tallies: list[Tallied]
    entry: SubjectEntry
    done: int
    failure: Failure | None = None
    failed_at: Place | None = None


class Lone:
    """Folds one subject for one version of a group, some records at a time.

    `books` are the rulebooks by partition, for the subject's tenant; `config` is in force before them; `settle_s` as the engine's.
    """

    def __init__(
        self,
        group: Group,
        codec: Codec,
        subject: Subject,
        *,
        books: Mapping[int, Books] | None = None,
        config: Config | None = None,
        settle_s: float = SETTLE_S,
    ) -> None:
        self.group = group
        self.subject = subject
        self.books = books or {}
        self._folding = Folding(group, codec, config=config or Config(), settle_us=round(settle_s * 1e6))
        self._taking = Taking(codec, tenant=subject.tenant, is_woken=True)
        self.entry = SubjectEntry(self._folding.decoded({}), None)
        self._ts_us = 0

    def arrivals(self, records: Iterable[PlacedRecord]) -> list[tuple[int, Arrived]]:
        """Return (partition, record with its header read) of those records that are the subject's, in order."""
        found: list[tuple[int, Arrived]] = []
        for partition, run in _by_partition(records):
            taken = self._taking.take(Batch(partition, run), _BEGINNING)
            found.extend((partition, arrived) for arrived in taken.by_subject.get(self.subject, ()))
        return found

    def fold(self, partition: int, arrived: Sequence[Arrived]) -> Fold:
        """Fold records of one partition. What comes before one that fails is folded; `failure` and `done` say which that was."""
        entry = self.entry
        before, books = entry.position(), self.books.get(partition)
        fold = self._folding.fold(Fold(self.subject, entry, partition, books), list(arrived))
        if fold.failure is not None:
            failure, done = fold.failure, fold.done
            entry.go_back(before, self._folding.decoded(entry.blobs))
            fold = self._folding.fold(Fold(self.subject, entry, partition, books), list(arrived[:done]))
            fold.failure = failure
        entry.blobs.update(fold.blobs)
        entry.timers.stored(fold.timers_blob)
        self._ts_us = max(self._ts_us, fold.ts_us)
        return fold

    def wake(self, place: Place, until_us: int) -> Fold:
        """Let time pass up to `until_us` (inclusive), as if a wake-up stood at `place`: timers expire, rulebooks before it are heard of."""
        until_us += 1  # expiry moments before a record's append time are due before it
        ts_us = max(self._ts_us + 10, until_us)
        return self.fold(place.partition, [Arrived(RawRecord(place.offset, None, b"", until_us), WAKE_UP, until_us, ts_us, b"")])


def fold_alone(
    group: Group,
    codec: Codec,
    subject: Subject,
    records: Iterable[PlacedRecord],
    *,
    books: Mapping[int, Books] | None = None,
    config: Config | None = None,
    settle_s: float = SETTLE_S,
    stop_at: Place | None = None,
    until_us: int | None = None,
    noticed_at: Place | None = None,
) -> Alone:
    """Fold a subject's records, in order of partition and offset, up to one that fails; those from `stop_at` on are left out.

    With `until_us` time then passes up to there (inclusive), as if a wake-up stood at `noticed_at`, by default at `stop_at`, or behind the
    last record: rulebooks before it are heard of. The other arguments as in `Lone`. Rows are final: merged over all records of a partition.
    """
    lone = Lone(group, codec, subject, books=books, config=config, settle_s=settle_s)
    runs: dict[int, list[Arrived]] = {}
    for partition, arrived in lone.arrivals(records):
        if stop_at is None or partition != stop_at.partition or arrived.record.offset < stop_at.offset:
            runs.setdefault(partition, []).append(arrived)
    alone = Alone([], {}, b"", [], lone.entry, 0)
    last = Place(0, -1)
    for partition, run in runs.items():
        last = Place(partition, run[-1].record.offset)
        fold = lone.fold(partition, run)
        _keep(alone, fold)
        alone.done += fold.done
        if fold.failure is not None:
            alone.failure, alone.failed_at = fold.failure, Place(partition, run[fold.done].record.offset)
            break
    if until_us is not None and alone.failure is None:
        at = stop_at or Place(last.partition, last.offset + 1)
        fold = lone.wake(noticed_at or at, until_us)
        _keep(alone, fold)
        if fold.failure is not None:
            alone.failure, alone.failed_at = fold.failure, at
    alone.states, alone.timers = dict(lone.entry.blobs), lone.entry.timers.blob
    return alone


def _keep(alone: Alone, fold: Fold) -> None:
    alone.rows += fold.fan_out
    alone.rows += fold.own
    alone.tallies += fold.tallies


def _by_partition(records: Iterable[PlacedRecord]) -> list[tuple[int, list[RawRecord]]]:
    runs: dict[int, list[RawRecord]] = {}
    for partition, record in sorted(records, key=lambda placed: placed.place):
        runs.setdefault(partition, []).append(record)
    return list(runs.items())
