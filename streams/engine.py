"""The engine: raw records in, merged work out. No I/O, no clock: the drivers (live, simulate, replay) do that.

A driver calls, per batch of one partition:

    taken = engine.take(batch)                      # decode headers, find the subjects
    states = await store.load_states(group, engine.missing(taken))
    work = engine.feed(taken, states)               # fold; rows, effects and checkpoint come back merged
    ... write the work in its order ...
    engine.acknowledge(work_number)                 # its subjects may now leave the cache

The engine owns: idempotence (by offset and by the recent ids of each subject), coalescing of rows, write timestamps, and
parking of customers whose records cannot be folded. Tuned for polls of 1,000 records; `touchline bench pipeline` shows it.
"""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from projections.kernel import Config, Moment, Projection, Subject
from projections.registry import Group
from schemas.codec import Codec, Undecodable
from schemas.events import TimerWoke
from schemas.record import Event
from streams.effects import DESTINATIONS
from streams.lane import Lane
from streams.parking import Failure, ParkedCustomer
from streams.records import Arrived, Batch, Taken
from streams.store.port import Checkpoint, RowWrite, StateRow
from streams.subjects import SubjectCache, SubjectEntry, record_hash
from streams.work import Fold, Work
from touchline.errors import Misconfigured, Poison

__all__ = ["STATE_BYTES_MAX", "Engine"]

STATE_BYTES_MAX = 256 * 1024
"""A greater state parks its customer: a projection that lets it grow has no limit of its own."""

_Route = tuple[tuple[int, Projection[msgspec.Struct]], ...]
"""The projections, by their place in the group, that want events of one type."""


