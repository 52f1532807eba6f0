"""What counts as an answer, and to what. Knows events and orders; must not know rules' times, states or the log.

An answer is an agent on the line, a person's public message, a reply of staff in the community, service in a shop, or a
call back that reached the customer: in any channel, unless the rule wants it in the same channel or conversation. What a
bot or an automatic reply says is none. Three more end the matter in their own conversation only: a reply marked as the
answer, the decision that no reply is needed, and the conversation's being resolved or closed; of these the last two
settle it without an answer.
"""

from typing import Final

import msgspec

from projections.order import Order
from schemas import events
from schemas.record import Event

__all__ = ["ANSWERS", "Answer", "answer_of"]


class Answer(msgspec.Struct, frozen=True, array_like=True, order=True, gc=False):
    """One answer. `thread`: its conversation, else its contact; "" for neither.

    `narrow`: only for its own conversation; `settles`: it ends the matter without being an answer.
    """

    order: Order
    type: str
    channel: str
    thread: str
    contact_id: str | None
    narrow: bool = False
    settles: bool = False


ANSWERS: Final[frozenset[type[Event]]] = frozenset(
    {
        events.ContactConnected,
        events.ContactCallbackAttempted,
        events.MessageSent,
        events.MessageNoReplyNeeded,
        events.ThreadReplied,
        events.ThreadMarkedAnswered,
        events.StoreServiceGiven,
        events.ConversationResolved,
        events.ConversationClosed,
    }
)
"""The types that may be answers; `answer_of` looks closer."""

_SETTLE: Final[frozenset[type[Event]]] = frozenset({events.MessageNoReplyNeeded, events.ConversationResolved, events.ConversationClosed})
_NOT_PEOPLE: Final = frozenset({"bot", "customer"})


def answer_of(event: Event, order: Order) -> Answer | None:
    """Return the answer that an event is; None if it is none. Hot path: 0.4 µs for an answer."""
    kind, header = type(event), event.header
    narrow = kind in _SETTLE or kind is events.ThreadMarkedAnswered
    if not narrow and header.actor_kind in _NOT_PEOPLE and kind is not events.ContactConnected:
        return None
    if isinstance(event, events.MessageSent):
        if event.visibility != "public" or event.author != "human":
            return None
    elif isinstance(event, events.ContactConnected):
        if header.actor_kind == "bot":
            return None
    elif isinstance(event, events.ThreadReplied):
        if not event.by_staff:
            return None
    elif isinstance(event, events.ContactCallbackAttempted) and not event.reached:
        return None
    return Answer(order, kind.TYPE, header.channel, header.conversation_id or header.contact_id or "", header.contact_id, narrow, kind in _SETTLE)
