"""The laws of engine.md §9 for timers, rulebooks and figures: whatever happens on the way, the tables are those of the straight run.

The straight run itself is compared with `World`, the plainest code that keeps the rules of time.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from projections.rules import Config
from streams.books import positions
from streams.engine import Engine
from streams.parking import ParkedCustomer
from streams.records import RawRecord
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion
from streams.tallies import Tallies
from streams.timer_index import TimerIndex
from streams.work import Work
from tests.support.clockwork import CODEC, GROUP, SECOND, batch, event, published, record, rules, store, wake, world

VERSION = GroupVersion("clockwork", 1)
CUSTOMERS = 3
END_S = 100_000
READ = ("ring_v1", "heard_v1", "tone_v1", "clockwork_v1_state", "parked_customer", "parked_record", "config_position")
TRUTH = ("ring_v1", "heard_v1")


class Entry(NamedTuple):
    """One record to be: appended `gap_s` after the one before it, about something `late_s` earlier."""

    kind: str
    customer: int
    gap_s: int
    late_s: int
    conversation: str
    channel: str


entries = st.lists(
    st.builds(
        Entry,
        st.sampled_from(["received", "received", "received", "sent", "wake", "wake", "rules", "poison"]),
        st.integers(1, CUSTOMERS),
        st.sampled_from([0, 1, 3, 8, 30, 61, 70, 200]),
        st.sampled_from([0, 0, 0, 2, 59, 60, 61, 150]),
        st.sampled_from("ab"),
        st.sampled_from(["phone", "email"]),
    ),
    min_size=1,
    max_size=30,
)
SPANS_S = (30, 90, 45, 20)


def log_of(found: Sequence[Entry], *, without: str = "") -> list[RawRecord]:
    """Return the log; at its end everybody is woken, long after everything was due."""
    records: list[RawRecord] = []
    now_s, version = 1000.0, 0
    for number, entry in enumerate(found):
        now_s += entry.gap_s
        offset = len(records)
        if entry.kind == "rules":
            version += 1
            records.append(record(offset, published(rules(SPANS_S[version % 4], version), now_s), now_s))
        elif entry.kind == "wake":
            if without != "wake":
                records.append(record(offset, wake(entry.customer, now_s), now_s))
        elif entry.kind != without:
            of = event(entry.kind, entry.customer, now_s - entry.late_s, id=f"e{number}", conversation=entry.conversation, channel=entry.channel)
            records.append(record(offset, of, now_s))
    return records + [record(len(records) + n, wake(n + 1, END_S), END_S + 0.000001) for n in range(CUSTOMERS)]


class Owner:
    """One process that owns the partition: engine and figures as they are after a start."""

    def __init__(self, into: MemoryStore, cached: int = 1000) -> None:
        self.into = into
        self.engine = Engine(GROUP, CODEC, tenant="acme", cached_subjects_max=cached, config=Config((rules(60),)))
        self.tallies = Tallies(GROUP, into, cached_rows_max=cached)
        self.index = TimerIndex(into, VERSION)
        self.start = 0

    async def opened(self) -> "Owner":
        """Take the partition over at the store's checkpoint."""
        checkpoint = (await self.into.load_checkpoints(VERSION)).get(0)
        parked = [ParkedCustomer.from_row(row) for row in await self.into.read("parked_customer", {"name": "clockwork", "version": 1})]
        books = positions(await self.into.read("config_position", {"partition": 0}))
        self.start = self.engine.open(0, checkpoint, parked, books=books)
        return self

    async def fold(self, records: list[RawRecord]) -> Work:
        """Fold one batch; nothing is written."""
        taken = self.engine.take(batch(records))
        work = self.engine.feed(taken, await self.into.load_states(VERSION, self.engine.missing(taken)))
        await self.tallies.add([work], self.engine.work_number)
        work.fan_out.extend(self.index.rows(0, work.timers, 0))
        return work

    async def write(self, work: Work, phases: int = 3) -> None:
        """Write the first `phases` of fan-out, own rows, checkpoint; in phase 1 of 4 only half of the fan-out."""
        await write(self.into, work, phases)
        if phases >= 3:
            self.engine.acknowledge(self.engine.work_number)
            self.tallies.acknowledge(self.engine.work_number)


