"""What follows when the verdict on a wait changes: its row, its effects, its signals to the alerts. Pure values out of values."""

from typing import Final

import msgspec

from projections.effect_ids import effect_id
from projections.kernel import Arm, Config, Delete, Disarm, Effect, Moment, RowChange, Signal, Step, TimerChange, Upsert
from projections.rules import Rulebook, UnansweredRule
from projections.sla.matching import matcher_of
from projections.sla.signals import CauseEnded, CauseRaised, Place
from projections.unanswered_state import Answered, Contact, UnansweredState, Wait, WaitState, missed
from schemas import events
from schemas.events import Header

__all__ = ["Telling", "book_of", "timer_name"]

SOURCE: Final = "/touchline/unanswered"
_SECOND_US: Final = 1_000_000


class Telling(msgspec.Struct, gc=False):
    """Gathers what one event or timer leads to for one customer; `silent`: what happens is too old to be told (log.md §6).

    Of a contact into which records are being copied only rows are written: what was told of it stays as it is until all are there.
    """

    tenant: str
    customer_id: str
    at: Moment
    silent: bool = False
    rows: list[RowChange] = msgspec.field(default_factory=list)
    timers: list[TimerChange] = msgspec.field(default_factory=list)
    effects: list[Effect] = msgspec.field(default_factory=list)
    signals: list[Signal] = msgspec.field(default_factory=list)

    def step(self, state: UnansweredState) -> Step[UnansweredState]:
        """Return the step."""
        return Step(state, tuple(self.rows), tuple(self.timers), tuple(self.effects), tuple(self.signals))

    def row(self, contact: Contact, wait: Wait, *, state: str | None = None) -> None:
        """Write the wait's row, whole."""
        answer = wait.answer
        self.rows.append(
            Upsert(
                "unanswered",
                self._key(contact, wait),
                {
                    "state": state or str(wait.state),
                    "due_at": wait.due_us,
                    "cleared_at": None if answer is None else answer.order[0],
                    "cleared_by": None if answer is None else answer.type,
                    "cleared_channel": None if answer is None else answer.channel,
                    "asked_channel": wait.channel,
                    "conversation_id": contact.thread,
                    "home_customer_id": contact.home or self.customer_id,
                    "team": wait.team,
                    "queue": wait.queue,
                    "turn": wait.turn,
                    "silent": wait.silent,
                },
            )
        )

    def no_row(self, contact: Contact, wait: Wait) -> None:
        """Delete the wait's row: the rule does not match after all, or the customer asked at another moment."""
        self.rows.append(Delete("unanswered", self._key(contact, wait)))

    def arm(self, contact: Contact, wait: Wait) -> None:
        """Let the wait come to its due time; its channel's grace is added."""
        if wait.due_us is not None and not contact.copying:
            rules = book_of(self.at.config, wait.book, wait.asked[0])
            grace_s = matcher_of(rules).channel(wait.channel).grace_s
            self.timers.append(Arm(timer_name(contact, wait), wait.due_us, grace_s * _SECOND_US))

    def disarm(self, contact: Contact, wait: Wait) -> None:
        """Let it wait no longer."""
        self.timers.append(Disarm(timer_name(contact, wait)))

    def tell(self, state: UnansweredState, contact: Contact, wait: Wait, *, expired: bool = False) -> None:
        """Tell what the verdict has become, if that is news: detected, cleared, retracted.

        That it was missed is told when its timer expires and not before: evidence of an answer in time may be on its way.
        """
        if contact.copying:
            return
        is_missed = missed(wait)
        if wait.told and not is_missed:
            self.retract(contact, wait)
        elif is_missed and expired and not wait.told:
            wait.turn += wait.turn % 2
            wait.told, wait.cleared = True, False
            self._detected(state, contact, wait)
        if wait.told and wait.answer is not None and not wait.cleared:
            wait.cleared = True
            self._cleared(contact, wait, wait.answer, "resolved" if wait.answer.settles else "answered")

    def retract(self, contact: Contact, wait: Wait) -> None:
        """Take back that it was missed: there was an answer in time, or it did not ask under this rule at all."""
        wait.turn += 1
        wait.told = False
        self._cleared(contact, wait, wait.answer, "retracted")

    def _detected(self, state: UnansweredState, contact: Contact, wait: Wait) -> None:
        cause = self.cause(contact, wait, over=wait.answer is not None)
        if cause is None or wait.due_us is None:
            return
        if not wait.silent:
            self._effect(
                events.UnansweredDetected(
                    header=self._header(contact, wait, "detected", wait.due_us),
                    rule=wait.rule,
                    asked_at_us=wait.asked[0],
                    due_at_us=wait.due_us,
                    attempts=_attempts(state, contact, wait),
                    turn=wait.turn,
                    team=wait.team or None,
                ),
            )
        self.signals.append(cause)

    def cause(self, contact: Contact, wait: Wait, *, over: bool) -> CauseRaised | None:
        """Return the cause that a missed wait is; None where its rule is not known any more."""
        rule = _rule(self.at.config, wait)
        if rule is None:
            return None
        return CauseRaised(
            cause_id=self.cause_id(contact, wait),
            kind="unanswered",
            name=wait.rule,
            instance=0,
            turn=wait.turn,
            at_us=wait.due_us or wait.asked[0],
            noticed_us=self.at.appended_at_us,
            place=Place(
                conversation_id=contact.thread,
                home_customer_id=contact.home or self.customer_id,
                case_id=contact.case_id,
                channel=wait.channel,
                team=wait.team,
                queue=wait.queue,
                assignee=wait.assignee,
                priority=wait.priority,
            ),
            severity=rule.severity,
            rule_id=rule.id,
            calendar=wait.calendar,
            recipients=rule.recipients,
            ladder=rule.escalation,
            acknowledge_hold_s=rule.acknowledge_hold_s,
            silent=wait.silent,
            over=over,
        )

    def _cleared(self, contact: Contact, wait: Wait, answer: Answered | None, why: str) -> None:
        asked_us = wait.asked[0]
        at_us = asked_us if answer is None else answer.order[0]
        silent = wait.silent or self.silent
        if not silent:
            self._effect(
                events.UnansweredCleared(
                    header=self._header(contact, wait, "cleared", at_us),
                    rule=wait.rule,
                    by="rules" if answer is None else answer.type,
                    channel=wait.channel if answer is None else answer.channel,
                    after_s=max(0, at_us - asked_us) // _SECOND_US,
                    turn=wait.turn,
                ),
            )
        channel = None if answer is None else answer.channel
        self.signals.append(CauseEnded(cause_id=self.cause_id(contact, wait), why=why, at_us=at_us, channel=channel, silent=silent))

    def _effect(self, event: events.UnansweredDetected | events.UnansweredCleared) -> None:
        self.effects.append(Effect(type(event).TYPE, self.customer_id, event))

    def _header(self, contact: Contact, wait: Wait, kind: str, at_us: int) -> Header:
        home = contact.home or self.customer_id
        return Header(
            id=effect_id("unanswered", contact.thread, home, kind, wait.rule, contact.id, wait.turn),
            source=SOURCE,
            tenant=self.tenant,
            channel=wait.channel,  # type: ignore[arg-type]  # it came out of a header
            occurred_at_us=at_us,
            received_at_us=self.at.appended_at_us,
            customer_id=self.customer_id,
            home_customer_id=home,
            contact_id=contact.id,
            conversation_id=contact.thread,
            case_id=contact.case_id,
            causation_id=wait.asked[3],
        )

    def cause_id(self, contact: Contact, wait: Wait) -> str:
        """Return what names the cause for good."""
        return f"unanswered|{contact.thread}|{contact.home or self.customer_id}|{wait.rule}|{contact.id}"

    def _key(self, contact: Contact, wait: Wait) -> tuple[str | int, ...]:
        return (self.tenant, self.customer_id, wait.asked[0], contact.id, wait.rule)


def timer_name(contact: Contact, wait: Wait) -> str:
    """Return the name of a wait's timer."""
    return f"u:{wait.rule}|{contact.id}"


def book_of(config: Config, version: int, at_us: int) -> Rulebook:
    """Return the rules that were in force when the customer asked: pinned by their version."""
    return next((book for book in reversed(config.read) if book.version == version), None) or config.at(at_us)


def _rule(config: Config, wait: Wait) -> UnansweredRule | None:
    book = book_of(config, wait.book, wait.asked[0])
    return next((rule for rule in book.unanswered if rule.id == wait.rule), None)


def _attempts(state: UnansweredState, contact: Contact, wait: Wait) -> int:
    """Count the contacts of the customer that nobody answered under this rule, this one included."""
    others = (w for c in state.open.values() if c is not contact for w in c.waits)
    return 1 + sum(w.rule == wait.rule and w.state == WaitState.UNANSWERED for w in others)
