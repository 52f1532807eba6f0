"""The clocks of one customer: every metric of docs/sla.md, over all conversations and channels, in business time.

A clock starts in one channel and stops in another; a breach that late evidence proves wrong is taken back. Verdicts compare
event times and never depend on when somebody looked. Must not know alerts: they hear of breaches by signals.

    event ─▶ turn ─▶ course (its machine, one turn further; or read again) ─▶ changed clocks ─▶ rows, timers, effects, signals
"""

from typing import ClassVar, Final

from projections.kernel import Arm, Disarm, Moment, Step, Subject, Timer
from projections.linked import LINKS
from projections.order import order_of
from projections.sla.clock import Clock
from projections.sla.course import Course
from projections.sla.dossier import Dossier
from projections.sla.filing import file_turn
from projections.sla.identity import follow
from projections.sla.moving import wake
from projections.sla.publishing import Publication
from projections.sla.sharing import hear
from projections.sla.terms import terms_of
from projections.sla.transitions import METRICS
from projections.sla.turns import TOUCHES, Turn, turn_of
from schemas.record import Event

__all__ = ["Sla"]

_NOT_CUSTOMERS: Final = ("agent:", "plan:")
_RULES_RANK: Final = 9
"""A rulebook comes after everything that happened at its own instant."""


class Sla:
    """Folds what happens in conversations into clocks.

    Hot path: 18 µs per event of a service centre's day, bodies, rows and states included, though it reads but half of them; 50 µs and more
    where each one moves a clock or two in business time, with a warning (`touchline bench clocks --only fold`).
    """

    name: ClassVar[str] = "sla"
    version: ClassVar[int] = 1
    handles: ClassVar[frozenset[type[Event]]] = TOUCHES | LINKS
    depends_on: ClassVar[tuple[str, ...]] = ()

    def initial(self, subject: Subject) -> Dossier:
        """Return the state of a customer of whom nothing is known."""
        return Dossier(f"{subject.tenant}|{subject.id}")

    def apply(self, state: Dossier, event: Event, at: Moment) -> Step[Dossier]:
        """Fold one event. Odd events move what they can and never fail. Hot path."""
        header = event.header
        customer_id = header.customer_id
        if not customer_id or customer_id.startswith(_NOT_CUSTOMERS):
            return Step(state)
        kind = type(event)
        terms = terms_of(at.config)
        publication = Publication(state, header.tenant, customer_id, terms, at, seen=kind.TYPE, event_id=header.id)
        if kind in LINKS:
            follow(state, event, publication)
            if state.links.quiet and state.rules_armed_us:
                _forget_rules(state, publication)
            return publication.step()
        if state.links.erased:
            return Step(state)
        if header.appended_at_us is not None and header.origin_customer_id is not None:
            publication.read_us = header.appended_at_us
        order = order_of(event)
        turn = turn_of(event, order, terms.version_at(order[0]))
        if turn is not None:
            file_turn(state, event, turn, publication)
            if terms.last_effective_us > at.appended_at_us:
                self._expect_rules(state, publication)
        return publication.step()

    def expire(self, state: Dossier, timer: Timer, at: Moment) -> Step[Dossier]:
        """Notice that a due time came without a stop, that a warning is due, a snooze ends, or a rulebook comes into force."""
        what, _, name = timer.name.partition(":")
        if what == "r":
            return self._in_force(state, int(name.partition("|")[0]), name.partition("|")[2], timer.due_at_us, at)
        parts = name.rsplit("|", 3 if what in {"c", "w"} else 1)
        course = state.courses.get(parts[0])
        if course is None or state.links.quiet:
            return Step(state)
        tenant, _, customer_id = state.subject.partition("|")
        publication = Publication(state, tenant, customer_id, terms_of(at.config), at)
        if what == "s":
            course.snooze_armed_us = 0
            if course.machine.facts.snoozed_until_us == timer.due_at_us:
                publication.changed(parts[0], course, wake(course.machine, publication.terms))
        else:
            clock = _find(course, parts[2], int(parts[3]))
            if clock is not None and what == "c":
                _notice(publication, parts[0], course, clock, timer.due_at_us)
            elif clock is not None:
                _warn(publication, parts[0], course, clock, timer.due_at_us)
        return publication.step()

    def configure(self, state: Dossier, at: Moment) -> Step[Dossier]:
        """Let a rulebook that was read move open clocks now, or at its own time if that is still to come."""
        tenant, _, customer_id = state.subject.partition("|")
        book = at.config.newest
        if not customer_id or state.links.quiet:
            return Step(state)
        if book.effective_at_us > at.occurred_at_us:
            publication = Publication(state, tenant, customer_id, terms_of(at.config), at)
            self._expect_rules(state, publication)
            return publication.step()
        return self._in_force(state, book.version, state.subject, at.occurred_at_us, at)

    def _expect_rules(self, state: Dossier, publication: Publication) -> None:
        """Arm a timer for the next rulebook that is not in force yet, while clocks are open."""
        at = publication.at
        if publication.terms.last_effective_us <= at.appended_at_us or state.links.quiet:
            return
        coming = [book for book in at.config.read if book.effective_at_us > at.appended_at_us]
        if coming and any(state.live()):
            book = min(coming, key=lambda one: (one.effective_at_us, one.version))
            if state.rules_armed_us != book.effective_at_us:
                state.rules_armed_us = book.effective_at_us
                publication.timers.append(Arm(f"r:{book.version}|{state.subject}", book.effective_at_us))

    def _in_force(self, state: Dossier, version: int, subject: str, at_us: int, at: Moment) -> Step[Dossier]:
        """Let every conversation read that a rulebook is in force now."""
        tenant, _, customer_id = subject.partition("|")
        publication = Publication(state, tenant, customer_id, terms_of(at.config), at, seen="config.published")
        if at.config.at(at_us).version != version:  # another one, of a later effective time, is in force already
            return Step(state)
        turn = Turn((at_us, _RULES_RANK, version, ""), "rules", version, value=str(version), elsewhere="customer")
        hear(state, turn, publication, in_order=state.takes(turn.order))
        state.rules_armed_us = 0
        self._expect_rules(state, publication)
        return publication.step()


def _forget_rules(state: Dossier, publication: Publication) -> None:
    """Disarm the timer for rules to come: nothing is told under this customer any more."""
    coming = [book.version for book in publication.at.config.read if book.effective_at_us == state.rules_armed_us]
    publication.timers += [Disarm(f"r:{version}|{state.subject}") for version in coming]
    state.rules_armed_us = 0


def _find(course: Course, metric: str, instance: int) -> Clock | None:
    return next((clock for clock in course.clocks if clock.instance == instance and METRICS[clock.metric] == metric), None)


def _notice(publication: Publication, key: str, course: Course, clock: Clock, due_us: int) -> None:
    """Notice a due time: whoever still runs is late; whoever was stopped too late is told of now."""
    if clock.told.armed_us != due_us:
        return
    clock.told.armed_us = 0
    if clock.late_us is None and clock.due_us == due_us and clock.running:
        clock.late_us = due_us
    publication.changed(key, course, [clock], expired=clock.late_us == due_us)


def _warn(publication: Publication, key: str, course: Course, clock: Clock, warn_us: int) -> None:
    if clock.told.warn_armed_us != warn_us:
        return
    clock.told.warn_armed_us = 0
    due_us = clock.due_us
    if clock.running and clock.late_us is None and due_us is not None and publication.at.appended_at_us <= due_us:
        publication.warn(key, course, clock)
