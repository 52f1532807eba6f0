"""All conversations of one customer, as clocks need them, and what one conversation learns from the others.

An answer elsewhere, the end of a case, a change of segment, a new rulebook: each is read by every conversation that it concerns,
at its own time. What is linked is linked for all time: a link that comes late makes the answer count that came before it.

Kept within bounds: see `bounds`. Must not know rows or effects.
"""

from bisect import insort
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from projections.linked import Links
from projections.order import Order
from projections.sla.clock import Clock
from projections.sla.course import Course, Outside
from projections.sla.terms import Terms
from projections.sla.transitions import METRICS
from projections.sla.turns import Turn

__all__ = [
    "LOOSE_MAX",
    "Dossier",
    "outside_of",
    "relation",
    "seen_from",
    "target_of",
]

LOOSE_MAX: Final = 64
"""Turns kept that belong to no conversation: answers, ends of cases; as many of segments and rules."""

_CASE_KINDS: Final = frozenset({"replied", "connected", "asked"})
_ANSWERS: Final = frozenset({"replied", "connected"})
_LINKS_MAX: Final = 32


class Dossier(msgspec.Struct, array_like=True, gc=False):
    """The state of the projection: one customer, `subject` is "tenant|customer_id".

    `last` is the greatest order of all, `newest_us` the greatest event time.

    `loose` are turns of no conversation, `profile` the changes of segments and rulebooks; `segments` are the customer's now,
    `segments_base` those before the first of `profile`. `forgotten`: by conversation, the instances of each metric's clocks
    that it had, and its flags. `merged`: case, or conversation -> the cases or
    conversations it was merged into. `splits`: id of a message that was split off and is
    not there yet -> its new conversation. `links`: the customers that are one with this one, and who has the clocks; `away` is the
    place of what stood there before they were kept, in states that were stored then.
    """

    subject: str = ""
    last: Order | None = None
    newest_us: int = 0
    courses: dict[str, Course] = {}
    loose: list[Turn] = []
    profile: list[Turn] = []
    segments: list[str] = []
    segments_base: list[str] = []
    forgotten: dict[str, list[int]] = {}
    merged: dict[str, list[str]] = {}
    splits: dict[str, str] = {}
    away: bool = False
    summary: tuple[str, str, str, int, int, int, int] = ("", "", "", 0, 0, 0, 0)
    untidy: int = 0
    rules_armed_us: int = 0
    links: Links = msgspec.field(default_factory=Links)

    def takes(self, order: Order) -> bool:
        """Note an event's order; tell whether it comes after everything so far."""
        if self.last is not None and order <= self.last:
            return False
        self.last = order
        self.newest_us = order[0]
        return True

    def course(self, key: str) -> Course:
        """Return a conversation, begun if it is new. One that was forgotten goes on counting its instances."""
        found = self.courses.get(key)
        if found is None:
            found = Course()
            found.machine.facts.segments = list(self.segments)
            remembered = self.forgotten.pop(key, None)
            if remembered is not None:
                _remember(found, remembered)
            self.courses[key] = found
            self.untidy += 8
            if self.merged and self.is_target(key):
                self.link(found, key)
        return found

    def live(self) -> Iterator[tuple[str, Course]]:
        """Yield the conversations that have open clocks."""
        for key, course in self.courses.items():
            if course.machine.open:
                yield key, course

    def add_profile(self, turn: Turn) -> None:
        """Note a change of segment, or a rulebook."""
        insort(self.profile, turn, key=_order)
        if len(self.profile) > LOOSE_MAX:
            _apply(self.segments_base, self.profile.pop(0))
        self.segments = list(self.segments_base)
        for each in self.profile:
            _apply(self.segments, each)

    def add_loose(self, turn: Turn) -> None:
        """Keep a turn that belongs to no conversation."""
        insort(self.loose, turn, key=_order)
        del self.loose[:-LOOSE_MAX]

    def is_target(self, name: str) -> bool:
        """Tell whether something was merged into a case or conversation of this name."""
        return any(name in targets for targets in self.merged.values())

    def link(self, course: Course, case: str) -> bool:
        """Put a conversation into a case, and into what that was merged into; tell whether that is new."""
        new = False
        waiting = [case]
        while waiting and len(course.cases) < _LINKS_MAX:
            case = waiting.pop()
            if self.merged and (case in self.merged or self.is_target(case)):
                course.merged = True
                waiting += [into for into in self.merged.get(case, ()) if into not in course.cases]
            if case not in course.cases:
                course.cases = [*course.cases, case]
                new = True
        return new


