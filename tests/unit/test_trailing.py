"""A demoted version stays behind the one that speaks: no reader who comes back to it sees an older row after a newer one."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping

import pytest

from streams.patience import Patience
from streams.records import Batch, RawRecord
from streams.store.memory import MemoryStore
from streams.store.port import Checkpoint, GroupVersion
from streams.versions import trailing as trailing_module
from streams.versions.promotions import Promotion, Promotions
from streams.versions.trailing import Trailing
from streams.versions.versions import Promoting, Versions
from tests.support.clockwork import event
from tests.support.small_log import TOPIC, SmallLog, Worker
from tests.support.two_versions import NEW, V1, V2, both, promote, promoting


def run(story: Callable[[SmallLog, MemoryStore], Awaitable[None]]) -> None:
    """Run a story with both versions in a loop of its own."""

    async def told() -> None:
        await story(SmallLog(), await both())

    asyncio.run(told())


async def next_offset(into: MemoryStore, version: GroupVersion) -> int:
    """Return how far a version is, by its checkpoint."""
    found = (await into.load_checkpoints(version)).get(0)
    return found.next_offset if found else 0


def put(log: SmallLog, n: int) -> None:
    """Append some events."""
    for _ in range(n):
        at = len(log.partitions[0])
        log.put(event("received", at % 5, 100 + at, conversation=str(at)))


async def until(met: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so."""
    for _ in range(1000):
        if await met():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come")


def test_a_demoted_version_folds_up_to_the_promotion_and_then_no_further_than_the_speaker() -> None:
    async def story(log: SmallLog, into: MemoryStore) -> None:
        old, new = await Worker(log, into).own(0), Worker(log, into, group=NEW)
        put(log, 5)
        at = promote(log, 2)
        await old.fold()
        assert await next_offset(into, V1) == at + 1
        put(log, 4)
        folding = asyncio.create_task(old.fold())
        await asyncio.sleep(0.3)
        assert await next_offset(into, V1) == at + 1, "the speaker has not come so far"
        await new.own(0)
        await new.runner.run([Batch(0, log.partitions[0][: at + 3], topic="t")])
        await new.runner.drain()
        await until(lambda: _is(into, V1, at + 3))
        await asyncio.sleep(0.2)
        assert await next_offset(into, V1) == at + 3, "it goes on to where the speaker is, in the middle of what it has read"
        await new.runner.run([Batch(0, log.partitions[0][at + 3 :], topic="t")])
        await new.runner.drain()
        await folding
        assert await next_offset(into, V1) == len(log.partitions[0])
        await old.stop()
        await new.stop()

    run(story)


async def _is(into: MemoryStore, version: GroupVersion, offset: int) -> bool:
    return await next_offset(into, version) == offset


def test_a_version_that_never_spoke_does_not_wait_for_the_one_that_does() -> None:
    async def story(log: SmallLog, into: MemoryStore) -> None:
        put(log, 5)
        new = await Worker(log, into, group=NEW).own(0)
        await new.fold()
        assert await next_offset(into, V2) == 5
        await new.stop()

    run(story)


def test_whoever_waits_gives_its_partition_away_at_once_and_nothing_of_it_is_folded_later() -> None:
    async def story(log: SmallLog, into: MemoryStore) -> None:
        old = await Worker(log, into).own(0)
        put(log, 2)
        at = promote(log, 2)
        put(log, 3)
        folding = asyncio.create_task(old.fold())
        await until(lambda: _is(into, V1, at + 1))
        async with asyncio.timeout(5):
            await old.runner.revoke(list(old.runner.progress()))
            await folding
        await into.save_checkpoints(V2, {0: Checkpoint(99, 1, True, 1)})  # noqa: FBT003 - its third value
        await asyncio.sleep(0.2)
        assert await next_offset(into, V1) == at + 1
        await old.stop()

    run(story)


def test_a_rollback_does_not_wait_for_the_version_whose_workers_are_dead() -> None:
    async def story(log: SmallLog, into: MemoryStore) -> None:
        old = await Worker(log, into).own(0)
        put(log, 2)
        at = promote(log, 2)
        put(log, 3)
        to_new = Promoting(2, "first", "op", 4)
        await Versions(into).begin_promotion("clockwork", to_new)
        await Versions(into).end_promotion("clockwork", to_new)
        folding = asyncio.create_task(old.fold())
        await until(lambda: _is(into, V1, at + 1))
        await promoting(into, 1)
        back = promote(log, 1)
        await folding
        await old.fold()
        assert await next_offset(into, V1) == back + 1
        promotions = old.runner.engine.promotions(0)
        assert promotions is not None
        assert promotions.speaker == 1
        await old.stop()

    run(story)


RECORDS = [RawRecord(offset, b"k", b"v", 0) for offset in range(10, 16)]


