"""The course of one conversation: its turns in order, and the machine that has read them.

A turn that comes in order takes the machine one further. A late one is put in its place and all turns are read again, by the
same machine: so every order of arrival ends in the same clocks. What is older than the kept turns is kept as the machine that had
read it. Knows the machine; must not know rows, effects or other conversations.
"""

from bisect import insort
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from projections.order import Order
from projections.sla.absorbing import absorb
from projections.sla.clock import Clock
from projections.sla.machine import Machine
from projections.sla.moving import step, wake
from projections.sla.terms import Terms
from projections.sla.turns import Turn

__all__ = ["TURNS_MAX", "Course", "Outside", "Reread", "compact", "put", "reread", "take"]

TURNS_MAX: Final = 200
"""Turns that a conversation keeps. Above it the earlier half is read for good: an event older than that moves nothing any more."""


class Outside(NamedTuple):
    """What a conversation learns from outside: turns; clocks that merges hand over to it, by the order of the merge; and the customer's
    segments before all turns."""  # noqa: D205, D209 - one sentence

    turns: Sequence[Turn]
    absorbed: Mapping[Order, Sequence[Clock]]
    segments: Sequence[str]


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Machine).decode


class Course(msgspec.Struct, array_like=True, gc=False):
    """One conversation. `home` is "" where it is the customer itself; it is that of the first inbound record.

    `cases` are all cases that it was ever in. `base` is the machine that read what is no longer kept, `base_last` the last
    of that. `void` holds ids of events that were corrected before they came. `turns_of` keeps, by metric and instance, how often a verdict
    had changed of a clock that is there no more, or was told of under another home. `copying`: records are being copied from these
    customers; `copied_us`: when those of the last one were all there.
    `brief` sums up its open clocks: rank (0 breached, 1 running, 2 paused), due time and metric of the worst one; running, paused, breached.
    """

    home: str = ""
    home_inbound: bool = False
    home_order: Order | None = None
    channel: str = ""
    case: str | None = None
    cases: list[str] = []
    machine: Machine = msgspec.field(default_factory=Machine)
    turns: list[Turn] = []
    base: bytes = b""
    base_last: Order | None = None
    void: list[str] = []
    turns_of: dict[str, int] = {}
    copying: list[str] = []
    policy_told: str | None = None
    policy_moves: int = 0
    snooze_armed_us: int = 0
    merged: bool = False
    brief: tuple[int, int, int, int, int, int] = (0, 0, 0, 0, 0, 0)
    copied_us: int = 0

    @property
    def clocks(self) -> list[Clock]:
        """Every clock that the state still holds."""
        return [*self.machine.open, *self.machine.done]

    @property
    def weight(self) -> int:
        """About how many units of 90 bytes it takes in the state."""
        return 6 + len(self.base) // 90 + len(self.turns) + 2 * (len(self.machine.open) + len(self.machine.done))


class Reread(msgspec.Struct):
    """What reading again changed: clocks that are new or different, and those that are no more."""

    touched: list[Clock]
    vanished: list[Clock]


def take(course: Course, turn: Turn, terms: Terms) -> list[Clock]:
    """Take a turn that comes after everything so far; return the clocks that it changed. Hot path."""
    course.turns.append(turn)
    return step(course.machine, turn, terms)


def put(course: Course, turn: Turn) -> bool:
    """Put a turn in its place; tell whether it is new there, and not older than what is kept."""
    if course.base_last is not None and turn.order <= course.base_last:
        return False
    if any(turn.order == kept.order and turn.elsewhere == kept.elsewhere for kept in course.turns):
        return False
    insort(course.turns, turn, key=_order)
    return True


def reread(course: Course, outside: Outside, terms: Terms, now_us: int) -> Reread:
    """Read all turns again, together with what came from outside; `now_us` is the append time, up to which a snooze has ended."""
    before = {clock.key: clock for clock in course.clocks}
    known = {turn.order for turn in outside.turns}
    own = [turn for turn in course.turns if not turn.elsewhere or turn.order not in known]
    machine = _read(course, sorted([*own, *outside.turns], key=_order), outside, terms, own)
    course.turns = sorted(own, key=_order)
    if machine.facts.snoozed_until_us and machine.facts.snoozed_until_us <= now_us:
        wake(machine, terms)
    course.machine = machine
    touched = []
    for clock in course.clocks:
        old = before.pop(clock.key, None)
        if old is not None:
            clock.told = old.told
        if old is None or msgspec.structs.astuple(old)[:-1] != msgspec.structs.astuple(clock)[:-1]:
            touched.append(clock)
    for clock in before.values():
        if clock.told.state >= 0:
            course.turns_of[clock.name] = clock.told.turn + 2  # one for what is told of its end, one for a new beginning
    return Reread(touched, list(before.values()))


def compact(course: Course, dropped: int, outside: Outside, terms: Terms) -> None:
    """Read the earliest turns for good, and forget clocks that were over by then; their rows stay."""
    early, rest = course.turns[:dropped], course.turns[dropped:]
    if not early:
        return
    last = early[-1].order
    known = {turn.order for turn in early}
    also = [turn for turn in outside.turns if turn.order <= last and turn.order not in known]
    machine = _read(course, sorted([*early, *also], key=_order), outside, terms, [])
    over = {clock.key for clock in machine.done}
    machine.done = []
    course.machine.done = [clock for clock in course.machine.done if clock.key not in over]
    course.base, course.base_last, course.turns = _encode(machine), last, rest


def _read(course: Course, turns: Sequence[Turn], outside: Outside, terms: Terms, own: list[Turn]) -> Machine:
    """Run a machine over turns; what came from elsewhere and moved a clock becomes one of its own."""
    if course.base:
        machine = _decode(course.base)
    else:
        machine = Machine()
        machine.facts.segments = list(outside.segments)
    last = course.base_last
    for turn in turns:
        if last is not None and turn.order <= last:
            continue
        moved = step(machine, turn, terms)
        if turn.order in outside.absorbed:
            moved = moved + absorb(machine, outside.absorbed[turn.order], turn, terms)
        if moved and turn.elsewhere and turn.conversation:
            own.append(turn)
    return machine


def _order(turn: Turn) -> Order:
    return turn.order
