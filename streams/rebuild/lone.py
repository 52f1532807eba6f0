"""One subject folded on its own, in memory: what its records come to in one version of a group. No I/O, no clock, no effects.

A rebuild folds a customer twice and writes the difference; a comparison of two versions follows both, record by record, to name
the one that parts them. It is the engine's own folding; wake-ups need not be among the records, since time passes without them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from projections.kernel import Config, Subject
from projections.registry import Group
from schemas.codec import Codec, Head
from schemas.events import ClockMoved
from streams.books import Books
from streams.copy_run import CopyRun
from streams.engine import SETTLE_S
from streams.folding import Folding
from streams.identity.apart import NOTHING, Apart, apart
from streams.identity.returning import at_home
from streams.parking import Failure
from streams.rebuild.history import Place, PlacedRecord
from streams.records import Arrived, Batch, RawRecord
from streams.store.port import Checkpoint, RowWrite
from streams.subjects import SubjectEntry
from streams.taking import WAKE_UP, Taking
from streams.ties import Ties
from streams.work import Fold, Tallied

__all__ = ["Alone", "Lone", "fold_alone"]

_BEGINNING: Final = Checkpoint(0, 0, active=False, event_time_us=0)


class Alone(msgspec.Struct):
    """What a subject's records come to.

    `rows` are in the order in which they take effect, tables by physical names, without states: `RowImage` (`streams/rebuild/row_image.py`)
    tells how they then stand. `states` are MessagePack by projection, `timers` too (`streams/armed.py`; empty: none armed). `done`
    records were folded; the one at `failed_at` could not be, for the reason `failure`, and neither were those behind it. `entry` is as
    the engine's cache has it; `runs` are the copies that its records ask for, `handed` what it hands over to whom it is linked to.
    """

    rows: list[RowWrite]
    states: dict[str, bytes]
    timers: bytes
    tallies: list[Tallied]
    entry: SubjectEntry
    done: int
    failure: Failure | None = None
    failed_at: Place | None = None
    runs: list[CopyRun] = []
    handed: list[ClockMoved] = []


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
        self._codec = codec
        self._home: dict[int, tuple[str, int]] = {}
        """What came home, by its offset: from whom, and where it lay there."""
        self._folding = Folding(group, codec, config=config or Config(), settle_us=round(settle_s * 1e6))
        self._taking = Taking(codec, tenant=subject.tenant, is_woken=True, alone=True)
        self.entry = SubjectEntry(self._folding.decoded({}), None)
        self._ts_us = 0

    def arrivals(self, records: Iterable[PlacedRecord]) -> list[tuple[int, Arrived]]:
        """Return (partition, record with its header read) of those records that are the subject's, in order, without what undone links take out."""
        found: list[tuple[int, Arrived]] = []
        for partition, run in _by_partition(records):
            taken = self._taking.take(Batch(partition, run), _BEGINNING)
            found.extend((partition, arrived) for arrived in taken.by_subject.get(self.subject, ()))
        undone = apart(self._codec, self.subject.id, [arrived.head for _, arrived in found])
        return found if undone is NOTHING else self._undone(found, undone)

    def fold(self, partition: int, arrived: Sequence[Arrived]) -> Fold:
        """Fold records of one partition. What comes before one that fails is folded; `failure` and `done` say which that was.

        One that came home is folded alone (`runs` cuts there): it hears of the rules that were there in its time.
        """
        entry = self.entry
        books = self._books(partition, arrived[0])
        before = entry.position()
        fold = self._folding.fold(Fold(self.subject, entry, partition, books), list(arrived))
        if fold.failure is not None:
            failure, done = fold.failure, fold.done
            entry.go_back(before, self._folding.decoded(entry.blobs))
            fold = self._folding.fold(Fold(self.subject, entry, partition, books), list(arrived[:done]))
            fold.failure = failure
        entry.stored(fold.blobs, fold.timers_blob, fold.ties_blob)
        if fold.done and (of := self._home.get(arrived[0].record.offset)) is not None:
            entry.ties = entry.ties or Ties()
            entry.ties.passed(*of)
            entry.ties_blob = entry.ties.encoded()
        self._ts_us = max(self._ts_us, fold.ts_us)
        return fold

    def runs(self, arrived: Iterable[tuple[int, Arrived]]) -> list[tuple[int, list[Arrived]]]:
        """Return records, in order, in runs that are folded together."""
        found: list[tuple[int, list[Arrived]]] = []
        alone = True
        for partition, one in arrived:
            was_alone, alone = alone, one.record.offset in self._home
            if was_alone or alone or found[-1][0] != partition:
                found.append((partition, []))
            found[-1][1].append(one)
        return found

    def _undone(self, found: Sequence[tuple[int, Arrived]], undone: Apart) -> list[tuple[int, Arrived]]:
        """Return records as they are where links were undone."""
        kept: dict[int, list[Arrived]] = {}
        home: dict[int, list[int]] = {}
        for number, (partition, arrived) in enumerate(found):
            if number in undone.out:
                continue
            run = kept.setdefault(partition, [])
            if number in undone.home and isinstance(arrived.head, Head):
                header = arrived.head.header
                self._home[arrived.record.offset] = header.origin_customer_id or "", header.origin_offset or 0
                home.setdefault(partition, []).append(len(run))
            run.append(arrived)
        return [(partition, one) for partition, run in kept.items() for one in at_home(run, home.get(partition, ()))]

    def _books(self, partition: int, arrived: Arrived) -> Books | None:
        books = self.books.get(partition)
        if books is None or arrived.record.offset not in self._home or not arrived.hashed:  # a wake-up may be said to lie there
            return books
        return books.first(max(books.until(arrived.appended_us), self.entry.books))

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
    chosen = [one for one in lone.arrivals(records) if stop_at is None or one[0] != stop_at.partition or one[1].record.offset < stop_at.offset]
    alone = Alone([], {}, b"", [], lone.entry, 0)
    last = Place(0, -1)
    for partition, run in lone.runs(chosen):
        last = Place(partition, max(run[-1].record.offset, last.offset if last.partition == partition else -1))
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
    alone.runs += fold.runs
    alone.handed += [effect.payload for effect in fold.effects if isinstance(effect.payload, ClockMoved)]


def _by_partition(records: Iterable[PlacedRecord]) -> list[tuple[int, list[RawRecord]]]:
    runs: dict[int, list[RawRecord]] = {}
    for partition, record in sorted(records, key=lambda placed: placed.place):
        runs.setdefault(partition, []).append(record)
    return list(runs.items())
