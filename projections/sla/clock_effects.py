"""What is told of clocks: the sla.* events, and the signals to alerts. Compares a clock with what was told of it before.

Ids are made of the conversation and its home, what is told, metric, instance and turn, so the same truth has the same id in any run.
Must not know rows, turns or how a clock came to be as it is.
"""

from typing import Any, Final

from projections.effect_ids import effect_id
from projections.kernel import Effect, Moment, Signal
from projections.sla.causes import cause_id, cause_of, place_of
from projections.sla.clock import Clock
from projections.sla.clock_rows import Whose
from projections.sla.course import Course
from projections.sla.signals import CauseEnded
from projections.sla.terms import Terms
from projections.sla.transitions import CANCELLED, METRICS, PAUSED, RUNNING, STOPPED
from schemas import events
from schemas.events import Header
from schemas.record import Event

__all__ = ["SOURCE", "Teller"]

SOURCE: Final = "/touchline/sla"
"""The source of every effect of clocks."""

_OVER: Final = frozenset({STOPPED, CANCELLED})
_ENDS: Final = {"resolved": "resolved", "resolved_unanswered": "resolved"}
_RESOLUTIONS: Final = frozenset({"requester_wait", "agent_work", "resolution_total", "resolution_net"})


class Teller:
    """Tells of the clocks of one conversation, at one moment. `silent`: too old for effects; signals go on, marked so.

    While records are being copied from another customer it is quiet: no effects, and no breach before all are there. `waits`: they are
    there just now, and a breach is not told before it is known whether it was told of already.
    """

    __slots__ = (
        "at",
        "conversation_id",
        "course",
        "customer_id",
        "effects",
        "home",
        "known_us",
        "quiet",
        "seen",
        "signals",
        "silent",
        "tenant",
        "terms",
    )

    def __init__(self, whose: Whose, course: Course, terms: Terms, at: Moment, *, silent: bool, waits: bool = False) -> None:
        self.tenant, customer_id, conversation_id = whose
        self.customer_id = customer_id
        self.conversation_id = conversation_id
        self.course = course
        self.home = course.home or customer_id
        self.terms = terms
        self.at = at
        self.silent = silent or bool(course.copying)
        self.seen = ""
        self.quiet = waits or bool(course.copying)
        self.known_us = 0
        self.effects: list[Effect] = []
        self.signals: list[Signal] = []

    def tell(self, clock: Clock, *, expired: bool = False) -> None:
        """Tell what is new of a clock, and note that it was told. `expired`: its due time was noticed now. Hot path."""
        told = clock.told
        self.known_us = clock.known_us(self.terms)
        if told.state < 0:
            if self.course.turns_of:
                told.turn = max(told.turn, self.course.turns_of.pop(clock.name, 0))
            self._say(events.SlaClockStarted, clock, clock.started_us, told.turn)
            told.state = clock.state if clock.open else RUNNING
        else:
            self._moves(clock)
        told.due_us = clock.due_us
        told.policy, told.calendar, told.calendar_book, told.target_s = clock.policy, clock.calendar, clock.calendar_book, clock.target_s
        self._verdict(clock, expired=expired)
        told.state = clock.state

    def policy(self, cause: str | None) -> None:
        """Tell that another policy was chosen."""
        course = self.course
        previous, course.policy_told = course.policy_told, course.machine.policy
        if not self.silent:
            header = self._header(("sla.policy_applied", "policy", "", course.policy_moves), self.at.occurred_at_us, cause)
            said = events.SlaPolicyApplied(header=header, policy=course.machine.policy, previous=previous, rules_version=course.machine.book)
            self.effects.append(Effect(said.TYPE, self.customer_id, said))
        course.policy_moves += 1

    def warn(self, clock: Clock) -> None:
        """Tell that a clock will be due soon."""
        clock.told.warned_us = clock.due_us or 0
        self.known_us = clock.known_us(self.terms)
        self._say(events.SlaWarned, clock, clock.warn_us or self.at.occurred_at_us, self._move(clock))

    def vanish(self, clock: Clock) -> None:
        """Tell that a clock, as is known now, never was."""
        told = clock.told
        self.known_us = clock.known_us(self.terms)
        if told.verdict == "breached":
            told.turn += 1
            self._retract(clock, "breached")
        elif told.verdict != "cancelled" and told.state >= 0:
            told.turn += 1
            self._say(events.SlaCancelled, clock, self.at.occurred_at_us, told.turn, reason="retracted")

    def _moves(self, clock: Clock) -> None:
        """Tell of new terms, pauses and resumptions."""
        told = clock.told
        renewed = (clock.policy, clock.target_s, clock.calendar, clock.calendar_book) != (
            told.policy,
            told.target_s,
            told.calendar,
            told.calendar_book,
        )
        still = clock.state == told.state == RUNNING
        if renewed or (still and clock.late_us is None and clock.due_us != told.due_us):
            self._say(
                events.SlaRetargeted,
                clock,
                self.at.occurred_at_us,
                self._move(clock),
                cause=(("policy" if clock.cause == "retarget" else clock.cause) or "policy") if renewed else "late",
                previous_due_at_us=told.due_us,
                by=clock.by if renewed else None,
            )
        if not clock.open:
            return
        if told.state in _OVER and told.verdict in {"met", "cancelled"}:
            told.turn += 1
            told.verdict = ""
        since_us = clock.segments[-1] if clock.segments else clock.started_us
        if clock.state == PAUSED and told.state == RUNNING:
            self._say(events.SlaPaused, clock, since_us, self._move(clock))
        elif clock.state == RUNNING and told.state != RUNNING:
            self._say(events.SlaResumed, clock, since_us, self._move(clock))

    def _verdict(self, clock: Clock, *, expired: bool) -> None:
        told, label = clock.told, clock.label
        if told.verdict == "breached" and label != "breached":
            told.turn += 1
            told.verdict = ""
            self._retract(clock, "breached")
        if label == "met" and told.verdict != "met":
            self._turn(clock, "met")
            stopped_us = clock.stopped_us or 0
            said = clock.channel or None
            self._say(events.SlaFulfilled, clock, stopped_us, told.turn, stopped_at_us=stopped_us, channel=said)
        elif label == "cancelled" and told.verdict != "cancelled":
            self._turn(clock, "cancelled")
            self._say(events.SlaCancelled, clock, clock.cancelled_us or 0, told.turn, reason=clock.why)
        elif label == "breached":
            if told.verdict != "breached" and (expired or (not self.quiet and (self.silent or clock.cause == "retarget"))):
                self._breach(clock)
            if told.verdict == "breached" and not clock.open and not told.ended:
                told.ended = True
                self._end(clock)

    def disown(self, clock: Clock) -> None:
        """Take a breach back that was told under a home which is not the conversation's any more."""
        self.known_us = clock.known_us(self.terms)
        clock.told.turn += 1
        self._retract(clock, "breached")

    def _turn(self, clock: Clock, verdict: str) -> None:
        if clock.told.verdict:
            clock.told.turn += 1
        clock.told.verdict, clock.told.muted = verdict, self.quiet

    def _breach(self, clock: Clock) -> None:
        self._turn(clock, "breached")
        told, late_us = clock.told, clock.late_us or 0
        told.ended, told.silent = False, self.silent
        told.loud = told.loud if self.silent else told.turn
        grace_us = self.terms.grace_us(clock.book, self.course.channel)
        retarget = clock.cause == "retarget"
        self._say(
            events.SlaBreached,
            clock,
            late_us,
            told.turn,
            cause="retarget" if retarget else "due",
            detected_late=self.at.appended_at_us > late_us + grace_us and not (retarget and self.at.occurred_at_us == late_us),
            by=clock.by if retarget else None,
        )
        policy = self.terms.policy(clock.book, clock.policy)
        if policy is None:
            return
        place = place_of(self.conversation_id, self.home, self.course)
        raised = cause_of(clock, policy, place, told.turn, late_us, self.at.appended_at_us, silent=self.silent, over=not clock.open)
        self.signals.append(raised)

    def _retract(self, clock: Clock, previous: str) -> None:
        """Take a breach back: id and time are those of what proved it wrong. One that was told to nobody ends without a word."""
        told, at_us = clock.told, self.at.occurred_at_us
        silent = self.silent or told.silent
        if not silent:
            told.loud = told.turn
            stopped = {"stopped_at_us": clock.stopped_us, "previous": previous}
            self._say(events.SlaBreachRetracted, clock, at_us, told.turn, cause=self.seen or "late", **stopped)
        self.signals.append(CauseEnded(cause_id(self.conversation_id, self.home, clock), "retracted", at_us, None, silent))

    def _end(self, clock: Clock) -> None:
        """Tell dependents that a breach is over: answered late, resolved, or cancelled."""
        if clock.state == STOPPED:
            why = "resolved" if METRICS[clock.metric] in _RESOLUTIONS else "answered"
            ended_us = clock.stopped_us or 0
        else:
            why = _ENDS.get(clock.why, "cancelled")
            ended_us = clock.cancelled_us or 0
        self.signals.append(CauseEnded(cause_id(self.conversation_id, self.home, clock), why, ended_us, clock.channel or None, self.silent))

    def _move(self, clock: Clock) -> int:
        """Count pauses, resumptions, retargets and warnings: each has an id of its own."""
        clock.told.moves += 1
        return clock.told.moves - 1

    def _say(self, made: type[Event], clock: Clock, occurred_us: int, turn: int, **fields: Any) -> None:  # noqa: ANN401 - the event's own
        if self.silent:
            return
        metric, kind = METRICS[clock.metric], made.TYPE
        payload: Any = made
        said = payload(
            header=self._header((kind, metric, clock.instance, turn), occurred_us, None),
            metric=metric,
            instance=clock.instance,
            turn=turn,
            policy=clock.policy,
            calendar=clock.calendar,
            rules_version=clock.book,
            target_s=clock.target_s,
            started_at_us=clock.started_us,
            due_at_us=None if clock.state == PAUSED and clock.late_us is None else clock.due_us,
            consumed_us=self.known_us,
            team=clock.team,
            **fields,
        )
        self.effects.append(Effect(kind, self.customer_id, said))

    def _header(self, what: tuple[str | int, ...], occurred_us: int, cause: str | None) -> Header:
        return Header(
            id=effect_id("sla", self.conversation_id, self.home, *what),
            source=SOURCE,
            tenant=self.tenant,
            channel=self.course.channel or "other",  # type: ignore[arg-type]  # it is a header's own
            direction="internal",
            occurred_at_us=occurred_us,
            received_at_us=self.at.appended_at_us,
            customer_id=self.customer_id,
            home_customer_id=self.home,
            conversation_id=self.conversation_id,
            case_id=self.course.case,
            causation_id=cause,
        )
