"""Reads a policy file (TOML, cli.md §4) into a `Rulebook`. Pure: text in, values out; must not know the log or the command line.

Whatever is wrong is found in one go and told with its line, before anything is published.
"""

import re
import tomllib
from collections.abc import Sequence
from typing import Final, get_args

from projections.rules import ALWAYS, ChannelRules, ContactRules, CustomerCalendar, Defaults, QueueRules, QuietHours, Rulebook, Severity, TeamRules
from projections.sla.policy_calendars import Calendars
from projections.sla.policy_lines import lines_of
from projections.sla.policy_promises import Promises
from projections.sla.policy_table import Fault, Faults, Table, WrongPolicies
from projections.sla.zones import TZDATA_VERSION
from schemas.events import Channel

__all__ = ["Fault", "WrongPolicies", "holiday_years", "read_policies"]

_CHANNELS: Final[tuple[str, ...]] = get_args(Channel)
_SEVERITIES: Final[tuple[str, ...]] = get_args(Severity)
_PLACE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_FIRST_YEAR: Final = 1970
_YEARS_AHEAD: Final = 3


def read_policies(text: str, name: str, *, years: Sequence[int], tzdata: str = TZDATA_VERSION) -> Rulebook:
    """Return the rulebook of a policy file, with version 0. `name` stands before the line in messages.

    `years` are those for which `holidays` are written out (`holiday_years`); `tzdata` is noted in every calendar. Raises
    `WrongPolicies`, a `Misconfigured` that names every fault.
    """
    try:
        values = tomllib.loads(text)
        lines = lines_of(text)
    except tomllib.TOMLDecodeError as error:
        raise WrongPolicies(name, (_no_toml(text, str(error)),)) from None
    except RecursionError:
        raise WrongPolicies(name, (Fault(1, "Tables or lists lie too deep in one another.", "Write it flat, as docs/policies.md shows."),)) from None
    faults = Faults(name, lines)
    root = Table(values, (), faults, "The file")
    book = _rulebook(root, years, tzdata)
    root.close()
    faults.raise_any()
    return book


def holiday_years(now_year: int, effective_year: int | None = None) -> range:
    """Return the years for which holidays are written out: from the year before to three years after; earlier for old data."""
    first = now_year if effective_year is None else min(now_year, effective_year)
    return range(max(first - 1, _FIRST_YEAR), now_year + _YEARS_AHEAD + 1)


def _rulebook(root: Table, years: Sequence[int], tzdata: str) -> Rulebook:
    calendars = Calendars(root, years, tzdata)
    clear = root.list_of_texts("clear_attributes")
    defaults = _defaults(root, calendars)
    queues = tuple(_queue(table, calendars, seen) for seen, table in _each(root, "queue", "id"))
    channels = tuple(_channel(table, calendars, seen) for seen, table in _each(root, "channel", "id"))
    customers = tuple(_customer(table, calendars, seen) for seen, table in _each(root, "customer_calendar", "segment"))
    implied = [*(it.calendar for it in queues), *(it.calendar for it in channels), *(it.calendar for it in customers), defaults.calendar or ALWAYS]
    promises = Promises(calendars, {calendar for calendar in implied if calendar}, clear)
    return Rulebook(
        clear_attributes=clear,
        calendars=calendars.hours,
        defaults=defaults,
        queues=queues,
        channels=channels,
        teams=tuple(_team(table, calendars, seen) for seen, table in _each(root, "team", "id")),
        customer_calendars=customers,
        policies=promises.policies(root),
        unanswered=promises.unanswered(root),
    )


def _each(root: Table, key: str, named_by: str) -> list[tuple[dict[str, int], Table]]:
    """Return the tables of an array, each with the names of that array seen so far."""
    seen: dict[str, int] = {}
    return [(seen, table) for table in root.tables(key, named_by=named_by)]


def _defaults(root: Table, calendars: Calendars) -> Defaults:
    table = root.table("defaults")
    if table is None:
        return Defaults()
    queue = table.table("queue")
    contacts = ContactRules()
    if queue is not None:
        contacts = ContactRules(
            answer_within_s=_or(queue.seconds("answer_within"), contacts.answer_within_s),
            short_abandon_s=_or(queue.seconds("short_abandon"), contacts.short_abandon_s),
        )
        queue.close()
    defaults = Defaults(
        calendar=calendars.named(table, "calendar"),
        reopen_window_s=_or(table.seconds("reopen_window"), Defaults().reopen_window_s),
        queue=contacts,
        quiet_hours=_quiet_hours(table, calendars),
        return_after_s=table.seconds("return_after"),
    )
    table.close()
    return defaults


def _quiet_hours(defaults: Table, calendars: Calendars) -> QuietHours | None:
    table = defaults.table("quiet_hours")
    if table is None:
        return None
    calendar = calendars.named(table, "calendar", required=True)
    if not table.has("severity_below"):
        table.faults.add(table.path, f"{table.label} has no severity_below.", 'Add severity_below = "high".')
    severity = table.one_of("severity_below", _SEVERITIES)
    table.close()
    return QuietHours(calendar=calendar, severity_below=severity) if calendar and severity else None  # type: ignore[arg-type] # one of them


def _queue(table: Table, calendars: Calendars, seen: dict[str, int]) -> QueueRules:
    rules = QueueRules(
        id=table.required("id"),
        calendar=calendars.named(table, "calendar"),
        answer_within_s=table.seconds("answer_within"),
        short_abandon_s=table.seconds("short_abandon"),
    )
    table.once("id", rules.id, seen)
    table.close()
    return rules


def _channel(table: Table, calendars: Calendars, seen: dict[str, int]) -> ChannelRules:
    if not table.has("id"):
        table.required("id")
    name = table.one_of("id", _CHANNELS) or ""
    table.once("id", name, seen)
    default = ChannelRules(id=name)
    rules = ChannelRules(
        id=name,
        calendar=calendars.named(table, "calendar"),
        grace_s=_or(table.seconds("grace"), default.grace_s),
        allowed_lateness_s=_or(table.seconds("allowed_lateness"), default.allowed_lateness_s),
    )
    table.close()
    return rules


def _team(table: Table, calendars: Calendars, seen: dict[str, int]) -> TeamRules:
    rules = TeamRules(id=table.required("id"), calendar=calendars.named(table, "calendar"), return_after_s=table.seconds("return_after"))
    table.once("id", rules.id, seen)
    table.close()
    return rules


def _customer(table: Table, calendars: Calendars, seen: dict[str, int]) -> CustomerCalendar:
    segment = table.required("segment")
    table.once("segment", segment, seen)
    calendar = calendars.named(table, "calendar", required=True)
    table.close()
    return CustomerCalendar(segment=segment, calendar=calendar or ALWAYS)


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _no_toml(text: str, said: str) -> Fault:
    """Turn the parser's words into a fault at their line."""
    place = _PLACE.search(said)
    line = int(place[1]) if place and place[1] else text.count("\n") + 1
    return Fault(line, f"This is no TOML: {_PLACE.sub('', said)}.", "Correct the line; docs/policies.md shows the form.")
