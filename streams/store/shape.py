"""The tables that a store was opened with, and the rules that both stores apply to a row before they take it."""

import re
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Final

import msgspec

from projections.tables import Table
from streams.store.port import RowWrite
from touchline.errors import Misconfigured

__all__ = ["TableSet", "another_version", "check_key", "partition_values", "unknown_column"]

_VERSIONED: Final = re.compile(r"(?P<name>\w+?)_v(?P<version>\d+)(?P<kind>(_state|_timer|_timer_bucket)?)$")


class TableSet:
    """The tables of a keyspace by their physical names; those of versions that this code does not have, by `another_version`."""

    def __init__(self, tables: Iterable[Table]) -> None:
        self.by_name = {table.physical: table for table in tables}

    def find(self, physical: str) -> Table:
        """Return a table, or raise `Misconfigured` saying which are known."""
        table = self.by_name.get(physical) or another_version(self.by_name.values(), physical)
        if table is None:
            raise Misconfigured(
                f"the store knows no table {physical}; it knows {', '.join(sorted(self.by_name)) or 'none'}.",
                next_step="add it to a .cql beside its projection, or open the store with the tables of that version.",
            )
        return table


def another_version(tables: Iterable[Table], physical: str) -> Table | None:
    """Return the shape of a table (`clock_v7`, `care_v7_state`) by that of the newest version among `tables`; None if there is none.

    So readers can follow a version that their own code does not have, as long as its tables are of the same shape.
    """
    found = _VERSIONED.match(physical)
    if found is None:
        return None
    name = found["name"] + found["kind"]
    alike = [(int(it["version"]), table) for table in tables if table.name == name and (it := _VERSIONED.match(table.physical))]
    return msgspec.structs.replace(max(alike, key=itemgetter(0))[1], physical=physical) if alike else None


def check_key(table: Table, row: RowWrite) -> None:
    """Raise `Misconfigured` unless the row's key is a whole one or the partition's, and static columns are all it then sets."""
    given, whole, partition = len(row.key), len(table.partition_key) + len(table.clustering), len(table.partition_key)
    if given not in (whole, partition):
        raise Misconfigured(
            f"table {table.physical}: a key has {given} values instead of {whole} ({', '.join(table.primary_key)}).",
            next_step="correct the projection that writes it.",
        )
    if given < whole and row.columns is not None and not row.columns.keys() <= table.static:
        raise unknown_column(table, next(c for c in row.columns if c not in table.static), "static column")


def unknown_column(table: Table, column: str, what: str = "column beyond its key") -> Misconfigured:
    """Return the error for a column that a row of this table cannot set."""
    return Misconfigured(f"table {table.physical} has no {what} `{column}`.", next_step="correct its .cql or the projection that writes it.")


def partition_values(table: Table, partition: Mapping[str, str | int]) -> tuple[str | int, ...]:
    """Return the values of a partition key in the table's order, or raise `Misconfigured` unless exactly these are given."""
    if partition.keys() != set(table.partition_key):
        raise Misconfigured(
            f"table {table.physical} is read by {', '.join(table.partition_key)}, not by {', '.join(sorted(partition)) or 'nothing'}.",
            next_step="pass every column of the partition key and no other.",
        )
    return tuple(partition[column] for column in table.partition_key)
