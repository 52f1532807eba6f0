"""Laws of what people were told of customers who are linked, in chains and in any order, by workers that lag: what was told less what was
taken back is what the tables say; nothing is told twice, each alert is over once or open once, and who still waits under one rule has one alert."""  # noqa: D205, D209 - one sentence

import asyncio
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property.test_copying_laws import Entry, World, histories, settled, unlike
from tests.support.linked_log import CARE
from tests.support.one_person import net

QUIET = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TIMES = frozenset({"clock", "unanswered"})
"""Tables of which no cell tells when something was noticed; how often a verdict had changed (`turn`) does differ."""

VERDICTS = ("sla.breach", "unanswered.", "alert.", "escalation.step", "escalation.stood")


def played(found: list[Entry], size: int) -> World:
    """Return how a history ends."""

    async def run() -> World:
        return await settled(await World(found).play(), size)

    return asyncio.run(run())


@QUIET
@given(found=histories, size=st.sampled_from([1, 3, 1000]))
def test_what_was_told_of_a_chain_of_links_is_what_the_tables_say(found: list[Entry], size: int) -> None:
    world = played(found, size)
    store = world.here.into
    rows: dict[str, list[dict[str, Any]]] = {table: asyncio.run(store.scan(f"{table}_v1")) for table in ("clock", "unanswered", "alert")}
    breached = {("clock", r["home_customer_id"], r["conversation_id"], r["metric"], r["instance"]) for r in rows["clock"] if r["state"] == "breached"}
    missed = {("contact", r["home_customer_id"], r["contact"], r["rule"]) for r in rows["unanswered"] if r["state"] in {"unanswered", "recovered"}}
    alerts = {("alert", r["alert_id"]) for r in rows["alert"] if r["state"] != "resolved"}
    assert net(world.here.effects) == dict.fromkeys(breached | missed | alerts, 1)
    waited = Counter(r["name"] for r in rows["alert"] if r["kind"] == "unanswered" and r["state"] != "resolved")
    assert waited == dict.fromkeys((r["rule"] for r in rows["unanswered"] if r["state"] == "unanswered"), 1)
    told: list[Any] = [(e.key, e.payload) for e in world.here.effects if e.kind.startswith(VERDICTS)]
    assert [one for one, n in Counter((key, payload.header.id) for key, payload in told).items() if n > 1] == []
    assert [one for one in unlike(world, CARE) if one.table in TIMES and one.column != "turn"] == []
