"""A merged case hands its clocks over: the target keeps the earliest start (sla.md §6). Knows the machine; must not know which cases."""

from collections.abc import Sequence

from projections.sla import promises
from projections.sla.clock import Clock
from projections.sla.facts import SETTLED
from projections.sla.machine import Machine, Move
from projections.sla.terms import Terms
from projections.sla.transitions import METRICS, NUMBER, PAUSED, QUEUE_TOTAL, RUNNING
from projections.sla.turns import Turn

__all__ = ["absorb"]

_OWN = frozenset({NUMBER["queue_answer"], NUMBER[QUEUE_TOTAL], NUMBER["turn_response"], NUMBER["ownership"], NUMBER["acknowledge_auto"]})
"""What belongs to one contact or one owner is not handed over."""


def absorb(machine: Machine, merged: Sequence[Clock], turn: Turn, terms: Terms) -> list[Clock]:
    """Take over the clocks that were open in what was merged into this conversation, at this turn; return what changed.

    A clock that is open here takes the earlier start and what was consumed since; what is not under way here starts, from the
    start that it had there. A settled conversation takes over nothing: what it is about is settled.
    """
    move = Move(machine, turn, terms)
    if machine.facts.status in SETTLED:
        return []
    for theirs in sorted(merged, key=lambda clock: (clock.started_us, clock.segments)):
        number = theirs.metric
        if number in _OWN:
            continue
        clock = machine.clock(number)
        if clock is None:
            clock = _start(machine, theirs, turn, terms)
            if clock is None:
                continue
        elif theirs.started_us >= clock.started_us:
            continue
        clock.started_us = machine.since[number] = theirs.started_us
        clock.segments = _union(theirs.segments, clock.segments)
        clock.measure(terms)
        policy = terms.policy(clock.book, clock.policy)
        if clock.late_us is None:
            if clock.state == RUNNING:
                clock.aim(terms, policy)
            promises.judge(clock, move)
        move.touch(clock)
    return move.touched


def _start(machine: Machine, theirs: Clock, turn: Turn, terms: Terms) -> Clock | None:
    """Start here what was under way there: the next instance, if a policy promises it."""
    number = theirs.metric
    if machine.states[number] in {RUNNING, PAUSED}:
        return None
    policy = terms.policy(machine.book, machine.policy)
    machine.counts[number] += 1
    machine.states[number] = RUNNING
    machine.since[number] = turn.order[0]
    if policy is None or METRICS[number] not in policy.targets:
        machine.since[number] = theirs.started_us
        return None
    return promises.begin(machine, number, terms, policy)


def _union(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """Join the segments of two clocks; what runs in both counts once. The second one may still run."""
    runs = len(other) % 2
    closed = sorted([*zip(one[::2], one[1::2], strict=False), *zip(other[::2], other[1::2], strict=False)])
    joined: list[int] = []
    for start_us, end_us in closed:
        if joined and start_us <= joined[-1]:
            joined[-1] = max(joined[-1], end_us)
        else:
            joined += [start_us, end_us]
    if not runs:
        return joined
    last_us = other[-1]
    if joined and last_us <= joined[-1]:
        return joined[:-1]
    return [*joined, last_us]
