"""The copier: which records it appends, in which order, and what it says when they are too many or too large."""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import pytest

from projections.customer import Customer
from projections.kernel import Effect, Moment, Subject
from projections.registry import GROUPS
from schemas.codec import RECORD_BYTES_MAX, Head
from schemas.events import IdentityCopied, MessageReceived
from schemas.record import Event
from streams.cluster import Place as Partition
from streams.copy_run import CopyRun, joined
from streams.engine import Engine
from streams.identity import copying
from streams.identity.copying import Copier
from streams.rebuild.history import History
from streams.records import Batch, RawRecord
from streams.runner import GroupRunner
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.store.port import CellValue, Checkpoint, GroupVersion, RowWrite
from streams.work import Work
from tests.support.clockwork import CODEC, event, record
from tests.support.linked_log import VIEW as LINKED_VIEW
from tests.support.linked_log import LinkedLog, Worker
from tests.support.tied import copy_of, direct, linked, unlinked
from touchline.errors import Poison, Retryable

VIEW = GroupVersion("view", GROUPS["view"].version)
P = Subject("acme", "c1")
LINK = CopyRun(P, "c2", "c1", 10**6, (), 5_000)


class Log:
    """Takes what is appended; `failing` appends are lost, with all that came since the last drain, as where a broker is away."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bytes]] = []
        self.failing = 0
        self.waited = 0

    def append(self, key: str, value: bytes) -> None:
        self.told.append((key, value))

    async def drain(self) -> None:
        self.waited += 1
        if self.failing:
            self.failing -= 1
            raise Retryable("the broker is away.", next_step="wait.")

    def heads(self) -> list[Head]:
        found = [CODEC.head(value) for _, value in self.told]
        assert all(isinstance(head, Head) for head in found)
        return found  # type: ignore[return-value]

    def copies(self) -> list[int]:
        """Return the offsets, at the origin, of what was copied."""
        return [head.header.origin_offset for head in self.heads() if head.header.origin_offset is not None]

    def complete(self) -> list[IdentityCopied]:
        """Return what was said to be complete."""
        return [found for _, value in self.told if isinstance(found := CODEC.decode(value), IdentityCopied)]


class World:
    """A log in memory, the rows of the view that say where its records lie, and a copier."""

    def __init__(self, records: list[RawRecord]) -> None:
        self.all = records
        self.log = Log()
        self.store = MemoryStore(known_tables())
        self.asked: list[CopyRun] = []
        self.is_undone = False
        self.copier = Copier(History(self.store, self), self.log, CODEC, VIEW, propose=self.propose)
        engine = Engine(GROUPS["view"], CODEC, tenant="acme", cached_subjects_max=10)
        engine.open(0, None)
        work = engine.feed(engine.take(Batch(0, records)), {})
        self.store.apply([*work.fan_out, *work.own])

    def records(self, partition: int, offsets: Iterable[int]) -> Iterator[RawRecord]:
        assert partition == 0
        return (self.all[offset] for offset in sorted(offsets))

    async def propose(self, run: CopyRun) -> bool:
        self.asked.append(run)
        return self.is_undone

    def copy(self, *runs: CopyRun) -> int:
        work = Work(0, [], [], [], [], [], Checkpoint(100, 77_000, active=True, event_time_us=0), {}, copies=list(runs))
        return asyncio.run(self.copier.copy([work]))


def test_a_link_copies_what_came_before_in_the_order_of_the_log() -> None:
    """What is said of the customer itself, and who lies under another key, is left out."""
    others = [record(3, event("received", 3, 1003), 1003), linked(4, 1, 2, 1004, under=1)]
    own = [record(n, event("received", 1, 1010 - n, conversation=f"k{n}"), 1000 + n) for n in range(3)]
    world = World([*own, *others, record(5, event("sent", 1, 1005), 1005)])
    assert world.copy(LINK._replace(below=4)) == 3
    assert world.log.copies() == [0, 1, 2]
    header = world.log.heads()[0].header
    assert (header.customer_id, header.home_customer_id, header.origin_customer_id) == ("c2", "c1", "c1")
    assert header.appended_at_us == own[0].appended_us
    assert {key for key, _ in world.log.told} == {"c2"}
    [complete] = world.log.complete()
    assert (complete.from_, complete.home, complete.to, complete.last_offset, complete.write_ts_us) == ("c1", "c1", "c2", 2, 77_000)
    assert world.log.told[-1][1] == CODEC.encode(complete)


def test_a_run_is_completed_also_where_there_was_nothing_to_copy() -> None:
    world = World([linked(0, 1, 2, 1000, under=1)])
    assert world.copy(LINK._replace(below=0)) == 0
    assert [one.last_offset for one in world.log.complete()] == [-1]


def test_the_same_run_is_completed_by_the_same_id_and_another_by_another() -> None:
    """So that a link that is made again, after it was undone, does not take the first completion for its own."""
    world = World([record(0, event("received", 1, 1000), 1000)])
    for below in (5, 5, 9):
        world.copy(LINK._replace(below=below))
    first, second, third = (one.header.id for one in world.log.complete())
    assert first == second != third


def test_copies_of_others_stay_and_those_that_came_home_go_along() -> None:
    home, other = direct(0, "received", 1, 3, 990), direct(1, "received", 3, 3, 991)
    world = World([home, other, copy_of(2, home, 1, 1000), copy_of(3, other, 1, 1000), direct(4, "received", 4, 1, 1001)])
    world.copy(LINK._replace(below=5))
    assert world.log.copies() == [2, 4]


def test_to_who_left_goes_what_is_of_their_home_and_nothing_else() -> None:
    world = World([record(0, event("received", 1, 1000), 1000), direct(1, "received", 4, 1, 1001), direct(2, "received", 2, 1, 1002)])
    world.copy(CopyRun(P, "c2", "c2", 3, (), 5_000))
    assert world.log.copies() == [2]


def test_to_who_left_goes_all_that_came_directly_once_more_also_what_was_given_back() -> None:
    """After a promotion. What another one copied here is not his to be given back, nor what he has himself."""
    own, elsewhere = direct(0, "received", 2, 2, 990), direct(1, "received", 2, 4, 991)
    before = [copy_of(2, own, 1, 1000), copy_of(3, elsewhere, 1, 1000), direct(4, "received", 2, 1, 1001), linked(5, 2, 1, 999, under=1)]
    world = World([own, elsewhere, *before, unlinked(6, 2, 1, 1002, under=1), direct(7, "sent", 2, 1, 1003)])
    world.copy(CopyRun(P, "c2", "c2", 7, (7,), 5_000))
    assert world.log.copies() == [4, 7]


def test_what_came_afterwards_is_copied_by_itself_behind_the_rest() -> None:
    world = World([record(n, event("received", 1, 1000 + n, conversation=f"k{n}"), 1000 + n) for n in range(6)])
    assert world.copy(LINK._replace(below=3), LINK._replace(below=0, offsets=(5,)), LINK._replace(below=0, offsets=(4,))) == 5
    assert world.log.copies() == [0, 1, 2, 4, 5]
    assert len(world.log.complete()) == 1


def test_many_links_are_copied_together() -> None:
    """One look at the log and two waits for the broker, not so many for each; what completes a run stands behind its copies."""
    world = World([record(n, event("received", 1 + n, 1000 + n), 1000 + n) for n in range(20)])
    reads: list[list[int]] = []
    read = world.records
    world.records = lambda partition, offsets: read(partition, reads.append(wanted := list(offsets)) or wanted)  # type: ignore[func-returns-value, method-assign]
    runs = [CopyRun(Subject("acme", f"c{1 + n}"), "c0", f"c{1 + n}", 20, (), 5_000) for n in range(20)]
    assert world.copy(*runs) == 20
    assert (reads, world.log.waited) == ([list(range(20))], 2)
    assert world.log.copies() == list(range(20))
    assert [one.from_ for one in world.log.complete()] == [run.home for run in runs]
    assert isinstance(CODEC.decode(world.log.told[20][1]), IdentityCopied)


def test_what_a_rebuild_left_out_is_not_copied() -> None:
    world = World([record(n, event("received", 1, 1000 + n, id=f"e{n}", conversation=f"k{n}"), 1000 + n) for n in range(3)])
    left_out: dict[str, CellValue] = {"scope": VIEW.part, "reason": "", "src_partition": 0, "src_offset": 1, "rebuild_offset": 9}
    world.store.apply([RowWrite("excluded_record", ("c1", "e1"), left_out, 1)])
    excluded = asyncio.run(History(world.store, world).excluded("c1", VIEW))
    assert [one.id for one in excluded] == ["e1"]
    world.copy(LINK._replace(below=3))
    assert world.log.copies() == [0, 2]


@pytest.mark.parametrize(("limit", "where"), [("COPIES_MAX", 3), ("PLACES_MAX", 2)])
def test_too_long_a_history_is_not_copied_at_all_and_a_person_is_asked(monkeypatch: pytest.MonkeyPatch, limit: str, where: int) -> None:
    """The run is completed all the same: nobody's timers are held for what does not come."""
    monkeypatch.setattr(copying, limit, where)
    world = World([record(n, event("received", 1, 1000 + n, conversation=f"k{n}"), 1000 + n) for n in range(4)])
    run = LINK._replace(below=4)
    assert world.copy(run) == 0
    assert world.asked == [run]
    assert world.log.copies() == []
    assert [one.last_offset for one in world.log.complete()] == [-1]


