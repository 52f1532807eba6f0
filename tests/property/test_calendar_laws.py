"""Laws of open time over years: due and open time are inverse, both grow, and ranges add up."""

from datetime import date
from itertools import pairwise
from random import Random

from hypothesis import assume, given
from hypothesis import strategies as st

from projections.rules import Day, WeeklyHours
from projections.sla.calendar import HORIZON_US, Calendar
from tests.support.hours import instant

ZONES = ("UTC", "Europe/Berlin", "Asia/Shanghai", "America/Havana", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca", "Antarctica/Troll")
DAYS: tuple[Day, ...] = (
    (),
    ((32_400, 61_200),),
    ((32_400, 43_200), (46_800, 61_200)),
    ((0, 86_400),),
    ((79_200, 108_000),),
    ((7_200, 9_000), (9_001, 9_061), (86_399, 86_400)),
)
FIRST_US, LAST_US = instant("2009-06-01 00:00"), instant("2031-01-01 00:00")
INSTANTS = st.integers(FIRST_US, LAST_US)
SPANS_US = st.one_of(st.integers(1, 10**9), st.integers(1, 400 * 86_400 * 10**6), st.integers(1, 2_000).map(lambda hour: hour * 3_600_000_000))
CALENDARS = st.builds(
    lambda timezone, week, exceptions: Calendar(WeeklyHours(id="drawn", timezone=timezone, week=week, exceptions=exceptions)),
    st.sampled_from(ZONES),
    st.tuples(*[st.sampled_from(DAYS)] * 7),
    st.dictionaries(st.dates(date(2009, 1, 1), date(2032, 1, 1)).map(str), st.sampled_from(DAYS), max_size=20),
)


@given(CALENDARS, INSTANTS, SPANS_US)
def test_the_open_time_up_to_a_due_time_is_the_target(calendar: Calendar, start_us: int, rest_us: int) -> None:
    due_us = calendar.due_us(start_us, rest_us)
    assume(due_us is not None)
    assert calendar.open_us(start_us, due_us) == rest_us
    assert calendar.open_us(start_us, due_us - 1) == rest_us - 1


@given(CALENDARS, INSTANTS, INSTANTS)
def test_the_due_time_of_some_open_time_is_no_later_than_where_it_was_counted(calendar: Calendar, from_us: int, until_us: int) -> None:
    """It is the first such instant: nothing opens between it and the end of the range."""
    from_us, until_us = sorted((from_us, until_us))
    assume(until_us - from_us <= HORIZON_US)
    open_us = calendar.open_us(from_us, until_us)
    assume(open_us > 0)
    due_us = calendar.due_us(from_us, open_us)
    assert due_us is not None
    assert due_us <= until_us
    assert calendar.open_us(due_us, until_us) == 0


@given(CALENDARS, st.lists(INSTANTS, min_size=3, max_size=6))
def test_ranges_add_up_and_never_hold_more_than_their_length(calendar: Calendar, instants: list[int]) -> None:
    instants.sort()
    parts = [calendar.open_us(from_us, until_us) for from_us, until_us in pairwise(instants)]
    assert sum(parts) == calendar.open_us(instants[0], instants[-1])
    assert all(0 <= part <= until_us - from_us for part, (from_us, until_us) in zip(parts, pairwise(instants), strict=True))


@given(CALENDARS, INSTANTS, SPANS_US, SPANS_US)
def test_targets_add_up(calendar: Calendar, start_us: int, first_us: int, second_us: int) -> None:
    """A clock that is looked at half-way is due when it always was."""
    whole_us = calendar.due_us(start_us, first_us + second_us)
    half_us = calendar.due_us(start_us, first_us)
    assume(whole_us is not None)
    assert half_us is not None
    assert calendar.due_us(half_us, second_us) == whole_us


@given(CALENDARS, INSTANTS, st.integers(0, 10**13), SPANS_US, st.integers(0, 10**12))
def test_later_starts_and_longer_targets_are_never_due_earlier(calendar: Calendar, start_us: int, delay_us: int, rest_us: int, more_us: int) -> None:
    early, late = calendar.due_us(start_us, rest_us), calendar.due_us(start_us + delay_us, rest_us + more_us)
    assume(early is not None)
    assume(late is not None)
    assert early <= late


@given(CALENDARS, INSTANTS)
def test_the_next_opening_is_open_and_nothing_before_it_is(calendar: Calendar, at_us: int) -> None:
    opens_us = calendar.next_open(at_us)
    if opens_us is None:
        assert calendar.open_us(at_us, at_us + HORIZON_US) == 0
        return
    assert calendar.is_open(opens_us)
    assert calendar.open_us(at_us, opens_us) == 0
    assert (opens_us == at_us) == calendar.is_open(at_us)
    assert calendar.due_us(at_us, 1) == opens_us + 1


@given(CALENDARS, st.lists(st.tuples(INSTANTS, SPANS_US), min_size=2, max_size=8), st.randoms())
def test_what_was_asked_before_changes_no_answer(calendar: Calendar, asked: list[tuple[int, int]], random: Random) -> None:
    """A calendar compiles what it is asked for, and forgets; a new one that is asked in another order says the same."""
    forth = {pair: (calendar.due_us(*pair), calendar.open_us(pair[0], pair[0] + pair[1])) for pair in asked}
    random.shuffle(asked)
    again = Calendar(calendar.hours)
    assert {pair: (again.due_us(*pair), again.open_us(pair[0], pair[0] + pair[1])) for pair in asked} == forth