def relation(key: str, course: Course, other_key: str, other: Course | None, turn: Turn) -> str:
    """Return how another conversation's turn concerns this one: `case`, `customer`, or "" (not at all)."""
    shared = turn.case in course.cases if turn.case else False
    if not shared and other is not None and course.cases:
        shared = any(case in course.cases for case in other.cases)
    if turn.kind == "merged" and not shared:
        shared = key in {other_key, turn.value} or turn.value in course.cases
    if shared:
        return "case" if turn.kind in _CASE_KINDS or turn.type.startswith("case.") else ""
    return "customer" if turn.kind in _ANSWERS else ""


def outside_of(dossier: Dossier, key: str, terms: Terms) -> Outside:
    """Return all that a conversation learns from outside."""
    return Outside(_elsewhere(dossier, key, terms), _absorbed(dossier, key), dossier.segments_base)


def _elsewhere(dossier: Dossier, key: str, terms: Terms) -> list[Turn]:
    """Return what a conversation learns from outside, each as its own copy."""
    course = dossier.courses[key]
    found = list(dossier.profile)
    anywhere = terms.anywhere
    for other_key, other, turns in _others(dossier, key):
        for turn in turns:
            if turn.elsewhere:
                continue
            how = relation(key, course, other_key, other, turn)
            if how == "case" or (how and anywhere):
                copied = seen_from(dossier, key, other_key, turn, how)
                if copied is not None:
                    found.append(copied)
    return found


def seen_from(dossier: Dossier, key: str, other_key: str, turn: Turn, how: str) -> Turn | None:
    """Return a turn as another conversation sees it; a merge ends its sources and says nothing to others but the target."""
    if turn.kind == "merged" and not _is_source(key, dossier.courses[key], other_key, turn):
        if target_of(dossier, turn) != key:
            return None
        return msgspec.structs.replace(turn, kind="fact", value=None, elsewhere=how, conversation=other_key, agent=None, team=None)
    return msgspec.structs.replace(turn, elsewhere=how, conversation=other_key)


def _others(dossier: Dossier, key: str) -> Iterator[tuple[str, Course | None, Iterable[Turn]]]:
    yield "", None, dossier.loose
    for other_key, other in dossier.courses.items():
        if other_key != key:
            yield other_key, other, other.turns


# -- merges ---------------------------------------------------------------------------------------------------------------


def _is_source(key: str, course: Course, other_key: str, turn: Turn) -> bool:
    return key == other_key or (turn.case is not None and turn.case in course.cases)


def target_of(dossier: Dossier, turn: Turn) -> str | None:
    """Return the conversation that takes over what a merge ends: of those in the target case the one that began first, before it."""
    found: list[tuple[Order, str]] = []
    for key, course in dossier.courses.items():
        if turn.value != key and turn.value not in course.cases:
            continue
        first = next((one.order for one in course.turns if not one.elsewhere), course.base_last)
        if first is not None and first < turn.order and not _is_source(key, course, turn.conversation, turn):
            found.append((first, key))
    return min(found)[1] if found else None


def _absorbed(dossier: Dossier, key: str) -> dict[Order, list[Clock]]:
    """Return the clocks that merges hand over to a conversation, by the order of the merge."""
    found: dict[Order, list[Clock]] = {}
    if not dossier.merged:
        return found
    merges = {turn.order: turn for _, _, turns in _others(dossier, key) for turn in turns if turn.kind == "merged" and not turn.elsewhere}
    for order, turn in merges.items():
        if target_of(dossier, turn) != key:
            continue
        for other_key, other in dossier.courses.items():
            if other_key != key and _is_source(other_key, other, turn.conversation, turn):
                over = [clock for clock in other.machine.done if clock.why == "merged" and clock.cancelled_us == order[0]]
                found.setdefault(order, []).extend(over)
    return found


def _apply(segments: list[str], turn: Turn) -> None:
    if turn.kind == "segment" and turn.value:
        name = turn.value[1:]
        if name in segments:
            segments.remove(name)
        if turn.value[0] == "+":
            segments.append(name)


def _order(turn: Turn) -> Order:
    return turn.order


def _remember(course: Course, kept: list[int]) -> None:
    """Begin a conversation again where it was forgotten: asked before, with the instances that it had."""
    machine = course.machine
    facts = machine.facts
    facts.opened = facts.asked = True
    facts.answered, facts.answered_human, facts.settled_us = bool(kept[0]), bool(kept[1]), kept[2]
    facts.status = "closed" if kept[3] else "open"
    machine.counts, machine.states = kept[4 : 4 + len(METRICS)], kept[4 + len(METRICS) :]
    course.base = msgspec.msgpack.encode(machine)
