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
from schemas.sealing import Erased, KeyPartition, Opened, Sealed, SealedItem, SealedKey, Unreadable, WrappedKey, format_sealed_key, parse_sealed_key
from touchline.errors import Misconfigured, Retryable
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

    async def read_many(self, keys: Collection[KeyPartition]) -> dict[KeyPartition, list[WrappedKey]]:
        self.reads.append(len(keys))
        found = await super().read_many(keys)
        await asyncio.sleep(0)
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
    keys = {
        ring.seal(t, h, p, "m", b"", occurred_at_us=NOW)
        for t, h, p in [("acme", HASH, "contact"), ("acme", HASH, "vulnerability"), ("acme2", HASH, "contact")]
    }
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


def test_keys_are_read_again_within_a_minute_so_that_an_erasure_reaches_everybody() -> None:
    store, clock = _Counting(), _Clock()
    ring = ring_over(store, clock)
    item = sealed(ring)
    erase(store, NOW)
    assert seal(ring) is not None, "within the minute the cached key may still be used"
    clock.now_s += 44
    prepare(ring)
    assert store.reads == [1]
    clock.now_s += 17  # 61 s after the reading
    with pytest.raises(Retryable):
        seal(ring)
    with pytest.raises(Retryable):
        ring.open(item)
    prepare(ring)
    assert seal(ring) is None
    assert ring.open(item) == Erased()


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


def test_after_an_erasure_earlier_events_stay_unsealed_and_later_ones_get_a_new_key() -> None:
    store = MemoryKeyStore()
    old = sealed(ring_over(store))
    erase(store, NOW)
    ring = ring_over(store)
    prepare(ring, at_us=NOW)
    assert seal(ring, at_us=NOW) is None
    assert len(store) == 1, "a key was made though nothing could be sealed"
    prepare(ring, at_us=NOW + 1)
    assert seal(ring, at_us=NOW) is None
    new = seal(ring, at_us=NOW + 1, text="back again")
    assert new is not None
    assert new.sealed_key != old.sealed_key
    assert run(ring_over(store).open_many([old, SealedItem("acme", "m-1", *new)])) == [Erased(), Opened(Personal(text="back again"))]


def test_a_handle_that_was_erased_before_it_ever_had_a_key_is_honoured() -> None:
    store = MemoryKeyStore()
    erase(store, NOW)
    ring = ring_over(store)
    prepare(ring)
    assert seal(ring) is None
    assert len(store) == 1


def test_forgetting_takes_effect_at_once() -> None:
    store = MemoryKeyStore()
    ring = ring_over(store)
    item = sealed(ring)
    erase(store, NOW)
    ring.forget("acme", HASH)
    with pytest.raises(Retryable):
        seal(ring)
    assert run(ring.open_many([item])) == [Erased()]


def test_what_cannot_be_opened_says_why_and_never_raises() -> None:
    store = MemoryKeyStore()
    ring = ring_over(store)
    good = sealed(ring)
    raw = ring.seal("acme", HASH, "contact", "raw", b"\x00not a record", occurred_at_us=NOW)
    assert raw is not None
    flipped = good.sealed[:-1] + bytes([good.sealed[-1] ^ 1])
    items = [
        good,
        good._replace(sealed_key="nonsense"),
        good._replace(sealed_key=format_sealed_key(SealedKey("contact", HASH, "nobody"))),
        good._replace(sealed_key=format_sealed_key(SealedKey("contact", OTHER, "nobody"))),
        good._replace(sealed=flipped),
        good._replace(sealed=b""),
        good._replace(event_id="m-2"),
        good._replace(tenant="acme2"),
        SealedItem("acme", "raw", *raw),
    ]
    reasons = ["key_name", "key_missing", "key_missing", "authentication", "format", "authentication", "key_missing", "content"]
    for reader in (ring, ring_over(store)):
        assert run(reader.open_many(items)) == [Opened(Personal(text="hello")), *map(Unreadable, reasons)]
    assert run(ring.unseal_many([items[-1], items[1]])) == [b"\x00not a record", Unreadable("key_name")]


def test_a_reader_finds_a_key_that_another_process_made_since_it_looked() -> None:
    store = MemoryKeyStore()
    reader = ring_over(store)
    run(reader.open_many([sealed(ring_over(store))]))
    second = sealed(ring_over(store), now_us=us(2027), event_id="m-2")
    assert run(reader.open_many([second])) == [Opened(Personal(text="hello"))]


def test_reading_never_takes_a_writer_s_key_away() -> None:
    store = MemoryKeyStore()
    ring = ring_over(store)
    item = sealed(ring)
    other = sealed(ring_over(store), now_us=us(2027), event_id="m-2")
    run(ring.open_many([item, other]))
    assert seal(ring) is not None


def test_a_row_whose_blob_was_exchanged_or_spoilt_is_not_used() -> None:
    store = MemoryKeyStore()
    ring = ring_over(store)
    item, other = sealed(ring), sealed(ring, OTHER)
    mine, theirs = rows_of(store)[0], rows_of(store, OTHER)[0]
    run(store.insert(msgspec.structs.replace(mine, wrapped=theirs.wrapped)))
    fresh = ring_over(store)
    assert run(fresh.open_many([item, other])) == [Unreadable("key_wrapping"), Opened(Personal(text="hello"))]
    assert sealed(fresh).sealed_key != item.sealed_key, "a writer makes a new key"
    for blob in (b"", b"\x01", b"\x02" * 61, mine.wrapped[:-1]):
        run(store.insert(msgspec.structs.replace(mine, wrapped=blob)))
        assert run(ring_over(store).open_many([item])) == [Unreadable("key_wrapping")]


def test_a_process_with_another_key_file_cannot_write_and_reads_nothing() -> None:
    store = MemoryKeyStore()
    item = sealed(ring_over(store))
    stranger = ring_over(store, kek_id="another")
    assert run(stranger.open_many([item])) == [Unreadable("kek_unknown")]
    with pytest.raises(Misconfigured, match="same key file"):
        prepare(stranger)


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


def test_no_repr_and_no_error_shows_a_key_or_anything_personal() -> None:
    store = MemoryKeyStore()
    ring = ring_over(store)
    item = sealed(ring, text="Ann was here")
    shelf = next(iter(ring._shelves.values()))
    shown = f"{ring!r} {store!r} {shelf!r} {shelf.__slots__} {run(ring.open_many([item]))!r} {rows_of(store)!r}"
    with pytest.raises(Retryable) as retryable:
        seal(ring, OTHER, "Ann was here")
    shown += f"{retryable.value!r} {retryable.value}"
    assert "Ann" not in shown
    assert KEK.hex() not in shown
    assert repr(KEK) not in shown
    assert repr(rows_of(store)[0].wrapped)[2:20] not in shown
    assert OTHER.hex() not in shown
