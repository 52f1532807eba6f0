"""What readers ask of the projections' tables: a customer's 360° view, timeline and conversations. Over the store port only.

The command line and the API read through here, so that both show the same. Nothing is opened: what is sealed stays sealed.
"""

import time
from collections.abc import Callable, Collection
from contextlib import aclosing
from typing import Final

import msgspec

from projections.registry import find
from schemas.codec import Codec
from streams.cursors import Filters
from streams.customer_view import CustomerView
from streams.merging import Buckets
from streams.store.columns import text
from streams.store.port import GroupVersion, Store
from streams.timeline_row import ConversationRow, Position, TimelineRow
from streams.versions.versions import Versions
from touchline.errors import Refused

__all__ = ["ACTIVE_S", "PAGE_ROWS_MAX", "SCANNED_ROWS_MAX", "ActiveVersions", "CustomerReader", "Page"]

PAGE_ROWS_MAX: Final = 500
"""The most rows that one page may hold."""

SCANNED_ROWS_MAX: Final = 5000
"""Rows that are looked at for one page. Behind filters that let little through, a page ends here, with a cursor to go on."""

VIEW: Final = "view"


ACTIVE_S: Final = 5.0
"""For how long readers take it as known which version of a group is active."""


class ActiveVersions:
    """Which version of each group readers use: the active one, by one small read every `ACTIVE_S` at most.

    `now_s` is a clock that only counts up.
    """

    def __init__(self, store: Store, now_s: Callable[[], float] = time.monotonic) -> None:
        self._versions = Versions(store)
        self._now_s = now_s
        self._known: dict[str, tuple[float, GroupVersion]] = {}

    async def of(self, name: str = VIEW) -> GroupVersion:
        """Return the version of a group to be read now; of a group that never ran, the newest of this code.

        Raises `Misconfigured` for a group that there is not, `Refused` where no version is active yet, `Retryable` as the store does.
        """
        asked_s = self._now_s()
        known = self._known.get(name)
        if known is not None and asked_s - known[0] < ACTIVE_S:
            return known[1]
        standing = await self._versions.read(name)
        version = find(name).version if standing is None else standing.active
        if not version:
            raise Refused(
                f"No version of {name} is active yet.",
                reason="none_active",
                next_step=f"`touchline projection status {name}` shows how far it is; `touchline projection promote {name}` makes it so.",
            )
        self._known[name] = asked_s, GroupVersion(name, version)
        return self._known[name][1]


class Page(msgspec.Struct, frozen=True):
    """Some rows, newest first. `next_cursor` None: there are no more. A page may be short, even empty, and still have one."""

    rows: tuple[TimelineRow, ...]
    next_cursor: str | None


class CustomerReader:
    """Reads the tables of one version of the view group. Raises `Retryable` as the store does."""

    def __init__(self, store: Store, codec: Codec, group: GroupVersion) -> None:
        self._store = store
        self._codec = codec
        self._version = group.version

    async def customer(self, tenant: str, customer_id: str) -> CustomerView | None:
        """Return the 360° view, by one read of one partition; None if there is no such customer."""
        rows = await self._store.read(self._table("customer"), {"tenant": tenant, "customer_id": customer_id})
        if not rows:
            return None
        return CustomerView.of(rows, self._codec, tenant=tenant, customer_id=customer_id, version=self._version)

    async def conversation(self, tenant: str, conversation_id: str) -> list[ConversationRow]:
        """Return the conversations of this id: one per home, so one at most unless two sources use the same id."""
        rows = await self._store.read(self._table("conversation"), {"tenant": tenant, "conversation_id": conversation_id})
        return [ConversationRow.of(row) for row in rows]

    async def timeline(
        self,
        tenant: str,
        customer_id: str,
        *,
        since_us: int | None = None,
        until_us: int | None = None,
        channels: Collection[str] = (),
        types: Collection[str] = (),
        hidden: bool = False,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Return one page of the timeline; the fields of `Filters` say which rows. Without the customer it is empty.

        Raises `Refused` for a limit outside 1 to `PAGE_ROWS_MAX` and for a cursor that belongs to other filters.
        """
        if not 1 <= limit <= PAGE_ROWS_MAX:
            raise Refused(f"A page of {limit} rows cannot be had.", reason="limit_invalid", next_step=f"ask for 1 to {PAGE_ROWS_MAX}.")
        filters = Filters(
            tenant=tenant,
            customer_id=customer_id,
            since_us=since_us,
            until_us=until_us,
            channels=frozenset(channels),
            types=frozenset(types),
            hidden=hidden,
        )
        start = None if cursor is None else filters.position(cursor)
        months = await self._store.read(self._table("timeline_months"), {"tenant": tenant, "customer_id": customer_id})
        buckets = Buckets(self._store, self._table("timeline"), filters, start, limit + 1)
        found: list[TimelineRow] = []
        scanned = 0
        async with aclosing(buckets.rows([text(row, "month") for row in months])) as rows:
            async for row in rows:
                scanned += 1
                if _wanted(row, filters):
                    if len(found) == limit:
                        return Page(tuple(found), filters.cursor(found[-1].position))
                    found.append(row)
                if scanned >= SCANNED_ROWS_MAX:
                    return Page(tuple(found), filters.cursor(Position(row.occurred_at_us, row.event_id)))
        return Page(tuple(found), None)

    def _table(self, name: str) -> str:
        return f"{name}_v{self._version}"


def _wanted(row: TimelineRow, filters: Filters) -> bool:
    return (
        (filters.hidden or not row.hidden)
        and (not filters.channels or row.channel in filters.channels)
        and (not filters.types or row.type in filters.types or row.family in filters.types)
    )
