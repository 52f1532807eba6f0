"""A measured resolver over a channel topic that is there already, or the bare loop beside it: consume, produce, commit, nothing between.

python -m benchmarks.relaying SPEC        options: who (resolver, cold, bare), warm (records before the clock starts)

`cold` forgets whose handles are before each poll: every poll asks the store for all of its handles.
"""

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Final

import msgspec
from confluent_kafka import Consumer

from benchmarks.child import Specification, report, settings_of, specification
from benchmarks.figures import Usage
from benchmarks.meter import CountedStore, Meter
from connectors.producer import Producer
from schemas.codec import Codec
from streams.cluster import Place
from streams.consumption import Consumption
from streams.identity.appending import KafkaLog
from streams.identity.claims import Claims
from streams.identity.linker import Linker
from streams.identity.linking_rules import Linkable
from streams.identity.pairs import Pairs
from streams.identity.roots import Roots
from streams.records import Batch
from streams.resolver import ResolverRunner
from streams.resolving import Resolver
from streams.store.cassandra import CassandraStore
from streams.store.catalogue import control_tables
from touchline.logging import configure_logging
from touchline.settings import Settings

__all__ = ["Relayed"]

_FORGETS_S: Final = 1000.0


class Relayed(msgspec.Struct, frozen=True):
    """What a measured relay reports: what was used after the warm-up, and how long each link took before, ms."""

    usage: Usage
    links_ms: list[float] = []


class _Timed(Linker):
    """The product's linker, with a clock around it."""

    links_ms: list[float]

    async def settle(self, asked: Linkable) -> None:
        began = time.perf_counter()
        await super().settle(asked)
        self.links_ms.append((time.perf_counter() - began) * 1000)


class _Metered(ResolverRunner):
    """The product's runner; the clock runs from the end of the warm-up to the last record."""

    meter: Meter
    events: int
    warm: int
    store: CountedStore
    links_ms: list[float]
    done = 0
    requests = 0
    found: Relayed | None = None

    async def run(self, batches: Sequence[Batch]) -> None:
        before = self.done
        self.done += sum(len(batch.records) for batch in batches)
        await super().run(batches)
        if before < self.warm <= self.done:
            self.requests, self.begun = self.store.requests, self.done
            self.meter.start()
        if self.found is None and self.done >= self.events:
            self.found = Relayed(self.meter.usage(self.done - self.begun, requests=self.store.requests - self.requests), self.links_ms)


async def _resolver(spec: Specification, settings: Settings) -> Relayed:
    store, codec = CountedStore(await CassandraStore.connect(settings, control_tables())), Codec()
    steps = count()
    roots = Roots(clock_s=lambda: next(steps) * _FORGETS_S) if spec.options["who"] == "cold" else Roots()
    linker = _Timed(Claims(store), Pairs(store), roots, KafkaLog(settings.brokers, settings.topic("interaction"), linger="alerts"), codec)
    linker.links_ms = []
    runner = _Metered(
        Resolver(codec, future_max_s=10**9, roots=roots),
        Producer(settings.brokers),
        codec,
        topics=[settings.topic("channel.email")],
        interaction=settings.topic("interaction"),
        quarantine=settings.topic("quarantine"),
        group_id=f"{settings.keyspace}.{time.time_ns()}",
        linker=linker,
    )
    runner.meter, runner.events, runner.warm = Meter(spec.pids), spec.events, int(spec.options["warm"])
    runner.store, runner.links_ms = store, linker.links_ms
    loop, polls = asyncio.get_running_loop(), asyncio.Queue[list[Batch]](settings.batches_in_flight_max)
    consumption = Consumption(runner, settings, polls.put, loop)

    def commit(offsets: Mapping[Place, int]) -> None:
        consumption.commit(offsets)

    runner.commit = commit
    polling = asyncio.ensure_future(asyncio.to_thread(consumption.run))
    while runner.found is None:
        batches = await polls.get()
        await runner.run([batch for batch in batches if consumption.is_current(batch)])
    consumption.stop()
    await polling
    await store.close()
    return runner.found


async def _bare(spec: Specification, settings: Settings) -> Relayed:
    """Consume and produce the same bytes, commit after each poll once all is acknowledged: what the resolver's bookkeeping is held against."""
    meter, producer, topic, warm, done, begun = (
        Meter(spec.pids),
        Producer(settings.brokers),
        settings.topic("interaction"),
        int(spec.options["warm"]),
        0,
        0,
    )
    consumer = Consumer(
        {
            "bootstrap.servers": settings.brokers,
            "group.id": f"{settings.keyspace}.{time.time_ns()}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([settings.topic("channel.email")])
    while done < spec.events:
        messages = consumer.consume(settings.poll_records_max, 0.2)
        for message in messages:
            producer.produce(topic, message.key(), message.value())
        if messages:
            await producer.drain()
            consumer.commit(asynchronous=False)
        before, done = done, done + len(messages)
        if before < warm <= done:
            begun = done
            meter.start()
    usage = meter.usage(done - begun)
    consumer.close()
    return Relayed(usage)


def main(arguments: Sequence[str]) -> None:
    """Run one measured relay."""
    spec = specification(arguments)
    settings = settings_of(spec)
    configure_logging(settings.log_level)
    work = _bare if spec.options["who"] == "bare" else _resolver
    report(spec, asyncio.run(work(spec, settings)))


if __name__ == "__main__":
    main(sys.argv)
