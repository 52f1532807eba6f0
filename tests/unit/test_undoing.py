"""A link that is undone: both customers are as if there had never been one, and every version and group does it by itself."""

import asyncio
from typing import Any

import pytest

from projections.customer import Customer
from projections.kernel import Moment, Step
from projections.sla.clocks import Sla
from schemas.events import IdentityUnlinked
from schemas.record import Event
from streams.copy_run import CopyRun
from streams.identity import copying
from streams.rebuild.history import History
from streams.store.memory import MemoryStore
from tests.support.linked_log import CARE, CODEC, MINUTE, VIEW, LinkedLog, Worker, differences, quiet

BOTH = ("p1", "c2")


async def shown(worker: Worker, customer: str) -> set[object]:
    """Return the ids of a customer's events that a reader of its timeline sees."""
    rows = await worker.into.scan("timeline_v1")
    return {row["event_id"] for row in rows if row["customer_id"] == customer and not row["hidden"]}


async def linked(log: LinkedLog) -> Worker:
    """Return a worker that has read of two who were linked, with records of every sort."""
    here = await Worker(log).open()
    log.said("p-1", "p1", "p1")
    log.said("c-1", "c2", "c2")
    log.link("p1", "c2")
    await here.follow()
    log.said("p-2", "p1", "c2")
    log.said("p-straggler", "p1", "p1")
    await here.follow()
    return here


async def never(*told: tuple[str, str]) -> MemoryStore:
    """Return what it comes to if these say something, each by itself."""
    log = LinkedLog()
    there = await Worker(log).open()
    for id_, home in told:
        log.said(id_, home, home)
    return (await quiet(there, BOTH)).into


ALL = (("p-1", "p1"), ("c-1", "c2"), ("p-2", "p1"), ("p-straggler", "p1"))


def test_merged_and_unmerged_is_never_merged() -> None:
    log, apart = LinkedLog(), LinkedLog()

    async def both() -> tuple[MemoryStore, MemoryStore]:
        here, there = await Worker(log).open(), await Worker(apart).open()
        for of, home, key in (("p-1", "p1", "p1"), ("c-1", "c2", "c2")):
            log.said(of, home, key)
            apart.said(of, home, home)
        await here.follow()
        log.now_us += 5 * MINUTE
        apart.now_us += 5 * MINUTE
        log.link("p1", "c2")
        await here.follow()
        log.said("p-2", "p1", "c2", answer=True)
        apart.said("p-2", "p1", "p1", answer=True)
        log.said("p-straggler", "p1", "p1")
        apart.said("p-straggler", "p1", "p1")
        await here.follow()
        merged = {
            row["event_id"]: row["customer_id"] for row in await here.into.scan("timeline_v1") if not row["hidden"] and row["customer_id"] == "c2"
        }
        assert set(merged) == {"p-1", "c-1", "p-2", "p-straggler"}
        log.unlink("p1", "c2")
        await here.follow()
        log.said("p-late", "p1", "c2")
        apart.said("p-late", "p1", "p1")
        await quiet(here, ["p1", "c2"])
        await quiet(there, ["p1", "c2"])
        return here.into, there.into

    one, other = asyncio.run(both())
    for group in (VIEW, CARE):
        assert differences(one, other, group) == []


def test_a_straggler_of_the_first_link_that_comes_behind_the_second_takes_nothing_away() -> None:
    """The owner of P has not read on when the two are linked again: what is on its way to C comes before the copies from the beginning."""
    log = LinkedLog()

    async def run() -> set[object]:
        here = await Worker(log).open()
        log.said("first", "p1", "p1")
        log.said("own", "c2", "c2")
        log.link("p1", "c2")
        await here.follow()
        log.said("straggler", "p1", "p1")
        log.unlink("p1", "c2")
        await here.run("view", 2, 100)
        log.link("p1", "c2")
        await here.follow()
        return await shown(here, "c2")

    assert asyncio.run(run()) == {"first", "own", "straggler"}


def test_who_is_parked_when_the_link_is_undone_is_right_when_it_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = {"poison"}
    for projection in (Customer, Sla):
        apply = projection.apply

        def fails(self: Any, state: Any, event: Event, at: Moment, *, apply: Any = apply) -> Step[Any]:
            if event.header.id in faults:
                raise KeyError(event.header.id)
            return apply(self, state, event, at)  # type: ignore[no-any-return]

        monkeypatch.setattr(projection, "apply", fails)

    async def run(poisoned: str) -> tuple[MemoryStore, MemoryStore]:
        faults.add("poison")
        log = LinkedLog()
        here = await linked(log)
        log.said("poison", poisoned, poisoned)
        log.said("p-late", "p1", "c2")
        await here.follow()
        log.unlink("p1", "c2")
        await here.follow()
        assert {row["customer"] for row in await here.into.scan("parked_customer")} >= {poisoned}
        faults.clear()
        for customer in BOTH:
            log.rebuild(customer, "retry")
        await quiet(here, BOTH)
        assert await here.into.scan("parked_customer") == []
        return here.into, await never(*ALL, ("poison", poisoned), ("p-late", "p1"))

    for customer in BOTH:
        one, other = asyncio.run(run(customer))
        assert [differences(one, other, group) for group in (VIEW, CARE)] == [[], []]


