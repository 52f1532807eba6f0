"""What is promised to a conversation: its policy now, and what a change of it does to clocks that are open (sla.md §5).

Start and segments stay. `recompute` measures what was consumed again, under the new calendar; `carry_seconds` keeps it. Who is
above the new target is breached at the instant of the change, never back-dated. What the new policy lacks is cancelled.

The policy of an open clock is pinned by its version: a later rulebook touches it only if its policy says `apply_to_open`; a later
version of its calendar counts from its moment on (§3).
"""

from typing import Final

from projections.rules import Policy
from projections.sla.clock import Clock
from projections.sla.facts import SETTLED, Facts
from projections.sla.machine import Machine, Move
from projections.sla.terms import Terms
from projections.sla.transitions import METRICS, NUMBER, PAUSED, RUNNING
from projections.sla.turns import Turn

__all__ = ["begin", "counts", "judge", "out_of_hours", "renew", "rests", "review"]

_SECOND_US: Final = 1_000_000
_ACKNOWLEDGE: Final = NUMBER["acknowledge_auto"]
_UNDER_WAY: Final = frozenset({RUNNING, PAUSED})
_NEVER_PAUSED: Final = frozenset({"resolution_total", "queue_answer", "acknowledge_auto"})
_ALWAYS_PAUSED: Final[dict[str, frozenset[str]]] = {
    "periodic_update": frozenset({"pending"}),
    "requester_wait": frozenset({"pending"}),
    "agent_work": frozenset({"pending", "on_hold"}),
}
_BY_POLICY: Final = frozenset({"resolution_net"})
_BY_OPTION: Final = frozenset({"first_response", "first_response_human", "next_response"})
_OWN_CALENDAR: Final = frozenset({"ownership"})
_BOTS: Final = frozenset({"first_response_human", "turn_response"})


def rests(number: int, facts: Facts, policy: Policy | None) -> bool:
    """Tell whether a metric's clock is paused in this state of the conversation: the column "paused while" of sla.md §2."""
    metric = METRICS[number]
    if facts.bot_turn and metric in _BOTS:
        return True
    status = facts.status
    if status == "open" or metric in _NEVER_PAUSED:
        return False
    if status == "snoozed":
        return policy is not None and (policy.snooze_pauses or (status in policy.pause_states and metric in _BY_POLICY))
    if metric in _ALWAYS_PAUSED:
        return status in _ALWAYS_PAUSED[metric]
    if policy is None or status not in policy.pause_states:
        return False
    return metric in _BY_POLICY or (policy.pause_responses and metric in _BY_OPTION)


def counts(machine: Machine, turn: Turn, terms: Terms) -> bool:
    """Tell whether what happened elsewhere counts here: answers as the policy says, the case's own events always."""
    if turn.kind not in {"replied", "connected"}:
        return True
    if machine.facts.status in SETTLED:
        return False
    policy = terms.policy(machine.book, machine.policy)
    wanted = "case" if policy is None else policy.answered_by
    return wanted == "any_channel" or (wanted == "case" and turn.elsewhere == "case")


def out_of_hours(move: Move) -> bool:
    """Tell whether an automatic reply is promised, and the policy's calendar for responses is closed now."""
    machine, terms = move.machine, move.terms
    policy = terms.policy(machine.book, machine.policy)
    if policy is None or METRICS[_ACKNOWLEDGE] not in policy.targets or move.turn.elsewhere:
        return False
    hours = terms.calendar_id(machine.book, machine.facts, policy, "first_response")
    return not terms.calendar(machine.book, hours).is_open(move.at_us)


def begin(machine: Machine, number: int, terms: Terms, policy: Policy) -> Clock:
    """Start the clock of a metric's present instance, from the moment at which that began."""
    metric, since_us, book, facts = METRICS[number], machine.since[number], machine.book, machine.facts
    calendar = terms.calendar_id(book, facts, policy, metric)
    instance = machine.counts[number]
    segments = _segments(machine, number, policy, since_us)
    clock = Clock(number, instance, since_us, policy.id, book, calendar, book, policy.targets[metric], segments)
    clock.team, clock.priority = facts.team, facts.priority
    for before in machine.done:
        if before.metric == number and before.instance == instance:  # its policy had gone, and came back
            machine.done = [one for one in machine.done if one is not before]
            clock.told, clock.late_us, clock.cause = before.told, before.late_us, before.cause
            break
    if len(segments) > 1:
        clock.measure(terms)
    if len(segments) % 2:
        clock.aim(terms, policy)
    else:
        clock.state = PAUSED
    machine.states[number] = clock.state
    machine.open = [*machine.open, clock]
    return clock


def _segments(machine: Machine, number: int, policy: Policy, since_us: int) -> list[int]:
    """Return the segments from the start until now: one, unless a state since then paused the metric."""
    facts = machine.facts
    resting = rests(number, facts, policy)
    statuses = facts.statuses
    if not statuses or int(statuses[-2]) <= since_us:
        return [] if resting else [since_us]
    segments: list[int] = []
    probe = Facts()
    for at in range(0, len(statuses), 2):
        at_us = max(int(statuses[at]), since_us)
        probe.status = str(statuses[at + 1])
        if rests(number, probe, policy) == bool(len(segments) % 2):
            segments.append(at_us)
    if len(segments) % 2 and resting:
        segments.append(facts.last[0] if facts.last else since_us)
    parts = [segments[at : at + 2] for at in range(0, len(segments), 2)]
    return [bound for part in parts if len(part) == 1 or part[0] < part[1] for bound in part]


