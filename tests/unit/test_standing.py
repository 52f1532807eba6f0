"""Standing still: what a version's row says, what too many parked customers lead to, and what a runner does then."""

import asyncio
from collections.abc import Awaitable, Callable

from streams.cluster import Place
from streams.records import Batch
from streams.store.memory import MemoryStore
from streams.store.port import Checkpoint, RowWrite
from streams.versions.standing import NEWLY_PARKED_MAX, WITHIN_S, ParkingAlarm, Standstill
from streams.versions.versions import Promoting, Versions
from streams.work import Work
from tests.support.clockwork import event
from tests.support.small_log import TOPIC, SmallLog, Worker
from tests.support.two_versions import V1, V2, both
from touchline.errors import Retryable


def told(story: Callable[[MemoryStore], Awaitable[None]]) -> None:
    async def run() -> None:
        await story(await both())

    asyncio.run(run())


def parking(n: int, *, again: int = 0) -> Work:
    """Return a work that parks `n` customers anew and lets `again` others wait on."""
    work = Work(0, [], [], [], [], [], Checkpoint(0, 0, True, 0), {"parked": n + again})  # noqa: FBT003 - its third value
    for number in range(n + again):
        columns = {"n": 1 if number < n else 2, "reason": f"raised:E{number}"}
        work.fan_out.append(RowWrite("parked_customer", ("view", 1, f"cu-{number}"), dict(columns), 1))
    return work


def test_a_hundred_customers_in_a_minute_are_their_own_fault_one_more_is_the_systems() -> None:
    alarm = ParkingAlarm()
    assert alarm.note([parking(NEWLY_PARKED_MAX, again=50)], 0.0) == ""
    assert alarm.note([parking(0)], 1.0) == ""
    assert alarm.note([parking(1)], WITHIN_S - 0.1) == "parked: 101 customers in a minute, the last reason raised:E0"


def test_what_was_parked_a_minute_ago_counts_no_more() -> None:
    alarm = ParkingAlarm()
    for second in range(0, 600, 60):
        assert alarm.note([parking(NEWLY_PARKED_MAX)], float(second)) == ""
    alarm.reset()
    assert alarm.note([parking(NEWLY_PARKED_MAX)], 541.0) == "", "after a reset nothing was"


def test_a_row_that_says_nothing_lets_it_go_and_one_that_says_why_holds_it_until_it_is_lifted() -> None:
    async def story(into: MemoryStore) -> None:
        shown: list[bool] = []
        still, versions = Standstill(into, V1, shown=shown.append), Versions(into)
        assert not still.may_go, "nobody has looked"
        await still.look()
        assert still.may_go
        await versions.pause(V1, "somebody looks", 5)
        await still.look()
        assert (still.may_go, still.must_leave, still.why) == (False, True, "somebody looks")
        still.left()
        await still.look()
        assert not still.may_go
        still.left()
        await versions.resume(V1, 6)
        await still.look()
        assert still.may_go
        assert shown == [False, True, False]

    told(story)


def test_a_pause_of_its_own_holds_even_a_look_that_was_under_way_until_it_has_left() -> None:
    async def story(into: MemoryStore) -> None:
        still = Standstill(into, V1)
        await still.look()
        await still.pause("parked: 101 customers", 5)
        still._take("")  # what a read said that was older than the pause
        assert (still.may_go, still.must_leave) == (False, True)
        await still.look()
        still.left()
        assert (still.may_go, still.why) == (False, "parked: 101 customers")

    told(story)


def test_retired_is_final_whatever_comes_later() -> None:
    async def story(into: MemoryStore) -> None:
        still, versions = Standstill(into, V2), Versions(into)
        await versions.move(V2, "shadow", "retired", 5)
        await still.look()
        assert (still.is_final, still.may_go, still.why) == (False, False, "retired")
        await still.look()
        assert (still.is_final, still.why) == (True, "retired")
        await versions.add(V2, 6)
        await versions.move(V2, "building", "shadow", 7)
        await still.look()
        still.left()
        assert not still.may_go

    told(story)


