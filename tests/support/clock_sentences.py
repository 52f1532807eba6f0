"""What happens to clocks, in one line each: events of a conversation, rules, and the rows that come of them."""

from typing import Any, Final

from projections.kernel import Config
from projections.rules import Policy, Rulebook, WeeklyHours
from projections.sla.clocks import Sla
from projections.testing import DAY, Given, given, make, message_received, message_sent, time_us
from schemas.record import Event

H: Final = 3_600
DAY_S: Final = 86_400
AGENT: Final = {"actor_kind": "agent", "actor_id": "ag-1", "actor_team": "mail", "direction": "outbound"}
EVERYTHING: Final = {
    "first_response": H,
    "first_response_human": H,
    "next_response": 4 * H,
    "periodic_update": 8 * H,
    "requester_wait": 16 * H,
    "agent_work": 16 * H,
    "resolution_total": 24 * H,
    "resolution_net": 16 * H,
    "ownership": 2 * H,
    "queue_answer": 90,
    "turn_response": 15,
    "acknowledge_auto": 300,
}


def office(start: int = 9, end: int = 17, zone: str = "UTC", name: str = "office", **exceptions: Any) -> WeeklyHours:
    """Open Monday to Friday between two hours."""
    day = ((start * H, end * H),)
    return WeeklyHours(id=name, timezone=zone, week=(day, day, day, day, day, (), ()), **exceptions)


def policy(name: str = "default", **fields: Any) -> Policy:
    """Return a policy; targets are named by metric, in seconds, everything else by its field."""
    targets = {metric: fields.pop(metric) for metric in list(fields) if metric in EVERYTHING}
    return Policy(id=name, targets=fields.pop("targets", targets), **fields)


def rulebook(*policies: Policy, calendars: tuple[WeeklyHours, ...] = (), version: int = 1, **fields: Any) -> Rulebook:
    """Return a rulebook that was always in force, unless `effective_at_us` says otherwise."""
    return Rulebook(version=version, calendars=calendars, policies=policies, **fields)


def under(*policies: Policy, **fields: Any) -> Given:
    """Begin a test under these policies."""
    return given(of=[Sla()], config=Config((rulebook(*policies, **fields),)))


def asks(at: str, **fields: Any) -> Event:
    """Let the customer write."""
    return message_received(**{"at": at, "conversation_id": "c-9", "id": f"asks@{at}", **fields})


def replies(at: str, **fields: Any) -> Event:
    """Let an agent answer in public."""
    return message_sent(**{"at": at, "conversation_id": "c-9", "actor_team": "mail", "id": f"replies@{at}", **fields})


def did(kind: type[Event], at: str, **fields: Any) -> Event:
    """Let an agent do something in the conversation."""
    return make(kind, **{"at": at, "conversation_id": "c-9", "channel": "email", **AGENT, **fields})


def clocks(given: Given, metric: str, conversation: str = "c-9") -> list[dict[str, Any]]:
    """Return the rows of a metric's clocks, by instance."""
    rows: list[dict[str, Any]] = given.world.rows()["clock"]
    return sorted((r for r in rows if r["metric"] == metric and r["conversation_id"] == conversation), key=lambda r: r["instance"])


def clock(given: Given, metric: str, conversation: str = "c-9") -> dict[str, Any]:
    """Return the row of the only clock of a metric."""
    (row,) = clocks(given, metric, conversation)
    return row


def states(given: Given, metric: str, conversation: str = "c-9") -> list[str]:
    """Return the states of a metric's clocks, by instance."""
    return [row["state"] for row in clocks(given, metric, conversation)]


def told(given: Given, *kinds: str) -> list[tuple[str, str]]:
    """Return what was told, (kind, metric) each: of these kinds, or of all but the chosen policy."""
    found = [(e.kind.removeprefix("sla."), getattr(e.payload, "metric", "")) for e in given.world.effects]
    return [one for one in found if (one[0] in kinds if kinds else one[0] != "policy_applied")]


def on(day: str, clock_time: str) -> int:
    """Return epoch µs of a day of January 2026, or any ISO date, and a time in UTC."""
    date = day if "-" in day else f"2026-01-{day}"
    return time_us(f"{date}T{clock_time}:00Z" if clock_time.count(":") == 1 else f"{date}T{clock_time}Z")


__all__ = [
    "AGENT",
    "DAY",
    "EVERYTHING",
    "H",
    "asks",
    "clock",
    "clocks",
    "did",
    "office",
    "on",
    "policy",
    "replies",
    "rulebook",
    "states",
    "told",
    "under",
]
