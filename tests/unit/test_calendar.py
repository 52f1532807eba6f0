"""The business calendar: golden vectors, the cases where other systems go wrong, and the edges of days."""

import pytest

from projections.rules import WeeklyHours
from projections.sla.calendar import HORIZON_US, Calendar, always, calendar_of
from tests.support.hours import DAYS, hours, instant, wall
from touchline.errors import Refused

HOUR = 3_600
HOUR_US = HOUR * 1_000_000
BERLIN = "Europe/Berlin"


def test_vector_v1_an_hour_that_begins_before_the_weekend_ends_on_monday() -> None:
    office = Calendar(hours(weekdays="09:00-17:00"))
    assert wall(office.due(instant("2026-01-30 16:30"), HOUR)) == "2026-02-02 09:30:00+00:00"


def test_vector_v2_two_closed_days_among_long_ones() -> None:
    shop = Calendar(hours(BERLIN, {"2016-11-11": (), "2016-11-13": ()}, daily="09:00-21:00"))
    assert wall(shop.due(instant("2016-11-09 23:00", BERLIN), 48 * HOUR), BERLIN) == "2016-11-15 21:00:00+01:00"


def test_zm390_a_holiday_is_never_live() -> None:
    """St Martin's day is an ordinary one unless the calendar itself says otherwise, whatever a holidays library thinks of it."""
    plain, closed = hours(BERLIN, weekdays="09:00-17:00"), hours(BERLIN, {"2026-11-11": ()}, weekdays="09:00-17:00")
    start = instant("2026-11-10 16:00", BERLIN)
    assert wall(Calendar(plain).due(start, 2 * HOUR), BERLIN) == "2026-11-11 10:00:00+01:00"
    assert wall(Calendar(closed).due(start, 2 * HOUR), BERLIN) == "2026-11-12 10:00:00+01:00"


def test_dbt_a_holiday_is_the_local_day_and_not_the_utc_day() -> None:
    """Christmas in Shanghai begins at 16:00 UTC of the day before."""
    desk = Calendar(hours("Asia/Shanghai", {"2026-12-25": ()}, daily="00:00-24:00"))
    assert desk.next_open(instant("2026-12-24 16:00")) == instant("2026-12-25 16:00")
    assert desk.is_open(instant("2026-12-24 15:59"))
    assert desk.is_open(instant("2026-12-25 16:00"))


def test_dbt_a_holiday_is_not_one_second_short() -> None:
    desk = Calendar(hours(BERLIN, {"2026-12-25": ()}, daily="00:00-24:00"))
    assert desk.open_us(instant("2026-12-25 00:00", BERLIN), instant("2026-12-26 00:00", BERLIN)) == 0
    assert desk.open_us(instant("2026-12-24 23:59:59", BERLIN), instant("2026-12-26 00:00:01", BERLIN)) == 2_000_000


def test_dbt_no_second_counts_twice_at_the_edge_of_the_week() -> None:
    desk = Calendar(hours(daily="00:00-24:00"))
    assert desk.open_us(instant("2026-02-01 23:59"), instant("2026-02-02 00:01")) == 120_000_000
    assert desk.open_seconds(instant("2026-01-26 00:00"), instant("2026-02-09 00:00")) == 14 * 24 * HOUR


def test_dbt_answered_out_of_hours_is_zero_seconds_and_not_nothing() -> None:
    """Asked on Saturday, answered on Sunday: no open second was consumed, and the due time lies ahead."""
    office = Calendar(hours(weekdays="09:00-17:00"))
    asked, answered = instant("2026-01-31 10:00"), instant("2026-02-01 10:00")
    assert office.open_seconds(asked, answered) == 0
    assert office.due(asked, 60) == instant("2026-02-02 09:01")


def test_glpi22678_a_warning_one_hour_before_the_due_time_does_not_land_at_night() -> None:
    """Four hours from Monday 17:00 end on Tuesday at 11:00; one open hour earlier is Tuesday 10:00."""
    office = Calendar(hours("Europe/Paris", weekdays="08:00-18:00"))
    start = instant("2026-01-12 17:00", "Europe/Paris")
    assert wall(office.due(start, 4 * HOUR), "Europe/Paris") == "2026-01-13 11:00:00+01:00"
    assert wall(office.due(start, 3 * HOUR), "Europe/Paris") == "2026-01-13 10:00:00+01:00"


