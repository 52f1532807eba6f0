"""Timers on real servers: the owner of a partition wakes, its successor goes on, and a plain reader of the log comes to the same."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from benchmarks.figures import percentile
from connectors.producer import Producer
from deploy.local.testing import LiveStack
from projections.kernel import Config, Effect
from schemas.codec import Undecodable
from schemas.events import TimerWoke
from streams.consumption import Consumption
from streams.engine import Engine
from streams.patience import Patience
from streams.records import Batch, RawRecord
from streams.runner import GroupRunner
from streams.store.cassandra import CassandraStore
from streams.store.catalogue import control_tables
from streams.store.driver import Driver
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion
from streams.tallies import Tallies
from streams.wakeups import KafkaWaker, Wake
from streams.waking import TimerService
from tests.support.clockwork import CODEC, GROUP, SECOND, event, rules
from tests.support.clockwork import store as memory
from tests.support.harness import Installation, installed
from tests.support.topics import stored
from touchline.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

VERSION = GroupVersion("clockwork", 1)
CONFIG = Config((rules(4),))
CUSTOMERS = 400
WITHIN_S = 60.0


class Effects:
    """Keeps the effects that were sent, by key."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()

    async def send(self, effects: Sequence[Effect]) -> None:
        """Take them."""
        self.sent.update(effect.key for effect in effects)


class Watched(KafkaWaker):
    """Notes how late each wake-up came onto the log; negative: it was stamped too early, and came again."""

    late_us: list[int]

    async def append(self, wakes: Sequence[Wake]) -> list[int]:
        """Append, and note."""
        found = await super().append(wakes)
        self.late_us += [at_us - wake.expires_us for wake, at_us in zip(wakes, found, strict=True)]
        return found


class Owner:
    """A worker of the group in this process: it consumes, folds and wakes until it is stopped, or dies at once."""

    def __init__(self, settings: Settings, store: CassandraStore, effects: Effects, late_us: list[int]) -> None:
        engine = Engine(GROUP, CODEC, tenant="acme", cached_subjects_max=100, config=CONFIG, settle_s=1)
        topic = settings.topic("interaction")
        producer = Producer(settings.brokers, linger="alerts", reports=True)
        waker = Watched(producer, CODEC, topic=topic, group="clockwork", patience=Patience("timers"))
        waker.late_us = late_us
        self.runner = GroupRunner(engine, store, effects, topic=topic, waker=waker)
        self._consumption = Consumption(self.runner, settings, self.runner.run, asyncio.get_running_loop())
        self._polling = asyncio.create_task(asyncio.to_thread(self._consumption.run))
        self._tending = asyncio.create_task(self.runner.tend())

    @property
    def timers(self) -> TimerService:
        """Its timers."""
        assert self.runner.timers is not None
        return self.runner.timers

    async def until(self, met: Any, what: str) -> None:
        """Wait until something is so."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + WITHIN_S
        while not met():
            for task in (self._polling, self._tending):
                if task.done():
                    task.result()
            assert loop.time() < end_s, f"it did not come that {what}"
            await asyncio.sleep(0.05)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave, whatever happened: a thread that polls on would keep the test from ending."""
        self._tending.cancel()
        await asyncio.gather(self._tending, return_exceptions=True)
        self._consumption.stop()
        await self._polling


def ask(settings: Settings, producer: Producer, now_us: int) -> None:
    """Let every customer ask now, and every fourth be answered a second later."""
    topic = settings.topic("interaction")
    for customer in range(CUSTOMERS):
        asked = event("received", customer, now_us / SECOND)
        producer.produce(topic, f"c{customer}".encode(), CODEC.encode(asked))
        if customer % 4 == 0:
            answered = event("sent", customer, now_us / SECOND + 1)
            producer.produce(topic, f"c{customer}".encode(), CODEC.encode(answered))
    producer.flush()


def by_partition(settings: Settings) -> dict[int, list[RawRecord]]:
    """Return the log as a bare consumer reads it."""
    found: dict[int, list[RawRecord]] = defaultdict(list)
    for one in stored(settings.brokers, [settings.topic("interaction")]):
        found[one.partition].append(RawRecord(one.offset, one.key, one.value, one.timestamp_ms * 1000))
    return found


