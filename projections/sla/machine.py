"""The machine of one conversation: its facts and clocks, and one turn's move of them.

Values only: `moving` makes the moves. A machine is stored with the customer's state, and once more as the base of a long course.
"""

from typing import Final

import msgspec

from projections.sla.clock import Clock
from projections.sla.facts import Facts
from projections.sla.terms import Terms
from projections.sla.transitions import IDLE, METRICS
from projections.sla.turns import Turn

__all__ = ["Machine", "Move"]

_IDLE: Final = (IDLE,) * len(METRICS)
_NONE: Final = (0,) * len(METRICS)


class Machine(msgspec.Struct, array_like=True, gc=False):
    """Facts and clocks of one conversation. `states`, `since`, `counts` go by a metric's number: where its table stands, since when
    its present instance has been under way, which instance that is. They move whether or not a policy promises anything.

    `open` are the clocks that run or are paused, at most one per number; `done` the others, in the order in which they ended. `policy`
    is the one that was chosen last, by the rules of version `book`.
    """  # noqa: D205 - one sentence is too long for a line

    facts: Facts = msgspec.field(default_factory=Facts)
    states: list[int] = msgspec.field(default_factory=lambda: list(_IDLE))
    since: list[int] = msgspec.field(default_factory=lambda: list(_NONE))
    counts: list[int] = msgspec.field(default_factory=lambda: list(_NONE))
    open: list[Clock] = []
    done: list[Clock] = []
    policy: str | None = None
    book: int = 0

    def clock(self, number: int) -> Clock | None:
        """Return the open clock of a metric."""
        for clock in self.open:
            if clock.metric == number:
                return clock
        return None

    def close(self, clock: Clock) -> None:
        """Put a clock among those that are done."""
        self.open = [one for one in self.open if one is not clock]
        self.done = [*self.done, clock]


class Move:
    """One turn's move: the machine, the turn and its time, the rules; `touched` are the clocks that it changed, `starts` those to start.

    A start is (the metric's number, whether the same instance goes on).
    """

    __slots__ = ("at_us", "machine", "starts", "terms", "touched", "turn")

    def __init__(self, machine: Machine, turn: Turn, terms: Terms) -> None:
        self.machine = machine
        self.turn = turn
        self.at_us = turn.order[0]
        self.terms = terms
        self.touched: list[Clock] = []
        self.starts: list[tuple[int, bool]] = []

    def touch(self, clock: Clock) -> None:
        """Note a change; once is enough."""
        if clock not in self.touched:
            self.touched.append(clock)
