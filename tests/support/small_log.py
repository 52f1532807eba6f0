"""A worker on a small scale: a log in memory, a broker with a clock of its own, a runner with its timers. Time moves when the test says so."""

import asyncio
from collections.abc import Callable, Sequence

from projections.kernel import Config, Effect
from projections.registry import Group
from schemas.codec import Head
from schemas.events import TimerWoke
from schemas.record import Event
from streams.cluster import Place
from streams.engine import Engine
from streams.records import Batch, RawRecord
from streams.runner import GroupRunner
from streams.store.memory import MemoryStore
from streams.wakeups import Wake
from tests.support.clockwork import CODEC, GROUP, SECOND, record, rules, store

TOPIC = "touchline.interaction.v1"
DEADLINE_S = 20.0


class SmallLog:
    """Two partitions; the clock, and by how much the broker's is behind it. It is a `Waker`: what it is given lies in it at once."""

    def __init__(self) -> None:
        self.partitions: list[list[RawRecord]] = [[], []]
        self.now_us = 1000 * SECOND
        self.behind_us = 0
        self.appended: list[TimerWoke] = []
        self.portions: list[int] = []

    def put(self, event: Event, partition: int = 0) -> None:
        """Append an event now."""
        records = self.partitions[partition]
        records.append(record(len(records), event, 0)._replace(appended_us=self.stamp_us()))

    def stamp_us(self) -> int:
        """Return the broker's time: it ticks in milliseconds."""
        return (self.now_us - self.behind_us) // 1000 * 1000

    async def append(self, wakes: Sequence[Wake]) -> list[int]:
        """Append wake-ups."""
        self.portions.append(len(wakes))
        for wake in wakes:
            event = wake.event("clockwork")
            self.appended.append(event)
            records = self.partitions[wake.partition]
            records.append(RawRecord(len(records), wake.subject.id.encode(), CODEC.encode(event), self.stamp_us()))
        return [self.stamp_us()] * len(wakes)

    def woken(self) -> list[tuple[str, str]]:
        """Return (customer, timer) of the wake-ups so far."""
        return [(event.header.customer_id, event.timer) for event in self.appended]


class Effects:
    """Keeps the effects that were sent."""

    def __init__(self) -> None:
        self.sent: list[Effect] = []

    async def send(self, effects: Sequence[Effect]) -> None:
        """Take them."""
        self.sent.extend(effects)


class Worker:
    """One process: it owns partitions, folds what is in the log, and wakes."""

    def __init__(
        self, log: SmallLog, into: MemoryStore | None = None, *, cached: int = 1000, wakes_per_s: int = 100_000, group: Group = GROUP
    ) -> None:
        self.log = log
        self.into = into or store()
        engine = Engine(group, CODEC, tenant="acme", cached_subjects_max=cached, config=Config((rules(60),)))
        self.effects = Effects()
        self.runner = GroupRunner(
            engine, self.into, self.effects, topic=TOPIC, waker=log, wakes_per_s=wakes_per_s, snapshots_per_s=100_000, now_us=lambda: log.now_us
        )
        self._read: dict[int, int] = {}
        self._tending: asyncio.Task[None] | None = None

    async def own(self, *partitions: int) -> "Worker":
        """Take partitions over, and begin to wake."""
        starts = await self.runner.assign([Place(TOPIC, partition) for partition in partitions])
        self._read |= {place.partition: start or 0 for place, start in starts.items()}
        self._tending = self._tending or asyncio.create_task(self.runner.tend())
        return self

    async def give_away(self, *partitions: int) -> None:
        """Give partitions away."""
        await self.runner.revoke([Place(TOPIC, partition) for partition in partitions])
        for partition in partitions:
            del self._read[partition]

    async def fold(self) -> None:
        """Read and fold what is in the log, and wait until it is written."""
        for partition, start in list(self._read.items()):
            if new := self.log.partitions[partition][start:]:
                await self.runner.run([Batch(partition, new, topic=TOPIC)])
                self._read[partition] = start + len(new)
        await self.runner.drain()

    async def until(self, met: Callable[[], bool]) -> None:
        """Wait until something is so; fail if it does not come, or if waking ended."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + DEADLINE_S
        while not met():
            if self._tending is not None and self._tending.done():
                self._tending.result()
            if loop.time() > end_s:
                raise AssertionError("it did not come")
            await asyncio.sleep(0.005)

    async def settle(self) -> None:
        """Let waking have some turns: what is not woken after them is not going to be."""
        await asyncio.sleep(0.2)

    async def stop(self) -> None:
        """End."""
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.gather(self._tending, return_exceptions=True)

    def rang(self) -> list[tuple[object, ...]]:
        """Return (conversation, how often, due in s) of what rang."""
        rows = self.into._kind("ring_v1").partitions
        return sorted((key[0], row.cells["n"].value, row.cells["rang_at"].value) for found in rows.values() for key, row in found.rows.items())  # type: ignore[misc]


def head_of(value: bytes) -> Head:
    """Return the header of a record that is one."""
    head = CODEC.head(value)
    assert isinstance(head, Head)
    return head
