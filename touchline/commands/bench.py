"""`touchline bench`: what the product costs per event, measured on this machine beside what others would build."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from benchmarks.pipeline import Plan

__all__ = ["register"]

_EXAMPLE = "Example:  touchline bench pipeline --events 50000 --only job --only codec"
_EVENTS_MIN = 2_000
_NORMAL = 100_000


def register(app: typer.Typer) -> None:
    """Add the group; without a command it runs all of them as they are by default."""
    group = typer.Typer(help=f"Measure the product on this machine; alone it runs every benchmark.\n\n{_EXAMPLE}", invoke_without_command=True)
    group.callback()(every)
    group.command("pipeline", epilog=_EXAMPLE)(pipeline)
    app.add_typer(group, name="bench")


def every(context: typer.Context) -> None:
    """Run every benchmark, unless one is named."""
    if context.invoked_subcommand is None:
        pipeline()


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
    from rich.console import Console

    from benchmarks.pipeline import circumstances, measured
    from benchmarks.show import WIDTH, show
    from benchmarks.show import as_json as to_json
    from benchmarks.stage import staged
    from touchline.logging import configure_logging

    plan = _plan(events, repeat, only or [], memory=memory, everything=everything)
    configure_logging("error")
    console, progress, found = Console(highlight=False), Console(stderr=True, highlight=False), []
    console.width = max(console.width, WIDTH)
    with progress.status("Starting the servers") as spinner, staged(here=here, say=progress.print) as stage:
        for section in measured(stage, plan, spinner.update):
            found.append(section)
            if not as_json:
                show(section, console)
        said = circumstances(stage)
    if as_json:
        typer.echo(json.dumps(to_json(found, {"events": events, "repeat": repeat, **said})))
    else:
        console.print(f"\n{said['cpus']} CPUs shared by clients and servers, load {said['load']} at the end, Python {said['python']}.", style="dim")


def _plan(events: int, repeat: int, only: list[str], *, memory: bool, everything: bool) -> "Plan":
    """Return what is to be measured. Raises `typer.BadParameter` for a part that there is not."""
    from benchmarks.pipeline import NAMES, Plan

    if unknown := sorted(set(only) - set(NAMES)):
        raise typer.BadParameter(f"there is no part {unknown[0]}; choose from {', '.join(NAMES)}.", param_hint="--only")
    parts = frozenset(NAMES) if everything else frozenset(only) if only else frozenset(NAMES) - {"memory"}
    return Plan(events=events, repeat=repeat, parts=parts | {"memory"} if memory else parts)
