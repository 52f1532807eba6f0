"""What conversations learn from each other: an answer elsewhere, the end of a case, a change of segment, new rules.

In order each of them takes one step further; after something late, or a merge, those that it concerns are read again.
"""

from collections.abc import Collection

from projections.sla.course import Course, reread
from projections.sla.dossier import Dossier, outside_of, relation, seen_from
from projections.sla.moving import step
from projections.sla.publishing import Publication
from projections.sla.turns import Turn

__all__ = ["hear", "read_again", "read_merged", "share"]


def read_again(dossier: Dossier, key: str, publication: Publication) -> None:
    """Read all turns of a conversation again, and publish what became different."""
    course, terms = dossier.courses[key], publication.terms
    found = reread(course, outside_of(dossier, key, terms), terms, publication.at.appended_at_us)
    publication.changed(key, course, found.touched, found.vanished)


def hear(dossier: Dossier, turn: Turn, publication: Publication, *, in_order: bool) -> None:
    """Let every conversation read a change of the customer's, or of the rules."""
    turn.elsewhere = "customer"
    dossier.add_profile(turn)
    if in_order:
        for key, course in dossier.courses.items():
            publication.changed(key, course, step(course.machine, turn, publication.terms))
    else:
        _read_all(dossier, tuple(dossier.courses), publication)


def share(dossier: Dossier, key: str, turn: Turn, publication: Publication, *, in_order: bool) -> None:
    """Let the other conversations read what concerns them; `key` is "" for what belongs to none."""
    course = dossier.courses.get(key)
    if in_order and turn.kind != "merged":
        for other_key, how in _concerned(dossier, key, course, turn, publication):
            seen = seen_from(dossier, other_key, key, turn, how)
            other = dossier.courses[other_key]
            touched = step(other.machine, seen, publication.terms) if seen is not None else []
            if seen is not None and touched:
                other.turns.append(seen)
                publication.changed(other_key, other, touched)
        return
    concerned = {other_key: None for other_key, _ in _concerned(dossier, key, course, turn, publication)}
    if course is not None:
        concerned |= {other_key: None for other_key, other in dossier.courses.items() if other is not course and _akin(other, course)}
    _read_all(dossier, concerned, publication)


def read_merged(dossier: Dossier, key: str, publication: Publication) -> None:
    """Read the other sides of merges again."""
    _read_all(dossier, [other_key for other_key, other in dossier.courses.items() if other.merged and other_key != key], publication)
    if outside_of(dossier, key, publication.terms).absorbed:
        read_again(dossier, key, publication)


def _read_all(dossier: Dossier, keys: Collection[str], publication: Publication) -> None:
    """Read conversations again; those that took over clocks once more, when what was merged into them is as it will be."""
    for key in keys:
        read_again(dossier, key, publication)
    if dossier.merged:
        for key in keys:
            if outside_of(dossier, key, publication.terms).absorbed:
                read_again(dossier, key, publication)


def _concerned(dossier: Dossier, key: str, course: Course | None, turn: Turn, publication: Publication) -> list[tuple[str, str]]:
    """Return the other conversations that a turn concerns, and how."""
    anywhere = publication.terms.anywhere
    if not anywhere and turn.case is None and turn.kind != "merged" and not (course is not None and course.cases):
        return []
    found: list[tuple[str, str]] = []
    for other_key, other in dossier.courses.items():
        if other_key != key:
            how = relation(other_key, other, key, course, turn)
            if how == "case" or (how and anywhere):
                found.append((other_key, how))
    return found


def _akin(one: Course, other: Course) -> bool:
    return any(case in one.cases for case in other.cases)
