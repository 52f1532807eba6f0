"""A customer's latest contacts over all channels: one entry per conversation, with the latest thing said in it.

Knows which events are contacts (`is_contact`); must not know a conversation's status.
"""

from typing import Final

import msgspec

from projections.order import Order
from schemas import events
from schemas.events import Channel, CustomerContactEntry, CustomerLastContacts, Direction
from schemas.record import Event

__all__ = ["CONTACTS", "LAST_CONTACTS_MAX", "Entry", "facet", "fold", "is_contact"]

LAST_CONTACTS_MAX: Final = 10
"""Entries in the facet, by event time."""

CONTACTS: Final[frozenset[type[Event]]] = frozenset(
    {
        events.BotContained,
        events.BotEnded,
        events.BotHandoffAccepted,
        events.BotHandoffRequested,
        events.BotStarted,
        events.ContactAbandoned,
        events.ContactCallbackAttempted,
        events.ContactCallbackRequested,
        events.ContactCompleted,
        events.ContactConnected,
        events.ContactDisconnected,
        events.ContactHeld,
        events.ContactInitiated,
        events.ContactMenuSelected,
        events.ContactQueued,
        events.ContactResumed,
        events.ContactTransferred,
        events.ContactVoicemailLeft,
        events.MessageReceived,
        events.MessageSent,
        events.StoreFormLeft,
        events.StoreServiceGiven,
        events.StoreVisit,
        events.ThreadPosted,
        events.ThreadReplied,
    }
)
"""Events in which the customer and we met. Internal notes are none: see `is_contact`."""


class Entry(msgspec.Struct, array_like=True, gc=False):
    """The latest event of one conversation, by the conversation's id; `order` holds event time and the event's id.

    Without a conversation (`in_conversation` is false) it is kept by the contact's id, else by its own.
    """

    order: Order
    in_conversation: bool
    channel: Channel
    direction: Direction
    type: str
    team: str | None


def is_contact(event: Event) -> bool:
    """Tell whether the customer and we met in this event: no internal note, nothing technical."""
    return type(event) in CONTACTS and not (type(event) is events.MessageSent and event.visibility == "internal")


def fold(book: dict[str, Entry], event: Event, order: Order) -> bool:
    """Take in a contact; tell whether the facet changed. Hot path: 0.4 µs.

    What falls out when there are too many may come back with a later event only, which is then the latest of its
    conversation: so the ten that stay are the same for every order of arrival.
    """
    header = event.header
    key = header.conversation_id or header.contact_id or header.id
    entry = book.get(key)
    if entry is not None:
        if order <= entry.order:
            return False
        entry.order, entry.in_conversation = order, bool(header.conversation_id)
        entry.channel, entry.direction = header.channel, header.direction
        entry.type, entry.team = event.TYPE, header.actor_team
        return True
    book[key] = Entry(order, bool(header.conversation_id), header.channel, header.direction, event.TYPE, header.actor_team)
    if len(book) > LAST_CONTACTS_MAX:
        oldest = min(book, key=lambda k: book[k].order)
        del book[oldest]
        return oldest != key
    return True


def facet(book: dict[str, Entry]) -> CustomerLastContacts:
    """Build the facet: newest first. 1 µs with one to four entries."""
    entries = list(book.items())
    if len(entries) > 1:
        entries.sort(key=_by_order, reverse=True)
    return CustomerLastContacts(
        contacts=tuple(
            [
                CustomerContactEntry(
                    id=e.order[3],
                    conversation_id=key if e.in_conversation else None,
                    channel=e.channel,
                    direction=e.direction,
                    type=e.type,
                    at_us=e.order[0],
                    actor_team=e.team,
                )
                for key, e in entries
            ]
        )
    )


def _by_order(item: tuple[str, Entry]) -> Order:
    return item[1].order
