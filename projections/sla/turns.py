"""One turn of a conversation: what an event means to its clocks, in a few dozen bytes. Knows events; must not know clocks.

A turn holds no text and nothing personal. Turns stand in the `Order` of their events, so a conversation can be read again from
its turns when an earlier one arrives late.
"""

from typing import Final, Literal

import msgspec

from projections.conversation import SAID
from projections.order import Order
from schemas import events
from schemas.events import Header
from schemas.record import Event

__all__ = ["KINDS", "TOUCHES", "Kind", "Turn", "turn_of"]

Kind = Literal[
    "asked", "replied", "bot_replied", "auto_replied", "connected", "joined", "queued", "dequeued", "abandoned", "ended", "began",
    "opened", "status", "snoozed", "resolved", "closed", "reopened", "assigned", "returned", "no_reply", "bot_began", "bot_ended",
    "handed", "fact", "segment", "rules", "merged", "noted",
]  # fmt: skip
"""What happened. `began`: a contact began that asks for nothing (an outbound call); `fact`: priority, tags, attributes or
team; `noted`: nothing, but it corrects something that meant more."""


class Turn(msgspec.Struct, array_like=True, gc=False):
    """One turn. About 90 bytes stored, most of it the event's id.

    `type` and `direction` are kept of what the customer did, `type` of what happened to cases.
    `book` is the version of the rules that were in force at its time when it was read. `value` is the queue, the status as the
    source says it, the priority, the tag or segment (`-` before one that was taken away), the stage of an abandon, the case or
    conversation merged into. `until_us` is the end of a snooze. `elsewhere` is set on what happened outside the conversation:
    `case` (in another conversation of its case) or `customer` (somewhere in the customer's life).
    """

    order: Order
    kind: Kind
    book: int
    type: str = ""
    channel: str = ""
    direction: str = ""
    agent: str | None = None
    team: str | None = None
    value: str | None = None
    priority: str | None = None
    attributes: dict[str, str] | None = None
    until_us: int = 0
    elsewhere: str = ""
    conversation: str = ""
    case: str | None = None


KINDS: Final[dict[type[Event], Kind]] = {
    events.BotContained: "resolved",
    events.BotEnded: "bot_ended",
    events.BotHandoffAccepted: "joined",
    events.BotHandoffRequested: "handed",
    events.BotStarted: "bot_began",
    events.CaseClosed: "closed",
    events.CaseLinked: "fact",
    events.CaseMerged: "merged",
    events.CaseOpened: "opened",
    events.CaseReopened: "reopened",
    events.CaseResolved: "resolved",
    events.CaseSplit: "opened",
    events.ContactAbandoned: "abandoned",
    events.ContactCallbackAttempted: "replied",
    events.ContactCallbackRequested: "asked",
    events.ContactCompleted: "ended",
    events.ContactConnected: "connected",
    events.ContactDequeued: "dequeued",
    events.ContactDisconnected: "ended",
    events.ContactInitiated: "asked",
    events.ContactQueued: "queued",
    events.ContactTransferred: "dequeued",
    events.ContactVoicemailLeft: "asked",
    events.ConversationAssigned: "assigned",
    events.ConversationClosed: "closed",
    events.ConversationOpened: "opened",
    events.ConversationPriorityChanged: "fact",
    events.ConversationReopened: "reopened",
    events.ConversationResolved: "resolved",
    events.ConversationReturnedToQueue: "returned",
    events.ConversationSnoozed: "snoozed",
    events.ConversationStatusChanged: "status",
    events.ConversationTagged: "fact",
    events.ConversationUnassigned: "returned",
    events.ConversationUntagged: "fact",
    events.MessageNoReplyNeeded: "no_reply",
    events.MessageReceived: "asked",
    events.MessageSent: "replied",
    events.ProfileSegmentEntered: "segment",
    events.ProfileSegmentLeft: "segment",
    events.StoreFormLeft: "asked",
    events.StoreServiceGiven: "replied",
    events.StoreVisit: "asked",
    events.ThreadMarkedAnswered: "resolved",
    events.ThreadPosted: "asked",
    events.ThreadReplied: "replied",
}
"""Event type -> what it means, before `turn_of` looks closer."""

TOUCHES: Final = frozenset(KINDS)
"""The event types that clocks look at."""

_SPEECH_CHANNELS: Final = frozenset({"phone", "other", "store"})
"""Where an agent who takes the contact thereby answers; in a chat the first message does."""

_NO_PEOPLE: Final = frozenset({"auto", "automation", "bot", "customer", "end_user", "macro", "survey", "system"})
"""Roles, as of the event, whose words are no person's answer (sla.md §2)."""

_TAKEN: Final = frozenset({"accepted", "agent", "answered", "connected", "offered"})
"""Reasons of `contact.dequeued` that say that the contact is on its way to an agent."""


_CUSTOMERS: Final = frozenset({"asked", "abandoned"})
"""Kinds of which the type and direction matter: conditions see what the customer did last."""


def turn_of(event: Event, order: Order, book: int) -> Turn | None:
    """Return what an event means; None if it means nothing to clocks. `book` is the version in force at its time. Hot path: 1 µs."""
    kind = KINDS[type(event)]
    header = event.header
    kind_name = event.TYPE
    turn = Turn(order, kind, book, kind_name, header.channel, header.direction, header.actor_id, header.actor_team)
    if event.attributes:
        turn.attributes = event.attributes
    reader = _CLOSER.get(type(event))
    if reader is None or reader(turn, event, header):
        if turn.kind not in _CUSTOMERS and kind_name[:5] != "case.":
            turn.type = turn.direction = ""
        return turn
    return None if header.corrects is None else Turn(order, "noted", book)


