"""The timeline: one row per event of a customer, newest first. Knows every event type; must not know what any of them leads to.

Every record of a customer except `timer.woke` has a row, technical ones included (`hidden`): rebuilding a customer reads
the offsets of its records from here (engine.md §6). Text and names stay sealed; `summary` holds the type's own clear
fields. Events of agents and plans have no timeline.
"""

from datetime import date
from functools import lru_cache
from typing import ClassVar, Final

import msgspec

from projections.kernel import Moment, RowChange, Step, Subject, Timer, Upsert, Value
from schemas.events import EVENT_TYPES, TimerWoke
from schemas.record import Event, Record

__all__ = ["BUCKET_EVENTS_MAX", "HIDDEN_FAMILIES", "HIDDEN_TYPES", "MONTHS_MAX", "Timeline", "TimelineState", "is_hidden"]

BUCKET_EVENTS_MAX: Final = 20_000
"""Events of one month in the month's own bucket; those above it go to buckets of their days, so that no partition passes 10 MB."""

MONTHS_MAX: Final = 600
"""Months (50 years) whose events are counted; events of further ones are kept in their month's bucket, uncounted."""

SUMMARY_CHARS_MAX: Final = 256
"""A longer value in a summary is cut."""

HIDDEN_FAMILIES: Final = frozenset({"alert", "clock", "config", "escalation", "identity", "log", "privacy", "projection", "quality", "timer", "work"})
"""Families that are machinery or supervision, not something that the customer lived through."""

HIDDEN_TYPES: Final = frozenset(
    {
        "contact.dequeued",  # routing: what follows (connected, abandoned, queued again) says it
        "contact.offer_accepted",
        "contact.offer_rejected",
        "contact.offer_timed_out",
        "contact.offered",
        "contact.wrapup_ended",  # the agent's paperwork
        "contact.wrapup_started",
    }
)
"""Single types that are hidden although their family is shown."""

_DAY_US: Final = 86_400_000_000
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_NOT_CUSTOMERS: Final = ("agent:", "plan:")


class TimelineState(msgspec.Struct):
    """Events by month (year * 12 + month - 1): 5 bytes each when stored."""

    months: dict[int, int] = msgspec.field(default_factory=dict)


class _Shape(msgspec.Struct, frozen=True, gc=False):
    """What the timeline knows of an event type: hidden or not, and its own clear fields as (attribute, Avro name)."""

    hidden: bool
    fields: tuple[tuple[str, str], ...]


class Timeline:
    """Writes the rows. Hot path: 1.4 µs per event (`python -m benchmarks.folding`)."""

    name: ClassVar[str] = "timeline"
    version: ClassVar[int] = 1
    handles: ClassVar[frozenset[type[Event]]] = frozenset(EVENT_TYPES.values()) - {TimerWoke}
    depends_on: ClassVar[tuple[str, ...]] = ()
    arms_timers: ClassVar[bool] = False

    def initial(self, subject: Subject) -> TimelineState:  # noqa: ARG002 - every subject starts alike
        """Return a state without events."""
        return TimelineState()

    def apply(self, state: TimelineState, event: Event, at: Moment) -> Step[TimelineState]:
        """Write the event's row and, when its bucket is new, the bucket's."""
        header = event.header
        customer_id = header.customer_id
        if not customer_id or customer_id.startswith(_NOT_CUSTOMERS):
            return Step(state)
        shape = _SHAPES.get(type(event)) or _shape(type(event))
        columns: dict[str, Value] = {
            "channel": header.channel,
            "type": event.TYPE,
            "direction": header.direction,
            "actor_kind": header.actor_kind,
            "hidden": shape.hidden,
            "home_customer_id": header.home_customer_id or customer_id,
            "src_partition": at.partition,
            "src_offset": at.offset,
        }
        _add_known(columns, event)
        if (shape.fields or event.attributes or header.corrects) and (summary := _summary(event, shape)):
            columns["summary"] = summary
        number, month, day = _buckets(header.occurred_at_us // _DAY_US)
        seen = state.months.get(number, 0)
        if seen or len(state.months) < MONTHS_MAX:
            state.months[number] = seen + 1
        bucket = month if seen < BUCKET_EVENTS_MAX else day
        row = Upsert("timeline", (header.tenant, customer_id, bucket, header.occurred_at_us, header.id), columns)
        rows: tuple[RowChange, ...] = (row,)
        if seen == 0 or bucket is day:  # a day's row is written again with each of its events: the state need not know the days
            rows = (row, Upsert("timeline_months", (header.tenant, customer_id, bucket), {}))
        return Step(state, rows)

    def expire(self, state: TimelineState, timer: Timer, at: Moment) -> Step[TimelineState]:  # noqa: ARG002 - it arms none
        """Do nothing: the timeline arms no timers."""
        return Step(state)


def is_hidden(event_type: str) -> bool:
    """Tell whether events of this public type are technical: kept in the timeline, not shown."""
    return event_type in HIDDEN_TYPES or event_type.partition(".")[0] in HIDDEN_FAMILIES


def _shape(kind: type[Event]) -> _Shape:
    own = [f for f in msgspec.structs.fields(kind) if f.name not in Event.__struct_fields__]
    return _Shape(is_hidden(kind.TYPE), tuple((f.name, f.encode_name) for f in own))


_SHAPES: Final[dict[type[Event], _Shape]] = {kind: _shape(kind) for kind in EVENT_TYPES.values()}


def _add_known(columns: dict[str, Value], event: Event) -> None:
    """Add what an event may have or lack: an absent column costs nothing, a null would be a tombstone."""
    header = event.header
    if header.contact_id is not None:
        columns["contact_id"] = header.contact_id
    if header.conversation_id is not None:
        columns["conversation_id"] = header.conversation_id
    if header.case_id is not None:
        columns["case_id"] = header.case_id
    if header.actor_id is not None:
        columns["actor_id"] = header.actor_id
    if event.sealed is not None:
        columns["sealed"] = event.sealed
    if event.sealed_key is not None:
        columns["sealed_key"] = event.sealed_key


def _summary(event: Event, shape: _Shape) -> dict[str, str]:
    """Return the type's own fields that say something, as text; attributes as `attributes.<name>`. All of them are clear."""
    summary: dict[str, str] = {}
    for attribute, name in shape.fields:
        value = getattr(event, attribute)
        if type(value) is str:
            if value:
                summary[name] = value if len(value) <= SUMMARY_CHARS_MAX else value[:SUMMARY_CHARS_MAX]
        elif value is not None and not isinstance(value, bytes | Record):
            summary[name] = _text(value)
    for key, text in event.attributes.items():
        summary[f"attributes.{key}"] = text[:SUMMARY_CHARS_MAX]
    if event.header.corrects:
        summary["corrects"] = event.header.corrects
    return summary


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return ",".join(str(item) for item in value)[:SUMMARY_CHARS_MAX]
    return str(value)[:SUMMARY_CHARS_MAX]


@lru_cache(maxsize=8192)
def _buckets(day: int) -> tuple[int, str, str]:
    """Return (month's number, 'YYYY-MM', 'YYYY-MM-DD') of a day since 1970; days outside the calendar count as its ends."""
    on = date.fromordinal(min(max(day + _EPOCH_DAY, 1), date.max.toordinal()))
    return on.year * 12 + on.month - 1, f"{on.year:04d}-{on.month:02d}", on.isoformat()
