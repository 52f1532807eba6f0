"""Laws of undoing (engine.md §9): merged and unmerged = never merged, whatever comes meanwhile, whoever reads when, and whoever dies where."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from projections.registry import Group
from projections.rules import Config
from streams.engine import Engine
from streams.log.simulation import LogSimulation
from streams.rebuild.history import History
from streams.rebuild.rebuilding import Rebuilder
from streams.replay.replay import Replay
from streams.replay.seen import Seen
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from tests.support.linked_log import BOOK, CARE, CODEC, MINUTE, NEXT, PARTITIONS, VIEW, LinkedLog, Worker, differences, quiet
from tests.support.memory_log import Killed

HOMES = ("c0", "p1", "q2")
"""In the order of their handles: who comes first stays."""

GROUPS = (VIEW, CARE)

NOTICED = frozenset({"alert", "alert_by_id", "escalation"})
"""Tables that tell when something was noticed: what comes to a former customer late is noticed when it was handed on."""


class Entry(NamedTuple):
    """One thing that happens: `home` says or is answered something, is linked or unlinked; or somebody reads so many records."""

    kind: str
    home: str
    gap_min: int
    late: bool
    conversation: str
    where: tuple[str, int, int]


def histories(*more: str) -> st.SearchStrategy[list[Entry]]:
    """Return histories in which, beside messages and links, this happens."""
    kinds = ["said", "said", "said", "answered", "linked", "linked", "unlinked", "read", "read", *more]
    entry = st.builds(
        Entry,
        st.sampled_from(kinds),
        st.sampled_from(HOMES),
        st.sampled_from([0, 1, 10, 45, 300]),
        st.booleans(),
        st.sampled_from("ab"),
        st.tuples(st.sampled_from(["view", "care"]), st.integers(0, PARTITIONS - 1), st.integers(1, 5)),
    )
    return st.lists(entry, min_size=1, max_size=30)


class Claims:
    """Whose each handle is, as the linker keeps it: links go to whoever comes first, and who is unlinked takes along whoever came with it."""

    def __init__(self, log: LinkedLog) -> None:
        self.log = log
        self.root = {home: home for home in HOMES}
        self.via: dict[str, str] = {}
        self.were: dict[str, set[str]] = {home: {home} for home in HOMES}

    def link(self, home: str, other: str) -> None:
        """Link the roots of two handles, if they are two."""
        to, of = sorted({self.root[home], self.root[other]}) if self.root[home] != self.root[other] else ("", "")
        if not of:
            return
        for member in [of, *(one for one in HOMES if self.root[one] == of and one != of)]:
            if member != of:
                self.via.setdefault(member, of)
            self._move(member, to)
            self.log.link(member, to, via="" if member == of else of)

    def unlink(self, home: str) -> None:
        """Take a handle from its root, if it is another's; whoever came along with it is its own, and it is its own again."""
        to = self.root[home]
        if to == home:
            return
        self._move(home, home)
        self.via.pop(home, None)
        self.log.unlink(home, to)
        for one in [one for one in HOMES if self.root[one] == to and self.via.get(one) == home]:
            del self.via[one]
            self._move(one, home)
            self.log.unlink(one, to, back=home)
            self.log.link(one, home, again=True)

    def unlink_all(self, most: int = 100) -> int:
        """Take as many handles from their roots as there are; return how many these were."""
        for n in range(most):
            linked = [home for home in HOMES if self.root[home] != home]
            if not linked:
                return n
            self.unlink(linked[0])
        return most

    def _move(self, home: str, to: str) -> None:
        self.root[home] = to
        self.were[home].add(to)