def _sent(turn: Turn, event: Event, header: Header) -> bool:
    """Sort a sent message by who speaks: only a person's public words are a reply."""
    if not isinstance(event, events.MessageSent) or event.visibility != "public":
        return False
    if event.author == "human" and header.actor_kind not in {"bot", "customer"} and (header.actor_role or "").lower() not in _NO_PEOPLE:
        return True
    turn.kind = "bot_replied" if event.author == "bot" or header.actor_kind == "bot" else "auto_replied"
    return True


def _replied(turn: Turn, event: Event, header: Header) -> bool:
    """Sort a thread's replies: staff answer; the customer's own one asks again; others' are talk."""
    if isinstance(event, events.ThreadReplied) and not event.by_staff:
        turn.kind = "asked"
        return header.actor_kind == "customer"
    return True


def _attempted(turn: Turn, event: Event, header: Header) -> bool:  # noqa: ARG001 - one signature
    return isinstance(event, events.ContactCallbackAttempted) and event.reached


def _initiated(turn: Turn, event: Event, header: Header) -> bool:
    if isinstance(event, events.ContactInitiated):
        turn.value = event.queue
    if header.direction == "outbound":
        turn.kind = "began"
    return True


def _queued(turn: Turn, event: Event, header: Header) -> bool:  # noqa: ARG001 - one signature
    if isinstance(event, events.ContactQueued):
        turn.value, turn.priority = event.queue, event.priority or None
    return True


def _dequeued(turn: Turn, event: Event, header: Header) -> bool:  # noqa: ARG001 - one signature
    """Leave out what is on its way to an agent: that is no leaving."""
    if isinstance(event, events.ContactDequeued):
        turn.value = event.queue
        if event.reason == "abandoned":
            turn.kind, turn.value = "abandoned", "queue"
        return event.reason not in _TAKEN
    return isinstance(event, events.ContactTransferred) and event.kind in {"queue", "external"}


def _connected(turn: Turn, event: Event, header: Header) -> bool:
    """See who takes it: a bot leads; an agent who takes a call answers, one who takes a chat has yet to write."""
    if isinstance(event, events.ContactConnected):
        turn.agent, turn.value = event.agent or header.actor_id, event.queue or None
        if header.actor_kind == "bot":
            turn.kind = "bot_began"
        elif header.channel not in _SPEECH_CHANNELS:
            turn.kind = "joined"
    return True


def _joined(turn: Turn, event: Event, header: Header) -> bool:  # noqa: ARG001 - one signature
    if isinstance(event, events.BotHandoffAccepted):
        turn.agent = event.agent or None
    return True


def _assigned(turn: Turn, event: Event, header: Header) -> bool:  # noqa: ARG001 - one signature
    if not isinstance(event, events.ConversationAssigned):
        return False
    turn.agent, turn.team = event.agent or None, event.team or None
    return bool(turn.agent or turn.team)


def _changed(turn: Turn, event: Event, header: Header) -> bool:  # noqa: ARG001 - one signature
    """Name a status in our words where we have one; resolved and closed are turns of their own."""
    if isinstance(event, events.ConversationStatusChanged):
        word = event.to.strip().lower()
        turn.value = SAID.get(word, word) or "open"
        if turn.value == "resolved":
            turn.kind = "resolved"
        elif turn.value == "closed":
            turn.kind = "closed"
    return True


def _snoozed(turn: Turn, event: Event, header: Header) -> bool:  # noqa: ARG001 - one signature
    if isinstance(event, events.ConversationSnoozed):
        turn.until_us = event.until_us
    return True


def _named(turn: Turn, event: Event, header: Header) -> bool:  # noqa: ARG001 - one signature
    match event:
        case events.ConversationPriorityChanged():
            turn.priority = event.priority or None
        case events.ConversationTagged():
            turn.value = "+" + event.tag
        case events.ConversationUntagged():
            turn.value = "-" + event.tag
        case events.ProfileSegmentEntered():
            turn.value = "+" + event.segment
        case events.ProfileSegmentLeft():
            turn.value = "-" + event.segment
        case events.ContactAbandoned():
            turn.value = event.stage
        case events.CaseMerged():
            turn.value = event.into
        case _:
            return False
    return True


_CLOSER: Final = {
    events.BotHandoffAccepted: _joined,
    events.CaseMerged: _named,
    events.ContactAbandoned: _named,
    events.ContactCallbackAttempted: _attempted,
    events.ContactConnected: _connected,
    events.ContactDequeued: _dequeued,
    events.ContactInitiated: _initiated,
    events.ContactQueued: _queued,
    events.ContactTransferred: _dequeued,
    events.ConversationAssigned: _assigned,
    events.ConversationPriorityChanged: _named,
    events.ConversationSnoozed: _snoozed,
    events.ConversationStatusChanged: _changed,
    events.ConversationTagged: _named,
    events.ConversationUntagged: _named,
    events.MessageSent: _sent,
    events.ProfileSegmentEntered: _named,
    events.ProfileSegmentLeft: _named,
    events.ThreadReplied: _replied,
}
"""Event type -> what looks closer; it fills in the turn and tells whether the event means anything at all."""
