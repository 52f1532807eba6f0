"""`touchline figures`: the service levels of a day, side by side, each with its n."""

import asyncio
import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from touchline.settings import load_settings

if TYPE_CHECKING:
    from rich.console import Console

    from streams.figures_reading import DayFigures
    from streams.service_level import Ratio, ServiceLevel

__all__ = ["register"]

_BY: Final = ("day", "quarter")
_COUNTS: Final = ("offered", "answered", "abandoned", "short", "flow-out", "waiting")
_WAITS: Final = ("ASA", "median", "p90", "T", "S", "abandon", "no short")
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
    from streams.reading import ActiveVersions
    from touchline.tables import connected, rules_of

    if by not in _BY:
        raise typer.BadParameter(f"choose from {', '.join(_BY)}.", param_hint="--by")
    wanted = None if day is None else _day(day)
    settings = load_settings()
    whose = tenant or settings.tenant

    async def read() -> "DayFigures":
        async with connected(settings) as store:
            config = await rules_of(store, whose)
            reader = FigureReader(store, await ActiveVersions(store).of("care"), targets_of(config))
            today = day_of(config, int(datetime.now(UTC).timestamp()) * 1_000_000)
            return await reader.day(whose, wanted or today, queues=queue or (), channels=channel or (), by_quarter=by == "quarter")

    found = asyncio.run(read())
    if as_json:
        typer.echo(json.dumps(found.json(), ensure_ascii=False))
    else:
        from touchline.terminal import console

        draw(console(), found)


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise typer.BadParameter("write a day such as 2026-01-12.", param_hint="--day") from None


def draw(console: "Console", found: "DayFigures") -> None:
    """Draw the figures as three tables, each with a line per queue and channel: what was counted, how long it took, and the levels."""
    from streams.service_level import DEFINITION, LEVELS
    from touchline.terminal import draw_table

    console.print(
        f"Service levels of {found.day}, tenant {found.tenant}; definition {DEFINITION}, figures v{found.version}", style="bold", markup=False
    )
    if not found.lines:
        console.print("Nothing entered a queue that day, or the workers have not come so far: `touchline status` shows it.")
        return
    lines = [(_place(line.slot_us, line.queue, line.channel), line.level) for line in found.lines]
    if len(lines) >= _TOTAL_FROM:
        lines.append((("", "all", "") if found.lines[0].slot_us is not None else ("all", ""), found.total))
    places = ("queue", "channel") if found.lines[0].slot_us is None else ("UTC", "queue", "channel")
    for title, columns, cells in (
        ("Contacts", _COUNTS, _counts),
        ("Waits and targets in seconds, abandon rates in %", _WAITS, _waits),
        ("Service levels in %, of n = answered + abandoned", ("n", *LEVELS), _levels),
    ):
        rows = [(*place, *cells(level)) for place, level in lines]
        console.print()
        draw_table(console, (*places, *(f">{name}" for name in columns)), rows, title=title, heads=len(places))
    console.print()
    for name, what in LEVELS.items():
        console.print(f"{name} {what}", style="dim", markup=False)
    said = "T answered within, S below it an abandon is short; no short: the rate without those. --json has the n of every share."
    console.print(said, style="dim")


def _place(slot_us: int | None, queue: str, channel: str) -> tuple[str, ...]:
    from streams.plain import utc

    place = (queue or "(none)", channel)
    return place if slot_us is None else (utc(slot_us)[11:16], *place)


def _counts(level: "ServiceLevel") -> list[str]:
    counts = level.counts
    return [f"{n:,}" for n in (counts.offered, counts.answered, counts.abandoned, level.short_abandons, counts.flow_out, counts.waiting)]


def _waits(level: "ServiceLevel") -> list[str]:
    waits = ["-" if wait is None else f"{wait:,.1f}" for wait in (level.asa_s, level.wait_s(0.5), level.wait_s(0.9))]
    within, short = ({str(target[n]) for target in level.targets} for n in (0, 1))
    targets = [one.pop() if len(one) == 1 else f"{min(one, key=int)}-{max(one, key=int)}" for one in (within, short)]
    return [*waits, *targets, _share(level.abandon_rate), _share(level.abandon_rate_without_short)]


def _levels(level: "ServiceLevel") -> list[str]:
    return [f"{level.abandon_rate.n:,}", *map(_share, level.levels.values())]


def _share(ratio: "Ratio") -> str:
    return "-" if ratio.value is None else f"{100 * ratio.value:.1f}"
