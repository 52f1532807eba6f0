"""Alerts for people: a table of those that are there, one in full. Times are local; what others wrote goes through `clean`."""

from collections.abc import Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING, Final

from streams.alert_view import AlertView, CommandView, StepView
from streams.excerpts import clean
from touchline.alert_lines import STYLES, clock

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["draw_alert", "draw_alerts"]

_ID_CELLS: Final = 36
_CUT_CELLS: Final = 20


def draw_alerts(console: "Console", found: Sequence[AlertView], limit: int, zone: tzinfo | None = None) -> None:
    """Draw alerts as a table; times are local."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - heavy, and only for people
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if not found:
        console.print("No alert.")
        return
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in ("due", "severity", "state", "team", "what", "n", "conversation", "customer"):
        table.add_column(column, no_wrap=True, overflow="ellipsis")
    table.add_column("alert", no_wrap=True, min_width=_ID_CELLS)
    for alert in found[:limit]:
        owner = f"{alert.team or '-'}{f' / {alert.assignee}' if alert.assignee else ''}"
        cells = (clock(alert.raised_us, zone), alert.severity, alert.state, owner, f"{alert.kind} {alert.name}", str(alert.attempts))
        whose = (clean(alert.conversation_id, _CUT_CELLS), clean(alert.customer_id, _CUT_CELLS), alert.alert_id)
        colour = "dim" if alert.state in {"resolved", "moved"} else STYLES.get(alert.severity, "default")
        table.add_row(*(Text(clean(cell), style=colour) for cell in (*cells, *whose)))
    console.print(table)
    if len(found) > limit:
        console.print(f"There are {len(found):,}; these are the first {limit:,}: --limit shows more.", style="dim")


def draw_alert(
    console: "Console", alert: AlertView, steps: Sequence[StepView] = (), commands: Sequence[CommandView] = (), zone: tzinfo | None = None
) -> None:
    """Show one alert in full: what it is, who has it, who was told, what people did."""

    def at(us: int | None) -> str:
        return clock(us, zone) if us else "-"

    lines = [
        f"Alert {alert.alert_id}: {alert.severity} {alert.kind} {alert.name}, {alert.state}",
        f"due {at(alert.raised_us)}, noticed {at(alert.noticed_us)}, delivered from {at(alert.deliver_us)}, attempts {alert.attempts}",
        f"team {alert.team or '-'}, agent {alert.assignee or '-'}, channel {alert.channel}, rule {alert.rule}",
        f"conversation {alert.conversation_id}, customer {alert.customer_id}",
    ]
    if alert.acknowledged_us:
        held = f"its ladder is held until {at(alert.held_until_us)}"
        lines.append(f"acknowledged by {alert.acknowledged_by or '-'} at {at(alert.acknowledged_us)}, {held}")
    if alert.state == "snoozed":
        lines.append(f"snoozed by {alert.snoozed_by or '-'} until {at(alert.snoozed_until_us)}")
    if alert.resolved_us:
        lines.append(f"over at {at(alert.resolved_us)}: {alert.reason or '-'}, {alert.resolved_by or 'by itself'}")
    for step in steps:
        if step.step:
            lines.append(f"  step {step.step} at {at(step.at_us)}: told {step.told or '-'}")
        else:
            ended = f" at {at(step.ended_us)}: {step.reason or '-'}, {step.ended_by or 'by itself'}" if step.ended_us else ""
            lines.append(f"ladder of {step.steps or 0} steps: {step.phase or '-'}{ended}")
    lines += [f"  {at(one.at_us)} {one.kind} by {one.actor or '-'}{f': {one.reason}' if one.reason else ''} ({one.outcome})" for one in commands]
    for text in lines:
        console.print(clean(text), markup=False, soft_wrap=True)
