"""Calendars of tests in words, and a calendar that is too simple to be wrong: it walks through the minutes."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta

from projections.rules import Day, WeeklyHours
from projections.sla.zones import zone

__all__ = ["DAYS", "MINUTE_US", "Walk", "day", "hours", "instant", "wall"]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTE_US = 60_000_000


def day(*intervals: str) -> Day:
    """Return a day of intervals such as 09:00-17:00; an end that is not after its start is one of the next day."""
    found = []
    for interval in intervals:
        start_s, end_s = (int(hour) * 3600 + int(minute) * 60 for hour, minute in (bound.split(":") for bound in interval.split("-")))
        found.append((start_s, end_s if end_s > start_s else end_s + 86_400))
    return tuple(found)


def hours(timezone: str = "UTC", exceptions: dict[str, tuple[str, ...]] | None = None, **week: str) -> WeeklyHours:
    """Return a calendar of `mon="09:00-12:00 13:00-17:00"`; `daily` and `weekdays` stand for several days, days that are absent are closed."""
    texts = dict.fromkeys(DAYS, week.get("daily", "")) | (dict.fromkeys(DAYS[:5], week["weekdays"]) if "weekdays" in week else {})
    texts |= {name: text for name, text in week.items() if name in DAYS}
    mon, tue, wed, thu, fri, sat, sun = (day(*texts[name].split()) for name in DAYS)
    replaced = {name: day(*intervals) for name, intervals in (exceptions or {}).items()}
    return WeeklyHours(id="tested", timezone=timezone, week=(mon, tue, wed, thu, fri, sat, sun), exceptions=replaced)


def instant(text: str, timezone: str = "UTC", *, second_time: bool = False) -> int:
    """Return epoch µs of a local time such as 2026-01-30 16:30."""
    return round(datetime.fromisoformat(text).replace(tzinfo=zone(timezone), fold=int(second_time)).timestamp() * 1_000_000)


def wall(at_us: int | None, timezone: str = "UTC") -> str | None:
    """Return the local time of an instant with its offset, to the second."""
    return None if at_us is None else datetime.fromtimestamp(at_us // 1_000_000, zone(timezone)).isoformat(" ", "seconds")


class Walk:
    """The naive model: which minutes of a stretch of days are open, found by reading a wall clock once a minute.

    A bound is reached when the wall first shows it or something later, so what the wall shows twice counts the first time and what it
    skips counts when it jumps: the greatest time that the wall has shown so far says what is open. Exact for bounds and offsets of whole
    minutes.
    """

    def __init__(self, calendar: WeeklyHours, from_us: int, days: int) -> None:
        self.from_us = from_us // MINUTE_US * MINUTE_US
        self.until_us = self.from_us + days * 1440 * MINUTE_US
        self._open = list(self._minutes(calendar))

    def _minutes(self, calendar: WeeklyHours) -> Iterator[bool]:
        tz = zone(calendar.timezone)
        shown = datetime(1, 1, 1)  # noqa: DTZ001 - a wall clock
        known: dict[datetime, bool] = {}
        lead = 3 * 1440  # minutes of walking before the first answer, so that an earlier jump back is over
        for minute in range(-lead, (self.until_us - self.from_us) // MINUTE_US):
            seconds = self.from_us // 1_000_000 + minute * 60
            shown = max(shown, datetime.fromtimestamp(seconds, tz).replace(tzinfo=None))
            if minute >= 0:
                if shown not in known:
                    known[shown] = is_open_by_the_wall(calendar, shown)
                yield known[shown]

    def open_us(self, from_us: int, until_us: int) -> int:
        """Return the open µs between two instants of the stretch, minute by minute."""
        found = 0
        for number, is_open in enumerate(self._open):
            start_us = self.from_us + number * MINUTE_US
            if is_open:
                found += max(0, min(until_us, start_us + MINUTE_US) - max(from_us, start_us))
        return found

    def due_us(self, start_us: int, rest_us: int) -> int | None:
        """Return when so many open µs have passed; None if that is after the stretch."""
        if rest_us <= 0:
            return start_us
        for number, is_open in enumerate(self._open):
            begin_us = max(start_us, self.from_us + number * MINUTE_US)
            left_us = self.from_us + (number + 1) * MINUTE_US - begin_us
            if is_open and left_us > 0:
                if rest_us <= left_us:
                    return begin_us + rest_us
                rest_us -= left_us
        return None

    def is_open(self, at_us: int) -> bool:
        """Tell whether the minute of an instant is open."""
        return self._open[(at_us - self.from_us) // MINUTE_US]

    def next_open(self, at_us: int) -> int | None:
        """Return the first open instant from one on; None if it is after the stretch."""
        first = (at_us - self.from_us) // MINUTE_US
        for number in range(first, len(self._open)):
            if self._open[number]:
                return max(at_us, self.from_us + number * MINUTE_US)
        return None


def is_open_by_the_wall(calendar: WeeklyHours, shown: datetime) -> bool:
    """Tell whether a local time lies in an interval of its own day or in one that runs over midnight from the day before."""
    for back in (0, 1):
        begun: date = shown.date() - timedelta(days=back)
        intervals = calendar.exceptions.get(begun.isoformat(), calendar.week[begun.weekday()])
        passed_s = (shown - datetime(begun.year, begun.month, begun.day)).total_seconds()  # noqa: DTZ001 - a wall clock
        if any(start_s <= passed_s < end_s for start_s, end_s in intervals):
            return True
    return False
