"""Opens sealed parts for the operator at this machine, and finds customers by their handles: both take this installation's keys.

All opening goes through one function, `Opener.open`: there it is decided who may see what, there it is noted on the audit trail, and
only then opened. What is opened is meant for the operator's eyes: it goes to the terminal, never into a log, an error or a file of ours.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from schemas.codec import Codec
from schemas.events import HandleKind
from schemas.handles import customer_id, handle_hash
from schemas.sealing import DataKeyStore, Opened, Opening, Purpose, Unreadable, Withheld, parse_sealed_key
from streams.audit.trail import Notes
from streams.care_view import CareReader
from streams.control_topic import KnownBy
from streams.customer_view import CustomerView
from streams.identity.claim import Name
from streams.identity.claims import STEPS_MAX, Claims
from streams.reading import PAGE_ROWS_MAX, ActiveVersions, CustomerReader
from streams.store.catalogue import keyring_tables
from streams.store.data_keys import CassandraDataKeys
from streams.timeline_row import TimelineRow
from streams.wall_clock import now_us
from touchline.auditing import trail_of
from touchline.errors import Refused
from touchline.handle_names import handle_named
from touchline.key_service import has_keys, key_service
from touchline.keyring.keyring import Keyring
from touchline.keyring.service import KeyService
from touchline.purposes import MAY_OPEN, VULNERABILITY, WITHHELD, Flag, ToOpen, flag_of, is_special, masked, to_open
from touchline.settings import Settings
from touchline.shown import ShownCustomer, ShownEvent, ShownHandle, state_of
from touchline.tables import connected

__all__ = ["Desk", "Opener", "ShownCustomer", "ShownEvent", "ShownHandle", "customer_of", "desk"]

NO_KEY_FILE: Final = "no_key_file"
"""The reason why nothing can be opened on a machine that has no key file."""

_DAY_US: Final = 86_400_000_000


class Opener:
    """Opens in batches, in the roles of the settings. Without `keys` (no key file here) everything is `Unreadable`; none is made here."""

    def __init__(
        self,
        settings: Settings,
        store: DataKeyStore,
        codec: Codec,
        keys: KeyService | None,
        notes: Notes,
        *,
        clock_us: Callable[[], int] = now_us,
    ) -> None:
        self._keys = keys
        self._keyring = Keyring(store, keys.wrapper, codec) if keys is not None else None
        self._notes = notes
        self._purposes = frozenset(purpose for purpose, roles in MAY_OPEN.items() if roles & settings.role_names)
        self.clock_us = clock_us
        self.days_max = settings.vulnerability_days_max

    def may_open(self, purpose: Purpose) -> bool:
        """Tell whether the operator acts in a role that sees what was sealed for this purpose."""
        return purpose in self._purposes

    async def open(self, tenant: str, customer_id: str, wanted: Sequence[ToOpen | None]) -> list[Opening | None]:
        """Open what there is to open of one customer, in order; None stays None. What may not be seen is `Withheld`, and not opened.

        Noted once per purpose, with how many, before anything is opened. Raises `Retryable` if the note cannot be written or the
        keys cannot be read now: then nothing was shown.
        """
        answers: list[Opening | None] = [None if one is None else self._kept_back(one) for one in wanted]
        due = [(at, one.item) for at, one in enumerate(wanted) if one is not None and answers[at] is None]
        if self._keyring is None:
            for at, _ in due:
                answers[at] = Unreadable(NO_KEY_FILE)
            return answers
        for purpose, count in sorted(Counter(_purpose(item.sealed_key) for _, item in due).items()):
            await self._notes.note("opened", tenant=tenant, customer=customer_id, purpose=purpose, count=count)
        opened = await self._keyring.open_many([item for _, item in due]) if due else []
        for (at, _), opening in zip(due, opened, strict=True):
            answers[at] = opening
        return answers

    def _kept_back(self, one: ToOpen) -> Withheld | None:
        purpose = _purpose(one.item.sealed_key)
        if purpose not in self._purposes:
            return Withheld("role")
        if purpose == VULNERABILITY and (one.ends_at_us is None or one.ends_at_us <= self.clock_us()):
            return Withheld("expired")
        return None

    def value_of(self, tenant: str, kind: HandleKind, hashed: bytes, opening: Opening | None) -> str | None:
        """Return the handle that has this hash, from the opened part of an event that carried it; None if it is not there."""
        if self._keys is None or not isinstance(opening, Opened):
            return None
        key = self._keys.index_key(tenant)
        return next((h.value for h in opening.personal.handles if h.kind == kind and handle_hash(key, kind, h.value) == hashed), None)


class Desk:
    """Where the operator reads: the tables, with what is sealed in them opened."""

    def __init__(self, reader: CustomerReader, opener: Opener, care: CareReader, claims: Claims) -> None:
        self._reader = reader
        self._opener = opener
        self._care = care
        self._claims = claims

    async def whose(self, tenant: str, handle: KnownBy) -> str:
        """Return the customer whom a handle belongs to now; of one who was erased and did not return, the customer of before."""
        name = Name(tenant, *handle)
        way = (await self._claims.follow([name]))[name]
        claim = way.claims[0]
        if claim.generation and not claim.customer and await self._reader.customer(tenant, claim.own) is None:
            return customer_id(*name, claim.generation - 1)
        return await self.root(tenant, claim.own if way.is_dead else way.end.own)

    async def root(self, tenant: str, customer_id: str) -> str:
        """Return the customer into whom one was merged, and that one again; itself, if it was not."""
        for _ in range(STEPS_MAX):
            view = await self._reader.customer(tenant, customer_id)
            if view is None or view.canonical_id is None or await self._reader.customer(tenant, view.canonical_id) is None:
                break
            customer_id = view.canonical_id
        return customer_id

    async def customer(self, tenant: str, customer_id: str, *, newest: int) -> ShownCustomer:
        """Return a customer with the newest events; of one that was merged into another, that one. Raises `Refused` if there is none of this id."""
        asked, customer_id = customer_id, await self.root(tenant, customer_id)
        view = await self._known(tenant, customer_id)
        care = await self._care.customer(tenant, customer_id)
        flag = await self._flag(tenant, customer_id)
        rows, cursor = await self._rows(tenant, customer_id, limit=newest, cursor=None)
        known = view.contact.handles
        sealed = [view.sealed_handles.get(one.hash) for one in known]
        wanted = [None if item is None else ToOpen(item) for item in sealed]
        opened = await self._opener.open(tenant, customer_id, [*wanted, *(to_open(row, self._opener.days_max) for row in rows)])
        handles = []
        for one, opening in zip(known, opened, strict=False):
            value = self._opener.value_of(tenant, one.kind, one.hash, opening)
            state = state_of(opening) if value or not isinstance(opening, Opened) else "none"
            handles.append(ShownHandle(one.kind, value, state, one.verified, one.first_seen_us))
        return ShownCustomer(view, handles, list(map(_shown, rows, opened[len(known) :])), cursor, asked, care, flag)

    async def timeline(
        self,
        tenant: str,
        customer_id: str,
        *,
        limit: int,
        cursor: str | None,
        closed: bool,
        **filters: Any,  # noqa: ANN401 - the reader types them
    ) -> tuple[list[ShownEvent], str | None]:
        """Return up to `limit` events and the cursor of what comes after; of one that was merged into another, that one's.

        `filters` as in `CustomerReader.timeline`.
        """
        customer_id = await self.root(tenant, customer_id)
        await self._known(tenant, customer_id)
        rows, after = await self._rows(tenant, customer_id, limit=limit, cursor=cursor, **filters)
        if closed:
            return [ShownEvent(row, Withheld("role") if row.type == WITHHELD else None, closed) for row in rows], after
        opened = await self._opener.open(tenant, customer_id, [to_open(row, self._opener.days_max) for row in rows])
        return list(map(_shown, rows, opened)), after

    async def _rows(
        self,
        tenant: str,
        customer_id: str,
        *,
        limit: int,
        cursor: str | None,
        **filters: Any,  # noqa: ANN401 - as above
    ) -> tuple[list[TimelineRow], str | None]:
        """Return rows that the operator may see; those that nobody may know of are left out, or masked among the technical ones."""
        found: list[TimelineRow] = []
        may_see, masks = self._opener.may_open(VULNERABILITY), filters.get("hidden", False) and not filters.get("types")
        while True:
            page = await self._reader.timeline(tenant, customer_id, limit=min(limit - len(found), PAGE_ROWS_MAX), cursor=cursor, **filters)
            for row in page.rows:
                if may_see or not is_special(row):
                    found.append(row)
                elif masks:
                    found.append(masked(row))
            cursor = page.next_cursor
            if cursor is None or len(found) >= limit:
                return found, cursor

    async def _flag(self, tenant: str, customer_id: str) -> Flag | Withheld | None:
        """Return until when the customer needs special care. Only what is younger than the longest flag can be in force."""
        if not self._opener.may_open(VULNERABILITY):
            return Withheld("role")
        at_us = self._opener.clock_us()
        since_us = at_us - self._opener.days_max * _DAY_US
        rows: list[TimelineRow] = []
        cursor = None
        while True:
            page = await self._reader.timeline(
                tenant, customer_id, types={VULNERABILITY}, since_us=since_us, hidden=True, limit=PAGE_ROWS_MAX, cursor=cursor
            )
            rows += page.rows
            cursor = page.next_cursor
            if cursor is None:
                return flag_of(rows, at_us)

    async def _known(self, tenant: str, customer_id: str) -> CustomerView:
        view = await self._reader.customer(tenant, customer_id)
        if view is None:
            raise Refused(
                f"There is no customer {customer_id} of tenant {tenant}.",
                reason="unknown_customer",
                next_step="check the id or the handle, and --tenant; `touchline status` shows whether the workers have come so far.",
            )
        return view


@asynccontextmanager
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    """Connect to Cassandra for as long as the context lasts. Raises `Retryable` if no node answers."""
    codec = Codec()
    async with AsyncExitStack() as open_ones:
        keys = await open_ones.enter_async_context(key_service(settings)) if has_keys(settings) else None
        store = await open_ones.enter_async_context(connected(settings))
        data_keys = CassandraDataKeys(store.beside(settings.keyring_keyspace, keyring_tables()), now_us)
        active = ActiveVersions(store)
        view, care = CustomerReader(store, codec, await active.of("view")), CareReader(store, await active.of("care"))
        yield Desk(view, Opener(settings, data_keys, codec, keys, trail_of(settings, store)), care, Claims(store))


def customer_of(settings: Settings, tenant: str, handle: str) -> str:
    """Return the customer_id of a handle, `phone:+49301234567`, that was neither linked nor erased. Raises as `handle_named` does."""
    return customer_id(tenant, *handle_named(settings, tenant, handle))


def _shown(row: TimelineRow, opening: Opening | None) -> ShownEvent:
    return ShownEvent(row, Withheld("role") if row.type == WITHHELD else opening)


def _purpose(sealed_key: str) -> Purpose:
    """Return what a part was sealed for; one whose key has no readable name is as good as any contact: it cannot be opened."""
    name = parse_sealed_key(sealed_key)
    return "contact" if name is None else name.purpose
