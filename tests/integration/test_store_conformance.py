"""The laws of `tests/unit/test_store_laws.py` on real Cassandra; and that both stores agree on random histories."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings

from streams.store.cassandra import CassandraStore
from streams.store.memory import MemoryStore
from streams.store.migrations import migrate
from tests.property.test_memory_store import histories, in_calls
from tests.unit.test_store_laws import *  # noqa: F403 - the laws, collected here with this module's `bench`
from tests.unit.test_store_laws import TABLES, Bench

KEYSPACE = "laws_of_stores"


@pytest.fixture(scope="module")
def cassandra(stack: Any) -> Iterator[CassandraStore]:
    """Yield a store of a keyspace with the tables of the laws."""
    chosen = stack.settings_with(keyspace=KEYSPACE)
    store = asyncio.run(CassandraStore.connect(chosen, TABLES))
    migrate(store.driver, chosen, [], TABLES, {})
    yield store
    asyncio.run(store.close())


@pytest.fixture
def bench(cassandra: CassandraStore) -> Bench:
    """Return a store in Cassandra, where time passes by itself."""
    return Bench(cassandra, time.sleep)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories())
def test_both_stores_come_to_the_same_content(cassandra: CassandraStore, history: Any) -> None:
    """Any writes, in any order and any grouping: what Cassandra answers is what memory answers."""
    subject = uuid4().hex
    memory = MemoryStore(TABLES)
    partition = {"tenant": "acme", "subject": subject}

    async def both() -> tuple[object, object]:
        for call in in_calls(history, subject):
            await asyncio.gather(cassandra.write(call), memory.write(call))
        return await cassandra.read("thing_v1", partition), await memory.read("thing_v1", partition)

    there, here = asyncio.run(both())
    assert there == here
