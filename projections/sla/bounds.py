"""What keeps a customer's state small: forgetting what is over, compacting what is long. Must not know rows or effects."""

from typing import Final

from projections.sla.course import Course, compact
from projections.sla.dossier import Dossier, outside_of
from projections.sla.facts import SETTLED
from projections.sla.terms import Terms
from projections.sla.transitions import IDLE, PAUSED, RUNNING

__all__ = ["COPIED_KEPT_US", "COURSES_MAX", "FORGOTTEN_MAX", "KEPT_US", "WEIGHT_MAX", "tidy"]

COURSES_MAX: Final = 160
"""Conversations in state: above it those leave that were touched longest ago, settled ones first."""

WEIGHT_MAX: Final = 1_500
"""Units of about 90 bytes: above it the longest courses are compacted, then the oldest forgotten."""

FORGOTTEN_MAX: Final = 400
"""Forgotten conversations of which is known how many instances their clocks had, so that numbers go on rising."""

KEPT_US: Final = 8 * 86_400_000_000
"""How long a conversation is kept at least in which nothing runs any more: a day above the usual allowed lateness."""

COPIED_KEPT_US: Final = 86_400_000_000
"""How long a conversation is kept that was copied from another customer: what had been told of it there may come later."""


def tidy(dossier: Dossier, terms: Terms, reopen_us: int) -> list[tuple[str, Course]]:
    """Forget what is over, and keep the state within its bounds; return conversations that were forgotten with open clocks.

    Over: nothing runs, and the last turn is older than R and `KEPT_US`. A course that is compacted takes no event any more that
    is older than what was read for good.
    """
    dossier.untidy = 0
    courses = dossier.courses
    before_us = dossier.newest_us - max(KEPT_US, reopen_us + 86_400_000_000)
    for key in [key for key, course in courses.items() if not course.machine.open and 0 < _last_us(course) < before_us and _told(dossier, course)]:
        _forget(dossier, key)
    dropped: list[tuple[str, Course]] = []
    weight = sum(course.weight for course in courses.values())
    if weight > WEIGHT_MAX:
        for key, course in sorted(courses.items(), key=lambda item: (bool(item[1].machine.open), _last_us(item[1]))):
            if weight <= WEIGHT_MAX:
                break
            if not course.turns:
                continue
            was = course.weight
            compact(course, len(course.turns), outside_of(dossier, key, terms), terms)
            weight -= was - course.weight
    while courses and (len(courses) > COURSES_MAX or weight > WEIGHT_MAX):
        key = min(
            courses, key=lambda key: (bool(courses[key].machine.open), courses[key].machine.facts.status not in SETTLED, _last_us(courses[key]))
        )
        weight -= courses[key].weight
        if courses[key].machine.open:
            dropped.append((key, courses[key]))
        _forget(dossier, key)
    return dropped


def _told(dossier: Dossier, course: Course) -> bool:
    """Tell whether all is known by now that was told of it under another customer, if it was copied from there."""
    return not course.copying and (not course.copied_us or course.copied_us + COPIED_KEPT_US < dossier.newest_us)


def _last_us(course: Course) -> int:
    return course.machine.facts.last[0] if course.machine.facts.last is not None else 0


def _forget(dossier: Dossier, key: str) -> None:
    machine = dossier.courses.pop(key).machine
    facts = machine.facts
    # what is under way is promised by nobody: it would not have been forgotten
    states = [IDLE if state in {RUNNING, PAUSED} else state for state in machine.states]
    dossier.forgotten[key] = [
        int(facts.answered),
        int(facts.answered_human),
        facts.settled_us,
        int(facts.status in SETTLED),
        *machine.counts,
        *states,
    ]
    while len(dossier.forgotten) > FORGOTTEN_MAX:
        del dossier.forgotten[next(iter(dossier.forgotten))]
