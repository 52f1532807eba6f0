"""Retiring a version: what is refused, what goes, what stays, and that it is completed by running it again."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import pytest

from projections.kernel import Subject
from projections.registry import VERSIONS, Group
from streams.armed import ArmedTimers
from streams.parking import ParkedCustomer
from streams.replay.lease import Lease
from streams.store import dropping
from streams.store.catalogue import known_tables
from streams.store.dropping import tables_of
from streams.store.memory import MemoryStore
from streams.store.port import Checkpoint, GroupVersion, RowWrite
from streams.timer_index import TimerIndex
from streams.timers import HOUR_US
from streams.versions.promotions import Promotion
from streams.versions.retiring import Retired, Retirement, Retiring
from streams.versions.versions import Promoting, Versions
from tests.support.fake_log import FakeLog
from touchline.errors import Misconfigured, Refused, Retryable

T = TypeVar("T")
V1, V2 = GroupVersion("care", 1), GroupVersion("care", 2)


class Keyspace:
    """The tables that are there."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = set(names)
        self.fails_at: str | None = None

    def existing(self, names: Iterable[str]) -> list[str]:
        return sorted(self.names & set(names))

    def drop(self, name: str) -> None:
        if name == self.fails_at:
            self.fails_at = None
            raise Retryable("the node is away.")
        self.names.discard(name)


class World:
    """Two versions of `care`: the first spoke, the second is active."""

    def __init__(self) -> None:
        self.store = MemoryStore(known_tables())
        self.log = FakeLog(self.store)
        self.versions = Versions(self.store)
        ours = [table.physical for version in (V1, V2) for table in tables_of(version)]
        self.keyspace = Keyspace([*ours, "view_v1_state", "crop_v1", "clock_v11"])
        self.told: list[str] = []
        self.run(self._begin)

    async def _begin(self) -> None:
        await self.versions.begin(V1, 1)
        await self.versions.add(V2, 1)
        await self.versions.move(V2, "building", "shadow", 2)
        await self.versions.begin_promotion("care", Promoting(2, "p", "ann", 3))
        await self.versions.end_promotion("care", Promoting(2, "p", "ann", 3))
        self.log.running |= {V1, V2}
        self.log.grow(4)
        self.log.follow()
        self.store.apply([Promotion(0 if partition else 3, 3, 2).row("care", partition, 3) for partition in range(3)])
        self.log.running -= {V1}

    def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """Do something in a loop of its own."""

        async def called() -> T:
            return await call()

        return asyncio.run(called())

    def retiring(self, wait_s: float = 0.2) -> Retiring:
        """Return an operator."""
        return Retiring(self.store, self.log, self.keyspace, tell=self.told.append, at_us=lambda: self.log.now_us, wait_s=wait_s)

    def plan(self, group: GroupVersion = V1) -> Retirement:
        """Return what would be done."""
        return self.run(lambda: self.retiring().plan(group))

    def retire(self, group: GroupVersion = V1) -> Retired:
        """Do it."""
        return self.run(lambda: self._retire(group))

    async def _retire(self, group: GroupVersion) -> Retired:
        operator = self.retiring()
        return await operator.run(await operator.plan(group))

    def state(self, group: GroupVersion = V1) -> str | None:
        """Return what a version is."""
        standing = self.run(lambda: self.versions.read("care"))
        assert standing is not None
        return standing.state(group.version)

    def checkpoints(self, group: GroupVersion = V1) -> dict[int, Checkpoint]:
        """Return how far a version has come."""
        return self.run(lambda: self.store.load_checkpoints(group))


@pytest.fixture
def world() -> World:
    """Return a world in which v1 can be retired."""
    return World()


def test_its_tables_go_and_nobody_elses(world: World) -> None:
    done = world.retire()
    assert world.state() == "retired"
    assert done.tables == sorted(table.physical for table in tables_of(V1))
    assert world.keyspace.names == {*(table.physical for table in tables_of(V2)), "view_v1_state", "crop_v1", "clock_v11"}
    assert world.log.forgotten == [V1]
    promotions = world.run(lambda: world.store.scan("projection_promotion"))
    assert len(promotions) == 3, "what is on the log stays known"


