"""The rows of clocks: one per clock, one among the open clocks of a team, one summary per customer. Must not know effects."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from projections.kernel import Delete, RowChange, Upsert, Value
from projections.sla.clock import Clock
from projections.sla.course import Course
from projections.sla.transitions import METRICS, NUMBER, PAUSED, QUEUE_TOTAL, RUNNING
from schemas.record import instant

__all__ = ["GONE_TTL_S", "Summary", "Whose", "brief", "clock_row", "drop_open_row", "open_row", "summarise"]

GONE_TTL_S: Final = 3_600
"""How long a row stays among the open clocks after it moved or closed: readers that page through see where it went."""


class Whose(NamedTuple):
    """Whose clocks: the tenant, the customer, the conversation."""

    tenant: str
    customer_id: str
    conversation_id: str


Summary = tuple[str, str, str, int, int, int, int]
"""Conversation, metric, state and due time of the worst open clock (0: none); running, paused, breached."""

_HOUR_US: Final = 3_600_000_000
_TOTAL: Final = NUMBER[QUEUE_TOTAL]
_LABELS: Final = ("breached", "running", "paused")
_OPEN: Final = (RUNNING, PAUSED)
_NOTHING_OPEN: Final[Summary] = ("", "", "", 0, 0, 0, 0)


@lru_cache(maxsize=4_096)
def _hour(number: int) -> str:
    return instant(number * _HOUR_US).isoformat()[:13]


def clock_row(whose: Whose, clock: Clock, course: Course, known_us: int) -> Upsert:
    """Return a clock's row, whole; `known_us` is what it has consumed for certain. Hot path: 1 µs."""
    running = clock.state == RUNNING
    columns: dict[str, Value] = {
        "state": clock.label,
        "started_at": clock.started_us,
        "due_at": None if clock.state == PAUSED and clock.late_us is None else clock.due_us,
        "stopped_at": clock.stopped_us,
        "first_stopped_at": clock.first_stopped_us,
        "cancelled_at": clock.cancelled_us,
        "breached_at": clock.late_us,
        "running_since": clock.segments[-1] if running and clock.segments else None,
        "consumed_us": known_us,
        "target_s": clock.target_s,
        "policy": clock.policy,
        "calendar": clock.calendar,
        "rules_version": clock.book,
        "team": clock.team,
        "channel": course.channel,
        "home_customer_id": course.home or whose.customer_id,
        "end_to_end": True if clock.metric == _TOTAL else None,
        "cause": clock.cause or None,
        "reason": clock.why or None if clock.cancelled_us is not None else None,
    }
    return Upsert("clock", (*whose, METRICS[clock.metric], clock.instance), columns)


def open_row(whose: Whose, clock: Clock, course: Course, rows: list[RowChange]) -> None:
    """Write a clock's row among the open ones; where its team or due time changed, mark the old one as moved, or closed."""
    tenant, customer_id, conversation_id = whose
    told = clock.told
    team = clock.team or ""
    is_open = clock.state in _OPEN
    due_us = clock.due_us or 0 if is_open else 0
    metric = METRICS[clock.metric]
    before_us = told.open_due_us
    if before_us and (before_us != due_us or told.open_team != team):
        key = (tenant, told.open_team, _hour(before_us // _HOUR_US), before_us, conversation_id, metric, clock.instance)
        gone: dict[str, Value] = {"state": "moved" if is_open else "closed", "customer_id": customer_id}
        gone["channel"], gone["priority"] = course.channel, clock.priority
        rows.append(Upsert("open_clock", key, gone, GONE_TTL_S))
    if due_us:
        key = (tenant, team, _hour(due_us // _HOUR_US), due_us, conversation_id, metric, clock.instance)
        columns: dict[str, Value] = {"state": clock.label, "customer_id": customer_id, "channel": course.channel, "priority": clock.priority}
        rows.append(Upsert("open_clock", key, columns))
    told.open_due_us, told.open_team = due_us, team


def drop_open_row(whose: Whose, clock: Clock, rows: list[RowChange]) -> None:
    """Delete a clock's row among the open ones: another customer writes it from now on, in the same place or elsewhere."""
    told = clock.told
    if told.open_due_us:
        hour = _hour(told.open_due_us // _HOUR_US)
        key = (whose.tenant, told.open_team, hour, told.open_due_us, whose.conversation_id, METRICS[clock.metric], clock.instance)
        rows.append(Delete("open_clock", key))
        told.open_due_us, told.open_team = 0, ""


def brief(clocks: Iterable[Clock]) -> tuple[int, int, int, int, int, int]:
    """Sum up the open clocks of a conversation: rank, due time and metric of the worst one; how many run, are paused, are breached."""
    running = paused = breached = 0
    worst = (9, 0, 0)
    for clock in clocks:
        if clock.late_us is not None:
            rank = 0
            breached += 1
        elif clock.state == RUNNING:
            rank = 1
            running += 1
        else:
            rank = 2
            paused += 1
        if rank <= worst[0]:
            worst = min(worst, (rank, clock.due_us or 0, clock.metric))
    return (*worst, running, paused, breached)


def summarise(courses: Iterable[tuple[str, Course]]) -> Summary:
    """Return a customer's summary over the conversations that have open clocks."""
    running = paused = breached = 0
    worst: tuple[int, int, str, int] = (9, 0, "", 0)
    for conversation_id, course in courses:
        rank, due_us, metric, one, two, three = course.brief
        running += one
        paused += two
        breached += three
        if rank < worst[0] or (rank == worst[0] and (due_us, conversation_id) < worst[1:3]):
            worst = (rank, due_us, conversation_id, metric)
    if not worst[2]:
        return _NOTHING_OPEN
    return (worst[2], METRICS[worst[3]], _LABELS[worst[0]], worst[1], running, paused, breached)
