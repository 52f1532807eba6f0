"""The laws of the audit trail: one chain whoever writes and dies, nothing audited is lost, and nothing is altered unseen."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from random import Random
from types import coroutine
from typing import Any, Final

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import AuditEntry
from streams.audit.chain import Chain, Verdict, linked
from streams.audit.heads import Head, Heads
from streams.audit.trail import Trail
from streams.store.memory import MemoryStore
from streams.store.port import Cells
from tests.support.audit import CODEC, MemoryAuditTopic, entries_of, head_store, verified
from touchline.errors import Retryable

KILL: Final = 0.06
UNWELL: Final = 0.10


@coroutine
def turn() -> Generator[None, None, None]:
    """Let somebody else go on."""
    yield


class Rough:
    """A store and a topic in which others may come in at every step, and whose calls may fail before or after they have done their work."""

    def __init__(self, store: MemoryStore, topic: MemoryAuditTopic, dice: Random) -> None:
        self._store = store
        self._topic = topic
        self._dice = dice

    def _fail(self) -> None:
        if self._dice.random() < UNWELL / 2:
            raise Retryable("the dice fell so.")

    async def _call(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        await turn()
        self._fail()
        done = await work()
        await turn()
        self._fail()
        return done

    async def read(self, table: str, partition: Any) -> Any:
        return await self._call(lambda: self._store.read(table, partition))

    async def swap(self, table: str, key: tuple[str | int, ...], columns: Cells, *, expected: Cells | None) -> Any:
        return await self._call(lambda: self._store.swap(table, key, columns, expected=expected))

    async def partitions(self) -> int:
        return await self._topic.partitions()

    async def is_empty(self, partition: int) -> Any:
        return await self._call(lambda: self._topic.is_empty(partition))

    async def append(self, partition: int, key: bytes, value: bytes) -> None:
        await self._call(lambda: self._topic.append(partition, key, value))


async def still(_: float) -> None:
    """Pause for no time; others may come in."""
    await turn()


def writer(number: int, notes: int, rough: Rough, said: list[str]) -> Coroutine[Any, Any, None]:
    """Write notes one after the other; `said` are those that the trail said were written."""

    async def work() -> None:
        trail = Trail(rough, rough, CODEC, actor=f"op-{number}", clock_us=lambda: number, pause=still)  # type: ignore[arg-type]
        for n in range(notes):
            name = f"c-{number}-{n}"
            try:
                await trail.note("opened", tenant="acme", customer=name)
            except Retryable:
                continue
            said.append(name)

    return work()


def run(writers: list[Coroutine[Any, Any, None]], dice: Random, watch: Callable[[], None]) -> None:
    """Let writers go on in turns as the dice fall, each up to its next await; kill one now and then."""
    alive = list(writers)
    for _ in range(100_000):
        if not alive:
            return
        one = dice.choice(alive)
        if dice.random() < KILL / 10:
            one.close()
            alive.remove(one)
            continue
        try:
            one.send(None)
        except StopIteration:
            alive.remove(one)
        if dice.random() < KILL:
            watch()
    raise AssertionError("the writers come to no end")


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), writers=st.integers(1, 6), notes=st.integers(1, 5), partitions=st.integers(1, 3))
def test_whoever_writes_and_whoever_dies_there_is_one_chain_and_nothing_is_lost(seed: int, writers: int, notes: int, partitions: int) -> None:
    """The chains hold at any moment; what was said to be written is on the topic; whoever comes next completes what was begun."""
    dice, store, topic, said = Random(seed), head_store(), MemoryAuditTopic(partitions), []  # noqa: S311

    def watch() -> None:
        assert asyncio.run(verified(store, topic)).whole
        assert set(said) <= {entry.customer for entry in entries_of(topic)}

    rough = Rough(store, topic, dice)
    run([writer(number, notes, rough, said) for number in range(writers)], dice, watch)
    watch()

    async def last() -> None:
        for number in range(writers):
            trail = Trail(store, topic, CODEC, actor=f"op-{number}", clock_us=lambda: 9)
            await trail.note("reported", tenant="acme", customer="last")
        report = await verified(store, topic)
        assert report.whole
        assert not any(verdict.pending for verdict in report.verdicts)
        heads = [await Heads(store).read(n) for n in range(partitions)]
        assert all(head is None or head.acknowledged for head in heads)
        assert report.entries == sum(head.seq + 1 for head in heads if head is not None)

    asyncio.run(last())


# -- what was done to a chain is seen ----------------------------------------------------------------------------------------


Records = list[tuple[bytes, bytes]]


def chain(n: int, repeats: list[tuple[int, int]]) -> tuple[Records, Head]:
    """Return a chain of n entries of partition 0 with some repeated later, and its head."""
    records: Records = []
    last: Head | None = None
    for seq in range(n):
        draft = AuditEntry(
            id=f"e-{seq}", partition=9, seq=9, previous=b"", at_us=seq, tenant="acme", actor=f"op-{seq % 3}", action="opened", count=seq
        )
        entry = linked(draft, 0, None if last is None else (last.seq, last.digest))
        last = Head.new(seq, CODEC.encode(entry), acknowledged=True)
        records.append((entry.actor.encode(), last.entry))
    assert last is not None
    for which, later in sorted(((which % n, later) for which, later in repeats), key=lambda it: -it[0]):
        records.insert(min(which + 1 + later, len(records)), records[which])
    return records, last


def judged(records: Records, head: Head | None, *, first: int = 0) -> Verdict:
    """Return what a chain of these records comes to."""
    found = Chain(0, first, CODEC)
    for offset, (key, value) in enumerate(records[first:], first):
        found.take(offset, key, value)
    return found.end(head, head)


chains = st.builds(chain, st.integers(1, 12), st.lists(st.tuples(st.integers(0, 11), st.integers(0, 5)), max_size=3))


@given(made=chains)
def test_what_nobody_touched_is_whole(made: tuple[Records, Head]) -> None:
    """Repeats are counted apart."""
    records, head = made
    verdict = judged(records, head)
    assert verdict.broken is None
    assert (verdict.entries, verdict.repeats) == (head.seq + 1, len(records) - head.seq - 1)


@settings(max_examples=400)
@given(made=chains, at=st.integers(0), byte=st.integers(0), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_found_and_named(made: tuple[Records, Head], at: int, byte: int, bit: int) -> None:
    """Named is the very record, or of a repeated one that of the two which comes later."""
    records, head = made
    at %= len(records)
    key, value = records[at]
    byte %= len(value)
    flipped = bytes([*value[:byte], value[byte] ^ (1 << bit), *value[byte + 1 :]])
    alike = {offset for offset, record in enumerate(records) if record == records[at]}
    verdict = judged([*records[:at], (key, flipped), *records[at + 1 :]], head)
    assert verdict.broken is not None
    assert verdict.broken.offset == at if len(alike) == 1 else verdict.broken.offset in alike, verdict.broken


@given(made=chains, at=st.integers(0))
def test_a_key_that_was_altered_is_found_and_named(made: tuple[Records, Head], at: int) -> None:
    """The key says whose entry it is, as its content does."""
    records, head = made
    at %= len(records)
    verdict = judged([*records[:at], (records[at][0] + b"x", records[at][1]), *records[at + 1 :]], head)
    assert verdict.broken is not None
    assert (verdict.broken.offset, verdict.broken.fault) == (at, "misplaced")


def without_repeats(made: tuple[Records, Head]) -> Records:
    """Return each record once."""
    return list(dict.fromkeys(made[0]))


@given(made=chains, at=st.integers(0))
def test_a_removed_entry_is_found_and_the_place_named(made: tuple[Records, Head], at: int) -> None:
    """Named is what follows the gap; at the end the last one that is left."""
    records, head = without_repeats(made), made[1]
    at %= len(records)
    verdict = judged([*records[:at], *records[at + 1 :]], head)
    assert verdict.broken is not None
    if at == len(records) - 1:
        assert verdict.broken.fault == "cut_off"
        assert verdict.broken.offset == (at - 1 if at else None)
    else:
        assert (verdict.broken.fault, verdict.broken.offset, verdict.broken.seq) == ("missing", at, at + 1)


@given(made=chains, at=st.integers(0), other=st.integers(0))
def test_swapped_entries_are_found(made: tuple[Records, Head], at: int, other: int) -> None:
    """The first of the two places is named."""
    records, head = without_repeats(made), made[1]
    at, other = sorted((at % len(records), other % len(records)))
    if at == other:
        return
    swapped = list(records)
    swapped[at], swapped[other] = records[other], records[at]
    verdict = judged(swapped, head)
    assert verdict.broken is not None
    assert (verdict.broken.fault, verdict.broken.offset) == ("missing", at)


@given(made=chains, at=st.integers(0), fits=st.booleans())
def test_an_inserted_entry_is_found_and_named(made: tuple[Records, Head], at: int, *, fits: bool) -> None:
    """Also one that fits to the entry before it, and one behind the end."""
    records, head = without_repeats(made), made[1]
    at = 1 + at % len(records)
    before = CODEC.decode(records[at - 1][1])
    assert isinstance(before, AuditEntry)
    forged = msgspec.structs.replace(before, id="forged", count=77)
    if fits:
        old = Head.new(before.seq, records[at - 1][1])
        forged = linked(forged, 0, (old.seq, old.digest))
    inserted = [*records[:at], (forged.actor.encode(), CODEC.encode(forged)), *records[at:]]
    verdict = judged(inserted, head)
    assert verdict.broken is not None
    assert verdict.broken.offset in ({at, at + 1} if fits else {at})
    assert verdict.broken.fault == ("different" if at < len(records) or not fits else "beyond_head")


@given(made=chains, cut=st.integers(0), strays=st.integers(0, 3))
def test_a_topic_that_lost_its_beginning_says_from_where_it_can_speak(made: tuple[Records, Head], cut: int, strays: int) -> None:
    """Repeats of what is gone are passed over; nothing else is."""
    records, head = without_repeats(made), made[1]
    cut %= len(records)
    gone = records[max(cut - strays, 0) : cut]
    verdict = judged([*records[: cut + 1], *gone, *records[cut + 1 :]], head, first=cut)
    assert verdict.broken is None
    assert (verdict.first_seq, verdict.last_seq, verdict.entries) == (cut, head.seq, head.seq + 1 - cut)
    late = [*records, *[records[-1]] * 100, *gone]  # so long after its beginning it is no stray any more
    if gone and cut:
        assert judged(late, head, first=cut).broken is not None
