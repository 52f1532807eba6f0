"""`touchline bench`: what the product costs per event, measured on this machine beside what others would build."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchmarks.clocks import ClocksPlan
    from benchmarks.figures import Section
    from benchmarks.pipeline import Plan
    from benchmarks.replay import ReplayPlan
    from benchmarks.stage import Stage

__all__ = ["register"]

_EXAMPLE = "Example:  touchline bench pipeline --events 50000 --only job --only codec"
_CLOCKS_EXAMPLE = "Example:  touchline bench clocks --only fold --only calendar"
_REPLAY_EXAMPLE = "Example:  touchline bench replay --only job --events 100000"
_RESOLVER_EXAMPLE = "Example:  touchline bench resolver --events 50000 --repeat 1"
_EVENTS_MIN = 2_000
_NORMAL = 100_000
_FOLDED = 50_000
_REPLAYED = 200_000


def register(app: typer.Typer) -> None:
    """Add the group; without a command it runs all of them as they are by default."""
    group = typer.Typer(help=f"Measure the product on this machine; alone it runs every benchmark.\n\n{_EXAMPLE}", invoke_without_command=True)
    group.callback()(every)
    group.command("pipeline", epilog=_EXAMPLE)(pipeline)
    group.command("clocks", epilog=_CLOCKS_EXAMPLE)(clocks)
    group.command("replay", epilog=_REPLAY_EXAMPLE)(replay)
    group.command("resolver", epilog=_RESOLVER_EXAMPLE)(resolver)
    app.add_typer(group, name="bench")


def every(context: typer.Context) -> None:
    """Run every benchmark, unless one is named."""
    if context.invoked_subcommand is None:
        pipeline()
        clocks()
        replay()
        resolver()


def pipeline(
    *,
    events: Annotated[int, typer.Option(min=_EVENTS_MIN, help="Events of each log.")] = _NORMAL,
    repeat: Annotated[int, typer.Option(min=1, max=20, help="Runs of which the median counts.")] = 3,
    only: Annotated[list[str] | None, typer.Option(help="Only this part; repeat it for several: ingest, job, view, read, codec, memory.")] = None,
    memory: Annotated[bool, typer.Option("--memory", help="Also watch a worker's memory over a million events (minutes).")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Every part, the long one included.")] = False,
    here: Annotated[bool, typer.Option("--here", help="Use the servers of the settings instead of a private stack.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Measure the path from a file to the views: CPU µs per event, rows and requests, and ratios to a plain loop and a tutorial app.

    Starts a private stack in .touchline/bench, with the JVMs' normal compilers, and stops it; topics and keyspaces are its own and
    removed. CPU time bears a busy machine, events per second do not. Needs the extra `local`. About ten minutes by default.

    Example: touchline bench pipeline --events 50000 --only job --only codec
    """
    from benchmarks.pipeline import measured

    plan = _plan(events, repeat, only or [], memory=memory, everything=everything)
    _on_servers(lambda stage, say: measured(stage, plan, say), {"events": events, "repeat": repeat}, here=here, as_json=as_json)


