"""Desks and the agents who sit at them: a finite number, so that waiting comes from load. Must not know what is being asked."""

from collections import deque
from typing import Any

from connectors.centre.clockwork import Clockwork, Ticket

__all__ = ["DESKS", "Agent", "Desk", "seats"]

DESKS: dict[str, float] = {"voice": 0.36, "chat": 0.22, "mail": 0.18, "china": 0.17, "store": 0.07}
"""The desks and the share of the agents each has, tuned to `scaled`'s load."""

_AGENTS_APART = 10
"""From so many agents on there are desks; fewer sit at one together and do everything."""

HIGH, NORMAL, LATER = 0, 1, 2
"""Ranks in a desk's queue: plan or second try, everybody else, work that nobody waits for in person."""


class Agent:
    """One agent. `actor` is what events say of them; `idle` while on a desk's free list."""

    __slots__ = ("actor", "called", "desk", "id", "idle", "name")

    def __init__(self, agent_id: str, name: str, team: str, role: str, desk: "Desk") -> None:
        self.id = agent_id
        self.name = name
        self.desk = desk
        self.actor: dict[str, Any] = {"kind": "agent", "id": agent_id, "team": team, "role": role}
        self.idle = False
        self.called: Ticket | None = None
        """Set while a break or the end of the shift waits for this agent to become free."""


class Desk:
    """A queue by rank, and free agents by how long they have been free. `staffed` counts who is logged in and not on a break."""

    __slots__ = ("_clock", "_free", "_waiting", "name", "staffed")

    def __init__(self, name: str, clock: Clockwork) -> None:
        self.name = name
        self.staffed = 0
        self._clock = clock
        self._free: deque[Agent] = deque()
        self._waiting: tuple[deque[Ticket], ...] = (deque(), deque(), deque())

    def ask(self, rank: int, patience_us: int | None) -> Ticket:
        """Queue up. The ticket is settled at once where an agent is free. `patience_us` None waits without end."""
        ticket = Ticket(patience_us)
        if self._free:
            agent = self._free.popleft()
            agent.idle = False
            self._clock.grant(ticket, agent)
        else:
            self._waiting[rank].append(ticket)
        return ticket

    def sit_down(self, agent: Agent) -> None:
        """Begin, or come back from a break."""
        self.staffed += 1
        self.release(agent)

    def release(self, agent: Agent) -> None:
        """Let `agent` take what comes next: a break that is due, the next in the queue, or a rest on the free list."""
        if agent.called is not None:
            called, agent.called = agent.called, None
            self.staffed -= 1
            self._clock.grant(called, agent)
            return
        for line in self._waiting:
            while line:
                ticket = line.popleft()
                if not ticket.settled:
                    self._clock.grant(ticket, agent)
                    return
        agent.idle = True
        self._free.append(agent)

    def call_away(self, agent: Agent) -> Ticket:
        """Ask `agent` to stop; the ticket is settled when the work in hand is done."""
        ticket = Ticket(None)
        if agent.idle:
            self._free.remove(agent)
            agent.idle = False
            self.staffed -= 1
            self._clock.grant(ticket, agent)
        else:
            agent.called = ticket
        return ticket


def seats(agents: int) -> list[str]:
    """Return a desk's name for each agent, by the shares of `DESKS` and at least one each; a small centre has one desk, `service`."""
    if agents < _AGENTS_APART:
        return ["service"] * agents
    counts = {name: max(1, int(share * agents)) for name, share in DESKS.items()}
    counts["voice"] += agents - sum(counts.values())
    return [name for name, count in counts.items() for _ in range(count)]
