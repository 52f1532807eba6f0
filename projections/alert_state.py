"""What is kept of a customer's alerts, and the table of their states. Values only; knows no effect."""

from datetime import date
from enum import StrEnum
from functools import lru_cache
from typing import Final

import msgspec

__all__ = ["NEXT", "Alert", "AlertDoing", "AlertState", "AlertsState", "Cell", "day_of"]

Cell = str | int | bool | None | list[str]
"""What a column of an alert's row may hold, as the state keeps it."""

_DAY_US: Final = 86_400_000_000
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()


class AlertState(StrEnum):
    """Where an alert stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    RESOLVED = "resolved"


class AlertDoing(StrEnum):
    """What happens to an alert. Assigning it and adding a note leave its state as it is."""

    ACKNOWLEDGE = "acknowledge"
    SNOOZE = "snooze"
    WAKE = "wake"
    END = "end"


NEXT: Final[dict[AlertState, dict[AlertDoing, AlertState]]] = {
    AlertState.OPEN: {
        AlertDoing.ACKNOWLEDGE: AlertState.ACKNOWLEDGED,
        AlertDoing.SNOOZE: AlertState.SNOOZED,
        AlertDoing.END: AlertState.RESOLVED,
    },
    AlertState.ACKNOWLEDGED: {
        AlertDoing.ACKNOWLEDGE: AlertState.ACKNOWLEDGED,
        AlertDoing.SNOOZE: AlertState.SNOOZED,
        AlertDoing.END: AlertState.RESOLVED,
    },
    AlertState.SNOOZED: {
        AlertDoing.ACKNOWLEDGE: AlertState.ACKNOWLEDGED,
        AlertDoing.SNOOZE: AlertState.SNOOZED,
        AlertDoing.WAKE: AlertState.OPEN,
        AlertDoing.END: AlertState.RESOLVED,
    },
    AlertState.RESOLVED: {},
}
"""State -> what happens -> the next state. A snoozed alert that was acknowledged wakes as acknowledged."""


class Alert(msgspec.Struct, array_like=True):
    """One alert. `causes` are those that still hold; `columns` its row as last written, which lies under `team` and `raised_us`.

    `hold_s`: how long its ladder waits when it is acknowledged; `ended_as`: how the causes ended that no longer hold.
    """

    id: str
    kind: str
    name: str
    raised_us: int
    team: str
    home: str
    causes: list[str]
    columns: dict[str, Cell]
    state: str = AlertState.OPEN.value
    hold_s: int | None = None
    acknowledged: bool = False
    snoozed_until_us: int = 0
    silent: bool = False
    ended_as: str = "retracted"


class AlertsState(msgspec.Struct, array_like=True):
    """The alerts of one customer by id: those that are open, and the last ones that are over."""

    tenant: str
    customer_id: str
    open: dict[str, Alert] = msgspec.field(default_factory=dict)
    over: list[str] = msgspec.field(default_factory=list)


@lru_cache(maxsize=4096)
def _day(number: int) -> str:
    return date.fromordinal(min(max(_EPOCH_DAY + number, 1), date.max.toordinal())).isoformat()


def day_of(at_us: int) -> str:
    """Return the day of a time, UTC: 2026-01-12."""
    return _day(at_us // _DAY_US)