def test_a_due_time_on_closing_time_is_the_closing_time() -> None:
    office = Calendar(hours(weekdays="09:00-12:00 13:00-17:00"))
    monday = instant("2026-02-02 09:00")
    assert wall(office.due(monday, 3 * HOUR)) == "2026-02-02 12:00:00+00:00"
    assert wall(office.due(monday, 7 * HOUR)) == "2026-02-02 17:00:00+00:00"
    assert office.due_us(monday, 7 * HOUR_US + 1) == instant("2026-02-03 09:00") + 1


@pytest.mark.parametrize("start", ["2026-02-02 10:00", "2026-02-02 17:00", "2026-01-31 03:00"])
def test_a_target_of_zero_is_due_at_its_start_open_or_not(start: str) -> None:
    office = Calendar(hours(weekdays="09:00-17:00"))
    assert office.due(instant(start), 0) == instant(start)
    assert office.due_us(instant(start), -5) == instant(start)


def test_a_reversed_range_has_no_open_second() -> None:
    office = Calendar(hours(weekdays="09:00-17:00"))
    late, early = instant("2026-02-02 16:00"), instant("2026-02-02 10:00")
    assert office.open_us(late, early) == office.open_us(late, late) == always.open_us(late, early) == 0


def test_a_bound_is_taken_literally() -> None:
    """23:59 is not midnight: the last minute of the day is closed."""
    desk = Calendar(hours(daily="00:00-23:59"))
    assert desk.open_seconds(instant("2026-02-02 00:00"), instant("2026-02-03 00:00")) == 86_340
    assert not desk.is_open(instant("2026-02-02 23:59:30"))


def test_a_round_the_clock_sunday_in_autumn_has_25_hours_and_in_spring_23() -> None:
    desk = Calendar(hours(BERLIN, {"2026-12-25": ()}, daily="00:00-24:00"))
    assert desk.open_seconds(instant("2026-10-25 00:00", BERLIN), instant("2026-10-26 00:00", BERLIN)) == 25 * HOUR
    assert desk.open_seconds(instant("2026-03-29 00:00", BERLIN), instant("2026-03-30 00:00", BERLIN)) == 23 * HOUR
    assert wall(desk.due(instant("2026-10-25 00:00", BERLIN), 25 * HOUR), BERLIN) == "2026-10-26 00:00:00+01:00"


def test_a_bound_in_the_hour_that_comes_twice_means_its_first_time() -> None:
    desk = Calendar(hours(BERLIN, sun="02:30-10:00", sat="12:00-26:45"))
    first, second = instant("2026-10-25 02:30", BERLIN), instant("2026-10-25 02:30", BERLIN, second_time=True)
    assert second - first == HOUR_US
    assert desk.next_open(instant("2026-10-25 02:00", BERLIN)) == instant("2026-10-25 02:00", BERLIN)
    alone = Calendar(hours(BERLIN, sun="02:30-10:00"))
    assert alone.next_open(instant("2026-10-25 00:00", BERLIN)) == first
    assert alone.open_seconds(first, instant("2026-10-25 10:00", BERLIN)) == 8.5 * HOUR
    closing = Calendar(hours(BERLIN, sun="00:00-02:30"))
    assert closing.open_seconds(first - 2 * HOUR_US, second + HOUR_US) == 2 * HOUR
    assert not closing.is_open(first)
    assert not closing.is_open(second)


def test_a_bound_in_the_hour_that_is_skipped_is_the_instant_of_the_jump() -> None:
    """A desk that opens at 02:30 on that day opens when the clock says 03:00; one that closes at 02:30 closes then."""
    opens, closes = Calendar(hours(BERLIN, sun="02:30-10:00")), Calendar(hours(BERLIN, sun="01:00-02:30"))
    jump = instant("2026-03-29 03:00", BERLIN)
    assert opens.next_open(instant("2026-03-29 00:00", BERLIN)) == jump
    assert opens.open_seconds(instant("2026-03-29 00:00", BERLIN), instant("2026-03-30 00:00", BERLIN)) == 7 * HOUR
    assert closes.open_seconds(instant("2026-03-29 00:00", BERLIN), instant("2026-03-30 00:00", BERLIN)) == HOUR
    assert closes.due(instant("2026-03-29 01:00", BERLIN), HOUR) == jump


