"""What is held of one person: who, by which handles, under which keys, where, for how long, and every event as far as it opens. Values.

For an access request. Events are those of the root's timeline, which has copies of what came under the customers who were merged into
it, and whatever lies under those alone; each once.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, NamedTuple

import msgspec

from schemas.events import Personal
from schemas.sealing import Opened, Opening, SealedItem, Unreadable, Withheld, WrappedKey
from streams.control_topic import KnownBy
from streams.identity.claim import Claim
from streams.plain import event_json, record_json, utc
from streams.reading import PAGE_ROWS_MAX, CustomerReader
from streams.timeline_row import Position, TimelineRow
from streams.wall_clock import now_us
from touchline.erasing_keys import partitions_of
from touchline.erasing_person import Person
from touchline.erasing_said import Office
from touchline.key_service import has_keys, key_service
from touchline.keyring.shelf import year_of
from touchline.opening import Opener
from touchline.privacy_places import Place, places_of
from touchline.purposes import VULNERABILITY, WITHHELD, ToOpen, is_special, masked, to_open
from touchline.settings import Settings
from touchline.shown import state_of

__all__ = ["EVENTS_MAX", "HeldEvent", "HeldHandle", "Report", "reported"]

EVENTS_MAX: Final = 200_000
"""Events of a report; of a person with more of them the newest ones."""


class HeldHandle(NamedTuple):
    """A handle: its claim, and its value as far as it could be opened (`state` says what became of that, as with events)."""

    claim: Claim
    value: str | None
    state: str
    verified: bool
    first_seen_us: int | None

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        claim = self.claim
        return {
            "kind": claim.name.kind,
            "value": self.value,
            "sealed": self.state,
            "hash": claim.name.hash.hex(),
            "verified": self.verified,
            "first_seen": None if self.first_seen_us is None else utc(self.first_seen_us),
            "customer_id": claim.own,
            "linked_to": claim.customer or None,
            "linked_at": utc(claim.linked_at_us) if claim.customer else None,
            "evidence": claim.evidence or None,
            "generation": claim.generation,
        }


class HeldEvent(NamedTuple):
    """An event and what became of its sealed part."""

    row: TimelineRow
    opening: Opening | None

    @property
    def is_technical(self) -> bool:
        """Whether it is a record of the machinery (a link, a copy, an alert) in which nothing was sealed."""
        return self.row.hidden and self.opening is None

    @property
    def personal(self) -> Personal | None:
        """What was sealed, if it could be opened."""
        return self.opening.personal if isinstance(self.opening, Opened) else None

    def json(self) -> dict[str, Any]:
        """Return the public JSON form: all that was sealed, not only what commands show."""
        opening = self.opening
        return {
            **event_json(self.row),
            "sealed": state_of(opening),
            "reason": opening.reason if isinstance(opening, Unreadable | Withheld) else None,
            "key": None if self.row.sealed is None else self.row.sealed.sealed_key,
            "content": None if self.personal is None else record_json(self.personal),
        }


class Report(NamedTuple):
    """All of it. `events` are newest first; `is_cut` tells that older ones were left out."""

    tenant: str
    made_at_us: int
    customer: str
    customers: tuple[str, ...]
    handles: list[HeldHandle]
    keys: list[WrappedKey]
    places: list[Place]
    facets: dict[str, Any]
    events: list[HeldEvent]
    is_cut: bool

    @property
    def lived(self) -> list[HeldEvent]:
        """The events that say something to the person: those that are not technical."""
        return [one for one in self.events if not one.is_technical]

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        return {
            "kind": "privacy_report",
            "tenant": self.tenant,
            "made_at": utc(self.made_at_us),
            "customer": self.customer,
            "customers": list(self.customers),
            "handles": [one.json() for one in self.handles],
            "keys": [key_json(one) for one in self.keys],
            "places": [msgspec.to_builtins(one) for one in self.places],
            "view": self.facets,
            "events": [one.json() for one in self.events],
            "events_left_out": self.is_cut,
        }


def key_json(key: WrappedKey) -> dict[str, Any]:
    """Return a row of the keyring without the key."""
    return {
        "handle_hash": key.handle_hash.hex(),
        "purpose": key.purpose,
        "year": year_of(key.created_at_us),
        "key_id": key.key_id,
        "kek_id": key.kek_id or None,
        "state": key.state,
        "erased_at": None if key.erased_at_us is None else utc(key.erased_at_us),
    }


async def reported(settings: Settings, desk: Office, person: Person, *, search: bool) -> Report:
    """Read everything that is held of a person, and open it in the roles of the settings. It is noted on the audit trail before.

    With `search` the topics are read whole, to count what lies there. Raises `Retryable` where a server is unwell.
    """
    await desk.notes.note("reported", tenant=person.tenant, customer=person.root, count=len(person.customers))
    handles = [KnownBy(claim.name.kind, claim.name.hash) for claim in person.claims]
    rows, is_cut = await _rows(desk.view, person)
    found = await desk.keys.read_many(partitions_of(person.tenant, handles))
    keys = sorted((row for some in found.values() for row in some), key=lambda row: (row.handle_hash, row.purpose, row.created_at_us, row.key_id))
    held, events, facets = await _opened(settings, desk, person, rows)
    return Report(
        tenant=person.tenant,
        made_at_us=now_us(),
        customer=person.root,
        customers=tuple(sorted(person.customers)),
        handles=held,
        keys=keys,
        places=await places_of(settings, desk, person, rows, keys, search=search),
        facets=facets,
        events=events,
        is_cut=is_cut,
    )


@asynccontextmanager
async def _opener(settings: Settings, desk: Office) -> AsyncIterator[Opener]:
    """Give what opens at this machine; without keys it opens nothing, and says so."""
    async with AsyncExitStack() as open_ones:
        keys = await open_ones.enter_async_context(key_service(settings)) if has_keys(settings) else None
        yield Opener(settings, desk.keys, desk.codec, keys, desk.notes)


async def _rows(view: CustomerReader, person: Person) -> tuple[list[TimelineRow], bool]:
    """Return every event of a person once, newest first, and whether older ones were left out."""
    found: dict[Position, TimelineRow] = {}  # ids are a source's own: two of them may use one
    for customer in [person.root, *sorted(person.customers - {person.root})]:
        cursor = None
        while len(found) < EVENTS_MAX:
            page = await view.timeline(person.tenant, customer, hidden=True, limit=PAGE_ROWS_MAX, cursor=cursor)
            for row in page.rows:
                found.setdefault(row.position, row)
            cursor = page.next_cursor
            if cursor is None:
                break
    rows = sorted(found.values(), key=lambda row: row.position, reverse=True)
    return rows[:EVENTS_MAX], len(rows) >= EVENTS_MAX


async def _opened(
    settings: Settings, desk: Office, person: Person, rows: Sequence[TimelineRow]
) -> tuple[list[HeldHandle], list[HeldEvent], dict[str, Any]]:
    """Open handles and events; return them, and what the view says besides."""
    view = await desk.view.customer(person.tenant, person.root)
    known = {one.hash: one for one in view.contact.handles} if view is not None else {}
    items: list[SealedItem | None] = [view.sealed_handles.get(claim.name.hash) if view else None for claim in person.claims]
    facets = {} if view is None else {name: record_json(facet) for name, facet in sorted(view.facets.items()) if name != "contact"}
    async with _opener(settings, desk) as opener:
        if not opener.may_open(VULNERABILITY):
            rows = [masked(row) if is_special(row) else row for row in rows]
        wanted = [*(None if item is None else ToOpen(item) for item in items), *(to_open(row, opener.days_max) for row in rows)]
        answers = await opener.open(person.tenant, person.root, wanted)
        held = []
        for claim, answer in zip(person.claims, answers, strict=False):
            one = known.get(claim.name.hash)
            value = opener.value_of(person.tenant, claim.name.kind, claim.name.hash, answer)
            state = state_of(answer) if value or not isinstance(answer, Opened) else "none"
            held.append(HeldHandle(claim, value, state, one is not None and one.verified, one.first_seen_us if one else None))
    events = [HeldEvent(row, Withheld("role") if row.type == WITHHELD else one) for row, one in zip(rows, answers[len(items) :], strict=True)]
    return held, events, facets
