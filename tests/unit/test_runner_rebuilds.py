"""A rebuild that the live runner reads: executed when all before it is written, alone, and again until it can be done."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from streams.cluster import Place
from streams.records import Batch
from streams.store.memory import MemoryStore
from streams.work import Work
from tests.support.clockwork import event
from tests.support.repairing import rebuild
from tests.support.small_log import TOPIC, SmallLog, Worker
from tests.support.two_versions import V1, both
from touchline.errors import Retryable

PLACE = Place(TOPIC, 0)


class Rebuilding:
    """Notes how far the store is whenever it is called; fails as often as it is told to, then does what any record leads to."""

    def __init__(self, worker: Worker, failures: int = 0) -> None:
        self.worker = worker
        self.failures = failures
        self.called: list[tuple[int, int]] = []

    async def rebuild(self, batch: Batch) -> Work:
        [record] = batch.records
        found = (await self.worker.into.load_checkpoints(V1)).get(0)
        self.called.append((record.offset, found.next_offset if found else 0))
        if self.failures:
            self.failures -= 1
            raise Retryable("the view group has not come so far.")
        engine = self.worker.runner.engine
        return engine.feed(engine.take(batch), {})


def told(story: Callable[[SmallLog, MemoryStore], Awaitable[None]]) -> None:
    async def run() -> None:
        await story(SmallLog(), await both())

    asyncio.run(run())


async def owner(log: SmallLog, into: MemoryStore, failures: int = 0) -> tuple[Worker, Rebuilding]:
    worker = await Worker(log, into).own(0)
    rebuilding = Rebuilding(worker, failures)
    worker.runner._rebuilding = rebuilding
    return worker, rebuilding


def filled(log: SmallLog, *rebuilds: int, n: int = 9) -> None:
    for offset in range(n):
        if offset in rebuilds:
            log.partitions[0].append(rebuild(offset, 1, 100 + offset))
        else:
            log.put(event("received", offset % 3, 100 + offset, conversation=str(offset)))


@pytest.mark.parametrize("rebuilds", [(4,), (0,), (8,), (3, 4, 5), (0, 8)])
def test_a_rebuild_is_executed_when_what_stands_before_it_is_written(rebuilds: tuple[int, ...]) -> None:
    async def story(log: SmallLog, into: MemoryStore) -> None:
        filled(log, *rebuilds)
        worker, rebuilding = await owner(log, into)
        await worker.fold()
        assert rebuilding.called == [(offset, offset) for offset in rebuilds]
        assert (await into.load_checkpoints(V1))[0].next_offset == 9
        await worker.stop()

    told(story)


def test_one_that_has_to_wait_is_tried_again_and_nothing_behind_it_goes_before() -> None:
    async def story(log: SmallLog, into: MemoryStore) -> None:
        filled(log, 4)
        worker, rebuilding = await owner(log, into, failures=3)
        await worker.fold()
        assert rebuilding.called == [(4, 4)] * 4
        assert (await into.load_checkpoints(V1))[0].next_offset == 9
        await worker.stop()

    told(story)


def test_while_one_waits_its_partition_can_be_given_away() -> None:
    async def story(log: SmallLog, into: MemoryStore) -> None:
        filled(log, 4)
        worker, rebuilding = await owner(log, into, failures=10**6)
        folding = asyncio.create_task(worker.fold())
        await worker.until(lambda: len(rebuilding.called) > 1)
        await worker.runner.revoke([PLACE])
        await asyncio.wait_for(folding, 10)
        assert (await into.load_checkpoints(V1))[0].next_offset == 4
        await worker.stop()

    told(story)


def test_rebuilds_of_another_version_are_records_like_any_other() -> None:
    async def story(log: SmallLog, into: MemoryStore) -> None:
        filled(log)
        log.partitions[0].append(rebuild(9, 1, 200, name="view"))
        worker, rebuilding = await owner(log, into)
        await worker.fold()
        assert rebuilding.called == []
        assert (await into.load_checkpoints(V1))[0].next_offset == 10
        await worker.stop()

    told(story)
