"""What people ask of an alert, carried out: acknowledge, snooze, assign, note, resolve. Each is told again by an effect.

A command is carried out in the order of the log, not of event time: whoever acts sees what the log says. One that cannot be
carried out changes nothing and is shown with its outcome: `unknown_alert`, `closed`, `past`.
"""

from collections.abc import Callable
from typing import Any, Final

from projections.alert_signals import AlertAcknowledged, AlertAssigned, AlertClosed
from projections.alert_state import NEXT, Alert, AlertDoing, AlertState
from projections.alert_telling import Telling
from projections.kernel import Arm, Disarm
from schemas import events
from schemas.record import Event

__all__ = ["COMMANDS", "HOLD_DEFAULT_S", "carry_out", "end", "wake_name"]

HOLD_DEFAULT_S: Final = 1800
"""How long an acknowledged ladder waits, in real time, where its policy or rule does not say."""

_SECOND_US: Final = 1_000_000


def carry_out(telling: Telling, event: Event, alert_id: str) -> str:
    """Carry out a command; return its outcome: done, or why not."""
    alert = telling.state.open.get(alert_id)
    if alert is None:
        return "closed" if alert_id in telling.state.over else "unknown_alert"
    return COMMANDS[type(event)](telling, alert, event)


def _acknowledge(telling: Telling, alert: Alert, event: events.AlertAcknowledgeRequested) -> str:
    header = event.header
    hold_s = HOLD_DEFAULT_S if alert.hold_s is None else alert.hold_s
    until_us = header.occurred_at_us + hold_s * _SECOND_US
    if alert.state == AlertState.SNOOZED:
        telling.timers.append(Disarm(wake_name(alert)))
    _go(alert, AlertDoing.ACKNOWLEDGE)
    alert.acknowledged = True
    told = {"acknowledged_by": header.actor_id, "acknowledged_at": header.occurred_at_us, "held_until": until_us}
    telling.row(alert, state=alert.state, **told)
    telling.effect(events.AlertAcknowledged, alert, header.occurred_at_us, header.id, by=header.actor_id, until_us=until_us)
    telling.signals.append(
        AlertAcknowledged(alert_id=alert.id, by=header.actor_id, at_us=header.occurred_at_us, held_until_us=until_us, silent=telling.quiet)
    )
    return "done"


def _snooze(telling: Telling, alert: Alert, event: events.AlertSnoozeRequested) -> str:
    header = event.header
    if event.until_us <= header.occurred_at_us:
        return "past"
    _go(alert, AlertDoing.SNOOZE)
    alert.snoozed_until_us = event.until_us
    telling.timers.append(Arm(wake_name(alert), event.until_us))
    telling.row(alert, state=alert.state, snoozed_by=header.actor_id, snoozed_until=event.until_us)
    telling.effect(events.AlertSnoozed, alert, header.occurred_at_us, header.id, by=header.actor_id, until_us=event.until_us)
    return "done"


def _assign(telling: Telling, alert: Alert, event: events.AlertAssignRequested) -> str:
    header = event.header
    alert.columns |= {"assignee": event.agent, "assigned_by": header.actor_id}
    if event.team is not None and event.team != alert.team:
        telling.move_row(alert, event.team)
        telling.signals.append(AlertAssigned(alert_id=alert.id, team=event.team))
    else:
        telling.row(alert, assignee=event.agent, assigned_by=header.actor_id)
    telling.effect(events.AlertAssigned, alert, header.occurred_at_us, header.id, by=header.actor_id, team=event.team, agent=event.agent)
    return "done"


def _note(telling: Telling, alert: Alert, event: events.AlertNoteAdded) -> str:
    del event
    telling.row(alert, notes=int(alert.columns["notes"] or 0) + 1)  # type: ignore[arg-type]  # a number
    return "done"


def _resolve(telling: Telling, alert: Alert, event: events.AlertResolveRequested) -> str:
    header = event.header
    end(telling, alert, why=event.reason, at_us=header.occurred_at_us, by=header.actor_id, because=header.id)
    return "done"


COMMANDS: Final[dict[type[Event], Callable[[Telling, Alert, Any], str]]] = {
    events.AlertAcknowledgeRequested: _acknowledge,
    events.AlertSnoozeRequested: _snooze,
    events.AlertAssignRequested: _assign,
    events.AlertNoteAdded: _note,
    events.AlertResolveRequested: _resolve,
}
"""Type of a command -> what carries it out."""


def end(telling: Telling, alert: Alert, *, why: str, at_us: int, by: str | None = None, because: str = "", silent: bool = False) -> None:
    """Close an alert, by itself or by a person, whose command `because` is."""
    state = telling.state
    if alert.state == AlertState.SNOOZED:
        telling.timers.append(Disarm(wake_name(alert)))
    _go(alert, AlertDoing.END)
    del state.open[alert.id]
    state.end(alert.id, by_hand=bool(because))
    telling.row(alert, state=alert.state, resolved_at=at_us, resolved_by=by, reason=why)
    telling.summary()
    if not silent and not (alert.silent and by is None):
        telling.effect(events.AlertResolved, alert, at_us, because, by=by, reason=why)
    telling.signals.append(AlertClosed(alert_id=alert.id, why=why, by=by, at_us=at_us))


def wake_name(alert: Alert) -> str:
    """Return the name of the timer that ends a snooze."""
    return f"z:{alert.id}"


def _go(alert: Alert, doing: AlertDoing) -> None:
    alert.state = NEXT[AlertState(alert.state)][doing].value
