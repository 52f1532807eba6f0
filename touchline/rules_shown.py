"""Draws rulebooks, and what is explained of them, as tables for the terminal; and the public JSON form of a rulebook."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from rich.console import Console

from projections.rules import Day, LadderStep, Rulebook, WeeklyHours
from streams.plain import utc
from streams.published import Published
from touchline.explaining import Clock, Explained
from touchline.terminal import draw_table

__all__ = ["book_json", "counts", "draw_book", "draw_explained", "span"]

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def span(seconds: int) -> str:
    """Return seconds as a policy file says them: 5400 is `1h30m`, 0 is `0s`. Days are not used: they are no unit of open time."""
    parts = []
    for size, unit in _UNITS[1:]:
        n, seconds = divmod(seconds, size)
        if n:
            parts.append(f"{n}{unit}")
    return "".join(parts) or "0s"


def counts(book: Rulebook) -> dict[str, int]:
    """Return how much of each kind a rulebook holds."""
    return {"calendars": len(book.calendars), "policies": len(book.policies), "unanswered": len(book.unanswered), "queues": len(book.queues)}


def book_json(book: Rulebook, published_us: int | None = None) -> dict[str, Any]:
    """Return a rulebook's public JSON form: its values as they are published, its times as text."""
    values: dict[str, Any] = msgspec.to_builtins(book)
    values.pop("effective_at_us")
    return {
        "version": values.pop("version"),
        "effective_at": utc(book.effective_at_us),
        "published_at": None if published_us is None else utc(published_us),
        **values,
    }


def draw_book(console: Console, book: Rulebook, rules: Iterable[Published]) -> None:
    """Draw what is in force, and every version that was published."""
    console.print(f"Version {book.version}, in force from {utc(book.effective_at_us)}", style="bold", markup=False)
    if book.clear_attributes:
        console.print(f"Attributes that stay clear: {', '.join(book.clear_attributes)}", markup=False)
    _print(console, "Calendars", ("id", "zone", ">exceptions", "tzdata", "week"), [_calendar(hours) for hours in book.calendars])
    _print(
        console,
        "Policies, the first match applies",
        ("id", "calendar", "targets", "when", "ladder"),
        [
            (
                policy.id,
                policy.calendar or "by precedence",
                ", ".join(f"{metric} {span(target_s)}" for metric, target_s in policy.targets.items()),
                _when(policy.when),
                _ladder(policy.escalation),
            )
            for policy in book.policies
        ],
    )
    _print(
        console,
        "Contacts nobody answered",
        ("id", "calendar", "within", "recovered by", "when", "ladder"),
        [
            (rule.id, rule.calendar or "by precedence", span(rule.answer_within_s), rule.recovered_by, rule.when, _ladder(rule.escalation))
            for rule in book.unanswered
        ],
    )
    _print(console, "Where no policy names a calendar", ("what", "calendar", ""), _places(book))
    versions = [(str(one.book.version), utc(one.published_us), utc(one.book.effective_at_us)) for one in rules]
    _print(console, "Published (UTC)", ("version", "published", "in force from"), versions)


def draw_explained(console: Console, found: Explained) -> None:
    """Draw which policy applies and why, its clocks with their calendars and due times, and the rules about unanswered contacts."""
    for policy in found.passed:
        console.print(f"  no: {policy.id}, {policy.when}", style="dim", markup=False)
    if found.policy is None:
        console.print("No policy applies: no clock starts.", style="yellow")
    else:
        console.print(f"Policy {found.policy.id}: {_when(found.policy.when)}", style="bold", markup=False)
    start = f"started at {utc(found.start_us)}"
    _print(console, f"Clocks, {start}", ("metric", "target", "due", "calendar", "because"), [_clock(clock) for clock in found.clocks])
    warned = [f"{clock.name} at {utc(clock.warn_us)}" for clock in found.clocks if clock.warn_us is not None]
    if warned:
        console.print(f"Warned before: {', '.join(warned)}", markup=False)
    _print(console, f"Unanswered, {start}", ("rule", "within", "due", "calendar", "because"), [_clock(rule) for rule in found.unanswered])


def _clock(clock: Clock) -> tuple[str, ...]:
    due = "never opens" if clock.due_us is None else utc(clock.due_us)
    return clock.name, span(clock.target_s), due, clock.placed.hours.id, clock.why


def _calendar(hours: WeeklyHours) -> tuple[str, ...]:
    return hours.id, hours.timezone, str(len(hours.exceptions)), hours.tzdata, _week(hours)


def _week(hours: WeeklyHours) -> str:
    """Return the week with equal neighbours as one: `mon-thu 09:00-17:00, fri 09:00-15:00`."""
    groups: list[tuple[int, int, Day]] = []
    for index, day in enumerate(hours.week):
        if groups and groups[-1][2] == day:
            groups[-1] = (groups[-1][0], index, day)
        else:
            groups.append((index, index, day))
    return ", ".join(
        f"{_DAYS[first]}{f'-{_DAYS[last]}' if last > first else ''} {' '.join(f'{_local(a)}-{_local(b)}' for a, b in day)}"
        for first, last, day in groups
        if day
    )


def _local(second: int) -> str:
    day_s = _UNITS[0][0]
    second = second if second <= day_s else second - day_s
    return f"{second // 3600:02}:{second % 3600 // 60:02}" + (f":{second % 60:02}" if second % 60 else "")


def _when(condition: str) -> str:
    return "whatever comes" if condition == "true" else condition


def _ladder(steps: Iterable[LadderStep]) -> str:
    return ", ".join(f"{span(step.after_s)} {step.to}" for step in steps)


def _places(book: Rulebook) -> list[tuple[str, ...]]:
    contacts = book.defaults.queue
    found = [(f"segment {it.segment}", it.calendar, "") for it in book.customer_calendars]
    for queue in book.queues:
        answer_s = contacts.answer_within_s if queue.answer_within_s is None else queue.answer_within_s
        short_s = contacts.short_abandon_s if queue.short_abandon_s is None else queue.short_abandon_s
        found.append((f"queue {queue.id}", queue.calendar or "", f"answered within {span(answer_s)}, short abandon {span(short_s)}"))
    found += [
        (f"channel {it.id}", it.calendar or "", f"grace {span(it.grace_s)}, lateness up to {span(it.allowed_lateness_s)}") for it in book.channels
    ]
    found += [
        (f"team {it.id}", it.calendar or "", "" if it.return_after_s is None else f"work returns after {span(it.return_after_s)}")
        for it in book.teams
    ]
    default = f"answered within {span(contacts.answer_within_s)}, short abandon {span(contacts.short_abandon_s)}"
    return [*found, ("defaults", book.defaults.calendar or "always", default)]


def _print(console: Console, title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    if rows:
        console.print()
        draw_table(console, columns, rows, title=title)