class World:
    """The same history twice: with links, and as it would have been without any."""

    def __init__(self, found: Sequence[Entry]) -> None:
        self.found = found
        self.log, self.apart = LinkedLog(), LinkedLog()
        self.claims = Claims(self.log)
        self.here, self.there = Worker(self.log), Worker(self.apart)

    async def play(self, *, at_once: bool = False) -> None:
        """Let everything happen, then undo what is still linked; `at_once`: before anybody has read on."""
        await self.here.open()
        await self.there.open()
        for home in HOMES:  # of whom there are links and nothing else there is a row that says so
            self.log.said(f"first-{home}", home, home)
            self.apart.said(f"first-{home}", home, home)
        for number, entry in enumerate(self.found):
            self.log.now_us += entry.gap_min * MINUTE
            self.apart.now_us = self.log.now_us
            await self.happen(number, entry)
        if at_once:
            self.claims.unlink_all()
            return
        await self.here.follow()
        while self.claims.unlink_all(1):
            await self.here.follow()

    async def happen(self, number: int, entry: Entry) -> None:
        """Let one thing happen."""
        home = entry.home
        if entry.kind in {"said", "answered"}:
            # who reads claims late sends it to whom it was linked before
            key = sorted(self.claims.were[home])[number % len(self.claims.were[home])] if entry.late else self.claims.root[home]
            told = {"answer": entry.kind == "answered", "conversation": f"{home}/{entry.conversation}"}
            self.log.said(f"e{number}", home, key, **told)  # type: ignore[arg-type]
            self.apart.said(f"e{number}", home, home, **told)  # type: ignore[arg-type]
        elif entry.kind == "linked":
            self.claims.link(home, HOMES[number % len(HOMES)])
        elif entry.kind == "unlinked":
            self.claims.unlink(home)
        elif entry.kind == "rebuilt":
            self.log.rebuild(home)
        elif entry.kind == "died":
            await self.die(entry.where[2] * 3)
        else:
            await self.here.run(*entry.where)

    async def die(self, lives: int) -> None:
        """Read everything with a process that dies on the way, then with one that does not."""
        await self.here.open(lives)
        self.log.lives = lives
        with suppress(Killed):
            await self.here.follow()
        self.log.lives = None
        await self.here.open()


def compared(found: Sequence[Entry]) -> None:
    """Fail if readers can tell the two apart."""

    async def run() -> tuple[MemoryStore, MemoryStore]:
        world = World(found)
        await world.play()
        return (await quiet(world.here, HOMES)).into, (await quiet(world.there, HOMES)).into

    one, other = asyncio.run(run())
    later = NOTICED if any(entry.late for entry in found) else frozenset()
    assert [[found for found in differences(one, other, group) if found.table not in later] for group in GROUPS] == [[], []]
    assert asyncio.run(one.scan("parked_customer")) == []


@settings(max_examples=60)
@given(found=histories())
def test_merged_and_unmerged_is_never_merged(found: list[Entry]) -> None:
    """Three handles, links in chains, records that come to a former customer late, workers that lag."""
    compared(found)


@settings(max_examples=40)
@given(found=histories("rebuilt", "died", "died"))
def test_so_it_is_where_customers_are_rebuilt_and_workers_die_meanwhile(found: list[Entry]) -> None:
    """Between any two writes and any two appends; whoever comes next begins at the checkpoints."""
    compared(found)


@settings(max_examples=40)
@given(found=histories("rebuilt"), chunk=st.integers(1, 50))
def test_a_version_that_is_built_later_is_the_one_that_lived_through_it(found: list[Entry], chunk: int) -> None:
    """From the log alone, by drivers that neither copy nor give anything back: beside the live version, and on another machine."""

    async def run() -> tuple[MemoryStore, MemoryStore, MemoryStore]:
        world = World(found)
        await world.play()
        await quiet(world.here, HOMES)
        elsewhere = Worker(world.log, speaks=False)
        await (await elsewhere.open()).follow()
        simulated = LogSimulation([VIEW], MemoryStore(known_tables()), CODEC, tenant="acme", cached_subjects_max=100, reader=world.log)
        for partition, records in world.log.partitions.items():
            for batch in world.log.batches(partition, 0, len(records), chunk):
                await simulated.feed(batch)
        for group in NEXT:
            await built(world, group, chunk)
        return world.here.into, elsewhere.into, simulated._store  # type: ignore[return-value]

    live, elsewhere, simulated = asyncio.run(run())
    assert [differences(live, elsewhere, group) for group in GROUPS] == [[], []]
    assert differences(live, simulated, VIEW) == []
    assert [differences(live, live, group, later) for group, later in zip(GROUPS, NEXT, strict=True)] == [[], []]


