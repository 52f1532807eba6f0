"""Service-level figures: what was offered, answered, abandoned and left, per queue, channel and quarter hour (sla.md §9).

Knows contacts and the zone of the tenant's days; must not know Kafka, rows of other customers, or T and S: waits are counted
second by second, so that whoever reads the figures can ask for any target. `streams/tallies.py` and `streams/service_level.py` do the sums.

A contact counts in the quarter hour in which it **entered** the queue, on the local day of the tenant: the zone of the default
calendar of the rules in force at that moment, UTC without one. `offered` counts on entry; answered, abandoned and flow-out
follow when they are known, so offered less the three is who still waits. Waits are those of the stay: of a contact that was
sent on from queue to queue, each queue answers for its own part.

Whatever comes late, the figures become those of the true order: the verdict on a contact is a function of its facts
(`projections/contact_outcome.py`), and what was counted before and proves wrong is taken back by negative adds.

A customer who is linked to another (log.md §5): contacts decided by then stay counted where they are; an undecided one is taken
back here and counted under the other customer. Both sides decide by the same facts, those that this one had when it was linked, up
to the link's `received_at_us`: to the other they are copies. So neither counts twice nor not at all. Figures hold nobody: an erasure
changes none.
"""

from bisect import insort
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import ClassVar, Final

import msgspec

from projections.contact_outcome import ABANDONED, ANSWERED, FLOW_OUT, HANDLES, WAITING, Fact, Outcome, fact_of, goes_on, outcomes
from projections.kernel import Config, Moment, Step, Subject, Tally, Timer
from projections.sla.zones import zone
from schemas import events
from schemas.record import Event, instant
from touchline.errors import Refused

__all__ = ["KEPT_US", "METRIC", "SLOT_US", "ServiceLevels", "ServiceLevelsState", "bucket", "day_of"]

METRIC: Final = "service_level"
"""The metric under which the rows of `figure` lie."""

SLOT_US: Final = 15 * 60_000_000
"""A quarter hour. Every zone in use today is off UTC by whole quarter hours, so slots are the same instants everywhere."""

KEPT_US: Final = 8 * 86_400_000_000
"""Event time for which a contact is kept: a day more than the allowed lateness of a source (log.md §6)."""

_KEPT_MIN: Final = 8
_KEPT_MAX: Final = 256
_FACTS_MAX: Final = 32
_LINKS_MAX: Final = 128
_HOUR_US: Final = 3_600_000_000
_SECOND_US: Final = 1_000_000
_DAY_US: Final = 86_400_000_000

_NAMES: Final = {ANSWERED: "answered", ABANDONED: "abandoned", FLOW_OUT: "flow_out"}

_HERE: Final = 0
_ELSEWHERE: Final = 1
_UNSETTLED: Final = 2


class _Contact(msgspec.Struct, array_like=True, gc=False):
    """One contact: its facts, sorted, up to the first connect; what was counted of it, by day; and who counts it.

    `where`: here; elsewhere; or unsettled, because it has copies of the records of `origins` and `identity.copied` is still to come.
    `origin` is the place of what stood there before they were kept, in states that were stored then.
    """

    facts: list[Fact] = msgspec.field(default_factory=list)
    counted: list[tuple[str, Outcome]] = msgspec.field(default_factory=list)
    where: int = _HERE
    origin: str = ""
    origins: list[str] = []


class ServiceLevelsState(msgspec.Struct, array_like=True, gc=False):
    """The contacts of one customer that late evidence may still reach; 0.15 kB each, stored.

    `newest_us` is the greatest event time seen; `linked_us` when this customer was linked to another; `links` when others were
    linked to this one, by customer; `copied` are those whose copies were all there before that was known.
    """

    newest_us: int = 0
    contacts: dict[str, _Contact] = msgspec.field(default_factory=dict)
    linked_us: int | None = None
    links: dict[str, int] = msgspec.field(default_factory=dict)
    copied: list[str] = []


