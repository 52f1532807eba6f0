"""Events of alerts and ladders for people: one line each, in local time. What others wrote goes through `clean`."""

from collections.abc import Callable
from datetime import tzinfo
from typing import Any, Final

from schemas import events
from schemas.record import Event, instant
from streams.excerpts import clean
from touchline.terminal import moment

__all__ = ["SAYS", "STYLES", "clock", "line", "span", "style"]

STYLES: Final = {"critical": "bold red", "high": "red", "normal": "yellow", "low": "default"}
"""Severity -> colour."""

_SECOND_US: Final = 1_000_000


def line(event: Event, zone: tzinfo | None = None) -> str | None:
    """Return one event of the output topics as a line in local time (or in `zone`); None for what nobody needs to read.

    It ends with the id that the next command needs: the alert's, else the conversation's, else the customer's.
    """
    says = SAYS.get(type(event))
    said = says(event, zone) if says is not None else None
    if said is None:
        return None
    header, alert_id = event.header, getattr(event, "alert_id", None)
    whose = f"conversation {header.conversation_id}" if header.conversation_id else f"customer {header.customer_id}"
    return clean(f"{instant(header.received_at_us).astimezone(zone):%m-%d %H:%M:%S} {said} · {alert_id or whose}")


def style(event: Event) -> str:
    """Return the colour of an event's line."""
    if isinstance(event, events.AlertRaised):
        return STYLES.get(event.severity, "default")
    if isinstance(event, events.EscalationStepReached):
        return "magenta"
    return "green" if isinstance(event, events.AlertResolved | events.UnansweredCleared) else "dim"


def clock(at_us: int, zone: tzinfo | None) -> str:
    """Return a time to the second, local or in a zone."""
    return instant(at_us).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def span(seconds: int) -> str:
    """Return a span for people: `12 s`, `30 min`, `3 min 4 s`, `2 h 5 min`, `3 d 4 h`; what is negative is `0 s`."""
    rest = max(0, seconds)
    for unit, below, size, smaller in (("d", "h", 86_400, 3600), ("h", "min", 3600, 60), ("min", "s", 60, 1)):
        if rest >= size:
            less = rest % size // smaller
            return f"{rest // size} {unit} {less} {below}" if less else f"{rest // size} {unit}"
    return f"{rest} s"


def _raised(event: events.AlertRaised, zone: tzinfo | None) -> str:
    noticed_us = event.header.received_at_us
    late_s = (noticed_us - event.due_at_us) // _SECOND_US
    due = f"due {span(late_s)} ago" if late_s > 0 else "due now"
    waits = f", told from {moment(event.deliver_at_us, noticed_us, zone)}" if event.deliver_at_us > noticed_us else ""
    where = f" in {event.header.conversation_id}" if event.header.conversation_id else ""
    return f"{event.severity.upper()} · {event.team or '-'} · {event.kind} {event.name}{where} · {due}{waits}"


def _detected(event: events.UnansweredDetected, zone: tzinfo | None) -> str | None:
    if event.attempts == 1:
        return None  # its alert tells it
    return f"AGAIN · {event.team or '-'} · unanswered {event.rule} · attempt {event.attempts}, due {_due(event, event.due_at_us, zone)}"


def _cleared(event: events.UnansweredCleared, zone: tzinfo | None) -> str:
    del zone
    return f"ANSWERED · {event.rule} · by {event.by} ({event.channel}), {span(event.after_s)} after it was asked"


def _acknowledged(event: events.AlertAcknowledged, zone: tzinfo | None) -> str:
    until = "" if event.until_us is None else f", until {_due(event, event.until_us, zone)}"
    return f"ACKNOWLEDGED · {_by(event)}{until}"


def _snoozed(event: events.AlertSnoozed, zone: tzinfo | None) -> str:
    return f"SNOOZED · {_by(event)} until {_due(event, event.until_us, zone)}"


def _assigned(event: events.AlertAssigned, zone: tzinfo | None) -> str:
    del zone
    return f"ASSIGNED · to {' / '.join(filter(None, (event.team, event.agent))) or '-'} {_by(event)}"


def _over(event: events.AlertResolved | events.EscalationStoodDown, zone: tzinfo | None) -> str:
    del zone
    return f"{'RESOLVED' if isinstance(event, events.AlertResolved) else 'STOOD DOWN'} · {event.reason}, {_by(event)}"


def _step(event: events.EscalationStepReached, zone: tzinfo | None) -> str:
    del zone
    after = f", {span(event.after_s)} on" if event.after_s else ""
    return f"STEP {event.step} → {event.to} · {event.reason}{after}"


def _held(event: events.EscalationHeld, zone: tzinfo | None) -> str:
    return f"HELD · {_by(event)} until {_due(event, event.until_us, zone)}"


def _warned(event: events.SlaWarned, zone: tzinfo | None) -> str:
    return f"WARNING · {event.team or '-'} · {event.metric} · due {'-' if event.due_at_us is None else _due(event, event.due_at_us, zone)}"


def _due(event: Event, at_us: int, zone: tzinfo | None) -> str:
    return moment(at_us, event.header.received_at_us, zone, seconds=True)


def _by(event: Any) -> str:  # noqa: ANN401 - an event with `by`
    return f"by {event.by}" if event.by else "by itself"


SAYS: Final[dict[type[Event], Callable[[Any, tzinfo | None], str | None]]] = {
    events.AlertRaised: _raised,
    events.AlertAcknowledged: _acknowledged,
    events.AlertSnoozed: _snoozed,
    events.AlertAssigned: _assigned,
    events.AlertResolved: _over,
    events.UnansweredDetected: _detected,
    events.UnansweredCleared: _cleared,
    events.EscalationStepReached: _step,
    events.EscalationHeld: _held,
    events.EscalationStoodDown: _over,
    events.SlaWarned: _warned,
}
"""Event type -> what its line says between the time and the id."""
