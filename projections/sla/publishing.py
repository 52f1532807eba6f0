"""From changed clocks to what follows: rows, timers, effects and signals of one step. Must not know how clocks change."""

from collections.abc import Iterable, Sequence
from typing import Final

from projections.kernel import Arm, Delete, Disarm, Effect, Moment, RowChange, Signal, Step, TimerChange, Upsert, Value
from projections.sla.clock import Clock
from projections.sla.clock_effects import Teller, cause_id
from projections.sla.clock_rows import Whose, brief, clock_row, open_row, summarise
from projections.sla.course import Course
from projections.sla.dossier import Dossier
from projections.sla.signals import CauseEnded
from projections.sla.terms import Terms
from projections.sla.transitions import METRICS, RUNNING

__all__ = ["Publication"]

_SUMMARY: Final = ("worst_conversation_id", "worst_metric", "worst_state", "worst_due_at", "running", "paused", "breached")


class Publication:
    """What one step leads to. `seen` is the type of the event that it is of, `event_id` its id; both "" for timers and rules."""

    __slots__ = ("at", "customer_id", "dossier", "effects", "event_id", "rows", "seen", "signals", "tenant", "terms", "timers")

    def __init__(self, dossier: Dossier, tenant: str, customer_id: str, terms: Terms, at: Moment, *, seen: str = "", event_id: str = "") -> None:
        self.dossier = dossier
        self.tenant = tenant
        self.customer_id = customer_id
        self.terms = terms
        self.at = at
        self.seen = seen
        self.event_id = event_id
        self.rows: list[RowChange] = []
        self.timers: list[TimerChange] = []
        self.effects: list[Effect] = []
        self.signals: list[Signal] = []

    def step(self) -> Step[Dossier]:
        """Return the step, with the customer's summary if it changed."""
        if not (self.rows or self.timers or self.effects or self.signals):
            return Step(self.dossier)
        if self.rows and not self.dossier.away:
            summary = summarise(self.dossier.live())
            if self.dossier.summary != summary:
                self.dossier.summary = summary
                columns: dict[str, Value] = {
                    "worst_conversation_id": summary[0] or None,
                    "worst_metric": summary[1] or None,
                    "worst_state": summary[2] or None,
                    "worst_due_at": summary[3] or None,
                    "running": summary[4],
                    "paused": summary[5],
                    "breached": summary[6],
                }
                self.rows.append(Upsert("care_summary", (self.tenant, self.customer_id), columns))
        return Step(self.dossier, tuple(self.rows), tuple(self.timers), tuple(self.effects), tuple(self.signals))

    def emptied(self) -> None:
        """Write a summary of nothing: another customer has the clocks."""
        self.rows.append(Upsert("care_summary", (self.tenant, self.customer_id), dict.fromkeys(_SUMMARY)))

    def changed(self, key: str, course: Course, touched: Sequence[Clock], vanished: Iterable[Clock] = (), *, expired: bool = False) -> None:
        """Publish what changed of one conversation. `expired`: a due time of these clocks was noticed now. Hot path."""
        machine = course.machine
        if not touched and not vanished and machine.policy == course.policy_told and not machine.facts.snoozed_until_us:
            return
        if self.dossier.away:
            return
        whose = Whose(self.tenant, self.customer_id, key)
        teller = Teller(whose, course, self.terms, self.at, silent=self._too_old(course))
        teller.seen = self.seen
        if machine.policy != course.policy_told:
            teller.policy(self.event_id or None)
        for clock in dict.fromkeys(touched):
            if clock.late_us is None and clock.told.verdict == "breached":
                clock.stay_late(self.at.appended_at_us)
            teller.tell(clock, expired=expired)
            self.rows.append(clock_row(whose, clock, course, teller.known_us))
            if clock.due_us is not None or clock.told.open_due_us:
                open_row(whose, clock, course, self.rows)
            if not course.copying:
                self._arm(key, course, clock)
        for clock in vanished:
            teller.vanish(clock)
            self._erase(key, course, clock)
        course.brief = brief(machine.open)
        self._arm_snooze(key, course)
        self.effects += teller.effects
        self.signals += teller.signals

    def _too_old(self, course: Course) -> bool:
        """Tell whether this came later than its channel may be late (log.md §6)."""
        at = self.at
        return at.appended_at_us - at.occurred_at_us > self.terms.lateness_us(at.occurred_at_us, course.channel)

    def warn(self, key: str, course: Course, clock: Clock) -> None:
        """Publish a warning."""
        teller = Teller(Whose(self.tenant, self.customer_id, key), course, self.terms, self.at, silent=self._too_old(course))
        teller.warn(clock)
        self.effects += teller.effects

    def withdraw(self, key: str, course: Course, *, rows: bool) -> None:
        """Take everything of a conversation back quietly: another customer, or another home, has its clocks now."""
        for clock in course.clocks:
            self._disarm(key, course, clock)
            if clock.told.verdict == "breached" and not clock.told.ended:
                cause = cause_id(key, course.home or self.customer_id, clock)
                self.signals.append(CauseEnded(cause, "moved", self.at.occurred_at_us, None, silent=True))
            if rows:
                self.rows.append(Delete("clock", (self.tenant, self.customer_id, key, METRICS[clock.metric], clock.instance)))
        if course.snooze_armed_us:
            self.timers.append(Disarm(self._name("s", key, course)))
            course.snooze_armed_us = 0

    def _arm(self, key: str, course: Course, clock: Clock) -> None:
        """Arm the clock's timers for what is to be noticed, and only for that."""
        told = clock.told
        if clock.late_us is not None:
            want_us = 0 if told.verdict == "breached" else clock.late_us
            warn_us = 0
        else:
            running = clock.state == RUNNING
            want_us = clock.due_us or 0 if running else 0
            warn_us = clock.warn_us or 0 if running and clock.warn_us is not None and told.warned_us != clock.due_us else 0
        if want_us != told.armed_us:
            name = self._clock_name("c", key, course, clock)
            if want_us:
                self.timers.append(Arm(name, want_us, self.terms.grace_us(clock.book, course.channel)))
            else:
                self.timers.append(Disarm(name))
            told.armed_us = want_us
        if warn_us != told.warn_armed_us:
            name = self._clock_name("w", key, course, clock)
            self.timers.append(Arm(name, warn_us) if warn_us else Disarm(name))
            told.warn_armed_us = warn_us

    def _arm_snooze(self, key: str, course: Course) -> None:
        want_us = course.machine.facts.snoozed_until_us if course.machine.open else 0
        if want_us != course.snooze_armed_us and not course.copying:
            name = self._name("s", key, course)
            self.timers.append(Arm(name, want_us) if want_us else Disarm(name))
            course.snooze_armed_us = want_us

    def _disarm(self, key: str, course: Course, clock: Clock) -> None:
        told = clock.told
        if told.armed_us:
            self.timers.append(Disarm(self._clock_name("c", key, course, clock)))
        if told.warn_armed_us:
            self.timers.append(Disarm(self._clock_name("w", key, course, clock)))
        told.armed_us = told.warn_armed_us = 0

    def _erase(self, key: str, course: Course, clock: Clock) -> None:
        """Delete the rows of a clock that never was."""
        self._disarm(key, course, clock)
        self.rows.append(Delete("clock", (self.tenant, self.customer_id, key, METRICS[clock.metric], clock.instance)))
        clock.due_us = None
        clock.cancel(self.terms, self.at.occurred_at_us, "retracted")
        if clock.told.open_due_us:
            open_row(Whose(self.tenant, self.customer_id, key), clock, course, self.rows)

    def _clock_name(self, what: str, key: str, course: Course, clock: Clock) -> str:
        return f"{what}:{key}|{course.home or self.customer_id}|{METRICS[clock.metric]}|{clock.instance}"

    def _name(self, what: str, key: str, course: Course) -> str:
        return f"{what}:{key}|{course.home or self.customer_id}"
