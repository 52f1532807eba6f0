"""The conversations of one customer: what stands open, and the rows. Knows events; must not know clocks.

A conversation's key is its id (a contact without one is a conversation of its own, by its contact id) and its home: the
`home_customer_id` of its first inbound record, by event time (log.md §5).

Kept in state: what is not settled, and what is settled until it is `KEPT_US` of event time older than the customer's newest
event; the `KEPT_MIN` touched last stay anyhow, so that histories that arrive long afterwards fold well. A record that
arrives for a conversation that is no longer kept begins it anew: its row then counts from that record.
"""

from typing import Final

from projections.conversation import TOUCHES, UNSETTLED, Conversation, row_columns, take_in
from projections.kernel import Delete, RowChange, Upsert, Value
from projections.order import Order
from schemas.events import CustomerOpenConversation, CustomerOpenConversations, Header
from schemas.record import Event

__all__ = ["KEPT_MAX", "KEPT_MIN", "KEPT_US", "LISTED_MAX", "erase", "facet", "fold", "hand_over"]

KEPT_US: Final = 8 * 86_400_000_000
"""Event time for which a settled conversation is kept: a day more than the allowed lateness of a source (log.md §6)."""

KEPT_MIN: Final = 8
"""Conversations that are kept whatever their age: the ones touched last."""

KEPT_MAX: Final = 256
"""Hard limit: above it the settled one, else the open one, with the oldest latest record leaves the state. Its row stays."""

LISTED_MAX: Final = 20
"""Conversations in the facet: those with the latest records."""


def fold(book: dict[str, Conversation], event: Event, order: Order, newest_us: int, rows: list[RowChange], *, contact: bool) -> bool:
    """Take in one event and add its row changes; tell whether the facet changed. Hot path: 1.4 µs.

    `contact` tells whether customer and company met in it; `newest_us` is the greatest event time seen of the customer.
    """
    kind = type(event)
    header = event.header
    conversation_id = header.conversation_id or header.contact_id
    if kind not in TOUCHES or not conversation_id:
        return False
    customer_id = header.customer_id
    home = "" if header.home_customer_id == customer_id else header.home_customer_id
    inbound = header.direction == "inbound"
    columns: dict[str, Value] = {}
    left: str | None = None
    it = book.pop(conversation_id, None)
    begun = it is None
    if it is None:
        it = Conversation(home, inbound, order, order[0], order[0])
        columns = {"customer_id": customer_id, "opened_at": order[0], "last_at": order[0]}
        if len(book) >= KEPT_MIN:
            _prune(book, newest_us)
    elif (inbound and not it.home_inbound) or (inbound == it.home_inbound and order < it.home_order):
        left = it.home
        it.home, it.home_inbound, it.home_order = home, inbound, order
    book[conversation_id] = it  # at the end: the one touched last
    listed = it.status in UNSETTLED
    inside = take_in(it, event, order, columns, contact=contact)
    if header.origin_customer_id is not None and header.origin_customer_id not in it.copied_from:
        it.copied_from.append(header.origin_customer_id)
    if left is not None and left != home:
        rows.append(Delete("conversation", (header.tenant, conversation_id, left or customer_id)))
        columns = row_columns(it, customer_id)
    if columns:
        rows.append(Upsert("conversation", (header.tenant, conversation_id, it.home or customer_id), columns))
    # a new one always writes the facet: else an empty facet would tell that the conversation was once seen open
    return begun or ((listed or it.status in UNSETTLED) and (inside or bool(columns)))


def facet(book: dict[str, Conversation], customer_id: str) -> CustomerOpenConversations:
    """Build the facet: what is not settled, the one with the latest record first. 0.6 µs."""
    open_ones = [(it.last_us, key, it) for key, it in book.items() if it.status in UNSETTLED]
    if len(open_ones) > 1:
        open_ones.sort(reverse=True, key=_by_latest)
    return CustomerOpenConversations(conversations=tuple([_listed(key, it, customer_id) for _, key, it in open_ones[:LISTED_MAX]]))


def hand_over(book: dict[str, Conversation], header: Header, origin: str, rows: list[RowChange]) -> None:
    """Write the rows again of which records were copied from `origin`, whole.

    The two customers' write timestamps have nothing to do with each other until `identity.copied` is read: a row written
    from a copy may have lost to the one that `origin` wrote. From here on it wins.
    """
    for key, it in book.items():
        if origin in it.copied_from:
            it.copied_from.remove(origin)
            rows.append(Upsert("conversation", (header.tenant, key, it.home or header.customer_id), row_columns(it, header.customer_id)))


def erase(book: dict[str, Conversation], header: Header, rows: list[RowChange]) -> None:
    """Close what stands open, as erased, and forget all of them."""
    for key, it in book.items():
        if it.status in UNSETTLED:
            rows.append(Upsert("conversation", (header.tenant, key, it.home or header.customer_id), {"status": "erased"}))
    book.clear()


def _by_latest(item: tuple[int, str, Conversation]) -> tuple[int, str]:
    return item[0], item[1]


def _listed(key: str, it: Conversation, customer_id: str) -> CustomerOpenConversation:
    first_uses = it.channels
    return CustomerOpenConversation(
        conversation_id=key,
        home_customer_id=it.home or customer_id,
        channel=it.channel,
        channels=tuple(first_uses) if len(first_uses) == 1 else tuple(sorted(first_uses, key=lambda channel: (first_uses[channel], channel))),
        status=it.status,
        opened_at_us=it.opened_us,
        last_at_us=it.last_us,
        last_direction=it.direction,
        assignee=it.assignee,
        team=it.team,
        priority=it.priority,
        subject_tags=tuple(sorted(tag for tag, (_, on) in it.tags.items() if on)) if it.tags else (),
    )


def _prune(book: dict[str, Conversation], newest_us: int) -> None:
    """Make room for one more: drop what is settled and old, those touched longest ago first, and what is above the limit."""
    settled = [key for key, it in book.items() if it.status not in UNSETTLED and it.last_us < newest_us - KEPT_US and not it.copied_from]
    for key in settled[: len(book) - KEPT_MIN + 1]:
        del book[key]
    while len(book) >= KEPT_MAX:
        del book[min(book, key=lambda key: (book[key].status in UNSETTLED, book[key].last_us, key))]