def test_hours_that_the_clocks_skip_altogether_are_no_time_at_all() -> None:
    desk = Calendar(hours(BERLIN, sun="02:00-03:00"))
    assert desk.open_us(instant("2026-03-29 00:00", BERLIN), instant("2026-03-30 00:00", BERLIN)) == 0
    assert wall(desk.next_open(instant("2026-03-29 00:00", BERLIN)), BERLIN) == "2026-04-05 02:00:00+02:00"


def test_a_night_shift_belongs_to_the_day_on_which_it_starts() -> None:
    """Wednesday is closed: the shift that began on Tuesday runs to its end, the one of Wednesday does not begin."""
    night = Calendar(hours(BERLIN, {"2026-02-04": ()}, weekdays="22:00-06:00"))
    assert night.is_open(instant("2026-02-04 05:59", BERLIN))
    assert night.next_open(instant("2026-02-04 06:00", BERLIN)) == instant("2026-02-05 22:00", BERLIN)
    assert wall(night.due(instant("2026-02-03 23:00", BERLIN), 8 * HOUR), BERLIN) == "2026-02-05 23:00:00+01:00"


def test_a_night_shift_over_the_change_of_clocks_has_its_real_length() -> None:
    night = Calendar(hours(BERLIN, sat="22:00-06:00"))
    assert night.open_seconds(instant("2026-10-24 12:00", BERLIN), instant("2026-10-26 00:00", BERLIN)) == 9 * HOUR
    assert night.open_seconds(instant("2026-03-28 12:00", BERLIN), instant("2026-03-30 00:00", BERLIN)) == 7 * HOUR


def test_an_exception_may_close_shorten_or_open_a_day() -> None:
    """China works on some weekends around its long holidays."""
    exceptions = {"2026-02-14": ("09:00-18:00",), "2026-02-16": (), "2026-02-13": ("09:00-12:00",)}
    team = Calendar(hours("Asia/Shanghai", exceptions, weekdays="09:00-18:00"))
    friday = instant("2026-02-13 09:00", "Asia/Shanghai")
    assert wall(team.due(friday, 4 * HOUR), "Asia/Shanghai") == "2026-02-14 10:00:00+08:00"
    assert wall(team.due(friday, 13 * HOUR), "Asia/Shanghai") == "2026-02-17 10:00:00+08:00"


def test_an_exception_replaces_the_whole_day() -> None:
    desk = Calendar(hours(exceptions={"2026-02-02": ("20:00-21:00",)}, weekdays="09:00-17:00"))
    assert desk.open_seconds(instant("2026-02-02 00:00"), instant("2026-02-03 00:00")) == HOUR


def test_hours_to_midnight_and_from_midnight_are_one_stretch() -> None:
    desk = Calendar(hours(mon="20:00-24:00", tue="00:00-04:00"))
    assert desk.due(instant("2026-02-02 20:00"), 8 * HOUR) == instant("2026-02-03 04:00")
    assert desk.is_open(instant("2026-02-03 00:00"))


def test_the_order_of_a_days_intervals_does_not_matter() -> None:
    forth, back = Calendar(hours(daily="09:00-12:00 13:00-17:00")), Calendar(hours(daily="13:00-17:00 09:00-12:00"))
    assert forth.due(instant("2026-02-02 11:00"), 30 * HOUR) == back.due(instant("2026-02-02 11:00"), 30 * HOUR)


def test_a_calendar_that_is_never_open_has_no_due_time() -> None:
    shut = Calendar(hours())
    now = instant("2026-02-02 09:00")
    assert shut.due(now, 1) is None
    assert shut.next_open(now) is None
    assert not shut.is_open(now)
    assert shut.open_us(0, now) == 0
    assert shut.due(now, 0) == now


def test_a_calendar_with_no_open_day_left_has_no_due_time() -> None:
    fair = Calendar(hours(BERLIN, {"2026-02-02": ("09:00-17:00",), "2031-05-01": ()}))
    assert fair.due(instant("2026-01-01 00:00"), 8 * HOUR) == instant("2026-02-02 17:00", BERLIN)
    assert fair.due(instant("2026-01-01 00:00"), 8 * HOUR + 1) is None
    assert fair.next_open(instant("2026-02-02 17:00", BERLIN)) is None


