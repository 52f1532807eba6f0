"""What claims and pairs keep to, on real Cassandra: the lightweight transactions are its own."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from streams.store.cassandra import CassandraStore
from streams.store.catalogue import KEYRING, MIGRATIONS, control_tables
from streams.store.migration_files import read_migrations
from streams.store.migrations import migrate
from tests.unit.test_claims import *  # noqa: F403 - what is kept to, collected here with this module's `claims_bench`
from tests.unit.test_claims import ClaimsBench

KEYSPACE = "claims_kept"


@pytest.fixture(scope="module")
def cassandra(stack: Any) -> Iterator[tuple[CassandraStore, asyncio.Runner]]:
    """Yield a store of a keyspace with the control tables, and the loop that it lives in."""
    chosen = stack.settings_with(keyspace=KEYSPACE, keyring_keyspace=f"{KEYSPACE}_keys")
    with asyncio.Runner() as runner:
        store = runner.run(CassandraStore.connect(chosen, control_tables()))
        migrate(store.driver, chosen, read_migrations(MIGRATIONS), [], {KEYRING: chosen.keyring_keyspace})
        yield store, runner
        runner.run(store.close())


@pytest.fixture
def claims_bench(cassandra: tuple[CassandraStore, asyncio.Runner]) -> ClaimsBench:
    """Return claims in Cassandra."""
    store, runner = cassandra
    return ClaimsBench(store, runner.run)
