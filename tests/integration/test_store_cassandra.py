"""What only a real server shows: migrations, long partitions, repositories, and a node that dies."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer import Typer
from typer.testing import CliRunner

from projections.registry import GROUPS
from schemas.sealing import KeyPartition, WrappedKey
from streams.store.cassandra import CassandraStore
from streams.store.catalogue import KEYRING, MIGRATIONS, control_tables, keyring_tables
from streams.store.data_keys import CassandraDataKeys
from streams.store.driver import Driver
from streams.store.migration_files import read_migrations
from streams.store.migrations import migrate
from streams.store.parked import ParkedCustomers
from streams.store.port import Checkpoint, GroupVersion, RowWrite
from touchline.commands.store import register
from touchline.errors import Misconfigured, Retryable

KEYSPACE, KEYS = "real_store", "real_store_keys"


@pytest.fixture(scope="module")
def store(stack: Any) -> Iterator[CassandraStore]:
    """Yield a store of a keyspace that was migrated, with all tables of the product."""
    chosen = stack.settings_with(keyspace=KEYSPACE, keyring_keyspace=KEYS)
    tables = [table for group in GROUPS.values() for table in group.tables()]
    driver = Driver.open(chosen)
    driver.execute(f"DROP KEYSPACE IF EXISTS {KEYSPACE}", timeout_s=30)
    driver.execute(f"DROP KEYSPACE IF EXISTS {KEYS}", timeout_s=30)
    report = migrate(driver, chosen, read_migrations(MIGRATIONS), tables, {KEYRING: KEYS})
    assert report.keyspaces == [KEYSPACE, KEYS]
    driver.close()
    opened = asyncio.run(CassandraStore.connect(chosen))
    yield opened
    asyncio.run(opened.close())


def test_the_command_creates_once_says_so_and_then_finds_nothing_to_do(stack: Any, store: CassandraStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.keyspace == KEYSPACE
    for name, value in {**stack.servers.settings, "keyspace": KEYSPACE, "keyring_keyspace": KEYS}.items():
        monkeypatch.setenv(f"TOUCHLINE_{name.upper()}", str(value))
    app = Typer()
    register(app)
    answer = CliRunner().invoke(app, ["store", "migrate", "--json"], catch_exceptions=False)
    assert json.loads(answer.stdout) == {"keyspace": KEYSPACE, "changed": False, "keyspaces": [], "migrations": [], "tables": [], "columns": []}
    assert "nothing to do" in CliRunner().invoke(app, ["store", "migrate"], catch_exceptions=False).stdout


def test_a_later_migration_adds_a_column_that_can_be_used_at_once(stack: Any, store: CassandraStore, tmp_path: Path) -> None:
    chosen = stack.settings_with(keyspace=KEYSPACE, keyring_keyspace=KEYS)
    for path in MIGRATIONS.glob("*.cql"):
        (tmp_path / path.name).write_text(path.read_text())
    later = f"{len(list(tmp_path.iterdir())) + 1:04}_more"
    (tmp_path / f"{later}.cql").write_text(
        "ALTER TABLE connector_cursor ADD IF NOT EXISTS note text;\nALTER TABLE keyring.data_key ADD IF NOT EXISTS hint text;"
    )
    assert migrate(store.driver, chosen, read_migrations(tmp_path), [], {KEYRING: KEYS}).migrations == [later]
    (tmp_path / f"{later}.cql").write_text("ALTER TABLE connector_cursor ADD IF NOT EXISTS other text;")
    with pytest.raises(Misconfigured, match=f"{later} is not what was applied"):
        migrate(store.driver, chosen, read_migrations(tmp_path), [], {KEYRING: KEYS})
    with pytest.raises(Misconfigured, match="does not know"):
        migrate(store.driver, chosen, read_migrations(MIGRATIONS), [], {KEYRING: KEYS})
    asyncio.run(store.write([RowWrite("schema_migration", ("applied", 3), None, time.time_ns() // 1000)]))


def test_a_partition_of_more_than_a_page_is_read_whole(store: CassandraStore) -> None:
    rows = [RowWrite("parked_record", ("g", 1, "c", 0, n), {}, 10) for n in range(12_000)]
    asyncio.run(store.write(rows[:6_000]))
    asyncio.run(store.write(rows[6_000:]))
    found = asyncio.run(ParkedCustomers(store).records(GroupVersion("g", 1), "c"))
    assert found == [(0, n) for n in range(12_000)]


def test_rows_of_many_empty_columns_are_read_however_many_there_are(store: CassandraStore) -> None:
    """An empty cell counts as a deleted one, and a server gives up at 100,000 of those in one page."""
    table = next(one for one in GROUPS["care"].tables() if one.name == "alert")
    empty: dict[str, Any] = dict.fromkeys((name for name in table.columns if name not in table.primary_key), None)
    keys = [("many", "team", "2026-01-12", n, f"a-{n}") for n in range(6_000)]
    asyncio.run(store.write([RowWrite(table.physical, key, {**empty, "state": "open"}, 10) for key in keys]))
    found = asyncio.run(store.read(table.physical, {"tenant": "many", "team": "team", "day": "2026-01-12"}))
    assert {row["alert_id"] for row in found} == {key[-1] for key in keys}
    assert sum(row["tenant"] == "many" for row in asyncio.run(store.scan(table.physical))) == len(keys)


def test_the_keyring_has_a_keyspace_of_its_own_over_the_same_connections(store: CassandraStore) -> None:
    keys = CassandraDataKeys(store.beside(KEYS, keyring_tables()), lambda: time.time_ns() // 1000)
    made = [
        WrappedKey(tenant="acme", handle_hash=bytes([n]) * 32, purpose="contact", key_id="k", wrapped=b"w", kek_id="kek", created_at_us=7)
        for n in range(40)
    ]
    asyncio.run(keys.insert_many(made))
    found = asyncio.run(keys.read_many([key.partition for key in made] + [KeyPartition("acme", b"\xff" * 32, "contact")]))
    assert found == {key.partition: [key] for key in made}


def test_a_table_that_was_never_created_is_said_by_name(stack: Any, store: CassandraStore) -> None:
    chosen = stack.settings_with(keyspace="no_such_keyspace")
    lost = store.beside(chosen.keyspace, control_tables())
    with pytest.raises(Misconfigured, match=r"no_such_keyspace.*store migrate"):
        asyncio.run(lost.load_checkpoints(GroupVersion("view", 1)))
    with pytest.raises(Misconfigured, match="store migrate"):
        asyncio.run(lost.save_checkpoints(GroupVersion("view", 1), {0: Checkpoint(1, 1, active=True, event_time_us=1)}))


def test_nobody_at_the_address_is_retryable(stack: Any) -> None:
    with pytest.raises(Retryable, match=r"connecting to 127\.0\.0\.1 at port 1 failed"):
        asyncio.run(CassandraStore.connect(stack.settings_with(cassandra_port=1)))


def test_the_loop_goes_on_while_a_poll_is_written(store: CassandraStore) -> None:
    """Waiting for the server takes none of the loop's time: it turns many times in each write."""

    async def scene() -> int:
        turns, stop = 0, asyncio.Event()

        async def watch() -> None:
            nonlocal turns
            while not stop.is_set():
                await asyncio.sleep(0)
                turns += 1

        watching = asyncio.create_task(watch())
        rows = [
            RowWrite("identity", ("acme", "email", f"{n:064}"), {"customer": "c" * 36, "generation": 1, "announced": True}, 10) for n in range(1_000)
        ]
        for _ in range(5):
            await store.write(rows)
        stop.set()
        await watching
        return turns

    assert asyncio.run(scene()) > 50


@pytest.mark.slow
def test_a_node_that_dies_is_retryable_and_nothing_acknowledged_is_lost(stack: Any, store: CassandraStore) -> None:
    partition = {"tenant": "acme", "source": "/mail"}
    row = RowWrite("connector_cursor", ("acme", "/mail"), {"cursor": "secret-17"}, 10)
    asyncio.run(store.write([row]))
    stack.kill("cassandra")
    try:
        with pytest.raises(Retryable, match="writing to connector_cursor failed") as raised:
            asyncio.run(store.write([RowWrite("connector_cursor", ("acme", "/mail"), {"cursor": "secret-18"}, 20)]))
        assert "secret" not in str(raised.value)
    finally:
        stack.repair()
    deadline = time.monotonic() + 90
    while True:
        try:
            found = asyncio.run(store.read("connector_cursor", partition))
            break
        except Retryable:
            assert time.monotonic() < deadline
            time.sleep(1)
    assert found[0]["cursor"] in {"secret-17", "secret-18"}
