"""The audit trail: what stands in an entry, and what happens when it cannot be written."""

import asyncio
from typing import Any

import msgspec
import pytest

from streams.audit.adopting import adopt
from streams.audit.chain import REPEATS_MAX, Chain
from streams.audit.heads import Head, Heads
from streams.audit.trail import STALE_S, UNWELL_MAX, Trail, partition_of
from streams.store.memory import MemoryStore
from streams.store.port import RowWrite
from tests.support.audit import CODEC, MemoryAuditTopic, entries_of, head_store, trail_over, verified
from touchline.errors import Misconfigured, Refused, Retryable


class Failing(MemoryAuditTopic):
    """A topic whose broker is away for so many appends; with `late` they were written all the same."""

    def __init__(self, times: int, *, late: bool = False) -> None:
        super().__init__()
        self.times, self.late = times, late

    async def append(self, partition: int, key: bytes, value: bytes) -> None:
        self.times -= 1
        if self.times >= 0:
            if self.late:
                await super().append(partition, key, value)
            raise Retryable("the broker did not answer.")
        await super().append(partition, key, value)


def noted(topic: MemoryAuditTopic, store: MemoryStore, *customers: str, actor: str = "op-1") -> None:
    async def note() -> None:
        trail = trail_over(store, topic, actor)
        for customer in customers:
            await trail.note("opened", tenant="acme", customer=customer, purpose="contact", count=3)

    asyncio.run(note())


def test_an_entry_says_who_did_what_and_is_chained_to_the_one_before() -> None:
    store, topic = head_store(), MemoryAuditTopic()
    noted(topic, store, "c-1", "c-2")
    first, second = entries_of(topic)
    assert (first.seq, first.previous, first.partition) == (0, b"", 0)
    assert (first.actor, first.roles, first.action, first.customer, first.purpose, first.count) == ("op-1", ("agent",), "opened", "c-1", "contact", 3)
    head = asyncio.run(Heads(store).read(0))
    assert head == Head.new(1, topic.records[0][1][1], acknowledged=True)
    assert second.previous == Head.new(0, topic.records[0][0][1]).digest
    assert topic.records[0][0][0] == b"op-1"


def test_an_actors_entries_stand_in_one_partition_whichever_process_writes_them() -> None:
    store, topic = head_store(), MemoryAuditTopic(4)
    for _ in range(2):
        for actor in ("ann", "bob", "eve"):
            noted(topic, store, "c-1", actor=actor)
    for number, partition in enumerate(topic.records):
        assert {partition_of(key.decode(), 4) for key, _ in partition} <= {number}
    assert len(entries_of(topic)) == 6
    assert asyncio.run(verified(store, topic)).whole


def test_notes_that_one_process_makes_at_once_are_one_chain() -> None:
    store, topic = head_store(), MemoryAuditTopic()

    async def all_at_once() -> None:
        trail = trail_over(store, topic)
        await asyncio.gather(*(trail.note("opened", tenant="acme", customer=f"c-{n}") for n in range(30)))

    asyncio.run(all_at_once())
    assert sorted(str(one.customer) for one in entries_of(topic)) == sorted(f"c-{n}" for n in range(30))
    assert asyncio.run(verified(store, topic)).whole


class Counting:
    """A store of heads that counts how often one was read."""

    def __init__(self) -> None:
        self.store, self.reads = head_store(), 0

    async def read(self, *args: Any, **options: Any) -> Any:
        self.reads += 1
        return await self.store.read(*args, **options)

    async def swap(self, *args: Any, **options: Any) -> bool:
        return await self.store.swap(*args, **options)


