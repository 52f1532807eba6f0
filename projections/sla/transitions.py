"""What each clock does when something happens: tables (state, sign) -> state. The docs' diagrams are drawn from them.

A conversation is read turn by turn; each turn says what happened as signs (`SIGNS`). A metric's table says what its clock
makes of a sign; a pair that is not in the table changes nothing. From `running` to `running` means: this instance stops and
the next one starts. From `stopped` or `cancelled` to `running` a new instance starts, except for `RESUMED`, where the same one
goes on. At one instant stops and cancellations come first, then pauses, then starts (sla.md §1, ZM#3551).

Knows metrics; must not know events, policies or times.
"""

from typing import Final, Literal, get_args

from projections.rules import Metric

__all__ = [
    "CANCELLED",
    "IDLE",
    "METRICS",
    "NUMBER",
    "PAUSED",
    "QUEUE_TOTAL",
    "REACTIONS",
    "RESUMED",
    "RUNNING",
    "SIGNS",
    "STATES",
    "STOPPED",
    "TRANSITIONS",
    "Sign",
    "State",
    "Table",
    "by_state",
]

State = Literal["idle", "running", "paused", "stopped", "cancelled"]
Sign = Literal[
    "opened",
    "asked",
    "asked_of_people",
    "asked_again",
    "asked_out_of_hours",
    "asked_in_turn",
    "replied",
    "replied_elsewhere",
    "updated",
    "bot_replied",
    "auto_replied",
    "handed_over",
    "queued",
    "queued_again",
    "connected",
    "left_queue",
    "abandoned",
    "customer_left",
    "assigned",
    "owner_replied",
    "returned",
    "no_reply_needed",
    "resolved",
    "closed",
    "reopened",
    "reopened_anew",
    "merged",
    "pause",
    "resume",
]
Table = dict[tuple[State, Sign], State]

STATES: Final[tuple[State, ...]] = get_args(State)
IDLE, RUNNING, PAUSED, STOPPED, CANCELLED = range(5)

SIGNS: Final[dict[Sign, str]] = {
    "opened": "the conversation began",
    "asked": "the customer wrote or called, and nobody has answered yet",
    "asked_of_people": "the same, and no bot has the turn",
    "asked_again": "the customer wrote after a person had answered",
    "asked_out_of_hours": "the customer wrote while the calendar is closed",
    "asked_in_turn": "the customer said something in a live chat or call, and it is a person's turn",
    "replied": "a person answered in public, or took the call",
    "replied_elsewhere": "a person answered in another conversation that counts for this one",
    "updated": "a person's public reply, while the conversation is not settled",
    "bot_replied": "a bot answered in public",
    "auto_replied": "an automatic reply went out",
    "handed_over": "the customer asked the bot for a person",
    "queued": "the contact entered a queue",
    "queued_again": "the contact entered another queue before anybody answered",
    "connected": "an agent took the contact",
    "left_queue": "the contact left the queue unanswered",
    "abandoned": "the customer gave up",
    "customer_left": "the customer left the chat or call",
    "assigned": "a team or an agent became the owner",
    "owner_replied": "the owner replied",
    "returned": "the owner gave it back",
    "no_reply_needed": "somebody decided that no reply is needed",
    "resolved": "the conversation was resolved",
    "closed": "the conversation was closed without being resolved",
    "reopened": "it was opened again within the re-open window",
    "reopened_anew": "it was opened again after the re-open window",
    "merged": "its case was merged into another",
    "pause": "a state began in which this clock does not run",
    "resume": "that state ended",
}
"""What a sign means, in the words of the docs."""


def _ends(sign: Sign, into: State) -> Table:
    return {("running", sign): into, ("paused", sign): into}


_PAUSES: Final[Table] = {("running", "pause"): "paused", ("paused", "resume"): "running"}
_SETTLED: Final[Table] = _ends("resolved", "cancelled") | _ends("closed", "cancelled") | _ends("merged", "cancelled")
_UNNEEDED: Final[Table] = _SETTLED | _ends("no_reply_needed", "cancelled")
_ANSWERED: Final[Table] = _ends("replied", "stopped") | _ends("replied_elsewhere", "stopped")

