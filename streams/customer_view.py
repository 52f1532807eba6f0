"""The 360° view of a customer as read: decoded facets, the sealed parts of the handles, and what the view is as of."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from schemas.codec import Codec
from schemas.events import CustomerContact, CustomerLastContacts, CustomerOpenConversations, CustomerPreferences
from schemas.record import Record
from schemas.sealing import SealedItem
from streams.store.columns import Row, text_map
from streams.store.port import CellValue
from streams.timeline_row import sealed_item

__all__ = ["AsOf", "CustomerView", "decoded"]

_HANDLE: Final = "handle:"


class AsOf(msgspec.Struct, frozen=True):
    """The last record of the log that a view knows: `event_time_us` is the greatest event time, epoch µs."""

    partition: int
    offset: int
    event_time_us: int

    @classmethod
    def of(cls, cells: Mapping[str, str]) -> "AsOf | None":
        """Build it from the column `as_of`; None if that holds something else."""
        try:
            return cls(int(cells["partition"]), int(cells["offset"]), int(cells["event_time_us"]))
        except (KeyError, ValueError):
            return None


class CustomerView(msgspec.Struct, frozen=True, kw_only=True):
    """One customer. `facets` holds every facet by its name, `unreadable` the names of those whose bytes could not be decoded.

    `sealed_handles` maps a handle's hash to the sealed part of the first event that carried it. `canonical_id` is the
    customer into whom this one was merged, `erased_at_us` when the person was forgotten. `version` is that of the group that wrote it.
    """

    tenant: str
    customer_id: str
    version: int
    facets: dict[str, Record]
    unreadable: tuple[str, ...]
    sealed_handles: dict[bytes, SealedItem]
    as_of: AsOf | None
    canonical_id: str | None
    erased_at_us: int | None = None

    @property
    def contact(self) -> CustomerContact:
        """The handles; none if nothing is known."""
        found = self.facets.get("contact")
        return found if isinstance(found, CustomerContact) else CustomerContact()

    @property
    def preferences(self) -> CustomerPreferences:
        """Channels and hours; none if nothing is known."""
        found = self.facets.get("preferences")
        return found if isinstance(found, CustomerPreferences) else CustomerPreferences()

    @property
    def last_contacts(self) -> CustomerLastContacts:
        """The latest contacts; none if nothing is known."""
        found = self.facets.get("last_contacts")
        return found if isinstance(found, CustomerLastContacts) else CustomerLastContacts()

    @property
    def open_conversations(self) -> CustomerOpenConversations:
        """The conversations that are not settled; none if nothing is known."""
        found = self.facets.get("open_conversations")
        return found if isinstance(found, CustomerOpenConversations) else CustomerOpenConversations()

    @classmethod
    def of(cls, rows: Sequence[Row], codec: Codec, *, tenant: str, customer_id: str, version: int) -> "CustomerView":
        """Build it from the rows of one partition of `customer_vN`, of which there is at least one."""
        facets: dict[str, Record] = {}
        unreadable: list[str] = []
        handles: dict[bytes, SealedItem] = {}
        for row in rows:
            name, event_id = row["facet"], row["sealed_event_id"]
            if not isinstance(name, str):
                continue  # the partition has static columns only
            if name.startswith(_HANDLE):
                item = sealed_item(row, tenant, event_id) if isinstance(event_id, str) else None
                if item is not None:
                    handles[bytes.fromhex(name.removeprefix(_HANDLE))] = item
            elif isinstance(record := decoded(codec, row["body"], row["schema_id"]), Record):
                facets[name] = record
            else:
                unreadable.append(name)
        canonical_id, erased_at = rows[0]["canonical_id"], rows[0]["erased_at"]
        return cls(
            tenant=tenant,
            customer_id=customer_id,
            version=version,
            facets=facets,
            unreadable=tuple(unreadable),
            sealed_handles=handles,
            as_of=AsOf.of(text_map(rows[0], "as_of")),
            canonical_id=canonical_id if isinstance(canonical_id, str) else None,
            erased_at_us=erased_at if isinstance(erased_at, int) else None,
        )


def decoded(codec: Codec, body: CellValue, schema_id: CellValue) -> Record | None:
    """Return the record that lies in the columns `body` and `schema_id`, which hold no framing; None if it cannot be read."""
    if not isinstance(body, bytes) or not isinstance(schema_id, int) or not 0 <= schema_id < 2**32:
        return None
    found = codec.decode(b"\x00" + schema_id.to_bytes(4, "big") + body)
    return found if isinstance(found, Record) else None
