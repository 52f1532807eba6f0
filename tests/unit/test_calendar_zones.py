"""Zones with odd days: half an hour, a day that never was, jumps at midnight, a month of other time, offsets with seconds."""

import zoneinfo
from datetime import UTC, datetime, timedelta
from importlib import resources
from itertools import pairwise
from pathlib import Path

import pytest
import tzdata

from projections.sla.calendar import Calendar
from projections.sla.zones import TZDATA_VERSION, LocalTime, zone
from tests.support.hours import hours, instant, wall
from touchline.errors import Refused

HOUR = 3_600


def test_lord_howe_moves_its_clocks_by_half_an_hour() -> None:
    shop = Calendar(hours("Australia/Lord_Howe", {"2030-01-01": ()}, sun="00:00-24:00"))
    begin, end = (instant(text, "Australia/Lord_Howe") for text in ("2026-04-05 00:00", "2026-04-06 00:00"))
    assert shop.open_seconds(begin, end) == 24.5 * HOUR
    begin, end = (instant(text, "Australia/Lord_Howe") for text in ("2026-10-04 00:00", "2026-10-05 00:00"))
    assert shop.open_seconds(begin, end) == 23.5 * HOUR


def test_the_day_that_apia_skipped_has_no_hours() -> None:
    """Samoa went from Thursday the 29th to Saturday the 31st of December 2011."""
    shop = Calendar(hours("Pacific/Apia", thu="22:00-06:00", fri="09:00-17:00", sat="09:00-17:00"))
    thursday = instant("2011-12-29 22:00", "Pacific/Apia")
    assert wall(shop.due(thursday, 2 * HOUR), "Pacific/Apia") == "2011-12-31 00:00:00+14:00"
    assert wall(shop.due(thursday, 3 * HOUR), "Pacific/Apia") == "2011-12-31 10:00:00+14:00"


@pytest.mark.parametrize(("timezone", "sunday"), [("America/Havana", "2026-03-08"), ("America/Santiago", "2026-09-06")])
def test_a_day_that_begins_at_one_o_clock_opens_then(timezone: str, sunday: str) -> None:
    shop = Calendar(hours(timezone, sun="00:00-02:00"))
    assert (wall(shop.next_open(instant(f"{sunday} 00:00", "UTC")), timezone) or "")[:19] == f"{sunday} 01:00:00"
    assert shop.open_seconds(instant(f"{sunday} 00:00"), instant(f"{sunday} 00:00") + 86_400_000_000) == HOUR


def test_an_hour_before_midnight_that_comes_twice_closes_at_the_real_midnight() -> None:
    """Santiago goes back from 24:00 to 23:00 on Saturday: 24:00 comes once, 23:30 twice."""
    late, early = Calendar(hours("America/Santiago", sat="20:00-24:00")), Calendar(hours("America/Santiago", sat="20:00-23:30"))
    begin = instant("2026-04-04 20:00", "America/Santiago")
    assert late.open_seconds(begin, begin + 86_400_000_000) == 5 * HOUR
    assert early.open_seconds(begin, begin + 86_400_000_000) == 3.5 * HOUR


def test_casablanca_leaves_summer_time_for_a_month() -> None:
    shop = Calendar(hours("Africa/Casablanca", daily="09:00-17:00"))
    assert shop.next_open(instant("2026-02-14 03:00")) == instant("2026-02-14 08:00")
    assert shop.next_open(instant("2026-03-01 03:00")) == instant("2026-03-01 09:00")


def test_troll_moves_by_two_hours() -> None:
    shop = Calendar(hours("Antarctica/Troll", {"2030-01-01": ()}, sun="00:00-24:00"))
    sunday = instant("2026-03-29 00:00", "Antarctica/Troll")
    assert shop.open_seconds(sunday, instant("2026-03-30 00:00", "Antarctica/Troll")) == 22 * HOUR


