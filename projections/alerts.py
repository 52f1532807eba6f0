"""Alerts: what people must hear of, one for each cause, and what they do about it. Knows causes and commands; must not know clocks.

An alert is raised when a cause is (a breached clock, a contact that nobody answered) and is over when its causes are, or when a
person says so. Attempts of one customer under one rule are one alert with a count. Its id follows from its first cause.
"""

from typing import ClassVar, Final

from projections.alert_calendar import deliver_at_us
from projections.alert_commands import COMMANDS, carry_out, end, wake_name
from projections.alert_signals import AlertOpened
from projections.alert_state import NEXT, OPEN_MAX, Alert, AlertDoing, AlertsState, AlertState
from projections.alert_taking import forget_all, hand_over, hear, let_go, take_over
from projections.alert_telling import Telling, command_row
from projections.effect_ids import effect_id
from projections.kernel import Moment, Signal, Step, Subject, Timer
from projections.linked import is_copy
from projections.sla.signals import CauseEnded, CauseHanded, CauseRaised, CauseTaken
from schemas import events
from schemas.record import Event

__all__ = ["OPEN_MAX", "Alerts"]

_LINKS: Final[frozenset[type[Event]]] = frozenset({events.IdentityLinked, events.IdentityUnlinked, events.PrivacyErased})


class Alerts:
    """Folds causes and commands into alerts. Rare beside other events: nothing here is hot."""

    name: ClassVar[str] = "alerts"
    version: ClassVar[int] = 1
    handles: ClassVar[frozenset[type[Event]]] = frozenset({*COMMANDS, *_LINKS})
    depends_on: ClassVar[tuple[str, ...]] = ("sla", "unanswered")
    loops_back: ClassVar[bool] = True

    def initial(self, subject: Subject) -> AlertsState:
        """Return the state of a customer without alerts."""
        return AlertsState(subject.tenant, subject.id)

    def apply(self, state: AlertsState, event: Event, at: Moment) -> Step[AlertsState]:
        """Carry out a command, and write what became of it; close quietly for a customer who is linked to another, or was forgotten."""
        telling = Telling(state, at)
        if type(event) in _LINKS:
            _follow(telling, event)
        elif not state.links.to:  # else it is carried out there, as a copy
            alert_id: str = event.alert_id  # type: ignore[attr-defined]  # every command has one
            if is_copy(event.header):
                hear(telling, event, alert_id)
            else:
                telling.rows.append(command_row(event, alert_id, state.customer_id, carry_out(telling, event, alert_id)))
        return telling.step()

    def receive(self, state: AlertsState, signal: Signal, at: Moment) -> Step[AlertsState]:
        """Raise an alert for a cause, add the cause to one that is open, or take it away."""
        telling = Telling(state, at)
        if isinstance(signal, CauseHanded):
            hand_over(telling, signal)
        elif state.links.quiet:
            return Step(state)
        elif isinstance(signal, CauseRaised):
            _raise(telling, signal)
        elif isinstance(signal, CauseTaken):
            if not take_over(telling, signal):
                _raise(telling, signal.cause)
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


def _follow(telling: Telling, event: Event) -> None:
    links, customer_id = telling.state.links, telling.state.customer_id
    match event:
        case _ if links.erased:
            pass
        case events.IdentityLinked() if event.from_ == customer_id:
            if links.leave(event):
                let_go(telling)
        case events.IdentityLinked():
            links.gain(event.from_, event.header.received_at_us)
        case events.IdentityUnlinked() if event.from_ == customer_id:
            if links.come_back(event):
                telling.state.handed.clear()
        case events.IdentityUnlinked():
            links.lose(event.from_)
        case _:
            forget_all(telling)
            links.erased = True


def _raise(telling: Telling, cause: CauseRaised) -> None:
    state = telling.state
    known = next((alert for alert in state.open.values() if alert.stands_for(cause)), None)
    if known is not None:
        if cause.cause_id not in known.causes:
            known.causes.append(cause.cause_id)
            telling.row(known, attempts=int(known.columns["attempts"] or 0) + 1, last_attempt_at=cause.at_us)  # type: ignore[arg-type]  # a number
        return
    alert_id = effect_id("alerts", cause.cause_id, cause.turn)
    if alert_id in state.over:
        return
    alert = Alert.of(alert_id, cause, state.customer_id, deliver_at_us(telling.at.config, cause.severity, cause.noticed_us))
    telling.open(alert)
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


def _end_cause(telling: Telling, ended: CauseEnded) -> None:
    alert = next((alert for alert in telling.state.open.values() if ended.cause_id in alert.causes), None)
    if alert is None:
        return
    alert.causes.remove(ended.cause_id)
    if ended.why != "retracted":
        alert.ended_as = ended.why
    if not alert.causes:
        end(telling, alert, why=alert.ended_as, at_us=ended.at_us, silent=ended.silent)
