"""The keyring as a reader sees it: what opening answers, and how erasures show."""

import asyncio

import msgspec
import pytest

from schemas.events import Personal
from schemas.sealing import Erased, Opened, SealedItem, SealedKey, Unreadable, format_sealed_key
from tests.unit.test_keyring import HASH, KEK, NOW, OTHER, _Clock, _Counting, erase, prepare, ring_over, rows_of, run, seal, sealed, us
from touchline.errors import Misconfigured, Retryable
from touchline.keyring.memory import MemoryKeyStore


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


def test_a_process_that_sealed_before_an_erasure_does_not_use_the_destroyed_key_again() -> None:
    store, clock = MemoryKeyStore(), _Clock()
    ring = ring_over(store, clock)
    old = sealed(ring)
    erase(store, NOW)
    clock.now_s += 50
    run(ring.open_many([old]))
    prepare(ring, at_us=NOW + 1)
    new = seal(ring, at_us=NOW + 1)
    assert new is not None
    assert new.sealed_key != old.sealed_key


def test_a_handle_that_was_erased_before_it_ever_had_a_key_is_honoured() -> None:
    store = MemoryKeyStore()
    erase(store, NOW)
    ring = ring_over(store)
    prepare(ring)
    assert seal(ring) is None
    assert len(store) == 1


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


def test_of_two_readings_at_once_the_later_one_counts() -> None:
    store, clock = _Counting(), _Clock()
    ring = ring_over(store, clock)
    item = sealed(ring_over(store), now_us=us(2025))

    async def both() -> None:
        reading = asyncio.create_task(ring.open_many([item]))
        await store.held.wait()
        clock.now_s += 1
        await ring.prepare("acme", {(HASH, "contact"): NOW}, NOW)
        store.slow.set()
        await reading

    store.hold_next_read = True
    asyncio.run(both())
    assert seal(ring) is not None


def test_a_destroyed_row_in_the_store_in_memory_is_final() -> None:
    store = MemoryKeyStore()
    sealed(ring_over(store))
    [row] = rows_of(store)
    erase(store, NOW)
    run(store.insert(row))
    assert rows_of(store)[0].state == "destroyed"


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
    with pytest.raises(Misconfigured, match="key"):
        prepare(stranger)


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


def test_a_key_that_is_doubted_is_read_again_before_it_is_used_anew_and_can_be_used_to_the_end_of_what_was_prepared() -> None:
    store = _Counting()
    ring = ring_over(store, _Clock())
    item = sealed(ring)
    erase(store, NOW)
    ring.doubt("acme", HASH)
    ring.doubt("acme", OTHER)
    assert seal(ring) is not None, "what was prepared is sealed"
    prepare(ring)
    assert seal(ring) is None
    assert ring.open(item) == Erased()
