"""What a turn means: it changes the facts of a conversation and gives signs, which the tables of `transitions` answer.

Odd turns are read sensibly: a second resolution is none, a reply before any question answers nothing, what is assigned again to
its owner stays as it is, a queue entered twice is one stay. Must not know clocks or policies.
"""

from collections.abc import Callable
from typing import Final

from projections.sla.contact_signs import (
    LIVE,
    abandoned,
    bot_began,
    bot_ended,
    connected,
    dequeued,
    ended,
    joined,
    opens,
    queued,
    replied,
    turn_begins,
)
from projections.sla.facts import SETTLED, Facts
from projections.sla.transitions import Sign
from projections.sla.turns import Turn

__all__ = ["read"]


def read(facts: Facts, turn: Turn, reopen_us: int) -> list[Sign]:
    """Bring the facts up to a turn; return its signs in order. `reopen_us` is R, the re-open window."""
    if facts.settled_us:
        facts.reopens_until_us = facts.settled_us + reopen_us
    if turn.elsewhere:
        return _elsewhere(facts, turn)
    reader = _READERS.get(turn.kind)
    return reader(facts, turn) if reader is not None else []


def _asked(facts: Facts, turn: Turn) -> list[Sign]:
    signs: list[Sign] = []
    at_us = turn.order[0]
    facts.asked = True
    if not facts.opened:
        facts.opened = True
        signs.append("opened")
        if not facts.status or facts.status in SETTLED:
            facts.enter("open", at_us)
    elif facts.status in SETTLED:
        signs.append(_reopened(facts, at_us))
        facts.thanks = True
    if facts.status != "open":
        facts.enter("open", at_us)
    _wanting(facts, signs)
    if facts.answered_human:
        signs.append("asked_again")
    if turn.type == "message.received" and turn.channel in LIVE:
        if facts.bot_turn or facts.waiting:
            facts.turn_waits = True
        else:
            signs.append("asked_in_turn")
    return signs


def _wanting(facts: Facts, signs: list[Sign]) -> None:
    """Say who has yet to answer."""
    if not facts.answered:
        signs.append("asked")
    if not facts.answered_human and not facts.bot_turn:
        signs.append("asked_of_people")


def _reopened(facts: Facts, at_us: int) -> Sign:
    sign: Sign = "reopened" if at_us <= facts.reopens_until_us else "reopened_anew"
    facts.enter("open", at_us)
    return sign


def _bot_replied(facts: Facts, turn: Turn) -> list[Sign]:  # noqa: ARG001 - one signature
    """Take a bot's answer. It leads, unless a person has answered or was asked for (CW#8477)."""
    if facts.asked:
        facts.answered = True
    if not facts.answered_human and not facts.handed:
        facts.bot_turn = True
    facts.turn_waits = False
    return ["bot_replied"]


def _auto_replied(facts: Facts, turn: Turn) -> list[Sign]:  # noqa: ARG001 - one signature
    return ["auto_replied"]


def _opened(facts: Facts, turn: Turn) -> list[Sign]:
    return opens(facts, turn)


def _status(facts: Facts, turn: Turn) -> list[Sign]:
    at_us, word = turn.order[0], turn.value or "open"
    signs: list[Sign] = []
    if facts.status in SETTLED:
        signs.append(_reopened(facts, at_us))
        if facts.asked:
            _wanting(facts, signs)
    if word != facts.status:
        facts.enter(word, at_us)
    return signs


def _snoozed(facts: Facts, turn: Turn) -> list[Sign]:
    if facts.status in SETTLED or turn.until_us <= turn.order[0]:
        return []
    facts.enter("snoozed", turn.order[0])
    facts.snoozed_until_us = turn.until_us
    return []


def _resolved(facts: Facts, turn: Turn) -> list[Sign]:
    """Resolve; a second time is none."""
    if facts.status in SETTLED:
        return []
    return _settles(facts, "resolved", turn)