async def folded_in_memory(log: dict[int, list[RawRecord]]) -> MemoryStore:
    """Fold the partitions, one after the other, without any server."""
    into = memory()
    engine = Engine(GROUP, CODEC, tenant="acme", cached_subjects_max=1000, config=CONFIG, settle_s=1)
    tallies = Tallies(GROUP, into)
    for partition, records in log.items():
        engine.open(partition, None)
        for at in range(0, len(records), 50):
            work = engine.feed(engine.take(Batch(partition, records[at : at + 50])), {})
            await tallies.add([work], engine.work_number)
            await into.write([*work.fan_out, *work.own])
    return into


async def tables(store: Any) -> dict[str, list[dict[str, Any]]]:
    """Return rows, figures and states, as any store has them."""
    found = {table: await store.scan(table) for table in ("ring_v1", "heard_v1", "tone_v1", "clockwork_v1_state")}
    found["clockwork_v1_state"] = [row | {"timers": row["timers"] or b""} for row in found["clockwork_v1_state"]]
    return {table: sorted(rows, key=repr) for table, rows in found.items()}


def with_tables(here: Installation) -> Settings:
    """Create the group's tables; polls are short, so that a death finds something under way."""
    driver = Driver.open(here.settings)
    try:
        for table in GROUP.tables():
            driver.execute(table.cql(here.settings.keyspace), timeout_s=60)
    finally:
        driver.close()
    return here.settings.model_copy(update={"poll_records_max": 100})


def test_every_timer_rings_once_and_in_time_though_its_owner_leaves(stack: LiveStack, tmp_path: Path) -> None:
    """One owner before anything is due, one while it is due, one for the rest; what each was late is printed."""

    async def story(settings: Settings) -> None:
        store = await CassandraStore.connect(settings, [*GROUP.tables(), *control_tables()])
        effects, late_us = Effects(), list[int]()
        unanswered = {f"c{n}/a" for n in range(CUSTOMERS) if n % 4}
        try:
            async with Owner(settings, store, effects, late_us) as owner:
                await owner.until(lambda: owner.timers._unread, "it owns partitions")
                await asyncio.to_thread(ask, settings, Producer(settings.brokers), time.time_ns() // 1000)
                await owner.until(lambda: owner.timers.waiting == len(unanswered), "everybody has asked")
            async with Owner(settings, store, effects, late_us) as owner:
                await owner.until(lambda: len(effects.sent) >= len(unanswered) // 2, "half of them rang")
            async with Owner(settings, store, effects, late_us) as owner:
                await owner.until(lambda: sum(effects.sent.values()) >= 3 * len(unanswered), "all rang three times")
                await owner.until(lambda: not (owner.timers.waiting or owner.timers._flying or owner.timers._woken), "nothing waits")
            assert set(effects.sent) == unanswered
            assert set(effects.sent.values()) == {3}, "each rings three times, whoever noticed"
            found = await tables(store)
            assert {row["conversation"]: row["n"] for row in found["ring_v1"]} == dict.fromkeys(unanswered, 3)
            log = await asyncio.to_thread(by_partition, settings)
            assert await tables(await folded_in_memory(log)) == found, "a plain consumer and the store in memory come to the same"
            woken = [
                head
                for records in log.values()
                for one in records
                if not isinstance(head := CODEC.head(one.value), Undecodable) and head.type is TimerWoke
            ]
            in_time = sorted(at for at in late_us if at > 0)
            print(  # noqa: T201 - figures for whoever runs it with -s
                f"\n{len(woken)} wake-ups for {6 * len(unanswered)} timers (a ring has an echo), {len(late_us) - len(in_time)} stamped too early;"
                f" late: median {percentile(in_time, 50) / 1000:.0f} ms, p99 {percentile(in_time, 99) / 1000:.0f} ms (take-overs included)"
            )
        finally:
            await store.close()

    with installed(stack, tmp_path, "timers") as here:
        asyncio.run(story(with_tables(here)))
