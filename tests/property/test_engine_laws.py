"""The laws of engine.md §9 that hold without timers: whatever happens on the way, the tables are those of the straight run."""

import asyncio
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engine import Engine
from streams.records import RawRecord
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion
from streams.work import Work
from tests.support.ledger import CODEC, GROUP, batch, record, store

VERSION = GroupVersion("ledger", 1)
READ = ("entry_v1", "total_v1", "mark_v1", "ledger_v1_state", "parked_customer", "parked_record")

entries = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 25), st.sampled_from(["received", "received", "sent", "opened", "poison"]), st.integers(0, 50)),
    min_size=1,
    max_size=40,
)
"""(customer, number of the id, kind, event time): ids repeat, so some records are the same event appended again."""


def log_of(found: Sequence[tuple[int, int, str, int]]) -> list[RawRecord]:
    """Return the log; the content of a record follows from its id, as it does where the same event is appended again."""
    kinds: dict[tuple[int, int], tuple[str, int]] = {}
    records = []
    for offset, (customer, number, kind, at_us) in enumerate(found):
        known = kinds.setdefault((customer, number), (kind, at_us))
        records.append(record(offset, customer, f"{customer}-{number}", *known))
    return records


def new_engine(cached: int = 1000) -> Engine:
    """Return an engine for the ledger."""
    return Engine(GROUP, CODEC, tenant="acme", cached_subjects_max=cached)


async def fold(engine: Engine, into: MemoryStore, records: list[RawRecord]) -> Work:
    """Fold one batch; nothing is written."""
    taken = engine.take(batch(records))
    return engine.feed(taken, await into.load_states(VERSION, engine.missing(taken)))


async def write(into: MemoryStore, work: Work, phases: int) -> None:
    """Write the first `phases` of fan-out, own rows, checkpoint."""
    if phases > 0:
        await into.write(work.fan_out)
    if phases > 1:
        await into.write(work.own)
    if phases > 2:
        await into.save_checkpoints(VERSION, {0: work.checkpoint})


async def opened(into: MemoryStore, cached: int = 1000) -> tuple[Engine, int]:
    """Return a new engine at the store's checkpoint, as after a restart."""
    from streams.parking import ParkedCustomer  # noqa: PLC0415

    engine = new_engine(cached)
    checkpoint = (await into.load_checkpoints(VERSION)).get(0)
    parked = [ParkedCustomer.from_row(row) for row in await into.read("parked_customer", {"name": "ledger", "version": 1})]
    return engine, engine.open(0, checkpoint, parked)


async def content(of: MemoryStore) -> dict[str, list[dict[str, object]]]:
    """Return everything that is in the tables."""
    return {table: sorted(await of.scan(table), key=repr) for table in READ}


async def straight(records: list[RawRecord]) -> dict[str, list[dict[str, object]]]:
    """Fold record by record, each written before the next."""
    into = store()
    engine, _ = await opened(into)
    for one in records:
        await write(into, await fold(engine, into, [one]), 3)
    return await content(into)


@given(found=entries, cuts=st.lists(st.integers(1, 9), min_size=1, max_size=40), cached=st.sampled_from([100, 1]))
def test_any_chunking_is_the_straight_run(found: list[tuple[int, int, str, int]], cuts: list[int], cached: int) -> None:
    """Also with a cache that holds next to nothing."""

    async def chunked() -> dict[str, list[dict[str, object]]]:
        into, rest, index = store(), log_of(found), 0
        engine, _ = await opened(into, cached)
        while rest:
            size = cuts[index % len(cuts)]
            await write(into, await fold(engine, into, rest[:size]), 3)
            engine.acknowledge(engine.work_number)
            rest, index = rest[size:], index + 1
        return await content(into)

    assert asyncio.run(chunked()) == asyncio.run(straight(log_of(found)))


@settings(max_examples=200)
@given(found=entries, schedule=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3), st.booleans()), max_size=30))
def test_any_crash_redelivery_or_zombie_is_the_straight_run(found: list[tuple[int, int, str, int]], schedule: list[tuple[int, int, bool]]) -> None:
    """Each entry of the schedule: how many records, how far the writes come before the crash, and whether they are written again later."""

    async def crashing() -> dict[str, list[dict[str, object]]]:
        into, records = store(), log_of(found)
        zombies: list[Work] = []
        for size, phases, comes_back in schedule:
            engine, start = await opened(into)
            if start >= len(records):
                break
            work = await fold(engine, into, records[start : start + size])
            await write(into, work, phases)
            if comes_back:
                zombies.append(work)
        engine, start = await opened(into)
        while start < len(records):
            await write(into, await fold(engine, into, records[start : start + 7]), 3)
            start += 7
            for zombie in zombies:
                await write(into, zombie, 3)
            zombies.clear()
        for zombie in zombies:
            await write(into, zombie, 2)
        return await content(into)

    assert asyncio.run(crashing()) == asyncio.run(straight(log_of(found)))


@given(found=entries)
def test_the_same_log_appended_twice_changes_no_row_that_readers_use(found: list[tuple[int, int, str, int]]) -> None:
    """A resolver that is killed before it commits appends again: other offsets, same ids."""

    async def twice() -> list[dict[str, list[dict[str, object]]]]:
        into, records = store(), [r for r in log_of(found) if b"poison" not in r.value]
        engine, _ = await opened(into)
        after = []
        for again in (0, 1):
            for one in records:
                moved = one._replace(offset=one.offset + again * 1000)
                await write(into, await fold(engine, into, [moved]), 3)
            after.append({table: rows for table, rows in (await content(into)).items() if table in READ[:3]})
        return after

    first, second = asyncio.run(twice())
    assert first == second