def test_its_checkpoints_go_back_to_the_beginning_without_hiding_what_another_build_of_it_would_write(world: World) -> None:
    """A build of the same number reads the same log, whose write timestamps lie below those of what is left."""
    was = world.checkpoints()
    parked = ParkedCustomer("c1", 0, 3, 0, 3, 1, "raised:KeyError", "00", "")
    world.store.apply(parked.writes("care", 1, 3, was[0].write_ts_us))
    assert world.retire().parked == 1
    left = world.checkpoints()
    assert {one.next_offset for one in left.values()} == {0}
    assert min(one.write_ts_us for one in left.values()) > max(one.write_ts_us for one in was.values())
    ts_us = left[0].write_ts_us + 10  # as the engine goes on from a checkpoint
    world.run(lambda: world.store.save_checkpoints(V1, {0: Checkpoint(1, ts_us, active=False, event_time_us=1)}))
    world.store.apply(parked.writes("care", 1, 3, ts_us))
    assert world.checkpoints()[0].next_offset == 1
    rows = world.run(lambda: world.store.read("parked_customer", {"name": "care", "version": 1}))
    assert [row["customer"] for row in rows] == ["c1"]


def test_the_active_version_is_refused(world: World) -> None:
    with pytest.raises(Refused, match="care v2 is the active version"):
        world.plan(V2)


def test_a_version_that_is_being_promoted_is_refused(world: World) -> None:
    world.run(lambda: world.versions.begin_promotion("care", Promoting(1, "q", "bob", 5)))
    with pytest.raises(Refused, match="bob is promoting care v1"):
        world.plan()


def test_a_version_that_there_is_not_is_refused(world: World) -> None:
    with pytest.raises(Refused, match=r"no care v7 \(there are: v1, v2\)"):
        world.plan(GroupVersion("care", 7))


def test_a_version_that_is_being_built_is_refused_and_one_whose_build_ended_is_not(world: World) -> None:
    third = GroupVersion("care", 3)
    world.run(lambda: world.versions.add(third, 1))
    build = Lease(world.store, third, "m1:7")
    world.run(lambda: build.take(world.log.now_us))
    with pytest.raises(Refused, match="care v3 is being built by m1:7"):
        world.plan(third)
    world.log.now_us += 60_000_000
    world.retire(third)
    assert world.state(third) == "retired"
    assert not world.run(lambda: world.store.read("projection_build", {"name": "care", "version": 3}))


def test_the_version_that_a_rollback_leads_to_is_named_as_such(world: World) -> None:
    assert world.plan().needed
    world.run(lambda: world.versions.add(GroupVersion("care", 3), 1))
    assert not world.plan(GroupVersion("care", 3)).needed


def test_where_it_stands_before_its_demotion_what_it_has_still_to_say_is_named(world: World) -> None:
    """Its workers were dead when it was promoted away: nobody else says what lies below the promotion."""
    assert world.plan().unsaid == []
    ts_us = world.log.now_us + 100
    world.store.apply([Promotion(9, ts_us, 1).row("care", 1, ts_us), Promotion(12, ts_us + 50, 2).row("care", 1, ts_us)])
    world.run(lambda: world.store.save_checkpoints(V1, {1: Checkpoint(11, ts_us, active=True, event_time_us=1)}))
    assert world.plan().unsaid == [1]
    world.run(lambda: world.store.save_checkpoints(V1, {1: Checkpoint(12, ts_us + 60, active=True, event_time_us=1)}))
    assert world.plan().unsaid == []
    world.store.apply([Promotion(14, ts_us + 70, 1).row("care", 1, ts_us + 70)])
    assert world.plan().unsaid == [1], "where the log says that it speaks"


def test_a_timer_that_expired_before_its_demotion_and_was_not_noticed_is_still_its_to_tell(world: World) -> None:
    """What is told of it follows from its expiry moment, however late it is noticed."""
    ann, ts_us, at_us = Subject("acme", "ann"), world.log.now_us + 100, 7 * HOUR_US
    world.run(lambda: world.store.save_checkpoints(V1, {0: Checkpoint(30, ts_us, active=True, event_time_us=1)}))
    world.store.apply([Promotion(20, at_us, 1).row("care", 0, ts_us), Promotion(21, at_us + 50, 2).row("care", 0, ts_us)])

    def arm(expires_us: int, ts_us: int) -> None:
        timers = ArmedTimers()
        timers.arm("sla", "first", 1, expires_us)
        due = timers.to_tell(*ann, ts_us)
        assert due is not None
        world.store.apply(TimerIndex(world.store, V1).rows(0, [due], ts_us))
        world.store.apply([RowWrite("care_v1_state", (*ann, "sla"), {"state": b"", "timers": timers.encode()}, ts_us)])

    arm(at_us + 49, ts_us)
    assert world.plan().unsaid == [0]
    parked = ParkedCustomer("ann", 0, 3, 0, 3, 1, "raised:KeyError", "00", "")
    world.store.apply(parked.writes("care", 1, 3, ts_us))
    assert world.plan().unsaid == [], "a customer who waits is never told of"
    world.store.apply([RowWrite("parked_customer", ("care", 1, "ann"), None, ts_us + 5)])
    assert world.plan().unsaid == [0]
    arm(at_us + 50, ts_us + 9)
    assert world.plan().unsaid == [], "it was noticed; what is armed now is the other one's"