@pytest.mark.parametrize("limit", ["COPIES_MAX", "PLACES_MAX"])
def test_of_who_was_linked_long_ago_only_what_comes_now_is_copied_if_all_is_too_much(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """What a promotion asks for once more; nobody is asked about the link for it."""
    monkeypatch.setattr(copying, limit, 2)
    world = World([record(n, event("received", 1, 1000 + n, conversation=f"k{n}"), 1000 + n) for n in range(5)])
    assert world.copy(LINK._replace(below=3, offsets=(3, 4))) == 2
    assert (world.log.copies(), world.asked, len(world.log.complete())) == ([3, 4], [], 1)


def test_what_came_behind_the_link_does_not_make_a_history_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a link would be undone because both were read together, or the customer retried."""
    monkeypatch.setattr(copying, "COPIES_MAX", 3)
    world = World([record(n, event("received", 1, 1000 + n, conversation=f"k{n}"), 1000 + n) for n in range(6)])
    assert world.copy(LINK._replace(below=3, offsets=(4, 5))) == 5
    assert world.asked == []


def test_a_record_that_would_be_too_large_as_a_copy_is_left_out_and_said() -> None:
    small = event("received", 1, 1000)
    assert isinstance(small, MessageReceived)
    header = msgspec.structs.replace(small.header, id="large")
    large = msgspec.structs.replace(small, header=header, sealed=b"x" * 200_000, sealed_key="k")
    room = RECORD_BYTES_MAX - len(CODEC.encode(large))
    large = msgspec.structs.replace(large, sealed=b"x" * (200_000 + room))
    world = World([record(0, large, 1000), record(1, small, 1001)])
    world.copy(LINK._replace(below=2))
    assert world.log.copies() == [1]


def test_runs_of_one_pair_are_one() -> None:
    one, other = LINK._replace(below=3, at_us=5), LINK._replace(below=0, offsets=(9, 7), at_us=8)
    elsewhere = LINK._replace(to="c3")
    assert joined([one, elsewhere, other]) == [LINK._replace(below=3, offsets=(7, 9), at_us=8), elsewhere]


def test_the_runner_copies_when_the_rows_are_there_and_before_the_checkpoint_is() -> None:
    """And copies again, from the beginning, when the broker was away."""
    steps: list[str] = []

    class Store(MemoryStore):
        async def write(self, rows: Any) -> None:
            if any(row.table.startswith("timeline_v") for row in rows):
                steps.append("rows")
            await super().write(rows)

        async def save_checkpoints(self, group: GroupVersion, checkpoints: Any) -> None:
            steps.append("checkpoint")
            await super().save_checkpoints(group, checkpoints)

    class Silent:
        async def send(self, effects: list[Effect]) -> None:
            del effects

    class Copying:
        async def copy(self, works: list[Work]) -> int:
            steps.append(f"copies {[run.below for work in works for run in work.copies]}")
            if len(steps) < 3:
                raise Retryable("the broker is away.", next_step="wait.")
            return 1

    async def run() -> None:
        engine = Engine(GROUPS["view"], CODEC, tenant="acme", cached_subjects_max=10)
        runner = GroupRunner(engine, Store(known_tables()), Silent(), topic="touchline.interaction.v1", copying=Copying())  # type: ignore[arg-type]
        await runner.assign([Partition("touchline.interaction.v1", 0)])
        records = [record(0, event("received", 1, 1000), 1000), linked(1, 1, 2, 1001, under=1)]
        await runner.run([Batch(0, records, topic="touchline.interaction.v1")])
        await runner.drain()

    asyncio.run(run())
    assert steps == ["rows", "copies [1]", "copies [1]", "checkpoint"]


def test_who_waits_is_copied_when_he_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parked in the view group before he was linked; what came meanwhile, and the link itself, waited with him."""
    fold = Customer.apply

    def broken(self: Customer, state: Any, happened: Event, at: Moment) -> Any:
        if happened.header.id == "bad":
            raise Poison("poisoned")
        return fold(self, state, happened, at)

    async def story() -> LinkedLog:
        log = LinkedLog()
        worker = await Worker(log, groups=(LINKED_VIEW,)).open()
        for id_ in ("good", "bad", "later"):
            log.said(id_, "p1", "p1")
        log.link("p1", "c0")
        await worker.follow()
        assert [row["customer"] for row in await worker.into.scan("parked_customer")] == ["p1"]
        assert _copied(log) == []
        monkeypatch.setattr(Customer, "apply", fold)
        log.rebuild("p1", mode="retry")
        await worker.follow()
        assert await worker.into.scan("parked_customer") == []
        log.said("after", "p1", "p1")
        await worker.follow()
        return log

    monkeypatch.setattr(Customer, "apply", broken)
    assert _copied(asyncio.run(story())) == ["good", "bad", "later", "after"]


def _copied(log: LinkedLog) -> list[str]:
    heads = [CODEC.head(record.value) for record in log.partitions[0]]
    return [head.header.id for head in heads if isinstance(head, Head) and head.header.origin_customer_id is not None]
