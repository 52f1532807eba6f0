"""`touchline clocks`: the open clocks, the one that is due first on top."""

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from touchline.settings import load_settings

if TYPE_CHECKING:
    from rich.console import Console

    from streams.care_view import OpenClock

__all__ = ["register"]

_STYLES: Final = {"breached": "red", "paused": "dim"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("clocks", epilog="Example:  touchline clocks --team mail --state breached")(clocks)


def clocks(
    *,
    team: Annotated[str | None, typer.Option("--team", help="Only this team's; default: all teams.")] = None,
    state: Annotated[list[str] | None, typer.Option("--state", help="running, paused or breached; repeatable; default: all three.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most; the table says how many there are.")] = 50,
    tenant: Annotated[str | None, typer.Option(help="Whose clocks; default: the setting.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of kind `clock` per clock.")] = False,
) -> None:
    """Show the clocks that are open now: running, paused, or breached and not yet answered. Times are UTC."""
    from streams.care_view import OPEN, CareReader
    from streams.reading import ActiveVersions
    from touchline.tables import connected

    for one in state or ():
        if one not in OPEN:
            raise typer.BadParameter(f"an open clock is {', '.join(OPEN)}.", param_hint="--state")
    settings = load_settings()
    now = datetime.now(UTC)

    async def read() -> "list[OpenClock]":
        async with connected(settings) as store:
            reader = CareReader(store, await ActiveVersions(store).of("care"))
            return await reader.open_clocks(tenant or settings.tenant, team=team, states=state or OPEN, now=now)

    found = asyncio.run(read())
    if as_json:
        for clock in found[:limit]:
            typer.echo(json.dumps(clock.json(), ensure_ascii=False))
        return
    from touchline.terminal import console

    draw(console(), found, limit, now)


def draw(console: "Console", found: "list[OpenClock]", limit: int, now: datetime) -> None:
    """Draw the clocks as a table."""
    from touchline.terminal import draw_table, moment

    if not found:
        console.print("No clock is open.")
        return
    now_us = int(now.timestamp() * 1_000_000)
    rows = []
    for clock in found[:limit]:
        left = "" if clock.state == "paused" else span((clock.due_us - now_us) // 1_000_000)
        what = (moment(clock.due_us, now_us, UTC), left, clock.state, clock.metric, clock.team, clock.channel)
        rows.append((*what, clock.priority or "", clock.conversation_id, clock.customer_id))
    columns = (">due", ">left", "state", "metric", "team", "channel", "priority", "conversation", "customer")
    title = f"Open clocks at {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    draw_table(console, columns, rows, title=title, styles=[_STYLES.get(clock.state, "") for clock in found[:limit]])
    if len(found) > limit:
        console.print(f"{len(found):,} are open; these are the first {limit:,}: --limit shows more.", style="dim")


def span(seconds: int) -> str:
    """Return a span for people: `12:05`, `-1:02:03`, `3 d 4 h`."""
    sign, rest = ("-", -seconds) if seconds < 0 else ("", seconds)
    days, rest = divmod(rest, 86_400)
    hours, rest = divmod(rest, 3600)
    if days:
        return f"{sign}{days} d {hours} h"
    minutes, rest = divmod(rest, 60)
    return f"{sign}{hours}:{minutes:02d}:{rest:02d}" if hours else f"{sign}{minutes}:{rest:02d}"