_FIRST_RESPONSE: Final[Table] = {
    ("idle", "asked"): "running",
    ("cancelled", "asked"): "running",
    **_ANSWERED,
    **_ends("bot_replied", "stopped"),
    **_UNNEEDED,
    **_PAUSES,
}
_FIRST_RESPONSE_HUMAN: Final[Table] = {
    ("idle", "asked_of_people"): "running",
    ("cancelled", "asked_of_people"): "running",
    ("idle", "handed_over"): "running",
    ("stopped", "handed_over"): "running",
    ("cancelled", "handed_over"): "running",
    **_ANSWERED,
    **_UNNEEDED,
    **_PAUSES,
}
_NEXT_RESPONSE: Final[Table] = {
    ("idle", "asked_again"): "running",
    ("stopped", "asked_again"): "running",
    ("cancelled", "asked_again"): "running",
    **_ANSWERED,
    **_UNNEEDED,
    **_PAUSES,
}
_PERIODIC_UPDATE: Final[Table] = {
    ("idle", "updated"): "running",
    ("stopped", "updated"): "running",
    ("cancelled", "updated"): "running",
    **_ends("updated", "running"),
    **_SETTLED,
    **_PAUSES,
}
_RESOLUTION_TOTAL: Final[Table] = {
    ("idle", "opened"): "running",
    **_ends("resolved", "stopped"),
    **_ends("closed", "stopped"),
    **_ends("merged", "cancelled"),
    ("stopped", "reopened"): "running",
    ("stopped", "reopened_anew"): "running",
    ("cancelled", "reopened"): "running",
    ("cancelled", "reopened_anew"): "running",
}
_RESOLUTION: Final[Table] = {**_RESOLUTION_TOTAL, **_PAUSES}
_OWNERSHIP: Final[Table] = {
    ("idle", "assigned"): "running",
    ("stopped", "assigned"): "running",
    ("cancelled", "assigned"): "running",
    **_ends("assigned", "running"),
    **_ends("owner_replied", "stopped"),
    **_ends("returned", "cancelled"),
    **_SETTLED,
    **_PAUSES,
}
_QUEUE_ANSWER: Final[Table] = {
    ("idle", "queued"): "running",
    ("stopped", "queued"): "running",
    ("cancelled", "queued"): "running",
    ("running", "queued"): "running",
    ("running", "connected"): "stopped",
    ("running", "abandoned"): "cancelled",
    ("running", "left_queue"): "cancelled",
}
_QUEUE_TOTAL: Final[Table] = {
    ("idle", "queued_again"): "running",
    ("stopped", "queued_again"): "running",
    ("cancelled", "queued_again"): "running",
    ("running", "connected"): "stopped",
    ("running", "abandoned"): "cancelled",
}
_TURN_RESPONSE: Final[Table] = {
    ("idle", "asked_in_turn"): "running",
    ("stopped", "asked_in_turn"): "running",
    ("cancelled", "asked_in_turn"): "running",
    **_ends("replied", "stopped"),
    **_ends("customer_left", "cancelled"),
    **_UNNEEDED,
    **_PAUSES,
}
_ACKNOWLEDGE_AUTO: Final[Table] = {
    ("idle", "asked_out_of_hours"): "running",
    **_ends("auto_replied", "stopped"),
    **_ends("bot_replied", "stopped"),
    **_ends("replied", "stopped"),
    **_SETTLED,
}

QUEUE_TOTAL: Final = "queue_answer, end to end"
"""The wait over several queues until somebody answers: a clock of `queue_answer` of its own, from the second queue on."""

TRANSITIONS: Final[dict[Metric | Literal["queue_answer, end to end"], Table]] = {
    "first_response": _FIRST_RESPONSE,
    "first_response_human": _FIRST_RESPONSE_HUMAN,
    "next_response": _NEXT_RESPONSE,
    "periodic_update": _PERIODIC_UPDATE,
    "requester_wait": _RESOLUTION,
    "agent_work": _RESOLUTION,
    "resolution_total": _RESOLUTION_TOTAL,
    "resolution_net": _RESOLUTION,
    "ownership": _OWNERSHIP,
    "queue_answer": _QUEUE_ANSWER,
    "turn_response": _TURN_RESPONSE,
    "acknowledge_auto": _ACKNOWLEDGE_AUTO,
    "queue_answer, end to end": _QUEUE_TOTAL,
}
"""The tables, by metric."""

RESUMED: Final[frozenset[tuple[Metric, Sign]]] = frozenset(
    {
        ("requester_wait", "reopened"),
        ("agent_work", "reopened"),
        ("resolution_total", "reopened"),
        ("resolution_net", "reopened"),
    }
)
"""Where a stopped clock goes on as the same instance (sla.md §6)."""

METRICS: Final[tuple[Metric, ...]] = (*get_args(Metric), "queue_answer")
"""The metrics by their number in the machine; the last one is the wait over several queues."""

NUMBER: Final[dict[str, int]] = {name: number for number, name in enumerate(TRANSITIONS)}
"""The other way round."""


def by_state(table: Table) -> dict[State, dict[Sign, State]]:
    """Return a table by state, as diagrams are drawn."""
    found: dict[State, dict[Sign, State]] = {"idle": {}}
    for (state, sign), after in table.items():
        found.setdefault(state, {})[sign] = after
    return found


Reaction = tuple[int, tuple[int, int, int, int, int]]


def _compiled() -> dict[str, tuple[Reaction, ...]]:
    """Turn the tables round, for the machine: sign -> (metric's number, next state by state, -1 where nothing changes)."""
    found: dict[str, list[Reaction]] = {sign: [] for sign in SIGNS}
    for name, table in TRANSITIONS.items():
        for sign in SIGNS:
            after = [STATES.index(table[state, sign]) if (state, sign) in table else -1 for state in STATES]
            if max(after) >= 0:
                found[sign].append((NUMBER[name], (after[0], after[1], after[2], after[3], after[4])))
    return {sign: tuple(reactions) for sign, reactions in found.items()}


REACTIONS: Final = _compiled()
"""Sign -> who reacts to it, and how."""
