"""What `touchline bench pipeline` measures, in order: sealed ingest, the benchmark job beside its peers, the views, memory, reads, codec.

Every load runs `repeat` times where that is sensible, and the median counts. The first run over a server that has just started warms
its compilers and is thrown away. Targets are those of docs and engine.md §10.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from benchmarks.child import findings
from benchmarks.coding import coding
from benchmarks.figures import Figure, Grid, Section, Usage, comparison, percentile, ratio, shares, sparkline
from benchmarks.ingest import PARTS, Imported
from benchmarks.material import again, centre_day, job_log, sealed_log
from benchmarks.meter import machine
from benchmarks.reading import Reads
from benchmarks.stage import Stage
from benchmarks.worker import GROUPS_MEASURED, JOB, Found
from projections.registry import Group
from streams.cluster import Cluster
from streams.digesting import store_digest
from streams.store.cassandra import CassandraStore
from touchline.settings import Settings

__all__ = ["NAMES", "Plan", "circumstances", "measured"]

NAMES = ("ingest", "job", "view", "read", "codec", "memory")
"""The parts, by which `--only` chooses. `read` needs `view`, which is then run too."""

T = TypeVar("T")

_OURS = "touchline worker (Faust)"
_BARE = "the same without Faust"
_LARGE = "polls of 4,000"
_POLL_RECORDS = 1000
"""What the figures of the job are promised at; the product's default is larger."""

_PLAIN = "plain loop, execute_async(256)"
_TUTORIAL = "tutorial Faust app"
_DAY_EVENTS = 100_000
_CACHED_SUBJECTS = 20_000
_SAMPLE_EVERY = 100_000


class Plan(msgspec.Struct, frozen=True):
    """How much is measured. `tutorial_events` is less, because the tutorial app is slow; `memory_events` is what `--memory` folds."""

    events: int = 100_000
    repeat: int = 3
    parts: frozenset[str] = frozenset(NAMES) - {"memory"}
    tutorial_events: int = 10_000
    memory_events: int = 1_000_000
    reads: int = 5_000


def measured(stage: Stage, plan: Plan, say: Callable[[str], None]) -> Iterator[Section]:
    """Measure what the plan asks for, section by section; `say` is told what is under way."""
    run = _Run(stage, plan, say)
    if "codec" in plan.parts:
        yield coding()
    if "job" in plan.parts:
        yield run.job()
    if "ingest" in plan.parts:
        yield run.ingest()
    if plan.parts & {"view", "read"}:
        yield from run.view()
    if "memory" in plan.parts:
        yield run.memory()


def circumstances(stage: Stage) -> dict[str, object]:
    """Return what must be known to judge the figures."""
    return {**machine(), "servers_cpu_known": sorted(stage.pids)}


