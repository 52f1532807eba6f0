"""Links between customers, as clocks see them: nothing moves in time, only who has the clocks (sla.md §6, log.md §5).

Copied records fold quietly until `identity.copied` says that they are all there; the customer that was linked away closes quietly, and
hands over what it had told of. An unlink rebuilds both customers (engine.md §6); taking the link back here only keeps the fold honest
until then.
"""

from projections.linked import Handed
from projections.sla.dossier import Dossier
from projections.sla.handing import hand_on, hand_over, take_over
from projections.sla.publishing import Publication
from projections.sla.transitions import METRICS
from schemas import events
from schemas.record import Event

__all__ = ["follow"]


def follow(dossier: Dossier, event: Event, publication: Publication) -> None:
    """Follow a link to another customer or its end, a copy's end, what was handed over, or an erasure."""
    links, customer_id = dossier.links, event.header.customer_id
    if links.erased:
        return
    match event:
        case events.IdentityLinked() if event.from_ == customer_id:
            if links.leave(event):
                hand_over(dossier, publication)
        case events.IdentityLinked():
            links.gain(event.from_, event.header.received_at_us)
        case events.IdentityCopied() if event.to == customer_id:
            _copied(dossier, event.from_, publication)
        case events.IdentityUnlinked() if event.from_ == customer_id:
            _come_back(dossier, event, publication)
        case events.IdentityUnlinked():
            links.lose(event.from_)
        case events.ClockMoved() if event.metric in METRICS:
            _moved(dossier, Handed.of(event), publication)
        case events.PrivacyErased():
            _erase(dossier, publication)
        case _:
            pass


def _copied(dossier: Dossier, origin: str, publication: Publication) -> None:
    """From here on the copies' clocks are like any other, but for what was told of them where they come from."""
    links, at_us = dossier.links, publication.at.appended_at_us
    links.all_there(origin)
    linked_us = links.since.get(origin, at_us)
    complete = []
    for key, course in dossier.courses.items():
        if origin in course.copying:
            course.copying = [one for one in course.copying if one != origin]
            course.copied_us = at_us
            complete.append(key)
            for clock in course.machine.open if not links.quiet else ():
                if not clock.told.spoken and clock.warn_us is not None and clock.warn_us <= linked_us:
                    clock.told.warned_us = clock.due_us or 0  # it was warned of there
    for key in complete:
        course = dossier.courses[key]
        publication.changed(key, course, course.clocks, waits=True)
    if not links.quiet:
        for handed in links.ready(publication.customer_id):
            take_over(dossier, handed, publication)


def _moved(dossier: Dossier, handed: Handed, publication: Publication) -> None:
    links = dossier.links
    if links.to:
        hand_on(dossier, handed, publication)
        return
    links.expect(handed)
    for one in links.ready(publication.customer_id):
        take_over(dossier, one, publication)


def _come_back(dossier: Dossier, event: events.IdentityUnlinked, publication: Publication) -> None:
    if not dossier.links.come_back(event):
        return
    for key, course in dossier.courses.items():
        publication.changed(key, course, course.clocks)


def _erase(dossier: Dossier, publication: Publication) -> None:
    """Close what is open and forget the rest; nothing is folded any more."""
    if not dossier.links.quiet:
        for key, course in dossier.courses.items():
            publication.close(key, course)
        publication.emptied()
    empty = Dossier(dossier.subject)
    for name in ("courses", "loose", "profile", "segments", "segments_base", "forgotten", "merged", "splits"):
        setattr(dossier, name, getattr(empty, name))
    dossier.links.waiting = []
    dossier.links.erased = True
