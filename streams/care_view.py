"""What readers ask of the clocks: those of a customer, the open ones of a team, and the summary for the 360° view.

Over the store port only. Must not know how clocks run (`projections/sla/`).
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from projections.rules import Rulebook
from projections.sla.calendar import calendar_of
from projections.sla.matching import ALWAYS_OPEN
from streams.plain import utc
from streams.store.columns import Row, integer, integer_or_none, text
from streams.store.port import GroupVersion, Store

__all__ = ["HOURS_AHEAD", "HOURS_BEHIND", "OPEN", "STATES", "CareReader", "ClockRow", "CustomerCare", "OpenClock"]

STATES: Final = ("running", "paused", "met", "breached", "cancelled")
"""What a clock's row may say (cli.md §3)."""

OPEN: Final = ("running", "paused", "breached")
"""What the row of an open clock may say; `moved` and `closed` ones are on their way out."""

HOURS_BEHIND: Final = 14 * 24
"""How far back the open clocks of one team are looked for, by the hour of their due time."""

HOURS_AHEAD: Final = 14 * 24

_SECOND_US: Final = 1_000_000


class ClockRow(msgspec.Struct, frozen=True, kw_only=True):
    """One clock of a customer. Times are epoch µs; `due_us` None while paused, `stopped_us` None until it stopped.

    `consumed_us` is open time up to `running_since_us`, which is None while it does not run; `cancelled_us` None unless it was cancelled.
    """

    customer_id: str
    conversation_id: str
    metric: str
    instance: int
    state: str
    started_us: int
    due_us: int | None
    stopped_us: int | None
    running_since_us: int | None
    consumed_us: int
    target_s: int
    policy: str
    calendar: str
    rules_version: int
    team: str
    cancelled_us: int | None = None

    @classmethod
    def of(cls, row: Row) -> "ClockRow":
        """Build it from a row of `clock_vN`."""
        return cls(
            customer_id=text(row, "customer_id"),
            conversation_id=text(row, "conversation_id"),
            metric=text(row, "metric"),
            instance=integer(row, "instance"),
            state=text(row, "state"),
            started_us=integer(row, "started_at"),
            due_us=integer_or_none(row, "due_at"),
            stopped_us=integer_or_none(row, "stopped_at"),
            running_since_us=integer_or_none(row, "running_since"),
            consumed_us=integer(row, "consumed_us", 0),
            target_s=integer(row, "target_s", 0),
            policy=text(row, "policy", ""),
            calendar=text(row, "calendar", ""),
            rules_version=integer(row, "rules_version", 0),
            team=text(row, "team", ""),
            cancelled_us=integer_or_none(row, "cancelled_at"),
        )

    @property
    def is_open(self) -> bool:
        """Tell whether it can still change by itself or by an answer: a breached clock until it stops or is cancelled."""
        return self.state in {"running", "paused"} or (self.state == "breached" and self.stopped_us is None and self.cancelled_us is None)

    def consumed_at_us(self, at_us: int, books: Sequence[Rulebook]) -> int:
        """Return the open time consumed by `at_us` in µs: of a running clock its last segment too, in the calendar that it goes by.

        `books` are those that its policy may be of; without the right one only the segments that have ended count.
        """
        hours = [one for book in books if book.version == self.rules_version for one in (ALWAYS_OPEN, *book.calendars) if one.id == self.calendar]
        if self.state != "running" or self.running_since_us is None or not hours or at_us <= self.running_since_us:
            return self.consumed_us
        return self.consumed_us + calendar_of(hours[0]).open_us(self.running_since_us, at_us)

    def json(self) -> dict[str, Any]:
        """Return the public JSON form (cli.md §3)."""
        return {
            "kind": "clock",
            "customer_id": self.customer_id,
            "conversation_id": self.conversation_id,
            "metric": self.metric,
            "instance": self.instance,
            "state": self.state,
            "started_at": utc(self.started_us),
            "due_at": None if self.due_us is None or self.state == "paused" else utc(self.due_us),
            "stopped_at": None if self.stopped_us is None else utc(self.stopped_us),
            "consumed_s": self.consumed_us / _SECOND_US,
            "target_s": self.target_s,
            "policy": self.policy,
            "calendar": self.calendar,
        }


