"""The keyring: when keys are made, how long they are used, and what opening answers."""

import asyncio
import os
from collections.abc import Awaitable, Collection, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
import pytest

from schemas.codec import Codec
from schemas.events import Personal
from schemas.sealing import KeyPartition, Opened, Sealed, SealedItem, SealedKey, WrappedKey, parse_sealed_key
from touchline.errors import Retryable
from touchline.keyring.keyring import Keyring
from touchline.keyring.memory import MemoryKeyStore
from touchline.keyring.wrapper import LocalWrapper

T = TypeVar("T")
HASH, OTHER = b"h" * 32, b"o" * 32
KEK = os.urandom(32)
CODEC = Codec()


def us(year: int, month: int = 6, day: int = 1) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 1_000_000


NOW = us(2026)


class _Clock:
    """A monotonic clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class _Counting(MemoryKeyStore):
    """The store in memory, which also counts what was asked of it and can be slow or fail."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[int] = []
        self.fails = False
        self.hold_next_read = False
        self.held, self.slow = asyncio.Event(), asyncio.Event()

    async def read_many(self, keys: Collection[KeyPartition]) -> dict[KeyPartition, list[WrappedKey]]:
        self.reads.append(len(keys))
        found = await super().read_many(keys)
        await asyncio.sleep(0)
        if self.hold_next_read:
            self.hold_next_read = False
            self.held.set()
            await self.slow.wait()
        return found

    async def insert_many(self, rows: Sequence[WrappedKey]) -> None:
        await asyncio.sleep(0)
        if self.fails:
            raise Retryable("The store is away.")
        await super().insert_many(rows)


def run(work: Awaitable[T]) -> T:
    async def main() -> T:
        return await work

    return asyncio.run(main())


def ring_over(store: MemoryKeyStore, clock: _Clock | None = None, *, kek_id: str = "k", entries_max: int = 50_000) -> Keyring:
    return Keyring(store, LocalWrapper(kek_id, {kek_id: KEK}), CODEC, monotonic=clock or _Clock(), entries_max=entries_max)


def prepare(ring: Keyring, hash_: bytes = HASH, at_us: int = NOW, now_us: int = NOW) -> None:
    run(ring.prepare("acme", {(hash_, "contact"): at_us}, now_us))


def seal(ring: Keyring, hash_: bytes = HASH, text: str = "hello", at_us: int = NOW, event_id: str = "m-1") -> Sealed | None:
    return ring.seal("acme", hash_, "contact", event_id, CODEC.encode(Personal(text=text)), occurred_at_us=at_us)


def sealed(ring: Keyring, hash_: bytes = HASH, text: str = "hello", event_id: str = "m-1", now_us: int = NOW) -> SealedItem:
    prepare(ring, hash_, now_us=now_us)
    found = seal(ring, hash_, text, event_id=event_id)
    assert found is not None
    return SealedItem("acme", event_id, *found)


def rows_of(store: MemoryKeyStore, hash_: bytes = HASH) -> list[WrappedKey]:
    return run(store.read("acme", hash_, "contact"))


def erase(store: MemoryKeyStore, erased_at_us: int, hash_: bytes = HASH) -> None:
    rows = rows_of(store, hash_) or [
        WrappedKey(tenant="acme", handle_hash=hash_, purpose="contact", key_id="marker", wrapped=b"", kek_id="", created_at_us=0)
    ]
    run(store.insert_many([msgspec.structs.replace(row, wrapped=b"", state="destroyed", erased_at_us=erased_at_us) for row in rows]))


def test_what_one_process_sealed_another_opens() -> None:
    store = MemoryKeyStore()
    item = sealed(ring_over(store), text="Where is my parcel?")
    assert run(ring_over(store).open_many([item])) == [Opened(Personal(text="Where is my parcel?"))]


def test_a_key_is_made_once_and_then_used_again() -> None:
    store = _Counting()
    ring = ring_over(store)
    assert {sealed(ring, event_id=f"m-{n}").sealed_key for n in range(5)} == {sealed(ring_over(store)).sealed_key}
    assert len(store) == 1
    assert store.reads == [1, 1]


def test_a_key_has_a_name_that_says_handle_and_purpose_and_a_random_id() -> None:
    store = MemoryKeyStore()
    name = parse_sealed_key(sealed(ring_over(store)).sealed_key)
    assert name == SealedKey("contact", HASH, rows_of(store)[0].key_id)
    assert len({parse_sealed_key(sealed(ring_over(MemoryKeyStore())).sealed_key) for _ in range(20)}) == 20


def test_tenants_handles_and_purposes_have_keys_of_their_own() -> None:
    store = MemoryKeyStore()
    ring = ring_over(store)
    run(ring.prepare("acme", {(HASH, "contact"): NOW, (HASH, "vulnerability"): NOW, (OTHER, "contact"): NOW}, NOW))
    run(ring.prepare("acme2", {(HASH, "contact"): NOW}, NOW))
    assert len(store) == 4
    keys = [
        ring.seal("acme", HASH, "contact", "m", b"", occurred_at_us=NOW),
        ring.seal("acme", HASH, "vulnerability", "m", b"", occurred_at_us=NOW),
        ring.seal("acme2", HASH, "contact", "m", b"", occurred_at_us=NOW),
    ]
    assert len({found.sealed_key for found in keys if found}) == 3