def test_a_process_goes_on_from_its_own_last_entry_and_looks_again_only_where_somebody_else_wrote() -> None:
    store, topic = Counting(), MemoryAuditTopic()

    async def told() -> list[int]:
        one, other = (trail_over(store, topic) for _ in range(2))  # type: ignore[arg-type]
        reads = []
        for trail in (one, one, one, other, one, one):
            await trail.note("opened", tenant="acme", customer="c-1", purpose="contact", count=1)
            reads.append(store.reads)
        assert (await verified(store.store, topic)).whole
        return reads

    first, *rest = asyncio.run(told())
    assert [n - first for n in rest] == [0, 0, 1, 2, 2]
    assert [entry.seq for entry in entries_of(topic)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("late", [False, True])
def test_what_cannot_be_written_is_an_error_and_the_next_one_completes_it(*, late: bool) -> None:
    store, topic = head_store(), Failing(UNWELL_MAX, late=late)
    with pytest.raises(Retryable, match=r"could not be written.*what cannot be audited does not happen"):
        noted(topic, store, "c-1")
    assert asyncio.run(verified(store, topic)).verdicts[0].pending is not late
    noted(topic, store, "c-2")
    report = asyncio.run(verified(store, topic))
    assert report.whole
    assert report.entries == 2
    assert {one.customer for one in entries_of(topic)} == {"c-1", "c-2"}


def test_a_broker_that_comes_back_within_the_note_is_waited_for() -> None:
    store, topic = head_store(), Failing(UNWELL_MAX - 1)
    noted(topic, store, "c-1")
    assert [one.customer for one in entries_of(topic)] == ["c-1"]


def test_without_a_topic_nothing_is_noted() -> None:
    class Missing(MemoryAuditTopic):
        async def partitions(self) -> int:
            raise Misconfigured("the topic touchline.audit.v1 is missing.")

    with pytest.raises(Misconfigured, match="is missing"):
        noted(Missing(), head_store(), "c-1")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"details": {"mail": "x"}}, "details may only have"),
        ({"details": {"command": "ann@example.org"}}, "detail command is no id or code"),
        ({"details": {"command": "x" * 129}}, "detail command is no id or code"),
        ({"reason": "she asked me to"}, "reason is no short code"),
        ({"customer": "Ann Miller"}, "customer is no id"),
        ({"purpose": "just because"}, "purpose is no short word"),
    ],
)
def test_what_could_be_personal_is_refused_and_not_repeated(fields: dict[str, Any], said: str) -> None:
    store, topic = head_store(), MemoryAuditTopic()
    with pytest.raises(Refused, match=said) as refused:
        asyncio.run(trail_over(store, topic).note("opened", tenant="acme", **fields))
    assert not any(value in str(refused.value) for value in ("ann@example.org", "she asked", "Ann Miller", "because"))
    assert not topic.records[0]


def test_an_action_that_is_not_on_the_list_is_refused() -> None:
    with pytest.raises(Refused, match="action must be one of opened, erased"):
        asyncio.run(trail_over(head_store(), MemoryAuditTopic()).note("peeked", tenant="acme"))  # type: ignore[arg-type]


def test_whoever_stood_still_after_it_replaced_the_head_looks_again_before_it_appends() -> None:
    """Its entry may be there by now: others complete what they find."""
    store, topic = head_store(), MemoryAuditTopic()
    ticks = iter([0.0, 0.0, STALE_S + 1, *[STALE_S + 2] * 10])
    trail = Trail(store, topic, CODEC, actor="op-1", monotonic=lambda: next(ticks))
    real_swap = store.swap

    async def swap(*arguments: Any, **named: Any) -> bool:
        done = await real_swap(*arguments, **named)
        if not topic.records[0]:
            store.swap = real_swap  # type: ignore[method-assign]
            await trail_over(store, topic, "op-2").note("opened", tenant="acme", customer="c-2")
        return done

    store.swap = swap  # type: ignore[method-assign]
    asyncio.run(trail.note("opened", tenant="acme", customer="c-1"))
    found = [one.customer for one in entries_of(topic)]
    assert found[:2] == ["c-1", "c-2"]
    assert found.count("c-1") == len(found) - 1
    assert asyncio.run(verified(store, topic)).whole


# -- a store that was restored -----------------------------------------------------------------------------------------------


def lost(store: MemoryStore) -> None:
    store.apply([RowWrite("audit_head", (0,), None, 2**60)])


def test_a_chain_without_its_head_is_not_gone_on_with_by_itself() -> None:
    store, topic = head_store(), MemoryAuditTopic()
    noted(topic, store, "c-1", "c-2")
    lost(store)
    with pytest.raises(Misconfigured, match="the head of its chain is not in the store"):
        noted(topic, store, "c-3")
    broken = asyncio.run(verified(store, topic)).verdicts[0].broken
    assert broken is not None
    assert (broken.fault, broken.seq) == ("no_head", 1)


