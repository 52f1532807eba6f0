"""`touchline alert`: acknowledge, snooze, assign, note, resolve one alert. Each is an event on the log, with who and why."""

import asyncio
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from touchline.errors import Refused
from touchline.settings import load_settings

if TYPE_CHECKING:
    from schemas.record import Event
    from streams.alert_view import AlertView

__all__ = ["AlertId", "AsJson", "By", "Tenant", "Wait", "act", "register", "until_us"]

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SPAN: Final = re.compile(r"(\d{1,6})([smhd])")

AlertId = Annotated[str, typer.Argument(metavar="ID", help="The alert's id, whole: `touchline alerts` shows it.")]
By = Annotated[str | None, typer.Option("--as", metavar="ACTOR", help="Who does it: an id, no name; default: the setting `operator`.")]
Reason = Annotated[str | None, typer.Option(help="Why, in a word.")]
Tenant = Annotated[str | None, typer.Option(help="Whose alert; default: the setting.")]
Wait = Annotated[float, typer.Option("--wait", min=0, max=600, metavar="SECONDS", help="How long to wait for a worker to carry it out.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Look after one alert.\n\nExample:  touchline alert ack 5f0c… --reason calling")
    group.command("show", epilog="Example:  touchline alert show 5f0c…")(show)
    group.command("ack", epilog="Example:  touchline alert ack 5f0c… --reason calling")(ack)
    group.command("snooze", epilog="Example:  touchline alert snooze 5f0c… --for 30m")(snooze)
    group.command("assign", epilog="Example:  touchline alert assign 5f0c… --team billing --agent ag-7")(assign)
    group.command("note", epilog="Example:  touchline alert note 5f0c… 'She asked to be called after five.'")(note)
    group.command("resolve", epilog="Example:  touchline alert resolve 5f0c… --reason called_back")(resolve)
    app.add_typer(group, name="alert")


def show(alert_id: AlertId, *, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Show an alert: what it is, who was told, what people did. Times are local; with --json UTC."""
    from streams.alert_reading import AlertReader
    from streams.reading import ActiveVersions
    from touchline.tables import connected

    settings = load_settings()
    whose = tenant or settings.tenant

    async def read() -> Any:  # noqa: ANN401 - three lists of views
        async with connected(settings) as store:
            reader = AlertReader(store, await ActiveVersions(store).of("care"))
            alert = await reader.alert(whose, alert_id)
            if alert is None:
                raise Refused(f"There is no alert {alert_id} of tenant {whose}.", reason="unknown_alert", next_step="see `touchline alerts`.")
            return alert, await reader.ladder(whose, alert), await reader.commands(whose, alert_id)

    alert, steps, commands = asyncio.run(read())
    if as_json:
        told = {"ladder": [step.json() for step in steps], "commands": [command.json() for command in commands]}
        typer.echo(json.dumps({**alert.json(), **told}, ensure_ascii=False))
        return
    from touchline.alert_tables import draw_alert
    from touchline.terminal import console

    draw_alert(console(), alert, steps, commands)


def ack(alert_id: AlertId, *, reason: Reason = None, by: By = None, tenant: Tenant = None, wait: Wait = 10.0, as_json: AsJson = False) -> None:
    """Acknowledge an alert: you look after it, and its ladder waits for the time that the policy says."""
    from schemas.events import AlertAcknowledgeRequested

    act(AlertAcknowledgeRequested, alert_id, by, tenant, wait, as_json=as_json, reason=reason)


def snooze(
    alert_id: AlertId,
    *,
    span: Annotated[str | None, typer.Option("--for", metavar="SPAN", help="For how long: 90s, 30m, 2h, 1d.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Until when: 2026-01-12T17:00:00Z.")] = None,
    reason: Reason = None,
    by: By = None,
    tenant: Tenant = None,
    wait: Wait = 10.0,
    as_json: AsJson = False,
) -> None:
    """Put an alert out of sight for a while; it comes back by itself. Its ladder goes on."""
    from schemas.events import AlertSnoozeRequested

    act(AlertSnoozeRequested, alert_id, by, tenant, wait, as_json=as_json, reason=reason, until_us=until_us(span, until, datetime.now(UTC)))


def assign(
    alert_id: AlertId,
    *,
    team: Annotated[str | None, typer.Option(help="The team's id.")] = None,
    agent: Annotated[str | None, typer.Option(help="The agent's id.")] = None,
    reason: Reason = None,
    by: By = None,
    tenant: Tenant = None,
    wait: Wait = 10.0,
    as_json: AsJson = False,
) -> None:
    """Give an alert to a team, an agent, or an agent of a team: that team sees it from then on."""
    from schemas.events import AlertAssignRequested

    if team is None and agent is None:
        raise typer.BadParameter("name a team, an agent, or both.", param_hint="--team")
    act(AlertAssignRequested, alert_id, by, tenant, wait, as_json=as_json, reason=reason, team=team, agent=agent)


def note(
    alert_id: AlertId,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The note; it is sealed, and erased with the customer.")],
    *,
    by: By = None,
    tenant: Tenant = None,
    wait: Wait = 10.0,
    as_json: AsJson = False,
) -> None:
    """Write a note on an alert."""
    from schemas.events import AlertNoteAdded

    act(AlertNoteAdded, alert_id, by, tenant, wait, as_json=as_json, note=text)


def resolve(
    alert_id: AlertId,
    *,
    reason: Annotated[str, typer.Option(help="Why, in a word: called_back, duplicate.")],
    by: By = None,
    tenant: Tenant = None,
    wait: Wait = 10.0,
    as_json: AsJson = False,
) -> None:
    """Close an alert; its ladder ends."""
    from schemas.events import AlertResolveRequested

    act(AlertResolveRequested, alert_id, by, tenant, wait, as_json=as_json, reason=reason)


def act(
    kind: "type[Event]",
    alert_id: str,
    by: str | None,
    tenant: str | None,
    wait_s: float,
    /,
    *,
    as_json: bool,
    reason: str | None = None,
    **fields: Any,  # noqa: ANN401 - the event's own fields
) -> None:
    """Append a command, wait until a worker has carried it out, and print the alert as it is then."""
    from touchline import alert_commands

    settings = load_settings()
    whose = tenant or settings.tenant
    if reason is not None:
        fields["reason"] = alert_commands.code("reason", reason)

    async def do() -> "AlertView":
        async with alert_commands.alert_desk(settings, tenant=whose, actor=by or settings.operator, wait_s=wait_s) as desk:
            return (await desk.do(kind, alert_id, **fields)).alert

    alert = asyncio.run(do())
    if as_json:
        typer.echo(json.dumps(alert.json(), ensure_ascii=False))
        return
    from touchline.alert_tables import draw_alert
    from touchline.terminal import console

    draw_alert(console(), alert)


def until_us(span: str | None, until: str | None, now: datetime) -> int:
    """Return the end of a snooze, epoch µs: exactly one of a span and a time. Ends with exit 2 for anything else."""
    from streams.plain import instant_us

    if (span is None) == (until is None):
        raise typer.BadParameter("say --for or --until, one of both.", param_hint="--for")
    if until is not None:
        try:
            return instant_us(until)
        except ValueError:
            raise typer.BadParameter("write a time with its offset, such as 2026-01-12T17:00:00Z.", param_hint="--until") from None
    found = _SPAN.fullmatch(span or "")
    if found is None:
        raise typer.BadParameter("write a span such as 90s, 30m, 2h or 1d.", param_hint="--for")
    return int((now.timestamp() + int(found.group(1)) * _UNITS_S[found.group(2)]) * 1_000_000)