def test_who_was_unlinked_is_rebuilt_as_it_is_and_unlinked_once_more_as_it_was() -> None:
    log = LinkedLog()

    async def run() -> MemoryStore:
        here = await linked(log)
        log.unlink("p1", "c2")
        undone = log.partitions[2][-1]
        await here.follow()
        for customer in BOTH:
            log.rebuild(customer)
        log.append("c2", undone.value)
        await here.follow()
        assert await shown(here, "p1") == {"p-1", "p-2", "p-straggler"}
        return (await quiet(here, BOTH)).into

    one, other = asyncio.run(run()), asyncio.run(never(*ALL))
    assert [differences(one, other, group) for group in (VIEW, CARE)] == [[], []]


def test_what_undoes_a_link_that_was_made_again_since_undoes_nothing_and_gives_nothing_back() -> None:
    log = LinkedLog()

    async def run() -> None:
        here = await linked(log)
        log.unlink("p1", "c2")
        undone = log.partitions[2][-1]
        await here.follow()
        log.link("p1", "c2")
        await here.follow()
        under_p = len(log.partitions[1])
        log.append("c2", undone.value)
        await here.follow()
        assert len(log.partitions[1]) == under_p
        assert await shown(here, "c2") == {"c-1", "p-1", "p-2", "p-straggler"}

    asyncio.run(run())


def test_a_version_that_does_not_speak_gives_nothing_back() -> None:
    log = LinkedLog()

    async def run() -> None:
        await linked(log)
        log.unlink("p1", "c2")
        before = {partition: len(records) for partition, records in log.partitions.items()}
        await (await Worker(log, speaks=False).open()).follow()
        assert {partition: len(records) for partition, records in log.partitions.items()} == before

    asyncio.run(run())


def test_nothing_is_told_of_it_but_the_snapshots_of_both() -> None:
    log = LinkedLog()

    async def run() -> list[tuple[str, str]]:
        here = await linked(log)
        log.unlink("p1", "c2")
        here.said.clear()
        await here.follow()
        return here.said

    said = asyncio.run(run())
    assert {kind for kind, _ in said} == {"customer.snapshot"}
    assert {customer for _, customer in said} == {"p1", "c2"}


def test_where_records_lie_that_were_taken_out_is_known_to_whoever_comes_later() -> None:
    log = LinkedLog()

    async def run() -> None:
        here = await linked(log)
        log.unlink("p1", "c2")
        await here.follow()
        history = History(here.into, log)
        for customer, partition in (("c2", 2), ("p1", 1)):
            places = {place.offset for place in await history.places("acme", customer)}
            records = [one for one in log.partitions[partition] if one.key == customer.encode()]
            until = next(one.offset for one in records if CODEC.head(one.value).type is IdentityUnlinked)  # type: ignore[union-attr]
            assert {offset for offset in places if offset <= until} == {one.offset for one in records if one.offset <= until}

    asyncio.run(run())


def test_two_who_are_linked_are_the_same_when_either_is_rebuilt() -> None:
    """The one who is linked away leaves alone what lies under the keys of both."""

    async def run(*customers: str) -> MemoryStore:
        log = LinkedLog()
        here = await linked(log)
        log.now_us += MINUTE  # what a rebuild writes is above all that either has written
        for customer in customers:
            log.rebuild(customer)
        return (await quiet(here, BOTH)).into

    one = asyncio.run(run())
    for customers in (("p1",), ("c2",), ("c2", "p1")):
        other = asyncio.run(run(*customers))
        assert [differences(one, other, group) for group in (VIEW, CARE)] == [[], []]


def test_a_link_whose_history_is_too_long_is_undone_and_nothing_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the other customer, who knows nothing of the clocks that are handed over, would tell that they never were."""
    monkeypatch.setattr(copying, "COPIES_MAX", 1)

    async def story() -> list[str]:
        log = LinkedLog()
        worker = await Worker(log).open()

        async def propose(run: CopyRun) -> bool:
            log.unlink(run.subject.id, run.to)
            return True

        monkeypatch.setattr(worker._driven["view"].copier, "_propose", propose)
        for conversation in ("x", "y"):
            log.said(conversation, "p1", "p1", conversation=conversation)
        log.now_us += 70 * MINUTE
        log.wake("p1")
        await worker.follow()
        told, alerts = len(worker.said), [(row["customer_id"], row["state"]) for row in await worker.into.scan("alert_v1")]
        assert {("p1", "open")} == set(alerts)
        log.link("p1", "c0")
        await worker.follow()
        assert alerts == [(row["customer_id"], row["state"]) for row in await worker.into.scan("alert_v1")]
        return [kind for kind, _ in worker.said[told:]]

    assert set(asyncio.run(story())) <= {"customer.snapshot", "clock.moved"}
