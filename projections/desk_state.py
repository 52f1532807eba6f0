"""What is kept of who has what: under a customer the owner of each conversation, under an agent the work and whether they are there."""

from typing import Final

import msgspec

from projections.linked import Links
from projections.order import Order

__all__ = ["HELD_MAX", "PRESENCES_MAX", "WORKS_MAX", "DeskState", "Holding", "Presence", "Work"]

HELD_MAX: Final = 256
"""Conversations of one customer whose owners are known: those touched last."""

WORKS_MAX: Final = 500
"""Conversations of one agent: above it those released long ago leave the state, then those given to the agent longest ago."""

PRESENCES_MAX: Final = 16
"""Comings and goings of an agent that are kept: the latest by event time."""


class Holding(msgspec.Struct, array_like=True, gc=False):
    """Who has one conversation. Each fact with its `Order`, so that every order of arrival ends alike.

    `told`: whom we have told that it is theirs; "" = nobody. `copying`: records are being copied from this customer.
    """

    home: str
    case_id: str | None
    channel: str
    agent: str = ""
    team: str | None = None
    given: Order | None = None
    over: bool = False
    ended: Order | None = None
    told: str = ""
    copying: str = ""

    @property
    def owner(self) -> str:
        """Whose it is; "" = nobody's."""
        return "" if self.over else self.agent


class Work(msgspec.Struct, array_like=True, gc=False):
    """One conversation that an agent has, or had (`released`)."""

    order: Order
    customer_id: str
    conversation_id: str
    home: str
    case_id: str | None
    channel: str
    released: bool


class Presence(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An agent came or went; None: neither, only the team is news."""

    order: Order
    away: bool | None
    team: str | None


class DeskState(msgspec.Struct, array_like=True):
    """One customer (`held`, by conversation) or one agent (`works`, by conversation and home; `presences` in order).

    `links`: the customers that are one with this one; `theirs`: what was told of conversations where they are being copied from.
    """

    tenant: str
    id: str
    held: dict[str, Holding] = msgspec.field(default_factory=dict)
    works: dict[str, Work] = msgspec.field(default_factory=dict)
    presences: list[Presence] = msgspec.field(default_factory=list)
    armed_us: int | None = None
    links: Links = msgspec.field(default_factory=Links)
    theirs: dict[str, Holding] = msgspec.field(default_factory=dict)