def test_offsets_with_seconds_are_kept_to_the_second() -> None:
    """Monrovia was 44 minutes and 30 seconds behind until 1972-01-07."""
    shop = Calendar(hours("Africa/Monrovia", daily="09:00-17:00"))
    assert shop.next_open(instant("1972-01-05 00:00")) == instant("1972-01-05 09:44:30")
    assert shop.next_open(instant("1972-01-08 00:00")) == instant("1972-01-08 09:00:00")
    assert wall(shop.due(instant("1972-01-06 09:00", "Africa/Monrovia"), 16 * HOUR)) == "1972-01-07 17:00:00+00:00"


def test_the_data_is_that_of_the_package_and_not_the_machines(tmp_path: Path) -> None:
    """A machine's own data may be older; the same log must give the same due times everywhere. Here its Vaduz lies at Greenwich."""
    (tmp_path / "Europe").mkdir()
    with resources.files(tzdata).joinpath("zoneinfo", "UTC").open("rb") as data:
        (tmp_path / "Europe" / "Vaduz").write_bytes(data.read())
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(to=[tmp_path])
    try:
        machines, ours = zoneinfo.ZoneInfo.no_cache("Europe/Vaduz"), zone("Europe/Vaduz")
    finally:
        zoneinfo.reset_tzpath(to=before)
    winter = datetime(2026, 1, 1, tzinfo=UTC)
    assert winter.astimezone(machines).utcoffset() == timedelta(0)
    assert winter.astimezone(ours).utcoffset() == timedelta(hours=1)
    assert ours.key == "Europe/Vaduz"
    assert TZDATA_VERSION in resources.files(tzdata).joinpath("zoneinfo", "tzdata.zi").read_text(encoding="utf-8").splitlines()[0]


@pytest.mark.parametrize("name", ["", "europe/berlin", "CEST", "localtime", "../../etc/passwd", "Europe/", "posixrules"])
def test_a_name_that_is_not_in_the_data_is_refused(name: str) -> None:
    with pytest.raises(Refused, match="no time zone"):
        zone(name)


def test_no_zone_changes_its_clocks_twice_within_two_days() -> None:
    """The walk by days relies on it, so zones with many changes are looked at every three hours over 90 years."""
    for name in ("Africa/Casablanca", "Africa/El_Aaiun", "Africa/Cairo", "America/Argentina/San_Luis", "Europe/Warsaw", "Asia/Gaza"):
        tz = zone(name)
        at, changes, offset = datetime(1940, 1, 1, tzinfo=UTC), [], None
        while at.year < 2030:
            found = at.astimezone(tz).utcoffset()
            if found != offset:
                changes.append(at)
                offset = found
            at += timedelta(hours=3)
        assert all(later - earlier > timedelta(days=2) for earlier, later in pairwise(changes)), name


@pytest.mark.parametrize("name", ["Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "America/Havana", "Asia/Shanghai"])
def test_local_time_agrees_with_python_wherever_a_wall_clock_shows_it(name: str) -> None:
    """Every quarter of an hour of 2011: where the clocks do show it, Python's first occurrence is ours."""
    tz = zone(name)
    local = LocalTime(tz, int(datetime(2010, 12, 29, tzinfo=UTC).timestamp()), int(datetime(2012, 1, 4, tzinfo=UTC).timestamp()))
    epoch, shown = datetime(1970, 1, 1), datetime(2011, 1, 1)  # noqa: DTZ001 - wall clocks
    skipped = 0
    while shown.year == 2011:
        seconds = int((shown - epoch).total_seconds())
        theirs = int(shown.replace(tzinfo=tz).timestamp())
        if datetime.fromtimestamp(theirs, tz).replace(tzinfo=None) == shown:
            assert local.utc_s(seconds) == theirs, shown
        else:
            skipped += 1
            jump = local.utc_s(seconds)
            assert datetime.fromtimestamp(jump - 1, tz).replace(tzinfo=None) < shown < datetime.fromtimestamp(jump, tz).replace(tzinfo=None)
        shown += timedelta(minutes=15)
    assert skipped == {"Europe/Berlin": 4, "Australia/Lord_Howe": 2, "Pacific/Apia": 100, "America/Havana": 4, "Asia/Shanghai": 0}[name]
