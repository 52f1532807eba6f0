"""A live worker whose latency is measured: from the append time of a record to the moment at which its checkpoint stands in the store.

python -m benchmarks.answering SPEC     options: rate (events/s, which it appends itself); ends after `events`
"""

import asyncio
import os
import signal
import sys
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence

import msgspec

from benchmarks.child import Specification, report, settings_of, specification
from benchmarks.material import job_log
from benchmarks.meter import CountedStore
from benchmarks.worker import JOB
from connectors.producer import Producer
from schemas.codec import Codec
from streams.cluster import Cluster
from streams.consumption import Consumption
from streams.engine import Engine
from streams.outbox import KafkaEffects
from streams.records import Batch
from streams.runner import GroupRunner
from streams.store.cassandra import CassandraStore
from streams.store.catalogue import known_tables
from streams.store.port import Checkpoint, GroupVersion
from touchline.logging import configure_logging
from touchline.settings import Settings

__all__ = ["Latencies"]

_TICK_S = 0.01
_LEFT_OUT_S = 2.0
"""At the beginning: connections and caches are cold."""


class Latencies(msgspec.Struct, frozen=True):
    """What was measured, in ms, in the order in which it came."""

    ms: list[float]


class _TimedStore(CountedStore):
    """Knows when a checkpoint was written, and of which records it is."""

    def __init__(self, inner: CassandraStore) -> None:
        super().__init__(inner)
        self.waiting: dict[int, deque[tuple[int, int]]] = defaultdict(deque)
        self.ms: list[float] = []

    async def save_checkpoints(self, group: GroupVersion, checkpoints: Mapping[int, Checkpoint]) -> None:
        """Write them, and look at the clock."""
        await super().save_checkpoints(group, checkpoints)
        now_us = time.time_ns() // 1000
        for partition, checkpoint in checkpoints.items():
            waiting = self.waiting[partition]
            while waiting and waiting[0][0] < checkpoint.next_offset:
                self.ms.append((now_us - waiting.popleft()[1]) / 1000)


async def _measured(spec: Specification, settings: Settings) -> None:
    codec, topic = Codec(), settings.topic("interaction")
    store = _TimedStore(await CassandraStore.connect(settings, known_tables([JOB])))
    ends = {place.partition: end for place, end in Cluster(settings.brokers).end_offsets([topic]).items()}
    now_us = time.time_ns() // 1000
    version = GroupVersion(JOB.name, JOB.version)
    await store.save_checkpoints(version, {p: Checkpoint(end, now_us, active=True, event_time_us=now_us) for p, end in ends.items()})
    engine = Engine(JOB, codec, tenant=settings.tenant, cached_subjects_max=settings.cached_subjects_max)
    runner = GroupRunner(engine, store, KafkaEffects(Producer(settings.brokers), codec, settings.topic), topic=topic)
    polls: asyncio.Queue[list[Batch]] = asyncio.Queue(settings.batches_in_flight_max)
    consumption = Consumption(runner, settings, polls.put, asyncio.get_running_loop())
    polling = asyncio.ensure_future(asyncio.to_thread(consumption.run))
    folding = asyncio.ensure_future(_folded(polls, consumption, runner, store))
    await _append(settings, topic, spec.events, float(spec.options["rate"]))
    deadline = time.monotonic() + 30
    while any(store.waiting.values()) and time.monotonic() < deadline:  # noqa: ASYNC110 - a benchmark that ends
        await asyncio.sleep(0.05)
    consumption.stop()
    await polling
    folding.cancel()
    report(spec, Latencies(store.ms[round(_LEFT_OUT_S * spec.options["rate"]) :]))
    await store.close()


async def _append(settings: Settings, topic: str, events: int, rate: float) -> None:
    """Append events at an even pace."""
    producer, began_s = Producer(settings.brokers, linger="alerts"), time.monotonic()
    for done, (key, value) in enumerate(job_log(events, seed=os.getpid()), 1):
        producer.produce(topic, key, value)
        if (ahead_s := done / rate - (time.monotonic() - began_s)) > 0:
            await asyncio.sleep(max(ahead_s, _TICK_S))
    await producer.drain()


async def _folded(polls: "asyncio.Queue[list[Batch]]", consumption: Consumption, runner: GroupRunner, store: _TimedStore) -> None:
    while True:
        mine = [batch for batch in await polls.get() if consumption.is_current(batch)]
        for batch in mine:
            store.waiting[batch.partition].extend((record.offset, record.appended_us) for record in batch.records)
        if mine:
            await runner.run(mine)


def main(arguments: Sequence[str]) -> None:
    """Run one measured worker."""
    spec = specification(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logging("warning")
    asyncio.run(_measured(spec, settings_of(spec)))


if __name__ == "__main__":
    main(sys.argv)
