"""What the tables know of one conversation: the context that conditions see of it, and its clocks. Reads over the store port only."""

from typing import Any

from rich.console import Console

from projections.sla.conditions import Context
from schemas.codec import Codec
from streams.care_view import CareReader, ClockRow
from streams.plain import utc
from streams.reading import ActiveVersions, CustomerReader
from streams.timeline_row import ConversationRow
from touchline.settings import Settings
from touchline.tables import connected
from touchline.terminal import draw_table

__all__ = ["brief", "draw_clocks", "look_up"]


def brief(clock: ClockRow) -> dict[str, Any]:
    """Return what `explain` tells of a clock as JSON: how it stands, and the policy and calendar that it goes by."""
    told = clock.json()
    return {name: told[name] for name in ("metric", "instance", "state", "policy", "calendar", "due_at")}


async def look_up(settings: Settings, tenant: str, conversation: str) -> tuple[Context, int, list[ClockRow]] | None:
    """Return a conversation's context, when it began (epoch µs) and its clocks; None if there is none of this id."""
    async with connected(settings) as store:
        active = ActiveVersions(store)
        rows = await CustomerReader(store, Codec(), await active.of("view")).conversation(tenant, conversation)
        if not rows:
            return None
        row = max(rows, key=lambda each: each.last_at_us)
        clocks = await CareReader(store, await active.of("care")).clocks(tenant, row.customer_id)
        return _context(row), row.opened_at_us, [clock for clock in clocks if clock.conversation_id == row.conversation_id]


def _context(row: ConversationRow) -> Context:
    channel = row.last_channel or next(iter(row.channels), "")
    return Context(channel=channel, team=row.team, priority=row.priority, direction=row.last_direction)


def draw_clocks(console: Console, clocks: list[ClockRow]) -> None:
    """Draw the clocks as they stand."""
    console.print()
    rows = [(it.metric, str(it.instance), it.state, "" if it.due_us is None else utc(it.due_us), it.calendar, it.policy) for it in clocks]
    draw_table(console, ("metric", ">", "state", "due", "calendar", "policy"), rows, title="As they stand")
