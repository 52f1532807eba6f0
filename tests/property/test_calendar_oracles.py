"""The calendar against two public libraries, where they can express the case.

`workclock` knows zones, several intervals, nights and closed dates, but closes a date from midnight to midnight whatever day a night
began on, knows no shorter or additional days, and takes a bound that the clocks skip as one hour later instead of the jump: so closed
dates are compared without nights, and hours are not bounded in the hour that is skipped. It finds zones in the machine's data before its
own: the zones here have had the same rules for long.

`timegrid` knows no zones: it is compared in UTC. Its exceptions are windows, so a replaced day is the new hours as open windows and the
rest of that day as closed ones, which would cut a night of the day before: exceptions are compared without nights.
"""

from datetime import UTC, date, datetime, time, timedelta

import timegrid
import workclock
from hypothesis import assume, given
from hypothesis import strategies as st

from projections.rules import Day, WeeklyHours
from projections.sla.calendar import Calendar
from tests.support.hours import instant

FIRST, LAST = date(2026, 1, 1), date(2026, 12, 31)
FIRST_US, LAST_US = instant("2026-01-01 00:00"), instant("2026-12-31 00:00")
ZONES = ("UTC", "Europe/Berlin", "Europe/Paris", "America/New_York", "Asia/Shanghai", "Australia/Lord_Howe", "Asia/Kathmandu")
QUARTER_S = 900
INSTANTS = st.integers(FIRST_US, LAST_US)
DATES = st.dates(FIRST, LAST)
CLOCKS = st.lists(st.tuples(INSTANTS, st.integers(1, 100 * 3600)), min_size=1, max_size=5)
RANGES = st.lists(st.tuples(INSTANTS, INSTANTS), min_size=1, max_size=5)
SKIPPED_S = range(2 * 3600, 3 * 3600)
"""All zones here skip an hour, or half of one, within this one."""


def moment(at_us: int) -> datetime:
    """Return an instant as UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)


def micros(at: datetime) -> int:
    """Return epoch µs."""
    return (at.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def clock(of_day_s: int) -> time:
    """Return the time of a day."""
    return time(of_day_s % 86_400 // 3600, of_day_s % 3600 // 60)


@st.composite
def intervals(draw: st.DrawFn, *, nights: bool, skipped: bool = False) -> Day:
    """Up to two intervals on quarters of an hour, the last up to midnight or, with nights, over it by less than the next day's first hours."""
    bounds = sorted(draw(st.lists(st.integers(12 if nights else 0, 96).map(lambda quarter: quarter * QUARTER_S), max_size=4, unique=True)))
    found = [(start, end) for start, end in zip(bounds[::2], bounds[1::2], strict=False) if skipped or not {start, end} & set(SKIPPED_S)]
    if nights and found and draw(st.booleans()):
        start, _ = found[-1]
        found[-1] = (start, 86_400 + draw(st.sampled_from([900, 3600, 6300, 3 * 3600])))
    return tuple(found)


@st.composite
def schedules(draw: st.DrawFn, *, nights: bool, exceptions: bool) -> tuple[WeeklyHours, workclock.Schedule]:
    """Draw the same hours for both, with closed dates if asked for; open on Monday at least."""
    timezone = draw(st.sampled_from(ZONES))
    week = (((36_000, 64_800),), *draw(st.tuples(*[intervals(nights=nights)] * 6)))
    rules: list[workclock.Rule] = [workclock.WorkDay(clock(start), clock(end), [number]) for number, day in enumerate(week) for start, end in day]
    closed = draw(st.sets(DATES, max_size=30)) if exceptions else set()
    hours = WeeklyHours(id="drawn", timezone=timezone, week=week, exceptions={day.isoformat(): () for day in closed})
    return hours, workclock.Schedule([*rules, workclock.Holidays(closed)], time_zone=timezone)


@given(schedules(nights=True, exceptions=False) | schedules(nights=False, exceptions=True), CLOCKS)
def test_due_times_are_those_of_workclock(both: tuple[WeeklyHours, workclock.Schedule], clocks: list[tuple[int, int]]) -> None:
    calendar, theirs = Calendar(both[0]), both[1]
    for start_us, target_s in clocks:
        assert calendar.due(start_us, target_s) == micros(theirs.add(moment(start_us), seconds=target_s))


@given(schedules(nights=True, exceptions=False) | schedules(nights=False, exceptions=True), RANGES)
def test_open_times_are_those_of_workclock(both: tuple[WeeklyHours, workclock.Schedule], ranges: list[tuple[int, int]]) -> None:
    calendar, theirs = Calendar(both[0]), both[1]
    for from_us, until_us in ranges:
        low, high = sorted((from_us, until_us))
        assert calendar.open_us(low, high) == theirs.between(moment(low), moment(high)) // timedelta(microseconds=1)


@st.composite
def grids(draw: st.DrawFn) -> tuple[WeeklyHours, timegrid.TimeGridCalendar]:
    """Draw the same hours for both in UTC: a week, with nights or with days that are replaced by closed, shorter or additional ones."""
    nights = draw(st.booleans())
    week = draw(st.tuples(*[intervals(nights=nights, skipped=True)] * 7))
    assume(all(clock(start) != clock(end) for day in week for start, end in day))  # timegrid has no word for 24 hours
    grid = timegrid.TimeGridCalendar.create()
    for number, day in enumerate(week):
        for start, end in day:
            grid = grid.add_open_rule((number + 1) % 7, clock(start), clock(end))
    exceptions = {} if nights else draw(st.dictionaries(DATES, intervals(nights=False, skipped=True), max_size=20))
    for day, replaced in exceptions.items():
        midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - timegrid has no zones
        shut = 0
        for start, end in (*replaced, (86_400, 86_400)):
            if shut < start:
                grid = grid.add_closed_window(midnight + timedelta(seconds=shut), midnight + timedelta(seconds=start))
            if start < end:
                grid = grid.add_open_window(midnight + timedelta(seconds=start), midnight + timedelta(seconds=end))
            shut = end
    return WeeklyHours(id="drawn", week=week, exceptions={day.isoformat(): replaced for day, replaced in exceptions.items()}), grid


@given(grids(), RANGES)
def test_open_times_are_those_of_timegrid(both: tuple[WeeklyHours, timegrid.TimeGridCalendar], ranges: list[tuple[int, int]]) -> None:
    calendar, grid = Calendar(both[0]), both[1]
    for from_us, until_us in ranges:
        low, high = sorted((from_us, until_us))
        theirs = grid.get_working_duration(moment(low).replace(tzinfo=None), moment(high).replace(tzinfo=None))
        assert calendar.open_us(low, high) == theirs // timedelta(microseconds=1)


@given(grids(), CLOCKS)
def test_due_times_are_those_of_timegrid(both: tuple[WeeklyHours, timegrid.TimeGridCalendar], clocks: list[tuple[int, int]]) -> None:
    calendar, grid = Calendar(both[0]), both[1]
    for start_us, target_s in clocks:
        ours = calendar.due(start_us, target_s)
        if ours is not None:
            assert ours == micros(grid.add_work_duration(moment(start_us).replace(tzinfo=None), timedelta(seconds=target_s)))