def test_a_retirement_that_was_cut_off_leaves_nothing_on_which_another_build_would_rely(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until all is cleared away there are checkpoints, because of which no build begins."""
    write = world.store.write

    async def away(rows: Iterable[RowWrite]) -> None:
        found = list(rows)
        if any(row.table == "projection_build" for row in found):
            raise Retryable("the node is away.")
        await write(found)

    monkeypatch.setattr(world.store, "write", away)
    with pytest.raises(Retryable):
        world.retire()
    assert all(one.next_offset for partition, one in world.checkpoints().items() if partition == 0)
    monkeypatch.setattr(world.store, "write", write)
    world.retire()
    assert {one.next_offset for one in world.checkpoints().values()} == {0}


def test_a_promotion_that_begins_at_the_same_moment_wins(world: World) -> None:
    plan = world.plan()
    world.run(lambda: world.versions.begin_promotion("care", Promoting(1, "q", "bob", 5)))
    with pytest.raises(Refused, match="bob is promoting"):
        world.run(lambda: world.retiring().run(plan))
    assert (world.state(), len(world.keyspace.existing([table.physical for table in tables_of(V1)]))) == ("shadow", len(tables_of(V1)))


def test_workers_that_stay_are_named_and_nothing_is_dropped_before_they_have_left(world: World) -> None:
    world.log.running |= {V1}
    with pytest.raises(Retryable, match=r"still run by worker-1 at 10\.0\.0\.1; its tables are untouched"):
        world.retire()
    assert world.state() == "retired", "it is told to its workers"
    assert world.keyspace.existing(["care_v1_state"]) == ["care_v1_state"]
    world.log.running -= {V1}
    assert "care_v1_state" in world.retire().tables


def test_nobody_builds_a_version_while_it_is_retired(world: World) -> None:
    async def story() -> None:
        world.log.running |= {V1}
        operator, other = world.retiring(wait_s=0.3), Lease(world.store, V1, "elsewhere:7")
        retiring = asyncio.create_task(operator.run(await operator.plan(V1)))
        await asyncio.sleep(0.1)
        with pytest.raises(Refused) as refused:
            await other.take(world.log.now_us)
        assert refused.value.reason == "build_under_way"
        with pytest.raises(Retryable):
            await retiring
        await other.take(world.log.now_us + 1)

    world.run(story)


def test_what_was_cut_off_in_the_middle_is_completed_by_running_it_again(world: World) -> None:
    world.keyspace.fails_at = "escalation_v1"
    with pytest.raises(Retryable):
        world.retire()
    assert world.keyspace.existing(["escalation_v1"])
    world.retire()
    assert not world.keyspace.existing([table.physical for table in tables_of(V1)])
    assert world.retire().tables == [], "and once more is harmless"


def test_a_version_that_this_code_no_longer_has_is_dropped_by_the_shapes_of_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    newest = Group("care", 12, VERSIONS["care", 1].projections)
    monkeypatch.setattr(dropping, "VERSIONS", {("care", 12): newest})
    monkeypatch.setattr(dropping, "GROUPS", {"care": newest})
    found = {table.physical for table in tables_of(V1)}
    assert found == {table.physical for table in VERSIONS["care", 1].tables()}
    assert {"clock_v1", "care_v1_state", "care_v1_timer", "care_v1_timer_bucket"} <= found


def test_a_group_that_this_code_does_not_know_is_refused() -> None:
    with pytest.raises(Misconfigured, match="no group crops"):
        tables_of(GroupVersion("crops", 1))
