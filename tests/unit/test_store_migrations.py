"""Migrations are numbered, additive, each applied once under a lock, and never changed afterwards."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from projections.tables import Table, add_columns, parse_tables
from streams.store.catalogue import MIGRATIONS, control_tables, keyring_tables, known_tables
from streams.store.migration_files import migrated_tables, read_migrations
from streams.store.migrations import migrate
from touchline.errors import Misconfigured
from touchline.settings import Settings

OTHERS = {"keyring": "keys_x"}
SETTINGS = Settings(keyspace="main_x", keyring_keyspace="keys_x", replication_factor=3, local_dc="dc7")


class Cluster:
    """Remembers statements; answers what the migration asks of the system tables and the ledger."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.keyspaces: set[str] = set()
        self.ledger: dict[int, str] = {}
        self.columns: dict[str, dict[str, str]] = {}

    def execute(self, cql: str, parameters: Sequence[object] = (), *, timeout_s: float = 0) -> list[tuple[Any, ...]]:
        assert timeout_s >= 0
        if "system_schema.keyspaces" in cql:
            return [(name,) for name in self.keyspaces if name in parameters]
        if "system_schema.columns" in cql:
            return list(self.columns.get(str(parameters[1]), {}).items())
        if "'applied'" in cql and cql.startswith("SELECT"):
            return list(self.ledger.items())
        self.done.append(cql)
        if cql.startswith("CREATE KEYSPACE"):
            self.keyspaces.add(cql.split()[5])
        if cql.startswith("CREATE TABLE") and "schema_migration" not in cql:
            [table] = parse_tables(cql.replace("main_x.", "").replace("keys_x.", ""), None)
            self.columns[table.physical] = table.columns
        if "'applied'" in cql:
            self.ledger[int(str(parameters[0]))] = str(parameters[2])
        return [(True,)]


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name[1:]}.cql").write_text(text)
    return folder


def run(cluster: Cluster, tables: Sequence[Table] = ()) -> Any:
    return migrate(cluster, SETTINGS, read_migrations(MIGRATIONS), tables, OTHERS)


def test_a_fresh_cluster_gets_everything_and_a_second_run_does_nothing() -> None:
    cluster = Cluster()
    tables = known_tables()[len(control_tables()) :]
    first = run(cluster, tables)
    assert first.keyspaces == ["main_x", "keys_x"]
    assert [name[:4] for name in first.migrations] == ["0001", "0002", "0003", "0004", "0005", "0006", "0007"]
    assert first.tables == [table.physical for table in tables]
    assert any(statement.startswith("CREATE TABLE IF NOT EXISTS keys_x.data_key (") for statement in cluster.done)
    assert not run(cluster, tables).changed


def test_several_copies_mean_a_strategy_that_knows_data_centres() -> None:
    cluster = Cluster()
    run(cluster)
    assert cluster.done[0] == "CREATE KEYSPACE IF NOT EXISTS main_x WITH replication = {'class': 'NetworkTopologyStrategy', 'dc7': 3}"


def test_everything_after_the_ledger_happens_under_the_lock() -> None:
    cluster = Cluster()
    run(cluster, known_tables())
    assert "IF NOT EXISTS USING TTL" in cluster.done[3]
    assert "'lock'" in cluster.done[-1]
    assert cluster.done[-1].startswith("DELETE")


def test_a_changed_migration_is_refused_and_the_lock_given_back() -> None:
    cluster = Cluster()
    run(cluster)
    cluster.ledger[1] = "another sum"
    with pytest.raises(Misconfigured, match="0001_control is not what was applied"):
        run(cluster)
    assert cluster.done[-1].startswith("DELETE")


def test_a_keyspace_that_is_ahead_of_this_version_is_refused() -> None:
    cluster = Cluster()
    cluster.ledger[99] = "sum"
    with pytest.raises(Misconfigured, match="migration 0099"):
        run(cluster)


def test_a_new_column_is_added_and_a_changed_type_is_refused() -> None:
    cluster = Cluster()
    [old] = parse_tables("CREATE TABLE a_vN (id text, k text, n int, PRIMARY KEY ((id), k))", 1)
    run(cluster, [old])
    [new] = parse_tables("CREATE TABLE a_vN (id text, k text, n int, s text static, PRIMARY KEY ((id), k))", 1)
    assert run(cluster, [new]).columns == ["a_v1.s"]
    assert "ALTER TABLE main_x.a_v1 ADD IF NOT EXISTS s text static" in cluster.done
    [wrong] = parse_tables("CREATE TABLE a_vN (id text, k text, n bigint, PRIMARY KEY ((id), k))", 1)
    with pytest.raises(Misconfigured, match=r"a_v1\.n is int in Cassandra and bigint"):
        run(cluster, [wrong])


def test_comments_may_be_mended_and_statements_may_not(tmp_path: Path) -> None:
    [first] = read_migrations(write(tmp_path, _0001_a="CREATE TABLE IF NOT EXISTS a (id text PRIMARY KEY);"))
    [mended] = read_migrations(write(tmp_path, _0001_a="-- what it is for\nCREATE TABLE IF NOT EXISTS a (id text\n PRIMARY KEY);"))
    [changed] = read_migrations(write(tmp_path, _0001_a="CREATE TABLE IF NOT EXISTS a (id int PRIMARY KEY);"))
    assert first.checksum == mended.checksum != changed.checksum


def test_a_later_migration_may_add_a_column(tmp_path: Path) -> None:
    write(tmp_path, _0001_a="CREATE TABLE IF NOT EXISTS a (id text PRIMARY KEY);", _0002_b="ALTER TABLE a ADD IF NOT EXISTS n frozen<set<text>>;")
    [table] = migrated_tables(read_migrations(tmp_path))
    assert table.columns == {"id": "text", "n": "frozen<set<text>>"}
    assert read_migrations(tmp_path)[1].qualified("ks", {}) == ["ALTER TABLE ks.a ADD IF NOT EXISTS n frozen<set<text>>"]
    with pytest.raises(Misconfigured):
        add_columns(table, {"c": "counter"})


@pytest.mark.parametrize(
    "files",
    [
        {"_0001_a": "DROP TABLE a"},
        {"_0001_a": "CREATE TABLE a (id text PRIMARY KEY)"},
        {"_0001_a": "ALTER TABLE a DROP n"},
        {"_0002_a": "CREATE TABLE IF NOT EXISTS a (id text PRIMARY KEY)"},
        {"_one": "CREATE TABLE IF NOT EXISTS a (id text PRIMARY KEY)"},
    ],
)
def test_what_is_not_additive_or_not_numbered_is_refused(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(Misconfigured):
        read_migrations(write(tmp_path, **files))


def test_the_control_tables_are_known_without_a_server() -> None:
    names = {table.physical for table in control_tables()}
    assert names >= {"projection_checkpoint", "parked_customer", "parked_record", "ingest_manifest", "identity", "schema_migration"}
    assert [table.physical for table in keyring_tables()] == ["data_key"]
    assert {table.physical for table in known_tables()} >= names | {"view_v1_state", "timeline_v1"}
