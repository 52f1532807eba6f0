"""The second driver: history through the engine, bounded, in large chunks, without effects: engine.md §2.

    chunks of one partition ──> engine, in a thread ──> rows of the chunk, merged ──> fan-out, own, checkpoint

While one chunk is written the next is folded. It is given no effect port: what a version would have said is counted, and that is all.
Resumable at any point, since a chunk is the same chunk whenever it is folded (`streams/replay/source.py`) and a repeated write changes nothing.
Knows the engine and the store port; must not know Kafka, processes or people.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Final, Literal

import msgspec
import structlog

from projections.kernel import Subject
from schemas.codec import Codec
from streams.cutting import Asking, Cutter
from streams.engine import Engine
from streams.patience import Patience
from streams.records import Batch, first_appended_us
from streams.replay.failures import first_failure
from streams.replay.seen import Seen
from streams.replay.source import Ahead, Source
from streams.replay.timers import ReplayTimers
from streams.replay.waiting import Waiting
from streams.replay.writing import ReplayWriter
from streams.store.port import GroupVersion, StateRow, Store
from streams.takeover import Takeover, take_over
from streams.tallies import Tallies
from streams.wall_clock import now_us
from streams.work import Work

__all__ = ["CHUNK_RECORDS", "Done", "Replay"]

log = structlog.get_logger(__name__)

CHUNK_RECORDS: Final = 20_000
"""Records folded and written together. Rows are merged over a chunk; above this there is little left to merge (`touchline bench replay`)."""

_COLLECT_EVERY: Final = 20
"""Chunks between two runs of the collector: a fold makes no cycles, and looking for them took a tenth of the time."""


class Done(msgspec.Struct):
    """What a replay has done so far. `offsets`: next offset by partition; `withheld`: effects that nobody was told of."""

    offsets: dict[int, int] = {}
    records: int = 0
    rows: int = 0
    withheld: int = 0
    expired: int = 0
    parked: int = 0
    refused: int = 0


class Replay:
    """Replays partitions of one group version in one process.

    `first` is the version that speaks below the first promotion (0: nobody). `rebuild` executes a rebuild record. `paced` is awaited before
    each chunk with its number of records; `say` is called after each that is written. `on_error`: what to do with a record that cannot be
    folded: stop there, or park its customer. Everything that it is to follow is in `engine`, which must be its own.
    """

    def __init__(
        self,
        engine: Engine,
        store: Store,
        source: Source,
        codec: Codec,
        *,
        first: int,
        chunk_records: int = CHUNK_RECORDS,
        on_error: Literal["stop", "park"] = "stop",
        rebuild: Callable[[Batch], Awaitable[Work]] | None = None,
        paced: Callable[[int], Awaitable[None]] | None = None,
        say: Callable[[Done], None] = lambda _: None,
        now_us: Callable[[], int] = now_us,
        seen: Seen | None = None,
    ) -> None:
        self.engine = engine
        self.version = GroupVersion(engine.group.name, engine.group.version)
        self.done = Done()
        self._store = store
        self._codec = codec
        self._ahead = Ahead(source, chunk_records)
        self._first = first
        self._on_error = on_error
        self._rebuild = rebuild
        self._paced = paced
        self._say = say
        self._now_us = now_us
        self._cutter = Cutter(codec, *self.version)
        self._timers = ReplayTimers(engine, store, self.version)
        self._tallies = Tallies(engine.group, store)
        self._writer = ReplayWriter(store, self.version, Patience(f"{self.version.part}.replay"))
        self._seen = seen or Seen()
        self._fresh: set[int] = set()
        self._unheard: set[int] = set()
        """Partitions with rulebooks of which not everybody who waits for a timer may have heard."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="replay-fold")
        self._stopping = False
        self._chunks = 0

    @property
    def waiting(self) -> Waiting | None:
        """What is waited for: first what nothing goes on without."""
        return self._writer.waiting or self._ahead.waiting

    # -- life

    async def open(self, partitions: Iterable[int]) -> dict[int, int]:
        """Take partitions over at their checkpoints; return where each begins."""
        wanted = list(partitions)
        found = await self._writer.waited(lambda: take_over(self._store, self.version, wanted))
        indexed = await self._writer.waited(lambda: self._writer.indexed(wanted))
        if not any(one.checkpoint and one.checkpoint.next_offset for one in found.values()):
            self._tallies = Tallies(self.engine.group, self._store, fresh=True)
        for partition in wanted:
            start = self._open(partition, found[partition])
            if not start:
                self._fresh.add(partition)
            fresh, is_indexed = not start, indexed.get(partition) == start
            await self._writer.waited(lambda p=partition, f=fresh, i=is_indexed: self._timers.open(p, fresh=f, indexed=i))  # type: ignore[misc]
        self.done.parked = self.engine.parked_customers
        return dict(self.done.offsets)

    async def run(self, ends: Mapping[int, int]) -> bool:
        """Replay the open partitions up to these offsets, one after the other in the order given; tell whether all of it was done.

        Raises `Refused` for a record that cannot be folded, and `Retryable` when log or store stay away for ten minutes. What is
        written by then stays, and another run goes on behind it.
        """
        for partition, end in ends.items():
            try:
                async with aclosing(self._ahead.chunks(partition, self.done.offsets[partition], end)) as chunks:
                    async for chunk in chunks:
                        if self._paced is not None:
                            await self._paced(len(chunk.records))
                        if self._stopping:
                            break
                        await self._chunk(chunk, is_end=chunk.records[-1].offset + 1 >= end)
            finally:
                await self._writer.drain()
            if self._stopping:
                return False
            await self._finish(partition)
        return True

    def stop(self) -> None:
        """Let the chunk that is under way be the last one."""
        self._stopping = True

    def close(self) -> None:
        """Let the threads end."""
        self._ahead.close()
        self._thread.shutdown()

    # -- one chunk

    def _open(self, partition: int, left: Takeover) -> int:
        checkpoint = left.checkpoint
        start = checkpoint.next_offset if checkpoint else 0
        if checkpoint is not None:  # `_finish` says it anew, at the timestamp of the last chunk's checkpoint: there the greater value would win
            checkpoint = msgspec.structs.replace(checkpoint, oldest_timer_bucket=0)
        read = [one for one in left.books if one.offset < start]
        self.engine.open(partition, checkpoint, left.parked, first=self._first, promoted=left.promoted, books=read)
        self.done.offsets[partition] = start
        if read:
            self._unheard.add(partition)
        return start

    async def _chunk(self, chunk: Batch, *, is_end: bool) -> None:
        """Fold a chunk and start its writes, part by part, each with its checkpoint; where a part is a rebuild, one waits for the other.

        A rebuild asks the store how its customer stands: were it executed again after the next one of that customer, it would hear of that one.
        """
        parts = self._cutter.cut(chunk)
        for number, part in enumerate(parts):
            rebuild = self._cutter.rebuild_of(part) if self._rebuild is not None else None
            if rebuild is not None:
                self._seen.add_all([_subject_of(rebuild, part)])  # whoever it was, there may be rows afterwards
                await self._settle()
            work = await self._writer.waited(lambda: self._rebuild(part), "what a rebuild reads") if rebuild else await self._fold(part)  # type: ignore[misc] # noqa: B023
            self._timers.note(work)
            if work.books:
                self._unheard.add(part.partition)
            if number == len(parts) - 1:
                await self._expire(work, part, is_end=is_end)
            self._judge(work, part)
            await self._writer.waited(lambda: self._tallies.add([work], self.engine.work_number))  # noqa: B023 - awaited here
            await self._settle()
            self._count(work, len(part.records))
            self._writer.start(work, self.engine.work_number, self._written)
        self._chunks += 1
        if self._chunks % _COLLECT_EVERY == 0 and not gc.isenabled():
            gc.collect()

    async def _fold(self, part: Batch) -> Work:
        loop = asyncio.get_running_loop()
        taken = await loop.run_in_executor(self._thread, self.engine.take, part)
        missing = self.engine.missing(taken)
        states = await self._states(part.partition, missing)
        return await loop.run_in_executor(self._thread, self.engine.feed, taken, states)

    async def _states(self, partition: int, missing: list[Subject]) -> dict[Subject, StateRow]:
        """Load states; of a partition that was replayed from its beginning only of whom it has met."""
        met = self._seen.add_all(missing)
        wanted = met if partition in self._fresh else missing
        return await self._writer.waited(lambda: self._store.load_states(self.version, wanted)) if wanted else {}

    async def _expire(self, work: Work, part: Batch, *, is_end: bool) -> None:
        """Let expire what would have been noticed by now, and add it to a chunk's work: tallies of one place are told together.

        At the end everybody who waits hears of the rules too, as those hear of them whom a live worker wakes after a new rulebook.
        """
        partition, now_us = part.partition, first_appended_us(part.records[-1], self._codec)
        subjects = self._timers.due(partition, now_us)
        if is_end and partition in self._unheard and self.engine.is_configured:
            subjects = list(dict.fromkeys([*subjects, *self._timers.waiting(partition)]))
            self._unheard.discard(partition)
        if not subjects:
            return
        _, others = self.engine.armed(subjects)
        states = await self._writer.waited(lambda: self._store.load_states(self.version, others)) if others else {}
        more = await asyncio.get_running_loop().run_in_executor(self._thread, self.engine.expire, partition, subjects, states, now_us - 1)
        self._timers.note(more)
        self.done.expired += len(subjects)
        for into, of in ((work.fan_out, more.fan_out), (work.own, more.own), (work.effects, more.effects), (work.tallies, more.tallies)):
            into.extend(of)  # type: ignore[arg-type]
        work.withheld += more.withheld
        for result, n in more.results.items():
            work.count(result, n)
        work.checkpoint = more.checkpoint

    def _judge(self, work: Work, part: Batch) -> None:
        """Stop at a record that could not be folded, unless its customer is to be parked. Raises `Refused`; nothing of it is written."""
        if work.results.get("parked") and self._on_error == "stop":
            failure = first_failure(self.version, work, part)
            if failure is not None:
                raise failure

    async def _settle(self) -> None:
        """Wait for the writes under way, after which their subjects may leave the cache."""
        number = await self._writer.drain()
        if number:
            self.engine.acknowledge(number)
            self._tallies.acknowledge(number)

    def _count(self, work: Work, records: int) -> None:
        done = self.done
        done.records += records
        done.rows += len(work.fan_out) + len(work.own)
        done.withheld += work.withheld + len(work.effects)
        done.refused += len(work.refused)
        for offset, reason in work.refused:
            log.error("config_unreadable", group=self.version.group, partition=work.partition, offset=offset, reason=reason)

    def _written(self, work: Work) -> None:
        self.done.offsets[work.partition] = work.checkpoint.next_offset
        self.done.parked = self.engine.parked_customers
        self._say(self.done)

    async def _finish(self, partition: int) -> None:
        """Leave a partition as a live worker can take it over: with the index of who is to be woken."""
        await self._settle()
        checkpoint = (await self._writer.waited(lambda: self._store.load_checkpoints(self.version))).get(partition)
        if checkpoint is None:
            return  # there was nothing to read
        rows, hour = await self._writer.waited(lambda: self._timers.index(partition, checkpoint.write_ts_us, self._now_us()))
        self.done.rows += rows
        await self._writer.waited(
            lambda: self._writer.finish(partition, msgspec.structs.replace(checkpoint, oldest_timer_bucket=hour), self._now_us())
        )


def _subject_of(asking: Asking, part: Batch) -> Subject:
    """Return whose a record is that asks for a rebuild."""
    return Subject(asking.header.tenant, (part.records[0].key or b"").decode("utf-8", "replace"))
