"""Bringing a cluster's keyspaces and tables up to date: under a lock, one statement at a time, additive only, repeatable.

First the numbered files (`migrations/`), each once and with its checksum on record; then the versioned tables of every group
of projections, which are created when they are missing and given the columns that their `.cql` has got since.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol
from uuid import uuid4

import msgspec

from projections.tables import Table
from streams.store.migration_files import Migration
from streams.wall_clock import now_us
from touchline.errors import Misconfigured, Retryable
from touchline.settings import Settings

__all__ = ["Executor", "Report", "create_tables", "migrate"]

LOCK_TTL_S = 300
"""After this a lock whose holder died is free again; a whole migration takes about ten seconds."""

LOCK_WAIT_S = 60.0
DDL_TIMEOUT_S = 30.0

_LEDGER = """CREATE TABLE IF NOT EXISTS {keyspace}.schema_migration (
    scope text, number int, name text, checksum text, holder text, applied_at bigint, PRIMARY KEY ((scope), number)
) WITH compaction = {{'class': 'UnifiedCompactionStrategy'}}"""

_APPLIED = "SELECT number, checksum FROM {keyspace}.schema_migration WHERE scope = 'applied'"
_NOTE = "INSERT INTO {keyspace}.schema_migration (scope, number, name, checksum, applied_at) VALUES ('applied', %s, %s, %s, %s)"
_TAKE = "INSERT INTO {keyspace}.schema_migration (scope, number, holder) VALUES ('lock', 0, %s) IF NOT EXISTS USING TTL {ttl_s}"
_GIVE_BACK = "DELETE FROM {keyspace}.schema_migration WHERE scope = 'lock' AND number = 0 IF holder = %s"


class Executor(Protocol):
    """Runs one CQL statement and waits for it (`streams.store.driver.Driver`); `%s` stands for a parameter."""

    def execute(self, cql: str, parameters: Sequence[object] = (), *, timeout_s: float = ...) -> list[tuple[Any, ...]]:
        """Return the rows. Raises `Retryable` or `Misconfigured`."""
        ...


class Report(msgspec.Struct):
    """What a run did. Empty lists: everything was there already."""

    keyspaces: list[str] = []
    migrations: list[str] = []
    tables: list[str] = []
    columns: list[str] = []

    @property
    def changed(self) -> bool:
        """Tell whether anything was done."""
        return bool(self.keyspaces or self.migrations or self.tables or self.columns)


def migrate(cluster: Executor, settings: Settings, migrations: Sequence[Migration], tables: Iterable[Table], others: dict[str, str]) -> Report:
    """Do what is missing and say what. Blocks; may be run again at any time, and by several processes at once.

    `tables` are the projections', `others` the real names of keyspaces that migrations name. Raises `Misconfigured` for a
    migration whose checksum has changed or a column whose type has, `Retryable` while another process holds the lock.
    """
    report = Report()
    keyspace = settings.keyspace
    for name in (keyspace, *others.values()):
        _create_keyspace(cluster, name, settings, report)
    cluster.execute(_LEDGER.format(keyspace=keyspace), timeout_s=DDL_TIMEOUT_S)
    with _lock(cluster, keyspace):
        applied = dict(cluster.execute(_APPLIED.format(keyspace=keyspace)))
        _check_ledger(applied, migrations)
        for migration in migrations:
            if migration.number not in applied:
                _apply(cluster, keyspace, migration, others)
                report.migrations.append(f"{migration.number:04}_{migration.name}")
        for table in tables:
            _bring_up(cluster, keyspace, table, report)
    return report


def create_tables(cluster: Executor, settings: Settings, tables: Iterable[Table]) -> Report:
    """Create the tables of a version that is going to be built, in a keyspace that was migrated before. Blocks; raises as `migrate` does."""
    report = Report()
    with _lock(cluster, settings.keyspace):
        for table in tables:
            _bring_up(cluster, settings.keyspace, table, report)
    return report


def _create_keyspace(cluster: Executor, name: str, settings: Settings, report: Report) -> None:
    if cluster.execute("SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = %s", (name,)):
        return
    copies = settings.replication_factor
    replication = (
        "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        if copies == 1
        else f"{{'class': 'NetworkTopologyStrategy', '{settings.local_dc}': {copies}}}"
    )
    cluster.execute(f"CREATE KEYSPACE IF NOT EXISTS {name} WITH replication = {replication}", timeout_s=DDL_TIMEOUT_S)
    report.keyspaces.append(name)


@contextmanager
def _lock(cluster: Executor, keyspace: str) -> Iterator[None]:
    """Hold the lock row: the one place, with identity claims and versions, where a lightweight transaction is right."""
    holder = uuid4().hex
    deadline = time.monotonic() + LOCK_WAIT_S
    take = _TAKE.format(keyspace=keyspace, ttl_s=LOCK_TTL_S)
    while not cluster.execute(take, (holder,), timeout_s=DDL_TIMEOUT_S)[0][0]:
        if time.monotonic() > deadline:
            raise Retryable(
                f"another process is migrating {keyspace}.",
                next_step=f"wait for it; the lock of one that died is free after {LOCK_TTL_S} s.",
            )
        time.sleep(0.5)
    try:
        yield
    finally:
        cluster.execute(_GIVE_BACK.format(keyspace=keyspace), (holder,), timeout_s=DDL_TIMEOUT_S)


def _check_ledger(applied: dict[int, str], migrations: Sequence[Migration]) -> None:
    for migration in migrations:
        if applied.get(migration.number, migration.checksum) != migration.checksum:
            raise Misconfigured(
                f"migration {migration.number:04}_{migration.name} is not what was applied here: its statements have changed since.",
                next_step="restore the file as it was, and put the change into a new migration.",
            )
    newer = sorted(applied.keys() - {migration.number for migration in migrations})
    if newer:
        raise Misconfigured(
            f"this keyspace has migration {newer[-1]:04}, which this version of Touchline does not know.", next_step="run the newer version."
        )


def _apply(cluster: Executor, keyspace: str, migration: Migration, others: dict[str, str]) -> None:
    for statement in migration.qualified(keyspace, others):
        cluster.execute(statement, timeout_s=DDL_TIMEOUT_S)
    row = (migration.number, migration.name, migration.checksum, now_us())
    cluster.execute(_NOTE.format(keyspace=keyspace), row)


def _bring_up(cluster: Executor, keyspace: str, table: Table, report: Report) -> None:
    """Create a projection's table, or add the columns that it lacks; refuse one that has another shape."""
    found = {
        column: "".join(kind.split())
        for column, kind in cluster.execute(
            "SELECT column_name, type FROM system_schema.columns WHERE keyspace_name = %s AND table_name = %s", (keyspace, table.physical)
        )
    }
    if not found:
        cluster.execute(table.cql(keyspace), timeout_s=DDL_TIMEOUT_S)
        report.tables.append(table.physical)
        return
    for column, kind in table.columns.items():
        if column not in found and column not in table.primary_key:
            static = " static" if column in table.static else ""
            cluster.execute(f"ALTER TABLE {keyspace}.{table.physical} ADD IF NOT EXISTS {column} {kind}{static}", timeout_s=DDL_TIMEOUT_S)
            report.columns.append(f"{table.physical}.{column}")
        elif found.get(column) != kind:
            raise Misconfigured(
                f"{table.physical}.{column} is {found.get(column, 'missing')} in Cassandra and {kind} in its .cql.",
                next_step="raise the group's version: a change of type or key is a new version.",
            )
