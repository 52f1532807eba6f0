"""Escalation: ladders of people who are told, one after the other, until somebody has answered. Knows alerts; must not know clocks.

A ladder belongs to an alert and runs once. Its steps are offsets after the cause, in the calendar's time. A step whose time has
passed when the alert is raised is reached at once; one whose time passes while the ladder is held, after that. An alert that is
told to nobody has no ladder.
"""

from typing import Any, ClassVar, Final

import msgspec

from projections.alert_calendar import calendar_at
from projections.alert_signals import AlertAcknowledged, AlertAssigned, AlertClosed, AlertOpened, AlertTaken
from projections.alert_telling import command_row
from projections.effect_ids import effect_id
from projections.escalation_ladder import NEXT, Ladder, Phase, Rung
from projections.kernel import Arm, Delete, Disarm, Effect, Moment, RowChange, Signal, Step, Subject, Timer, TimerChange, Upsert, Value
from projections.linked import Links, is_copy
from schemas import events
from schemas.events import Header
from schemas.record import Event

__all__ = ["LADDERS_MAX", "OVER_MAX", "Escalation", "EscalationState"]

SOURCE: Final = "/touchline/escalation"

LADDERS_MAX: Final = 128
"""Ladders of one customer that run; above it the oldest is given up."""

OVER_MAX: Final = 64
"""Ladders that have ended and whose alerts are still known: those that ended last."""


_OF_ALERTS: Final = AlertAcknowledged | AlertAssigned | AlertClosed | AlertTaken
_LINKS: Final[frozenset[type[Event]]] = frozenset({events.IdentityLinked, events.IdentityUnlinked, events.PrivacyErased})


class EscalationState(msgspec.Struct, array_like=True):
    """The ladders of one customer by alert id: those that run, and the last ones that ended. `links`: who has them now."""

    tenant: str
    customer_id: str
    ladders: dict[str, Ladder] = msgspec.field(default_factory=dict)
    over: list[str] = msgspec.field(default_factory=list)
    links: Links = msgspec.field(default_factory=Links)


class Escalation:
    """Folds alerts into ladders. Rare beside other events: nothing here is hot."""

    name: ClassVar[str] = "escalation"
    version: ClassVar[int] = 1
    handles: ClassVar[frozenset[type[Event]]] = frozenset({events.EscalationStandDownRequested, *_LINKS})
    depends_on: ClassVar[tuple[str, ...]] = ("alerts",)

    def initial(self, subject: Subject) -> EscalationState:
        """Return the state of a customer without ladders."""
        return EscalationState(subject.tenant, subject.id)

    def apply(self, state: EscalationState, event: Event, at: Moment) -> Step[EscalationState]:
        """Stand a ladder down because a person says so, and write what became of the command."""
        climb = _Climb(state, at)
        if type(event) in _LINKS:
            _follow(climb, event)
        elif isinstance(event, events.EscalationStandDownRequested) and not state.links.to:  # else it is carried out there, as a copy
            ladder = state.ladders.get(event.alert_id)
            if ladder is None and is_copy(event.header):
                climb.over(event.alert_id)  # it was stood down where it comes from: it does not begin again
                return climb.step()
            outcome = "done" if ladder is not None else "ended" if event.alert_id in state.over else "no_ladder"
            if ladder is not None:
                header = event.header
                climb.end(ladder, Rung.STOOD_DOWN, why=event.reason, by=header.actor_id, at_us=header.occurred_at_us)
            climb.rows.append(command_row(event, event.alert_id, state.customer_id, outcome))
        return climb.step()

    def receive(self, state: EscalationState, signal: Signal, at: Moment) -> Step[EscalationState]:
        """Begin, hold and end ladders as their alerts do."""
        climb = _Climb(state, at)
        if isinstance(signal, AlertOpened):
            climb.begin(signal)
        elif isinstance(signal, _OF_ALERTS) and (ladder := state.ladders.get(signal.alert_id)) is not None:
            if isinstance(signal, AlertAcknowledged):
                climb.hold(ladder, signal)
            elif isinstance(signal, AlertAssigned):
                ladder.team = signal.team
            elif isinstance(signal, AlertTaken):
                climb.go_on(ladder, signal)
            else:
                climb.end(ladder, Rung.ALERT_CLOSED, why=signal.why, by=signal.by, at_us=signal.at_us)
        return climb.step()

    def expire(self, state: EscalationState, timer: Timer, at: Moment) -> Step[EscalationState]:
        """Reach the next step, or go on after a hold."""
        climb = _Climb(state, at)
        ladder = state.ladders.get(timer.name.removeprefix(_TIMER))
        if ladder is not None:
            if ladder.phase == Phase.HELD:
                ladder.phase = NEXT[Phase.HELD][Rung.HOLD_OVER]
            climb.on(ladder)
        return climb.step()


