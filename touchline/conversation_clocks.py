"""What the tables know of one conversation: the context that conditions see of it, and its clocks. Reads over the store port only."""

from typing import Any, NamedTuple

from rich.console import Console

from projections.registry import GROUPS
from projections.sla.conditions import Context
from schemas.codec import Codec
from streams.plain import utc
from streams.reading import CustomerReader, active_version
from streams.store.columns import Row, integer, text
from streams.store.port import Store
from streams.timeline_row import ConversationRow
from touchline.settings import Settings
from touchline.tables import connected
from touchline.terminal import draw_table

__all__ = ["ClockRow", "draw_clocks", "look_up"]

CARE = "care"


class ClockRow(NamedTuple):
    """One clock of the conversation, with the policy and calendar that it was started under."""

    metric: str
    instance: int
    state: str
    policy: str
    calendar: str
    due_us: int | None

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        due = None if self.due_us is None else utc(self.due_us)
        values = {"metric": self.metric, "instance": self.instance, "state": self.state}
        return {**values, "policy": self.policy, "calendar": self.calendar, "due_at": due}


async def look_up(settings: Settings, tenant: str, conversation: str) -> tuple[Context, int, list[ClockRow]] | None:
    """Return a conversation's context, when it began (epoch µs) and its clocks; None if there is none of this id."""
    async with connected(settings) as store:
        rows = await CustomerReader(store, Codec(), active_version()).conversation(tenant, conversation)
        if not rows:
            return None
        row = max(rows, key=lambda each: each.last_at_us)
        return _context(row), row.opened_at_us, await _clocks(store, tenant, row)


def _context(row: ConversationRow) -> Context:
    channel = row.last_channel or next(iter(row.channels), "")
    return Context(channel=channel, team=row.team, priority=row.priority, direction=row.last_direction)


async def _clocks(store: Store, tenant: str, row: ConversationRow) -> list[ClockRow]:
    table = f"clock_v{GROUPS[CARE].version}"
    found = await store.read(table, {"tenant": tenant, "customer_id": row.customer_id})
    return sorted(_clock(clock) for clock in found if clock["conversation_id"] == row.conversation_id)


def _clock(row: Row) -> ClockRow:
    due_us = None if row["due_at"] is None else integer(row, "due_at")
    return ClockRow(text(row, "metric"), integer(row, "instance"), text(row, "state", ""), text(row, "policy", ""), text(row, "calendar", ""), due_us)


def draw_clocks(console: Console, clocks: list[ClockRow]) -> None:
    """Draw the clocks as they stand."""
    console.print()
    rows = [(it.metric, str(it.instance), it.state, "" if it.due_us is None else utc(it.due_us), it.calendar, it.policy) for it in clocks]
    draw_table(console, ("metric", ">", "state", "due", "calendar", "policy"), rows, title="As they stand")
