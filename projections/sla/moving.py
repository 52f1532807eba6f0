"""One turn further. The same function live and when everything is read again.

    turn ─▶ reading: facts, signs ─▶ what ends ─▶ who promises what now ─▶ what pauses ─▶ what starts

Knows turns, tables and terms; must not know rows, effects or arrival. A conversation read from the same turns in the same order ends
in the same clocks, whoever looked when.
"""

from typing import Final

from projections.sla import promises
from projections.sla.clock import Clock
from projections.sla.machine import Machine, Move
from projections.sla.reading import read
from projections.sla.terms import Terms
from projections.sla.transitions import CANCELLED, IDLE, METRICS, NUMBER, PAUSED, QUEUE_TOTAL, REACTIONS, RESUMED, RUNNING, STOPPED, Sign
from projections.sla.turns import Turn

__all__ = ["step", "wake"]

_ACKNOWLEDGE: Final = NUMBER["acknowledge_auto"]
_FIRST_HUMAN: Final = NUMBER["first_response_human"]
_QUEUE: Final = NUMBER["queue_answer"]
_TOTAL: Final = NUMBER[QUEUE_TOTAL]
_UNDER_WAY: Final = (False, True, True, False, False)
_RESUMED: Final = frozenset((NUMBER[metric], sign) for metric, sign in RESUMED)
_WHY: Final[dict[str, str]] = {
    "abandoned": "abandoned",
    "closed": "resolved",
    "customer_left": "left",
    "left_queue": "left",
    "queued": "left",
}
"""Sign -> the reason of a clock that it cancels, where that is another word."""

_FIRST: Final = frozenset({NUMBER["first_response"], _FIRST_HUMAN})
_SETTLES: Final = frozenset({"resolved", "closed"})


def step(machine: Machine, turn: Turn, terms: Terms) -> list[Clock]:
    """Take one turn; return the clocks that it changed. Hot path: 3–15 µs."""
    if turn.elsewhere and not promises.counts(machine, turn, terms):
        return []
    facts = machine.facts
    move = Move(machine, turn, terms)
    if facts.snoozed_until_us and move.at_us > facts.snoozed_until_us:
        move.touched += wake(machine, terms)
    if machine.open:
        _look_at_dues(move)
    status, bot_turn = facts.status, facts.bot_turn
    for sign in read(facts, turn, terms.reopen_us(turn.book) if facts.settled_us else 0):
        _react(move, sign)
    _learn(move)
    if machine.open and (facts.status != status or facts.bot_turn != bot_turn):
        _pause(machine, terms, move.at_us, move.touched)
    if machine.policy is not None:
        if turn.kind == "asked" and machine.states[_ACKNOWLEDGE] == IDLE and promises.out_of_hours(move):
            _react(move, "asked_out_of_hours")
        if move.starts:
            _start(move)
    return move.touched


def wake(machine: Machine, terms: Terms) -> list[Clock]:
    """End a snooze at its own time; return the clocks that run again."""
    facts = machine.facts
    at_us = facts.snoozed_until_us
    touched: list[Clock] = []
    if at_us:
        facts.enter("open", at_us)
        _pause(machine, terms, at_us, touched)
    return touched


def _look_at_dues(move: Move) -> None:
    """Make late what is late at this turn's time, and nothing else: a timer may have been noticed before an earlier turn came."""
    at_us = move.at_us
    for clock in move.machine.open:
        late_us = clock.late_us
        if late_us is None:
            if clock.state == RUNNING and clock.due_us is not None and at_us > clock.due_us:
                clock.late_us = clock.due_us
                move.touch(clock)
        elif late_us >= at_us and clock.cause != "retarget":
            clock.late_us = None
            move.touch(clock)


def _learn(move: Move) -> None:
    """Take in what the turn tells, and look at the policy again where conditions may read it."""
    machine, turn = move.machine, move.turn
    facts = machine.facts
    facts.last = turn.order
    team, priority = facts.team, facts.priority
    changed = facts.learn(turn)
    if turn.kind == "rules":
        promises.renew(move)
    elif changed or turn.book != machine.book:
        promises.review(move, changed)
    if changed and (facts.team != team or facts.priority != priority):
        for clock in machine.open:
            clock.team, clock.priority = facts.team, facts.priority
            move.touch(clock)


