"""The wheel with a million open timers: µs to arm and to cancel one, bytes each, what is left behind; and what a timer costs in a fold.

`touchline bench clocks --only timers` prints the figures that the docstrings name.
"""

import gc
import random
import time
from collections.abc import Sequence
from pathlib import Path
from resource import getpagesize
from typing import Any, ClassVar, Final
from uuid import UUID

import msgspec

from benchmarks.figures import Figure, Section
from projections.kernel import Arm, Disarm, Moment, Step, Subject, Timer, TimerChange
from projections.registry import Group
from projections.testing import message_received, message_sent
from schemas.codec import Codec
from schemas.events import MessageReceived, MessageSent
from schemas.record import Event
from streams.engine import Engine
from streams.records import Batch, RawRecord
from streams.timers import TimerWheel

__all__ = ["timers"]

_OPEN: Final = 1_000_000
_ROUNDS: Final = 3
_START_US: Final = 1_767_222_000_000_000
_STEP_US: Final = 14_400
"""A new timer every 14 ms: 70 a second, so that a million wait at targets of one to eight hours."""

_TARGETS_S: Final = (3600, 4 * 3600, 8 * 3600)
_CUSTOMERS: Final = 2_000
_MESSAGES: Final = 10


def timers() -> Section:
    """Measure; CPU of this process, and its resident memory before and after. Ids are UUIDs, as the resolver makes them."""
    rng = random.Random(7)  # noqa: S311 - a benchmark repeats itself
    subjects = [str(UUID(int=rng.getrandbits(128))) for _ in range(_OPEN)]
    moments = [_START_US + n * _STEP_US + rng.choice(_TARGETS_S) * 1_000_000 for n in range(_OPEN)]
    runs = [_wheel(subjects, moments) for _ in range(_ROUNDS)]
    arm, cancel, size, left, taken = zip(*runs, strict=True)
    both = tuple(a + c for a, c in zip(arm, cancel, strict=True))
    folds = [(_fold(arms=False), _fold(arms=True)) for _ in range(_ROUNDS + 1)][1:]
    figures = (
        Figure("arm", "µs", arm),
        Figure("cancel", "µs", cancel),
        Figure("arm and cancel", "µs", both, at_most=2.2),
        Figure("one open timer, its subject included", "bytes", size[:1], at_most=120),  # later runs find memory that is theirs already
        Figure("left behind by a million cancelled ones", "bytes", left, at_most=0),
        Figure("take out one that has come", "µs", taken),
        Figure("fold of an event by a projection without timers", "µs", tuple(without for without, _ in folds)),
        Figure("the same that arms or disarms one", "µs", tuple(with_ for _, with_ in folds)),
    )
    note = f"{_OPEN:,} timers of as many customers; a fold is header, body, states and timers encoded, in batches of 1,000, without store and log."
    return Section("timers", "Timers, one million open", figures, notes=(note,))


def _wheel(subjects: Sequence[str], moments: Sequence[int]) -> tuple[float, float, float, float, float]:
    """Return (µs to arm, µs to cancel, bytes each, bytes left behind, µs to take one out)."""
    wheel = TimerWheel()
    gc.collect()
    gc.disable()
    try:
        before = _resident()
        began = time.process_time()
        for subject, at_us in zip(subjects, moments, strict=True):
            wheel.arm(3, "acme", subject, at_us)
        arm = time.process_time() - began
        size = (_resident() - before) / len(subjects)
        began = time.process_time()
        for subject, at_us in zip(subjects, moments, strict=True):
            wheel.cancel(3, "acme", subject, at_us)
        cancel = time.process_time() - began
        left = sum(map(len, wheel._waiting.values())) + len(wheel._waiting)  # noqa: SLF001 - what is kept inside is what is measured
        for subject, at_us in zip(subjects, moments, strict=True):
            wheel.arm(3, "acme", subject, at_us)
        began, taken = time.process_time(), 0
        while found := wheel.due(moments[-1] * 2, 1000):
            taken += len(found)
        come = time.process_time() - began
    finally:
        gc.enable()
    return arm / _OPEN * 1e6, cancel / _OPEN * 1e6, size, float(left), come / taken * 1e6


class _Count(msgspec.Struct, array_like=True, gc=False):
    """A state of next to nothing."""

    n: int = 0


class _Asking:
    """Arms a timer per message of the customer, and disarms it when it is answered; or only counts."""

    name: ClassVar[str] = "asking"
    version: ClassVar[int] = 1
    handles: ClassVar[frozenset[type[Event]]] = frozenset({MessageReceived, MessageSent})
    depends_on: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, arms: bool) -> None:
        self._arms = arms

    def initial(self, subject: Subject) -> _Count:  # noqa: ARG002 - the same for all
        return _Count()

    def apply(self, state: _Count, event: Event, at: Moment) -> Step[_Count]:
        state.n += 1
        if not self._arms:
            return Step(state)
        change: TimerChange = Disarm("answer") if isinstance(event, MessageSent) else Arm("answer", at.occurred_at_us + 3_600_000_000)
        return Step(state, timers=(change,))

    def expire(self, state: _Count, timer: Timer, at: Moment) -> Step[_Count]:  # noqa: ARG002 - it is never reached
        return Step(state)


def _fold(*, arms: bool) -> float:
    """Return CPU µs per event."""
    codec = Codec()
    group = Group("asking", 1, (_Asking(arms=arms),))
    engine = Engine(group, codec, tenant="acme", cached_subjects_max=_CUSTOMERS)
    engine.open(0, None)
    records = list(_records(codec))
    batches = [Batch(0, records[at : at + 1000]) for at in range(0, len(records), 1000)]
    gc.collect()
    began = time.process_time()
    for batch in batches:
        engine.feed(engine.take(batch), {})
        engine.acknowledge(engine.work_number)
    return (time.process_time() - began) / len(records) * 1e6


def _records(codec: Codec) -> list[RawRecord]:
    """Return a log in which every customer asks and is answered, in turn."""
    records: list[RawRecord] = []
    for turn in range(_MESSAGES):
        for number in range(_CUSTOMERS):
            at_us = _START_US + len(records) * 1_000
            fields: dict[str, Any] = {"id": f"m-{turn}-{number}", "at": at_us, "customer": f"cu-{number}", "conversation_id": f"co-{number}"}
            event = message_sent(**fields) if turn % 2 else message_received(**fields)
            records.append(RawRecord(len(records), f"cu-{number}".encode(), codec.encode(event), at_us))
    return records


def _resident() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize()
