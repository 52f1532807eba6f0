"""Manifests, data keys and parked customers over the store port."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec
import pytest

from connectors.manifest import KnownChunk, ManifestStore, Note
from schemas.sealing import DataKeyStore, KeyPartition, WrappedKey
from streams.parking import ParkedCustomer
from streams.store.catalogue import control_tables, keyring_tables
from streams.store.columns import blob, integer, integer_or_none, text, text_map, text_or_none
from streams.store.data_keys import CassandraDataKeys
from streams.store.manifests import Manifests
from streams.store.memory import MemoryStore
from streams.store.parked import ParkedCustomers
from streams.store.port import GroupVersion
from touchline.errors import Poison

T = TypeVar("T")


def run(awaited: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(awaited)


@pytest.fixture
def manifests() -> ManifestStore:
    return Manifests(MemoryStore(control_tables()), KnownChunk, Note, lambda: 1_000)


def test_chunks_come_back_in_order_of_position(manifests: ManifestStore) -> None:
    first, second = KnownChunk(b"\xff" * 16, 0, 1000, (3, 999)), KnownChunk(b"\x00" * 16, 1, 20)
    for chunk in (second, first, second):
        run(manifests.add("acme", "/bank", chunk))
    run(manifests.add("other", "/bank", second))
    assert run(manifests.load("acme", "/bank")) == [first, second]
    assert run(manifests.load("acme", "/tweets")) == []


def test_a_note_is_replaced_and_cleared_even_while_the_clock_stands_still(manifests: ManifestStore) -> None:
    note = Note({"touchline.channel.email.v1": {0: 5, 11: 2**40}, "b/c": {3: 0}}, -7)
    run(manifests.note("acme", "/bank", b"run", Note({}, 1)))
    run(manifests.note("acme", "/bank", b"run", note))
    run(manifests.note("acme", "/bank", b"sun", Note({})))
    assert run(manifests.noted("acme", "/bank", b"run")) == note
    run(manifests.clear("acme", "/bank", b"run"))
    assert run(manifests.noted("acme", "/bank", b"run")) is None
    assert run(manifests.noted("acme", "/bank", b"sun")) == Note({}, 0)
    run(manifests.note("acme", "/bank", b"run", note))
    assert run(manifests.noted("acme", "/bank", b"run")) == note


def key(key_id: str, **changes: Any) -> WrappedKey:
    made = WrappedKey(tenant="acme", handle_hash=b"\x07" * 32, purpose="contact", key_id=key_id, wrapped=b"secret", kek_id="kek", created_at_us=5)
    return msgspec.structs.replace(made, **changes)


def test_keys_are_read_by_partition_in_order_of_key_id() -> None:
    keys: DataKeyStore = CassandraDataKeys(MemoryStore(keyring_tables()), lambda: 1_000)
    run(keys.insert_many([key("b"), key("a"), key("c", purpose="vulnerability")]))
    assert run(keys.read("acme", b"\x07" * 32, "contact")) == [key("a"), key("b")]
    wanted = [KeyPartition("acme", b"\x07" * 32, "vulnerability"), KeyPartition("acme", b"\x08" * 32, "contact")]
    assert run(keys.read_many(wanted)) == {wanted[0]: [key("c", purpose="vulnerability")]}


def test_a_destroyed_key_stays_destroyed_whoever_writes_it_with_whatever_clock() -> None:
    now_us = [10_000_000]
    store = MemoryStore(keyring_tables())
    ahead, behind = CassandraDataKeys(store, lambda: now_us[0] + 60_000_000), CassandraDataKeys(store, lambda: now_us[0] - 60_000_000)
    run(ahead.insert(key("a")))
    run(behind.insert(key("a", wrapped=b"", state="destroyed", erased_at_us=9)))
    run(ahead.insert(key("a")))
    assert run(behind.read("acme", b"\x07" * 32, "contact")) == [key("a", wrapped=b"", state="destroyed", erased_at_us=9)]


def test_a_key_is_wrapped_anew_by_a_later_insert() -> None:
    keys = CassandraDataKeys(MemoryStore(keyring_tables()), lambda: 1_000)
    run(keys.insert(key("a")))
    run(keys.insert(key("a", wrapped=b"a", kek_id="kek-2")))
    assert run(keys.read("acme", b"\x07" * 32, "contact")) == [key("a", wrapped=b"a", kek_id="kek-2")]


def test_a_parked_customer_is_found_and_removed_with_the_records_noted_before() -> None:
    store, group = MemoryStore(control_tables()), GroupVersion("view", 1)
    parked = ParkedCustomer("c-1", 3, 10, 3, 10, 1, "raised:KeyError", "abc", "projections/x.py:1:apply")
    run(store.write([*parked.writes("view", 1, 10, 100), *parked.with_record(3, 12).writes("view", 1, 12, 120)]))
    repository = ParkedCustomers(store)
    assert run(repository.load(group)) == [parked.with_record(3, 12)]
    assert run(repository.records(group, "c-1")) == [(3, 10), (3, 12)]
    run(repository.remove(group, "c-1", 110))
    assert run(repository.records(group, "c-1")) == [(3, 12)]
    run(repository.remove(group, "c-1", 130))
    assert run(repository.load(group)) == run(repository.records(group, "c-1")) == []


def test_a_column_of_another_kind_is_poison_that_names_it_only() -> None:
    row = {"n": "personal", "t": 5, "b": "x", "m": None, "none": None, "wrong": "x"}
    readers = ((integer, "n"), (integer_or_none, "n"), (text, "t"), (text_or_none, "t"), (blob, "b"), (text_map, "wrong"), (integer, "none"))
    for read, column in readers:
        with pytest.raises(Poison, match=f"its column {column}") as raised:
            read(row, column)  # type: ignore[operator]
        assert "personal" not in str(raised.value)
    assert (integer(row, "none", 4), text(row, "none", ""), blob(row, "none", b"z"), text_map(row, "m")) == (4, "", b"z", {})
    assert (integer_or_none(row, "none"), integer_or_none(row, "t"), text_or_none(row, "none"), text_or_none(row, "b")) == (None, 5, None, "x")


def test_the_value_classes_fit_what_the_repository_is_given() -> None:
    assert msgspec.structs.asdict(KnownChunk(b"a", 1, 2, (3,))) == {"chunk_hash": b"a", "position": 1, "records": 2, "left_out": (3,)}
