"""The calendar of an alert, by its id and the rules of a moment: for ladders, holds and quiet hours."""

from typing import Final

from projections.kernel import Config
from projections.rules import Severity
from projections.sla.calendar import Calendar, calendar_of
from projections.sla.matching import ALWAYS_OPEN, matcher_of

__all__ = ["SEVERITIES", "calendar_at", "deliver_at_us"]

SEVERITIES: Final[dict[str, int]] = {"low": 0, "normal": 1, "high": 2, "critical": 3}
"""Severity -> rank; greater is worse."""


def calendar_at(config: Config, calendar: str, at_us: int) -> Calendar:
    """Return a calendar as it is in force at an event time; one that the rules no longer have counts as always open."""
    try:
        return calendar_of(matcher_of(config.at(at_us)).hours(calendar))
    except KeyError:
        return calendar_of(ALWAYS_OPEN)


def deliver_at_us(config: Config, severity: Severity, noticed_us: int) -> int:
    """Return when an alert may be delivered: in quiet hours, one that is not severe enough waits for the next opening (sla.md §3)."""
    quiet = config.at(noticed_us).defaults.quiet_hours
    if quiet is None or SEVERITIES[severity] >= SEVERITIES[quiet.severity_below]:
        return noticed_us
    opening = calendar_at(config, quiet.calendar, noticed_us).next_open(noticed_us)
    return noticed_us if opening is None else opening
