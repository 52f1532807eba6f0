"""What a calendar says about hours that cannot be."""

import msgspec
import pytest

from projections.rules import Day, WeeklyHours
from projections.sla.calendar import always, validate
from projections.sla.zones import TZDATA_VERSION
from tests.support.hours import hours

NIGHTS = hours(weekdays="22:00-06:00")


def monday(*intervals: tuple[int, int]) -> list[str]:
    """Return what is wrong with a week whose Monday has these intervals."""
    day: Day = intervals
    return validate(msgspec.structs.replace(hours(), week=(day, (), (), (), (), (), ())))


@pytest.mark.parametrize(
    "good",
    [
        always.hours,
        NIGHTS,
        hours(),
        hours("Europe/Berlin", {"2026-12-24": ("09:00-12:00",), "2026-12-25": ()}, weekdays="09:00-12:00 12:00-17:00"),
        hours(daily="08:00-08:00"),
        hours(sun="22:00-06:00", mon="06:00-22:00"),
        hours(exceptions={"2026-02-07": ("06:00-24:00",)}, fri="22:00-06:00"),
        hours(daily="17:00-18:00 09:00-12:00"),
    ],
)
def test_hours_that_can_be_are_not_complained_about(good: WeeklyHours) -> None:
    assert validate(good) == []


def test_an_unknown_zone_is_named_with_the_nearest_one() -> None:
    assert validate(hours("Europe/Berln")) == [f"There is no time zone 'Europe/Berln' in tzdata {TZDATA_VERSION}. Next: write Europe/Berlin."]


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((61_200, 32_400), "mon: 17:00-09:00 must end after its start."),
        ((32_400, 32_400), "mon: 09:00-09:00 must end after its start."),
        ((0, 172_801), "mon: 00:00-48:00:01 must end by 48:00, the end of the next day."),
        ((86_400, 90_000), "mon: 24:00-25:00 must start between 00:00 and 24:00 of its own day."),
        ((-3_600, 3_600), "mon: -1:00-01:00 must start between 00:00 and 24:00 of its own day."),
    ],
)
def test_an_interval_that_cannot_be_is_named(interval: tuple[int, int], said: str) -> None:
    assert monday(interval) == [said]


def test_two_intervals_of_one_day_that_overlap_are_named() -> None:
    assert validate(hours(tue="09:00-13:00 12:00-17:00")) == ["tue: 09:00-13:00 and 12:00-17:00 overlap."]
    assert validate(hours(tue="09:00-17:00 10:00-11:00 12:00-13:00")) == [
        "tue: 09:00-17:00 and 10:00-11:00 overlap.",
        "tue: 09:00-17:00 and 12:00-13:00 overlap.",
    ]


def test_a_night_that_runs_into_the_next_days_hours_is_named_also_at_the_edge_of_the_week() -> None:
    assert validate(hours(mon="22:00-06:00", tue="05:00-12:00")) == ["mon: 22:00-30:00 runs over midnight and overlaps 05:00-12:00 of tue."]
    assert validate(hours(sun="22:00-06:00", mon="05:59-12:00")) == ["sun: 22:00-30:00 runs over midnight and overlaps 05:59-12:00 of mon."]


def test_a_day_that_runs_through_the_whole_next_night_overlaps_a_night_of_its_own() -> None:
    assert validate(hours(mon="22:00-06:00", tue="00:00-24:00")) == ["mon: 22:00-30:00 runs over midnight and overlaps 00:00-24:00 of tue."]


def test_an_exception_that_overlaps_its_neighbours_is_named() -> None:
    """2026-02-03 is a Tuesday; Monday's night runs into its early hours, and its own night into Wednesday's."""
    early = hours(exceptions={"2026-02-03": ("05:00-12:00",)}, mon="22:00-06:00")
    assert validate(early) == ["2026-02-02: 22:00-30:00 runs over midnight and overlaps 05:00-12:00 of 2026-02-03."]
    late = hours(exceptions={"2026-02-03": ("22:00-06:00",)}, wed="05:00-12:00")
    assert validate(late) == ["2026-02-03: 22:00-30:00 runs over midnight and overlaps 05:00-12:00 of 2026-02-04."]
    both = hours(exceptions={"2026-02-03": ("22:00-06:00",), "2026-02-04": ("01:00-02:00",)})
    assert validate(both) == ["2026-02-03: 22:00-30:00 runs over midnight and overlaps 01:00-02:00 of 2026-02-04."]


def test_an_exception_that_makes_room_is_not_complained_about() -> None:
    assert validate(hours(exceptions={"2026-02-03": ()}, mon="22:00-06:00", wed="05:00-12:00")) == []


@pytest.mark.parametrize("text", ["2026-02-30", "24.12.2026", "christmas", ""])
def test_an_exception_on_no_date_is_named(text: str) -> None:
    assert validate(hours(exceptions={text: ()})) == [f"{text!r} is no date; write it as 2026-12-24."]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    wrong = hours("Mars/Base", {"2026-13-01": ()}, mon="09:00-12:00 11:00-13:00")
    assert len(validate(wrong)) == 3
