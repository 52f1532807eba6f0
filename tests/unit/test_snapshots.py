"""Snapshots again: a version that begins to speak tells what it knows of everybody, once, behind nothing newer, beside its work."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from projections.kernel import Effect, Moment, Subject
from projections.registry import VERSIONS
from projections.rules import Config
from schemas.events import CustomerSnapshot
from streams.cluster import Place
from streams.customer_view import CustomerView
from streams.records import Batch
from streams.simulation import Simulation
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.store.port import Checkpoint
from streams.versions import snapshots as snapshots_module
from tests.support.clockwork import CODEC, event
from tests.support.small_log import TOPIC, SmallLog, Worker
from tests.support.two_versions import NEW, OLD, V1, both, promote, snapshots
from touchline.errors import Retryable

CUSTOMERS = 250


def told(story: Callable[[SmallLog, MemoryStore], Awaitable[None]], old_at: int | None = 10_000) -> None:
    """Run a story; `old_at` is the offset to which the old version has come."""

    async def run() -> None:
        into = await both()
        if old_at is not None:
            await passed(into, old_at)
        await story(SmallLog(), into)

    asyncio.run(run())


async def passed(into: MemoryStore, offset: int) -> None:
    """Let the old version have come to an offset in both partitions."""
    checkpoint = Checkpoint(offset, offset + 1, active=False, event_time_us=1)
    await into.save_checkpoints(V1, {0: checkpoint, 1: checkpoint})


def put(log: SmallLog, partition: int = 0, *, customers: int = CUSTOMERS, first: int = 0) -> None:
    """Append an event of each customer; every other one asks twice."""
    for number in range(first, first + customers):
        log.put(event("received", number, 100 + number), partition)
        if number % 2:
            log.put(event("received", number, 100 + number, conversation="b"), partition)


async def published(into: MemoryStore, partition: int = 0) -> list[bool]:
    """Return for each promotion of a partition whether all was published since."""
    rows = await into.read("projection_promotion", {"name": "clockwork", "partition": partition})
    return [row["published_at"] is not None for row in rows]


async def until(met: Callable[[], Awaitable[bool]], worker: Worker) -> None:
    for _ in range(1000):
        if await met():
            return
        if worker._tending is not None and worker._tending.done():
            worker._tending.result()
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come")


def expected(customers: int = CUSTOMERS, first: int = 0) -> dict[str, list[int]]:
    return {f"c{number}": [1 + number % 2] for number in range(first, first + customers)}


def test_the_promoted_version_tells_what_it_knows_of_everybody_whom_its_partition_holds() -> None:
    """Most states are no longer in memory, some are; those of the other partition are not told."""

    async def story(log: SmallLog, into: MemoryStore) -> None:
        put(log)
        put(log, 1, first=1000)
        worker = await Worker(log, into, group=NEW, cached=20).own(0, 1)
        await worker.fold()
        assert snapshots(worker.effects.sent) == {}, "it follows, and says nothing"
        promote(log, 2)
        await worker.fold()

        async def done() -> bool:
            return await published(into) == [True]

        await until(done, worker)
        assert snapshots(worker.effects.sent) == expected()
        assert worker.runner.snapshots.due == {}
        await worker.stop()

    told(story)


def test_nobody_is_left_out_who_came_right_before_the_promotion() -> None:
    """What is folded together with it is not written yet when it is read."""

    async def story(log: SmallLog, into: MemoryStore) -> None:
        put(log)
        promote(log, 2)
        worker = await Worker(log, into, group=NEW).own(0)
        await worker.fold()

        async def done() -> bool:
            return await published(into) == [True]

        await until(done, worker)
        assert snapshots(worker.effects.sent) == expected()
        await worker.stop()

    told(story)


def test_a_new_owner_begins_again_where_it_was_not_finished_and_not_where_it_was() -> None:
    async def story(log: SmallLog, into: MemoryStore) -> None:
        put(log)
        promote(log, 2)
        first = Worker(log, into, group=NEW, cached=100)
        await first.runner.assign([Place(TOPIC, 0)])
        await first.runner.run([Batch(0, log.partitions[0], topic=TOPIC)])
        await first.runner.drain()
        assert list(first.runner.snapshots.due) == [0], "it read the promotion, and ended before it could publish"
        first.effects.sent.clear()
        second = await Worker(log, into, group=NEW, cached=100).own(0)

        async def done() -> bool:
            return await published(into) == [True]

        await until(done, second)
        assert snapshots(second.effects.sent) == expected()
        await second.stop()
        third = await Worker(log, into, group=NEW, cached=100).own(0)
        assert third.runner.snapshots.due == {}
        await third.stop()

    told(story)


def test_the_demoted_version_publishes_nothing() -> None:
    async def story(log: SmallLog, into: MemoryStore) -> None:
        put(log)
        promote(log, 2)
        old = await Worker(log, into, group=OLD).own(0)
        await old.fold()
        assert old.runner.snapshots.due == {}
        await old.stop()

    told(story, old_at=None)


def test_where_the_old_version_was_behind_all_is_told_again_behind_what_it_said_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its workers were away: what they send when they are back is older than what was published meanwhile."""

    async def story(log: SmallLog, into: MemoryStore) -> None:
        put(log, customers=5)
        at = promote(log, 2)
        worker = await Worker(log, into, group=NEW).own(0)
        await worker.fold()
        await worker.settle()
        assert snapshots(worker.effects.sent) == {}, "it is waited for a little"
        monkeypatch.setattr(snapshots_module, "BEHIND_S", 0.0)

        async def once() -> bool:
            return snapshots(worker.effects.sent) == expected(5)

        await until(once, worker)
        await asyncio.sleep(1.2)
        assert snapshots(worker.effects.sent) == expected(5)
        assert await published(into) == [False]
        await passed(into, at)

        async def done() -> bool:
            return await published(into) == [True]

        await until(done, worker)
        assert snapshots(worker.effects.sent) == {who: said * 2 for who, said in expected(5).items()}
        assert worker.runner.snapshots.due == {}
        await worker.stop()

    told(story, old_at=1)


