"""The engine: raw records in, merged work out. No I/O, no clock: the drivers (live, simulate, replay) do that.

A driver calls, per batch of one partition:

    taken = engine.take(batch)                      # decode headers, find the subjects
    states = await store.load_states(group, engine.missing(taken))
    work = engine.feed(taken, states)               # fold; rows, effects and checkpoint come back merged
    ... write the work in its order ...
    engine.acknowledge(work_number)                 # its subjects may now leave the cache

The engine owns: idempotence (by offset and by the recent ids of each subject), coalescing of rows, write timestamps, what a partition
has read for all (`streams/learning.py`), and parking of customers whose records cannot be folded. How one subject is folded stands
in `streams/folding.py`. Tuned for polls of 1,000 records; `touchline bench pipeline` shows it.
"""

from collections.abc import Iterable, Mapping

import msgspec

from projections.kernel import Config, Subject
from projections.registry import Group
from schemas.codec import Codec, Undecodable
from schemas.events import TimerWoke
from streams.armed import Expiry, held
from streams.books import Position
from streams.effects import DESTINATIONS
from streams.folding import Folding
from streams.lane import Lane
from streams.learning import Learning
from streams.parking import Failure, ParkedCustomer
from streams.records import Arrived, Batch, RawRecord, Taken
from streams.store.port import Checkpoint, StateRow
from streams.subjects import SubjectCache, SubjectEntry
from streams.taking import END_OF_INPUT, Taking
from streams.versions.promotions import Promotion, Promotions
from streams.work import Fold, Work

__all__ = ["Engine"]

SETTLE_S = 60
"""How long a timer waits that was armed past its due time, in seconds: a backlog's answer may still come."""