@pytest.mark.parametrize("restored", ["older", "none"])
def test_a_chain_whose_head_is_lost_or_behind_is_adopted_with_an_entry_that_says_so(restored: str) -> None:
    store, topic = head_store(), MemoryAuditTopic()
    noted(topic, store, "c-1", "c-2", "c-3")
    old = head_store()
    if restored == "older":
        old.apply([RowWrite("audit_head", (0,), dict(Head.new(0, topic.records[0][0][1], acknowledged=True).columns()), 0)])  # swaps count from 1
    broken = asyncio.run(verified(old, topic)).verdicts[0].broken
    assert broken is not None
    assert broken.fault == ("beyond_head" if restored == "older" else "no_head")
    before = asyncio.run(adopt(trail_over(old, topic, "root"), Heads(old), topic, 0, CODEC, tenant="acme"))
    assert before == (0 if restored == "older" else None, 2)
    noted(topic, old, "c-4")
    assert asyncio.run(verified(old, topic)).whole
    entry = entries_of(topic)[3]
    assert (entry.action, entry.actor, entry.details) == (
        "chain_adopted", "root", {"partition": "0", "head": "0" if restored == "older" else "none"}
    )  # fmt: skip


def test_a_chain_that_holds_is_not_adopted_and_a_topic_that_was_altered_neither() -> None:
    store, topic = head_store(), MemoryAuditTopic()
    noted(topic, store, "c-1", "c-2", "c-3")
    with pytest.raises(Refused, match="its head is where it should be"):
        asyncio.run(adopt(trail_over(store, topic), Heads(store), topic, 0, CODEC, tenant="acme"))
    del topic.records[0][1]
    with pytest.raises(Refused, match=r"does not hold in partition 0 at offset 1 \(missing\)"):
        asyncio.run(adopt(trail_over(store, topic), Heads(store), topic, 0, CODEC, tenant="acme"))


# -- the ends of a chain -----------------------------------------------------------------------------------------------------


def test_a_head_row_that_was_altered_is_found() -> None:
    store, topic = head_store(), MemoryAuditTopic()
    noted(topic, store, "c-1", "c-2")
    head = asyncio.run(Heads(store).read(0))
    assert head is not None
    store.apply([RowWrite("audit_head", (0,), dict(msgspec.structs.replace(head, seq=7).columns()), 2**50)])
    broken = asyncio.run(verified(store, topic)).verdicts[0].broken
    assert broken is not None
    assert (broken.fault, broken.offset, broken.seq) == ("head_damaged", None, 7)


def test_a_topic_that_was_emptied_is_found_and_one_whose_retention_took_all_is_not() -> None:
    store, topic = head_store(), MemoryAuditTopic()
    noted(topic, store, "c-1", "c-2")
    emptied = MemoryAuditTopic()
    broken = asyncio.run(verified(store, emptied)).verdicts[0].broken
    assert broken is not None
    assert broken.fault == "cut_off"
    topic.first[0] = 2
    [verdict] = asyncio.run(verified(store, topic)).verdicts
    assert (verdict.broken, verdict.first_seq, verdict.entries) == (None, None, 0)


def test_an_entry_that_comes_again_after_too_many_others_was_brought_there() -> None:
    """A writer appends within seconds or not at all, so that the digests of so many are enough."""
    chain, last = Chain(0, 0, CODEC), None
    topic, store = MemoryAuditTopic(), head_store()
    noted(topic, store, "c-1")
    first = CODEC.decode(topic.records[0][0][1])
    raw = topic.records[0][0][1]
    chain.take(0, b"op-1", raw)
    last = Head.new(0, raw)
    for seq in range(1, REPEATS_MAX + 1):
        value = CODEC.encode(msgspec.structs.replace(first, seq=seq, previous=last.digest))  # type: ignore[type-var]
        chain.take(seq, b"op-1", value)
        last = Head.new(seq, value, acknowledged=True)
    assert chain.broken is None
    chain.take(REPEATS_MAX + 1, b"op-1", raw)
    assert chain.broken is not None
    assert (chain.broken.fault, chain.broken.seq) == ("different", 0)