def test_each_calendar_year_gets_a_new_key_and_the_old_one_still_opens() -> None:
    store = MemoryKeyStore()
    ring = ring_over(store)
    december, january = us(2026, 12, 31) + 86_399_999_999, us(2027, 1, 1)
    old, new = sealed(ring, text="old", now_us=december), sealed(ring, text="new", event_id="m-2", now_us=january)
    assert old.sealed_key != new.sealed_key
    assert sorted(row.created_at_us for row in rows_of(store)) == [december, january]
    assert sealed(ring_over(store), now_us=us(2027, 8)).sealed_key == new.sealed_key
    assert run(ring_over(store).open_many([old, new])) == [Opened(Personal(text="old")), Opened(Personal(text="new"))]


def test_two_racers_make_two_good_keys_and_agree_on_one_from_the_next_look_on() -> None:
    store = _Counting()
    first, second = ring_over(store), ring_over(store)

    async def race() -> None:
        await asyncio.gather(*(ring.prepare("acme", {(HASH, "contact"): NOW}, NOW) for ring in (first, second)))

    asyncio.run(race())
    assert len(store) == 2
    items = [SealedItem("acme", "m-1", *found) for ring in (first, second) if (found := seal(ring))]
    assert items[0].sealed_key != items[1].sealed_key
    assert run(ring_over(store).open_many(items)) == [Opened(Personal(text="hello"))] * 2
    assert sealed(ring_over(store)).sealed_key == sealed(ring_over(store)).sealed_key
    assert len(store) == 2


def test_nothing_is_sealed_under_a_key_that_the_store_did_not_take() -> None:
    store = _Counting()
    store.fails = True
    ring = ring_over(store)
    with pytest.raises(Retryable, match="away"):
        prepare(ring)
    with pytest.raises(Retryable, match="prepare the batch again"):
        seal(ring)
    store.fails = False
    prepare(ring)
    assert seal(ring) is not None


def test_what_prepare_leaves_can_be_used_for_a_quarter_of_a_minute_at_least() -> None:
    store, clock = _Counting(), _Clock()
    ring = ring_over(store, clock)
    prepare(ring)
    for _ in range(100):
        clock.now_s += 7
        prepare(ring)
        clock.now_s += 14
        assert seal(ring) is not None
    assert len(store) == 1
    assert len(store.reads) > 20


def test_the_minute_counts_from_the_beginning_of_the_reading() -> None:
    store, clock = _Counting(), _Clock()

    class _Slow(_Counting):
        async def read_many(self, keys: Collection[KeyPartition]) -> dict[KeyPartition, list[WrappedKey]]:
            found = await store.read_many(keys)
            clock.now_s += 50
            return found

    ring = ring_over(_Slow(), clock)
    prepare(ring)
    clock.now_s += 11
    with pytest.raises(Retryable):
        seal(ring)


def test_of_several_keys_of_a_year_everybody_uses_the_oldest() -> None:
    store, wrapper = MemoryKeyStore(), LocalWrapper("k", {"k": KEK})
    for key_id, created_at_us in (("a", NOW + 2), ("c", NOW + 1), ("b", NOW + 1)):
        row = WrappedKey(tenant="acme", handle_hash=HASH, purpose="contact", key_id=key_id, wrapped=b"", kek_id="k", created_at_us=created_at_us)
        wrapped, kek_id = run(wrapper.wrap(bytes(32), row.context))
        run(store.insert(msgspec.structs.replace(row, wrapped=wrapped, kek_id=kek_id)))
    assert sealed(ring_over(store)).sealed_key.endswith(":b")


def test_the_number_of_cached_handles_is_bounded_and_the_least_used_leaves_first() -> None:
    store = _Counting()
    ring = ring_over(store, entries_max=3)
    hashes = [bytes([n]) * 32 for n in range(5)]
    for hash_ in (*hashes[:3], hashes[0], hashes[3]):
        prepare(ring, hash_)
    assert len(ring) == 3
    assert seal(ring, hashes[0]) is not None
    with pytest.raises(Retryable):
        seal(ring, hashes[1])


def test_a_batch_larger_than_the_cache_can_still_be_sealed() -> None:
    store = _Counting()
    ring = ring_over(store, entries_max=10)
    hashes = [n.to_bytes(32, "big") for n in range(1000)]
    run(ring.prepare("acme", dict.fromkeys(((h, "contact") for h in hashes), NOW), NOW))
    assert all(seal(ring, h) for h in hashes)
    assert len(store) == 1000
    assert max(store.reads) == 64
    prepare(ring)
    assert len(ring) == 10


def test_old_keys_leave_memory_when_others_are_prepared() -> None:
    clock = _Clock()
    ring = ring_over(MemoryKeyStore(), clock)
    prepare(ring)
    clock.now_s += 61
    prepare(ring, OTHER)
    assert len(ring) == 1
