"""What `touchline bench replay` measures: a replay beside the live path over one log, processes, live latency beside it, and memory.

Everything is measured in one run, on one stack; what is promised are ratios. Targets are those of docs/replay.md.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import msgspec

from benchmarks.answering import Latencies
from benchmarks.child import findings
from benchmarks.figures import Figure, Grid, Section, Usage, comparison, percentile, ratio, sparkline
from benchmarks.material import job_log
from benchmarks.stage import PARTITIONS, Stage
from benchmarks.worker import JOB, Found
from streams.digesting import store_digest
from streams.store.cassandra import CassandraStore
from touchline.settings import Settings

__all__ = ["HISTORY_EVENTS", "NAMES", "ReplayPlan", "measured"]

NAMES: Final = ("job", "processes", "latency", "memory")
"""The parts, by which `--only` chooses."""

HISTORY_EVENTS: Final = 657_000_000
"""A year and a half of a large centre: what the projected hours are of."""

T = TypeVar("T")

_LIVE: Final = "live worker (Faust), polls of 1,000"
_LARGE: Final = "live worker (Faust), polls of 4,000"
_REPLAY: Final = "replay"
_LIVE_RATE: Final = 500
_THROTTLED_RATE: Final = 1000
_LIVE_S: Final = 30
_SAMPLE_EVERY: Final = 100_000
_HOUR_S: Final = 3600.0


class ReplayPlan(msgspec.Struct, frozen=True):
    """How much is measured: `events` are the benchmark job's, `memory_events` those that the memory is watched over."""

    events: int = 200_000
    repeat: int = 3
    memory_events: int = 5_000_000
    parts: frozenset[str] = frozenset(NAMES) - {"memory"}


def measured(stage: Stage, plan: ReplayPlan, say: Callable[[str], None]) -> Iterator[Section]:
    """Measure what the plan asks for, section by section; `say` is told what is under way."""
    run = _Run(stage, plan, say)
    if plan.parts & {"job", "processes", "latency"}:
        run.prepare()
    if "job" in plan.parts:
        yield run.job()
    if "processes" in plan.parts:
        yield run.processes()
    if "latency" in plan.parts:
        yield run.latency()
    if "memory" in plan.parts:
        yield run.memory()


