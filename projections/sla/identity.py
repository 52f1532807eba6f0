"""Links between customers, as clocks see them: nothing moves in time, only who has the clocks (sla.md §6, log.md §5).

Copied records fold quietly until `identity.copied` says that they are all there; the customer that was linked away closes quietly.
An unlink rebuilds both customers (engine.md §6); taking the link back here only keeps the fold honest until then.
"""

from projections.sla.dossier import Dossier
from projections.sla.publishing import Publication
from schemas import events
from schemas.record import Event

__all__ = ["follow"]


def follow(dossier: Dossier, event: Event, publication: Publication) -> None:
    """Follow a link to another customer, or the end of a copy from one."""
    customer_id = event.header.customer_id
    if isinstance(event, events.IdentityCopied):
        if event.to == customer_id:
            _copied(dossier, event.from_, publication)
    elif isinstance(event, events.IdentityLinked):
        if event.from_ == customer_id and not dossier.away:
            for key, course in dossier.courses.items():
                publication.withdraw(key, course, rows=True)
            dossier.away = True
            publication.emptied()
    elif isinstance(event, events.IdentityUnlinked) and event.from_ == customer_id and dossier.away:
        dossier.away = False
        for key, course in dossier.courses.items():
            publication.changed(key, course, course.clocks)


def _copied(dossier: Dossier, origin: str, publication: Publication) -> None:
    """From here on the copies' clocks are like any other."""
    for key, course in dossier.courses.items():
        if origin in course.copying:
            course.copying = [one for one in course.copying if one != origin]
            publication.changed(key, course, course.clocks)
