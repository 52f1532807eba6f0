"""The engine: raw records in, merged work out. No I/O, no clock: the drivers (live, simulate, replay) do that.

A driver calls, per batch of one partition:

    taken = engine.take(batch)                      # decode headers, find the subjects
    states = await store.load_states(group, engine.missing(taken))
    work = engine.feed(taken, states)               # fold; rows, effects and checkpoint come back merged
    ... write the work in its order ...
    engine.acknowledge(work_number)                 # its subjects may now leave the cache

The engine owns: idempotence (by offset and by the recent ids of each subject), coalescing of rows, write timestamps, which
rulebooks a partition has read, and parking of customers whose records cannot be folded. How one subject is folded stands in
`streams/folding.py`. Tuned for polls of 1,000 records; `touchline bench pipeline` shows it.
"""

from collections.abc import Iterable, Mapping

from projections.kernel import Config, Subject
from projections.registry import Group
from projections.rules import RULES, rulebook_of
from schemas.codec import Codec, Undecodable
from schemas.events import ConfigPublished, TimerWoke
from streams.armed import Expiry
from streams.books import Position
from streams.effects import DESTINATIONS
from streams.folding import Folding
from streams.lane import Lane
from streams.parking import Failure, ParkedCustomer
from streams.records import Arrived, Batch, Taken
from streams.store.port import Checkpoint, RowWrite, StateRow
from streams.subjects import SubjectCache, SubjectEntry, record_hash
from streams.work import Fold, Work
from touchline.errors import Poison

__all__ = ["Engine"]

SETTLE_S = 60
"""How long a timer waits that was armed past its due time, in seconds: a backlog's answer may still come."""

_OF_ALL = b"config:"
"""The beginning of the keys of records that are of no subject."""