async def write(into: MemoryStore, work: Work, phases: int) -> None:
    """Write part of a work: -1 is half of the fan-out."""
    await into.write(work.fan_out if phases > 0 else work.fan_out[: len(work.fan_out) // 2])
    if phases > 1:
        await into.write(work.own)
    if phases > 2:
        await into.save_checkpoints(VERSION, {0: work.checkpoint})


async def content(of: MemoryStore) -> dict[str, list[dict[str, object]]]:
    """Return everything that is in the tables. No timers is no timers, whether any were ever stored or not."""
    found = {table: await of.scan(table) for table in READ}
    found["clockwork_v1_state"] = [row | {"timers": row["timers"] or b""} for row in found["clockwork_v1_state"]]
    return {table: sorted(rows, key=repr) for table, rows in found.items()}  # type: ignore[misc]


async def straight(records: list[RawRecord]) -> MemoryStore:
    """Fold record by record, each written before the next."""
    into = store()
    owner = await Owner(into).opened()
    for one in records:
        await owner.write(await owner.fold([one]))
    return into


def truth(found: dict[str, list[dict[str, object]]]) -> dict[str, object]:
    """Return what does not depend on where in the log it was noticed: rows, states, timers and figures, without places."""
    rows: dict[str, object] = {table: found[table] for table in TRUTH}
    rows["states"] = [(row["subject"], row["projection"], row["state"], row["timers"]) for row in found["clockwork_v1_state"]]
    rows["sums"] = {row["tone"]: row["sums"] for row in found["tone_v1"]}
    return rows


@settings(max_examples=150)
@given(found=entries)
def test_the_straight_run_is_what_the_plain_world_says(found: list[Entry]) -> None:
    """The engine keeps the rules of time lazily, subject by subject; the world for all at once."""
    found = [entry for entry in found if entry.kind != "poison"]
    plain, now_s, version = world(), 1000.0, 0
    for number, entry in enumerate(found):
        now_s += entry.gap_s
        if entry.kind == "rules":
            version += 1
            plain.configure(rules(SPANS_S[version % 4], version), at_us=round(now_s * SECOND))
        elif entry.kind != "wake":
            of = event(entry.kind, entry.customer, now_s - entry.late_s, id=f"e{number}", conversation=entry.conversation, channel=entry.channel)
            plain.append(of, appended_us=round(now_s * SECOND))
    plain.advance_to(END_S * SECOND)
    into = asyncio.run(straight(log_of(found)))
    expected = plain.rows()
    for table in ("ring", "heard"):
        came = [{name: value for name, value in row.items() if value is not None} for row in asyncio.run(into.scan(f"{table}_v1"))]
        assert sorted(came, key=repr) == sorted([dict(sorted(r.items(), key=lambda i: list(came[0]).index(i[0]))) for r in expected[table]], key=repr)
    sums = {row["tone"]: row["sums"] for row in asyncio.run(into.scan("tone_v1"))}
    assert sums == {key[1]: found for (_, key), found in plain.sums.items()}


@given(found=entries, cuts=st.lists(st.integers(1, 9), min_size=1, max_size=30), cached=st.sampled_from([1000, 1]))
def test_any_chunking_is_the_straight_run(found: list[Entry], cuts: list[int], cached: int) -> None:
    """Also with caches that hold next to nothing."""

    async def chunked() -> dict[str, list[dict[str, object]]]:
        into, rest, index = store(), log_of(found), 0
        owner = await Owner(into, cached).opened()
        while rest:
            size = cuts[index % len(cuts)]
            await owner.write(await owner.fold(rest[:size]))
            rest, index = rest[size:], index + 1
        return await content(into)

    assert asyncio.run(chunked()) == asyncio.run(content(asyncio.run(straight(log_of(found)))))


@settings(max_examples=200)
@given(found=entries, schedule=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3), st.booleans()), max_size=30))
def test_any_crash_redelivery_or_zombie_is_the_straight_run(found: list[Entry], schedule: list[tuple[int, int, bool]]) -> None:
    """Each entry of the schedule: how many records, how far the writes come before the crash, and whether they are written again later.

    At 0 half of the fan-out is written: some figures know the batch, others do not.
    """

    async def crashing() -> dict[str, list[dict[str, object]]]:
        into, records = store(), log_of(found)
        zombies: list[Work] = []
        for size, phases, comes_back in schedule:
            owner = await Owner(into).opened()
            if owner.start >= len(records):
                break
            work = await owner.fold(records[owner.start : owner.start + size])
            await write(into, work, phases)
            if comes_back:
                zombies.append(work)
        owner = await Owner(into).opened()
        start = owner.start
        while start < len(records):
            await owner.write(await owner.fold(records[start : start + 7]))
            start += 7
            for zombie in zombies:
                await write(into, zombie, 3)
            zombies.clear()
        for zombie in zombies:
            await write(into, zombie, 2)
        return await content(into)

    assert asyncio.run(crashing()) == asyncio.run(content(asyncio.run(straight(log_of(found)))))


