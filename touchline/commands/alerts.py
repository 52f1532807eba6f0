"""`touchline alerts`: the alerts that are there, or, with --follow, as they come."""

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer

from touchline.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.record import Event
    from streams.alert_view import AlertView

__all__ = ["register"]

_DAYS: Final = 7


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("alerts", epilog="Example:  touchline alerts --team mail --follow")(alerts)


def alerts(
    *,
    team: Annotated[str | None, typer.Option("--team", help="Only this team's; default: all teams.")] = None,
    day: Annotated[str | None, typer.Option("--day", metavar="DAY", help="All of this day (UTC): 2026-01-12. Default: open ones of a week.")] = None,
    state: Annotated[list[str] | None, typer.Option("--state", help="open, acknowledged, snoozed, resolved; repeatable.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print what happens from now on, until Ctrl-C.")] = False,
    warnings: Annotated[bool, typer.Option("--warnings", help="With --follow: also clocks that will be due soon.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Also what was too old to be told to anybody.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")] = 50,
    tenant: Annotated[str | None, typer.Option(help="Whose alerts; default: the setting.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Show the alerts, the newest first; or follow them as they come. Times are local, days and --json UTC."""
    from streams.alert_reading import OPEN, STATES

    if warnings and not follow:
        raise typer.BadParameter("it goes with --follow: a warning is no alert, and is kept nowhere.", param_hint="--warnings")
    settings = load_settings()
    whose = tenant or settings.tenant
    if follow:
        _follow(settings, whose, team, warnings=warnings, as_json=as_json)
        return
    for one in state or ():
        if one not in STATES:
            raise typer.BadParameter(f"an alert is {', '.join(STATES)}.", param_hint="--state")
    days = _days(day)
    states = state or (OPEN if day is None else STATES)

    async def read() -> "list[AlertView]":
        from streams.alert_reading import AlertReader
        from streams.reading import ActiveVersions
        from touchline.tables import connected

        async with connected(settings) as store:
            reader = AlertReader(store, await ActiveVersions(store).of("care"))
            return await reader.of_days(whose, days, team=team, states=states, silent=everything)

    found = asyncio.run(read())
    if as_json:
        for alert in found[:limit]:
            typer.echo(json.dumps(alert.json(), ensure_ascii=False))
        return
    from touchline.alert_tables import draw_alerts
    from touchline.terminal import console

    draw_alerts(console(), found, limit, int(datetime.now(UTC).timestamp()) * 1_000_000)


def _days(day: str | None) -> list[str]:
    if day is None:
        today = datetime.now(UTC).date()
        return [(today - timedelta(days=n)).isoformat() for n in range(_DAYS)]
    try:
        return [date.fromisoformat(day).isoformat()]
    except ValueError:
        raise typer.BadParameter("write a day such as 2026-01-12.", param_hint="--day") from None


def _follow(settings: Settings, tenant: str, team: str | None, *, warnings: bool, as_json: bool) -> None:
    """Print a line for each event until Ctrl-C."""
    from rich.text import Text

    from streams.plain import record_json
    from touchline.alert_lines import line, style
    from touchline.terminal import console

    out = console()
    try:
        for event in _events(settings, warnings=warnings):
            if event.header.tenant != tenant or not _of_team(event, team):
                continue
            if as_json:
                typer.echo(json.dumps({"kind": "effect", "type": type(event).TYPE, **record_json(event)}, ensure_ascii=False))
            elif (said := line(event)) is not None:
                out.print(Text(said, style=style(event)), soft_wrap=True)
    except KeyboardInterrupt:
        return


def _events(settings: Settings, *, warnings: bool) -> "Iterator[Event]":
    from schemas import registry
    from schemas.codec import Codec
    from schemas.events import SlaWarned
    from streams.alert_following import followed

    topics = [settings.topic("alert"), settings.topic("escalation"), *([settings.topic("sla")] if warnings else [])]
    registered = registry.output_ids(settings.registry_url) if settings.registry_url else {}
    for event in followed(settings.brokers, topics, Codec(), registered):
        if not type(event).TYPE.startswith("sla.") or isinstance(event, SlaWarned):
            yield event


def _of_team(event: "Event", team: str | None) -> bool:
    """Tell whether an event is a team's; those that name no team are everybody's."""
    named = getattr(event, "team", None) or getattr(event, "from_team", None)
    return team is None or named is None or named == team