class Engine:
    """Runs one version of one group over any number of partitions. One instance per worker process and group."""

    def __init__(self, group: Group, codec: Codec, *, tenant: str, cached_subjects_max: int, config: Config | None = None) -> None:
        self.group = group
        self._codec = codec
        self._tenant = tenant
        self._config = config or Config()
        self._projections: tuple[Projection[msgspec.Struct], ...] = group.projections
        self._routes: dict[type[Event], _Route] = {
            kind: tuple((number, p) for number, p in enumerate(self._projections) if kind in p.handles)
            for kind in frozenset[type[Event]]().union(*(p.handles for p in self._projections))
        }
        self._suffix = f"_v{group.version}"
        self._state_table = f"{group.name}{self._suffix}_state"
        self._own_tables = frozenset(t.name for t in group.tables() if len(t.partition_key) == len(Subject._fields))
        self._encoder = msgspec.msgpack.Encoder()
        self._decoders: dict[str, Callable[[bytes], msgspec.Struct]] = {
            p.name: msgspec.msgpack.Decoder(type(p.initial(Subject("", "")))).decode for p in self._projections
        }
        self._cache = SubjectCache(cached_subjects_max)
        self._lanes: dict[int, Lane] = {}
        self._work_number = 0
        self._acknowledged = 0

    # -- partitions ---------------------------------------------------------------------------------------------------

    def open(self, partition: int, checkpoint: Checkpoint | None, parked: Iterable[ParkedCustomer] = (), *, active: bool = True) -> int:
        """Take a partition over at its checkpoint; return the offset to read from.

        Without a checkpoint it starts at offset 0, active if `active` (the first version of a group is).
        """
        lane = Lane(checkpoint or Checkpoint(0, 0, active, 0), {p.customer: p for p in parked})
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
    def cached_subjects(self) -> int:
        """How many subjects are in memory."""
        return len(self._cache)

    @property
    def parked_customers(self) -> int:
        """How many customers of the open partitions are parked."""
        return sum(len(lane.parked) for lane in self._lanes.values())

    # -- batches ------------------------------------------------------------------------------------------------------

    def take(self, batch: Batch) -> Taken:
        """Decode the headers of a batch and group its records by subject; advances nothing. Hot path."""
        head_of = self._codec.head
        by_subject: dict[Subject, list[Arrived]] = {}
        lane = self._lanes[batch.partition]
        ts_us, event_time_us = lane.checkpoint.write_ts_us, lane.checkpoint.event_time_us
        for record in batch.records:
            head = head_of(record.value)
            appended_us = record.appended_us
            if isinstance(head, Undecodable):
                tenant, hashed = self._tenant, b""
            else:
                header = head.header
                tenant = header.tenant
                if header.appended_at_us is not None:
                    appended_us = header.appended_at_us
                event_time_us = max(event_time_us, header.occurred_at_us)
                hashed = b"" if head.type is TimerWoke else record_hash(header.source, header.id)
            ts_us = max(ts_us + 10, appended_us)
            arrived = Arrived(record, head, appended_us, ts_us, hashed)
            at = (tenant, (record.key or b"").decode("utf-8", "replace"))
            found = by_subject.get(at)  # type: ignore[call-overload]  # a plain tuple equals its Subject and is made in a tenth of the time
            if found is None:
                by_subject[Subject(*at)] = [arrived]
            else:
                found.append(arrived)
        return Taken(batch, by_subject, event_time_us)

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
        last = taken.batch.records[-1]
        last_ts_us = max(arrived[-1].ts_us for arrived in taken.by_subject.values())
        checkpoint = Checkpoint(last.offset + 1, last_ts_us, lane.checkpoint.active, taken.event_time_us, lane.checkpoint.oldest_timer_bucket)
        work = Work(partition, [], [], [], [], checkpoint, {"applied": 0, "repeat": 0, "parked": 0})
        for subject, records in taken.by_subject.items():
            entry = self._cache.get(subject)
            if entry is None:
                entry = self._restored(states.get(subject))
                self._cache.put(subject, partition, entry)
            entry.work_number = self._work_number
            self._feed_subject(lane, work, subject, entry, records)
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
        self._acknowledged = work_number
        self._cache.evict(work_number)

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
            fold = self._fold(Fold(subject, entry, work.partition), foldable)
            done, failure = fold.done, fold.failure
            if failure is not None:
                entry.go_back(before, self._decoded(entry.blobs))
                fold = self._fold(Fold(subject, entry, work.partition), foldable[:done])
            if fold.done > fold.repeats:
                self._keep(work, fold)
            work.results["repeat"] += fold.repeats
        if done < len(records):
            self._park(lane, work, subject, records[done:], failure)

    def _fold(self, fold: Fold, records: list[Arrived]) -> Fold:
        """Fold records in order until one fails. States and position of the entry move along."""
        entry = fold.entry
        try:
            for arrived in records:
                if arrived.hashed and entry.seen(arrived.hashed):
                    fold.repeats += 1
                else:
                    self._apply(fold, arrived)
                    fold.ts_us = arrived.ts_us
                    entry.move_to(fold.partition, arrived.record.offset, arrived.hashed)
                fold.done += 1
        except Poison as poison:
            fold.failure = Failure(poison.what, "", "")
        except Exception as error:  # noqa: BLE001 - whatever a projection raises parks this customer and nobody else
            fold.failure = Failure.raised(error)
        if fold.failure is None:
            try:
                fold.fan_out, fold.own = fold.merger.writes(self._suffix, fold.subject, self._own_tables, self._codec)
                self._encode_states(fold)
            except Poison as poison:
                fold.failure, fold.done = Failure(poison.what, "", ""), 0
            except Exception as error:  # noqa: BLE001 - what cannot be encoded: which record it was of is not known
                fold.failure, fold.done = Failure.raised(error), 0
        return fold

    def _encode_states(self, fold: Fold) -> None:
        """Encode the states that changed. Raises `Poison` for one that has outgrown what a row may hold."""
        for projection, state in zip(self._projections, fold.entry.states, strict=True):
            if state is not None:
                blob = self._encoder.encode(state)
                if len(blob) > STATE_BYTES_MAX:
                    raise Poison(f"state_too_large:{projection.name}")
                if fold.entry.blobs.get(projection.name) != blob:
                    fold.blobs[projection.name] = blob

    def _apply(self, fold: Fold, arrived: Arrived) -> None:
        """Run one record through the projections that want it. Hot path."""
        head, entry = arrived.head, fold.entry
        if isinstance(head, Undecodable):
            raise Poison(f"undecodable:{head.reason}")
        entry.appended_us = max(entry.appended_us, arrived.appended_us)
        route = self._routes.get(head.type)
        if route is None:
            return
        event = self._codec.body(head)
        if isinstance(event, Undecodable):
            raise Poison(f"undecodable:{event.reason}")
        at = Moment(head.header.occurred_at_us, entry.appended_us, fold.partition, arrived.record.offset, self._config)
        states, add, ts_us = entry.states, fold.merger.add, arrived.ts_us
        for number, projection in route:
            step = projection.apply(states[number] or projection.initial(fold.subject), event, at)
            states[number] = step.state
            for change in step.rows:
                add(change, ts_us)
            for effect in step.effects:
                if effect.kind not in DESTINATIONS:
                    raise Poison(f"unknown_effect:{projection.name}")
                fold.effects.append(effect)
            for timer in step.timers:
                fold.timers.append((fold.subject, projection.name, timer))

    def _keep(self, work: Work, fold: Fold) -> None:
        """Add what a subject's fold led to: rows, its state, effects."""
        subject, entry = fold.subject, fold.entry
        work.fan_out.extend(fold.fan_out)
        work.own.extend(fold.own)
        common = entry.common_columns()
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
        work.timers.extend(fold.timers)
        work.results["applied"] += fold.done - fold.repeats

    def _park(self, lane: Lane, work: Work, subject: Subject, waiting: list[Arrived], failure: Failure | None) -> None:
        for arrived in waiting:
            parked = lane.park(subject.id, work.partition, arrived.record.offset, failure)
            work.fan_out.extend(parked.writes(self.group.name, self.group.version, arrived.record.offset, arrived.ts_us))
            work.results["parked"] += 1

    def _restored(self, row: StateRow | None) -> SubjectEntry:
        return SubjectEntry(self._decoded(row.blobs if row else {}), row)

    def _decoded(self, blobs: Mapping[str, bytes]) -> list[msgspec.Struct | None]:
        """Decode the states of a subject; a projection that has none begins at its initial state when it is first needed."""
        try:
            return [self._decoders[p.name](blobs[p.name]) if p.name in blobs else None for p in self._projections]
        except msgspec.MsgspecError as error:
            raise Misconfigured(
                f"a stored state of group {self.group.name} version {self.group.version} does not fit this code ({type(error).__name__}).",
                next_step="a projection's state has changed: raise the group's version, or run the code that wrote it.",
            ) from None
