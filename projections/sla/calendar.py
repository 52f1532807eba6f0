"""The business calendar: open time between two instants, and the instant at which so much open time has passed (sla.md §3).

Knows the hours of one calendar; must not know clocks, policies or which calendar applies. Instants are epoch µs UTC, lengths
are real ones: a round-the-clock autumn Sunday has 25 hours.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import date
from itertools import chain, combinations, pairwise
from typing import Final, TypeVar

import msgspec

from projections.rules import ALWAYS, Day, Interval, WeeklyHours
from projections.sla.zones import LocalTime, zone
from touchline.errors import Refused

__all__ = ["HORIZON_US", "Calendar", "always", "calendar_of", "validate"]

K = TypeVar("K")
V = TypeVar("V")

HORIZON_US: Final = 3_653 * 86_400_000_000
"""Ten years: how far ahead an opening or a due time is looked for."""

_SECOND_US: Final = 1_000_000
_DAY_S: Final = 86_400
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_FIRST_DAY: Final = date.min.toordinal() + 3
_LAST_DAY: Final = date.max.toordinal() - 3
_MARGIN_DAYS: Final = 4
"""How far a local day and what runs over midnight may lie from the same day in UTC: 2 days of hours, 1 of offset, 1 skipped."""

_STRETCH_BITS: Final = 45
_STRETCH_US: Final = 1 << _STRETCH_BITS
_STRETCHES: Final = 32
"""A calendar is compiled by stretches of 2^45 µs (407 days), found by a shift; it keeps 32 of them, or 35 years."""

_FIRST_STRETCH: Final = ((_FIRST_DAY - _MARGIN_DAYS - _EPOCH_DAY) * _DAY_S * _SECOND_US) >> _STRETCH_BITS
_LAST_STRETCH: Final = ((_LAST_DAY + _MARGIN_DAYS - _EPOCH_DAY) * _DAY_S * _SECOND_US) >> _STRETCH_BITS

_CALENDARS_KEPT: Final = 4_096
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_ROUND_THE_CLOCK: Final[Day] = ((0, _DAY_S),)


class _Stretch:
    """The open intervals of one stretch: starts and ends in epoch µs, and the open µs up to each end."""

    __slots__ = ("after_us", "ends_us", "starts_us", "total_us")

    def __init__(self, opening: Iterator[tuple[int, int]]) -> None:
        self.starts_us, self.ends_us, self.after_us = array("q"), array("q"), array("q")
        self.total_us = 0
        for start_us, end_us in opening:
            self.total_us += end_us - start_us
            self.starts_us.append(start_us)
            self.ends_us.append(end_us)
            self.after_us.append(self.total_us)

    def open_until_us(self, at_us: int) -> int:
        """Return the open µs from the stretch's beginning to an instant in it."""
        last = bisect_right(self.starts_us, at_us) - 1
        if last < 0:
            return 0
        left_us = self.ends_us[last] - at_us
        return self.after_us[last] - left_us if left_us > 0 else self.after_us[last]

    def reached_at_us(self, open_us: int) -> int:
        """Return the first instant at which so many open µs have passed since the beginning; `0 < open_us <= total_us`."""
        found = bisect_left(self.after_us, open_us)
        return self.ends_us[found] - (self.after_us[found] - open_us)


