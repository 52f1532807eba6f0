"""`touchline figures`: the service levels of a day, side by side, each with its n."""

import asyncio
import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from touchline.settings import load_settings

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from streams.figures_reading import DayFigures
    from streams.service_level import Ratio, ServiceLevel

__all__ = ["register"]

_BY: Final = ("day", "quarter")
_TOTAL_FROM: Final = 2
"""Lines from which on a total is worth its line."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("figures", epilog="Example:  touchline figures --day 2026-01-12 --queue billing --by quarter")(figures)


def figures(
    *,
    day: Annotated[str | None, typer.Option("--day", metavar="DAY", help="The tenant's local day, 2026-01-12; default: today's.")] = None,
    queue: Annotated[list[str] | None, typer.Option("--queue", help="Only this queue; repeat it for several.")] = None,
    channel: Annotated[list[str] | None, typer.Option("--channel", help="Only this channel; repeatable.")] = None,
    by: Annotated[str, typer.Option("--by", help="A line per queue and channel for the whole `day`, or for each `quarter` hour.")] = "day",
    tenant: Annotated[str | None, typer.Option(help="Whose figures; default: the setting.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show offered, answered and abandoned contacts and six service levels side by side, per queue and channel.

    A contact counts in the quarter hour in which it entered the queue, on the day of the default calendar's time zone. T (answered
    within) and S (a short abandon) are those of the queue in the published rules.
    """
    from projections.service_levels import day_of
    from streams.figures_reading import FigureReader, targets_of
    from streams.reading import active_version
    from touchline.tables import connected, rules_of

    if by not in _BY:
        raise typer.BadParameter(f"choose from {', '.join(_BY)}.", param_hint="--by")
    wanted = None if day is None else _day(day)
    settings = load_settings()
    whose = tenant or settings.tenant

    async def read() -> "DayFigures":
        async with connected(settings) as store:
            config = await rules_of(store, whose)
            reader = FigureReader(store, active_version("care"), targets_of(config))
            today = day_of(config, int(datetime.now(UTC).timestamp()) * 1_000_000)
            return await reader.day(whose, wanted or today, queues=queue or (), channels=channel or (), by_quarter=by == "quarter")

    found = asyncio.run(read())
    if as_json:
        typer.echo(json.dumps(found.json(), ensure_ascii=False))
    else:
        from rich.console import Console

        draw(Console(highlight=False), found)


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise typer.BadParameter("write a day such as 2026-01-12.", param_hint="--day") from None


def draw(console: "Console", found: "DayFigures") -> None:
    """Draw the figures as two tables: what was counted, and the levels."""
    from streams.service_level import DEFINITION, LEVELS

    console.print(
        f"Service levels of {found.day}, tenant {found.tenant}; definition {DEFINITION}, figures v{found.version}", style="bold", markup=False
    )
    if not found.lines:
        console.print("Nothing entered a queue that day, or the workers have not come so far: `touchline status` shows it.")
        return
    lines = [(_place(line.slot_us, line.queue, line.channel), line.level) for line in found.lines]
    if len(lines) >= _TOTAL_FROM:
        lines.append((("", "all", "") if lines[0][0][0] else ("all", ""), found.total))
    names = ("from (UTC)", "queue", "channel") if len(lines[0][0]) == 3 else ("queue", "channel")  # noqa: PLR2004 - with the quarter hour
    waits = ("asa s", "median s", "p90 s")
    counted = _table(*names, *(">" + name for name in ("offered", "answered", "abandoned", "short", "flow-out", "waiting", *waits, "T s", "S s")))
    levels = _table(*names, ">n", *(f">{name}" for name in LEVELS), ">abandon", ">without short")
    for place, level in lines:
        counted.add_row(*place, *_counts(level))
        shares = [*level.levels.values(), level.abandon_rate, level.abandon_rate_without_short]
        levels.add_row(*place, f"{level.abandon_rate.n:,}", *map(_share, shares))
    console.print(counted, "", levels, "", sep="\n")
    for name, what in LEVELS.items():
        console.print(f"{name} {what}", style="dim", markup=False)
    console.print("n = answered + abandoned; --json has the n of every share.", style="dim")


def _place(slot_us: int | None, queue: str, channel: str) -> tuple[str, ...]:
    from streams.excerpts import clean
    from streams.plain import utc

    place = (clean(queue) or "(none)", clean(channel))
    return place if slot_us is None else (utc(slot_us)[11:16], *place)


def _counts(level: "ServiceLevel") -> list[str]:
    counts = level.counts
    numbers = (counts.offered, counts.answered, counts.abandoned, level.short_abandons, counts.flow_out, counts.waiting)
    waits = (level.asa_s, level.wait_s(0.5), level.wait_s(0.9))
    targets = level.targets
    told = ("various", "") if len(targets) > 1 else (str(targets[0].answer_within_s), str(targets[0].short_abandon_s))
    return [*(f"{n:,}" for n in numbers), *("-" if wait is None else f"{wait:,.1f}" for wait in waits), *told]


def _share(ratio: "Ratio") -> str:
    return "-" if ratio.value is None else f"{100 * ratio.value:.2f} %"


def _table(*columns: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left", no_wrap=True)
    return table
