"""A rebuild, or an undone link, while versions of the view change places: each finds its records by its own rows, and none waits for the other."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from projections.kernel import Effect
from projections.registry import Group
from schemas.events import Header, ProjectionPromoted
from streams.cluster import Place
from streams.engine import Engine
from streams.rebuild.history import History
from streams.rebuild.rebuilding import Rebuilder
from streams.records import Batch
from streams.runner import GroupRunner
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion
from streams.versions.versions import Promoting, Versions
from tests.support.linked_log import CODEC, NEXT, PARTITIONS, VIEW, LinkedLog

V1, V2 = GroupVersion("view", 1), GroupVersion("view", 2)
P = "p1"
AT, TOPIC = 1, "touchline.interaction.v1"
WITHIN_S = 12.0


class Silent:
    """Where effects go that nobody listens to."""

    async def send(self, effect: Effect) -> None:
        """Take it."""


class TwoViews:
    """Both versions of the view over one partition, each followed by a worker of its own."""

    def __init__(self) -> None:
        self.log = LinkedLog()
        self.into = MemoryStore([*known_tables(), *(table for group in NEXT for table in group.tables())])
        self.versions = Versions(self.into)

    async def worker(self, group: Group) -> "asyncio.Task[None]":
        """Start a worker."""
        engine = Engine(group, CODEC, tenant="acme", cached_subjects_max=100)
        rebuilding = Rebuilder(engine, self.into, History(self.into, self.log), codec=CODEC)
        runner = GroupRunner(engine, self.into, Silent(), topic=TOPIC, rebuilding=rebuilding)  # type: ignore[arg-type]
        await runner.assign([Place(TOPIC, AT)])
        return asyncio.create_task(self._follow(runner))

    async def _follow(self, runner: GroupRunner) -> None:
        read = 0
        while True:
            if records := self.log.partitions[AT][read:]:
                await runner.run([Batch(AT, records, topic=TOPIC)])
                read += len(records)
                await runner.drain()
            await asyncio.sleep(0.01)

    async def at_the_end(self, *versions: GroupVersion) -> None:
        """Wait until these versions are at the log's end."""
        async with asyncio.timeout(WITHIN_S):
            for one in versions:
                while await self._at(one) < len(self.log.partitions[AT]):  # noqa: ASYNC110 - a checkpoint tells nobody
                    await asyncio.sleep(0.01)

    async def _at(self, version: GroupVersion) -> int:
        found = (await self.into.load_checkpoints(version)).get(AT)
        return found.next_offset if found else 0

    def promote(self, version: int) -> None:
        """Append the records of a promotion."""
        for partition in range(PARTITIONS):
            self.log.now_us += 1000
            now_us = self.log.now_us
            header = Header(id=f"v{version}-{partition}", source="/t", tenant="acme", occurred_at_us=now_us, received_at_us=now_us)
            self.log.put(ProjectionPromoted(header=header, group="view", version=version), f"projection:{partition}")


@asynccontextmanager
async def both() -> AsyncIterator[tuple[TwoViews, "asyncio.Task[None]"]]:
    """Give both versions, level with the log, the first one active; and the worker of the second."""
    place = TwoViews()
    await place.versions.begin(V1, 1)
    await place.versions.add(V2, 2)
    await place.versions.move(V2, "building", "shadow", 3)
    workers = [await place.worker(group) for group in (VIEW, NEXT[0])]
    try:
        place.log.said("m1", P, P)
        await place.at_the_end(V1, V2)
        yield place, workers[1]
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def undone(log: LinkedLog) -> None:
    """Undo a link under the one who stays."""
    log.unlink("q4", P)


ASKING: list[Callable[[LinkedLog], None]] = [lambda log: log.rebuild(P), undone]
KINDS = pytest.mark.parametrize("ask", ASKING, ids=["rebuild", "unlink"])


@KINDS
def test_a_promotion_that_was_cut_off_does_not_stop_who_rebuilds(ask: Callable[[LinkedLog], None]) -> None:
    """The new version speaks, readers still see the old one, which stays behind it."""

    async def story() -> None:
        async with both() as (place, _):
            await place.versions.begin_promotion("view", Promoting(2, "x", "ann", 5))
            place.promote(2)
            await place.at_the_end(V1, V2)
            ask(place.log)
            place.log.said("m2", P, P)
            await place.at_the_end(V1, V2)

    asyncio.run(story())


@KINDS
def test_a_rollback_needs_no_worker_of_the_version_that_it_leaves(ask: Callable[[LinkedLog], None]) -> None:
    async def story() -> None:
        async with both() as (place, worker):
            await place.versions.begin_promotion("view", Promoting(2, "x", "ann", 5))
            place.promote(2)
            await place.at_the_end(V1, V2)
            await place.versions.end_promotion("view", Promoting(2, "x", "ann", 5))
            worker.cancel()
            place.log.said("m2", P, P)
            ask(place.log)
            place.log.said("m3", P, P)
            await place.versions.begin_promotion("view", Promoting(1, "rollback:y", "ann", 6))
            place.promote(1)
            await place.at_the_end(V1)

    asyncio.run(story())