async def built(world: World, group: Group, chunk: int) -> None:
    """Build a version of a group from the whole log, beside the one that is live."""
    store, log = world.here.into, world.log
    engine = Engine(group, CODEC, tenant="acme", cached_subjects_max=100, config=Config((BOOK,)))
    rebuild = Rebuilder(engine, store, History(store, log), codec=CODEC).rebuild
    replay = Replay(engine, store, log, CODEC, first=0, chunk_records=chunk, rebuild=rebuild, now_us=lambda: 0, seen=Seen(1024))
    try:
        await replay.open(range(PARTITIONS))
        assert await replay.run({partition: len(records) for partition, records in log.partitions.items()})
    finally:
        replay.close()


_SAID = Entry("said", "c0", 0, late=False, conversation="a", where=("view", 0, 1))
HANDED_ON_AND_LINKED_AGAIN = [
    *(_SAID._replace(kind="linked", home="q2"), _SAID, _SAID, _SAID._replace(kind="unlinked", home="q2")),
    *(*[_SAID] * 6, _SAID._replace(home="q2", late=True)),
]
"""Something comes to whom it was unlinked from, is handed on, and belongs there again when he is linked once more."""


@settings(max_examples=40)
@given(found=histories(), at_once=st.booleans())
@example(found=HANDED_ON_AND_LINKED_AGAIN, at_once=False)
def test_merged_and_unmerged_and_merged_again_is_merged_once(found: list[Entry], at_once: bool) -> None:  # noqa: FBT001
    """Also where all of it is on the log before anybody has read the first link."""

    async def run() -> tuple[MemoryStore, MemoryStore]:
        world = World(found)
        await world.play(at_once=at_once)
        once = Claims(world.apart)
        for claims in (world.claims, once):
            for home in HOMES[1:]:
                claims.link(home, HOMES[0])
        return (await quiet(world.here, HOMES)).into, (await quiet(world.there, HOMES)).into

    one, other = asyncio.run(run())
    assert differences(one, other, VIEW) == []


@settings(max_examples=32)
@given(reads=st.lists(st.booleans(), min_size=5, max_size=5))
def test_who_was_unlinked_from_somebody_who_is_heard_to_be_linked_on_first_leaves_nothing_there(reads: list[bool]) -> None:
    """A person unlinked q2 before p1 was linked on, but it is told behind that: c0 has copies of what came to p1 for q2, and never had q2."""

    async def run() -> tuple[MemoryStore, MemoryStore]:
        world = World([])
        log, apart = world.log, world.apart
        await world.here.open()
        await world.there.open()
        for home in HOMES:
            log.said(f"first-{home}", home, home)
            apart.said(f"first-{home}", home, home)
        apart.said("e1", "q2", "q2", conversation="q2/a")
        apart.said("e2", "q2", "q2", conversation="q2/a")
        happening: list[Callable[[], None]] = [
            lambda: log.link("q2", "p1"),
            lambda: log.said("e1", "q2", "p1", conversation="q2/a"),
            lambda: log.link("p1", "c0"),
            lambda: log.unlink("q2", "p1"),
            lambda: log.said("e2", "q2", "q2", conversation="q2/a"),
        ]
        for happens, read in zip(happening, reads, strict=True):
            happens()
            if read:
                await world.here.follow()
        await world.here.follow()
        assert {row["customer_id"] for row in await world.here.into.scan("timeline_v1") if row["event_id"] == "e1"} == {"q2"}
        log.unlink("p1", "c0")
        await world.here.follow()
        return (await quiet(world.here, HOMES)).into, (await quiet(world.there, HOMES)).into

    one, other = asyncio.run(run())
    assert [differences(one, other, group) for group in GROUPS] == [[], []]
