"""What readers ask of the alerts: those of a day or of one team, one by its id, its ladder, what became of a command.

Over the store port only. Must not know how alerts come about (`projections/alerts.py`).
"""

from collections.abc import Collection, Sequence

from streams.alert_view import AlertView, CommandView, StepView
from streams.store.columns import integer, text
from streams.store.port import GroupVersion, Store

__all__ = ["OPEN", "STATES", "AlertReader"]

STATES = ("open", "acknowledged", "snoozed", "resolved")
"""What the row of an alert may say."""

OPEN = ("open", "acknowledged", "snoozed")
"""The states in which somebody still has something to do."""


class AlertReader:
    """Reads the tables of one version of the care group. Raises `Retryable` as the store does."""

    def __init__(self, store: Store, group: GroupVersion) -> None:
        self._store = store
        self._version = group.version

    async def of_days(
        self, tenant: str, days: Sequence[str], *, team: str | None = None, states: Collection[str] = STATES, silent: bool = False
    ) -> list[AlertView]:
        """Return the alerts of some days (`2026-01-12`, UTC), newest first, of one team or of all. `silent`: those told to nobody, too."""
        teams = [[team]] * len(days) if team is not None else await self._teams(tenant, days)
        wanted = [{"tenant": tenant, "team": one, "day": day} for day, some in zip(days, teams, strict=True) for one in some]
        parts = await self._store.read_many(self._table("alert"), wanted) if wanted else []
        found = [AlertView.of(row) for part in parts for row in part]
        return sorted(
            (alert for alert in found if alert.state in states and (silent or not alert.silent)), key=lambda it: (-it.raised_us, it.team, it.alert_id)
        )

    async def alert(self, tenant: str, alert_id: str) -> AlertView | None:
        """Return one alert by its id; None if there is none."""
        found = await self._store.read(self._table("alert_by_id"), {"tenant": tenant, "alert_id": alert_id})
        if not found:
            return None
        where = {"tenant": tenant, "team": text(found[0], "team"), "day": text(found[0], "day")}
        raised_us = integer(found[0], "raised_at")
        rows = await self._store.read(self._table("alert"), where, after=(raised_us + 1,), upto=(raised_us,))  # newest first
        return next((AlertView.of(row) for row in rows if row["alert_id"] == alert_id), None)

    async def ladder(self, tenant: str, alert: AlertView) -> list[StepView]:
        """Return the ladder of an alert: step 0 is the ladder itself; nothing if it has none."""
        rows = await self._store.read(self._table("escalation"), {"tenant": tenant, "conversation_id": alert.conversation_id})
        return [StepView.of(row) for row in rows if row["alert_id"] == alert.alert_id]

    async def commands(self, tenant: str, alert_id: str) -> list[CommandView]:
        """Return what people asked of an alert and what became of it, in order of time."""
        rows = await self._store.read(self._table("alert_command"), {"tenant": tenant, "alert_id": alert_id})
        return sorted((CommandView.of(row) for row in rows), key=lambda it: (it.at_us, it.event_id))

    async def _teams(self, tenant: str, days: Sequence[str]) -> list[list[str]]:
        parts = await self._store.read_many(self._table("alert_team"), [{"tenant": tenant, "day": day} for day in days])
        return [[text(row, "team") for row in part] for part in parts]

    def _table(self, name: str) -> str:
        return f"{name}_v{self._version}"
