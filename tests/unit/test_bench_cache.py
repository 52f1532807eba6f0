"""What the memory benchmark relies on: a bounded cache never loses what a poll under way needs."""

import asyncio

from streams.engine import Engine
from streams.store.port import GroupVersion
from tests.support.ledger import CODEC, GROUP, batch, record, store

VERSION = GroupVersion("ledger", 1)


def test_a_subject_that_a_poll_found_in_the_cache_stays_there_while_others_are_loaded() -> None:
    """The writes of the poll before are acknowledged while the next poll waits for its states: that must not evict what it found."""

    async def totals() -> list[object]:
        into, engine = store(), Engine(GROUP, CODEC, tenant="acme", cached_subjects_max=1)
        engine.open(0, None)
        first = engine.take(batch([record(0, 1, "1-a"), record(1, 2, "2-a")]))
        work = engine.feed(first, await into.load_states(VERSION, engine.missing(first)))
        await into.write([*work.fan_out, *work.own])
        second = engine.take(batch([record(2, 1, "1-b"), record(3, 3, "3-a")]))
        missing = engine.missing(second)
        engine.acknowledge(1)  # the first poll is written meanwhile
        work = engine.feed(second, await into.load_states(VERSION, missing))
        await into.write([*work.fan_out, *work.own])
        return [(await into.read("total_v1", {"tenant": "acme", "customer_id": f"c{n}"}))[0]["n"] for n in (1, 2, 3)]

    assert asyncio.run(totals()) == [2, 1, 1]