@settings(max_examples=150)
@given(found=entries)
def test_removing_every_wake_up_changes_nothing(found: list[Entry]) -> None:
    """At the same time as of then: the wake-ups at the end, which stand for that time, stay."""
    found = [entry for entry in found if entry.kind != "poison"]
    with_them = asyncio.run(content(asyncio.run(straight(log_of(found)))))
    without = asyncio.run(content(asyncio.run(straight(log_of(found, without="wake")))))
    assert truth(with_them) == truth(without)


@given(found=entries)
def test_the_same_log_appended_twice_changes_nothing(found: list[Entry]) -> None:
    """A resolver or a broadcaster that is killed before it commits appends again: other offsets, same ids and versions."""

    async def twice() -> list[dict[str, object]]:
        into = store()
        records = log_of([entry for entry in found if entry.kind != "poison"])
        owner = await Owner(into).opened()
        after = []
        for again in (0, 1):
            for one in records:
                moved = one._replace(offset=one.offset + again * 1000, appended_us=one.appended_us + again * END_S * SECOND)
                await owner.write(await owner.fold([moved]))
            after.append(truth(await content(into)))
        return after

    first, second = asyncio.run(twice())
    assert first == second


@given(found=entries, order=st.lists(st.integers(0, 2), max_size=60))
def test_the_order_of_partitions_is_irrelevant(found: list[Entry], order: list[int]) -> None:
    """Each customer has a partition; whichever comes first, the same is written."""

    async def interleaved(order: list[int]) -> dict[str, list[dict[str, object]]]:
        into = store()
        engine = Engine(GROUP, CODEC, tenant="acme", cached_subjects_max=1000, config=Config((rules(60),)))
        tallies = Tallies(GROUP, into)
        lanes: list[list[RawRecord]] = [[], [], []]
        for one in log_of(found):
            for number, lane in enumerate(lanes):
                if one.key == f"c{number + 1}".encode() or (one.key or b"").startswith(b"config:"):
                    lane.append(one._replace(offset=len(lane)))
        for number in range(3):
            engine.open(number, None)
        for number in [*order, *([0, 1, 2] * 100)]:
            if lanes[number]:
                taken = engine.take(batch([lanes[number].pop(0)], number))
                work = engine.feed(taken, await into.load_states(VERSION, engine.missing(taken)))
                await tallies.add([work], engine.work_number)
                await into.write([*work.fan_out, *work.own])
        return await content(into)

    assert asyncio.run(interleaved(order)) == asyncio.run(interleaved([]))
