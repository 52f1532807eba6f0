"""What `touchline bench clocks` measures: a million timers, the business calendar, the fold of the care group, and how late alerts are.

Only the last needs servers. Targets are those of docs/sla.md and engine.md.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from benchmarks.calendar import calendar
from benchmarks.care import care
from benchmarks.figures import Section
from benchmarks.lateness import alerts
from benchmarks.stage import Stage
from benchmarks.timers import timers

__all__ = ["NAMES", "ClocksPlan", "measured"]

NAMES = ("timers", "calendar", "fold", "alerts")
"""The parts, by which `--only` chooses."""


class ClocksPlan(msgspec.Struct, frozen=True):
    """How much is measured: `events` are folded, `mails` come due; `repeat` are the folds, and the kills."""

    events: int = 20_000
    repeat: int = 3
    mails: int = 600
    parts: frozenset[str] = frozenset(NAMES)


def measured(stage: Callable[[], AbstractContextManager[Stage]], plan: ClocksPlan, folder: Path, say: Callable[[str], None]) -> Iterator[Section]:
    """Measure what the plan asks for, section by section; the stage is set only if a part needs it, `folder` is for files.

    `say` is told what is under way.
    """
    if "timers" in plan.parts:
        say("A million timers")
        yield timers()
    if "calendar" in plan.parts:
        say("The calendar")
        yield calendar()
    if "fold" in plan.parts:
        say(f"Folding {plan.events:,} events of a day, and of mails and calls")
        yield care(plan.events, plan.repeat, folder)
    if "alerts" in plan.parts:
        say("Starting the servers")
        with stage() as found:
            yield alerts(found, plan.mails, plan.repeat, say)
