"""A measured worker: the product's own driver and runner over a log that is there already, until its end; then it stops itself.

python -m benchmarks.worker SPEC        options: group (job, view, resolver), host (faust, bare), sample_every
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from benchmarks.child import Specification, report, settings_of, specification
from benchmarks.figures import Usage
from benchmarks.meter import CountedStore, Meter, rss_mb
from connectors.producer import Producer
from projections.registry import GROUPS, Group
from projections.timeline import Timeline
from schemas.codec import Codec
from schemas.topics import CHANNELS
from streams.assembly import resolver_group
from streams.cluster import Place
from streams.consumption import Consumption
from streams.engine import Engine
from streams.hosted import Runner
from streams.live import build_app, run_worker
from streams.outbox import KafkaEffects
from streams.records import Batch
from streams.resolver import ResolverRunner
from streams.resolving import Resolver
from streams.runner import GroupRunner
from streams.store.cassandra import CassandraStore
from streams.store.catalogue import known_tables
from touchline.logging import configure_logging
from touchline.settings import Settings

__all__ = ["GROUPS_MEASURED", "JOB", "Found", "Sample"]

JOB = Group("job", 1, (Timeline(),))
"""The benchmark job: one timeline row and one state row per event."""

GROUPS_MEASURED = {"job": JOB, "view": GROUPS["view"]}


class Sample(msgspec.Struct, frozen=True):
    """The memory of a worker after so many events."""

    events: int
    rss_mb: float
    cached_subjects: int


class Found(msgspec.Struct, frozen=True):
    """What a worker reports. `threads`: CPU seconds by the name of the thread."""

    usage: Usage
    samples: list[Sample] = []
    threads: dict[str, float] = {}


class _Metered:
    """Stops the clock when the last record is written. The clock runs from the assignment on, before anything is fetched."""

    def __init__(self, spec: Specification) -> None:
        self.done = 0
        self.samples: list[Sample] = []
        self.store: CountedStore | None = None
        self.engine: Engine | None = None
        self._spec = spec
        self._meter = Meter(spec.pids)
        self._sample_every = int(spec.options.get("sample_every", 0))

    def start(self) -> None:
        """Start the clock."""
        self._meter.start()

    async def passed(self, batches: Sequence[Batch], drain: Callable[[], Awaitable[None]]) -> None:
        """Count a poll; after the last one wait for its writes, report and end the process as Ctrl-C would."""
        before = self.done
        self.done += sum(len(batch.records) for batch in batches)
        if self._sample_every and self.done // self._sample_every > before // self._sample_every:
            self.samples.append(Sample(self.done, rss_mb(), self.engine.cached_subjects if self.engine else 0))
        if before < self._spec.events <= self.done:
            await drain()
            store = self.store
            usage = self._meter.usage(self.done, rows=store.rows if store else 0, requests=store.requests if store else 0)
            report(self._spec, Found(usage, self.samples, self._meter.by_thread()))
            os.kill(os.getpid(), signal.SIGINT)


class _Group(GroupRunner):
    """The product's runner with a meter at its two ends."""

    metered: _Metered

    async def assign(self, places: Sequence[Place]) -> dict[Place, int | None]:
        starts = await super().assign(places)
        self.metered.start()
        return starts

    async def run(self, batches: Sequence[Batch]) -> None:
        await super().run(batches)
        await self.metered.passed(batches, self.drain)


class _Resolver(ResolverRunner):
    """The same for the resolver."""

    metered: _Metered

    async def assign(self, places: Sequence[Place]) -> dict[Place, int | None]:
        starts = await super().assign(places)
        self.metered.start()
        return starts

    async def run(self, batches: Sequence[Batch]) -> None:
        await super().run(batches)
        await self.metered.passed(batches, self.drain)


async def _built(spec: Specification, settings: Settings) -> tuple[list[Runner], Callable[[], Awaitable[None]]]:
    """Build the runner as `streams/assembly.py` does, with the group and the meter of the specification."""
    codec, producer, metered = Codec(), Producer(settings.brokers), _Metered(spec)
    name = spec.options["group"]
    if name == "resolver":
        resolver = _Resolver(
            Resolver(codec, future_max_s=settings.future_max_s),
            producer,
            codec,
            topics=[settings.topic(f"channel.{channel}") for channel in CHANNELS],
            interaction=settings.topic("interaction"),
            quarantine=settings.topic("quarantine"),
            group_id=resolver_group(settings),
        )
        resolver.metered = metered

        async def nothing() -> None:
            pass

        return [resolver], nothing
    group = GROUPS_MEASURED[name]
    store = CountedStore(await CassandraStore.connect(settings, known_tables([group])))
    engine = Engine(group, codec, tenant=settings.tenant, cached_subjects_max=settings.cached_subjects_max)
    runner = _Group(engine, store, KafkaEffects(producer, codec, settings.topic), topic=settings.topic("interaction"))
    runner.metered, metered.store, metered.engine = metered, store, engine
    return [runner], store.close


async def _bare(spec: Specification, settings: Settings) -> None:
    """Run without Faust: the same poll loop and runner, with an asyncio queue between them."""
    [runner], release = await _built(spec, settings)
    loop, polls = asyncio.get_running_loop(), asyncio.Queue[list[Batch]](settings.batches_in_flight_max)
    consumption = Consumption(runner, settings, polls.put, loop)
    loop.add_signal_handler(signal.SIGINT, consumption.stop)
    polling = asyncio.ensure_future(asyncio.to_thread(consumption.run))
    folding = asyncio.ensure_future(_folded(polls, consumption, runner))
    await asyncio.wait([polling, folding], return_when=asyncio.FIRST_COMPLETED)
    folding.cancel()
    await polling
    await release()


async def _folded(polls: "asyncio.Queue[list[Batch]]", consumption: Consumption, runner: Runner) -> None:
    while True:
        mine = [batch for batch in await polls.get() if consumption.is_current(batch)]
        if mine:
            await runner.run(mine)


def main(arguments: Sequence[str]) -> Any:  # noqa: ANN401 - it does not return where Faust hosts it
    """Run one measured worker."""
    spec = specification(arguments)
    settings = settings_of(spec)
    configure_logging(settings.log_level)
    if spec.options.get("host") == "bare":
        return asyncio.run(_bare(spec, settings))
    name = str(spec.options["group"])
    group = GROUPS_MEASURED.get(name)
    return run_worker(build_app(settings, lambda chosen: _built(spec, chosen), [name if group is None else f"{name}.v{group.version}"]))


if __name__ == "__main__":
    main(sys.argv)
