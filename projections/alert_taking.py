"""Alerts that go from one customer to another with a link, and what people had asked of them. Pure values out of values.

The customer that is linked away lets its alerts go: their rows are deleted here and written there, under the same ids. What was asked of
an alert comes along as copies of the commands; those are carried out once the alert is there, and without a word where they were told of.
"""

from typing import Final

import msgspec

from projections.alert_calendar import deliver_at_us
from projections.alert_commands import HOLD_DEFAULT_S, carry_out, end, wake_name
from projections.alert_signals import AlertAcknowledged, AlertClosed, AlertOpened, AlertTaken
from projections.alert_state import Alert, AlertState, Heard
from projections.alert_telling import Telling, command_row
from projections.kernel import Delete, Disarm, Effect
from projections.sla.signals import CauseHanded, CauseRaised, CauseTaken
from schemas import events
from schemas.events import EVENT_TYPES, Header
from schemas.record import Event

__all__ = ["HEARD_MAX", "forget_all", "hand_over", "hear", "let_go", "take_over"]

HEARD_MAX: Final = 64
"""Commands that came as copies and are kept for alerts that are still to come: the latest."""

_SECOND_US: Final = 1_000_000
_NOT_KEPT: Final = frozenset({"header", "alert_id", "attributes", "sealed", "sealed_key"})


def let_go(telling: Telling) -> None:
    """Let go of every alert without a word: another customer has them now (log.md §5)."""
    state = telling.state
    for alert in state.open.values():
        for cause in alert.causes:
            state.handed[cause] = (("" if alert.silent else alert.id), alert.acknowledged)
        if alert.state == AlertState.SNOOZED:
            telling.timers.append(Disarm(wake_name(alert)))
        telling.rows += (Delete("alert", telling.key(alert)), Delete("alert_by_id", (state.tenant, alert.id)))
        telling.signals.append(AlertClosed(alert_id=alert.id, why="moved", by=None, at_us=telling.at.occurred_at_us))
    state.open.clear()
    state.heard.clear()
    telling.summary()


def hand_over(telling: Telling, handed: CauseHanded) -> None:
    """Tell the other customer of a cause, with what only the alerts know of it."""
    moved = handed.moved
    if handed.cause_id in telling.state.handed:
        alert_id, acknowledged = telling.state.handed.pop(handed.cause_id)
        moved = msgspec.structs.replace(moved, alert=alert_id, acknowledged=acknowledged)
    telling.effects.append(Effect(moved.TYPE, moved.header.customer_id, moved))


def take_over(telling: Telling, taken: CauseTaken) -> bool:
    """Go on with an alert that was another customer's: as it stood there, and with what was asked of it since.

    It ends here (`merged`) where another alert stands for its cause already. Return False if it was over here, by itself, before this cause of
    it came: then nobody looks after the cause.
    """
    state, cause, alert_id = telling.state, taken.cause, taken.alert_id
    here = state.open.get(alert_id) or next((one for one in state.open.values() if _stands_for(one, cause)), None)
    if alert_id not in state.open and alert_id not in state.over:
        alert = _opened(telling, taken)
        _carry_out(telling, alert_id, before_us=taken.until_us)
        if taken.acknowledged and not alert.acknowledged:
            _acknowledge(telling, alert)
        telling.signals.append(AlertTaken(alert_id=alert_id, until_us=taken.until_us, over=cause.over or here is not None))
        _carry_out(telling, alert_id)
        if here is None:
            return True
        if alert_id in state.open:
            end(telling, alert, why="merged", at_us=telling.at.occurred_at_us)
    if alert_id in state.by_hand:
        return True
    if here is not None:
        _join(telling, here, taken)
    return here is not None or cause.over


def _stands_for(alert: Alert, cause: CauseRaised) -> bool:
    """Tell whether an alert that is here stands for a cause from elsewhere. One that is over joins no other attempts: its own alert ends with it."""
    return cause.cause_id in alert.causes if cause.over else alert.stands_for(cause)


