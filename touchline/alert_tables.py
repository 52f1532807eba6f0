"""Alerts for people: a table of those that are there, one in full. Times are local; what others wrote goes through `clean`."""

from collections.abc import Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING

from streams.alert_view import AlertView, CommandView, StepView
from streams.excerpts import clean
from touchline.alert_lines import STYLES, clock
from touchline.terminal import draw_table, moment

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["draw_alert", "draw_alerts"]


def draw_alerts(console: "Console", found: Sequence[AlertView], limit: int, now_us: int, zone: tzinfo | None = None) -> None:
    """Draw alerts as a table; times are local, without the date where it is today's (`now_us`)."""
    if not found:
        console.print("No alert.")
        return
    shown, rows, styles = found[:limit], [], []
    for alert in shown:
        owner = f"{alert.team or '-'}{f' / {alert.assignee}' if alert.assignee else ''}"
        due = moment(alert.raised_us, now_us, zone)
        what = (due, alert.severity, alert.state, f"{alert.kind} {alert.name}", str(alert.attempts), owner)
        rows.append((*what, alert.conversation_id, alert.customer_id, alert.alert_id))
        styles.append("dim" if alert.state == "resolved" else STYLES.get(alert.severity, "default"))
    draw_table(console, ("due", "severity", "state", "what", ">n", "team", "conversation", "customer", "alert"), rows, styles=styles)
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
        lines.append(f"acknowledged by {alert.acknowledged_by or '-'} at {at(alert.acknowledged_us)}, until {at(alert.held_until_us)}")
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
