"""`touchline projection plan` and `build`: a new version over all of history, while the old one serves."""

import asyncio
import json
import signal
import time
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from projections.registry import Group
    from streams.cluster import Place
    from streams.replay.building import Build, BuildSettings, Built, Status
    from streams.replay.planning import BuildPlan
    from streams.store.cassandra import CassandraStore
    from touchline.settings import Settings

__all__ = ["register"]

Named = Annotated[str, typer.Argument(metavar="GROUP[@VERSION]", help="care@2; without a version the newest that this code has.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Workers = Annotated[int, typer.Option("--workers", min=1, max=64, help="Processes; the partitions are shared out among them.")]
MaxRate = Annotated[float | None, typer.Option("--max-rate", min=1, help="Events per second over all processes; it yields to live traffic anyway.")]

_MEMBERS_EVERY: Final = 5
_LINE_EVERY_S: Final = 5.0
_INTERRUPTED: Final = 130


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("plan", epilog="Example:  touchline projection plan care@2")(plan)
    app.command("build", epilog="Example:  touchline projection build care@2 --workers 2 --max-rate 5000")(build)


def plan(group: Named, *, workers: Workers = 1, max_rate: MaxRate = None, as_json: AsJson = False) -> None:
    """Show what a build would do, how long it would take, and whether it may; nothing is changed."""
    _run(group, workers=workers, max_rate=max_rate, on_error="stop", until_lag="5s", dry_run=True, as_json=as_json)


def build(
    group: Named,
    *,
    workers: Workers = 1,
    max_rate: MaxRate = None,
    on_error: Annotated[
        Literal["stop", "park"], typer.Option("--on-error", help="A record that cannot be folded: stop there, or let its customer wait.")
    ] = "stop",
    until_lag: Annotated[str, typer.Option("--until-lag", metavar="SPAN", help="Caught up is who is not further behind than this: 5s, 2m.")] = "5s",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the tables of a new version and fold all of history into them, until it has caught up; it then stands in the shadow.

    Nothing is told of history: a build has no way to send anything. Interrupt it whenever you like (Ctrl-C: each process finishes its
    chunk; again: at once) or lose its machine: the same command goes on at the last checkpoints. Only one builds a version at a time.
    """
    _run(group, workers=workers, max_rate=max_rate, on_error=on_error, until_lag=until_lag, dry_run=dry_run, as_json=as_json)


def _run(
    group: str, *, workers: int, max_rate: float | None, on_error: Literal["stop", "park"], until_lag: str, dry_run: bool, as_json: bool
) -> None:
    from projections.registry import find
    from streams.replay.building import BuildSettings
    from touchline import tables
    from touchline.group_names import named
    from touchline.settings import load_settings

    settings, chosen = load_settings(), find(*named(group))
    how = BuildSettings(workers=workers, rate_max=max_rate, on_error=on_error, until_lag_s=_seconds(until_lag))
    shown = _Shown(chosen)

    async def run() -> "tuple[BuildPlan, Built | None]":
        async with tables.connected(settings) as store:
            found = _assembled(settings, store, chosen, how, shown)
            planned = await found.plan()
            if dry_run:
                return planned, None
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, shown.stopping(found.stop))
            if planned.state == "building":
                shown.say("It goes on where a build before it was stopped.")
            try:
                return planned, await found.run()
            finally:
                shown.end()

    planned, done = asyncio.run(run())
    if as_json:
        typer.echo(json.dumps(_json(planned, done, workers, max_rate)))
    elif done is None:
        _draw_plan(planned, workers, max_rate)
    else:
        _draw_done(planned, done)
    if done is not None and not done.complete:
        raise typer.Exit(_INTERRUPTED)


def _assembled(settings: "Settings", store: "CassandraStore", group: "Group", how: "BuildSettings", shown: "_Shown") -> "Build":
    """Put a build together over the log and the tables of the settings."""
    from streams.cluster import Cluster
    from streams.replay.building import Build
    from streams.store.migrations import create_tables
    from touchline.errors import Misconfigured

    topic, cluster = settings.topic("interaction"), Cluster(settings.brokers)

    async def ranges() -> "Mapping[Place, tuple[int, int]]":
        found = await asyncio.to_thread(cluster.ranges, [topic])
        if not found:
            raise Misconfigured(f"the topic {topic} is missing.", next_step="run `touchline topics create`.")
        return found

    return Build(
        settings,
        store,
        group,
        how,
        ranges=ranges,
        live_lag=_live_lag(settings, store, group, ranges),
        make_tables=lambda: asyncio.to_thread(create_tables, store.driver, settings, group.tables()),
        say=shown.progress,
    )


def _live_lag(
    settings: "Settings", store: "CassandraStore", group: "Group", ranges: "Callable[[], Awaitable[Mapping[Place, tuple[int, int]]]]"
) -> "Callable[[], Awaitable[int | None]]":
    """Return what asks how many records the active version is behind the log; None where there is none, or nobody runs it."""
    from schemas.codec import Codec
    from streams.store.port import GroupVersion
    from streams.versions.group_log import KafkaGroupLog
    from streams.versions.versions import Versions

    log, looked, served = KafkaGroupLog(settings, Codec()), 0, False

    async def look() -> int | None:
        nonlocal looked, served
        standing = await Versions(store).read(group.name)
        if standing is None or standing.active in {0, group.version}:
            return None
        live = GroupVersion(group.name, standing.active)
        if looked % _MEMBERS_EVERY == 0:
            served = bool(await log.members(live))
        looked += 1
        if not served:
            return None
        checkpoints = await store.load_checkpoints(live)
        ends = {place.partition: end for place, (_, end) in (await ranges()).items()}
        return sum(max(0, end - (checkpoints[p].next_offset if p in checkpoints else 0)) for p, end in ends.items())

    return look


class _Shown:
    """What is said on standard error while a build runs: one line that changes in a terminal, else a line every few seconds."""

    def __init__(self, group: "Group") -> None:
        from rich.console import Console

        self._name = f"{group.name} v{group.version}"
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._said_s = 0.0
        self._interrupts = 0
        self._is_open = False

    def say(self, line: str) -> None:
        """Say something once, on a line of its own."""
        self.end()
        self._console.print(f"{self._name}: {line}")

    def end(self) -> None:
        """Leave the line that changes."""
        if self._is_open:
            self._is_open = False
            self._console.print()

    def stopping(self, stop: "Callable[[], None]") -> "Callable[[], None]":
        """Return what an interrupt does."""

        def interrupted() -> None:
            self._interrupts += 1
            self.say("stopping: every process finishes its chunk; Ctrl-C again leaves at once." if self._interrupts == 1 else "leaving.")
            stop()

        return interrupted

    def progress(self, status: "Status") -> None:
        """Say how far it is."""
        now_s = time.monotonic()
        line = f"{self._name}: {_line(status)}"
        if self._console.is_terminal:
            self._is_open = True
            self._console.print(f"\r\x1b[K{line}", end="")
        elif now_s - self._said_s >= _LINE_EVERY_S:
            self._said_s = now_s
            self._console.print(line)


def _line(status: "Status") -> str:
    """Return the progress in one line."""
    share = 100 * status.records / status.total if status.total else 100.0
    parts = ["opens its partitions"] if not status.round else [f"{status.records:,} of {status.total:,} ({share:.0f} %)", f"{status.per_s:,.0f}/s"]
    if status.per_s > 0 and status.total > status.records:
        parts.append(f"{_span((status.total - status.records) / status.per_s)} left")
    if status.round > 1:
        parts.append(f"round {status.round}")
    if status.live_lag is not None:
        parts.append(f"live lag {status.live_lag:,}")
    if status.yielding and status.rate_limit is not None:
        parts.append(f"yields to the live version: {status.rate_limit:,.0f}/s")
    if (waiting := status.waiting) is not None and waiting.seconds >= 1:
        parts.append(f"waits for {waiting.what} for {_span(waiting.seconds)}" + (f" ({waiting.reason.rstrip('.')})" if waiting.reason else ""))
    if parked := sum(one.parked for one in status.processes):
        parts.append(f"{parked:,} parked")
    return " · ".join(parts)


def _draw_plan(planned: "BuildPlan", workers: int, rate: float | None) -> None:
    from touchline.terminal import console, draw_table

    out = console()
    active = f"v{planned.active} is active and stays so" if planned.active else "no version is active, and none will be until the first promotion"
    out.print(f"{planned.group} v{planned.version}: {planned.state or 'new'}; {active}.")
    if planned.held_by:
        out.print(f"It is being built at the moment by {planned.held_by}.")
    out.print(f"Tables that are made if they are missing: {', '.join(planned.tables)}.")
    rows = [(str(p.partition), f"{p.first:,}", f"{p.start:,}", f"{p.end:,}", f"{p.records:,}") for p in planned.parts]
    draw_table(out, (">partition", ">log begins at", ">read from", ">to", ">records"), rows)
    how = "at the rate given" if rate else "as the last build went" if planned.measured_per_s else "reckoned, nothing was measured here yet"
    out.print(f"{planned.records:,} records in all, about {_span(planned.seconds(workers, rate))} ({how}).")
    if (free := _free_bytes()) is not None:
        out.print(f"Free on this machine's disk: {free / 2**30:,.0f} GiB.")
    out.print("Effects: none; a build has no way to send any.")


def _draw_done(planned: "BuildPlan", done: "Built") -> None:
    from touchline.terminal import console

    out, name = console(), f"{planned.group}@{planned.version}"
    rate = done.records / done.seconds if done.seconds else 0.0
    out.print(f"{done.records:,} records in {_span(done.seconds)} ({rate:,.0f}/s), {done.rows:,} rows, {done.expired:,} times a timer expired.")
    out.print(f"Withheld effects: {done.withheld:,}.")
    if done.parked:
        out.print(f"Parked customers: {done.parked:,} (`touchline parked list --group {planned.group}`).")
    if not done.complete:
        out.print(f"Stopped. `touchline projection build {name}` goes on from here.")
        return
    out.print(f"{planned.group} v{planned.version} has caught up ({done.lag_s:.1f} s behind) and stands in the shadow.")
    then = "`touchline projection verify" if planned.active else "`touchline projection promote"
    out.print(f"Next: `touchline worker --group {name}` keeps it current, then {then} {planned.group}`.")


def _json(planned: "BuildPlan", done: "Built | None", workers: int, rate: float | None) -> dict[str, Any]:
    import msgspec

    found = {**planned.json(), "estimate_s": round(planned.seconds(workers, rate), 1), "free_bytes": _free_bytes()}
    return found | {"done": None if done is None else msgspec.to_builtins(done)}


def _free_bytes() -> int | None:
    """Return what is free where the local stack keeps its data; None where there is no local stack."""
    import shutil

    from touchline.settings import STACK_FILE

    return shutil.disk_usage(STACK_FILE.parent).free if STACK_FILE.exists() else None


def _seconds(span: str) -> float:
    """Read a span: 5s, 2m, 1h. Raises `typer.BadParameter`."""
    factors = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, factor = (span[:-1], factors[span[-1]]) if span[-1:] in factors else (span, 1.0)
    try:
        found = float(number) * factor
    except ValueError:
        found = -1.0
    if not 0 < found < float("inf"):
        raise typer.BadParameter(f"{span!r} is no span of time; write 5s or 2m.", param_hint="--until-lag")
    return found


def _span(seconds: float) -> str:
    """Return a span for people."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"  # noqa: PLR2004 - two digits
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 180 else f"{minutes / 60:,.1f} h"  # noqa: PLR2004 - three hours