class _Run:
    """The measurements over one stage."""

    def __init__(self, stage: Stage, plan: Plan, say: Callable[[str], None]) -> None:
        self._stage = stage
        self._plan = plan
        self._say = say

    def job(self) -> Section:
        """Run the benchmark job and its peers over one log."""
        stage, plan = self._stage, self._plan
        ours, theirs = stage.settings("job"), stage.settings("peers")
        theirs = theirs.model_copy(update={"topic_prefix": ours.topic_prefix})
        stage.make_topics(ours)
        for settings in (ours, theirs):
            stage.make_tables(settings, JOB.tables())
        larger, ours = ours, ours.model_copy(update={"poll_records_max": _POLL_RECORDS})
        self._say(f"Writing the log of the benchmark job, {plan.events:,} events")
        stage.append(ours, job_log(plan.events))
        runs: dict[str, list[Usage]] = {_OURS: [], _BARE: [], _LARGE: [], _PLAIN: [], _TUTORIAL: []}
        self._worker(ours, "job", plan.events, "warming up", host="bare")
        for turn in range(plan.repeat):
            runs[_BARE].append(self._worker(ours, "job", plan.events, _BARE, host="bare").usage)
            runs[_LARGE].append(self._worker(larger, "job", plan.events, _LARGE).usage)
            runs[_OURS].append(self._worker(ours, "job", plan.events, _OURS).usage)
            if not turn:
                runs[_PLAIN].append(self._peer("plain", theirs, plan.events, _PLAIN))
        same = asyncio.run(_digest(ours)) == asyncio.run(_digest(theirs))
        stage.empty(theirs, JOB.tables())
        runs[_TUTORIAL].append(self._peer("tutorial", theirs, min(plan.tutorial_events, plan.events), _TUTORIAL))
        found = runs[_OURS]
        figures = (
            Figure("client CPU per event", "µs", tuple(u.client_us for u in found), at_most=60),
            Figure("rows per event", "", tuple(u.rows_per_event for u in found), at_most=1.35),
            Figure("requests per event", "", tuple(u.requests_per_event for u in found), at_most=0.35),
            *_servers(found),
            Figure("events per second", "1/s", tuple(u.events_per_s for u in found)),
            _times("Faust hosting, × the bare loop", runs[_OURS], runs[_BARE], at_most=1.15),
            _times("plain loop, × our client CPU", runs[_PLAIN], found, at_least=6),
            _times("tutorial app, × our client CPU", runs[_TUTORIAL], found, at_least=20),
            *_store_times("plain loop, × our store CPU", runs[_PLAIN], found, 3),
            *_store_times("tutorial app, × our store CPU", runs[_TUTORIAL], found, 15),
        )
        notes = (f"Ours and the plain loop's reader tables have {'the same digest' if same else 'DIFFERENT DIGESTS'}.",)
        return Section("job", "The benchmark job: one timeline row and one state row per event", figures, (comparison(runs, _OURS),), notes)

    def ingest(self) -> Section:
        """Import days of the centre: with new handles, and the same handles again; then cut into parts."""
        stage, plan = self._stage, self._plan
        settings = stage.settings("intake")
        stage.make_topics(settings)
        stage.make_tables(settings, ())
        whole: dict[str, list[Imported]] = {"cold": [], "warm": []}
        for turn in range(plan.repeat):
            for name, found in self._imported(settings, seed=100 + turn, parts=False).items():
                whole[name].append(found)
        cut = self._imported(settings, seed=99, parts=True)
        figures = tuple(
            figure
            for name, title in (("cold", "new handles"), ("warm", "known handles"))
            for figure in (
                Figure(f"{title}: events per second", "1/s", tuple(f.usage.events_per_s for f in whole[name]), at_least=10_000),
                Figure(f"{title}: client CPU per event", "µs", tuple(f.usage.client_us for f in whole[name])),
            )
        )
        rows = []
        cold, warm = (cut[name] for name in ("cold", "warm"))
        portions = {name: (shares(found.cpu_s), shares(found.wall_s)) for name, found in cut.items()}
        for part in PARTS:
            line = [part]
            for name, found in (("cold", cold), ("warm", warm)):
                line.append(f"{found.cpu_s[part] / found.usage.events * 1e6:.1f}")
                line += [f"{portion[part]:.0f} %" for portion in portions[name]]
            rows.append(tuple(line))
        columns = ("part", "new: CPU µs", "of CPU", "of wall", "known: CPU µs", "of CPU ", "of wall ")
        note = "The parts are measured one after the other; in the import itself sealing goes on while the chunk before is acknowledged."
        return Section("ingest", "Sealed ingest, file to acknowledged log", figures, (Grid(columns, tuple(rows)),), (note,))

    def view(self) -> Iterator[Section]:
        """Import a day, resolve it, fold it by the view group; then read customers."""
        stage, plan, group = self._stage, self._plan, GROUPS_MEASURED["view"]
        settings = stage.settings("centre")
        stage.make_topics(settings)
        stage.make_tables(settings, group.tables())
        day = stage.folder / "day.jsonl"
        self._say("A day of the centre: import")
        centre_day(day, plan.events, seed=1)
        imported = self._child("ingest", settings, 0, dict[str, Imported], files={"day": str(day)})["day"].usage
        self._say("A day of the centre: resolve")
        resolved = self._child("worker", settings, imported.events, Found, group="resolver", host="faust")
        events = sum(Cluster(settings.brokers).end_offsets([settings.topic("interaction")]).values())  # what is said of links too
        if "view" in plan.parts:
            self._worker(settings, "view", events, "view group, warming up")
        found = [self._worker(settings, "view", events, "view group").usage for _ in range(plan.repeat if "view" in plan.parts else 1)]
        figures = (
            Figure("client CPU per event", "µs", tuple(u.client_us for u in found), at_most=150),
            Figure("rows per event", "", tuple(u.rows_per_event for u in found)),
            Figure("requests per event", "", tuple(u.requests_per_event for u in found)),
            *_servers(found),
            Figure("events per second", "1/s", tuple(u.events_per_s for u in found)),
            Figure("resolver before it, which links as it goes: client CPU per event", "µs", (resolved.usage.client_us,)),
        )
        note = f"The resolver made {len(resolved.links_ms):,} links on its way. What was said before a link is not copied here."
        yield Section("view", "The view group: timeline, 360° view and conversations of a day of the centre", figures, notes=(note,))
        if "read" in plan.parts:
            yield self._reads(settings)

    def memory(self) -> Section:
        """Fold a long log with a cache that is too small for its customers."""
        stage, plan, group = self._stage, self._plan, GROUPS_MEASURED["view"]
        settings = stage.settings("memory", cached_subjects_max=_CACHED_SUBJECTS)
        stage.make_topics(settings)
        stage.make_tables(settings, group.tables())
        self._say(f"Writing a log of {plan.memory_events:,} events")
        events = stage.append(settings, sealed_log(self._days(plan.memory_events), stage.folder))
        found = self._worker(settings, "view", events, "view group with a small cache", sample_every=_SAMPLE_EVERY)
        values = [sample.rss_mb for sample in found.samples]
        settled = values[len(values) // 3 :]
        grown = Figure("growth after the first third", "MiB", (settled[-1] - settled[0],), at_most=0.1 * settled[0])
        rows = tuple((f"{sample.events:,}", f"{sample.rss_mb:,.0f}", f"{sample.cached_subjects:,}") for sample in found.samples)
        note = f"RSS {sparkline(values)} {min(values):,.0f} to {max(values):,.0f} MiB; bars start at 0."
        return Section("memory", f"Memory of a view worker, {events:,} events", (grown,), (Grid(("events", "RSS MiB", "subjects"), rows),), (note,))

    def _days(self, events: int) -> Iterator[Path]:
        """Yield days of the centre until there are enough events; each has customers of its own."""
        path, day = self._stage.folder / "day.jsonl", 0
        while events > 0:
            events -= centre_day(path, min(events, _DAY_EVENTS), seed=1000 + day, day=day)
            yield path
            day += 1

    def _reads(self, settings: Settings) -> Section:
        self._say("Reading customers")
        found = self._child("reading", settings, self._plan.reads, Reads, reads=self._plan.reads)
        figures = (
            Figure("p50", "ms", (percentile(found.ms, 50),)),
            Figure("p99", "ms", (percentile(found.ms, 99),), at_most=10),
            Figure("requests per read", "", (found.usage.requests_per_event,), at_most=1),
            Figure("client CPU per read", "µs", (found.usage.client_us,)),
        )
        return Section("read", f"360° view, {len(found.ms):,} random customers, one after the other", figures)

    def _imported(self, settings: Settings, *, seed: int, parts: bool) -> dict[str, Imported]:
        folder, events = self._stage.folder, self._plan.events
        cold, warm = folder / "cold.jsonl", folder / "warm.jsonl"
        self._say(f"Importing {events:,} events twice{', cut into parts' if parts else ''}")
        centre_day(cold, events, seed=seed)
        again(cold, warm)
        return self._child("ingest", settings, events, dict[str, Imported], files={"cold": str(cold), "warm": str(warm)}, parts=parts)

    def _worker(self, settings: Settings, group: str, events: int, what: str, **options: Any) -> Found:  # noqa: ANN401 - JSON
        """Run a worker over a log from its beginning, into empty tables."""
        self._say(f"{events:,} events: {what}")
        self._stage.empty(settings, GROUPS_MEASURED[group].tables())
        return self._child("worker", settings, events, Found, **{"group": group, "host": "faust", **options})

    def _peer(self, name: str, settings: Settings, events: int, what: str) -> Usage:
        self._say(f"{events:,} events: {what}")
        return self._child(f"peers.{name}", settings, events, Usage)

    def _child(self, module: str, settings: Settings, events: int, kind: type[T], **options: Any) -> T:  # noqa: ANN401 - JSON
        return findings(module, settings, self._stage.pids, events, kind, folder=self._stage.folder, **options)


def _servers(found: Sequence[Usage]) -> tuple[Figure, ...]:
    """Return the servers' CPU per event, where it is known."""
    stores = tuple(u.store_us for u in found if u.store_us is not None)
    brokers = tuple(u.broker_us for u in found if u.broker_us is not None)
    figures = (
        ((Figure("store CPU per event", "µs", stores),) if stores else ()),
        ((Figure("broker CPU per event", "µs", brokers),) if brokers else ()),
    )
    return (*figures[0], *figures[1])


def _times(name: str, above: Sequence[Usage], below: Sequence[Usage], **target: float) -> Figure:
    return Figure(name, "×", (ratio([u.client_us for u in above], [u.client_us for u in below]),), **target)


def _store_times(name: str, above: Sequence[Usage], below: Sequence[Usage], at_least: float) -> tuple[Figure, ...]:
    theirs, ours = ([u.store_us for u in found if u.store_us is not None] for found in (above, below))
    return (Figure(name, "×", (ratio(theirs, ours),), at_least=at_least),) if theirs and ours else ()


async def _digest(settings: Settings, group: Group = JOB) -> str:
    store = await CassandraStore.connect(settings, group.tables())
    try:
        return await store_digest(store, group)
    finally:
        await store.close()