def _react(move: Move, sign: Sign) -> None:
    """Let every metric answer one sign: what ends ends now, what starts is noted."""
    machine = move.machine
    states = machine.states
    if sign == "handed_over" and machine.facts.handed == 1 and _UNDER_WAY[states[_FIRST_HUMAN]]:
        _restart(move)
    for number, after in REACTIONS[sign]:
        state = states[number]
        target = after[state]
        if target < 0:
            continue
        if machine.open and _UNDER_WAY[state]:
            clock = machine.clock(number)
            if clock is not None:
                _end(move, clock, target, sign)
        states[number] = target
        if target == RUNNING:
            resumed = state == STOPPED and (number, sign) in _RESUMED
            move.starts.append((number, resumed))
            if not resumed:
                machine.since[number] = machine.facts.queue_since_us if number == _TOTAL else move.at_us
                _count(machine.counts, number)


def _count(counts: list[int], number: int) -> None:
    """Give the next instance its number; waits in one queue and over several share theirs."""
    counts[number] = 1 + (max(counts[_QUEUE], counts[_TOTAL]) if number in {_QUEUE, _TOTAL} else counts[number])


def _end(move: Move, clock: Clock, target: int, sign: Sign) -> None:
    """Stop or cancel an open clock."""
    turn = move.turn
    clock.team = clock.team or turn.team
    if target == CANCELLED or (target == RUNNING and clock.metric == _QUEUE):
        unanswered = clock.metric in _FIRST and sign in _SETTLES
        clock.cancel(move.terms, move.at_us, "resolved_unanswered" if unanswered else _WHY.get(sign, sign))
    else:
        clock.stop(move.terms, move.at_us, turn.channel)
    move.machine.close(clock)
    move.touch(clock)


def _restart(move: Move) -> None:
    """After a bot led, the clock of people starts at the request (sla.md §6)."""
    machine = move.machine
    machine.since[_FIRST_HUMAN] = move.at_us
    clock = machine.clock(_FIRST_HUMAN)
    if clock is not None and clock.late_us is None:
        clock.restart(move.terms, move.terms.policy(clock.book, clock.policy), move.at_us)
        machine.states[_FIRST_HUMAN] = RUNNING
        move.touch(clock)


def _pause(machine: Machine, terms: Terms, at_us: int, touched: list[Clock]) -> None:
    """Pause and resume what the status, or the bot's turn, asks for."""
    for clock in machine.open:
        policy = terms.policy(clock.book, clock.policy)
        resting = promises.rests(clock.metric, machine.facts, policy)
        if resting and clock.state == RUNNING:
            clock.pause(terms, at_us)
        elif not resting and clock.state == PAUSED:
            clock.resume(terms, policy, at_us)
        else:
            continue
        machine.states[clock.metric] = clock.state
        if clock not in touched:
            touched.append(clock)


def _start(move: Move) -> None:
    """Start what was noted, under the rules in force at this turn."""
    machine = move.machine
    policy = move.terms.policy(machine.book, machine.policy)
    targets = policy.targets if policy is not None else {}
    for number, resumed in move.starts:
        if machine.states[number] != RUNNING:
            continue  # it ended in the same turn
        if resumed and (clock := _last(machine, number)) is not None:
            _resume(move, clock)
        elif METRICS[number] in targets and policy is not None:
            move.touch(promises.begin(machine, number, move.terms, policy))


def _last(machine: Machine, number: int) -> Clock | None:
    """Return the clock of the metric's latest instance, if it was promised."""
    for clock in reversed(machine.done):
        if clock.metric == number:
            return clock if clock.instance == machine.counts[number] else None
    return None


def _resume(move: Move, clock: Clock) -> None:
    """Let a stopped clock go on: the time it was settled does not count."""
    machine = move.machine
    machine.done = [one for one in machine.done if one is not clock]
    machine.open = [*machine.open, clock]
    policy = move.terms.policy(clock.book, clock.policy)
    clock.resume(move.terms, policy, move.at_us)
    if promises.rests(clock.metric, machine.facts, policy):
        clock.pause(move.terms, move.at_us)
        machine.states[clock.metric] = PAUSED
    move.touch(clock)
