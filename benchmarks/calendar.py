"""The business calendar alone: µs to find a due time and to count open time over a year, warm and cold, and its memory; workclock beside it."""

import random
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from datetime import time as of_day
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from benchmarks.figures import Figure, Section
from projections.rules import WeeklyHours
from projections.sla.calendar import Calendar, calendar_of

if TYPE_CHECKING:
    from workclock import Schedule

__all__ = ["calendar"]

_ASKED: Final = 1_000
_ROUNDS: Final = 9
_COLD: Final = 20
_ZONE: Final = "Europe/Berlin"
_MORNING: Final = (9 * 3600, 12 * 3600)
_AFTERNOON: Final = (13 * 3600, 17 * 3600)
_YEAR_S: Final = 1_750 * 3600
_YEAR_US: Final = 365 * 86_400_000_000
_FIRST_US: Final = 1_767_222_000_000_000
_CLOSED: Final = tuple(f"{year}-{day}" for year in (2026, 2027) for day in ("01-01", "01-06", "05-01", "10-03", "11-01", "12-24", "12-25", "12-26"))
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def calendar() -> Section:
    """Measure an office in Berlin with a lunch hour and eight closed days a year; CPU of this thread, starts spread over 2026."""
    rng = random.Random(7)  # noqa: S311 - a benchmark repeats itself
    starts = [_FIRST_US + rng.randrange(_YEAR_US) for _ in range(_ASKED)]
    week = ((_MORNING, _AFTERNOON),) * 5 + ((), ())
    hours = WeeklyHours(id="office", timezone=_ZONE, week=week, exceptions=dict.fromkeys(_CLOSED, ()))
    office = calendar_of(hours)
    works: dict[str, Callable[[], object]] = {
        "due over a year (1,750 open hours)": lambda: [office.due(at_us, _YEAR_S) for at_us in starts],
        "due in 4 open hours": lambda: [office.due(at_us, 4 * 3600) for at_us in starts],
        "open time over a year": lambda: [office.open_us(at_us, at_us + _YEAR_US) for at_us in starts],
        "open time over an hour": lambda: [office.open_us(at_us, at_us + 3_600_000_000) for at_us in starts],
        "next opening": lambda: [office.next_open(at_us) for at_us in starts],
        "the calendar of known hours": lambda: [calendar_of(hours) for _ in starts],
    }
    notes: tuple[str, ...] = ("workclock is not installed (a development dependency), so nothing stands beside these figures.",)
    if find_spec("workclock"):
        peer = _peer()
        works |= _peers_works(peer, starts)
        notes = (_agreement(office, peer, starts),)
    rounds = [{name: _cost_us(work, _ASKED) for name, work in works.items()} for _ in range(_ROUNDS + 1)][1:]
    limits = {name: 20.0 for name in works if name.startswith(("due over", "open time over a year"))}
    figures = [Figure(name, "µs", tuple(found[name] for found in rounds), at_most=limits.get(name)) for name in works]
    cold = tuple(_cost_us(lambda: [Calendar(hours).due(_FIRST_US, 3600) for _ in range(_COLD)], _COLD) for _ in range(_ROUNDS))
    figures.append(Figure("first question to a calendar (compiles 407 days)", "µs", cold))
    figures.append(Figure("memory of a compiled year", "kB", (_year_kb(hours),)))
    return Section("calendar", "Business calendar, one question", tuple(figures), notes=notes)


def _peer() -> "Schedule":
    """Return the same office by workclock."""
    from workclock import Holidays, Schedule, WorkDay  # noqa: PLC0415 - a development dependency

    days = [datetime.fromisoformat(day).date() for day in _CLOSED]
    workdays = (WorkDay(of_day(start // 3600), of_day(end // 3600)) for start, end in (_MORNING, _AFTERNOON))
    return Schedule([*workdays, Holidays(days)], time_zone=_ZONE)


def _peers_works(peer: "Schedule", starts: list[int]) -> dict[str, Callable[[], object]]:
    moments = [_EPOCH + timedelta(microseconds=at_us) for at_us in starts]
    year = timedelta(microseconds=_YEAR_US)
    return {
        "workclock: due over a year": lambda: [peer.add(at, seconds=_YEAR_S) for at in moments],
        "workclock: open time over a year": lambda: [peer.between(at, at + year) for at in moments],
    }


def _agreement(office: Calendar, peer: "Schedule", starts: list[int]) -> str:
    theirs = [(peer.add(_EPOCH + timedelta(microseconds=at_us), seconds=_YEAR_S) - _EPOCH) // timedelta(microseconds=1) for at_us in starts]
    same = sum(office.due(at_us, _YEAR_S) == found for at_us, found in zip(starts, theirs, strict=True))
    return f"Both find the same due time for {same:,} of {len(starts):,} starts."


def _cost_us(work: Callable[[], object], asked: int) -> float:
    began = time.thread_time()
    work()
    return (time.thread_time() - began) / asked * 1e6


def _year_kb(hours: WeeklyHours) -> float:
    """Return what a calendar holds once it was asked about one year, per 365 days: its intervals, not the zone."""
    measured = Calendar(hours)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    measured.is_open(_FIRST_US)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / 1000 * _YEAR_US / (1 << 45)
