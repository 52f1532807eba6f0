"""A customer's handles: which there are, since when, and where their sealed text lies. Knows hashes only, never a handle's text.

The facet `contact` lists them. Beside it each handle has a row `handle:<hash in hex>` in the customer's partition with the
sealed part of an event that carried it, so that whoever may read it can show the number or address; which event that is
may depend on arrival, and its id stands beside it. A row of its own and not one map of all: maps are frozen (store.md §1),
so every new handle would write all sealed parts again, and the state would have to hold them.
"""

from typing import Final

import msgspec

from projections.kernel import Delete, RowChange, Upsert, Value
from schemas.events import CustomerContact, CustomerKnownHandle, Handle, HandleKind, Header
from schemas.record import Event

__all__ = ["HANDLES_PER_KIND_MAX", "SEALED_BYTES_MAX", "Known", "erase", "facet", "fold", "handle_facet"]

HANDLES_PER_KIND_MAX: Final = 10
"""Handles of one kind that are kept: the ones seen first. The resolver's own limit is the same (log.md §4)."""

SEALED_BYTES_MAX: Final = 16 * 1024
"""A larger sealed part (a long mail) is not copied: the timeline row of the handle's first event has it."""

_SPECIAL: Final = "vulnerability:"


class Known(msgspec.Struct, array_like=True, gc=False):
    """What the state holds of one handle, by its hash. `sealed`: whether its row holds a sealed part."""

    kind: HandleKind
    verified: bool
    first_seen_us: int
    event_id: str
    sealed: bool = False


def handle_facet(hashed: bytes) -> str:
    """Return the facet name of a handle's own row."""
    return f"handle:{hashed.hex()}"


def fold(book: dict[bytes, Known], event: Event, rows: list[RowChange], appended_us: int) -> bool:
    """Take in the handles that the event carries; tell whether the facet changed. Hot path: 0.4 µs on average."""
    changed = False
    header = event.header
    at_us = header.occurred_at_us
    for handle in header.handles:
        known = book.get(handle.hash)
        if known is None:
            changed |= _first_seen(book, event, handle, rows, appended_us)
            continue
        if handle.verified and not known.verified:
            known.verified = changed = True
        earlier = at_us <= known.first_seen_us and (at_us, header.id) < (known.first_seen_us, known.event_id)
        if earlier:
            known.first_seen_us, known.event_id = at_us, header.id
            changed = True
        if (earlier or not known.sealed) and _can_be_copied(event):
            known.sealed = True
            rows.append(_row(event, handle.hash, appended_us))
    return changed


def erase(book: dict[bytes, Known], header: Header, rows: list[RowChange]) -> None:
    """Delete the rows of all handles, and forget them."""
    rows.extend(Delete("customer", (header.tenant, header.customer_id, handle_facet(hashed))) for hashed in book)
    book.clear()


def facet(book: dict[bytes, Known]) -> CustomerContact:
    """Build the facet: handles in order of first sight."""
    found = [
        CustomerKnownHandle(kind=k.kind, hash=hashed, verified=k.verified, first_seen_us=k.first_seen_us, event_id=k.event_id)
        for hashed, k in book.items()
    ]
    if len(found) > 1:
        found.sort(key=lambda handle: (handle.first_seen_us, handle.hash))
    return CustomerContact(handles=tuple(found))


def _first_seen(book: dict[bytes, Known], event: Event, handle: Handle, rows: list[RowChange], appended_us: int) -> bool:
    header = event.header
    book[handle.hash] = Known(handle.kind, handle.verified, header.occurred_at_us, header.id, _can_be_copied(event))
    dropped = _above_limit(book, handle.kind)
    if dropped is not None:
        del book[dropped]
        if dropped == handle.hash:
            return False
        rows.append(Delete("customer", (header.tenant, header.customer_id, handle_facet(dropped))))
    rows.append(_row(event, handle.hash, appended_us))
    return True


def _above_limit(book: dict[bytes, Known], kind: HandleKind) -> bytes | None:
    """Return the handle of this kind seen last if there are too many, whatever order they came in."""
    same = [(known.first_seen_us, hashed) for hashed, known in book.items() if known.kind == kind]
    return max(same)[1] if len(same) > HANDLES_PER_KIND_MAX else None


def _can_be_copied(event: Event) -> bool:
    return (
        event.sealed is not None
        and event.sealed_key is not None
        and len(event.sealed) <= SEALED_BYTES_MAX
        and not event.sealed_key.startswith(_SPECIAL)  # who may show a number must not need the key of what is special about its owner
    )


def _row(event: Event, hashed: bytes, appended_us: int) -> Upsert:
    header = event.header
    columns: dict[str, Value] = {"updated_at": appended_us}
    if _can_be_copied(event):
        columns |= {"sealed": event.sealed, "sealed_key": event.sealed_key, "sealed_event_id": header.id}
    return Upsert("customer", (header.tenant, header.customer_id, handle_facet(hashed)), columns)
