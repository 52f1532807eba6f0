"""Laws of copying (engine.md §9, log.md §5): linked in whatever order = one customer from the start, whoever reads when, and whoever dies where."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from projections.digest import Difference, difference
from projections.registry import Group
from schemas.codec import Head
from schemas.events import TimerWoke
from streams.customer_view import decoded
from streams.records import RawRecord
from streams.store.memory import MemoryStore
from tests.support.linked_log import CARE, CODEC, MINUTE, PARTITIONS, VIEW, LinkedLog, Worker, differences, quiet
from tests.support.memory_log import Killed

HOMES = ("c0", "p1", "q2", "r3")
"""In the order of their handles: who comes first stays. The first and the last lie in one partition."""

ROOT = HOMES[0]


class Entry(NamedTuple):
    """One thing that happens: `home` says or is answered something, or is linked to `other`; or somebody reads so many records.

    `twice`: a resolver was killed, and resolved the record again after the link.
    """

    kind: str
    home: str
    other: str
    gap_min: int
    late: bool
    stale: bool
    conversation: str
    where: tuple[str, int, int]


histories = st.lists(
    st.builds(
        Entry,
        st.sampled_from(["said", "said", "said", "twice", "answered", "linked", "read", "read"]),
        st.sampled_from(HOMES),
        st.sampled_from(HOMES),
        st.sampled_from([0, 1, 10, 45, 300]),
        st.booleans(),
        st.booleans(),
        st.sampled_from("ab"),
        st.tuples(st.sampled_from(["view", "care"]), st.integers(0, PARTITIONS - 1), st.integers(1, 5)),
    ),
    min_size=1,
    max_size=30,
)


SAID: Final = Entry("said", "c0", "c0", 0, late=False, stale=False, conversation="a", where=("view", 0, 1))
LINKED_ON_BEFORE_COPIED: Final = [
    *[SAID] * 12,
    SAID._replace(home="r3"),
    SAID._replace(kind="linked", home="q2", other="r3"),
    SAID._replace(kind="linked", other="q2"),
]
"""Somebody is linked on before what was copied to him is complete: the rows of it are not his any more."""


class World:
    """A history with links, and the same one where all of it came under the root from the start.

    A record that is `stale` was resolved by somebody who had not heard of the last link. In the end all are linked to the first.
    """

    def __init__(self, found: Sequence[Entry], groups: Sequence[Group] = (VIEW, CARE)) -> None:
        self.found = found
        self.log, self.one = LinkedLog(), LinkedLog()
        self.here, self.there = Worker(self.log, groups=groups), Worker(self.one, groups=groups)
        self.root = {home: home for home in HOMES}
        self.before = dict(self.root)

    async def play(self) -> "World":
        """Let everything happen; who reads reads meanwhile, the rest is read in the end."""
        await self.here.open()
        await self.there.open()
        for log in (self.log, self.one):  # of whom there are links and nothing else there is a row that says so
            log.said("first", ROOT, ROOT)
        for number, entry in enumerate(self.found):
            self.log.now_us += entry.gap_min * MINUTE
            self.one.now_us = self.log.now_us
            if entry.kind in {"said", "twice", "answered"}:
                self.say(number, entry)
            elif entry.kind == "linked":
                self.link(entry.home, entry.other)
            elif entry.where[0] in {group.name for group in self.here.groups}:
                await self.here.run(*entry.where)
        for home in HOMES[1:]:
            self.link(home, ROOT)
        return self

    def say(self, number: int, entry: Entry) -> None:
        under = (self.before if entry.stale or entry.kind == "twice" else self.root)[entry.home]
        said: dict[str, Any] = {"conversation": f"{entry.home}/{entry.conversation}", "late_us": 20 * MINUTE if entry.late else 0}
        also = [(self.log, self.root[entry.home])] if entry.kind == "twice" else []
        for log, key in ((self.log, under), *also, (self.one, ROOT)):
            log.said(f"m-{number}", entry.home, key, answer=entry.kind == "answered", **said)

    def link(self, one: str, other: str) -> None:
        """Link two customers: whoever comes first stays, and whoever was linked to the other comes along."""
        to, of = sorted({self.root[one], self.root[other]}, key=HOMES.index) if self.root[one] != self.root[other] else ("", "")
        if not of:
            return
        self.before = dict(self.root)
        for member in [home for home in HOMES if self.root[home] == of]:
            self.root[member] = to
            self.log.link(member, to, via="" if member == of else of)


def roots_rows(store: MemoryStore, group: Group) -> dict[str, list[dict[str, Any]]]:
    """Return what readers see of the root."""
    tables = [table for table in group.reader_tables if "customer_id" in table.columns]
    return {table.name: [row for row in asyncio.run(store.scan(table.physical)) if row["customer_id"] == ROOT] for table in tables}


def unlike(world: World, group: Group) -> list[Difference]:
    """Return how the root differs from the customer who was one from the start."""
    rows = [roots_rows(worker.into, group) for worker in (world.here, world.there)]
    return difference(group.tables(), rows[0], rows[1], decode=lambda schema_id, body: decoded(CODEC, body, schema_id))


def ties_of(store: MemoryStore, group: Group) -> dict[object, object]:
    """Return what is tied, and armed, of everybody."""
    rows = asyncio.run(store.scan(f"{group.name}_v{group.version}_state"))
    return {row["subject"]: (row["ties"], row["timers"], row["appended_us"]) for row in rows}


async def settled(world: World, size: int = 1000) -> World:
    """Read everything, and let all time pass."""
    await quiet(world.here, HOMES, size)
    await quiet(world.there, HOMES)
    return world


@settings(max_examples=80)
@given(found=histories, size=st.sampled_from([1, 3, 1000]))
@example(found=LINKED_ON_BEFORE_COPIED, size=1000)
def test_linked_in_whatever_order_is_one_customer_from_the_start(found: list[Entry], size: int) -> None:
    """What the view shows of the root; nothing is missing, and nothing is there twice."""

    async def played() -> World:
        return await settled(await World(found, (VIEW,)).play(), size)

    world = asyncio.run(played())
    assert unlike(world, VIEW) == []
    assert {kept["subject"]: kept["ties"] for kept in asyncio.run(world.there.into.scan("view_v1_state")) if kept["ties"]} == {}


@settings(max_examples=60)
@given(found=histories, deaths=st.lists(st.tuples(st.integers(0, 25), st.integers(0, 12), st.integers(1, 7)), min_size=1, max_size=12))
def test_a_copier_that_dies_anywhere_loses_and_doubles_nothing(found: list[Entry], deaths: list[tuple[int, int, int]]) -> None:
    """Each death: after how many writes to the store, after how many appends to the log, and how much was read at a time."""

    async def dying() -> World:
        world = await World(found, (VIEW,)).play()
        for writes, appends, size in deaths:
            world.log.lives = appends
            await world.here.open(writes)
            try:
                await world.here.follow(size)
            except Killed:
                continue
        world.log.lives = None
        await world.here.open()
        return await settled(world)

    assert unlike(asyncio.run(dying()), VIEW) == []


@settings(max_examples=60)
@given(found=histories, size=st.integers(1, 9), woken=st.booleans())
def test_who_reads_the_log_later_comes_to_the_same(found: list[Entry], size: int, *, woken: bool) -> None:
    """A version that is built from the log, in any portions, also without its wake-ups: the same rows, ties and timers."""

    async def both() -> tuple[World, Worker]:
        world = await settled(await World(found).play())
        read = LinkedLog()
        read.partitions = {partition: list(records) for partition, records in world.log.partitions.items()}
        if not woken:
            for records in read.partitions.values():
                records[:] = [record for record in records if not _is_wake_up(record) or record.appended_us == world.log.now_us]
                records[:] = [record._replace(offset=offset) for offset, record in enumerate(records)]
        later = await Worker(read, speaks=False).open()
        await later.follow(size)
        return world, later

    world, later = asyncio.run(both())
    for group in (VIEW, CARE):
        assert differences(world.here.into, later.into, group) == []
        assert not woken or ties_of(world.here.into, group) == ties_of(later.into, group)


def _is_wake_up(record: RawRecord) -> bool:
    head = CODEC.head(record.value)
    return isinstance(head, Head) and head.type is TimerWoke


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_a_chain_of_links_copies_everything_once(size: int) -> None:
    """What the last one said lies under the first one once, although it could have come by both."""
    said = Entry("said", "q2", "q2", 1, late=False, stale=False, conversation="a", where=("view", 0, 1))
    found = [
        said,
        said._replace(kind="linked", other="p1"),
        said,
        said._replace(kind="linked", home="p1", other="c0"),
        said._replace(stale=True, conversation="b"),
    ]

    async def played() -> World:
        return await settled(await World(found, (VIEW,)).play(), size)

    world = asyncio.run(played())
    shown = [row["event_id"] for row in roots_rows(world.here.into, VIEW)["timeline"] if not row["hidden"]]
    assert sorted(shown) == ["first", "m-0", "m-2", "m-4"]
    assert unlike(world, VIEW) == []
