"""One conversation: its status, channels, owner, priority and tags. Knows events; must not know the customer's other conversations.

Every value is the one of the latest event, by `Order`, that speaks of it, or a minimum, or a set: so the order of arrival
does not matter. Status, from `STATUS`:

    open ── status_changed ──> pending, on_hold ── the customer writes ──> open
    open ── snoozed ─────────> snoozed ─────────── the customer writes ──> open
    open ── resolved ────────> resolved ────────── the customer writes, reopened ──> open
    open ── closed, or the contact ends ──> closed ─ the customer comes back ──> open
    open ── the person is erased ─> erased: for good, see `projections/conversations.py`
"""

from collections.abc import Callable
from typing import Final, Literal

import msgspec

from projections.kernel import Value
from projections.order import Order
from schemas import events
from schemas.events import Channel, Direction, Header
from schemas.record import Event

__all__ = ["SAID", "STATUS", "TAGS_MAX", "TOUCHES", "UNSETTLED", "Conversation", "Status", "row_columns", "take_in"]

Status = Literal["", "open", "pending", "on_hold", "snoozed", "resolved", "closed", "erased"]

TAGS_MAX: Final = 32
"""Tags of a conversation that are remembered, set or taken away: those changed last."""

UNSETTLED: Final = frozenset({"open", "pending", "on_hold", "snoozed"})

STATUS: Final[dict[type[Event], Status]] = {
    events.BotContained: "resolved",
    events.BotHandoffAccepted: "open",
    events.BotHandoffRequested: "open",
    events.BotStarted: "open",
    events.CaseClosed: "closed",
    events.CaseMerged: "closed",
    events.CaseReopened: "open",
    events.CaseResolved: "resolved",
    events.ContactAbandoned: "closed",
    events.ContactCallbackRequested: "open",
    events.ContactCompleted: "closed",
    events.ContactConnected: "open",
    events.ContactDisconnected: "closed",
    events.ContactInitiated: "open",
    events.ContactQueued: "open",
    events.ContactVoicemailLeft: "open",
    events.ConversationClosed: "closed",
    events.ConversationOpened: "open",
    events.ConversationReopened: "open",
    events.ConversationResolved: "resolved",
    events.ConversationSnoozed: "snoozed",
    events.MessageReceived: "open",
    events.StoreFormLeft: "open",
    events.ThreadEscalated: "open",
    events.ThreadMarkedAnswered: "resolved",
    events.ThreadPosted: "open",
}
"""Event type -> the status that it leaves behind. `conversation.status_changed` names its own (`SAID`)."""

SAID: Final[dict[str, Status]] = {
    "open": "open", "new": "open", "active": "open",
    "pending": "pending", "waiting": "pending",
    "on_hold": "on_hold", "on-hold": "on_hold", "hold": "on_hold",
    "snoozed": "snoozed",
    "resolved": "resolved", "solved": "resolved", "done": "resolved",
    "closed": "closed", "archived": "closed",
}  # fmt: skip
"""What sources call a status -> ours. A word that is not here means open."""

_OPENS_IF_UNKNOWN: Final[frozenset[type[Event]]] = frozenset({events.MessageSent, events.ThreadReplied, events.ContactTransferred})
"""They leave a status as it is; where none is known, the conversation is open."""

TOUCHES: Final[frozenset[type[Event]]] = (
    frozenset(STATUS)
    | _OPENS_IF_UNKNOWN
    | {
        events.BotEnded,
        events.ContactCallbackAttempted,
        events.ContactHeld,
        events.ContactMenuSelected,
        events.ContactResumed,
        events.ConversationAssigned,
        events.ConversationPriorityChanged,
        events.ConversationReturnedToQueue,
        events.ConversationStatusChanged,
        events.ConversationTagged,
        events.ConversationUnassigned,
        events.ConversationUntagged,
        events.MessageNoReplyNeeded,
        events.StoreServiceGiven,
        events.StoreVisit,
    }
)
"""Types that belong to a conversation's life. Surveys, receipts and paperwork do not: they must not begin one anew."""


class Conversation(msgspec.Struct, array_like=True, gc=False):
    """What the state holds of one conversation, by its id: about 350 bytes stored, id included. Times are epoch µs.

    `home` is "" where the home is the customer itself, which it nearly always is.
    """

    home: str
    home_inbound: bool
    home_order: Order
    opened_us: int
    last_us: int
    spoken: Order | None = None
    channel: Channel = "other"
    direction: Direction = "internal"
    channels: dict[str, int] = msgspec.field(default_factory=dict)
    status: Status = ""
    status_order: Order | None = None
    assignee: str | None = None
    assignee_order: Order | None = None
    team: str | None = None
    team_order: tuple[int, Order] | None = None
    priority: str | None = None
    priority_order: Order | None = None
    tags: dict[str, tuple[Order, bool]] = msgspec.field(default_factory=dict)
    copied_from: list[str] = msgspec.field(default_factory=list)