def review(move: Move, changed: str) -> None:
    """Look at the policy again; retarget or cancel open clocks whose own rulebook now says something else."""
    machine, turn, terms = move.machine, move.turn, move.terms
    context = machine.facts.context()
    policy = terms.matcher(turn.book).policy(context)
    before = machine.policy
    machine.book = turn.book
    machine.policy = None if policy is None else policy.id
    if not changed:
        return
    for clock in machine.open:
        own = policy if clock.book == turn.book else terms.matcher(clock.book).policy(context)
        # the same policy can only mean another calendar, and only where it names none itself
        if own is None or own.id != clock.policy or own.calendar is None or METRICS[clock.metric] in _OWN_CALENDAR:
            _follow(move, clock, clock.book, own, changed)
    if policy is not None and policy.id != before:
        _promise(move, policy)


def renew(move: Move) -> None:
    """Let a rulebook come into force: policies that apply to open clocks, and new versions of calendars."""
    machine, terms = move.machine, move.terms
    context = machine.facts.context()
    version = int(move.turn.value or 0)
    policy = terms.matcher(version).policy(context)
    applies = policy is not None and policy.apply_to_open
    for clock in machine.open:
        if applies:
            _follow(move, clock, version, policy, "rules")
        elif clock.calendar_book < version:
            _new_calendar(move, clock, version)
    if machine.open:
        machine.book, machine.policy = version, None if policy is None else policy.id
    if applies and policy is not None:
        _promise(move, policy)


def _promise(move: Move, policy: Policy) -> None:
    """Start clocks of what is under way and was not promised before: from its own start, a breach from now on."""
    machine, at_us = move.machine, move.at_us
    starting = {number for number, _ in move.starts}
    for number, state in enumerate(machine.states):
        if state not in _UNDER_WAY or METRICS[number] not in policy.targets or machine.since[number] >= at_us:
            continue
        if number not in starting and machine.clock(number) is None:
            clock = begin(machine, number, move.terms, policy)
            judge(clock, move)
            move.touch(clock)


def _follow(move: Move, clock: Clock, version: int, policy: Policy | None, changed: str) -> None:
    """Bring one open clock under a policy, which may be its own."""
    terms, metric = move.terms, METRICS[clock.metric]
    target_s = None if policy is None else policy.targets.get(metric)
    if policy is None or target_s is None:
        if changed != "channel":  # of two policies the earlier due wins, and this one has none
            clock.cancel(terms, move.at_us, "policy")
            move.machine.close(clock)
            move.machine.states[clock.metric] = RUNNING
            move.touch(clock)
        return
    calendar = terms.calendar_id(version, move.machine.facts, policy, metric)
    same_calendar = calendar == clock.calendar and (
        version <= clock.calendar_book or terms.hours(version, calendar) == terms.hours(clock.calendar_book, calendar)
    )
    if policy.id == clock.policy and target_s == clock.target_s and same_calendar:
        clock.book = version
        return
    trial = _trial(clock, version, policy, calendar, target_s)
    if policy.on_change == "carry_seconds":
        trial.carry(clock.consumed_us(terms, move.at_us), move.at_us)
    if same_calendar:
        trial.calendar_book, trial.eras = clock.calendar_book, clock.eras
    trial.measure(terms)
    if trial.state == RUNNING:
        trial.aim(terms, policy)
    if changed == "channel" and not _earlier(trial, clock):
        return
    clock.take_terms(trial)
    if clock.late_us is None:
        clock.due_us, clock.warn_us = (trial.due_us, trial.warn_us) if trial.state == RUNNING else (clock.due_us, clock.warn_us)
        clock.cause, clock.by = changed, move.turn.agent
        judge(clock, move)
    move.touch(clock)


def _trial(clock: Clock, version: int, policy: Policy, calendar: str, target_s: int) -> Clock:
    """Return the clock as it would be under other terms."""
    trial = Clock(clock.metric, clock.instance, clock.started_us, policy.id, version, calendar, version, target_s, clock.segments)
    trial.state, trial.carried_us = clock.state, clock.carried_us
    return trial


def _earlier(trial: Clock, clock: Clock) -> bool:
    """Tell whether other terms would be due earlier (sla.md §6); of a paused clock, whether less would be left."""
    if trial.state == RUNNING:
        return trial.due_us is not None and (clock.due_us is None or trial.due_us < clock.due_us)
    return trial.target_s * _SECOND_US - trial.closed_us < clock.target_s * _SECOND_US - clock.closed_us


def judge(clock: Clock, move: Move) -> None:
    """Breach, at the instant of the change, a clock that has consumed more than its new target."""
    if clock.late_us is None and clock.consumed_us(move.terms, move.at_us) > clock.target_s * _SECOND_US:
        clock.late_us = clock.due_us = move.at_us
        clock.cause, clock.by = "retarget", move.turn.agent


def _new_calendar(move: Move, clock: Clock, version: int) -> None:
    """Take the calendar's new version from this moment on; what was consumed before stays measured by the old one."""
    at_us, terms = move.at_us, move.terms
    known = any(hours.id == clock.calendar for hours in terms.book(version).calendars)
    if not known or terms.hours(version, clock.calendar) == terms.hours(clock.calendar_book, clock.calendar):
        return
    clock.eras = [*clock.eras, at_us, clock.calendar_book]
    clock.calendar_book = version
    if clock.state == RUNNING:
        clock.segments = [*clock.segments, at_us, at_us]
        clock.measure(terms)
        if clock.late_us is None:
            clock.cause, clock.by = "calendar", None
            clock.aim(terms, terms.policy(clock.book, clock.policy))
    move.touch(clock)
