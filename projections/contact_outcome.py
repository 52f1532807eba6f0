"""What became of a contact in each queue that it entered. Knows events of contacts; must not know figures, slots or customers.

A contact is judged by its few facts in order of their time, never of their arrival. It **enters** a queue (`contact.queued`),
and that stay ends in one of three ways:

- **answered**: the first connect of an agent. What comes after it is no second answer, and no second stay either: a transfer
  into another queue by the agent who had answered is not offered again.
- **abandoned**: the contact was over (abandoned, disconnected, completed) before anybody had answered.
- **flow-out**: it left for another queue, for a voicemail, a callback or the outside. A source that says `dequeued` while it
  rings an agent is put right by the `connected` or `abandoned` that follows.

Nothing is invented: a connect of somebody who never entered a queue is no stay, an abandon in the menu neither.
"""

from typing import Final

from schemas import events
from schemas.record import Event

__all__ = ["ABANDONED", "ANSWERED", "FLOW_OUT", "HANDLES", "WAITING", "Fact", "Outcome", "fact_of", "goes_on", "outcomes"]

WAITING: Final = 0
ANSWERED: Final = 1
ABANDONED: Final = 2
FLOW_OUT: Final = 3

Fact = tuple[int, int, int, str, str, int]
"""(event time in epoch µs, source_seq or -1, step, queue, channel, append time in µs): sorts as it happened."""

Outcome = tuple[int, str, str, int, int]
"""(entered at, epoch µs; queue; channel; `WAITING` ...; the wait in µs, 0 while waiting and for a flow-out)."""

# the steps of a contact; at one instant they happen in this order
_NOT: Final = 0
_TRANSFERRED: Final = 1
_QUEUED: Final = 2
_LEFT: Final = 3
_ASIDE: Final = 4
_CONNECTED: Final = 5
_HUNG_UP: Final = 6
_OVER: Final = 7
_ENDS: Final = frozenset({_HUNG_UP, _OVER})

_STEPS: Final[dict[type[Event], int]] = {
    events.ContactTransferred: _TRANSFERRED,
    events.ContactQueued: _QUEUED,
    events.ContactDequeued: _LEFT,
    events.ContactVoicemailLeft: _ASIDE,
    events.ContactCallbackRequested: _ASIDE,
    events.ContactConnected: _CONNECTED,
    events.ContactAbandoned: _HUNG_UP,
    events.ContactDisconnected: _OVER,
    events.ContactCompleted: _OVER,
}

HANDLES: Final = frozenset(_STEPS)
"""The event types that are facts of a contact."""


def fact_of(event: Event, appended_us: int) -> Fact | None:
    """Return what an event says of its contact; None if nothing: who is called by us waits in no queue, and a bot is no agent."""
    header = event.header
    step = _STEPS[type(event)]
    queue = ""
    if isinstance(event, events.ContactQueued):
        if header.direction == "outbound":
            return None
        queue = event.queue
    elif isinstance(event, events.ContactDequeued):
        queue = event.queue
        if event.reason == "abandoned":
            step = _HUNG_UP
    elif isinstance(event, events.ContactConnected):
        if header.actor_kind == "bot":
            return None
        queue = event.queue
    seq = header.source_seq
    return (header.occurred_at_us, -1 if seq is None else seq, step, queue, header.channel if step == _QUEUED else "", appended_us)


def goes_on(fact: Fact) -> bool:
    """Tell whether what comes after this fact can matter: after the first connect nothing does."""
    return fact[2] != _CONNECTED


def outcomes(facts: list[Fact]) -> tuple[list[Outcome], bool]:
    """Judge a contact by its facts, sorted. Return its stays, and whether the last of them is decided for good."""
    stays: list[Outcome] = []
    queue: str | None = None
    channel, entered_us = "", 0
    left = _NOT
    for at_us, _, step, where, said_channel, _ in facts:
        if step == _QUEUED:
            if queue is not None and queue != where:
                stays.append((entered_us, queue, channel, FLOW_OUT, 0))
            if queue != where:
                queue, channel, entered_us = where, said_channel, at_us
            left = _NOT
        elif queue is not None and (step in _ENDS or step == _CONNECTED):
            end = _end(step, left, elsewhere=where not in {"", queue})
            stays.append((entered_us, queue, channel, end, 0 if end == FLOW_OUT else at_us - entered_us))
            queue = None
        elif queue is not None and (step != _LEFT or where == queue):
            left = max(left, _LEFT if step == _LEFT else _ASIDE)
        if step == _CONNECTED:
            return stays, True
    if queue is not None:
        stays.append((entered_us, queue, channel, WAITING if left == _NOT else FLOW_OUT, 0))
    return stays, queue is None and bool(stays)


def _end(step: int, left: int, *, elsewhere: bool) -> int:
    """Say how a stay ended, by what ended it and by what had taken the contact out of the queue before (`_NOT`: nothing)."""
    if step == _CONNECTED:
        return FLOW_OUT if left != _NOT and elsewhere else ANSWERED
    return ABANDONED if left == _NOT or (left == _LEFT and step == _HUNG_UP) else FLOW_OUT
