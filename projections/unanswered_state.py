"""What is kept of contacts that ask for an answer, and the table of their states. Values only; knows no rule and no effect.

    waiting ── due ──▶ unanswered ── answered late ──▶ recovered
       │                   │                               │
       └── answered in time ┴── evidence of an answer in time, arriving late ┴──▶ answered

A verdict follows from three times alone: when the customer asked, when an answer was due, when the first one came.
"""

from enum import StrEnum
from typing import Final

import msgspec

from projections.linked import Links
from projections.order import Order
from projections.unanswered_answers import Answer
from projections.unanswered_facts import Fact

__all__ = ["NEXT", "OPEN", "Answered", "Ask", "Contact", "Found", "UnansweredState", "Wait", "WaitState", "missed", "pending"]


class WaitState(StrEnum):
    """Where a wait stands. `settled`: ended without an answer, as the conversation was resolved or needed no reply."""

    WAITING = "waiting"
    UNANSWERED = "unanswered"
    RECOVERED = "recovered"
    ANSWERED = "answered"
    SETTLED = "settled"


class Found(StrEnum):
    """What is found out about a wait."""

    DUE = "due"
    IN_TIME = "in_time"
    LATE = "late"
    SETTLED = "settled"


_ENDS: Final = {Found.IN_TIME: WaitState.ANSWERED, Found.LATE: WaitState.RECOVERED, Found.SETTLED: WaitState.SETTLED}

NEXT: Final[dict[WaitState, dict[Found, WaitState]]] = {
    WaitState.WAITING: {Found.DUE: WaitState.UNANSWERED, **_ENDS},
    WaitState.UNANSWERED: _ENDS,
    WaitState.RECOVERED: _ENDS,
    WaitState.SETTLED: _ENDS,
    WaitState.ANSWERED: {Found.IN_TIME: WaitState.ANSWERED, Found.SETTLED: WaitState.SETTLED},
}
"""State -> what is found out -> the next state. An ended wait changes only by evidence of an earlier answer."""


class Ask(msgspec.Struct, array_like=True, gc=False):
    """One event by which a customer asked, with what a rule's condition wants to know of it. `book`: the version of the rules."""

    order: Order
    type: str
    stage: str | None
    channel: str
    direction: str
    book: int
    silent: bool


class Answered(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What answered first: the part of an `Answer` that a wait has to remember."""

    order: Order
    type: str
    channel: str
    settles: bool


class Wait(msgspec.Struct, array_like=True, gc=False):
    """One contact under one rule. `due_us` None: the calendar never opens again.

    `told`: it was told that nobody answered in time, and not taken back; `cleared`: that somebody did then was told too. `turn`
    counts how often what was told has changed: even while it stands, odd when it was taken back. What follows `answer` is what
    an alert wants to know.
    """

    rule: str
    book: int
    asked: Order
    channel: str
    recovered_by: str
    due_us: int | None
    state: str
    turn: int = 0
    told: bool = False
    cleared: bool = False
    silent: bool = False
    answer: Answered | None = None
    calendar: str = ""
    team: str = ""
    queue: str | None = None
    assignee: str | None = None
    priority: str | None = None


class Contact(msgspec.Struct, array_like=True):
    """One contact that asked: by its contact id; a message, post or form by its own.

    `thread` is its conversation, or itself where it belongs to none; `home` that of the first ask, "" is the customer's own. `turns`: how
    often what was told of waits had changed that were withdrawn, by their rules: one that comes again counts on from there. `copying`:
    records are being copied from these customers.
    """

    id: str
    thread: str
    home: str
    case_id: str | None
    asks: list[Ask] = msgspec.field(default_factory=list)
    waits: list[Wait] = msgspec.field(default_factory=list)
    turns: dict[str, int] = msgspec.field(default_factory=dict)
    copying: list[str] = msgspec.field(default_factory=list)


OPEN: Final = frozenset({WaitState.WAITING, WaitState.UNANSWERED})
"""The states in which a customer still waits."""


class UnansweredState(msgspec.Struct, array_like=True):
    """One customer. `facts` by conversation, the one touched last at the end; `answers` in order of event time.

    `open`: the contacts in which somebody still waits; `closed`: those of late that evidence may still change; `asked`: the
    latest moment at which the customer asked; `links`: the customers that are one with this one, and who has it all; `moved` is the place of what
    stood there before they were kept, in states that were stored then.
    """

    tenant: str
    customer_id: str
    facts: dict[str, list[Fact]] = msgspec.field(default_factory=dict)
    answers: list[Answer] = msgspec.field(default_factory=list)
    open: dict[str, Contact] = msgspec.field(default_factory=dict)
    closed: dict[str, Contact] = msgspec.field(default_factory=dict)
    asked: Order | None = None
    moved: bool = False
    links: Links = msgspec.field(default_factory=Links)


def pending(wait: Wait) -> bool:
    """Tell whether its timer is still to come: somebody waits, or was answered too late and nobody was told of it yet."""
    return wait.state == WaitState.WAITING or (not wait.told and missed(wait))


def missed(wait: Wait) -> bool:
    """Tell whether no answer came in time."""
    if wait.state in {WaitState.UNANSWERED, WaitState.RECOVERED}:
        return True
    return wait.state == WaitState.SETTLED and wait.answer is not None and wait.due_us is not None and wait.answer.order[0] > wait.due_us
