"""Dropping the tables of a version that is retired. The one place where a table is ever dropped."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec

from projections.registry import GROUPS, VERSIONS
from projections.tables import Table
from streams.store.port import GroupVersion
from touchline.errors import Misconfigured
from touchline.settings import Settings

__all__ = ["CassandraTables", "Executor", "Tables", "tables_of"]

DDL_TIMEOUT_S: Final = 60.0


class Executor(Protocol):
    """Runs one CQL statement and waits for it (`streams.store.driver.Driver`); `%s` stands for a parameter."""

    def execute(self, cql: str, parameters: Sequence[object] = (), *, timeout_s: float = ...) -> list[tuple[Any, ...]]:
        """Return the rows. Raises `Retryable` or `Misconfigured`."""
        ...


class Tables(Protocol):
    """What retiring asks of a keyspace. Blocking."""

    def existing(self, names: Iterable[str]) -> list[str]:
        """Return those of these physical names that are there, sorted."""
        ...

    def drop(self, name: str) -> None:
        """Drop a table; harmless when repeated."""
        ...


class CassandraTables:
    """The tables of the product's keyspace. Where the server takes snapshots of what is dropped, they stay on its disks."""

    def __init__(self, cluster: Executor, settings: Settings) -> None:
        self._cluster = cluster
        self._keyspace = settings.keyspace

    def existing(self, names: Iterable[str]) -> list[str]:
        """Ask the schema."""
        rows = self._cluster.execute("SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s", (self._keyspace,))
        return sorted({str(name) for (name,) in rows} & set(names))

    def drop(self, name: str) -> None:
        """Drop it."""
        self._cluster.execute(f"DROP TABLE IF EXISTS {self._keyspace}.{name}", timeout_s=DDL_TIMEOUT_S)


def tables_of(group: GroupVersion) -> list[Table]:
    """Return the tables of a version. One that this code no longer has is taken to have had those of the newest that it has.

    Names are made from what the registry knows, never guessed from what the keyspace holds: `clock_v1` and `crop_v1` may be two
    groups'. Raises `Misconfigured` if this code does not know the group at all.
    """
    found = VERSIONS.get((group.group, group.version))
    if found is not None:
        return list(found.tables())
    newest = GROUPS.get(group.group)
    if newest is None:
        raise Misconfigured(f"this code has no group {group.group}.", next_step="run the code that has it, in any version.")
    was, now = f"_v{newest.version}", f"_v{group.version}"
    return [msgspec.structs.replace(table, physical=_renamed(table, was, now)) for table in newest.tables()]


def _renamed(table: Table, was: str, now: str) -> str:
    """Return the physical name in another version: `clock_v2` or `care_v2_state`."""
    head, found, tail = table.physical.rpartition(was)
    if not found or (tail and not tail.startswith("_")):
        raise Misconfigured(f"the table {table.physical} does not say its version.", next_step=f"name it <table>{was}.")
    return f"{head}{now}{tail}"