def hear(telling: Telling, event: Event, alert_id: str) -> None:
    """Take in a copy of a command: carried out where the alert is, kept where it may still come."""
    header = event.header
    appended_us = header.appended_at_us or telling.at.appended_at_us
    linked_us = telling.state.links.since.get(header.origin_customer_id or "")
    told_there = linked_us is None or appended_us <= linked_us
    if alert_id in telling.state.open:
        telling.quiet = told_there
        outcome = carry_out(telling, event, alert_id)
        telling.quiet = False
        if not told_there:
            telling.rows.append(command_row(event, alert_id, telling.state.customer_id, outcome))
        return
    fields = {name: getattr(event, name) for name in event.__struct_fields__ if name not in _NOT_KEPT}
    telling.state.heard.append(Heard(alert_id, type(event).TYPE, header.id, header.occurred_at_us, appended_us, header.actor_id, fields))
    del telling.state.heard[:-HEARD_MAX]
    if told_there and isinstance(event, events.AlertResolveRequested):
        telling.state.end(alert_id, by_hand=True)
    if not told_there:
        outcome = "closed" if alert_id in telling.state.over else "unknown_alert"
        telling.rows.append(command_row(event, alert_id, telling.state.customer_id, outcome))


def forget_all(telling: Telling) -> None:
    """Close every alert without a word: the person was forgotten."""
    state, at_us = telling.state, telling.at.occurred_at_us
    for alert in state.open.values():
        if alert.state == AlertState.SNOOZED:
            telling.timers.append(Disarm(wake_name(alert)))
        telling.row(alert, state=AlertState.RESOLVED.value, resolved_at=at_us, reason="erased")
        telling.signals.append(AlertClosed(alert_id=alert.id, why="erased", by=None, at_us=at_us))
        state.end(alert.id)
    state.open.clear()
    state.heard.clear()
    telling.summary()


def _opened(telling: Telling, taken: CauseTaken) -> Alert:
    state, cause = telling.state, taken.cause
    alert = Alert.of(taken.alert_id, cause, state.customer_id, deliver_at_us(telling.at.config, cause.severity, cause.noticed_us))
    telling.open(alert)
    telling.signals.append(AlertOpened(alert_id=taken.alert_id, cause=cause, taken=True))
    return alert


def _join(telling: Telling, alert: Alert, taken: CauseTaken) -> None:
    """Let an alert that is here already stand for the cause too, told of and acknowledged as it was there."""
    if taken.cause.cause_id not in alert.causes:
        alert.causes.append(taken.cause.cause_id)
        telling.row(alert, attempts=int(alert.columns["attempts"] or 0) + 1, last_attempt_at=taken.cause.at_us)  # type: ignore[arg-type]  # a number
    if alert.silent:
        alert.silent = False
        telling.row(alert, silent=False)
        telling.summary()
    if taken.acknowledged and not alert.acknowledged:
        _acknowledge(telling, alert)


def _acknowledge(telling: Telling, alert: Alert) -> None:
    """Keep that somebody had it in hand, where their command is not known here: its ladder waits as if they had said so just now."""
    at_us = telling.at.occurred_at_us
    until_us = at_us + (HOLD_DEFAULT_S if alert.hold_s is None else alert.hold_s) * _SECOND_US
    alert.acknowledged = True
    if alert.state == AlertState.OPEN:
        alert.state = AlertState.ACKNOWLEDGED.value
    telling.row(alert, state=alert.state, held_until=until_us)
    telling.signals.append(AlertAcknowledged(alert_id=alert.id, by=None, at_us=at_us, held_until_us=until_us, silent=True))


def _carry_out(telling: Telling, alert_id: str, before_us: int | None = None) -> None:
    """Carry out what is kept of an alert, in order of time; up to `before_us` without a word, as it was told of there."""
    heard = telling.state.heard
    now = [one for one in heard if one.alert_id == alert_id and (before_us is None or one.appended_us <= before_us)]
    telling.state.heard = [one for one in heard if one not in now]
    for one in sorted(now, key=_said):
        event = _event(one, telling)
        telling.quiet = before_us is not None
        outcome = carry_out(telling, event, alert_id)
        telling.quiet = False
        if before_us is None:
            telling.rows.append(command_row(event, alert_id, telling.state.customer_id, outcome))


def _said(one: Heard) -> tuple[int, int, str]:
    return (one.appended_us, one.at_us, one.id)


def _event(heard: Heard, telling: Telling) -> Event:
    state = telling.state
    header = Header(
        id=heard.id,
        source="",
        tenant=state.tenant,
        occurred_at_us=heard.at_us,
        received_at_us=heard.at_us,
        customer_id=state.customer_id,
        actor_id=heard.actor,
    )
    return EVENT_TYPES[heard.type].of(header, {"alert_id": heard.alert_id, **heard.fields})
