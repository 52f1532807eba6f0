"""The laws of a replay (engine.md §9): any chunking, any crash and any order of partitions = live; and no wake-up is needed for it."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from projections.kernel import Subject
from projections.rules import Config
from schemas.events import ConfigPublished
from streams.armed import NEVER_US, next_of
from streams.engine import Engine
from streams.records import Batch, RawRecord
from streams.replay.replay import Replay
from streams.replay.seen import Seen
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion
from streams.tallies import Tallies
from tests.support.clockwork import CODEC, GROUP, SECOND, event, published, record, rules, store, wake
from tests.support.memory_log import Killed, MemoryLog, Mortal
from tests.support.small_log import head_of

VERSION = GroupVersion("clockwork", 1)
END_S = 100_000
READ = ("ring_v1", "heard_v1", "tone_v1", "clockwork_v1_state", "parked_customer", "parked_record")
SPANS_S = (30, 90, 45, 20)
PARTITIONS = 2


class Entry(NamedTuple):
    """One record to be: appended `gap_s` after the one before it, about something `late_s` earlier."""

    kind: str
    customer: int
    gap_s: int
    late_s: int
    conversation: str


entries = st.lists(
    st.builds(
        Entry,
        st.sampled_from(["received", "received", "received", "sent", "rules", "poison", "again"]),
        st.integers(1, 4),
        st.sampled_from([0, 1, 3, 8, 30, 61, 70, 200]),
        st.sampled_from([0, 0, 0, 2, 59, 60, 61, 150]),
        st.sampled_from("ab"),
    ),
    min_size=1,
    max_size=30,
)
Log = dict[int, list[RawRecord]]


def log_of(found: Sequence[Entry]) -> Log:
    """Return the log, without any wake-up: odd customers in partition 1. The last record tells how late it is."""
    log: Log = {partition: [] for partition in range(PARTITIONS)}
    now_s, version, last = 1000.0, 0, {}
    for number, entry in enumerate(found):
        now_s += entry.gap_s
        partition = entry.customer % PARTITIONS
        if entry.kind == "rules":
            version += 1
            book = published(rules(SPANS_S[version % 4], version), now_s)
            for records in log.values():
                records.append(record(len(records), book, now_s))
            continue
        if entry.kind == "again" and partition in last:
            of = last[partition]
        else:
            kind = "received" if entry.kind == "again" else entry.kind  # nothing is there yet that could come again
            of = event(kind, entry.customer, now_s - entry.late_s, id=f"e{number}", conversation=entry.conversation)
            last[partition] = of
        log[partition].append(record(len(log[partition]), of, now_s))
    for partition, records in log.items():
        records.append(record(len(records), event("opened", 8 + partition, END_S + 1), END_S + 1))
    return log


def new_engine(cached: int) -> Engine:
    """Return an engine as a process has it after a start."""
    return Engine(GROUP, CODEC, tenant="acme", cached_subjects_max=cached, config=Config((rules(60),)))


class Live:
    """A live worker whose wake-ups come at the very moment: each customer who waits is woken when a timer comes, and after new rules."""

    def __init__(self) -> None:
        self.into = store()
        self.engine, self.tallies = new_engine(1000), Tallies(GROUP, self.into)
        self.log: Log = {}

    async def run(self, log: Log) -> MemoryStore:
        """Fold record by record, each written before the next."""
        for partition, records in log.items():
            self.engine.open(partition, None)
            self.log[partition] = []
            offset = 0
            for one in records:
                while (next_up := self.earliest(partition))[0] < one.appended_us:
                    at_us, customer = next_up
                    await self.fold(partition, record(offset, wake(customer, 0), (at_us + 1) / SECOND))
                    offset += 1
                await self.fold(partition, one._replace(offset=offset))
                offset += 1
                if head_of(one.value).type is ConfigPublished:
                    for customer in [customer for at_us, customer in self.armed(partition) if at_us < NEVER_US]:
                        await self.fold(partition, record(offset, wake(customer, 0), one.appended_us / SECOND))
                        offset += 1
        return self.into

    def armed(self, partition: int) -> list[tuple[int, int]]:
        """Return when each customer of a partition is to be woken."""
        parked = self.engine._lanes[partition].parked
        customers = [n for n in range(1, 11) if n % PARTITIONS == partition and f"c{n}" not in parked]
        known, _ = self.engine.armed([Subject("acme", f"c{n}") for n in customers])
        return [(expiry.expires_us if (expiry := known.get(Subject("acme", f"c{n}"))) else NEVER_US, n) for n in customers]

    def earliest(self, partition: int) -> tuple[int, int]:
        """Return the next one."""
        return min(self.armed(partition))

    async def fold(self, partition: int, one: RawRecord) -> None:
        """Fold and write one record."""
        self.log[partition].append(one)
        taken = self.engine.take(Batch(partition, [one]))
        work = self.engine.feed(taken, await self.into.load_states(VERSION, self.engine.missing(taken)))
        await self.tallies.add([work], self.engine.work_number)
        await self.into.write(work.fan_out)
        await self.into.write(work.own)


async def replayed(log: Log, chunk: int, cached: int, deaths: Sequence[int] = (), *, backwards: bool = False, seen_bytes: int = 1024) -> MemoryStore:
    """Replay it, dying after so many writes again and again, and going on each time in a new process."""
    into = store()
    order = sorted(log, reverse=backwards)
    for lives in (*deaths, 10**9):
        replay = Replay(
            new_engine(cached),
            Mortal(into, lives),  # type: ignore[arg-type]  # what it does not say itself the store says
            MemoryLog(log),
            CODEC,
            first=0,
            chunk_records=chunk,
            on_error="park",
            now_us=lambda: 0,
            seen=Seen(seen_bytes),
        )
        try:
            await replay.open(order)
            assert await replay.run({partition: len(log[partition]) for partition in order})
        except Killed:
            continue
        finally:
            replay.close()
        assert replay.done.offsets == {partition: len(records) for partition, records in log.items()}
        return into
    raise AssertionError


async def truth(of: MemoryStore) -> dict[str, object]:
    """Return what does not depend on where in the log a timer was noticed: rows, states, timers, figures and who is parked."""
    found = {table: await of.scan(table) for table in READ}
    states = [(row["subject"], row["projection"], row["state"], row["timers"] or b"") for row in found["clockwork_v1_state"]]
    rang = [{name: value for name, value in row.items() if name != "noticed_at"} for row in found["ring_v1"]]
    figures = [(row["tone"], row["src_partition"], row["sums"]) for row in found["tone_v1"] if row["sums"]]
    parked = [(row["customer"], row["reason"]) for row in found["parked_customer"]]
    return {"rang": sort(rang), "heard": sort(found["heard_v1"]), "states": sort(states), "tone": sort(figures), "parked": sort(parked)}


def sort(rows: Sequence[object]) -> list[object]:
    """Return rows in an order."""
    return sorted(rows, key=repr)


@settings(max_examples=150)
@given(found=entries, chunk=st.integers(1, 12), cached=st.sampled_from([1000, 1]), woken=st.booleans(), backwards=st.booleans())
def test_any_chunking_is_live_with_its_wake_ups_or_without_any(found: list[Entry], chunk: int, cached: int, woken: bool, backwards: bool) -> None:  # noqa: FBT001
    """Also with a cache that holds next to nothing, and in any order of partitions; and with the wake-ups that a live worker left.

    Without poison: what time does to a customer between two records is undone with the second, if that parks, unless somebody was woken.
    """
    found = [entry for entry in found if entry.kind != "poison"]

    async def both() -> tuple[object, object]:
        worker = Live()
        there = await worker.run(log_of(found))
        here = await replayed(worker.log if woken else log_of(found), chunk, cached, backwards=backwards)
        return await truth(here), await truth(there)

    one, other = asyncio.run(both())
    assert one == other


@settings(max_examples=250)
@given(
    found=entries,
    chunk=st.integers(1, 12),
    cached=st.sampled_from([1000, 1]),
    deaths=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    seen_bytes=st.sampled_from([1, 1024]),
)
def test_a_replay_that_dies_anywhere_and_goes_on_is_the_straight_one(
    found: list[Entry], chunk: int, cached: int, deaths: list[int], seen_bytes: int
) -> None:
    """Between fan-out, own rows and checkpoint, in the middle of each; also where the filter says of everybody that it knows them."""

    async def both() -> tuple[object, object]:
        log = log_of(found)
        there = await replayed(log, chunk, cached, deaths, seen_bytes=seen_bytes)
        return await truth(there), await truth(await replayed(log, chunk, 1000))

    one, other = asyncio.run(both())
    assert one == other


@settings(max_examples=60)
@given(found=entries, chunk=st.integers(1, 12), deaths=st.lists(st.integers(0, 30), max_size=2))
def test_a_live_worker_finds_the_timers_that_a_replay_leaves(found: list[Entry], chunk: int, deaths: list[int]) -> None:
    """The index names everybody whose timers are still armed, at the moment of the earliest."""

    async def compared() -> None:
        log = {partition: records[:-1] for partition, records in log_of(found).items()}  # what is armed late stays armed
        into = await replayed(log, chunk, 1000, deaths)
        owners = {Subject(str(row["tenant"]), str(row["subject"])) for row in await into.scan("clockwork_v1_state")}
        states = await into.load_states(VERSION, owners)
        parked = {row["customer"] for row in await into.scan("parked_customer")}
        wanted = {(it.id, expiry.expires_us) for it, row in states.items() if (expiry := next_of(row)) is not None and it.id not in parked}
        index = await into.scan("clockwork_v1_timer")
        assert wanted <= {(row["subject"], row["expires_at"]) for row in index}
        hours = {(row["partition"], row["bucket_hour"]) for row in await into.scan("clockwork_v1_timer_bucket")}
        assert {(row["partition"], row["bucket_hour"]) for row in index} == hours

    asyncio.run(compared())
