"""A measured worker: the product's own driver and runner over a log that is there already, until its end; then it stops itself.

    python -m benchmarks.worker SPEC        options: group (job, view, resolver), host (faust, bare), sample_every, warm, forgets

The first `warm` records are not measured. A resolver that `forgets` asks the store, with every poll, whose all of its handles are.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from itertools import count
from typing import Any, Final

import msgspec

from benchmarks.child import Specification, report, settings_of, specification
from benchmarks.figures import Usage
from benchmarks.meter import CountedStore, Meter, rss_mb
from connectors.producer import Producer
from projections.registry import GROUPS, Group
from projections.timeline import Timeline
from schemas.codec import Codec
from streams.assembly import resolver_linker, resolver_runner
from streams.cluster import Place
from streams.consumption import Consumption
from streams.engine import Engine
from streams.hosted import Runner
from streams.identity.claim import Claim
from streams.identity.linker import Linker
from streams.identity.linking_rules import Linkable
from streams.identity.roots import Roots
from streams.live import build_app, run_worker
from streams.outbox import KafkaEffects
from streams.records import Batch
from streams.relay import Relay
from streams.runner import GroupRunner
from streams.store.cassandra import CassandraStore
from streams.store.catalogue import control_tables, known_tables
from touchline.logging import configure_logging
from touchline.settings import Settings

__all__ = ["GROUPS_MEASURED", "JOB", "Found", "Sample"]

JOB = Group("job", 1, (Timeline(),))
"""The benchmark job: one timeline row and one state row per event."""

GROUPS_MEASURED = {"job": JOB, "view": GROUPS["view"]}

_FORGETS_S: Final = 1000.0
"""By how much a resolver's clock goes on between two looks if it is to forget: more than it ever believes what it read."""


class Sample(msgspec.Struct, frozen=True):
    """The memory of a worker after so many events."""

    events: int
    rss_mb: float
    cached_subjects: int


class Found(msgspec.Struct, frozen=True):
    """What a worker reports. `threads`: CPU seconds by the name of the thread; `links_ms`: how long each link took, those of the warm-up too."""

    usage: Usage
    samples: list[Sample] = []
    threads: dict[str, float] = {}
    links_ms: list[float] = []


class _Metered:
    """Stops the clock when the last record is written. It runs from the assignment on, before anything is fetched, or from the warm-up's end."""

    def __init__(self, spec: Specification, store: CountedStore) -> None:
        self.done = 0
        self.samples: list[Sample] = []
        self.links_ms: list[float] = []
        self.engine: Engine | None = None
        self._spec = spec
        self._store = store
        self._meter = Meter(spec.pids)
        self._warm = int(spec.options.get("warm", 0))
        self._sample_every = int(spec.options.get("sample_every", 0))
        self._before = (0, 0, 0)

    def start(self) -> None:
        """Start the clock."""
        self._before = (self.done, self._store.rows, self._store.requests)
        self._meter.start()

    async def passed(self, batches: Sequence[Batch], drain: Callable[[], Awaitable[None]]) -> None:
        """Count a poll; after the last one wait for its writes, report and end the process as Ctrl-C would."""
        before = self.done
        self.done += sum(len(batch.records) for batch in batches)
        if self._sample_every and self.done // self._sample_every > before // self._sample_every:
            self.samples.append(Sample(self.done, rss_mb(), self.engine.cached_subjects if self.engine else 0))
        if before < self._warm <= self.done:
            await drain()
            self.start()
        if before < self._spec.events <= self.done:
            await drain()
            done, rows, requests = self._before
            usage = self._meter.usage(self.done - done, rows=self._store.rows - rows, requests=self._store.requests - requests)
            report(self._spec, Found(usage, self.samples, self._meter.by_thread(), self.links_ms))
            os.kill(os.getpid(), signal.SIGINT)

    def watch(self, runner: Runner) -> None:
        """Stand at both ends of the product's runner."""
        assign, run = runner.assign, runner.run

        async def assigned(places: Sequence[Place]) -> dict[Place, int | None]:
            starts = await assign(places)
            self.start()
            return starts

        async def ran(batches: Sequence[Batch]) -> None:
            await run(batches)
            await self.passed(batches, runner.drain)

        runner.assign, runner.run = assigned, ran  # type: ignore[method-assign]  # the product's own, whichever runner it is

    def time(self, linker: Linker) -> None:
        """Note how long each link takes, from the record that asks for it."""
        settle, link = linker.settle, linker.link
        is_linked = ContextVar("is_linked", default=False)

        async def linked(one: Claim, target: Claim, **how: Any) -> bool:  # noqa: ANN401 - handed on as it came
            made = await link(one, target, **how)
            is_linked.set(is_linked.get() or made)
            return made

        async def timed(asked: Linkable) -> None:
            is_linked.set(False)
            began_s = time.perf_counter()
            await settle(asked)
            if is_linked.get():
                self.links_ms.append((time.perf_counter() - began_s) * 1000)

        linker.settle, linker.link = timed, linked  # type: ignore[method-assign]


async def _built(spec: Specification, settings: Settings) -> tuple[list[Runner], Callable[[], Awaitable[None]]]:
    """Build the runner as `streams/assembly.py` does, with the group and the meter of the specification. It reads from the log's beginning."""
    codec, producer = Codec(), Producer(settings.brokers)
    group = GROUPS_MEASURED.get(spec.options["group"])
    tables = control_tables() if group is None else known_tables([group])
    store = CountedStore(await CassandraStore.connect(settings, tables))
    metered = _Metered(spec, store)
    runner: Runner
    if group is None:
        linker = resolver_linker(settings, store, codec, _forgetful() if spec.options.get("forgets") else Roots())
        metered.time(linker)
        runner = resolver_runner(settings, linker, producer, codec)
        runner.group_id = f"{settings.keyspace}.{time.time_ns()}"  # nobody has committed anything under it
    else:
        metered.engine = Engine(group, codec, tenant=settings.tenant, cached_subjects_max=settings.cached_subjects_max)
        runner = GroupRunner(metered.engine, store, KafkaEffects(producer, codec, settings.topic), topic=settings.topic("interaction"))
    metered.watch(runner)
    return [runner], store.close


def _forgetful() -> Roots:
    looks = count()
    return Roots(clock_s=lambda: next(looks) * _FORGETS_S)


async def _bare(spec: Specification, settings: Settings) -> None:
    """Run without Faust: the same poll loop and runner, with an asyncio queue between them."""
    [runner], release = await _built(spec, settings)
    loop, polls = asyncio.get_running_loop(), asyncio.Queue[list[Batch]](settings.batches_in_flight_max)
    consumption = Consumption(runner, settings, polls.put, loop)
    if isinstance(runner, Relay):
        runner.commit = consumption.commit
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
