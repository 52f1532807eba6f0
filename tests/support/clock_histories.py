"""Random histories of one customer: several conversations, cases and channels, with everything that clocks look at."""

import random
from collections.abc import Sequence
from typing import Any, Final

from projections.kernel import Config
from projections.rules import Policy, Rulebook
from projections.sla.clocks import Sla
from projections.testing import World, contact_abandoned, contact_connected, contact_queued, make, message_received, message_sent, time_us
from schemas import events
from schemas.record import Event
from tests.support.clock_sentences import EVERYTHING, H, office

__all__ = ["BOOK", "US", "Ending", "ended", "history"]

US: Final = 1_000_000
_HALF: Final = {metric: target // 2 for metric, target in EVERYTHING.items()}

BOOK: Final = Rulebook(
    version=1,
    calendars=(office(zone="Europe/Berlin"),),
    policies=(
        Policy(id="vip", when='"vip" in segments', targets=_HALF, answered_by="any_channel", warn={"first_response": 300}),
        Policy(
            id="high",
            when='priority == "high"',
            calendar="office",
            targets={metric: target for metric, target in EVERYTHING.items() if metric != "ownership"},
            pause_states=("pending", "on_hold"),
            pause_responses=True,
            on_change="carry_seconds",
        ),
        Policy(id="mail", when='channel == "email"', calendar="office", targets=EVERYTHING, snooze_pauses=True),
        Policy(id="chat", when='channel != "phone"', targets=EVERYTHING),
    ),
)
"""Four policies: between them every option is used."""

Ending = dict[str, list[str]]
"""Rows by table, sorted; without those on their way out."""

_MIX: Final = {
    "asks": 10, "replies": 8, "bot": 1, "auto": 1, "queued": 2, "connected": 2, "joined": 1, "abandoned": 1, "dequeued": 1, "status": 2,
    "snoozed": 1, "resolved": 2, "closed": 1, "reopened": 1, "assigned": 2, "returned": 1, "no_reply": 1, "bot_began": 1, "handed": 1,
    "bot_ended": 1, "priority": 2, "tag": 1, "segment": 1, "linked": 1, "case_resolved": 1, "case_reopened": 1, "merged": 1, "service": 1,
    "loose": 1, "ended": 1, "opened": 1, "split": 1,
}  # fmt: skip


def history(rng: random.Random, length: int) -> list[Event]:
    """Return a history in order of time; some events share an instant."""
    names = [name for name, weight in _MIX.items() for _ in range(weight)]
    at_us, found = time_us("08:00"), []
    for number in range(length):
        at_us += rng.choice([0, 1, 60, H // 6, H // 2, H, 2 * H, 5 * H]) * US
        found.append(_event(rng, rng.choice(names), number, at_us))
    return found


def _event(rng: random.Random, name: str, number: int, at_us: int) -> Event:  # noqa: PLR0911 - one per kind
    case = rng.choice(["k-1", "k-2"])
    x: dict[str, Any] = {
        "id": f"e{number:03d}",
        "at": at_us,
        "conversation_id": f"c-{rng.randint(1, 3)}",
        "channel": rng.choice(["email", "email", "webchat", "phone"]),
        "case_id": rng.choice([None, None, None, case]),
    }
    customer = {**x, "actor_kind": "customer", "direction": "inbound"}
    agent = {**x, "actor_kind": "agent", "actor_id": rng.choice(["a1", "a2"]), "actor_team": rng.choice([None, "t1", "t2"]), "direction": "outbound"}
    match name:
        case "asks":
            return message_received(**x)
        case "replies":
            return message_sent(**agent)
        case "bot":
            return message_sent(**{**agent, "author": "bot", "actor_kind": "bot"})
        case "auto":
            return message_sent(**{**agent, "author": "auto", "actor_kind": "system"})
        case "loose":
            return message_sent(**{**agent, "conversation_id": None})
        case "queued":
            return contact_queued(**{**x, "queue": rng.choice(["q1", "q2"]), "priority": ""})
        case "connected":
            return contact_connected(**{**agent, "queue": "q1"})
        case "abandoned":
            return contact_abandoned(**customer)
        case _:
            return _of_the_desk(rng, name, number, x, customer, agent)


def _of_the_desk(rng: random.Random, name: str, number: int, x: dict[str, Any], customer: dict[str, Any], agent: dict[str, Any]) -> Event:
    case = {**x, "case_id": rng.choice(["k-1", "k-2"])}
    other = rng.choice(["c-1", "c-2", "c-3"])
    made: dict[str, tuple[type[Event], dict[str, Any]]] = {
        "joined": (events.BotHandoffAccepted, {**agent, "agent": "a1"}),
        "dequeued": (events.ContactDequeued, {**x, "queue": "q1", "reason": "overflow"}),
        "status": (events.ConversationStatusChanged, {**agent, "from_": "x", "to": rng.choice(["open", "pending", "on_hold", "odd"])}),
        "snoozed": (events.ConversationSnoozed, {**agent, "until_us": x["at"] + rng.choice([600, 2 * H]) * US}),
        "resolved": (events.ConversationResolved, agent),
        "closed": (events.ConversationClosed, agent),
        "reopened": (events.ConversationReopened, {**agent, "by": "agent"}),
        "assigned": (events.ConversationAssigned, {**agent, "team": rng.choice([None, "t1", "t2"]), "agent": rng.choice([None, "a1", "a2"])}),
        "returned": (events.ConversationReturnedToQueue, {**agent, "reason": "x"}),
        "no_reply": (events.MessageNoReplyNeeded, agent),
        "bot_began": (events.BotStarted, x),
        "bot_ended": (events.BotEnded, x),
        "handed": (events.BotHandoffRequested, {**customer, "reason": "x"}),
        "priority": (events.ConversationPriorityChanged, {**agent, "priority": rng.choice(["high", "low"])}),
        "tag": (rng.choice([events.ConversationTagged, events.ConversationUntagged]), {**x, "tag": "t"}),
        "segment": (rng.choice([events.ProfileSegmentEntered, events.ProfileSegmentLeft]), {"id": x["id"], "at": x["at"], "segment": "vip"}),
        "linked": (events.CaseLinked, {**case, "conversation": other}),
        "case_resolved": (events.CaseResolved, case),
        "case_reopened": (events.CaseReopened, case),
        "merged": (events.CaseMerged, {**x, "case_id": "k-1", "into": "k-2", "conversation_id": None}),
        "service": (events.StoreServiceGiven, {**agent, "channel": "store", "conversation_id": "s-1"}),
        "ended": (events.ContactCompleted, x),
        "opened": (events.ConversationOpened, x),
        "split": (events.CaseSplit, {**x, "from_": "k-1", "at_event": f"e{rng.randint(0, number):03d}", "conversation_id": "n-1"}),
    }
    kind, fields = made[name]
    return make(kind, **fields)


def ended(happening: Sequence[Event], appended_us: Sequence[int] | None = None) -> tuple[Ending, World]:
    """Fold events in this order, let all timers expire, and return the rows; without append times each comes at its own time."""
    world = World([Sla()], config=Config((BOOK,)))
    for number, event in enumerate(happening):
        world.append(event, appended_us=None if appended_us is None else appended_us[number])
    world.advance_to(world.now_us + 40 * 86_400 * US)
    rows = world.rows()
    # a summary of nothing says as much as none
    return {
        table: sorted(repr(sorted(row.items())) for row in found if table != "care_summary" or "worst_metric" in row) for table, found in rows.items()
    }, world