class Engine:
    """Runs one version of one group over any number of partitions. One instance per worker process and group.

    `config` is in force where a tenant has published nothing; `settle_s` as in `SETTLE_S`.
    """

    def __init__(
        self, group: Group, codec: Codec, *, tenant: str, cached_subjects_max: int, config: Config | None = None, settle_s: float = SETTLE_S
    ) -> None:
        self.group = group
        self._codec = codec
        self._tenant = tenant
        self._config = config or Config()
        self._folding = Folding(group, codec, config=self._config, settle_us=round(settle_s * 1e6))
        self._is_woken = group.arms_timers or self._folding.is_configured
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
        active: bool = True,
        books: Iterable[Position] = (),
    ) -> int:
        """Take a partition over at its checkpoint; return the offset to read from. `books` are the rulebooks that it has read.

        Without a checkpoint it starts at offset 0, active if `active` (the first version of a group is).
        """
        lane = Lane(checkpoint or Checkpoint(0, 0, active, 0), {p.customer: p for p in parked}, self._config, books)
        self._lanes[partition] = lane
        return lane.checkpoint.next_offset

    def close(self, partition: int) -> None:
        """Forget a partition that was given away."""
        self._lanes.pop(partition, None)
        self._cache.drop(partition)

    def next_offset(self, partition: int) -> int | None:
        """Return the offset that the next batch of a partition must start with; None if the partition is not open."""
        lane = self._lanes.get(partition)
        return lane.checkpoint.next_offset if lane else None

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
                known[subject] = entry.timers.earliest()
        return known, others

    # -- batches ------------------------------------------------------------------------------------------------------

    def take(self, batch: Batch) -> Taken:
        """Decode the headers of a batch and group its records by subject; advances nothing. Hot path."""
        head_of = self._codec.head
        by_subject: dict[Subject, list[Arrived]] = {}
        config: list[Arrived] = []
        woke = 0
        lane = self._lanes[batch.partition]
        ts_us, event_time_us = lane.checkpoint.write_ts_us, lane.checkpoint.event_time_us
        for record in batch.records:
            head = head_of(record.value)
            appended_us = record.appended_us
            if isinstance(head, Undecodable):
                tenant, hashed = self._tenant, b""
                of_all = record.key is not None and record.key.startswith(_OF_ALL)
            else:
                header = head.header
                tenant = header.tenant
                if header.appended_at_us is not None:
                    appended_us = header.appended_at_us
                event_time_us = max(event_time_us, header.occurred_at_us)
                of_all = head.type is ConfigPublished
                is_wake_up = head.type is TimerWoke
                hashed = b"" if of_all or is_wake_up else record_hash(header.source, header.id)
                if is_wake_up and not self._is_woken:
                    ts_us = max(ts_us + 10, appended_us)
                    woke += 1
                    continue
            ts_us = max(ts_us + 10, appended_us)
            arrived = Arrived(record, head, appended_us, ts_us, hashed)
            if of_all:
                config.append(arrived)
                continue
            at = (tenant, (record.key or b"").decode("utf-8", "replace"))
            found = by_subject.get(at)  # type: ignore[call-overload]  # a plain tuple equals its Subject and is made in a tenth of the time
            if found is None:
                by_subject[Subject(*at)] = [arrived]
            else:
                found.append(arrived)
        return Taken(batch, by_subject, event_time_us, ts_us, config, woke)

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
        partition = taken.batch.partition
        lane = self._lanes[partition]
        self._work_number += 1
        was = lane.checkpoint
        checkpoint = Checkpoint(taken.batch.records[-1].offset + 1, taken.write_ts_us, was.active, taken.event_time_us, was.oldest_timer_bucket)
        work = Work(partition, [], [], [], [], [], checkpoint, {"applied": 0, "repeat": 0, "parked": 0})
        work.count("woke", taken.woke)
        for arrived in taken.config:
            self._learn(lane, work, arrived)
        for subject, records in taken.by_subject.items():
            entry = self._cache.get(subject)
            if entry is None:
                row = states.get(subject)
                entry = SubjectEntry(self._folding.decoded(row.blobs if row else {}), row)
                self._cache.put(subject, partition, entry)
            entry.work_number = self._work_number
            self._feed_subject(lane, work, subject, entry, records)
            due = entry.timers.to_tell(*subject, records[-1].ts_us)
            if due is not None:
                work.timers.append(due)
        if lane.checkpoint.active:
            work.effects.extend(work.latest.values())
        else:
            work.effects.clear()
        lane.checkpoint = checkpoint
        return work

    @property
    def work_number(self) -> int:
        """The number of the last work that `feed` returned; `acknowledge` takes it once that work is written."""
        return self._work_number

    def acknowledge(self, work_number: int) -> None:
        """Note that this work and all before it are written: their subjects may leave the cache."""
        self._cache.evict(work_number)

    def _learn(self, lane: Lane, work: Work, arrived: Arrived) -> None:
        """Read what was published for all; what cannot be read is left out, and said."""
        event = arrived.head if isinstance(arrived.head, Undecodable) else self._codec.body(arrived.head)
        if isinstance(event, Undecodable):
            work.refused.append((arrived.record.offset, event.reason))
            return
        if not isinstance(event, ConfigPublished) or event.kind != RULES:
            work.count("config", 1)
            return
        try:
            book = rulebook_of(event)
        except Poison:
            work.refused.append((arrived.record.offset, "no_rulebook"))
            return
        position = Position(event.header.tenant, arrived.record.offset, arrived.appended_us, event.id, book)
        if lane.learn(position):
            work.books.append(position)
            work.fan_out.append(position.row(work.partition, arrived.ts_us))
            work.count("config", 1)
        else:
            work.count("repeat", 1)

    # -- one subject --------------------------------------------------------------------------------------------------

    def _feed_subject(self, lane: Lane, work: Work, subject: Subject, entry: SubjectEntry, records: list[Arrived]) -> None:
        if entry.applied_partition == work.partition and records[0].record.offset <= entry.applied_offset:
            fresh = [arrived for arrived in records if arrived.record.offset > entry.applied_offset]
            work.results["repeat"] += len(records) - len(fresh)
            records = fresh
        parked = lane.parked.get(subject.id)
        # parking is written before states: after a crash between the two, what came before the failure is folded again
        foldable = records if parked is None else [a for a in records if a.record.offset < parked.first_offset]
        done, failure = 0, None
        if foldable:
            before = entry.position()
            books = lane.books.get(subject.tenant)
            fold = self._folding.fold(Fold(subject, entry, work.partition, books), foldable)
            done, failure = fold.done, fold.failure
            if failure is not None:
                entry.go_back(before, self._folding.decoded(entry.blobs))
                fold = self._folding.fold(Fold(subject, entry, work.partition, books), foldable[:done])
            if fold.ran:
                self._keep(work, fold)
            work.results["repeat"] += fold.repeats
            work.results["applied"] += fold.done - fold.repeats - fold.woke
            work.count("woke", fold.woke)
        if done < len(records):
            self._park(lane, work, subject, records[done:], failure)

    def _keep(self, work: Work, fold: Fold) -> None:
        """Add what a subject's fold led to: rows, its state and timers, effects, tallies."""
        subject, entry = fold.subject, fold.entry
        work.fan_out.extend(fold.fan_out)
        work.own.extend(fold.own)
        common = entry.common_columns()
        if fold.timers_blob is not None:
            common["timers"] = fold.timers_blob
        entry.timers.stored(fold.timers_blob)
        ts_us = fold.ts_us + 1
        for name, blob in fold.blobs.items():
            entry.blobs[name] = blob
            # the subject-wide values are static columns: they travel with the first row that changes
            work.own.append(RowWrite(self._state_table, (*subject, name), {"state": blob, **common}, ts_us))
            common = {}
        if common:
            work.own.append(RowWrite(self._state_table, tuple(subject), common, ts_us))
        for effect in fold.effects:
            if DESTINATIONS[effect.kind].compacted:
                work.latest[effect.kind, effect.key] = effect
            else:
                work.effects.append(effect)
        work.tallies.extend(fold.tallies)

    def _park(self, lane: Lane, work: Work, subject: Subject, waiting: list[Arrived], failure: Failure | None) -> None:
        for arrived in waiting:
            head = arrived.head
            if failure is None and not isinstance(head, Undecodable) and head.type is TimerWoke:
                work.count("woke", 1)  # nothing waits in it; the one that failed marks the place
                continue
            parked = lane.park(subject.id, work.partition, arrived.record.offset, failure)
            work.fan_out.extend(parked.writes(self.group.name, self.group.version, arrived.record.offset, arrived.ts_us))
            work.results["parked"] += 1
            failure = None
