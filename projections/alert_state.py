"""What is kept of a customer's alerts, and the table of their states. Values only; knows no effect."""

from datetime import date
from enum import StrEnum
from functools import lru_cache
from typing import Final

import msgspec

from projections.linked import Links
from projections.sla.signals import CauseRaised

__all__ = ["NEXT", "OPEN_MAX", "OVER_MAX", "Alert", "AlertDoing", "AlertState", "AlertsState", "Cell", "Heard", "day_of"]

OPEN_MAX: Final = 128
"""Open alerts of one customer; above it the oldest is given up: its row stays, and nothing ends it any more."""

OVER_MAX: Final = 64
"""Alerts that are over and whose ids are still known."""

Cell = str | int | bool | None | list[str]
"""What a column of an alert's row may hold, as the state keeps it."""

_UNANSWERED: Final = "unanswered"
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

    def stands_for(self, cause: CauseRaised) -> bool:
        """Tell whether it stands for this cause too: it is its own, or another attempt under one rule.

        What is told to people never joins what was told to nobody.
        """
        if cause.cause_id in self.causes:
            return True
        attempt = cause.kind == _UNANSWERED and (self.kind, self.name) == (cause.kind, cause.name)
        return attempt and (cause.silent or not self.silent)

    @classmethod
    def of(cls, alert_id: str, cause: CauseRaised, customer_id: str, deliver_at: int) -> "Alert":
        """Return the alert that a cause raises."""
        place = cause.place
        return cls(
            id=alert_id,
            kind=cause.kind,
            name=cause.name,
            raised_us=cause.at_us,
            team=place.team,
            home=place.home_customer_id,
            causes=[cause.cause_id],
            columns={
                "kind": cause.kind,
                "name": cause.name,
                "instance": cause.instance,
                "rule": cause.rule_id,
                "severity": cause.severity,
                "state": AlertState.OPEN.value,
                "noticed_at": cause.noticed_us,
                "deliver_at": deliver_at,
                "attempts": 1,
                "last_attempt_at": cause.at_us,
                "customer_id": customer_id,
                "home_customer_id": place.home_customer_id,
                "conversation_id": place.conversation_id,
                "case_id": place.case_id,
                "channel": place.channel,
                "queue": place.queue,
                "priority": place.priority,
                "assignee": place.assignee,
                "recipients": list(cause.recipients),
                "notes": 0,
                "silent": cause.silent,
            },
            hold_s=cause.acknowledge_hold_s,
            silent=cause.silent,
        )


class Heard(msgspec.Struct, frozen=True, array_like=True):
    """A command that came as a copy, of an alert that is not here yet. `fields` are the type's own."""

    alert_id: str
    type: str
    id: str
    at_us: int
    appended_us: int
    actor: str | None
    fields: dict[str, str | int | None]


class AlertsState(msgspec.Struct, array_like=True):
    """The alerts of one customer by id: those that are open, and the last ones that are over.

    `links`: the customers that are one with this one; `heard`: what was asked of alerts that may still come from them; `handed`: of one
    that is linked away, by cause, its alert and whether somebody had it in hand; `by_hand`: of those that are over the ones that a person resolved.
    """

    tenant: str
    customer_id: str
    open: dict[str, Alert] = msgspec.field(default_factory=dict)
    over: list[str] = msgspec.field(default_factory=list)
    links: Links = msgspec.field(default_factory=Links)
    heard: list[Heard] = msgspec.field(default_factory=list)
    handed: dict[str, tuple[str, bool]] = msgspec.field(default_factory=dict)
    by_hand: list[str] = msgspec.field(default_factory=list)

    def end(self, alert_id: str, *, by_hand: bool = False) -> None:
        """Remember that an alert is over; `by_hand`: since a person said so."""
        for kept in (self.over, self.by_hand) if by_hand else (self.over,):
            kept.append(alert_id)
            del kept[:-OVER_MAX]


@lru_cache(maxsize=4096)
def _day(number: int) -> str:
    return date.fromordinal(min(max(_EPOCH_DAY + number, 1), date.max.toordinal())).isoformat()


def day_of(at_us: int) -> str:
    """Return the day of a time, UTC: 2026-01-12."""
    return _day(at_us // _DAY_US)