def _closed(facts: Facts, turn: Turn) -> list[Sign]:
    if facts.status in SETTLED:
        facts.status = "closed"
        return []
    return _settles(facts, "closed", turn)


def _settles(facts: Facts, status: str, turn: Turn) -> list[Sign]:
    facts.enter(status, turn.order[0])
    facts.settled_us = turn.order[0]
    facts.thanks = facts.turn_waits = False
    return ["resolved" if status == "resolved" else "closed"]


def _opened_again(facts: Facts, turn: Turn) -> list[Sign]:
    if facts.status not in SETTLED:
        return opens(facts, turn)
    signs = [*opens(facts, turn), _reopened(facts, turn.order[0])]
    if facts.asked:
        _wanting(facts, signs)
    return signs


def _assigned(facts: Facts, turn: Turn) -> list[Sign]:
    if (turn.team, turn.agent) == (facts.owner_team, facts.owner_agent):
        return []
    facts.owner_team, facts.owner_agent = turn.team, turn.agent
    facts.assignee = turn.agent
    return ["assigned"]


def _returned(facts: Facts, turn: Turn) -> list[Sign]:  # noqa: ARG001 - one signature
    facts.owner_team = facts.owner_agent = facts.assignee = None
    return ["returned"]


def _no_reply(facts: Facts, turn: Turn) -> list[Sign]:
    """No reply is needed; a conversation that thanks had re-opened is resolved again (sla.md §6)."""
    thanks = facts.thanks
    facts.turn_waits = facts.thanks = False
    return ["no_reply_needed", *(_resolved(facts, turn) if thanks else ())]


def _handed(facts: Facts, turn: Turn) -> list[Sign]:
    """Ask for a person: the clock of people starts here, not when one comes."""
    facts.bot_turn = False
    facts.handed += 1
    facts.asked = True
    signs = opens(facts, turn)
    if facts.status in SETTLED:
        signs.append(_reopened(facts, turn.order[0]))
    if not facts.answered:
        signs.append("asked")
    return [*signs, "handed_over", *turn_begins(facts, turn)]


def _merged(facts: Facts, turn: Turn) -> list[Sign]:
    facts.enter("closed", turn.order[0])
    facts.settled_us = turn.order[0]
    facts.thanks = facts.turn_waits = False
    return ["merged"]


def _elsewhere(facts: Facts, turn: Turn) -> list[Sign]:
    """Read what happened in another conversation: an answer, a message of the customer in the same case, the case's own end."""
    match turn.kind:
        case "replied" | "connected":
            if facts.asked:
                facts.answered = facts.answered_human = True
            facts.thanks = facts.turn_waits = False
            return ["replied_elsewhere"]
        case "asked":
            if facts.status and facts.status != "open" and facts.status not in SETTLED:
                facts.enter("open", turn.order[0])
            return []
        case "resolved" | "closed" | "reopened" | "merged":
            # a case does not open or settle a conversation of which nothing but its name is known
            return _READERS[turn.kind](facts, turn) if facts.opened else []
        case _:
            return []


_Reader = Callable[[Facts, Turn], list[Sign]]
_READERS: Final[dict[str, _Reader]] = {
    "abandoned": abandoned,
    "asked": _asked,
    "assigned": _assigned,
    "auto_replied": _auto_replied,
    "bot_began": bot_began,
    "bot_ended": bot_ended,
    "bot_replied": _bot_replied,
    "closed": _closed,
    "connected": connected,
    "dequeued": dequeued,
    "ended": ended,
    "handed": _handed,
    "joined": joined,
    "merged": _merged,
    "no_reply": _no_reply,
    "opened": _opened,
    "queued": queued,
    "replied": replied,
    "reopened": _opened_again,
    "resolved": _resolved,
    "returned": _returned,
    "snoozed": _snoozed,
    "status": _status,
}
"""Kind of turn -> what it does. Those that are not here only tell facts."""
