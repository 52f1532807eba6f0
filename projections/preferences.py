"""By which channels, and when, a customer comes to us. Knows what customers do by themselves; must not know what we send.

Counted are the events by which a customer reaches out (`REACHES_OUT`, direction inbound), each one: ten chat messages
weigh ten.
"""

from typing import Final

import msgspec

from projections.order import Order
from schemas import events
from schemas.events import Channel, CustomerPreferences
from schemas.record import Event

__all__ = ["BEST_HOURS_MAX", "LANGUAGE_ATTRIBUTES", "REACHES_OUT", "Preferences", "facet", "fold"]

BEST_HOURS_MAX: Final = 3
"""How many hours of the day are named."""

LANGUAGE_ATTRIBUTES: Final = ("language", "locale")
"""Clear attributes that name the customer's language, the first one that is there. (No event type has a field for it.)"""

REACHES_OUT: Final[frozenset[type[Event]]] = frozenset(
    {events.ContactInitiated, events.MessageReceived, events.StoreFormLeft, events.StoreVisit, events.ThreadPosted, events.ThreadReplied}
)
"""The types by which a customer makes contact; only inbound ones count, and in a thread only those that are not by staff."""

_HOUR_US: Final = 3_600_000_000


class Preferences(msgspec.Struct, array_like=True, gc=False):
    """Counts and latest times (epoch µs) by channel, counts by UTC hour, and what follows from them.

    `best` and `used_most` are kept up to date instead of searched for: with each event only one count grows.
    """

    counts: dict[str, int] = msgspec.field(default_factory=dict)
    used_most: Channel | None = None
    latest: Channel | None = None
    latest_us: int = 0
    hours: dict[int, int] = msgspec.field(default_factory=dict)
    best: list[int] = msgspec.field(default_factory=list)
    language: str | None = None
    language_order: Order | None = None


def fold(state: Preferences, event: Event, order: Order) -> bool:
    """Take in one event; tell whether the facet changed. Hot path: 0.5 µs on average."""
    header = event.header
    if type(event) not in REACHES_OUT or header.direction != "inbound" or (type(event) is events.ThreadReplied and event.by_staff):
        return False
    channel, at_us = header.channel, order[0]
    counts = state.counts
    count = counts[channel] = counts.get(channel, 0) + 1
    most = state.used_most
    if most != channel and (most is None or (count, channel) > (counts[most], most)):
        state.used_most = channel
    if state.latest is None or (at_us, channel) > (state.latest_us, state.latest):
        state.latest, state.latest_us = channel, at_us
    _count_hour(state, at_us // _HOUR_US % 24)
    if event.attributes:
        _note_language(state, event, order)
    return True


def facet(state: Preferences) -> CustomerPreferences:
    """Build the facet."""
    return CustomerPreferences(
        most_used_channel=state.used_most,
        latest_channel=state.latest,
        latest_at_us=None if state.latest is None else state.latest_us,
        channels=dict(state.counts) if len(state.counts) < 2 else dict(sorted(state.counts.items())),  # noqa: PLR2004 - one needs no sorting
        best_hours=tuple(state.best),
        language=state.language,
    )


def _count_hour(state: Preferences, hour: int) -> None:
    """Count the hour and let it rise in the list of the best: by count, then the earlier hour."""
    hours, best = state.hours, state.best
    count = hours[hour] = hours.get(hour, 0) + 1
    if hour in best:
        at = best.index(hour)
    elif len(best) < BEST_HOURS_MAX:
        at = len(best)
        best.append(hour)
    elif (count, -hour) > (hours[best[-1]], -best[-1]):
        at = len(best) - 1
        best[at] = hour
    else:
        return
    while at and (count, -hour) > (hours[best[at - 1]], -best[at - 1]):
        best[at], best[at - 1] = best[at - 1], hour
        at -= 1


def _note_language(state: Preferences, event: Event, order: Order) -> None:
    for name in LANGUAGE_ATTRIBUTES:
        language = event.attributes.get(name)
        if language:
            if state.language_order is None or order > state.language_order:
                state.language, state.language_order = language[:35], order  # BCP 47: 35 characters hold every tag in use
            return