def take_in(it: Conversation, event: Event, order: Order, columns: dict[str, Value], *, contact: bool) -> bool:
    """Bring the conversation up to the event; note changed columns.

    Tell whether something changed that no column shows: its tags, or which channel came first.
    """
    kind = type(event)
    at_us = order[0]
    if at_us > it.last_us:
        it.last_us = columns["last_at"] = at_us
    if at_us < it.opened_us:
        it.opened_us = columns["opened_at"] = at_us
    inside = contact and _note_contact(it, event.header, order, columns)
    status = STATUS.get(kind) or (SAID.get(event.to.strip().lower(), "open") if isinstance(event, events.ConversationStatusChanged) else None)
    if status is None:
        if not it.status and kind in _OPENS_IF_UNKNOWN:
            it.status = columns["status"] = "open"
    elif it.status_order is None or order > it.status_order:
        it.status_order = order
        if it.status != status:
            it.status = columns["status"] = status
    register = _REGISTERS.get(kind)
    return (register is not None and register(it, event, order, columns)) or inside


def _note_contact(it: Conversation, header: Header, order: Order, columns: dict[str, Value]) -> bool:
    channel = header.channel
    earlier = False
    first_us = it.channels.get(channel)
    if first_us is None:
        it.channels[channel] = order[0]
        columns["channels"] = frozenset(it.channels)
    elif order[0] < first_us:
        it.channels[channel] = order[0]
        earlier = True
    if it.spoken is None or order > it.spoken:
        new = it.spoken is None
        it.spoken = order
        if new or it.direction != header.direction:
            it.direction = columns["last_direction"] = header.direction
        if new or it.channel != channel:
            it.channel = columns["last_channel"] = channel
    if header.actor_kind == "agent" and header.actor_team:
        _set_team(it, header.actor_team, (0, order), columns)
    return earlier


def row_columns(it: Conversation, customer_id: str) -> dict[str, Value]:
    """Return the whole row, without what is not known."""
    columns: dict[str, Value] = {"customer_id": customer_id, "opened_at": it.opened_us, "last_at": it.last_us}
    if it.status:
        columns["status"] = it.status
    if it.channels:
        columns["channels"] = frozenset(it.channels)
    if it.spoken is not None:
        columns["last_direction"], columns["last_channel"] = it.direction, it.channel
    owned = {"assignee": it.assignee, "team": it.team, "priority": it.priority}
    columns.update({name: value for name, value in owned.items() if value is not None})
    return columns


# -- registers: values with an owner's or a desk's decision behind them ---------------------------------------------------


def _set_assignee(it: Conversation, agent: str | None, order: Order, columns: dict[str, Value]) -> None:
    if it.assignee_order is None or order > it.assignee_order:
        it.assignee_order = order
        if it.assignee != agent:
            it.assignee = columns["assignee"] = agent


def _set_team(it: Conversation, team: str, order: tuple[int, Order], columns: dict[str, Value]) -> None:
    """Set the team; one that was assigned (1) stands above one that merely answered (0)."""
    if it.team_order is None or order > it.team_order:
        it.team_order = order
        if it.team != team:
            it.team = columns["team"] = team


def _set_priority(it: Conversation, priority: str | None, order: Order, columns: dict[str, Value]) -> None:
    if priority and (it.priority_order is None or order > it.priority_order):
        it.priority_order = order
        if it.priority != priority:
            it.priority = columns["priority"] = priority


def _assigned(it: Conversation, event: Event, order: Order, columns: dict[str, Value]) -> bool:
    if isinstance(event, events.ConversationAssigned):
        _set_assignee(it, event.agent, order, columns)
        if event.team:
            _set_team(it, event.team, (1, order), columns)
    return False


def _taken(it: Conversation, event: Event, order: Order, columns: dict[str, Value]) -> bool:
    if isinstance(event, events.ContactConnected | events.BotHandoffAccepted) and event.agent:
        _set_assignee(it, event.agent, order, columns)
    return False


def _freed(it: Conversation, event: Event, order: Order, columns: dict[str, Value]) -> bool:  # noqa: ARG001 - one signature
    _set_assignee(it, None, order, columns)
    return False


def _prioritised(it: Conversation, event: Event, order: Order, columns: dict[str, Value]) -> bool:
    if isinstance(event, events.ConversationPriorityChanged | events.ContactQueued):
        _set_priority(it, event.priority, order, columns)
    return False


def _tagged(it: Conversation, event: Event, order: Order, columns: dict[str, Value]) -> bool:  # noqa: ARG001 - one signature
    if not isinstance(event, events.ConversationTagged | events.ConversationUntagged):
        return False
    before = it.tags.get(event.tag)
    if before is not None and order <= before[0]:
        return False
    it.tags[event.tag] = (order, isinstance(event, events.ConversationTagged))
    if len(it.tags) > TAGS_MAX:
        del it.tags[min(it.tags, key=lambda tag: it.tags[tag][0])]
    return True


_Register = Callable[[Conversation, Event, Order, dict[str, Value]], bool]
_REGISTERS: Final[dict[type[Event], _Register]] = {
    events.BotHandoffAccepted: _taken,
    events.ContactConnected: _taken,
    events.ContactQueued: _prioritised,
    events.ConversationAssigned: _assigned,
    events.ConversationPriorityChanged: _prioritised,
    events.ConversationReturnedToQueue: _freed,
    events.ConversationTagged: _tagged,
    events.ConversationUnassigned: _freed,
    events.ConversationUntagged: _tagged,
}
"""Event type -> what it says beside the status. Each returns whether it changed the tags."""
