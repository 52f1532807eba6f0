"""From changed clocks to what follows: rows, timers, effects and signals of one step. Must not know how clocks change."""

from collections.abc import Iterable, Sequence
from typing import Final

from projections.kernel import Arm, Delete, Disarm, Effect, Moment, RowChange, Signal, Step, TimerChange, Upsert, Value
from projections.sla.causes import cause_id
from projections.sla.clock import Clock, Told
from projections.sla.clock_effects import Teller
from projections.sla.clock_rows import Whose, brief, clock_row, drop_open_row, open_row, summarise
from projections.sla.course import Course
from projections.sla.dossier import Dossier
from projections.sla.signals import CauseEnded
from projections.sla.terms import Terms
from projections.sla.transitions import METRICS, RUNNING

__all__ = ["Publication"]

_SUMMARY: Final = ("worst_conversation_id", "worst_metric", "worst_state", "worst_due_at", "running", "paused", "breached")


class Publication:
    """What one step leads to. `seen` is the type of the event that it is of, `event_id` its id; both "" for timers and rules.

    `read_us`: when what is published here became known, epoch µs: of a copy, when the record that it is of was appended.
    """

    __slots__ = ("at", "customer_id", "dossier", "effects", "event_id", "read_us", "rows", "seen", "signals", "tenant", "terms", "timers")

    def __init__(self, dossier: Dossier, tenant: str, customer_id: str, terms: Terms, at: Moment, *, seen: str = "", event_id: str = "") -> None:
        self.read_us = at.appended_at_us
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
        if self.rows and not self.dossier.links.quiet:
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
        """Write a summary of nothing: another customer has the clocks, or nobody."""
        self.dossier.summary = type(self.dossier)().summary
        self.rows.append(Upsert("care_summary", (self.tenant, self.customer_id), dict.fromkeys(_SUMMARY)))

    def changed(
        self, key: str, course: Course, touched: Sequence[Clock], vanished: Iterable[Clock] = (), *, expired: bool = False, waits: bool = False
    ) -> None:
        """Publish what changed of one conversation. `expired`: a due time of these clocks was noticed now; `waits` as of `Teller`. Hot path.

        While records are being copied into it only rows are written: what was told here stays as it is until all are there, and what was not
        is taken as told where it comes from.
        """
        machine = course.machine
        if not touched and not vanished and machine.policy == course.policy_told and not machine.facts.snoozed_until_us:
            return
        if self.dossier.links.quiet:
            return
        whose, copying = Whose(self.tenant, self.customer_id, key), bool(course.copying)
        teller = self.teller(key, course, waits=waits)
        if machine.policy != course.policy_told and not (copying and any(clock.told.spoken for clock in course.clocks)):
            teller.policy(self.event_id or None)
        for clock in dict.fromkeys(touched):
            if clock.late_us is None and clock.told.verdict == "breached":
                clock.stay_late(self.at.appended_at_us)
            if copying and clock.told.spoken:
                teller.known_us = clock.known_us(self.terms)
            else:
                teller.tell(clock, expired=expired and not copying)
            self.rows.append(clock_row(whose, clock, course, teller.known_us))
            if clock.due_us is not None or clock.told.open_due_us:
                open_row(whose, clock, course, self.rows)
            if not copying:
                clock.told.spoken = True
                self._arm(key, course, clock)
        for clock in vanished:
            teller.silent = self._too_old(course) or not clock.told.spoken  # said at once, also while records are being copied
            teller.vanish(clock)
            self._erase(key, course, clock)
        course.brief = brief(machine.open)
        self._arm_snooze(key, course)
        self.effects += teller.effects
        self.signals += teller.signals

    def teller(self, key: str, course: Course, *, waits: bool = False) -> Teller:
        """Return who tells of a conversation's clocks; it keeps silent of what came later than its channel may be late (log.md §6)."""
        teller = Teller(Whose(self.tenant, self.customer_id, key), course, self.terms, self.at, silent=self._too_old(course), waits=waits)
        teller.seen = self.seen
        return teller

    def _too_old(self, course: Course) -> bool:
        at = self.at
        return self.read_us - at.occurred_at_us > self.terms.lateness_us(at.occurred_at_us, course.channel)

    def warn(self, key: str, course: Course, clock: Clock) -> None:
        """Publish a warning."""
        teller = self.teller(key, course)
        teller.warn(clock)
        self.effects += teller.effects

    def rename(self, key: str, course: Course, home: str) -> None:
        """Let a conversation have another home: what was told of it under the old one is taken back, and told anew under this one."""
        teller, old, quiet = self.teller(key, course), course.home, self.dossier.links.quiet
        teller.silent = self._too_old(course)  # said at once, also while records are being copied
        self.disarm(key, course)
        for clock in course.clocks:
            told = clock.told
            if told.verdict == "breached" and not quiet:
                teller.disown(clock)
            if told.state >= 0:
                course.turns_of[f"{old}|{clock.name}"] = told.turn + 1
            fresh = course.turns_of.pop(f"{home}|{clock.name}", 0)
            clock.told = Told(open_due_us=told.open_due_us, open_team=told.open_team, turn=fresh)
        self.effects += teller.effects
        self.signals += teller.signals

    def withdraw(self, key: str, course: Course) -> None:
        """Give a conversation up that there is no room for: quietly; its rows stay."""
        self.disarm(key, course)
        for clock in course.clocks:
            if clock.told.verdict == "breached" and not clock.told.ended:
                cause = cause_id(key, course.home or self.customer_id, clock)
                self.signals.append(CauseEnded(cause, "moved", self.at.occurred_at_us, None, silent=True))

    def vacate(self, key: str, course: Course) -> None:
        """Delete the rows of a conversation: another customer has its clocks now."""
        self.disarm(key, course)
        for clock in course.clocks:
            self.rows.append(Delete("clock", (self.tenant, self.customer_id, key, METRICS[clock.metric], clock.instance)))
            drop_open_row(Whose(self.tenant, self.customer_id, key), clock, self.rows)

    def close(self, key: str, course: Course) -> None:
        """Close what is open of a conversation, without a word: the person was forgotten."""
        self.disarm(key, course)
        whose = Whose(self.tenant, self.customer_id, key)
        for clock in course.machine.open:
            clock.cancel(self.terms, self.at.occurred_at_us, "erased")
            self.rows.append(clock_row(whose, clock, course, clock.known_us(self.terms)))
            if clock.told.open_due_us:
                open_row(whose, clock, course, self.rows)

    def disarm(self, key: str, course: Course) -> None:
        """Disarm every timer of a conversation."""
        for clock in course.clocks:
            self._disarm(key, course, clock)
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