class _Climb(msgspec.Struct, gc=False):
    """Gathers what one signal, command or timer leads to for one customer's ladders."""

    state: EscalationState
    at: Moment
    rows: list[RowChange] = msgspec.field(default_factory=list)
    timers: list[TimerChange] = msgspec.field(default_factory=list)
    effects: list[Effect] = msgspec.field(default_factory=list)

    def step(self) -> Step[EscalationState]:
        """Return the step."""
        return Step(self.state, tuple(self.rows), tuple(self.timers), tuple(self.effects))

    def begin(self, opened: AlertOpened) -> None:
        """Begin the ladder of an alert, unless it has none, or had one before. One that was taken over begins where it stood."""
        cause, ladders = opened.cause, self.state.ladders
        if not cause.ladder or opened.alert_id in ladders or opened.alert_id in self.state.over:
            return
        if cause.silent or (cause.over and not opened.taken):
            return
        place = cause.place
        ladder = Ladder(
            opened.alert_id,
            place.conversation_id,
            place.home_customer_id,
            place.case_id,
            place.channel,
            place.team,
            f"{cause.kind} {cause.name}",
            cause.calendar,
            cause.at_us,
            [(step.after_s, step.to) for step in cause.ladder],
        )
        if len(ladders) >= LADDERS_MAX:
            given_up = next(iter(ladders))
            del ladders[given_up]
            self.timers.append(Disarm(_TIMER + given_up))
        ladders[ladder.alert_id] = ladder
        self._row(ladder, 0, at=cause.at_us, noticed_at=cause.noticed_us, reason=ladder.reason, steps=len(ladder.steps), from_team=ladder.team)
        if not opened.taken:
            self.on(ladder)

    def go_on(self, ladder: Ladder, taken: AlertTaken) -> None:
        """Go on with a ladder that stood under another customer."""
        self._stand(ladder, taken.until_us)
        if taken.over:
            return
        held_until_us = ladder.held_until_us
        if ladder.phase == Phase.HELD and held_until_us is not None and held_until_us > self.at.appended_at_us:
            self.timers.append(Arm(_TIMER + ladder.alert_id, held_until_us))
            return
        if ladder.phase == Phase.HELD:
            ladder.phase = NEXT[Phase.HELD][Rung.HOLD_OVER]
        self.on(ladder)

    def on(self, ladder: Ladder, told_us: int | None = None) -> None:
        """Reach every step whose time has come, and arm the next one; with `told_us` those that were told elsewhere before that moment.

        A step whose time came during a hold is reached after it, when the calendar is open.
        """
        calendar = calendar_at(self.at.config, ladder.calendar, ladder.cause_us)
        held_until_us = ladder.held_until_us
        while ladder.next < len(ladder.steps):
            due_us = calendar.due(ladder.cause_us, ladder.steps[ladder.next][0])
            if due_us is not None and held_until_us is not None and due_us < held_until_us:
                due_us = calendar.next_open(held_until_us)
            if due_us is None:
                break  # the calendar never opens again
            if told_us is not None and due_us >= told_us:
                return
            if due_us > self.at.appended_at_us:
                self.timers.append(Arm(_TIMER + ladder.alert_id, due_us))
                break
            self._reach(ladder, due_us, told=told_us is not None)
        self._row(ladder, 0, phase=str(ladder.phase))

    def hold(self, ladder: Ladder, said: AlertAcknowledged) -> None:
        """Let a ladder wait, because somebody looks after it."""
        if said.silent:
            self._stand(ladder, said.at_us)
        after = NEXT[Phase(ladder.phase)].get(Rung.ACKNOWLEDGED)
        if after is None:
            return  # everybody has been told
        ladder.phase, ladder.held_until_us = after, said.held_until_us
        self.timers.append(Arm(_TIMER + ladder.alert_id, said.held_until_us))
        if not said.silent:
            header = self._header(ladder, f"held|{said.at_us}", said.at_us)
            self._tell(events.EscalationHeld(header=header, alert_id=ladder.alert_id, until_us=said.held_until_us, by=said.by))
        self._row(ladder, 0, phase=str(ladder.phase), held_until=said.held_until_us)

    def end(self, ladder: Ladder, rung: Rung, *, why: str, by: str | None, at_us: int) -> None:
        """End a ladder. `moved` is quiet, it runs under another customer, who writes its rows; so is `erased`."""
        ladder.phase = NEXT[Phase(ladder.phase)][rung]
        del self.state.ladders[ladder.alert_id]
        self.over(ladder.alert_id)
        self.timers.append(Disarm(_TIMER + ladder.alert_id))
        if why == _MOVED:
            self.rows += [Delete("escalation", self._key(ladder, number)) for number in range(ladder.next + 1)]
            return
        if why != _ERASED:
            header = self._header(ladder, "stood_down", at_us)
            self._tell(events.EscalationStoodDown(header=header, alert_id=ladder.alert_id, reason=why, by=by))
        self._row(ladder, 0, phase=str(ladder.phase), ended_at=at_us, ended_by=by, reason=why)

    def over(self, alert_id: str) -> None:
        """Remember that an alert's ladder has ended: it does not begin again."""
        self.state.over.append(alert_id)
        del self.state.over[:-OVER_MAX]

    def _stand(self, ladder: Ladder, until_us: int) -> None:
        """Let a ladder reach without a word what it had reached elsewhere by then."""
        if ladder.phase == Phase.HELD:
            if ladder.held_until_us is not None and ladder.held_until_us >= until_us:
                return
            ladder.phase = NEXT[Phase.HELD][Rung.HOLD_OVER]
        self.on(ladder, until_us)

    def _reach(self, ladder: Ladder, at_us: int, *, told: bool) -> None:
        after_s, to = ladder.steps[ladder.next]
        ladder.next += 1
        ladder.phase = NEXT[Phase.CLIMBING][Rung.LAST_STEP if ladder.next == len(ladder.steps) else Rung.STEP_DUE]
        number = ladder.next
        step: dict[str, Value] = {"told": to, "after_s": after_s, "from_team": ladder.team, "reason": ladder.reason}
        self._row(ladder, number, at=at_us, noticed_at=at_us if told else self.at.appended_at_us, **step)
        if told:
            return
        self._tell(
            events.EscalationStepReached(
                header=self._header(ladder, f"step|{number}", at_us),
                alert_id=ladder.alert_id,
                step=number,
                to=to,
                after_s=after_s,
                reason=ladder.reason,
                from_team=ladder.team or None,
            )
        )

    def _row(self, ladder: Ladder, number: int, **columns: Value) -> None:
        self.rows.append(Upsert("escalation", self._key(ladder, number), {"customer_id": self.state.customer_id, **columns}))

    def _key(self, ladder: Ladder, number: int) -> tuple[str | int, ...]:
        return (self.state.tenant, ladder.conversation_id, ladder.home, ladder.alert_id, number)

    def _tell(self, event: Any) -> None:  # noqa: ANN401 - one of the three events of ladders
        self.effects.append(Effect(type(event).TYPE, self.state.customer_id, event))

    def _header(self, ladder: Ladder, what: str, at_us: int) -> Header:
        return Header(
            id=effect_id("escalation", ladder.alert_id, what),
            source=SOURCE,
            tenant=self.state.tenant,
            channel=ladder.channel,  # type: ignore[arg-type]  # it came out of a header
            occurred_at_us=at_us,
            received_at_us=self.at.appended_at_us,
            customer_id=self.state.customer_id,
            home_customer_id=ladder.home,
            conversation_id=ladder.conversation_id,
            case_id=ladder.case_id,
            causation_id=ladder.alert_id,
        )


def _follow(climb: _Climb, event: Event) -> None:
    """End every ladder without a word for a customer who is linked to another, or was forgotten."""
    state, at_us = climb.state, climb.at.occurred_at_us
    match event:
        case events.IdentityLinked() if event.from_ == state.customer_id:
            state.links.leave(event)
            why = _MOVED
        case events.PrivacyErased():
            why, state.links.erased = _ERASED, True
        case events.IdentityUnlinked() if event.from_ == state.customer_id:
            state.links.come_back(event)
            return
        case _:
            return
    for ladder in tuple(state.ladders.values()):
        climb.end(ladder, Rung.ALERT_CLOSED, why=why, by=None, at_us=at_us)


_TIMER: Final = "l:"
_MOVED: Final = "moved"
_ERASED: Final = "erased"
