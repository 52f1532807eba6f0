"""Where a turn goes: into its own conversation, and into those that it concerns. In order it is one step; late, all is read again."""

from typing import Final

from projections.sla.bounds import tidy
from projections.sla.course import TURNS_MAX, Course, compact, put, take
from projections.sla.dossier import Dossier, outside_of
from projections.sla.linking import correct, link, merges, settle_home
from projections.sla.publishing import Publication
from projections.sla.sharing import hear, read_again, read_merged, share
from projections.sla.turns import Turn
from schemas import events
from schemas.record import Event

__all__ = ["file_turn"]

_TIDY_AT: Final = 64
"""So much is done between two looks at the bounds: turns, and 8 for each new conversation."""

_SHARED: Final = frozenset({"replied", "connected", "asked", "resolved", "closed", "reopened", "merged"})
_SPLITS_MAX: Final = 32


def file_turn(dossier: Dossier, event: Event, turn: Turn, publication: Publication) -> None:
    """Take one turn into the customer's dossier and publish what follows. Hot path."""
    header = event.header
    in_order = dossier.takes(turn.order)
    turn.case = header.case_id
    if turn.kind == "segment":
        hear(dossier, turn, publication, in_order=in_order)
        return
    key = header.conversation_id or header.contact_id
    if not key:
        _file_loose(dossier, turn, publication, in_order=in_order)
        return
    alone = len(dossier.courses) == 1 and key in dossier.courses and not dossier.loose
    course = dossier.course(key)
    if turn.kind == "merged" and not merges(dossier, key, course, turn):
        return
    linked = _file_own(dossier, key, course, event, turn, publication, in_order=in_order)
    if not alone and (turn.kind in _SHARED or linked):
        share(dossier, key, turn, publication, in_order=in_order and not linked)
    dossier.untidy += 1
    if dossier.untidy > _TIDY_AT:
        for dropped, open_course in tidy(dossier, publication.terms, publication.terms.reopen_us(turn.book)):
            publication.withdraw(dropped, open_course)


def _file_own(  # noqa: PLR0917 - the turn with all that it belongs to
    dossier: Dossier, key: str, course: Course, event: Event, turn: Turn, publication: Publication, *, in_order: bool
) -> bool:
    """Take a turn into its own conversation; tell whether that is linked to others otherwise than before."""
    header = event.header
    home_moved = (not course.home_inbound or not in_order) and settle_home(course, header, turn, publication, key)
    linked = link(dossier, course, event, turn)
    if course.void and header.id in course.void:
        return linked
    if header.origin_customer_id is not None and header.origin_customer_id not in course.copying:
        course.copying = [*course.copying, header.origin_customer_id]
    corrected = header.corrects is not None and correct(course, header.corrects)
    if in_order and not (linked or corrected or course.merged):
        touched = take(course, turn, publication.terms)
        publication.changed(key, course, course.clocks if home_moved else touched)
    elif put(course, turn) or linked or corrected:
        read_again(dossier, key, publication)
        if course.merged:
            read_merged(dossier, key, publication)
        if home_moved:
            publication.changed(key, course, course.clocks)
    if len(course.turns) > TURNS_MAX:
        compact(course, TURNS_MAX // 2, outside_of(dossier, key, publication.terms), publication.terms)
    if turn.kind == "asked" and dossier.splits and header.id in dossier.splits:
        _split_off(dossier, dossier.splits.pop(header.id), turn, publication)
    if isinstance(event, events.CaseSplit):
        _split(dossier, key, event.at_event, publication)
    return linked


def _file_loose(dossier: Dossier, turn: Turn, publication: Publication, *, in_order: bool) -> None:
    """Keep what has no conversation: an answer still answers, the end of a case still ends; a question starts no clock."""
    if turn.kind not in _SHARED or (turn.kind == "asked" and not turn.case):
        return
    if turn.kind == "merged" and not merges(dossier, "", None, turn):
        return
    dossier.add_loose(turn)
    share(dossier, "", turn, publication, in_order=in_order)


def _split(dossier: Dossier, key: str, at_event: str, publication: Publication) -> None:
    """Start a new conversation at the message that was split off (sla.md §6), or when that message comes."""
    for other_key, other in dossier.courses.items():
        for turn in other.turns:
            if turn.order[3] == at_event and not turn.elsewhere:
                if other_key != key and turn.kind == "asked":
                    _split_off(dossier, key, turn, publication)
                return
    dossier.splits = dict([*dossier.splits.items(), (at_event, key)][-_SPLITS_MAX:])


def _split_off(dossier: Dossier, key: str, turn: Turn, publication: Publication) -> None:
    course = dossier.course(key)
    if not course.channel:
        course.channel = turn.channel
    copied = type(turn)(turn.order, turn.kind, turn.book, turn.type, turn.channel, turn.direction, value=turn.value)
    if put(course, copied):
        read_again(dossier, key, publication)
        share(dossier, key, copied, publication, in_order=False)
