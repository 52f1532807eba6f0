"""Events for tests of projections, in one line each. `projections.testing` hands them on: import them from there."""

from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Final, TypeVar

from schemas import events
from schemas.events import Handle, HandleKind, Header
from schemas.record import Event, instant

__all__ = [
    "DAY",
    "contact_abandoned",
    "contact_completed",
    "contact_connected",
    "contact_initiated",
    "contact_queued",
    "handle",
    "make",
    "message_received",
    "message_sent",
    "time_us",
]

DAY: Final = "2026-01-12"
"""The day of times without a date: a Monday."""

E = TypeVar("E", bound=Event)
_HEADER_FIELDS: Final = frozenset(Header.__struct_fields__)


def time_us(at: str | int) -> int:
    """Return epoch µs of '09:00', '09:00:30.5' (UTC, on `DAY`), of an aware ISO time, or of epoch µs as they are."""
    if isinstance(at, int):
        return at
    clock = at if "T" in at else f"{DAY}T{at}Z"
    return (datetime.fromisoformat(clock) - instant(0)) // timedelta(microseconds=1)


def handle(kind: HandleKind, value: str, *, verified: bool = False) -> Handle:
    """Return a handle with a hash made of its text: the same text is the same handle."""
    return Handle(kind=kind, hash=blake2b(f"{kind}:{value}".encode(), digest_size=32).digest(), verified=verified)


def make(kind: type[E], *, id: str = "", at: str | int = "09:00", customer: str = "cu-1", **fields: Any) -> E:  # noqa: A002, ANN401 - the event's own words
    """Build an event of any type; `fields` are the header's, the type's own (`from_`), `attributes`, `sealed` and `sealed_key`.

    The id defaults to type and time; the tenant to `acme`; the home to the customer. Wrong names raise `TypeError`.
    """
    at_us = time_us(at)
    header: dict[str, Any] = {
        "id": id or f"{kind.TYPE}@{at}",
        "source": "/test",
        "tenant": "acme",
        "occurred_at_us": at_us,
        "received_at_us": at_us,
        "customer_id": customer,
        "home_customer_id": customer,
    }
    own: dict[str, Any] = {}
    for name, value in fields.items():
        (header if name in _HEADER_FIELDS and name not in kind.__struct_fields__ else own)[name] = value
    return kind(header=Header(**header), **own)


def message_received(**fields: Any) -> events.MessageReceived:  # noqa: ANN401 - as `make`
    """Let the customer write a mail; `fields` as in `make`."""
    return make(events.MessageReceived, **{"channel": "email", "direction": "inbound", "actor_kind": "customer", **fields})


def message_sent(**fields: Any) -> events.MessageSent:  # noqa: ANN401 - as `make`
    """Let a human agent answer by mail, for the customer to read."""
    said = {"visibility": "public", "author": "human"}
    return make(events.MessageSent, **{"channel": "email", "direction": "outbound", "actor_kind": "agent", "actor_id": "ag-1", **said, **fields})


def contact_initiated(**fields: Any) -> events.ContactInitiated:  # noqa: ANN401 - as `make`
    """Let the customer call."""
    return make(events.ContactInitiated, **{"channel": "phone", "direction": "inbound", "actor_kind": "customer", **fields})


def contact_queued(**fields: Any) -> events.ContactQueued:  # noqa: ANN401 - as `make`
    """Let the call wait in the queue `billing`."""
    return make(events.ContactQueued, **{"channel": "phone", "direction": "inbound", "queue": "billing", **fields})


def contact_connected(**fields: Any) -> events.ContactConnected:  # noqa: ANN401 - as `make`
    """Let an agent take the call."""
    taken = {"direction": "inbound", "actor_kind": "agent", "actor_id": "ag-1", "agent": "ag-1", "queue": "billing"}
    return make(events.ContactConnected, **{"channel": "phone", **taken, **fields})


def contact_abandoned(**fields: Any) -> events.ContactAbandoned:  # noqa: ANN401 - as `make`
    """Let the customer hang up in the queue."""
    return make(events.ContactAbandoned, **{"channel": "phone", "direction": "inbound", "actor_kind": "customer", "stage": "queue", **fields})


def contact_completed(**fields: Any) -> events.ContactCompleted:  # noqa: ANN401 - as `make`
    """Let the call be over."""
    return make(events.ContactCompleted, **{"channel": "phone", "direction": "inbound", **fields})