def test_nothing_is_looked_for_beyond_ten_years() -> None:
    far = Calendar(hours(exceptions={"2036-02-02": ("00:00-24:00",)}))
    opening = instant("2036-02-02 00:00")
    assert far.next_open(opening - HORIZON_US) == opening
    assert far.next_open(opening - HORIZON_US - 1) is None
    assert far.due_us(opening - HORIZON_US, 1) is None
    assert far.due_us(opening - HORIZON_US + 1, 1) == opening + 1
    office = Calendar(hours(weekdays="09:00-17:00"))
    assert office.due(opening, 200_000 * HOUR) is None


def test_ranges_far_outside_all_calendars_end_and_hold_no_open_time() -> None:
    office = Calendar(hours(weekdays="09:00-17:00"))
    end_of_time = instant("9999-12-31 00:00")
    assert office.open_us(2**61, 2**62) == office.open_us(-(2**62), -(2**61)) == 0
    assert office.next_open(2**62) is None
    assert office.due(-(2**62), 60) is None
    assert office.open_us(end_of_time - 10 * 86_400_000_000, 2**62) > 0


def test_a_range_of_a_century_counts_every_hour_although_few_years_are_kept() -> None:
    """Monday to Friday, eight hours: 26,089 working days between 1950 and 2050, each by Python's own calendar."""
    office = Calendar(hours(BERLIN, weekdays="09:00-17:00"))
    from_us, until_us = instant("1950-01-01 00:00", BERLIN), instant("2050-01-01 00:00", BERLIN)
    days = (until_us - from_us) // 86_400_000_000
    first = DAYS.index("sun")
    working = sum((first + day) % 7 < 5 for day in range(days))
    assert office.open_us(from_us, until_us) == working * 8 * HOUR_US
    assert len(office._stretches) <= 32


def test_two_days_of_hours_that_began_far_west_reach_into_the_next_stretch_of_the_compiled_calendar() -> None:
    """A stretch begins on 2025-09-30 at 07:50:04 UTC, on the evening of the 29th in Pago Pago; these hours began there on the 28th."""
    stretch_us = 50 << 45
    shop = Calendar(hours("Pacific/Pago_Pago", {"2025-09-28": ("00:00-48:00",)}))
    assert shop.is_open(stretch_us)
    assert shop.next_open(stretch_us) == stretch_us
    assert shop.due(stretch_us - 60_000_000, 120) == stretch_us + 60_000_000
    assert shop.open_seconds(instant("2025-09-01 00:00"), instant("2025-11-01 00:00")) == 48 * HOUR


def test_the_built_in_calendar_is_always_open() -> None:
    at = instant("2026-02-02 03:00")
    assert always.id == "always"
    assert always.is_open(at)
    assert always.next_open(at) == at
    assert always.due(at, 90) == at + 90_000_000
    assert always.open_us(at, at + 7) == 7


@pytest.mark.parametrize("timezone", ["UTC", BERLIN, "Pacific/Apia", "America/Havana"])
def test_round_the_clock_in_any_zone_is_every_second(timezone: str) -> None:
    """The quick way of a calendar without a closed hour, beside the long way that an exception forces."""
    from_us, until_us = instant("2011-01-01 00:00"), instant("2012-06-01 00:00")
    quick = Calendar(hours(timezone, daily="00:00-24:00"))
    slow = Calendar(hours(timezone, {"2031-01-01": ()}, daily="00:00-24:00"))
    assert quick.open_us(from_us, until_us) == slow.open_us(from_us, until_us) == until_us - from_us
    assert quick.due_us(from_us, until_us - from_us) == slow.due_us(from_us, until_us - from_us) == until_us


def test_a_calendar_is_made_once_for_equal_hours() -> None:
    one, again, other = hours(BERLIN, daily="09:00-17:00"), hours(BERLIN, daily="09:00-17:00"), hours(BERLIN, daily="09:00-18:00")
    assert one is not again
    assert calendar_of(one) is calendar_of(one) is calendar_of(again)
    assert calendar_of(other) is not calendar_of(one)
    assert calendar_of(other).hours == other


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(Refused, match="'Europe/Berln'") as refused:
        Calendar(WeeklyHours(id="x", timezone="Europe/Berln", week=((), (), (), (), (), (), ())))
    assert refused.value.reason == "unknown_zone"
    assert "Europe/Berlin" in refused.value.next_step
