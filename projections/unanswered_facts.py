"""What is known of a conversation besides its messages: queue, team, owner, priority, tags, segments; and as of when.

Rules are asked with what held at the moment when the customer asked. Events arrive late, so each fact is kept with its
`Order`, and `background` reads those up to a moment: every order of arrival gives the same answer. Must not know rules.
"""

from bisect import insort
from typing import Final

import msgspec

from projections.order import Order
from schemas import events
from schemas.record import Event

__all__ = ["FACTS_MAX", "PROFILE", "SAYS", "Background", "Fact", "background", "note"]

FACTS_MAX: Final = 24
"""Facts kept of one conversation, and of the customer: the latest by event time."""

PROFILE: Final = ""
"""The name under which facts of the customer are kept, not of one conversation."""

_ATTRIBUTE: Final = "@"
_HELPER: Final = "helper"
_LANGUAGES: Final = ("language", "locale")


class Fact(msgspec.Struct, frozen=True, array_like=True, order=True, gc=False):
    """One thing that holds from a moment on.

    `name` is queue, team, helper (the team of who answered), assignee, priority, +tag, -tag, +segment, -segment, language, or
    `@` and the name of a clear attribute.
    """

    order: Order
    name: str
    value: str


class Background(msgspec.Struct, gc=False):
    """What holds at one moment. `team` is the assigned one, else that of whoever answered last."""

    queue: str | None = None
    team: str | None = None
    assignee: str | None = None
    priority: str | None = None
    language: str | None = None
    tags: frozenset[str] = frozenset()
    segments: frozenset[str] = frozenset()
    attributes: frozenset[tuple[str, str]] = frozenset()


SAYS: Final[dict[type[Event], tuple[tuple[str, str], ...]]] = {
    events.ContactInitiated: (("queue", "queue"),),
    events.ContactQueued: (("queue", "queue"), ("priority", "priority")),
    events.ContactConnected: (("queue", "queue"),),
    events.ConversationAssigned: (("team", "team"), ("assignee", "agent")),
    events.ConversationPriorityChanged: (("priority", "priority"),),
    events.ConversationTagged: (("+tag", "tag"),),
    events.ConversationUntagged: (("-tag", "tag"),),
    events.ProfileSegmentEntered: (("+segment", "segment"),),
    events.ProfileSegmentLeft: (("-segment", "segment"),),
}
"""Event type -> (name of the fact, field that holds its value)."""

_NOBODY: Final = frozenset({events.ConversationUnassigned, events.ConversationReturnedToQueue})
_OF_CUSTOMERS: Final = frozenset({events.ProfileSegmentEntered, events.ProfileSegmentLeft})


def note(facts: dict[str, list[Fact]], thread: str, event: Event, order: Order) -> tuple[bool, bool]:
    """Take down what an event says; tell whether it says something of the conversation, and of the customer.

    Hot path: most events say nothing.
    """
    kind, header, attributes = type(event), event.header, event.attributes
    said = False
    fields = SAYS.get(kind)
    if fields is not None:
        for name, field in fields:
            if value := getattr(event, field):
                _put(facts, PROFILE if kind in _OF_CUSTOMERS else thread, Fact(order, name, value))
                said = True
    if kind in _NOBODY or (isinstance(event, events.ConversationAssigned) and not event.agent):
        _put(facts, thread, Fact(order, "assignee", ""))
        said = True
    if header.actor_team and header.actor_kind == "agent":
        _put(facts, thread, Fact(order, _HELPER, header.actor_team))
        said = True
    of_customer = said and kind in _OF_CUSTOMERS
    if attributes:
        said = True
        for name, value in attributes.items():
            _put(facts, thread, Fact(order, _ATTRIBUTE + name, value))
            if name == "priority":
                _put(facts, thread, Fact(order, name, value))
            elif name in _LANGUAGES and header.direction == "inbound":
                _put(facts, PROFILE, Fact(order, "language", value))
                of_customer = True
    return said, of_customer


def background(facts: dict[str, list[Fact]], thread: str, upto: Order) -> Background:
    """Return what held at a moment, what was said in that very event included."""
    known = Background()
    for name in (PROFILE, thread):
        if found := facts.get(name):
            _read(known, found, upto)
    return known


def _read(known: Background, facts: list[Fact], upto: Order) -> None:
    helper: str | None = None
    tags, segments, attributes = set(known.tags), set(known.segments), dict(known.attributes)
    for fact in facts:
        if fact.order > upto:
            break
        name, value = fact.name, fact.value
        if name == "queue":
            known.queue = value
        elif name == "team":
            known.team = value
        elif name == "assignee":
            known.assignee = value or None
        elif name == "priority":
            known.priority = value
        elif name == _HELPER:
            helper = value
        elif name == "language":
            known.language = value
        elif name.startswith(_ATTRIBUTE):
            attributes[name[1:]] = value
        else:
            kept = tags if name.endswith("tag") else segments
            (kept.add if name[0] == "+" else kept.discard)(value)
    known.team = known.team or helper
    known.tags, known.segments, known.attributes = frozenset(tags), frozenset(segments), frozenset(attributes.items())


def _put(facts: dict[str, list[Fact]], where: str, fact: Fact) -> None:
    kept = facts.get(where)
    if kept is None:
        facts[where] = [fact]
        return
    if fact.order < kept[-1].order:
        insort(kept, fact)
    else:
        kept.append(fact)
    if len(kept) > FACTS_MAX:
        del kept[_spare(kept)]


def _spare(facts: list[Fact]) -> int:
    """Return which fact is missed least: the first answer by a team that had answered before it too, else the earliest fact."""
    helper = ""
    for number, fact in enumerate(facts):
        if fact.name == _HELPER:
            if fact.value == helper:
                return number
            helper = fact.value
    return 0
