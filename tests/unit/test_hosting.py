"""A hosted runner that must stand still leaves its group, waits, and joins again; what was polled before is of nobody."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import pytest
from confluent_kafka import KafkaError
from structlog.testing import capture_logs

from streams import live
from streams.kafka import Subscription
from streams.records import Batch
from streams.runner import GroupRunner
from streams.store.memory import MemoryStore
from streams.versions.versions import Promoting, Versions
from tests.support.small_log import SmallLog, Worker
from tests.support.two_versions import V1, V2, both
from touchline.settings import Settings


class FakeConsumption:
    """A member of the group until it is told to stop."""

    all: ClassVar[list["FakeConsumption"]] = []

    def __init__(self, runner: GroupRunner, settings: Settings, put: Any, loop: asyncio.AbstractEventLoop) -> None:
        del runner, settings, put, loop
        self._stopping = threading.Event()
        self.ended = False
        self.all.append(self)

    def run(self) -> None:
        self._stopping.wait(30)
        self.ended = True

    def stop(self) -> None:
        self._stopping.set()

    def is_current(self, batch: Batch) -> bool:
        del batch
        return not self.ended


class FakeChannel:
    """A channel to which an agent has subscribed."""

    subscriber_count = 1


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "Consumption", FakeConsumption)
    monkeypatch.setattr(FakeConsumption, "all", [])


def told(story: Callable[[live._Hosted, GroupRunner, MemoryStore], Awaitable[None]]) -> None:
    async def run() -> None:
        into = await both()
        runner = Worker(SmallLog(), into).runner
        hosted = live._Hosted(runner, FakeChannel(), Settings())  # type: ignore[arg-type, call-arg]
        async with hosted:
            await story(hosted, runner, into)

    asyncio.run(run())


async def until(met: Callable[[], bool]) -> None:
    for _ in range(1000):
        if met():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come")


def test_a_paused_version_leaves_its_group_and_joins_it_again_when_it_is_resumed() -> None:
    async def story(hosted: live._Hosted, runner: GroupRunner, into: MemoryStore) -> None:
        await until(lambda: len(FakeConsumption.all) == 1)
        assert hosted.is_current(Batch(0, []))
        await Versions(into).pause(V1, "somebody looks", 5)
        await until(lambda: FakeConsumption.all[0].ended and not runner.still.must_leave)
        assert not hosted.is_current(Batch(0, [])), "what still waits in the channel is dropped"
        assert runner.metrics.paused._value.get() == 1
        await asyncio.sleep(0.05)
        assert len(FakeConsumption.all) == 1
        await Versions(into).resume(V1, 6)
        await until(lambda: len(FakeConsumption.all) == 2)
        assert runner.metrics.paused._value.get() == 0

    told(story)


def test_a_version_that_is_paused_when_the_worker_starts_does_not_join_at_all() -> None:
    async def run() -> None:
        into = await both()
        await Versions(into).pause(V1, "somebody looks", 5)
        runner = Worker(SmallLog(), into).runner
        async with live._Hosted(runner, FakeChannel(), Settings()) as hosted:  # type: ignore[arg-type, call-arg]
            await until(lambda: runner.still.is_known and not runner.still.must_leave)
            assert FakeConsumption.all == []
            assert not hosted.should_stop, "the worker goes on with its other parts"

    asyncio.run(run())


def test_a_retired_version_never_joins_again() -> None:
    async def story(hosted: live._Hosted, runner: GroupRunner, into: MemoryStore) -> None:
        await until(lambda: len(FakeConsumption.all) == 1)
        another = Promoting(V2.version, "p", "ann", 5)
        await Versions(into).begin_promotion(V1.group, another)
        await Versions(into).end_promotion(V1.group, another)  # what is read is never retired
        await into.swap("projection_version", tuple(V1), {"state": "retired"}, expected={"state": "shadow"})
        await until(lambda: FakeConsumption.all[0].ended and runner.still.is_final)
        await into.swap("projection_version", tuple(V1), {"state": "shadow"}, expected={"state": "retired"})
        runner.still._changed.set()
        await asyncio.sleep(1.2)  # longer than it takes to look again
        assert len(FakeConsumption.all) == 1
        assert not hosted.should_stop

    told(story)


def test_another_version_of_the_group_is_not_concerned() -> None:
    async def story(hosted: live._Hosted, runner: GroupRunner, into: MemoryStore) -> None:
        await until(lambda: len(FakeConsumption.all) == 1)
        await Versions(into).pause(V2, "somebody looks", 5)
        await runner.still.look()
        assert runner.still.may_go
        assert hosted.is_current(Batch(0, []))

    told(story)


def test_what_one_subscription_has_read_is_never_current_in_the_next_one() -> None:
    """A new member may get the same partitions while polls of the old one still wait in the channel."""
    made = [Subscription("127.0.0.1:9", f"g{number}", ["t"], assigned=dict.fromkeys, revoked=lambda _: None) for number in range(2)]
    try:
        first, second = (Batch(0, [], one._epoch(("t", 0)), "t") for one in made)
        assert first.epoch != second.epoch
        assert [made[0].is_current(first), made[1].is_current(first)] == [True, False]
        assert [made[0].is_current(second), made[1].is_current(second)] == [False, True]
    finally:
        for one in made:
            one.close()


def test_a_consumer_says_that_its_broker_is_unwell_in_the_producer_s_word() -> None:
    """Whoever watches the log looks for one word."""
    with capture_logs() as said:
        Subscription._troubled(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    assert said == [{"event": "broker_unwell", "reason": "_ALL_BROKERS_DOWN", "log_level": "warning"}]