class _Run:
    """The measurements over one stage."""

    def __init__(self, stage: Stage, plan: ReplayPlan, say: Callable[[str], None]) -> None:
        self._stage, self._plan, self._say = stage, plan, say
        self._live = stage.settings("live")
        self._again = stage.settings("again").model_copy(update={"topic_prefix": self._live.topic_prefix})

    def prepare(self) -> None:
        """Make the log that everything is read from, and the tables of both sides."""
        self._stage.make_topics(self._live)
        for settings in (self._live, self._again):
            self._stage.make_tables(settings, JOB.tables())
        self._say(f"Writing the log of the benchmark job, {self._plan.events:,} events")
        self._stage.append(self._live, job_log(self._plan.events))

    def job(self) -> Section:
        """Fold one log live and by a replay, in turns."""
        runs: dict[str, list[Usage]] = {_REPLAY: [], _LIVE: [], _LARGE: []}
        self._worker(1000, "warming up")
        for _ in range(self._plan.repeat):
            runs[_LIVE].append(self._worker(1000, _LIVE))
            runs[_LARGE].append(self._worker(4000, _LARGE))
            runs[_REPLAY].append(self._replay(_REPLAY).usage)
        same = asyncio.run(_digest(self._live)) == asyncio.run(_digest(self._again))
        found, live = runs[_REPLAY], runs[_LIVE]
        rate = sorted(u.events_per_s for u in found)[len(found) // 2]
        stores = [u.store_us for u in found if u.store_us is not None]
        figures = (
            Figure("events per CPU second, × the live path's", "×", (ratio([u.client_us for u in live], [u.client_us for u in found]),), at_least=5),
            Figure("the same of client and servers together", "×", (ratio([*map(_all_cpu_s, live)], [*map(_all_cpu_s, found)]),)),
            Figure("rows per event", "", tuple(u.rows_per_event for u in found), at_most=1.15),
            Figure("requests per event", "", tuple(u.requests_per_event for u in found), at_most=0.15),
            Figure("client CPU per event", "µs", tuple(u.client_us for u in found)),
            *((Figure("store CPU per event", "µs", tuple(stores)),) if stores else ()),
            Figure("events per second", "1/s", tuple(u.events_per_s for u in found)),
            Figure(f"hours for {HISTORY_EVENTS // 1_000_000} M events, one process", "h", (HISTORY_EVENTS / rate / _HOUR_S,)),
        )
        notes = (f"The reader tables of both have {'the same digest' if same else 'DIFFERENT DIGESTS'}.",)
        return Section("job", "A replay beside the live path: the benchmark job", figures, (comparison(runs, _REPLAY),), notes)

    def processes(self) -> Section:
        """Replay by one process and by two, into nothing and into the store."""
        halves = [list(range(n, PARTITIONS, 2)) for n in range(2)]
        times: dict[str, list[float]] = {"none": [], "real": []}
        share: list[float] = []
        for _ in range(self._plan.repeat):
            for store, found in times.items():
                one = self._replay(f"one process, store: {store}", store=store).usage
                two = self._both(halves, store)
                found.append(sum(u.events_per_s for u in two) / one.events_per_s)
                if store == "real" and one.store_cpu_s is not None:
                    share.append(100 * one.store_cpu_s / (one.store_cpu_s + one.client_cpu_s))
        figures = (
            Figure("two processes, × one, where nothing is stored", "×", tuple(times["none"]), at_least=1.8),
            Figure("two processes, × one, with the store on the same machine", "×", tuple(times["real"])),
            *((Figure("the store's share of the CPU time, one process", "%", tuple(share)),) if share else ()),
        )
        return Section("processes", "Two processes", figures)

    def latency(self) -> Section:
        """Measure a live worker's latency alone, and beside a throttled replay."""
        alone: list[float] = []
        beside: list[float] = []
        for _ in range(self._plan.repeat):
            alone.append(percentile(self._answered("live alone"), 99))
            with ThreadPoolExecutor(1) as pool:
                replaying = pool.submit(
                    self._replay, "a throttled replay beside it", rate=_THROTTLED_RATE, seconds=_LIVE_S + 5, chunk=2 * _THROTTLED_RATE
                )
                beside.append(percentile(self._answered("live, a replay beside it"), 99))
                replaying.result()
        figures = (
            Figure("live p99 beside a throttled replay, × alone", "×", (ratio(beside, alone),), at_most=1.5),
            Figure("live p99 alone", "ms", tuple(alone)),
            Figure("live p99 beside it", "ms", tuple(beside)),
        )
        note = (
            f"{_LIVE_RATE} events per second, from the append time to the checkpoint in the store; the replay is held to {_THROTTLED_RATE} a second."
        )
        return Section("latency", "Those who are served while a replay runs", figures, (), (note,))

    def memory(self) -> Section:
        """Replay a long log, whose customers come and go, into nothing."""
        settings, events = self._stage.settings("memory"), self._plan.memory_events
        self._stage.make_topics(settings)
        self._say(f"Writing a log of {events:,} events")
        self._stage.append(settings, job_log(events, seed=2))
        self._say(f"{events:,} events: memory")
        found = self._child("replaying", settings, Found, group="job", partitions=list(range(PARTITIONS)), store="none", sample_every=_SAMPLE_EVERY)
        values = [sample.rss_mb for sample in found.samples]
        first, last = values[: max(1, len(values) // 3)], values[-max(1, len(values) // 3) :]
        grown = max(last) - max(first)
        figures = (
            Figure("the last third's most above the first third's", "MiB", (grown,), at_most=0.1 * max(first)),
            Figure("most", "MiB", (max(values),)),
        )
        shown = found.samples[:: max(1, len(values) // 12)]
        rows = tuple((f"{sample.events:,}", f"{sample.rss_mb:,.0f}", f"{sample.cached_subjects:,}") for sample in shown)
        note = f"RSS {sparkline(values)} {min(values):,.0f} to {max(values):,.0f} MiB; bars start at 0."
        return Section("memory", f"Memory of a replay, {events:,} events", figures, (Grid(("events", "RSS MiB", "subjects"), rows),), (note,))

    def _worker(self, polls: int, what: str) -> Usage:
        self._say(f"{self._plan.events:,} events: {what}")
        self._stage.empty(self._live, JOB.tables())
        settings = self._live.model_copy(update={"poll_records_max": polls})
        return self._child("worker", settings, Found, group="job", host="faust").usage

    def _replay(self, what: str, **options: Any) -> Found:  # noqa: ANN401 - JSON
        self._say(f"{self._plan.events:,} events: {what}")
        if options.get("store") != "none":
            self._stage.empty(self._again, JOB.tables())
        return self._child("replaying", self._again, Found, group="job", **{"partitions": list(range(PARTITIONS)), **options})

    def _both(self, halves: Sequence[list[int]], store: str) -> list[Usage]:
        self._say(f"{self._plan.events:,} events: two processes, store: {store}")
        if store != "none":
            self._stage.empty(self._again, JOB.tables())
        with ThreadPoolExecutor(len(halves)) as pool:
            running = [
                pool.submit(self._child, "replaying", self._again, Found, folder=f"half-{n}", group="job", partitions=half, store=store)
                for n, half in enumerate(halves)
            ]
            return [one.result().usage for one in running]

    def _answered(self, what: str) -> list[float]:
        self._say(f"{_LIVE_S} s: {what}")
        return self._child("answering", self._live, Latencies, events=_LIVE_S * _LIVE_RATE, rate=_LIVE_RATE).ms

    def _child(self, module: str, settings: Settings, kind: type[T], *, folder: str = "", events: int = 0, **options: Any) -> T:  # noqa: ANN401 - JSON
        where = self._stage.folder / folder
        where.mkdir(exist_ok=True)
        return findings(module, settings, self._stage.pids, events or self._plan.events, kind, folder=where, **options)


def _all_cpu_s(usage: Usage) -> float:
    return usage.client_cpu_s + (usage.store_cpu_s or 0.0) + (usage.broker_cpu_s or 0.0)


async def _digest(settings: Settings) -> str:
    store = await CassandraStore.connect(settings, JOB.tables())
    try:
        return await store_digest(store, JOB)
    finally:
        await store.close()
