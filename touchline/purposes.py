"""Who may see what, by purpose, and for how long. Pure: knows rows of a timeline and roles; must not know keys.

That somebody is vulnerable is special-category data: not only what was said of it, the event itself says it. So whoever lacks the
role is not told that there is one: the timeline leaves these events out, and among the technical ones (`--all`) stands only that
something is withheld, and when it was.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from schemas.sealing import Purpose, SealedItem
from streams.timeline_row import TimelineRow

__all__ = ["MAY_OPEN", "VULNERABILITY", "WITHHELD", "Flag", "ToOpen", "flag_of", "is_special", "masked", "to_open"]

VULNERABILITY: Final = "vulnerability"
"""The family of events, the purpose of their keys, and the role that may see both."""

WITHHELD: Final = "withheld"
"""What stands where something may not be seen."""

MAY_OPEN: Final[dict[Purpose, frozenset[str]]] = {
    "contact": frozenset({"agent", "supervisor", "privacy"}),
    "vulnerability": frozenset({VULNERABILITY}),
}
"""The roles that open parts of a purpose: one of them is enough."""

_DAY_US: Final = 86_400_000_000


class ToOpen(NamedTuple):
    """A sealed part that somebody wants to see. Of a purpose with an end nothing is opened from `ends_at_us` on, or where it is None."""

    item: SealedItem
    ends_at_us: int | None = None


class Flag(NamedTuple):
    """A customer needs special care: flagged when, until when; epoch µs."""

    since_us: int
    until_us: int


def is_special(row: TimelineRow) -> bool:
    """Tell whether an event is special-category data by itself."""
    return row.family == VULNERABILITY


def to_open(row: TimelineRow, days_max: int) -> ToOpen | None:
    """Return what there is to open of an event, and until when: what names no end itself ends as the longest flag of its day would."""
    if row.sealed is None:
        return None
    return ToOpen(row.sealed, (_expiry_us(row) or row.occurred_at_us + days_max * _DAY_US) if is_special(row) else None)


def masked(row: TimelineRow) -> TimelineRow:
    """Return what is left of an event for whoever may not see that it is there: its time, and a place in the order."""
    nothing = dict.fromkeys(("actor_id", "contact_id", "conversation_id", "case_id", "sealed"))
    return msgspec.structs.replace(
        row, type=WITHHELD, channel="other", direction="internal", actor_kind="system", event_id="", hidden=True, summary={}, **nothing
    )


def flag_of(rows: Sequence[TimelineRow], now_us: int) -> Flag | None:
    """Return the flag in force, of a customer's vulnerability events in any order; None if there is none, or it is over.

    The last of flagged, extended, withdrawn and expired decides, in order of event time; an event that another one corrects does not count.
    """
    corrected = {row.summary["corrects"] for row in rows if "corrects" in row.summary}
    since_us: int | None = None
    until_us = 0
    for row in sorted(rows, key=lambda row: row.position):
        if row.event_id in corrected:
            continue
        step = row.type.partition(".")[2]
        if step in {"flagged", "extended"}:
            since_us = row.occurred_at_us if since_us is None or until_us <= row.occurred_at_us else since_us
            until_us = _expiry_us(row) or 0
        elif step in {"withdrawn", "expired"}:
            since_us = None
    return None if since_us is None or until_us <= now_us else Flag(since_us, until_us)


def _expiry_us(row: TimelineRow) -> int | None:
    said = row.summary.get("expires_at_us", "")
    return int(said) if said.isascii() and said.isdigit() else None
