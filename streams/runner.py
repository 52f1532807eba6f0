"""Runs one version of one group: batches in; rows, effects and checkpoints out. Hosted by the live driver.

While the writes of one poll are on their way, the next one is folded already. Writes stay in order, and a subject whose
rows are not yet acknowledged never leaves the cache, so that its state is never read back too early.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import msgspec
import structlog

from streams.books import TABLE as BOOKS
from streams.books import positions
from streams.effects import EffectPort
from streams.engine import Engine
from streams.kafka import Place
from streams.metrics import GroupMetrics
from streams.parking import ParkedCustomer
from streams.patience import Patience
from streams.records import Batch
from streams.store.port import Checkpoint, GroupVersion, Store
from streams.tallies import Tallies
from streams.wakeups import Waker
from streams.waking import TimerService
from streams.work import Work
from touchline.errors import TouchlineError

__all__ = ["GroupRunner", "LogGap", "Runner", "Tended", "calm_collector"]

log = structlog.get_logger(__name__)

_COLLECT_AFTER = 50_000
"""Objects of one or two polls of 1,000 events."""


class LogGap(TouchlineError):
    """Raised when a batch does not continue at its checkpoint: something between was lost, so the process must end."""


class Runner(Protocol):
    """What the live driver hosts: one per group, and the resolver."""

    name: str
    group_id: str
    topics: tuple[str, ...]
    patience: Patience

    async def assign(self, places: Sequence[Place]) -> dict[Place, int | None]:
        """Take partitions over; answer where each is to be read from (None = the group's committed offset)."""
        ...

    async def run(self, batches: Sequence[Batch]) -> None:
        """Process one poll. What it raises ends the process."""
        ...

    async def revoke(self, places: Sequence[Place]) -> None:
        """Finish what is under way, then forget these partitions."""
        ...

    async def drain(self) -> None:
        """Finish what is under way."""
        ...

    def progress(self) -> dict[Place, int]:
        """Return the offsets to commit for lag displays (or for real, by the resolver)."""
        ...


@runtime_checkable
class Tended(Protocol):
    """A runner that has something to do beside the polls."""

    async def tend(self) -> None:
        """Do it until cancelled, or return if there is nothing. What it raises ends the process."""
        ...


class GroupRunner:
    """The runner of a projection group. With a `waker` it runs the timers of its partitions, while `tend` runs.

    `wakes_per_s` paces wake-ups after a new rulebook; `now_us` is the clock that timers are measured by.
    """

    def __init__(
        self,
        engine: Engine,
        store: Store,
        effects: EffectPort,
        *,
        topic: str,
        waker: Waker | None = None,
        wakes_per_s: int = 2000,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.engine = engine
        self.group = GroupVersion(engine.group.name, engine.group.version)
        self.name = f"{self.group.group}.v{self.group.version}"
        self.group_id = f"{topic.rsplit('.', 2)[0]}.{self.name}"
        self.topics: tuple[str, ...] = (topic,)
        self.metrics = GroupMetrics(self.group.group, self.group.version)
        self.patience = Patience(self.name, self.metrics.retries.inc)
        self._store = store
        self._effects = effects
        self._writing: asyncio.Task[None] | None = None
        self._tallies = Tallies(engine.group, store)
        self.timers: TimerService | None = None
        if waker is not None and (engine.group.arms_timers or engine.is_configured):
            self.timers = TimerService(engine, store, waker, metrics=self.metrics, patience=self.patience, now_us=now_us, wakes_per_s=wakes_per_s)
        self._turn = asyncio.Lock()  # a partition is never given away in the middle of a poll
        self._written: dict[Place, int] = {}

    async def assign(self, places: Sequence[Place]) -> dict[Place, int | None]:
        """Open partitions at their checkpoints in the store: the one truth. The first version starts at offset 0, active."""
        checkpoints = await self.patience.run(lambda: self._store.load_checkpoints(self.group))
        parked = await self.patience.run(self._parked)
        read = await self.patience.run(lambda: self._store.read_many(BOOKS, [{"partition": place.partition} for place in places]))
        starts: dict[Place, int | None] = {}
        for place, rows in zip(places, read, strict=True):
            mine = [p for p in parked if p.first_partition == place.partition]
            checkpoint, books = checkpoints.get(place.partition), positions(rows)
            starts[place] = self.engine.open(place.partition, checkpoint, mine, books=books)
            if self.timers is not None:
                self.timers.open(place.partition, checkpoint.oldest_timer_bucket if checkpoint else 0, books)
            log.info("partition_opened", group=self.name, partition=place.partition, offset=starts[place], parked=len(mine))
        calm_collector()
        return starts

    async def run(self, batches: Sequence[Batch]) -> None:
        """Fold one poll and start its writes; waits for the writes of the poll before it."""
        async with self._turn:
            started = time.perf_counter()
            works = await self._fold(batches)
            self.metrics.apply_seconds.observe(time.perf_counter() - started)
            await self.drain()  # one poll's writes at a time: the rows of figures and timers of this one come after those of the last
            if works:
                self._writing = asyncio.create_task(self._write(works, self.engine.work_number))

    async def revoke(self, places: Sequence[Place]) -> None:
        """Finish the writes, then forget the partitions; batches of them that still wait are dropped by `run`."""
        async with self._turn:
            await self.drain()
            if self.timers is not None:
                self.timers.close(place.partition for place in places)
            for place in places:
                self.engine.close(place.partition)
                self._tallies.drop(place.partition)
                self._written.pop(place, None)

    async def drain(self) -> None:
        """Wait for the writes under way; what they raise is raised here."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing

    async def tend(self) -> None:
        """Run the timers of the partitions that this worker owns, until cancelled."""
        if self.timers is not None:
            await self.timers.run()

    def progress(self) -> dict[Place, int]:
        """Return how far each partition is written."""
        return dict(self._written)

    async def _fold(self, batches: Sequence[Batch]) -> list[Work]:
        """Fold the batches of one poll; the states that are missing for all of them are loaded at once."""
        taken = [self.engine.take(fresh) for batch in batches if (fresh := self._continuing(batch)) is not None]
        missing = [subject for one in taken for subject in self.engine.missing(one)]
        states = await self.patience.run(lambda: self._store.load_states(self.group, missing)) if missing else {}
        works = []
        for one in taken:
            work = self.engine.feed(one, states)
            if self.timers is not None:
                work.fan_out.extend(self.timers.note(work))
            elif work.timers:
                raise TouchlineError(f"a projection of {self.name} arms timers, which this worker does not run.", next_step="give it a waker.")
            self._count(work)
            self.metrics.lag_seconds.set(max(0.0, time.time() - one.batch.records[-1].appended_us / 1e6))
            works.append(work)
        await self.patience.run(lambda: self._tallies.add(works, self.engine.work_number))
        return works

    def _count(self, work: Work) -> None:
        for result, n in work.results.items():
            self.metrics.records(result, n)
        for offset, reason in work.refused:
            log.error("config_unreadable", group=self.name, partition=work.partition, offset=offset, reason=reason)
            self.metrics.records("config_refused", 1)
        for position in work.books:
            log.info("config_read", group=self.name, partition=work.partition, offset=position.offset, version=position.book.version)

    def _continuing(self, batch: Batch) -> Batch | None:
        """Return what of a batch is still to be folded, None if nothing is. Raises `LogGap` if it does not continue at the checkpoint."""
        due = self.engine.next_offset(batch.partition)
        if due is None:
            return None  # given away while the batch waited
        first = batch.records[0].offset
        if first < due:  # read again after a partition came back: the rest of the batch may be new
            batch = Batch(batch.partition, [r for r in batch.records if r.offset >= due], batch.epoch, batch.topic)
            if not batch.records:
                return None
            first = batch.records[0].offset
        if first != due:
            raise LogGap(f"{batch.topic} partition {batch.partition} continues at {first} instead of {due}.", next_step="restart the worker.")
        return batch

    async def _write(self, works: Sequence[Work], number: int) -> None:
        """Make one poll true: fan-out and effects, then the subjects' own partitions, then the checkpoints."""
        started = time.perf_counter()
        fan_out = [row for work in works for row in work.fan_out]
        own = [row for work in works for row in work.own]
        effects = [effect for work in works for effect in work.effects]
        await asyncio.gather(
            self.patience.run(lambda: self._store.write(fan_out)),
            self.patience.run(lambda: self._effects.send(effects)),
        )
        await self.patience.run(lambda: self._store.write(own))
        checkpoints = {work.partition: self._final(work) for work in works}
        await self.patience.run(lambda: self._store.save_checkpoints(self.group, checkpoints))
        self.engine.acknowledge(number)
        self._tallies.acknowledge(number)
        self._written.update({Place(self.topics[0], work.partition): work.checkpoint.next_offset for work in works})
        self.metrics.effects("sent", len(effects))
        self.metrics.store_seconds.observe(time.perf_counter() - started)
        self.metrics.parked_customers.set(self.engine.parked_customers)
        self.metrics.cached_subjects.set(self.engine.cached_subjects)

    def _final(self, work: Work) -> Checkpoint:
        """Return the checkpoint with what is pending now, which was armed by this work at the latest, or by one that comes again."""
        if self.timers is None or not self.timers.is_open(work.partition):
            return work.checkpoint
        return msgspec.structs.replace(work.checkpoint, oldest_timer_bucket=self.timers.oldest_hour(work.partition))

    async def _parked(self) -> list[ParkedCustomer]:
        rows = await self._store.read("parked_customer", {"name": self.group.group, "version": self.group.version})
        return [ParkedCustomer.from_row(row) for row in rows]


def calm_collector() -> None:
    """Let Python's collector leave alone what a worker keeps for ever, and look at the rest every few polls, not many times in each.

    A fold builds tens of objects per event and no cycles; looking for them took 7 of 50 µs per event (`touchline bench`).
    """
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 50)
