"""One row of a timeline and one of a conversation, typed: what readers hand out. Text and names in them are still sealed."""

from typing import NamedTuple

import msgspec

from schemas.sealing import SealedItem
from streams.store.columns import Row, integer, text, text_map, text_or_none

__all__ = ["ConversationRow", "Position", "TimelineRow", "sealed_item"]


class Position(NamedTuple):
    """Where a row stands in a timeline: newest first, at one instant by event id."""

    occurred_at_us: int
    event_id: str


class TimelineRow(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a customer. `sealed` is the personal part with all that opening it takes; None if there was none."""

    tenant: str
    customer_id: str
    occurred_at_us: int
    event_id: str
    channel: str
    type: str
    direction: str
    actor_kind: str
    actor_id: str | None
    contact_id: str | None
    conversation_id: str | None
    case_id: str | None
    hidden: bool
    home_customer_id: str
    summary: dict[str, str]
    sealed: SealedItem | None

    @property
    def position(self) -> Position:
        """Where it stands."""
        return Position(self.occurred_at_us, self.event_id)

    @property
    def family(self) -> str:
        """The family of its type: `message` of `message.received`."""
        return self.type.partition(".")[0]

    @classmethod
    def of(cls, row: Row) -> "TimelineRow":
        """Build it from a row of `timeline_vN`."""
        tenant, event_id = text(row, "tenant"), text(row, "event_id")
        return cls(
            tenant=tenant,
            customer_id=text(row, "customer_id"),
            occurred_at_us=integer(row, "occurred_at"),
            event_id=event_id,
            channel=text(row, "channel", "other"),
            type=text(row, "type", ""),
            direction=text(row, "direction", "internal"),
            actor_kind=text(row, "actor_kind", "system"),
            actor_id=text_or_none(row, "actor_id"),
            contact_id=text_or_none(row, "contact_id"),
            conversation_id=text_or_none(row, "conversation_id"),
            case_id=text_or_none(row, "case_id"),
            hidden=bool(row["hidden"]),
            home_customer_id=text(row, "home_customer_id", ""),
            summary=text_map(row, "summary"),
            sealed=sealed_item(row, tenant, event_id),
        )


class ConversationRow(msgspec.Struct, frozen=True, kw_only=True):
    """One conversation as it stands; its key is its id and its home (log.md §5)."""

    tenant: str
    conversation_id: str
    home_customer_id: str
    customer_id: str
    status: str
    channels: tuple[str, ...]
    opened_at_us: int
    last_at_us: int
    last_direction: str | None
    last_channel: str | None
    assignee: str | None
    team: str | None
    priority: str | None

    @classmethod
    def of(cls, row: Row) -> "ConversationRow":
        """Build it from a row of `conversation_vN`."""
        channels = row["channels"]
        return cls(
            tenant=text(row, "tenant"),
            conversation_id=text(row, "conversation_id"),
            home_customer_id=text(row, "home_customer_id"),
            customer_id=text(row, "customer_id", ""),
            status=text(row, "status", "open"),
            channels=tuple(sorted(channels)) if isinstance(channels, frozenset) else (),
            opened_at_us=integer(row, "opened_at", 0),
            last_at_us=integer(row, "last_at", 0),
            last_direction=text_or_none(row, "last_direction"),
            last_channel=text_or_none(row, "last_channel"),
            assignee=text_or_none(row, "assignee"),
            team=text_or_none(row, "team"),
            priority=text_or_none(row, "priority"),
        )


def sealed_item(row: Row, tenant: str, event_id: str) -> SealedItem | None:
    """Return a row's sealed part; None unless both the part and the name of its key are there."""
    sealed, sealed_key = row["sealed"], row["sealed_key"]
    return SealedItem(tenant, event_id, sealed, sealed_key) if isinstance(sealed, bytes) and isinstance(sealed_key, str) else None
