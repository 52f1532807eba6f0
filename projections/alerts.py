"""Alerts: what people must hear of, one for each cause, and what they do about it. Knows causes and commands; must not know clocks.

An alert is raised when a cause is (a breached clock, a contact that nobody answered) and is over when its causes are, or when a
person says so. Attempts of one customer under one rule are one alert with a count. Its id follows from its first cause.
"""

from typing import ClassVar, Final

from projections.alert_calendar import deliver_at_us
from projections.alert_commands import COMMANDS, carry_out, end, wake_name
from projections.alert_signals import AlertClosed, AlertOpened
from projections.alert_state import NEXT, Alert, AlertDoing, AlertsState, AlertState
from projections.alert_telling import Telling, command_row
from projections.effect_ids import effect_id
from projections.kernel import Disarm, Moment, Signal, Step, Subject, Timer
from projections.sla.signals import CauseEnded, CauseRaised
from schemas import events
from schemas.record import Event

__all__ = ["OPEN_MAX", "Alerts"]

OPEN_MAX: Final = 128
"""Open alerts of one customer; above it the oldest is given up: its row stays, and nothing ends it any more."""

_UNANSWERED: Final = "unanswered"
_LINKS: Final[frozenset[type[Event]]] = frozenset({events.IdentityLinked})


class Alerts:
    """Folds causes and commands into alerts. Rare beside other events: nothing here is hot."""

    name: ClassVar[str] = "alerts"
    version: ClassVar[int] = 1
    handles: ClassVar[frozenset[type[Event]]] = frozenset({*COMMANDS, *_LINKS})
    depends_on: ClassVar[tuple[str, ...]] = ("sla", "unanswered")

    def initial(self, subject: Subject) -> AlertsState:
        """Return the state of a customer without alerts."""
        return AlertsState(subject.tenant, subject.id)

    def apply(self, state: AlertsState, event: Event, at: Moment) -> Step[AlertsState]:
        """Carry out a command, and write what became of it; close quietly what was merged into another customer."""
        telling = Telling(state, at)
        if isinstance(event, events.IdentityLinked):
            if event.from_ == state.customer_id and state.open:
                _move(telling)
        else:
            alert_id: str = event.alert_id  # type: ignore[attr-defined]  # every command has one
            telling.rows.append(command_row(event, alert_id, state.customer_id, carry_out(telling, event, alert_id)))
        return telling.step()

    def receive(self, state: AlertsState, signal: Signal, at: Moment) -> Step[AlertsState]:
        """Raise an alert for a cause, add the cause to one that is open, or take it away."""
        telling = Telling(state, at)
        if isinstance(signal, CauseRaised):
            _raise(telling, signal)
        elif isinstance(signal, CauseEnded):
            _end_cause(telling, signal)
        return telling.step()

    def expire(self, state: AlertsState, timer: Timer, at: Moment) -> Step[AlertsState]:
        """Bring a snoozed alert back into sight."""
        telling = Telling(state, at)
        for alert in state.open.values():
            if timer.name == wake_name(alert) and alert.state == AlertState.SNOOZED and alert.snoozed_until_us == timer.due_at_us:
                after = AlertState.ACKNOWLEDGED if alert.acknowledged else NEXT[AlertState.SNOOZED][AlertDoing.WAKE]
                alert.state = after.value
                telling.row(alert, state=alert.state)
        return telling.step()


def _raise(telling: Telling, cause: CauseRaised) -> None:
    state = telling.state
    known = next((alert for alert in state.open.values() if _takes(alert, cause)), None)
    if known is not None:
        if cause.cause_id not in known.causes:
            known.causes.append(cause.cause_id)
            telling.row(known, attempts=int(known.columns["attempts"] or 0) + 1, last_attempt_at=cause.at_us)  # type: ignore[arg-type]  # a number
        return
    alert_id = effect_id("alerts", cause.cause_id, cause.turn)
    if alert_id in state.over:
        return
    alert = _alert(alert_id, cause, state.customer_id, deliver_at_us(telling.at.config, cause.severity, cause.noticed_us))
    if len(state.open) >= OPEN_MAX:
        del state.open[next(iter(state.open))]
    state.open[alert_id] = alert
    telling.new_row(alert)
    telling.summary()
    if not cause.silent:
        telling.effect(
            events.AlertRaised,
            alert,
            cause.at_us,
            "",
            kind=cause.kind,
            name=cause.name,
            instance=cause.instance,
            severity=cause.severity,
            rule=cause.rule_id,
            due_at_us=cause.at_us,
            team=cause.place.team,
            recipients=cause.recipients,
            attempts=1,
            deliver_at_us=alert.columns["deliver_at"],
        )
    telling.signals.append(AlertOpened(alert_id=alert_id, cause=cause))


def _takes(alert: Alert, cause: CauseRaised) -> bool:
    """Tell whether an open alert stands for this cause too: it is its own, or another attempt under one rule.

    What is told to people never joins what was told to nobody.
    """
    if cause.cause_id in alert.causes:
        return True
    attempt = cause.kind == _UNANSWERED and (alert.kind, alert.name) == (cause.kind, cause.name)
    return attempt and (cause.silent or not alert.silent)


def _end_cause(telling: Telling, ended: CauseEnded) -> None:
    alert = next((alert for alert in telling.state.open.values() if ended.cause_id in alert.causes), None)
    if alert is None:
        return
    alert.causes.remove(ended.cause_id)
    if ended.why != "retracted":
        alert.ended_as = ended.why
    if not alert.causes:
        end(telling, alert, why=alert.ended_as, at_us=ended.at_us, silent=ended.silent)


def _move(telling: Telling) -> None:
    """Let go of every alert without a word: the copies of the records raise them under the other customer (log.md §5)."""
    state = telling.state
    for alert in state.open.values():
        telling.timers.append(Disarm(wake_name(alert)))
        telling.row(alert, state="moved")
        telling.signals.append(AlertClosed(alert_id=alert.id, why="moved", by=None, at_us=telling.at.occurred_at_us))
    state.open.clear()
    telling.summary()


def _alert(alert_id: str, cause: CauseRaised, customer_id: str, deliver_at: int) -> Alert:
    place = cause.place
    return Alert(
        id=alert_id,
        kind=cause.kind,
        name=cause.name,
        raised_us=cause.at_us,
        team=place.team,
        home=place.home_customer_id,
        causes=[cause.cause_id],
        columns={
            "kind": cause.kind,
            "name": cause.name,
            "instance": cause.instance,
            "rule": cause.rule_id,
            "severity": cause.severity,
            "state": AlertState.OPEN.value,
            "noticed_at": cause.noticed_us,
            "deliver_at": deliver_at,
            "attempts": 1,
            "last_attempt_at": cause.at_us,
            "customer_id": customer_id,
            "home_customer_id": place.home_customer_id,
            "conversation_id": place.conversation_id,
            "case_id": place.case_id,
            "channel": place.channel,
            "queue": place.queue,
            "priority": place.priority,
            "assignee": place.assignee,
            "recipients": list(cause.recipients),
            "notes": 0,
            "silent": cause.silent,
        },
        hold_s=cause.acknowledge_hold_s,
        silent=cause.silent,
    )