class OpenClock(msgspec.Struct, frozen=True, kw_only=True):
    """One open clock as a team sees it, by due time (epoch µs; a paused one keeps its last)."""

    team: str
    due_us: int
    conversation_id: str
    metric: str
    instance: int
    state: str
    customer_id: str
    channel: str
    priority: str | None

    @classmethod
    def of(cls, row: Row) -> "OpenClock":
        """Build it from a row of `open_clock_vN`."""
        return cls(
            team=text(row, "team"),
            due_us=integer(row, "due_at"),
            conversation_id=text(row, "conversation_id"),
            metric=text(row, "metric"),
            instance=integer(row, "instance"),
            state=text(row, "state", "closed"),
            customer_id=text(row, "customer_id", ""),
            channel=text(row, "channel", ""),
            priority=text(row, "priority", "") or None,
        )

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        return {
            "kind": "clock",
            "team": self.team,
            "state": self.state,
            "due_at": utc(self.due_us),
            "conversation_id": self.conversation_id,
            "metric": self.metric,
            "instance": self.instance,
            "customer_id": self.customer_id,
            "channel": self.channel,
            "priority": self.priority,
        }


class CustomerCare(msgspec.Struct, frozen=True, kw_only=True):
    """How a customer stands: how many clocks are open, by state, which ones, worst first, and how many alerts."""

    running: int
    paused: int
    breached: int
    open_alerts: int
    worst_severity: str | None
    open_clocks: tuple[ClockRow, ...]

    def json(self) -> dict[str, Any]:
        """Return the public JSON form: the part `care` of a customer."""
        return {
            "clocks": {"running": self.running, "paused": self.paused, "breached": self.breached},
            "open_alerts": self.open_alerts,
            "worst_severity": self.worst_severity,
            "open_clocks": [clock.json() for clock in self.open_clocks],
        }


class CareReader:
    """Reads the tables of one version of the care group. Raises `Retryable` as the store does."""

    def __init__(self, store: Store, group: GroupVersion) -> None:
        self._store = store
        self._version = group.version

    async def customer(self, tenant: str, customer_id: str) -> CustomerCare | None:
        """Return how a customer stands, by one read of one partition, and of another where clocks are open; None without any history."""
        rows = await self._store.read(f"care_summary_v{self._version}", {"tenant": tenant, "customer_id": customer_id})
        if not rows:
            return None
        row = rows[0]
        running, paused, breached = (integer(row, name, 0) for name in ("running", "paused", "breached"))
        open_ones = [clock for clock in await self.clocks(tenant, customer_id) if clock.is_open] if running or paused or breached else []
        return CustomerCare(
            running=running,
            paused=paused,
            breached=breached,
            open_alerts=integer(row, "open_alerts", 0),
            worst_severity=text(row, "worst_severity", "") or None,
            open_clocks=tuple(sorted(open_ones, key=_by_need)),
        )

    async def clocks(self, tenant: str, customer_id: str) -> list[ClockRow]:
        """Return every clock of a customer that is kept, by conversation, metric and instance."""
        rows = await self._store.read(f"clock_v{self._version}", {"tenant": tenant, "customer_id": customer_id})
        return [ClockRow.of(row) for row in rows]

    async def open_clocks(self, tenant: str, *, team: str | None = None, states: Collection[str] = OPEN, now: datetime) -> list[OpenClock]:
        """Return open clocks by due time, of one team (due up to two weeks before or after `now`), else of all.

        All teams together are found by reading the table whole: it holds what is open, and nothing else for long.
        """
        table = f"open_clock_v{self._version}"
        if team is None:
            rows: Sequence[Row] = [row for row in await self._store.scan(table) if row["tenant"] == tenant]
        else:
            hour = now.astimezone(UTC)
            hours = [f"{hour + timedelta(hours=n):%Y-%m-%dT%H}" for n in range(-HOURS_BEHIND, HOURS_AHEAD + 1)]
            parts = await self._store.read_many(table, [{"tenant": tenant, "team": team, "due_hour": one} for one in hours])
            rows = [row for part in parts for row in part]
        found = [OpenClock.of(row) for row in rows]
        return sorted(
            (clock for clock in found if clock.state in states), key=lambda it: (it.due_us, it.team, it.conversation_id, it.metric, it.instance)
        )


def _by_need(clock: ClockRow) -> tuple[int, int, str, str, int]:
    worst_first = ("breached", "running", "paused").index(clock.state)
    return worst_first, clock.due_us or 0, clock.conversation_id, clock.metric, clock.instance
