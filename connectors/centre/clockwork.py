"""The clock of the simulated day: a heap of what happens next. Knows generators and tickets; must not know what a customer is.

A process is a generator. It yields either microseconds ("wake me after") or a `Ticket` ("wake me when an agent is mine, or
when my patience ends"). Only what is under way lies in memory: a day of a million events needs no more than its open journeys.
"""

from collections.abc import Generator, Iterator
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connectors.centre.desks import Agent

__all__ = ["Clockwork", "Process", "Ticket"]


class Ticket:
    """A place in a queue. `agent` is set once one is free; it stays None where patience (`patience_us`) ended first."""

    __slots__ = ("agent", "patience_us", "process", "settled")

    def __init__(self, patience_us: int | None) -> None:
        self.patience_us = patience_us
        self.agent: Agent | None = None
        self.process: Process | None = None
        self.settled = False


Process = Generator[int | Ticket, None, None]
"""A whole journey."""


class Clockwork:
    """Runs processes in the order of their times; at one time in the order in which they were entered."""

    __slots__ = ("_entered", "_heap", "now_us")

    def __init__(self, now_us: int) -> None:
        self.now_us = now_us
        self._entered = 0
        self._heap: list[tuple[int, int, Process, Ticket | None]] = []

    def start(self, process: Process, delay_us: int = 0) -> None:
        """Let `process` take its first step after `delay_us`."""
        self._entered += 1
        heappush(self._heap, (self.now_us + delay_us, self._entered, process, None))

    def grant(self, ticket: Ticket, agent: "Agent") -> None:
        """Give `agent` to the process that waits with `ticket`."""
        ticket.settled = True
        ticket.agent = agent
        if ticket.process is not None:
            self.start(ticket.process)

    def run(self, until_us: int, out: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Step through time up to `until_us` and pass on what the processes laid into `out`. The hot loop of the generator."""
        heap = self._heap
        while heap:
            at_us, _, process, ticket = heappop(heap)
            if ticket is not None:
                if ticket.settled:
                    continue
                ticket.settled = True
            if at_us > until_us:
                return
            self.now_us = at_us
            for step in process:
                self._next(process, step)
                break
            if out:
                yield from out
                out.clear()

    def _next(self, process: Process, step: "int | Ticket") -> None:
        self._entered += 1
        if isinstance(step, int):
            heappush(self._heap, (self.now_us + step, self._entered, process, None))
        elif step.settled:
            heappush(self._heap, (self.now_us, self._entered, process, None))
        else:
            step.process = process
            if step.patience_us is not None:
                heappush(self._heap, (self.now_us + step.patience_us, self._entered, process, step))
