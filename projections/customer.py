"""The 360° view of a customer: handles, preferences, latest contacts, open conversations, and the snapshot for other systems.

Joins four folds (`handles`, `preferences`, `last_contacts`, `conversations`), each the same for every order of arrival.
Knows links between customers; contains no merge: a linked customer's records come as copies (log.md §5). Of a person who was erased
it forgets everything, for good: only the timeline goes on.
"""

from typing import ClassVar, Final

import msgspec

from projections import conversations, handles, last_contacts, preferences
from projections.conversation import Conversation
from projections.handles import Known
from projections.kernel import Effect, Moment, RowChange, Step, Subject, Timer, Tombstone, Upsert
from projections.last_contacts import Entry
from projections.order import Order, order_of
from projections.preferences import Preferences
from schemas import events
from schemas.events import CustomerSnapshot
from schemas.record import Event

__all__ = ["FACETS", "SNAPSHOT", "Customer", "CustomerState"]

FACETS: Final = ("contact", "preferences", "last_contacts", "open_conversations")
"""The facets with a record in `body`; the rows `handle:<hex>` have none."""

SNAPSHOT: Final = "customer.snapshot"
"""The kind of the effect: a compacted topic, one snapshot per customer."""

_NOT_CUSTOMERS: Final = ("agent:", "plan:")
_OF_OTHERS: Final = frozenset({"agent", "config", "plan", "projection", "timer"})


class CustomerState(msgspec.Struct, array_like=True):
    """What is known of one customer. Stored: 0.6 kB with one conversation, 0.45 kB more for each further one.

    `newest_us` is the greatest event time seen; `canonical_id` the customer into whom this one was merged, by the link of
    `canonical_turn` and `canonical_order`; `erased_at_us` when the person was forgotten.
    """

    newest_us: int = 0
    handles: dict[bytes, Known] = msgspec.field(default_factory=dict)
    preferences: Preferences = msgspec.field(default_factory=Preferences)
    last_contacts: dict[str, Entry] = msgspec.field(default_factory=dict)
    conversations: dict[str, Conversation] = msgspec.field(default_factory=dict)
    canonical_id: str | None = None
    canonical_order: Order | None = None
    canonical_turn: int = 0
    erased_at_us: int | None = None