def test_a_retirement_that_yields_to_a_promotion_costs_no_worker() -> None:
    """Whoever looks in between stands still for a moment, and goes on; so does one whose retirement was cut off before it could yield."""

    async def story(into: MemoryStore) -> None:
        still, versions = Standstill(into, V2), Versions(into)
        await versions.move(V2, "shadow", "retired", 5)
        await still.look()
        assert not still.may_go
        still.left()
        await versions.begin_promotion(V2.group, Promoting(2, "rollback:x", "ann", 6))
        await still.look()
        assert still.may_go, "it is about to be read, whatever its row says"
        await versions.move(V2, "retired", "shadow", 7)
        await versions.end_promotion(V2.group, Promoting(2, "rollback:x", "ann", 6))
        await still.look()
        assert (still.may_go, still.is_final) == (True, False)

    told(story)


def test_a_store_that_does_not_answer_changes_nothing() -> None:
    class Silent(MemoryStore):
        async def read(self, *args: object, **options: object) -> list[dict[str, object]]:  # type: ignore[override]
            raise Retryable("no node answers.")

    async def story(into: MemoryStore) -> None:
        still = Standstill(into, V1)
        await still.look()
        still._store = Silent([])
        await still.look()
        assert still.may_go

    told(story)


def test_too_many_parked_customers_pause_the_version_the_poll_is_written_and_the_next_one_is_not_folded() -> None:
    async def story(into: MemoryStore) -> None:
        log = SmallLog()
        worker = await Worker(log, into).own(0)
        for number in range(NEWLY_PARKED_MAX + 1):
            log.put(event("poison", number, 100 + number))
        log.put(event("received", 500, 300))
        await worker.fold()
        assert len(await into.read("parked_customer", {"name": "clockwork", "version": 1})) == NEWLY_PARKED_MAX + 1
        standing = await Versions(into).read("clockwork")
        assert standing is not None
        assert standing.versions[1].paused == "parked: 101 customers in a minute, the last reason poisoned"
        log.put(event("received", 501, 301))
        await worker.fold()
        assert (await into.load_checkpoints(V1))[0].next_offset == NEWLY_PARKED_MAX + 2
        await worker.runner.release()
        assert worker.runner.engine.next_offset(0) is None
        assert not worker.runner.still.may_go
        await Versions(into).resume(V1, 9)
        await worker.runner.still.look()
        assert worker.runner.still.may_go
        starts = await worker.runner.assign([Place(TOPIC, 0)])
        assert list(starts.values()) == [NEWLY_PARKED_MAX + 2]
        await worker.runner.run([Batch(0, log.partitions[0][NEWLY_PARKED_MAX + 2 :], topic=TOPIC)])
        await worker.runner.drain()
        assert (await into.load_checkpoints(V1))[0].next_offset == NEWLY_PARKED_MAX + 3
        await worker.stop()

    told(story)


def test_releasing_forgets_writes_that_never_came_to_an_end() -> None:
    """As after a stop that ran out of its budget: the store has the truth, and the poll is folded again."""

    class Stuck(MemoryStore):
        is_stuck = False

        async def write(self, rows: object) -> None:
            if self.is_stuck and rows:
                await asyncio.Event().wait()
            await super().write(rows)  # type: ignore[arg-type]

    async def story(into: MemoryStore) -> None:
        stuck = Stuck([])
        stuck._tables, stuck._kinds = into._tables, into._kinds
        log = SmallLog()
        worker = await Worker(log, stuck).own(0)
        log.put(event("received", 1, 100))
        stuck.is_stuck = True
        await worker.runner.run([Batch(0, log.partitions[0], topic=TOPIC)])
        await worker.runner.release()
        stuck.is_stuck = False
        starts = await worker.runner.assign([Place(TOPIC, 0)])
        assert list(starts.values()) == [0]
        await worker.runner.run([Batch(0, log.partitions[0], topic=TOPIC)])
        await worker.runner.drain()
        assert (await into.load_checkpoints(V1))[0].next_offset == 1
        await worker.stop()

    told(story)