class Engine:
    """Runs one version of one group over any number of partitions. One instance per worker process and group.

    `config` is in force where a tenant has published nothing; `settle_s` as in `SETTLE_S`.
    """

    def __init__(
        self, group: Group, codec: Codec, *, tenant: str, cached_subjects_max: int, config: Config | None = None, settle_s: float = SETTLE_S
    ) -> None:
        self.group = group
        self.settle_s = settle_s
        self._codec = codec
        self.config = config or Config()
        self._folding = Folding(group, codec, config=self.config, settle_us=round(settle_s * 1e6))
        self._taking = Taking(codec, tenant=tenant, is_woken=group.arms_timers or self._folding.is_configured)
        self._learning = Learning(codec, group.name)
        self._state_table = f"{group.name}_v{group.version}_state"
        self._cache = SubjectCache(cached_subjects_max)
        self._lanes: dict[int, Lane] = {}
        self._work_number = 0

    # -- partitions ---------------------------------------------------------------------------------------------------

    def open(
        self,
        partition: int,
        checkpoint: Checkpoint | None,
        parked: Iterable[ParkedCustomer] = (),
        *,
        first: int | None = None,
        promoted: Iterable[Promotion] = (),
        books: Iterable[Position] = (),
    ) -> int:
        """Take a partition over at its checkpoint (without one at offset 0); return the offset to read from.

        `first` is the version that speaks below the first promotion (by default this one), `promoted` the promotions on the
        partition, `books` the rulebooks that it has read.
        """
        version = self.group.version
        start = checkpoint.next_offset if checkpoint else 0
        promotions = Promotions(version if first is None else first, (one for one in promoted if one.offset < start))
        lane = Lane(checkpoint or Checkpoint(0, 0, promotions.speaker == version, 0), {p.customer: p for p in parked}, self.config, promotions, books)
        self._lanes[partition] = lane
        return start

    def close(self, partition: int) -> None:
        """Forget a partition that was given away."""
        self._lanes.pop(partition, None)
        self._cache.drop(partition)

    def next_offset(self, partition: int) -> int | None:
        """Return the offset that the next batch of a partition must start with; None if the partition is not open."""
        lane = self._lanes.get(partition)
        return lane.checkpoint.next_offset if lane else None

    def promotions(self, partition: int) -> Promotions | None:
        """Return which version speaks where in a partition, as far as it was read; None if the partition is not open."""
        lane = self._lanes.get(partition)
        return lane.promotions if lane else None

    def is_importing(self, partition: int) -> bool:
        """Tell whether a partition is in the middle of an import of the log: its timers must wait for the rest."""
        lane = self._lanes.get(partition)
        return lane is not None and lane.checkpoint.importing

    @property
    def is_configured(self) -> bool:
        """Whether any projection wants to hear of rulebooks."""
        return self._folding.is_configured

    @property
    def cached_subjects(self) -> int:
        """How many subjects are in memory."""
        return len(self._cache)

    @property
    def parked_customers(self) -> int:
        """How many customers of the open partitions are parked."""
        return sum(len(lane.parked) for lane in self._lanes.values())

    def armed(self, subjects: Iterable[Subject]) -> tuple[dict[Subject, Expiry | None], list[Subject]]:
        """Return what expires next of each subject that is in memory, and the others, whose rows know it."""
        known: dict[Subject, Expiry | None] = {}
        others: list[Subject] = []
        for subject in subjects:
            entry = self._cache.peek(subject)
            if entry is None:
                others.append(subject)
            else:
                known[subject] = held(entry.timers.earliest(), entry.held_until_us)
        return known, others

    def peek(self, subject: Subject, row: StateRow | None) -> SubjectEntry | None:
        """Return what is known of a subject without keeping it: what is in memory, else what its row says; None for nothing."""
        entry = self._cache.peek(subject)
        return SubjectEntry(self._folding.decoded(row.blobs), row) if entry is None and row is not None else entry

    # -- batches ------------------------------------------------------------------------------------------------------

    def take(self, batch: Batch) -> Taken:
        """Decode the headers of a batch and group its records by subject; advances nothing."""
        return self._taking.take(batch, self._lanes[batch.partition].checkpoint)

    def missing(self, taken: Taken) -> list[Subject]:
        """Return the subjects of a batch whose states have to be loaded before `feed`.

        The others stay in the cache until then, whatever is acknowledged while the caller waits for the states.
        """
        missing: list[Subject] = []
        for subject in taken.by_subject:
            entry = self._cache.get(subject)
            if entry is None:
                missing.append(subject)
            else:
                entry.work_number = self._work_number + 1
        return missing

    def feed(self, taken: Taken, states: Mapping[Subject, StateRow]) -> Work:
        """Fold a batch. `states` answers `missing`; a subject that is in neither has no history."""
        batch = taken.batch
        lane, work = self._begin(batch.partition, batch.records[-1].offset + 1, taken.write_ts_us, taken.event_time_us, importing=taken.importing)
        work.count("woke", taken.woke)
        for arrived in taken.of_all:
            self._learning.learn(lane, work, arrived)
        for subject, records in taken.by_subject.items():
            entry = self._entry(subject, batch.partition, states)
            self._feed_subject(lane, work, subject, entry, records)
            self._tell(work, subject, entry, records[-1].ts_us)
        return self._end(lane, work)

    def expire(self, partition: int, subjects: Iterable[Subject], states: Mapping[Subject, StateRow], until_us: int) -> Work:
        """Expire the timers of these subjects with an expiry moment up to `until_us`: the end of a replay's input.

        It is as if a wake-up stood behind the partition's last record. `states` are those of subjects that are not in memory
        (`armed` tells them apart). The work is written and acknowledged like any other; doing it again does nothing.
        """
        was = self._lanes[partition].checkpoint
        ts_us = was.write_ts_us + 10
        lane, work = self._begin(partition, was.next_offset, ts_us, was.event_time_us, importing=was.importing)
        record = RawRecord(was.next_offset - 1, None, b"", until_us + 1)
        for subject in subjects:
            if subject.id in lane.parked:
                continue  # time stands still for who waits: the driver, told of its timers again, would have them expire again, without end
            entry = self._entry(subject, partition, states)
            wake = Arrived(record, END_OF_INPUT, until_us + 1, ts_us, b"")
            self._feed_subject(lane, work, subject, entry, [wake], again=True)
            self._tell(work, subject, entry, ts_us)
        return self._end(lane, work)

    def replace(self, partition: int, subject: Subject, entry: SubjectEntry | None, parked: ParkedCustomer | None) -> None:
        """Take in what a rebuild made of a subject: its entry (None: it is as it was), and why it waits (None: it does not).

        The next work of the partition writes of it what then is different; the rest is the caller's to write.
        """
        self._lanes[partition].wait(subject.id, parked)
        if entry is not None:
            self._cache.replace(subject, partition, entry, self._work_number + 1)

    @property
    def work_number(self) -> int:
        """The number of the last work that `feed` returned; `acknowledge` takes it once that work is written."""
        return self._work_number

    def acknowledge(self, work_number: int) -> None:
        """Note that this work and all before it are written: their subjects may leave the cache."""
        self._cache.evict(work_number)

    def _begin(self, partition: int, next_offset: int, write_ts_us: int, event_time_us: int, *, importing: bool) -> tuple[Lane, Work]:
        lane = self._lanes[partition]
        self._work_number += 1
        was = lane.checkpoint
        checkpoint = Checkpoint(next_offset, write_ts_us, was.active, event_time_us, was.oldest_timer_bucket, importing)
        return lane, Work(partition, [], [], [], [], [], checkpoint, {"applied": 0, "repeat": 0, "parked": 0})

    def _end(self, lane: Lane, work: Work) -> Work:
        work.effects.extend(work.latest.values())
        speaks = lane.promotions.speaker == self.group.version
        if work.checkpoint.active != speaks:
            work.checkpoint = msgspec.structs.replace(work.checkpoint, active=speaks)
        lane.checkpoint = work.checkpoint
        return work

    def _entry(self, subject: Subject, partition: int, states: Mapping[Subject, StateRow]) -> SubjectEntry:
        entry = self._cache.get(subject)
        if entry is None:
            row = states.get(subject)
            entry = SubjectEntry(self._folding.decoded(row.blobs if row else {}), row)
            self._cache.put(subject, partition, entry)
        entry.work_number = self._work_number
        return entry

    def _tell(self, work: Work, subject: Subject, entry: SubjectEntry, ts_us: int) -> None:
        due = entry.timers.to_tell(*subject, ts_us, entry.held_until_us)
        if due is not None:
            work.timers.append(due)

    # -- one subject --------------------------------------------------------------------------------------------------

    def _feed_subject(self, lane: Lane, work: Work, subject: Subject, entry: SubjectEntry, records: list[Arrived], *, again: bool = False) -> None:
        promotions = lane.promotions if lane.promotions.matter(self.group.version) else None
        if not again and entry.applied_partition == work.partition and records[0].record.offset <= entry.applied_offset:
            known = [arrived for arrived in records if arrived.record.offset <= entry.applied_offset]
            if entry.ties is not None:
                work.copies.extend(self._folding.tying.again(Fold(subject, entry, work.partition, None, promotions), known))
            work.results["repeat"] += len(known)
            records = records[len(known) :]
        parked = lane.parked.get(subject.id)
        # parking is written before states: after a crash between the two, what came before the failure is folded again
        foldable = records if parked is None else [a for a in records if a.record.offset < parked.first_offset]
        done, failure = 0, None
        if foldable:
            before, books = entry.position(), lane.books.get(subject.tenant)
            fold = self._folding.fold(Fold(subject, entry, work.partition, books, promotions), foldable)
            done, failure = fold.done, fold.failure
            if failure is not None:
                entry.go_back(before, self._folding.decoded(entry.blobs))
                fold = self._folding.fold(Fold(subject, entry, work.partition, books, promotions), foldable[:done])
            if fold.ran:
                self._keep(work, fold)
            work.results["repeat"] += fold.repeats
            work.results["applied"] += fold.done - fold.repeats - fold.woke - fold.handed_on
            work.count("woke", fold.woke)
            work.count("handed_on", fold.handed_on)
            if fold.in_vain and (told := entry.timers.to_tell_again(*subject, records[-1].ts_us)) is not None:
                work.timers.append(told)
        if done < len(records):
            self._park(lane, work, subject, records[done:], failure)

    def _keep(self, work: Work, fold: Fold) -> None:
        """Add what a subject's fold led to: rows, its state and timers, effects, tallies."""
        subject, entry = fold.subject, fold.entry
        work.fan_out.extend(fold.fan_out)
        work.own.extend(fold.own)
        entry.stored(fold.blobs, fold.timers_blob, fold.ties_blob)
        work.own.extend(entry.state_rows(self._state_table, subject, fold.blobs, fold.timers_blob, fold.ts_us + 1, ties=fold.ties_blob))
        work.copies.extend(fold.runs)
        for effect in fold.effects:
            if DESTINATIONS[effect.kind].compacted:
                work.latest[effect.kind, effect.key] = effect
            else:
                work.effects.append(effect)
        work.tallies.extend(fold.tallies)
        work.withheld += fold.withheld

    def _park(self, lane: Lane, work: Work, subject: Subject, waiting: list[Arrived], failure: Failure | None) -> None:
        for arrived in waiting:
            head = arrived.head
            if failure is None and not isinstance(head, Undecodable) and head.type is TimerWoke:
                work.count("woke", 1)  # nothing waits in it; the one that failed marks the place
                continue
            parked = lane.park(subject.id, work.partition, arrived.record.offset, failure, arrived.ts_us)
            work.fan_out.extend(parked.writes(self.group.name, self.group.version, arrived.record.offset, arrived.ts_us))
            work.results["parked"] += 1
            failure = None