class ServiceLevels:
    """Counts contacts. Arms no timers, writes no rows but its share of `figure`. Hot path: 4 µs per event of a contact, 7 of one seldom seen."""

    name: ClassVar[str] = "service_levels"
    version: ClassVar[int] = 1
    handles: ClassVar[frozenset[type[Event]]] = HANDLES | {events.IdentityLinked, events.IdentityUnlinked, events.IdentityCopied}
    depends_on: ClassVar[tuple[str, ...]] = ()
    arms_timers: ClassVar[bool] = False

    def initial(self, subject: Subject) -> ServiceLevelsState:  # noqa: ARG002 - every subject starts alike
        """Return the state of a customer of whom nothing is known."""
        return ServiceLevelsState()

    def apply(self, state: ServiceLevelsState, event: Event, at: Moment) -> Step[ServiceLevelsState]:
        """Take in one fact of a contact; count it, or count it otherwise than before."""
        header = event.header
        if isinstance(event, events.IdentityLinked | events.IdentityUnlinked | events.IdentityCopied):
            return Step(state, tallies=_identity(state, event, at))
        contact_id = header.contact_id or header.conversation_id
        if not header.customer_id or not contact_id:
            return Step(state)
        origin = header.origin_customer_id
        fact = fact_of(event, at.appended_at_us if header.appended_at_us is None else header.appended_at_us)
        if fact is None:
            return Step(state)
        state.newest_us = max(state.newest_us, fact[0])
        it = state.contacts.pop(contact_id, None)
        new = it is None
        if it is None:
            if len(state.contacts) >= _KEPT_MIN:
                _prune(state)
            it = _Contact()
        state.contacts[contact_id] = it  # at the end: the one touched last
        if origin is not None:
            fact = (*fact[:-1], -fact[-1])  # one that its customer had before it was linked, see `_decided`
            if origin not in it.origins and (it.where == _UNSETTLED or (it.where == _HERE and (not it.counted or it.origins))):
                it.where = _UNSETTLED
                it.origins = [*it.origins, origin]
        if not _take_in(it, fact):
            return Step(state)
        if new and state.linked_us is not None and it.where == _HERE:
            it.where = _where_now(it, state.linked_us)
        return Step(state, tallies=_counted(it, header.tenant, at.config) if it.where == _HERE else ())

    def expire(self, state: ServiceLevelsState, timer: Timer, at: Moment) -> Step[ServiceLevelsState]:  # noqa: ARG002 - it arms none
        """Do nothing: this projection arms no timers."""
        return Step(state)


