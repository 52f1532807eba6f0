"""What an event says about conversations themselves: their home, their cases, merges, corrections. Must not know clocks' rules."""

from typing import Final

from projections.sla.course import Course
from projections.sla.dossier import Dossier
from projections.sla.publishing import Publication
from projections.sla.turns import Turn
from schemas import events
from schemas.events import Header
from schemas.record import Event

__all__ = ["correct", "link", "merges", "settle_home"]

_VOID_MAX: Final = 16
_MERGES_MAX: Final = 32


def settle_home(course: Course, header: Header, turn: Turn, publication: Publication, key: str) -> bool:
    """Give a conversation the home of its first inbound record, by event time; tell whether clocks must be told of anew."""
    inbound = header.direction == "inbound"
    home = "" if header.home_customer_id == header.customer_id else header.home_customer_id
    if course.home_order is not None:
        earlier = inbound == course.home_inbound and turn.order < course.home_order
        if not earlier and (course.home_inbound or not inbound):
            return False
    known = course.home_order is not None or bool(course.clocks)
    moved = known and home != course.home
    if moved:
        publication.rename(key, course, home)
    moved = moved or (known and course.channel != header.channel)
    course.home, course.home_inbound, course.home_order = home, inbound, turn.order
    course.channel = header.channel
    return moved


def link(dossier: Dossier, course: Course, event: Event, turn: Turn) -> bool:
    """Put conversations into the cases that an event names; tell whether that changes what may concern this one."""
    case = event.header.case_id
    linked = False
    if isinstance(event, events.CaseLinked):
        named = dossier.courses.get(event.conversation)
        if named is not None and case is not None and dossier.link(named, case):
            linked = named is course or len(dossier.courses) > 1
            named.case = case
        if named is not course:
            turn.case = case
            if named is None and case is not None:
                dossier.link(dossier.course(event.conversation), case)
    if case is not None and case not in course.cases:
        alone = len(dossier.courses) == 1 and not dossier.loose
        linked = (dossier.link(course, case) and not alone) or linked
    course.case = case or course.case
    return linked


def merges(dossier: Dossier, key: str, course: Course | None, turn: Turn) -> bool:
    """Note a merge; tell whether it is one: into itself it is none."""
    into, case = turn.value or "", turn.case
    if not into or into in {key, case}:
        return False
    turn.conversation = key
    source = case or key
    dossier.merged = {**dossier.merged, source: sorted({*dossier.merged.get(source, ()), into})}
    while len(dossier.merged) > _MERGES_MAX:
        del dossier.merged[next(iter(dossier.merged))]
    for other_key, other in dossier.courses.items():
        if other is course or other_key == into or into in other.cases or (case is not None and case in other.cases):
            dossier.link(other, into)
            other.merged = True
    return True


def correct(course: Course, corrected: str) -> bool:
    """Leave out the event that this one corrects, also if it is still to come."""
    kept = [turn for turn in course.turns if turn.order[3] != corrected]
    found = len(kept) < len(course.turns)
    course.turns = kept
    if not found:
        course.void = [*course.void, corrected][-_VOID_MAX:]
    return found
