"""Runs one version of one group: batches in; rows, effects and checkpoints out. Hosted by the live driver (`streams/hosted.py`).

While the writes of one poll are on their way, the next one is folded already. Writes stay in order, and a subject whose
rows are not yet acknowledged never leaves the cache, so that its state is never read back too early.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec
import structlog

from schemas.codec import Codec
from streams.cluster import Place
from streams.collector import calm_collector
from streams.cutting import Cutter
from streams.duties import Copying, Rebuilding
from streams.effects import EffectPort
from streams.engine import Engine
from streams.metrics import GroupMetrics
from streams.patience import Patience
from streams.records import Batch
from streams.store.port import Checkpoint, GroupVersion, Store
from streams.takeover import take_over
from streams.tallies import Tallies
from streams.together import together
from streams.versions.snapshots import Snapshots
from streams.versions.standing import Standstill
from streams.versions.trailing import Trailing
from streams.wakeups import Waker
from streams.waking import TimerService
from streams.wall_clock import now_us
from streams.work import Work
from touchline.errors import Retryable, TouchlineError

__all__ = ["GroupRunner", "LogGap"]

log = structlog.get_logger(__name__)


class LogGap(TouchlineError):
    """Raised when a batch does not continue at its checkpoint: something between was lost, so the process must end."""


class GroupRunner:
    """The runner of one version of a group. With a `waker` it runs the timers of its partitions, while `tend` runs.

    `wakes_per_s` paces wake-ups after a new rulebook, `snapshots_per_s` what is published again after a promotion; `now_us` is the
    clock that timers are measured by. Without `rebuilding` rebuilds are passed over; `copying` is for the view group alone.
    """

    def __init__(
        self,
        engine: Engine,
        store: Store,
        effects: EffectPort,
        *,
        topic: str,
        codec: Codec | None = None,
        waker: Waker | None = None,
        wakes_per_s: int = 2000,
        snapshots_per_s: int = 500,
        rebuilding: Rebuilding | None = None,
        copying: Copying | None = None,
        now_us: Callable[[], int] = now_us,
    ) -> None:
        self.engine = engine
        self.group = GroupVersion(engine.group.name, engine.group.version)
        self.name = self.group.part
        self.group_id = f"{topic.rsplit('.', 2)[0]}.{self.name}"
        self.topics: tuple[str, ...] = (topic,)
        self.metrics = GroupMetrics(self.group.group, self.group.version)
        self.patience = Patience(self.name, self.metrics.retries.inc)
        self._store, self._effects = store, effects
        self._writing: asyncio.Task[None] | None = None
        self._tallies = Tallies(engine.group, store)
        self.timers: TimerService | None = None
        if waker is not None and (engine.group.arms_timers or engine.is_configured):
            self.timers = TimerService(engine, store, waker, metrics=self.metrics, patience=self.patience, now_us=now_us, wakes_per_s=wakes_per_s)
        self._turn = asyncio.Lock()  # a partition is never given away in the middle of a poll
        self._cutter = Cutter(codec or Codec(), *self.group)
        self._rebuilding, self._copying = rebuilding, copying
        self.still = Standstill(store, self.group, shown=lambda stands: self.metrics.paused.set(int(stands)))
        self.trailing = Trailing(store, self.group, self.patience)
        self.snapshots = Snapshots(
            engine, store, effects, turn=self._turn, drain=self.drain, patience=self.patience, metrics=self.metrics, per_s=snapshots_per_s
        )
        self._open: set[Place] = set()
        self._written: dict[Place, int] = {}

    async def assign(self, places: Sequence[Place]) -> dict[Place, int | None]:
        """Open partitions at their checkpoints in the store: the one truth; without one at offset 0."""
        found = await self.patience.run(lambda: take_over(self._store, self.group, [place.partition for place in places]))
        starts: dict[Place, int | None] = {}
        for place in places:
            partition, it = place.partition, found[place.partition]
            starts[place] = self.engine.open(partition, it.checkpoint, it.parked, first=it.first, promoted=it.promoted, books=it.books)
            if self.timers is not None:
                self.timers.open(partition, it.checkpoint.oldest_timer_bucket if it.checkpoint else 0, it.books)
            promoted = self.engine.promotions(partition)
            if promoted is not None and promoted.last is not None and promoted.last.offset not in it.published:
                self.snapshots.note(partition, promoted.last)
            self._open.add(place)
            log.info("partition_opened", group=self.name, partition=partition, offset=starts[place], parked=len(it.parked))
        calm_collector()
        return starts

    async def run(self, batches: Sequence[Batch]) -> None:
        """Fold one poll and start its writes; waits for the writes of the poll before it, and for the version that it trails.

        It is cut where something must be written before what follows; usually nowhere, so that there is one round. While the version
        stands still what waits is dropped: it is read again when it goes on.
        """
        queues = [deque(self._cutter.cut(batch)) for batch in batches]
        while queues:
            async with self._turn:
                if self.still.must_leave:
                    return
                parts = [part for queue in queues if (part := self._next(queue)) is not None]
                worked = bool(parts) and await self._round(parts)
            queues = [queue for queue in queues if queue]
            if queues and not worked:
                await self.trailing.look()

    async def revoke(self, places: Sequence[Place]) -> None:
        """Finish the writes, then forget the partitions; batches of them that still wait are dropped by `run`."""
        async with self._turn:
            await self.drain()
            self._close(places)

    async def release(self) -> None:
        """Forget whatever is still held after the group was left, also where leaving it was cut short: the store has the truth."""
        async with self._turn:
            writing, self._writing = self._writing, None
            if writing is not None:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
            self._close(list(self._open))
        self.still.left()

    async def drain(self) -> None:
        """Wait for the writes under way; what they raise is raised here."""
        writing = self._writing
        if writing is not None:
            try:
                await writing
            finally:
                if self._writing is writing:  # two may wait for the same one
                    self._writing = None

    async def tend(self) -> None:
        """Run the timers of the partitions that this worker owns, and publish snapshots again, until cancelled."""
        timers = () if self.timers is None else (self.timers.run(),)
        await together(self.snapshots.run(), *timers)

    def progress(self) -> dict[Place, int]:
        """Return how far each partition is written."""
        return dict(self._written)

    def _next(self, queue: deque[Batch]) -> Batch | None:
        """Take out what may be folded next of one partition's parts; None if that must wait, or nothing is left."""
        while queue:
            part = self._continuing(queue[0])
            if part is None:
                queue.popleft()
                continue
            now, later = self.trailing.split(part, self.engine.promotions(part.partition))
            if later is not None:
                queue[0] = later
            elif not self._is_rebuild(part):  # which is left where it is until it has been done
                queue.popleft()
            return now
        return None

    async def _round(self, parts: Sequence[Batch]) -> bool:
        """Fold one part of each partition, and start its writes; tell whether there were any."""
        started = time.perf_counter()
        works = await self._fold([part for part in parts if not self._is_rebuild(part)])
        works += await self._rebuild([part for part in parts if self._is_rebuild(part)])
        for work in works:
            self._take_in(work)
        await self.patience.run(lambda: self._tallies.add(works, self.engine.work_number))
        self.metrics.apply_seconds.observe(time.perf_counter() - started)
        await self.drain()  # one poll's writes at a time: the rows of figures and timers of this one come after those of the last
        if works:
            self._writing = asyncio.create_task(self._write(works, self.engine.work_number))
        why = self.still.alarm.note(works, time.monotonic())
        if why:
            await self.patience.run(lambda: self.still.pause(why, now_us()))
        return bool(works)

    def _is_rebuild(self, part: Batch) -> bool:
        return self._rebuilding is not None and self._cutter.rebuild_of(part) is not None

    async def _rebuild(self, parts: Sequence[Batch]) -> list[Work]:
        """Execute rebuilds; one that has to wait is tried again with the next round, and partitions may be given away before it."""
        works = []
        for part in parts:
            await self.drain()  # it reads back what the records before it led to
            try:
                works.append(await self._rebuilding.rebuild(part))  # type: ignore[union-attr]  # else there are no rebuilds
            except Retryable as error:
                self.metrics.retries.inc()
                log.warning("waiting", part=self.name, reason=error.what)
        return works

    async def _fold(self, batches: Sequence[Batch]) -> list[Work]:
        """Fold batches, one per partition; the states that are missing for all of them are loaded at once."""
        taken = [self.engine.take(batch) for batch in batches]
        missing = [subject for one in taken for subject in self.engine.missing(one)]
        states = await self.patience.run(lambda: self._store.load_states(self.group, missing)) if missing else {}
        works = []
        for one in taken:
            works.append(self.engine.feed(one, states))
            self.metrics.lag_seconds.set(max(0.0, time.time() - one.batch.records[-1].appended_us / 1e6))
        return works

    def _take_in(self, work: Work) -> None:
        """Tell everybody what a work changed, before it is written; count it."""
        if self.timers is not None:
            work.fan_out.extend(self.timers.note(work))
        elif any(due.next is not None for due in work.timers):  # without a next one it only says that none is armed, as rebuilds do
            raise TouchlineError(f"a projection of {self.name} arms timers, which this worker does not run.", next_step="give it a waker.")
        for result, n in work.results.items():
            self.metrics.records(result, n)
        self.metrics.effects("withheld", work.withheld)
        said: dict[str, str | int] = {"group": self.name, "partition": work.partition}
        for offset, reason in work.refused:
            log.error("config_unreadable", **said, offset=offset, reason=reason)
            self.metrics.records("config_refused", 1)
        for position in work.books:
            log.info("config_read", **said, offset=position.offset, version=position.book.version)
        if work.promoted is not None:
            self.snapshots.note(work.partition, work.promoted)
            log.info("promotion_read", **said, offset=work.promoted.offset, version=work.promoted.version)

    def _close(self, places: Sequence[Place]) -> None:
        partitions = [place.partition for place in places]
        if self.timers is not None:
            self.timers.close(partitions)
        self.trailing.forget(partitions)
        self.snapshots.close(partitions)
        for place in places:
            self.engine.close(place.partition)
            self._tallies.drop(place.partition)
            self._written.pop(place, None)
            self._open.discard(place)

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
        started, fan_out = time.perf_counter(), [row for work in works for row in work.fan_out]
        own = [row for work in works for row in work.own]
        effects = [effect for work in works for effect in work.effects]
        await asyncio.gather(
            self.patience.run(lambda: self._store.write(fan_out)),
            self.patience.run(lambda: self._effects.send(effects)),
        )
        await self.patience.run(lambda: self._store.write(own))
        if self._copying is not None and any(work.copies for work in works):
            copying = self._copying
            self.metrics.records("copied", await self.patience.run(lambda: copying.copy(works)))
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