def bucket(wait_us: int) -> str:
    """Return a wait's place in the histogram, in seconds: `20` is exactly 20 s, `20.5` more than 20 and less than 21.

    From an hour on the steps are minutes: `3660` is exactly 61, `3690` between 61 and 62. So "within T" is `<= T` and "below S" is
    `< S` on the number, exact for whole seconds up to an hour and whole minutes beyond.
    """
    unit_us = _SECOND_US if wait_us < _HOUR_US else 60 * _SECOND_US
    whole, rest = divmod(wait_us, unit_us)
    seconds = whole * (unit_us // _SECOND_US)
    if not rest:
        return str(seconds)
    return f"{seconds}.5" if unit_us == _SECOND_US else str(seconds + 30)


def _take_in(it: _Contact, fact: Fact) -> bool:
    """Put a fact in its place; tell whether it matters. What was said already and what follows the first connect does not."""
    facts = it.facts
    if not facts or fact > facts[-1]:  # as it mostly comes
        if facts and (not goes_on(facts[-1]) or facts[-1][:-1] == fact[:-1] or len(facts) >= _FACTS_MAX):
            return False
        facts.append(fact)
        return True
    if any(known[:-1] == fact[:-1] for known in facts):
        return False
    insort(facts, fact)
    if not goes_on(fact):
        del facts[facts.index(fact) + 1 :]
    del facts[_FACTS_MAX:]
    return True


def _counted(it: _Contact, tenant: str, config: Config) -> tuple[Tally, ...]:
    """Count the contact as it now stands: what is new is added, what no longer holds taken back."""
    stays, _ = outcomes(it.facts) if it.where == _HERE else ([], False)
    before = it.counted
    if not stays and not before:
        return ()
    days = {old[:2]: day for day, old in before}
    counted = it.counted = [(days.get(stay[:2]) or day_of(config, stay[0]), stay) for stay in stays]
    if counted == before:
        return ()
    changes: dict[tuple[str | int, ...], dict[str, int]] = {}
    for day, stay in counted:
        key = (tenant, METRIC, day, stay[0] // SLOT_US * SLOT_US, stay[1], stay[2])
        _add(changes.setdefault(key, {}), stay, 1)
    for day, stay in before:
        key = (tenant, METRIC, day, stay[0] // SLOT_US * SLOT_US, stay[1], stay[2])
        _add(changes.setdefault(key, {}), stay, -1)
    return tuple([Tally("figure", key, adds) for key, adds in changes.items() if adds])


def _add(adds: dict[str, int], stay: Outcome, sign: int) -> None:
    """Add what a stay counts for, or take it back; what comes to nothing is not there."""
    _, _, _, outcome, wait_us = stay
    told = ["offered"]
    if outcome != WAITING:
        told.append(_NAMES[outcome])
        if outcome != FLOW_OUT:
            told.append(f"{'w' if outcome == ANSWERED else 'a'}:{bucket(wait_us)}")
    for name in told:
        if n := adds.pop(name, 0) + sign:
            adds[name] = n
    if outcome == ANSWERED and (waited_us := adds.pop("wait_us", 0) + sign * wait_us):
        adds["wait_us"] = waited_us


def _identity(
    state: ServiceLevelsState, event: events.IdentityLinked | events.IdentityUnlinked | events.IdentityCopied, at: Moment
) -> tuple[Tally, ...]:
    """Hand undecided contacts over to the customer that this one was linked to; take over those of one that was linked to this."""
    header = event.header
    if isinstance(event, events.IdentityCopied):
        if event.to != header.customer_id:
            return ()
        state.copied = [*(one for one in state.copied if one != event.from_), event.from_][-_LINKS_MAX:]
        _settle(state, event.from_)
    elif event.from_ == header.customer_id:
        _part(state, event)
    elif isinstance(event, events.IdentityLinked):
        state.links.setdefault(event.from_, header.received_at_us)
        while len(state.links) > _LINKS_MAX:
            del state.links[next(iter(state.links))]
        if event.from_ in state.copied:
            _settle(state, event.from_)
    else:
        state.links.pop(event.from_, None)
        state.copied = [one for one in state.copied if one != event.from_]
    return tuple([tally for it in state.contacts.values() if it.where != _UNSETTLED for tally in _counted(it, header.tenant, at.config)])


def _part(state: ServiceLevelsState, event: events.IdentityLinked | events.IdentityUnlinked) -> None:
    """Be linked to another customer, for the first time, or stand alone again."""
    if isinstance(event, events.IdentityUnlinked):
        if event.back:
            return  # to another one: what links it there says the rest
        state.linked_us = None
        for it in state.contacts.values():
            it.where = _HERE if it.where == _ELSEWHERE and not it.origins else it.where
    elif state.linked_us is None:
        state.linked_us = event.header.received_at_us
        for it in state.contacts.values():
            if it.where == _HERE:
                it.where = _where_now(it, state.linked_us)


def _settle(state: ServiceLevelsState, origin: str) -> None:
    """Say who counts the contacts of a customer whose copies are all there, if it is known when that one was linked."""
    linked_us = state.links.get(origin)
    if linked_us is None:
        return
    for it in state.contacts.values():
        if it.where == _UNSETTLED and origin in it.origins and all(one in state.copied for one in it.origins):
            copies = [fact for fact in it.facts if fact[-1] < 0]
            theirs = outcomes([fact for fact in copies if -fact[-1] <= linked_us])[1]
            it.where = _ELSEWHERE if theirs else _HERE if state.linked_us is None else _where_now(it, state.linked_us)


def _where_now(it: _Contact, linked_us: int) -> int:
    return _HERE if _decided(it, linked_us) else _ELSEWHERE


def _decided(it: _Contact, linked_us: int) -> bool:
    """Tell whether the contact was decided by what had been appended when its customer was linked."""
    return outcomes([fact for fact in it.facts if abs(fact[-1]) <= linked_us])[1]


def _prune(state: ServiceLevelsState) -> None:
    """Make room for one more contact: drop those touched longest ago, as long as they are old or too many."""
    contacts = state.contacts
    oldest_us = state.newest_us - KEPT_US
    for key in list(contacts)[: len(contacts) - _KEPT_MIN + 1]:
        facts = contacts[key].facts
        if facts and facts[-1][0] >= oldest_us and len(contacts) < _KEPT_MAX:
            break
        del contacts[key]


def day_of(config: Config, at_us: int) -> str:
    """Return the local day (ISO) on which the tenant counts what happened at `at_us`, epoch µs."""
    book = config.at(at_us)
    wanted = book.defaults.calendar
    name = next((calendar.timezone for calendar in book.calendars if calendar.id == wanted), "UTC")
    return _day_of_slot(name, at_us // SLOT_US)


@lru_cache(maxsize=4096)
def _day_of_slot(name: str, slot: int) -> str:
    """Return the local day of a quarter hour; at the calendar's ends, where no zone can be reckoned with, the last day there is."""
    at = instant(min(max(slot * SLOT_US, _FIRST_US), _LAST_US))
    try:
        return at.astimezone(zone(name)).date().isoformat()
    except Refused:  # published with data of time zones that are newer than ours
        return at.date().isoformat()


_FIRST_US: Final = (datetime(1, 1, 3, tzinfo=UTC) - instant(0)) // timedelta(microseconds=1)
_LAST_US: Final = (datetime(9999, 12, 29, tzinfo=UTC) - instant(0)) // timedelta(microseconds=1)