@pytest.mark.parametrize(("passed", "now", "later"), [(0, 0, 6), (10, 0, 6), (11, 1, 5), (15, 5, 1), (16, 6, 0), (40, 6, 0)])
def test_what_the_speakers_checkpoint_has_passed_may_be_folded(passed: int, now: int, later: int) -> None:
    async def story(_: SmallLog, into: MemoryStore) -> None:
        trailing = Trailing(into, V1, Patience("t"))
        demoted = Promotions(1, [Promotion(9, 5, 2)])
        assert trailing.split(Batch(0, RECORDS), demoted) == (None, Batch(0, RECORDS)), "what is not known has not been passed"
        await into.save_checkpoints(V2, {0: Checkpoint(passed, 1, True, 1)})  # noqa: FBT003 - its third value
        await trailing.look()
        first, rest = trailing.split(Batch(0, RECORDS), demoted)
        assert [len(part.records) if part else 0 for part in (first, rest)] == [now, later]
        assert [*(first.records if first else []), *(rest.records if rest else [])] == RECORDS

    run(story)


@pytest.mark.parametrize("promotions", [Promotions(1), Promotions(2), Promotions(2, [Promotion(3, 5, 3)]), Promotions(2, [Promotion(3, 5, 1)]), None])
def test_who_speaks_or_never_spoke_folds_all(promotions: Promotions | None) -> None:
    async def story(_: SmallLog, into: MemoryStore) -> None:
        assert Trailing(into, V1, Patience("t")).split(Batch(0, RECORDS), promotions) == (Batch(0, RECORDS), None)

    run(story)


def test_what_one_speaker_has_passed_says_nothing_of_the_next_one() -> None:
    async def story(_: SmallLog, into: MemoryStore) -> None:
        trailing = Trailing(into, V1, Patience("t"))
        await into.save_checkpoints(V2, {0: Checkpoint(40, 1, True, 1)})  # noqa: FBT003 - its third value
        demoted, again = Promotions(1, [Promotion(9, 5, 2)]), Promotions(1, [Promotion(8, 5, 2), Promotion(9, 6, 3)])
        trailing.split(Batch(0, RECORDS), demoted)
        await trailing.look()
        assert trailing.split(Batch(0, RECORDS), demoted)[1] is None
        assert trailing.split(Batch(0, RECORDS), again)[0] is None

    run(story)


class Watched(MemoryStore):
    """Looks at every checkpoint: whether what a demoted version has folded lies behind the one that speaks for it."""

    def __init__(self, into: MemoryStore, promotions: Promotions) -> None:
        super().__init__([])
        self._tables, self._kinds = into._tables, into._kinds
        self.promotions = promotions
        self.trailed = 0

    async def save_checkpoints(self, group: GroupVersion, checkpoints: Mapping[int, Checkpoint]) -> None:
        last = checkpoints[0].next_offset - 1
        speaker = self.promotions.of_record(last)
        spoke = any(self.promotions.of_record(offset) == group.version for offset in range(last))
        if speaker != group.version and spoke:
            assert await next_offset(self, GroupVersion(group.group, speaker)) > last
            self.trailed += 1
        await super().save_checkpoints(group, checkpoints)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_order_nobody_overtakes_who_speaks_and_both_come_to_the_end(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promoted and rolled back several times, read in parts of any size by both at once."""
    monkeypatch.setattr(trailing_module, "_PAUSE_MIN_S", 0.001)
    monkeypatch.setattr(trailing_module, "_PAUSE_MAX_S", 0.002)
    rng = random.Random(seed)  # noqa: S311 - the same schedule every time

    async def story(log: SmallLog, into: MemoryStore) -> None:
        promoted = Promotions(1)
        for number in range(rng.randint(1, 5)):
            put(log, rng.randint(0, 12))
            version = 2 - number % 2
            promoted.add(Promotion(promote(log, version), log.stamp_us(), version))
        put(log, rng.randint(1, 12))
        watched = Watched(into, promoted)
        workers = [await Worker(log, watched).own(0), await Worker(log, watched, group=NEW).own(0)]

        async def read(worker: Worker) -> None:
            at = 0
            while at < len(log.partitions[0]):
                end = at + rng.randint(1, 9)
                await worker.runner.run([Batch(0, log.partitions[0][at:end], topic=TOPIC)])
                await asyncio.sleep(rng.choice([0, 0.002]))
                at = end
            await worker.runner.drain()

        await asyncio.wait_for(asyncio.gather(*map(read, workers)), 30)
        assert [await next_offset(into, version) for version in (V1, V2)] == [len(log.partitions[0])] * 2
        assert watched.trailed, "somebody was behind"
        for worker in workers:
            await worker.stop()

    run(story)


def test_nothing_is_said_of_a_speaker_while_nobody_waits_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebuild that waits for the view looks here too."""
    monkeypatch.setattr(trailing_module, "DEGRADED_AFTER_S", -1.0)
    said: list[str] = []
    monkeypatch.setattr(trailing_module, "log", type("Log", (), {"warning": staticmethod(lambda name, **_: said.append(name))}))

    async def story(log: SmallLog, into: MemoryStore) -> None:
        del log
        trailing = Trailing(into, V1, Patience("test"))
        for _ in range(3):
            await trailing.look()

    run(story)
    assert not said