class Calendar:
    """The opening hours of one calendar in one zone, compiled where they are asked for. Never changed once made.

    Hot path: `due` and `open_us` over a year take about 2 µs each, warm (`touchline bench clocks`).
    """

    __slots__ = ("_always", "_day", "_last_day", "_stretches", "_week", "_zone", "hours")

    def __init__(self, hours: WeeklyHours) -> None:
        """Take the hours of a calendar. Raises `Refused` for an unknown zone, `ValueError` for an exception's date that is none."""
        self.hours = hours
        self._zone = zone(hours.timezone)
        self._week = hours.week
        self._day = {date.fromisoformat(day).toordinal(): intervals for day, intervals in hours.exceptions.items()}
        self._always = not self._day and all(intervals == _ROUND_THE_CLOCK for intervals in hours.week)
        opened = (day for day, intervals in self._day.items() if intervals)
        # no day after this one is open
        self._last_day = _LAST_DAY if any(hours.week) else max(opened, default=_FIRST_DAY)
        self._stretches: dict[int, _Stretch] = {}

    @property
    def id(self) -> str:
        """The calendar's id, as policies name it."""
        return self.hours.id

    def is_open(self, at_us: int) -> bool:
        """Tell whether an instant lies in [start, end) of an interval."""
        if self._always:
            return True
        stretch = self._stretch(at_us >> _STRETCH_BITS)
        found = bisect_right(stretch.ends_us, at_us)
        return found < len(stretch.ends_us) and stretch.starts_us[found] <= at_us

    def next_open(self, at_us: int) -> int | None:
        """Return the first open instant from this one on, itself included; None if there is none in the next ten years."""
        if self._always:
            return at_us
        for number in self._numbers(at_us):
            stretch = self._stretch(number)
            found = bisect_right(stretch.ends_us, at_us)
            if found < len(stretch.ends_us):
                opens_us = max(at_us, stretch.starts_us[found])
                return opens_us if opens_us - at_us <= HORIZON_US else None
        return None

    def open_us(self, from_us: int, until_us: int) -> int:
        """Return the open µs in [from, until); 0 for a reversed range."""
        if until_us <= from_us:
            return 0
        if self._always:
            return until_us - from_us
        first, last = from_us >> _STRETCH_BITS, until_us >> _STRETCH_BITS
        stretch = self._stretch(first)
        before_us = stretch.open_until_us(from_us)
        if first == last:
            return stretch.open_until_us(until_us) - before_us
        whole_us = sum(self._stretch(number).total_us for number in range(max(first + 1, _FIRST_STRETCH), min(last, _LAST_STRETCH + 1)))
        return stretch.total_us - before_us + whole_us + self._stretch(last).open_until_us(until_us)

    def open_seconds(self, from_us: int, until_us: int) -> float:
        """Return the open seconds between two instants (epoch µs); 0 for a reversed range."""
        return self.open_us(from_us, until_us) / _SECOND_US

    def due(self, start_us: int, target_s: int) -> int | None:
        """Return the instant at which a clock that runs from `start_us` on has consumed its target; see `due_us`."""
        return self.due_us(start_us, target_s * _SECOND_US)

    def due_us(self, start_us: int, rest_us: int) -> int | None:
        """Return the first instant at which `rest_us` open µs have passed since `start_us`; None if that takes over ten years.

        With nothing left (0 or less) that is `start_us`, open or not. An instant on closing time is the closing time.
        """
        if rest_us <= 0:
            return start_us
        if self._always:
            return start_us + rest_us
        rest_us += self._stretch(start_us >> _STRETCH_BITS).open_until_us(start_us)
        for number in self._numbers(start_us):
            stretch = self._stretch(number)
            if rest_us <= stretch.total_us:
                due_us = stretch.reached_at_us(rest_us)
                return due_us if due_us - start_us <= HORIZON_US else None
            rest_us -= stretch.total_us
        return None

    def _numbers(self, at_us: int) -> range:
        """Return the stretches from an instant's own to that of its horizon, none behind the last open day."""
        end_us = min(at_us + HORIZON_US, (self._last_day - _EPOCH_DAY + _MARGIN_DAYS) * _DAY_S * _SECOND_US)
        return range(at_us >> _STRETCH_BITS, (end_us >> _STRETCH_BITS) + 1)

    def _stretch(self, number: int) -> _Stretch:
        found = self._stretches.get(number)
        if found is None:
            if len(self._stretches) >= _STRETCHES:
                del self._stretches[next(iter(self._stretches))]
            found = self._stretches[number] = _Stretch(self._opening(number))
        return found

    def _opening(self, number: int) -> Iterator[tuple[int, int]]:
        """Yield the open intervals (epoch µs) of one stretch, cut at its edges, in order; those that touch or overlap are one."""
        low_us = number << _STRETCH_BITS
        high_us = low_us + _STRETCH_US
        open_from_us = open_until_us = low_us
        for start_s, end_s in self._utc_s(low_us, high_us):
            start_us, end_us = max(start_s * _SECOND_US, low_us), min(end_s * _SECOND_US, high_us)
            if start_us >= end_us:
                continue
            if start_us > open_until_us:
                if open_from_us < open_until_us:
                    yield open_from_us, open_until_us
                open_from_us = start_us
            open_until_us = max(open_until_us, end_us)
        if open_from_us < open_until_us:
            yield open_from_us, open_until_us

    def _utc_s(self, low_us: int, high_us: int) -> Iterator[tuple[int, int]]:
        """Yield the UTC bounds of the intervals of all local days that may touch [low, high), by their starts."""
        first = max(low_us // (_DAY_S * _SECOND_US) + _EPOCH_DAY - _MARGIN_DAYS, _FIRST_DAY)
        last = min(high_us // (_DAY_S * _SECOND_US) + _EPOCH_DAY + _MARGIN_DAYS, _LAST_DAY, self._last_day)
        if first > last:
            return
        local = LocalTime(self._zone, (first - _EPOCH_DAY - 2) * _DAY_S, (last - _EPOCH_DAY + 2 * _MARGIN_DAYS) * _DAY_S)
        exceptions, week, utc_s = self._day, self._week, local.utc_s
        for day in range(first, last + 1):
            intervals = exceptions.get(day)
            if intervals is None:
                intervals = week[(day - 1) % 7]  # day 1 of Python's calendar is a Monday
            midnight_s = (day - _EPOCH_DAY) * _DAY_S
            for start_s, end_s in sorted(intervals) if len(intervals) > 1 else intervals:
                yield utc_s(midnight_s + start_s), utc_s(midnight_s + end_s)


_seen: Final[dict[int, tuple[WeeklyHours, Calendar]]] = {}
_made: Final[dict[bytes, Calendar]] = {}


def calendar_of(hours: WeeklyHours) -> Calendar:
    """Return the calendar of these hours, the same one for equal hours. Raises what `Calendar` raises. Hot path: 0.2 µs once seen."""
    seen = _seen.get(id(hours))
    if seen is not None and seen[0] is hours:
        return seen[1]
    content = msgspec.json.encode(hours)
    calendar = _made.get(content)
    if calendar is None:
        calendar = Calendar(hours)
        _keep(_made, content, calendar)
    _keep(_seen, id(hours), (hours, calendar))
    return calendar


def _keep(kept: dict[K, V], key: K, value: V) -> None:
    if len(kept) >= _CALENDARS_KEPT:
        del kept[next(iter(kept))]
    kept[key] = value


always: Final = calendar_of(WeeklyHours(id=ALWAYS, week=(_ROUND_THE_CLOCK,) * 7))
"""The built-in calendar that is open around the clock."""


def validate(hours: WeeklyHours) -> list[str]:
    """Return what is wrong with a calendar's hours, a sentence each: its zone, its intervals, and overlaps of days beside each other."""
    try:
        zone(hours.timezone)
        found = []
    except Refused as unknown:
        found = [str(unknown)]
    day_of: dict[int, Day] = {}
    for text, intervals in hours.exceptions.items():
        try:
            day_of[date.fromisoformat(text).toordinal()] = intervals
        except ValueError:
            found.append(f"{text!r} is no date; write it as 2026-12-24.")
    for name, intervals in chain(zip(_DAYS, hours.week, strict=True), hours.exceptions.items()):
        found += [f"{name}: {fault}" for interval in intervals if (fault := _fault(interval))]
        found += [f"{name}: {_text(one)} and {_text(two)} overlap." for one, two in combinations(sorted(intervals), 2) if two[0] < one[1]]
    for today, (one, two) in enumerate(pairwise((*hours.week, hours.week[0]))):
        found += _over_midnight(_DAYS[today], one, _DAYS[(today + 1) % 7], two)
    for day in sorted({day - before for day in day_of for before in (0, 1)}):
        one, two = (day_of.get(each, hours.week[(each - 1) % 7]) for each in (day, day + 1))
        found += _over_midnight(date.fromordinal(day).isoformat(), one, date.fromordinal(day + 1).isoformat(), two)
    return found


def _fault(interval: Interval) -> str | None:
    start_s, end_s = interval
    if start_s < 0 or start_s >= _DAY_S:
        return f"{_text(interval)} must start between 00:00 and 24:00 of its own day."
    if end_s <= start_s:
        return f"{_text(interval)} must end after its start."
    if end_s > 2 * _DAY_S:
        return f"{_text(interval)} must end by 48:00, the end of the next day."
    return None


def _over_midnight(today: str, one: Day, tomorrow: str, two: Day) -> list[str]:
    return [
        f"{today}: {_text(late)} runs over midnight and overlaps {_text(early)} of {tomorrow}."
        for late in one
        for early in two
        if late[1] - _DAY_S > early[0]
    ]


def _text(interval: Interval) -> str:
    return "-".join(f"{bound // 3600:02}:{bound % 3600 // 60:02}" + (f":{bound % 60:02}" if bound % 60 else "") for bound in interval)
