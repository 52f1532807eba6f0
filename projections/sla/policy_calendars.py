"""Reads the calendars of a policy file: weeks, exceptions, and holidays written out. Knows hours; must not know who uses them."""

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from typing import Final, cast

import holidays

from projections.rules import ALWAYS, Day, Interval, WeeklyHours
from projections.sla.calendar import validate
from projections.sla.policy_lines import KeyPath
from projections.sla.policy_table import Table, choice
from projections.sla.zones import zone
from touchline.errors import Refused

__all__ = ["Calendars"]

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_S: Final = 86_400
_ROUND_THE_CLOCK: Final[Day] = ((0, _DAY_S),)
_INTERVAL: Final = re.compile(r"\s*(\d\d):(\d\d)(?::(\d\d))?\s*-\s*(\d\d):(\d\d)(?::(\d\d))?\s*", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MINUTES: Final = 60
_HOURS: Final = 24


class Calendars:
    """The calendars of one file, those with faults too, so that what names them is not at fault as well."""

    def __init__(self, root: Table, years: Sequence[int], tzdata: str) -> None:
        """Read them. `years`: those for which holidays are written out."""
        seen: dict[str, int] = {}
        found = []
        for table in root.tables("calendar", named_by="id"):
            found.append(_calendar(table, years, tzdata))
            table.once("id", found[-1].id, seen)
        self.hours = tuple(found)
        self._closing = {hours.id: not _never_closes(hours) for hours in found} | {ALWAYS: False}

    def named(self, table: Table, key: str, *, required: bool = False) -> str | None:
        """Return the calendar that a key names; one that there is not is noted."""
        name = table.required(key) if required else table.text(key)
        if name and name not in self._closing:
            table.fault(key, f'there is no calendar "{name}".', choice(name, self._closing))
            return None
        return name or None

    def closing(self, names: Iterable[str]) -> str | None:
        """Return one of these calendars that is not always open, None if all are."""
        return next((name for name in sorted(set(names)) if self._closing[name]), None)


def _never_closes(hours: WeeklyHours) -> bool:
    return all(day == _ROUND_THE_CLOCK for day in (*hours.week, *hours.exceptions.values()))


def _calendar(table: Table, years: Sequence[int], tzdata: str) -> WeeklyHours:
    told = table.faults.told
    name = table.required("id")
    if name == ALWAYS:
        table.fault("id", f'"{ALWAYS}" is the built-in calendar.', "Give it another id.")
    timezone = table.required("timezone")
    if timezone:
        try:
            zone(timezone)
        except Refused as unknown:
            table.fault("timezone", unknown.what, f"{unknown.next_step[:1].upper()}{unknown.next_step[1:]}")
    week = _week(table)
    exceptions, places = _exceptions(table)
    hours = WeeklyHours(
        id=name, timezone=timezone or "UTC", week=week, exceptions=dict(sorted((_holidays(table, years) | exceptions).items())), tzdata=tzdata
    )
    table.close()
    if table.faults.told == told and not any(hours.week) and not any(hours.exceptions.values()):
        table.faults.add(table.path, f"{table.label} is never open.", 'Add week = { mon = ["09:00-17:00"], ... }.')
    _check(table, hours, places)
    return hours


def _week(table: Table) -> tuple[Day, Day, Day, Day, Day, Day, Day]:
    found = table.table("week")
    days = [() if found is None else _day(found, day) for day in _DAYS]
    if found is not None:
        found.close()
    return cast(tuple[Day, Day, Day, Day, Day, Day, Day], tuple(days))


def _exceptions(table: Table) -> tuple[dict[str, Day], dict[str, KeyPath]]:
    """Read what replaces local days, and where each of them stands."""
    found: dict[str, Day] = {}
    places: dict[str, KeyPath] = {}
    for exception in table.tables("exception", named_by="date"):
        day = _date(exception)
        if not exception.has("open"):
            exception.fault("date", "does not say when it is open.", 'Add open = [] for closed, or open = ["10:00-14:00"].')
        intervals = _day(exception, "open")
        exception.close()
        if day is None:
            continue
        if day in found:
            exception.fault("date", f"{day} stands here a second time.", "Keep one of the two.")
        found[day], places[day] = intervals, exception.path
    return found, places


def _date(exception: Table) -> str | None:
    value = exception.raw("date")
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value.isoformat()
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return dt.date.fromisoformat(value).isoformat()
        except ValueError:
            pass  # the fault below names it
    exception.fault("date", "date must be a day.", "Write date = 2026-12-24.")
    return None


def _day(table: Table, key: str) -> Day:
    """Read the intervals of one day; those that cannot be read are noted and left out."""
    intervals: list[Interval] = []
    for index, text in enumerate(table.list_of_texts(key)):
        found = _INTERVAL.fullmatch(text)
        start_s, end_s = (None, None) if found is None else (_second(*found.groups()[:3]), _second(*found.groups()[3:]))
        if start_s is None or end_s is None:
            table.faults.add(table.at(key, index), f'{table.label}: {key}: "{text}" is no interval.', 'Write "09:00-17:00", to "24:00" at most.')
        elif start_s in {end_s, _DAY_S}:
            what = f'{table.label}: {key}: "{text}" is empty.'
            table.faults.add(table.at(key, index), what, 'Leave it out for closed, or write "00:00-24:00" for the whole day.')
        else:
            intervals.append((start_s, end_s if end_s > start_s else end_s + _DAY_S))
    return tuple(sorted(intervals))


def _second(hours: str, minutes: str, seconds: str | None) -> int | None:
    """Return the second of the day, None if there is no such time. 24:00 is the day's end."""
    if int(hours) > _HOURS or int(minutes) >= _MINUTES or int(seconds or 0) >= _MINUTES:
        return None
    at_s = int(hours) * 3600 + int(minutes) * 60 + int(seconds or 0)
    return at_s if at_s <= _DAY_S else None


def _holidays(table: Table, years: Sequence[int]) -> dict[str, Day]:
    """Write a country's or region's public holidays out as closed days: what the library says now holds from now on, and no later word of it."""
    code = table.text("holidays")
    if code is None:
        return {}
    country, _, region = code.partition("-")
    known = holidays.list_supported_countries(include_aliases=True)
    if country not in known:
        table.fault("holidays", f'"{code}" is no country of the holidays library.', "Write a code such as DE-BY, FR or CN.")
        return {}
    try:
        days = holidays.country_holidays(country, subdiv=region or None, years=list(years))
    except NotImplementedError:
        table.fault("holidays", f'"{code}": {country} has no region "{region}".', choice(region, known[country]))
        return {}
    return {day.isoformat(): () for day in sorted(days) if day.year in years}


def _check(table: Table, hours: WeeklyHours, places: dict[str, KeyPath]) -> None:
    """Note what only the hours as a whole show: overlaps."""
    known_zone = WeeklyHours(id=hours.id, week=hours.week, exceptions=hours.exceptions)
    for sentence in validate(known_zone):
        day = sentence.partition(":")[0]
        dates = [date for date in _DATE.findall(sentence) if date in places]
        path = table.at("week", day) if day in _DAYS else places[dates[0]] if dates else table.path
        table.faults.add(path, f"{table.label}: {sentence}", "Correct the hours.")
