"""The part of the care group that what-if folds: clocks, contacts that asked, service levels. No alerts, ladders or desks: nobody is told.

Rows of clocks get a column more than their table has: the queue in which the clock started. The care group's own rows do not know
it, and its version would have to rise for that. Pure, as projections are.
"""

from typing import ClassVar, Final

from projections.kernel import Moment, Projection, Step, Subject, Timer, Upsert
from projections.registry import Group
from projections.service_levels import ServiceLevels
from projections.sla.clocks import Sla
from projections.sla.course import Course
from projections.sla.dossier import Dossier
from projections.sla.turns import Kind
from projections.tables import Table
from projections.unanswered import Unanswered
from schemas.record import Event
from streams.what_if.scratch import QUEUE

__all__ = ["QUEUE_KINDS", "WhatIfGroup", "queue_at"]

QUEUE_KINDS: Final[frozenset[Kind]] = frozenset({"queued", "connected", "joined", "asked", "began"})
"""The turns whose value is the queue: those by which `projections/sla/facts.py` learns it."""


class WhatIfGroup(Group):
    """What of a care group is folded under other rules, under its name and version, with its tables.

    With `levels` the service levels too: they are counted alike under any rules, so one fold of two is enough.
    """

    def __init__(self, care: Group, *, levels: bool) -> None:
        wanted: tuple[Projection[Dossier] | Unanswered | ServiceLevels, ...] = (_SituatedSla(), Unanswered())
        super().__init__(care.name, care.version, (*wanted, ServiceLevels()) if levels else wanted)
        self._care = care

    def tables(self) -> tuple[Table, ...]:
        """Return the care group's tables."""
        return self._care.tables()


class _SituatedSla:
    """The clocks of `Sla`, each with its queue."""

    name: ClassVar[str] = Sla.name
    version: ClassVar[int] = Sla.version
    handles: ClassVar[frozenset[type[Event]]] = Sla.handles
    depends_on: ClassVar[tuple[str, ...]] = Sla.depends_on

    def __init__(self) -> None:
        self._sla = Sla()

    def initial(self, subject: Subject) -> Dossier:
        """Return what `Sla` begins with."""
        return self._sla.initial(subject)

    def apply(self, state: Dossier, event: Event, at: Moment) -> Step[Dossier]:
        """Fold one event."""
        return _situated(self._sla.apply(state, event, at))

    def expire(self, state: Dossier, timer: Timer, at: Moment) -> Step[Dossier]:
        """Fold a timer."""
        return _situated(self._sla.expire(state, timer, at))

    def configure(self, state: Dossier, at: Moment) -> Step[Dossier]:
        """Fold a rulebook that was read."""
        return _situated(self._sla.configure(state, at))


def queue_at(course: Course, at_us: int) -> str | None:
    """Return the queue in which a conversation was at an event time; the first one after it, where it had none then.

    None if it was never in one, and where the turns that would tell are no longer kept.
    """
    later: str | None = None
    for turn in reversed(course.turns):
        if turn.kind in QUEUE_KINDS and turn.value and not turn.elsewhere:
            if turn.order[0] <= at_us:
                return turn.value
            later = turn.value
    return None if course.base else later


def _situated(step: Step[Dossier]) -> Step[Dossier]:
    """Add the queue to rows of clocks, whose columns were made for this step alone."""
    for change in step.rows:
        if isinstance(change, Upsert) and change.table == "clock":
            course, started_us = step.state.courses.get(str(change.key[2])), change.columns["started_at"]
            change.columns[QUEUE] = queue_at(course, started_us) if course is not None and isinstance(started_us, int) else None
    return step