def clocks(
    *,
    events: Annotated[int, typer.Option(min=_EVENTS_MIN, help="Events of each load that is folded.")] = _FOLDED,
    repeat: Annotated[int, typer.Option(min=1, max=20, help="Folds of which the median counts, and kills of which the worst does.")] = 3,
    mails: Annotated[int, typer.Option(min=100, max=20_000, help="Mails that come due on the servers, each time.")] = 600,
    only: Annotated[list[str] | None, typer.Option(help="Only this part; repeat it for several: timers, calendar, fold, alerts.")] = None,
    here: Annotated[bool, typer.Option("--here", help="Use the servers of the settings instead of a private stack.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Measure the clocks: a million timers, business time, the fold of the care group, and how late alerts are on real servers.

    Only `alerts` needs servers: a private stack in .touchline/bench, as `touchline bench pipeline` has. There a worker is killed by
    SIGKILL beside another, again and again. About ten minutes by default.

    Example: touchline bench clocks --only fold --only calendar
    """
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from rich.console import Console

    from benchmarks.clocks import measured
    from benchmarks.meter import machine
    from benchmarks.show import WIDTH, show
    from benchmarks.show import as_json as to_json
    from benchmarks.stage import staged
    from touchline.logging import configure_logging

    plan = _clocks_plan(events, repeat, mails, only or [])
    configure_logging("error")
    console, progress, found = Console(highlight=False), Console(stderr=True, highlight=False), []
    console.width = max(console.width, WIDTH)
    with TemporaryDirectory() as folder, progress.status("Starting") as spinner:
        for section in measured(lambda: staged(here=here, say=progress.print), plan, Path(folder), spinner.update):
            found.append(section)
            if not as_json:
                show(section, console)
    said = machine()
    if as_json:
        typer.echo(json.dumps(to_json(found, {"events": events, "repeat": repeat, "mails": mails, **said})))
    else:
        console.print(f"\n{said['cpus']} CPUs, load {said['load']} at the end, Python {said['python']}.", style="dim")


def replay(
    *,
    events: Annotated[int, typer.Option(min=_EVENTS_MIN, help="Events of the log that is replayed.")] = _REPLAYED,
    repeat: Annotated[int, typer.Option(min=1, max=20, help="Runs of which the median counts.")] = 3,
    only: Annotated[list[str] | None, typer.Option(help="Only this part; repeat it for several: job, processes, latency, memory.")] = None,
    memory_events: Annotated[int, typer.Option(min=_EVENTS_MIN, help="Events over which the memory is watched (with --only memory).")] = 5_000_000,
    here: Annotated[bool, typer.Option("--here", help="Use the servers of the settings instead of a private stack.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Measure a replay beside the live path over one log: CPU, rows and requests per event, two processes, live latency, memory.

    Needs servers, as `touchline bench pipeline` does: a private stack in .touchline/bench. About ten minutes by default, and half an
    hour more for the memory.

    Example: touchline bench replay --only job --events 100000
    """
    from benchmarks.replay import measured

    plan = _replay_plan(events, repeat, memory_events, only or [])
    _on_servers(lambda stage, say: measured(stage, plan, say), {"events": events, "repeat": repeat}, here=here, as_json=as_json)


def resolver(
    *,
    events: Annotated[int, typer.Option(min=_EVENTS_MIN, help="Events that are resolved each time.")] = _NORMAL,
    repeat: Annotated[int, typer.Option(min=1, max=20, help="Runs of which the median counts.")] = 3,
    here: Annotated[bool, typer.Option("--here", help="Use the servers of the settings instead of a private stack.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Measure the resolver beside the bare loop that consumes and produces: CPU per event, with and without asking the store; a link's ms.

    Needs servers, as `touchline bench pipeline` does. About three minutes by default.

    Example: touchline bench resolver --events 50000 --repeat 1
    """
    from benchmarks.resolver import ResolverPlan, measured

    plan = ResolverPlan(events=events, repeat=repeat)
    _on_servers(lambda stage, say: measured(stage, plan, say), {"events": events, "repeat": repeat}, here=here, as_json=as_json)


def _on_servers(
    measured: "Callable[[Stage, Callable[[str], None]], Iterable[Section]]", options: dict[str, object], *, here: bool, as_json: bool
) -> None:
    """Measure on servers, showing each section as it comes, or all as one JSON object; then under which circumstances."""
    from rich.console import Console

    from benchmarks.pipeline import circumstances
    from benchmarks.show import WIDTH, show
    from benchmarks.show import as_json as to_json
    from benchmarks.stage import staged
    from touchline.logging import configure_logging

    configure_logging("error")
    console, progress, found = Console(highlight=False), Console(stderr=True, highlight=False), []
    console.width = max(console.width, WIDTH)
    with progress.status("Starting the servers") as spinner, staged(here=here, say=progress.print) as stage:
        for section in measured(stage, spinner.update):
            found.append(section)
            if not as_json:
                show(section, console)
        said = circumstances(stage)
    if as_json:
        typer.echo(json.dumps(to_json(found, {**options, **said})))
    else:
        console.print(f"\n{said['cpus']} CPUs shared by clients and servers, load {said['load']} at the end, Python {said['python']}.", style="dim")


def _replay_plan(events: int, repeat: int, memory_events: int, only: list[str]) -> "ReplayPlan":
    """Return what is to be measured. Raises `typer.BadParameter` for a part that there is not."""
    from benchmarks.replay import NAMES, ReplayPlan

    _refuse_unknown(only, NAMES)
    return ReplayPlan(events=events, repeat=repeat, memory_events=memory_events, parts=frozenset(only) if only else frozenset(NAMES) - {"memory"})


def _clocks_plan(events: int, repeat: int, mails: int, only: list[str]) -> "ClocksPlan":
    """Return what is to be measured. Raises `typer.BadParameter` for a part that there is not."""
    from benchmarks.clocks import NAMES, ClocksPlan

    _refuse_unknown(only, NAMES)
    return ClocksPlan(events=events, repeat=repeat, mails=mails, parts=frozenset(only or NAMES))


def _plan(events: int, repeat: int, only: list[str], *, memory: bool, everything: bool) -> "Plan":
    """Return what is to be measured. Raises `typer.BadParameter` for a part that there is not."""
    from benchmarks.pipeline import NAMES, Plan

    _refuse_unknown(only, NAMES)
    parts = frozenset(NAMES) if everything else frozenset(only) if only else frozenset(NAMES) - {"memory"}
    return Plan(events=events, repeat=repeat, parts=parts | {"memory"} if memory else parts)


def _refuse_unknown(only: list[str], names: tuple[str, ...]) -> None:
    if unknown := sorted(set(only) - set(names)):
        raise typer.BadParameter(f"there is no part {unknown[0]}; choose from {', '.join(names)}.", param_hint="--only")