def test_what_happens_meanwhile_is_told_last() -> None:
    """While everybody is told of, each customer asks once more: the last that was said of each is how it is."""

    async def story(log: SmallLog, into: MemoryStore) -> None:
        put(log)
        promote(log, 2)
        worker = await Worker(log, into, group=NEW, cached=50).own(0)
        worker.runner.snapshots._per_s = 2000
        await worker.fold()
        for start in range(0, CUSTOMERS, 10):
            for number in range(start, start + 10):
                log.put(event("received", number, 900 + number, conversation="late"))
            await worker.fold()
            await asyncio.sleep(0.005)

        async def done() -> bool:
            return await published(into) == [True]

        await until(done, worker)
        assert {who: said[-1] for who, said in snapshots(worker.effects.sent).items()} == {f"c{n}": 2 + n % 2 for n in range(CUSTOMERS)}
        await worker.stop()

    told(story)


def test_a_store_that_fails_in_the_middle_is_asked_again_and_nobody_is_left_out() -> None:
    class Failing(MemoryStore):
        failures = 1

        async def pages(self, table: str):  # type: ignore[no-untyped-def,override] # noqa: ANN202 - an async generator, as the store's
            n = 0
            async for page in super().pages(table):
                n += 1
                if n == 120 and self.failures:
                    self.failures -= 1
                    raise Retryable("a node went away.")
                yield page

    async def story(log: SmallLog, into: MemoryStore) -> None:
        failing = Failing([])
        failing._tables, failing._kinds = into._tables, into._kinds
        put(log)
        promote(log, 2)
        worker = await Worker(log, failing, group=NEW).own(0)
        await worker.fold()

        async def done() -> bool:
            return await published(into) == [True]

        await until(done, worker)
        assert failing.failures == 0
        assert snapshots(worker.effects.sent).keys() == expected().keys()
        await worker.stop()

    told(story)


def test_a_snapshot_made_from_the_state_alone_says_what_the_view_says() -> None:
    """Of the real projection: what is published of a customer after a promotion equals what its events led to."""
    events = [event("received", number % 3, 100 + number, conversation=str(number)) for number in range(9)]
    view = VERSIONS["view", 1]
    customer = next(projection for projection in view.projections if projection.name == "customer")
    store = MemoryStore(known_tables())
    simulation = Simulation([view], store, CODEC, tenant="acme", future_max_s=300, cached_subjects_max=100)

    async def fold() -> list[Effect]:
        sent: list[Effect] = []
        for one in events:
            sent += await simulation.feed([(one, one.header.occurred_at_us)])
        return sent

    sent = asyncio.run(fold())
    latest = {effect.key: effect.payload for effect in sent if effect.kind == "customer.snapshot"}
    engine = simulation._driven[0].engine
    assert len(latest) == 3
    for who, was in latest.items():
        subject = Subject("acme", who)
        entry = engine.peek(subject, None)
        assert entry is not None
        at = Moment(0, 0, entry.applied_partition, entry.applied_offset, Config())
        [again] = customer.publish(entry.states[view.projections.index(customer)], subject, at)  # type: ignore[attr-defined]
        assert again == Effect("customer.snapshot", who, was)
        assert isinstance(was, CustomerSnapshot)
        rows: Sequence[dict[str, object]] = asyncio.run(store.read("customer_v1", {"tenant": "acme", "customer_id": who}))  # type: ignore[assignment]
        found = CustomerView.of(rows, CODEC, tenant="acme", customer_id=who, version=1)  # type: ignore[arg-type]
        assert (was.last_contacts, was.open_conversations) == (found.last_contacts, found.open_conversations)
    for nobody in ("agent:7", "plan:1"):
        assert customer.publish(customer.initial(Subject("acme", nobody)), Subject("acme", nobody), at) == ()  # type: ignore[attr-defined]
