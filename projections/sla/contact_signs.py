"""What the steps of a contact mean: queues, agents and bots that take it, its end. Signs for the tables of `transitions`.

Must not know clocks or policies. `reading` has the rest of the turns.
"""

from typing import Final

from projections.sla.facts import SETTLED, Facts
from projections.sla.transitions import Sign
from projections.sla.turns import Turn

__all__ = ["LIVE", "abandoned", "bot_began", "bot_ended", "connected", "dequeued", "ended", "joined", "opens", "queued", "replied", "turn_begins"]

LIVE: Final = frozenset({"webchat", "phone", "bot"})
"""Channels in which people take turns while both are there."""


def replied(facts: Facts, turn: Turn) -> list[Sign]:
    """Take a person's answer. Before anybody asked it answers nothing."""
    signs: list[Sign] = ["replied"]
    facts.bot_turn = facts.turn_waits = facts.thanks = False
    if facts.asked:
        facts.answered = facts.answered_human = True
        if facts.status not in SETTLED:
            signs.append("updated")
    if _is_owner(facts, turn):
        signs.append("owner_replied")
    return signs


def _is_owner(facts: Facts, turn: Turn) -> bool:
    """Tell whether the owner replied. An agent's team that is not known is taken for the owning one."""
    if facts.owner_agent is not None:
        return turn.agent == facts.owner_agent
    return facts.owner_team is not None and turn.team in {None, facts.owner_team}


def opens(facts: Facts, turn: Turn) -> list[Sign]:
    """Open the conversation, if it is not yet."""
    if facts.opened:
        return []
    facts.opened = True
    if not facts.status:
        facts.enter("open", turn.order[0])
    return ["opened"]


def connected(facts: Facts, turn: Turn) -> list[Sign]:
    """Let an agent take a call, and thereby answer."""
    facts.asked = True
    facts.waiting = False
    facts.queue_since_us = 0
    facts.assignee = turn.agent
    return ["connected", *opens(facts, turn), *replied(facts, turn)]


def joined(facts: Facts, turn: Turn) -> list[Sign]:
    """Let an agent take a chat; the answer is yet to come."""
    facts.waiting = False
    facts.queue_since_us = 0
    facts.bot_turn = False
    facts.assignee = turn.agent
    return ["connected", *turn_begins(facts, turn)]


def turn_begins(facts: Facts, turn: Turn) -> list[Sign]:
    """Let what the customer said while it was nobody's turn wait from now on."""
    if facts.turn_waits and not facts.waiting and turn.channel in LIVE:
        facts.turn_waits = False
        return ["asked_in_turn"]
    return []


def queued(facts: Facts, turn: Turn) -> list[Sign]:
    """Enter a queue; to enter it twice is one stay."""
    if facts.waiting and turn.value == facts.queue:
        return []
    again = facts.queue_since_us != 0
    facts.waiting = True
    if not again:
        facts.queue_since_us = turn.order[0]
    signs: list[Sign] = ["queued"]
    if again:
        signs.append("queued_again")
    return [*opens(facts, turn), *signs]


def dequeued(facts: Facts, turn: Turn) -> list[Sign]:  # noqa: ARG001 - one signature
    """Leave the queue unanswered."""
    if not facts.waiting:
        return []
    facts.waiting = False
    return ["left_queue"]


def abandoned(facts: Facts, turn: Turn) -> list[Sign]:  # noqa: ARG001 - one signature
    """Let the customer give up."""
    facts.waiting = False
    facts.queue_since_us = 0
    facts.turn_waits = False
    return ["abandoned", "customer_left"]


def ended(facts: Facts, turn: Turn) -> list[Sign]:  # noqa: ARG001 - one signature
    """End a contact: its queue and its turns are over; the conversation is not."""
    waited = facts.queue_since_us != 0
    facts.waiting = False
    facts.queue_since_us = 0
    facts.turn_waits = False
    return ["abandoned", "customer_left"] if waited else ["customer_left"]


def bot_began(facts: Facts, turn: Turn) -> list[Sign]:  # noqa: ARG001 - one signature
    """Let a bot lead."""
    facts.bot_turn = True
    return []


def bot_ended(facts: Facts, turn: Turn) -> list[Sign]:  # noqa: ARG001 - one signature
    """Let the bot leave."""
    facts.bot_turn = False
    return []
