"""Opens sealed parts for the operator at this machine, and finds customers by their handles: both take the local key file.

What is opened is meant for the operator's eyes: it goes to the terminal, never into a log, an error or a file of ours.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, get_args

from schemas.codec import Codec
from schemas.events import HandleKind
from schemas.handles import customer_id, handle_hash, normalise
from schemas.sealing import DataKeyStore, Erased, Opened, Opening, SealedItem, Unreadable
from streams.care_view import CareReader, CustomerCare
from streams.customer_view import CustomerView
from streams.plain import event_json, record_json, utc
from streams.reading import PAGE_ROWS_MAX, ActiveVersions, CustomerReader
from streams.store.catalogue import keyring_tables
from streams.store.data_keys import CassandraDataKeys
from streams.timeline_row import TimelineRow
from streams.wall_clock import now_us
from touchline.errors import Misconfigured, Refused
from touchline.keyring.keyfile import KeyFile
from touchline.keyring.keyring import Keyring
from touchline.settings import Settings
from touchline.tables import connected

__all__ = ["Desk", "Opener", "ShownCustomer", "ShownEvent", "ShownHandle", "customer_of", "desk"]

NO_KEY_FILE: Final = "no_key_file"
"""The reason why nothing can be opened on a machine that has no key file."""

_KINDS: Final[tuple[HandleKind, ...]] = get_args(HandleKind)


class ShownEvent(NamedTuple):
    """An event of the timeline and what became of its sealed part; `closed` where nobody tried to open it."""

    row: TimelineRow
    opening: Opening | None
    closed: bool = False

    def json(self) -> dict[str, Any]:
        """Return the public JSON form. `sealed` is `opened`, `erased`, `unreadable` (with a `reason`), `none`, or `sealed`: left closed."""
        opening = self.opening
        state = "sealed" if self.closed and self.row.sealed is not None else _state(opening)
        personal = opening.personal if isinstance(opening, Opened) else None
        return {
            "kind": "event",
            **event_json(self.row),
            "sealed": state,
            "reason": opening.reason if isinstance(opening, Unreadable) else None,
            "subject": personal and personal.subject,
            "text": personal and personal.text,
            "attributes": personal.attributes if personal else {},
        }


class ShownHandle(NamedTuple):
    """A handle of a customer: its value if it could be opened, and in a word what became of it (as `ShownEvent.json` says)."""

    kind: str
    value: str | None
    state: str
    verified: bool
    first_seen_us: int


class ShownCustomer(NamedTuple):
    """A customer's view with its handles opened and the newest events; `next_cursor` leads to those before.

    `care` are the clocks and alerts; None where there never were any.
    """

    view: CustomerView
    handles: list[ShownHandle]
    newest: list[ShownEvent]
    next_cursor: str | None
    care: CustomerCare | None = None

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        view, as_of = self.view, self.view.as_of
        return {
            "customer_id": view.customer_id,
            "tenant": view.tenant,
            "canonical_id": view.canonical_id,
            "as_of": None if as_of is None else {"version": view.version, **record_json(as_of)},
            "handles": [
                {"kind": h.kind, "value": h.value, "sealed": h.state, "verified": h.verified, "first_seen": utc(h.first_seen_us)}
                for h in self.handles
            ],
            "open_conversations": record_json(view.open_conversations)["conversations"],
            "last_contacts": record_json(view.last_contacts)["contacts"],
            "preferences": record_json(view.preferences),
            "care": None if self.care is None else self.care.json(),
            "unreadable_facets": list(view.unreadable),
            "timeline": [event.json() for event in self.newest],
            "next_cursor": self.next_cursor,
        }


class Opener:
    """Opens in batches. Without a key file on this machine everything is `Unreadable`; none is ever made here."""

    def __init__(self, settings: Settings, keys: DataKeyStore, codec: Codec) -> None:
        self._file = KeyFile.load_or_create(settings.key_file) if settings.key_file.exists() else None
        self._keyring = Keyring(keys, self._file.wrapper, codec) if self._file else None

    async def open(self, items: Sequence[SealedItem | None]) -> list[Opening | None]:
        """Open what there is to open, in order; None stays None. Raises `Retryable` if the keys cannot be read now."""
        if self._keyring is None:
            return [None if item is None else Unreadable(NO_KEY_FILE) for item in items]
        wanted = [item for item in items if item is not None]
        found = iter(await self._keyring.open_many(wanted) if wanted else ())
        return [None if item is None else next(found) for item in items]

    def value_of(self, tenant: str, kind: HandleKind, hashed: bytes, opening: Opening | None) -> str | None:
        """Return the handle that has this hash, from the opened part of an event that carried it; None if it is not there."""
        if self._file is None or not isinstance(opening, Opened):
            return None
        key = self._file.index_key(tenant)
        return next((h.value for h in opening.personal.handles if h.kind == kind and handle_hash(key, kind, h.value) == hashed), None)


class Desk:
    """Where the operator reads: the tables, with what is sealed in them opened."""

    def __init__(self, reader: CustomerReader, opener: Opener, care: CareReader) -> None:
        self._reader = reader
        self._opener = opener
        self._care = care

    async def customer(self, tenant: str, customer_id: str, *, newest: int) -> ShownCustomer:
        """Return a customer with the newest events. Raises `Refused` if there is none of this id."""
        view = await self._known(tenant, customer_id)
        care = await self._care.customer(tenant, customer_id)
        page = await self._reader.timeline(tenant, customer_id, limit=newest)
        known = view.contact.handles
        opened = await self._opener.open([*(view.sealed_handles.get(one.hash) for one in known), *(row.sealed for row in page.rows)])
        handles = []
        for one, opening in zip(known, opened, strict=False):
            value = self._opener.value_of(tenant, one.kind, one.hash, opening)
            state = _state(opening) if value or not isinstance(opening, Opened) else "none"
            handles.append(ShownHandle(one.kind, value, state, one.verified, one.first_seen_us))
        return ShownCustomer(view, handles, list(map(ShownEvent, page.rows, opened[len(known) :])), page.next_cursor, care)

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
        """Return up to `limit` events and the cursor of what comes after. `filters` as in `CustomerReader.timeline`."""
        await self._known(tenant, customer_id)
        shown: list[ShownEvent] = []
        while True:
            wanted = min(limit - len(shown), PAGE_ROWS_MAX)
            page = await self._reader.timeline(tenant, customer_id, limit=wanted, cursor=cursor, **filters)
            opened = [None] * len(page.rows) if closed else await self._opener.open([row.sealed for row in page.rows])
            shown += [ShownEvent(row, opening, closed) for row, opening in zip(page.rows, opened, strict=True)]
            cursor = page.next_cursor
            if cursor is None or len(shown) >= limit:
                return shown, cursor

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
    async with connected(settings) as store:
        keys = CassandraDataKeys(store.beside(settings.keyring_keyspace, keyring_tables()), now_us)
        active = ActiveVersions(store)
        view, care = CustomerReader(store, codec, await active.of("view")), CareReader(store, await active.of("care"))
        yield Desk(view, Opener(settings, keys, codec), care)


def customer_of(settings: Settings, tenant: str, handle: str) -> str:
    """Return the customer_id of a handle, `phone:+49301234567`, that was neither linked nor erased.

    Raises `Refused` for another form or a value that is none of its kind, never repeating it; `Misconfigured` without a key file.
    """
    given, colon, value = handle.partition(":")
    kind = next((known for known in _KINDS if known == given.strip().lower()), None)
    if not colon or kind is None or not value.strip():
        raise Refused("A handle is written KIND:VALUE.", reason="handle_form", next_step=f"write phone:+49301234567; kinds: {', '.join(_KINDS)}.")
    normal = normalise(kind, value, settings.default_region)
    if not settings.key_file.exists():
        raise Misconfigured(f"There is no key file at {settings.key_file}.", next_step="set TOUCHLINE_KEY_FILE to the one that the importer uses.")
    return customer_id(tenant, kind, handle_hash(KeyFile.load_or_create(settings.key_file).index_key(tenant), kind, normal))


def _state(opening: Opening | None) -> str:
    """Return in one word what became of a sealed part."""
    if opening is None:
        return "none"
    if isinstance(opening, Opened):
        return "opened"
    return "erased" if isinstance(opening, Erased) else "unreadable"
