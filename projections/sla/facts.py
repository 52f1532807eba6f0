"""What is known of a conversation at one point of its turns, apart from its clocks. Values and their small changes only."""

from typing import Final

import msgspec

from projections.order import Order
from projections.sla.matching import Context
from projections.sla.turns import Turn

__all__ = ["ATTRIBUTES_MAX", "NAMES_MAX", "SETTLED", "Facts"]

NAMES_MAX: Final = 32
"""Tags of a conversation, and segments of a customer, that are remembered: those set last."""

ATTRIBUTES_MAX: Final = 32
"""Clear attributes that are remembered: those set last."""

_STATUSES_MAX: Final = 32

SETTLED: Final = frozenset({"resolved", "closed"})
"""Statuses that a new message re-opens."""

_NOTHING: Final[frozenset[str]] = frozenset()
_NO_ATTRIBUTES: Final[frozenset[tuple[str, str]]] = frozenset()


class Facts(msgspec.Struct, array_like=True, gc=False):
    """What the turns so far have said. `last` is the last turn's order.

    `type`, `stage`, `channel` and `direction` are those of the customer's last doing. `team_rank` 1: assigned, 0: whoever answered.
    `statuses` is flat: since when, which. `asked`: the customer wants something; `answered`: by a bot or a person; `answered_human`:
    by a person. `bot_turn`: a bot leads. `handed`: how often a person was asked for. `waiting`: in a queue now; `queue_since_us`: in
    queues since, until somebody answers (0 = not). `turn_waits`: something was said in a live chat while it was nobody's turn.
    `thanks`: a message of the customer re-opened what was settled. `settled_us`: when it was last resolved or closed, `reopens_until_us`: until
    when that can be undone without being a repeat.
    """

    last: Order | None = None
    type: str = ""
    stage: str | None = None
    channel: str = ""
    direction: str | None = None
    queue: str | None = None
    team: str | None = None
    team_rank: int = 0
    priority: str | None = None
    language: str | None = None
    tags: list[str] = []
    segments: list[str] = []
    attributes: dict[str, str] = {}
    assignee: str | None = None
    owner_team: str | None = None
    owner_agent: str | None = None
    status: str = ""
    statuses: list[int | str] = []
    opened: bool = False
    asked: bool = False
    answered: bool = False
    answered_human: bool = False
    bot_turn: bool = False
    handed: int = 0
    waiting: bool = False
    queue_since_us: int = 0
    turn_waits: bool = False
    thanks: bool = False
    settled_us: int = 0
    reopens_until_us: int = 0
    snoozed_until_us: int = 0

    def context(self) -> Context:
        """Return what conditions see."""
        return Context(
            self.type,
            self.stage,
            self.channel,
            self.queue,
            self.team,
            self.priority,
            frozenset(self.tags) if self.tags else _NOTHING,
            frozenset(self.segments) if self.segments else _NOTHING,
            self.language,
            self.direction,
            frozenset(self.attributes.items()) if self.attributes else _NO_ATTRIBUTES,
        )

    def enter(self, status: str, at_us: int) -> None:
        """Take on a status from this moment."""
        self.status = status
        if status != "snoozed":
            self.snoozed_until_us = 0
        self.statuses = [*self.statuses[-2 * _STATUSES_MAX :], at_us, status]

    def learn(self, turn: Turn) -> str:
        """Take in what a turn says that conditions may read; return what changed, the weightiest, "" if nothing did."""
        changed = self._customer(turn) if turn.kind in {"asked", "abandoned"} and not turn.elsewhere else ""
        kind = turn.kind
        if kind in {"queued", "connected", "joined", "asked", "began"} and turn.value and not turn.elsewhere and turn.value != self.queue:
            self.queue, changed = turn.value, "queue"
        if turn.team and not turn.elsewhere and (kind == "assigned" or (self.team_rank == 0 and turn.agent)):
            self.team_rank = max(self.team_rank, 1 if kind == "assigned" else 0)
            if turn.team != self.team:
                self.team, changed = turn.team, "team"
        if kind == "segment" and _name(self.segments, turn.value or ""):
            changed = "segment"
        if kind == "fact" and turn.value and _name(self.tags, turn.value):
            changed = "tags"
        if turn.priority and turn.priority != self.priority:
            self.priority, changed = turn.priority, "priority"
        if turn.attributes and not turn.elsewhere:
            changed = self._attributes(turn.attributes) or changed
        return changed

    def _customer(self, turn: Turn) -> str:
        """Remember what the customer did last."""
        stage = turn.value if turn.kind == "abandoned" else None
        changed = ""
        if turn.type != self.type or stage != self.stage or turn.direction != self.direction:
            self.type, self.stage, self.direction = turn.type, stage, turn.direction
            changed = "policy"
        if turn.channel != self.channel:
            changed = "channel" if self.channel else "policy"
            self.channel = turn.channel
        return changed

    def _attributes(self, said: dict[str, str]) -> str:
        changed = ""
        for name, value in said.items():
            if self.attributes.get(name) != value:
                self.attributes = {**self.attributes, name: value}
                changed = "policy"
        if len(self.attributes) > ATTRIBUTES_MAX:
            self.attributes = dict(list(self.attributes.items())[-ATTRIBUTES_MAX:])
        priority = said.get("priority")
        if priority and priority != self.priority:
            self.priority, changed = priority, "priority"
        self.language = said.get("language") or self.language
        return changed


def _name(names: list[str], signed: str) -> bool:
    """Add `+name` or take `-name` away; tell whether that changed anything."""
    sign, name = signed[:1], signed[1:]
    if sign == "+" and name not in names:
        names.append(name)
        del names[:-NAMES_MAX]
        return True
    if sign == "-" and name in names:
        names.remove(name)
        return True
    return False