class Customer:
    """Folds everything that happens to a customer. Hot path: 8.5 µs per event (`python -m benchmarks.folding`)."""

    name: ClassVar[str] = "customer"
    version: ClassVar[int] = 1
    handles: ClassVar[frozenset[type[Event]]] = frozenset(
        kind for name, kind in events.EVENT_TYPES.items() if name.partition(".")[0] not in _OF_OTHERS
    )
    depends_on: ClassVar[tuple[str, ...]] = ()
    arms_timers: ClassVar[bool] = False

    def initial(self, subject: Subject) -> CustomerState:  # noqa: ARG002 - every subject starts alike
        """Return the state of a customer of whom nothing is known."""
        return CustomerState()

    def apply(self, state: CustomerState, event: Event, at: Moment) -> Step[CustomerState]:
        """Fold one event into every facet; write those that changed, and a snapshot if any did."""
        header = event.header
        customer_id = header.customer_id
        if not customer_id or customer_id.startswith(_NOT_CUSTOMERS):
            return Step(state)
        order = order_of(event)
        state.newest_us = max(state.newest_us, order[0])
        if state.erased_at_us is not None or type(event) is events.PrivacyErased:
            return self._forgotten(state, event, at)
        rows: list[RowChange] = []
        changed: list[str] = []
        publish = type(event) in _IDENTITY and self._identity(state, event, order, rows, changed)
        # the resolver's own records carry handles too, but nothing sealed: a handle is first seen in what its customer did
        if header.handles and type(event) not in _RESOLVERS and handles.fold(state.handles, event, rows, at.appended_at_us):
            changed.append("contact")
        if preferences.fold(state.preferences, event, order):
            changed.append("preferences")
        contact = last_contacts.is_contact(event)
        if contact and last_contacts.fold(state.last_contacts, event, order):
            changed.append("last_contacts")
        # after a merge the conversations' rows are the other customer's
        into = rows if state.canonical_id is None else []
        if conversations.fold(state.conversations, event, order, state.newest_us, into, contact=contact) and state.canonical_id is None:
            changed.append("open_conversations")
        rows.append(Upsert("customer", (header.tenant, customer_id), {"as_of": _as_of(state, at)}))
        if not changed and not publish:
            return Step(state, tuple(rows))
        view = _view(state, header.tenant, customer_id, at)
        for name in changed:
            body = getattr(view, name)
            rows.append(Upsert("customer", (header.tenant, customer_id, name), {"body": body, "updated_at": at.appended_at_us}))
        if state.canonical_id is None:
            return Step(state, tuple(rows), (), (Effect(SNAPSHOT, customer_id, view),))
        return Step(state, tuple(rows), (), (Effect(SNAPSHOT, customer_id, _merged(state, header.tenant, customer_id, at)),) if publish else ())

    def expire(self, state: CustomerState, timer: Timer, at: Moment) -> Step[CustomerState]:  # noqa: ARG002 - it arms none
        """Do nothing: this projection arms no timers."""
        return Step(state)

    def publish(self, state: CustomerState, subject: Subject, at: Moment) -> tuple[Effect, ...]:
        """Return the snapshot of a customer as the state knows it; none of an agent, or of a customer of whom nothing is known."""
        if not state.newest_us or subject.id.startswith(_NOT_CUSTOMERS):
            return ()
        if state.erased_at_us is not None:
            return (_tombstone(state, subject.id, at),)
        view = (_view if state.canonical_id is None else _merged)(state, subject.tenant, subject.id, at)
        return (Effect(SNAPSHOT, subject.id, view),)

    def _forgotten(self, state: CustomerState, event: Event, at: Moment) -> Step[CustomerState]:
        """Forget the person; what comes afterwards under this id moves nothing but `as_of`, and a second erasure does nothing."""
        header = event.header
        of = header.tenant, header.customer_id
        rows: list[RowChange] = [Upsert("customer", of, {"as_of": _as_of(state, at)})]
        if state.erased_at_us is not None:
            return Step(state, tuple(rows))
        state.erased_at_us = header.occurred_at_us
        handles.erase(state.handles, header, rows)
        into = rows if state.canonical_id is None else []
        conversations.erase(state.conversations, header, into)
        state.preferences = Preferences()
        state.last_contacts.clear()
        view = _view(state, *of, at)
        rows.append(Upsert("customer", of, {"erased_at": state.erased_at_us}))
        rows.extend(Upsert("customer", (*of, name), {"body": getattr(view, name), "updated_at": at.appended_at_us}) for name in FACETS)
        return Step(state, tuple(rows), (), (_tombstone(state, header.customer_id, at),))

    def _identity(self, state: CustomerState, event: Event, order: Order, rows: list[RowChange], changed: list[str]) -> bool:
        """Follow links of this customer to another, and copies that came from one. Tell whether a snapshot is due at once.

        An unlink rebuilds both customers (engine.md §6); taking the link back here only keeps the fold honest until then.
        """
        header = event.header
        if isinstance(event, events.IdentityCopied):
            if event.to != header.customer_id:
                return False
            # whoever is linked on has nothing to write: the rows are the other customer's
            conversations.hand_over(state.conversations, header, event.from_, rows if state.canonical_id is None else [])
            return True  # so that one snapshot knows of all copies, whatever became of those before it
        if not isinstance(event, events.IdentityLinked | events.IdentityUnlinked) or event.from_ != header.customer_id:
            return False
        if state.canonical_order is not None and (event.turn, order) <= (state.canonical_turn, state.canonical_order):
            return False
        state.canonical_turn, state.canonical_order = event.turn, order
        changed.append("open_conversations")  # also where nothing moves: a link that comes after its unlink leaves the same rows
        canonical_id = event.to if isinstance(event, events.IdentityLinked) else event.back or None
        if canonical_id != state.canonical_id:
            state.canonical_id = canonical_id
            rows.append(Upsert("customer", (header.tenant, header.customer_id), {"canonical_id": canonical_id}))
        return True


_IDENTITY: Final[frozenset[type[Event]]] = frozenset({events.IdentityCopied, events.IdentityLinked, events.IdentityUnlinked})


_RESOLVERS: Final = frozenset(kind for name, kind in events.EVENT_TYPES.items() if name.startswith("identity."))


def _as_of(state: CustomerState, at: Moment) -> dict[str, str]:
    return {"partition": str(at.partition), "offset": str(at.offset), "event_time_us": str(state.newest_us)}


def _view(state: CustomerState, tenant: str, customer_id: str, at: Moment) -> CustomerSnapshot:
    """Build all facets, 2.8 µs: those that did not change are built again, since the state does not hold them."""
    return CustomerSnapshot(
        customer_id=customer_id,
        tenant=tenant,
        partition=at.partition,
        offset=at.offset,
        event_time_us=state.newest_us,
        contact=handles.facet(state.handles),
        preferences=preferences.facet(state.preferences),
        last_contacts=last_contacts.facet(state.last_contacts),
        open_conversations=conversations.facet(state.conversations if state.canonical_id is None else {}, customer_id),
    )


def _tombstone(state: CustomerState, customer_id: str, at: Moment) -> Effect:
    return Effect(SNAPSHOT, customer_id, Tombstone(partition=at.partition, offset=at.offset, event_time_us=state.newest_us))


def _merged(state: CustomerState, tenant: str, customer_id: str, at: Moment) -> CustomerSnapshot:
    return CustomerSnapshot(
        customer_id=customer_id,
        tenant=tenant,
        partition=at.partition,
        offset=at.offset,
        event_time_us=state.newest_us,
        merged_into=state.canonical_id,
    )
