"""The calendar against the naive one that walks through the minutes: random hours, odd zones, the days around their changes."""

from datetime import date, timedelta
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from projections.rules import Day, WeeklyHours
from projections.sla.calendar import Calendar, validate
from tests.support.hours import MINUTE_US, Walk, instant

DAYS_WALKED = 9
SPAN_US = DAYS_WALKED * 1440 * MINUTE_US

CHANGES = (
    ("UTC", "2026-02-28"),
    ("UTC", "2025-09-30"),  # a stretch of the compiled calendar ends here
    ("UTC", "2024-08-19"),  # and here
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("Europe/Berlin", "2099-10-25"),
    ("America/New_York", "1999-04-04"),
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Australia/Lord_Howe", "2026-10-04"),
    ("Pacific/Apia", "2011-12-30"),
    ("Pacific/Kwajalein", "1993-08-21"),
    ("America/Anchorage", "1967-04-01"),
    ("Asia/Manila", "1978-03-22"),
    ("Antarctica/Troll", "2026-03-29"),
    ("Antarctica/Troll", "2026-10-25"),
    ("Africa/Casablanca", "2026-02-15"),
    ("Africa/El_Aaiun", "2026-03-22"),
    ("America/Havana", "2026-03-08"),
    ("America/Havana", "2026-11-01"),
    ("America/Santiago", "2026-04-04"),
    ("America/Santiago", "2026-09-06"),
    ("Asia/Pyongyang", "2015-08-15"),
    ("Asia/Kathmandu", "1986-01-01"),
    ("Pacific/Chatham", "2026-04-05"),
    ("America/St_Johns", "2006-10-29"),
    ("Asia/Gaza", "2026-03-28"),
    ("Asia/Shanghai", "2026-02-14"),
)
"""Zones and a day near which something happens."""

BOUND_MINUTES = st.one_of(
    st.integers(0, 2880),
    st.integers(0, 192).map(lambda quarter: quarter * 15),
    st.sampled_from([0, 60, 90, 120, 150, 180, 1380, 1440, 1439, 1500, 1590]),
)


@st.composite
def days(draw: st.DrawFn) -> Day:
    """Up to three intervals of a day, apart from each other; the last may run over midnight."""
    bounds = sorted(draw(st.lists(BOUND_MINUTES, max_size=6, unique=True)))
    pairs = zip(bounds[::2], bounds[1::2], strict=False)
    return tuple((start * 60, end * 60) for start, end in pairs if start < 1440)


class Case(NamedTuple):
    """Hours, and the instant (epoch µs) around which they are looked at."""

    hours: WeeklyHours
    middle_us: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Hours in a zone where clocks change soon, with exceptions on the days around that change; overlaps are taken out."""
    timezone, change = draw(st.sampled_from(CHANGES))
    around = [(date.fromisoformat(change) + timedelta(days=offset)).isoformat() for offset in range(-3, 4)]
    one = draw(days())
    week = draw(st.one_of(st.tuples(*[days()] * 7), st.just((one,) * 7), st.just((((0, 86_400),),) * 7)))
    exceptions = draw(st.dictionaries(st.sampled_from(around), days(), max_size=3))
    hours = WeeklyHours(id="drawn", timezone=timezone, week=week, exceptions=exceptions)
    return Case(hours, instant(f"{change} 00:00"))


INSTANTS_US = st.one_of(
    st.integers(0, SPAN_US - 1),
    st.integers(0, SPAN_US // MINUTE_US - 1).map(lambda minute: minute * MINUTE_US),
    st.integers(4 * 96, 6 * 96).map(lambda quarter: quarter * 15 * MINUTE_US),
)
"""µs since the walk began: anywhere, on a minute, on a quarter of an hour near the change."""


def walked(case: Case) -> tuple[Calendar, Walk]:
    """Return the calendar and the naive one over the same days. Overlapping hours are open hours for both."""
    return Calendar(case.hours), Walk(case.hours, case.middle_us - SPAN_US // 2, DAYS_WALKED)


@settings(max_examples=100)
@given(cases(), st.lists(st.tuples(INSTANTS_US, INSTANTS_US), min_size=1, max_size=6))
def test_open_time_is_what_a_walk_through_the_minutes_counts(case: Case, ranges: list[tuple[int, int]]) -> None:
    calendar, walk = walked(case)
    for one_us, two_us in ranges:
        from_us, until_us = walk.from_us + one_us, walk.from_us + two_us
        assert calendar.open_us(from_us, until_us) == walk.open_us(from_us, until_us)
    assert calendar.open_us(walk.from_us, walk.until_us) == walk.open_us(walk.from_us, walk.until_us)


@settings(max_examples=100)
@given(cases(), st.lists(st.tuples(INSTANTS_US, st.integers(0, SPAN_US)), min_size=1, max_size=6))
def test_a_due_time_is_where_a_walk_through_the_minutes_ends(case: Case, clocks: list[tuple[int, int]]) -> None:
    calendar, walk = walked(case)
    for begin_us, rest_us in clocks:
        start_us = walk.from_us + begin_us
        for rest in (rest_us, rest_us // MINUTE_US * MINUTE_US, walk.open_us(start_us, walk.until_us)):
            theirs = walk.due_us(start_us, rest)
            ours = calendar.due_us(start_us, rest)
            if theirs is None:
                assert ours is None or ours > walk.until_us
            else:
                assert ours == theirs


@settings(max_examples=100)
@given(cases(), st.lists(INSTANTS_US, min_size=1, max_size=10))
def test_whether_it_is_open_and_when_it_opens_next_is_what_the_walk_finds(case: Case, instants: list[int]) -> None:
    calendar, walk = walked(case)
    for offset_us in instants:
        at_us = walk.from_us + offset_us
        assert calendar.is_open(at_us) == walk.is_open(at_us)
        theirs = walk.next_open(at_us)
        ours = calendar.next_open(at_us)
        if theirs is None:
            assert ours is None or ours >= walk.until_us
        else:
            assert ours == theirs


@settings(max_examples=200)
@given(cases())
def test_hours_are_complained_about_exactly_if_some_minute_is_taken_twice(case: Case) -> None:
    """Local minutes of two ordinary weeks and of the days around the exceptions, each taken by its own day and by the one before."""
    first = date(1970, 1, 1) + timedelta(microseconds=case.middle_us) - timedelta(days=6)
    taken: set[tuple[date, int]] = set()
    twice = False
    ordinary = date(2040, 1, 2)  # a Monday far from every exception
    for begun in [first + timedelta(days=n) for n in range(14)] + [ordinary + timedelta(days=n) for n in range(8)]:
        for start_s, end_s in case.hours.exceptions.get(begun.isoformat(), case.hours.week[begun.weekday()]):
            for minute in range(start_s // 60, end_s // 60):
                spot = (begun + timedelta(days=minute // 1440), minute % 1440)
                twice |= spot in taken
                taken.add(spot)
    assert bool(validate(case.hours)) == twice
