"""Rows of any table that a projection keeps for its readers, in plain form: what somebody who has just written one wants to see.

Over the store port only. Figures (tables with `sums`) are added up over the Kafka partitions, as every reader of them does. Sealed
columns are never shown.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from projections.registry import GROUPS, VERSIONS
from projections.tables import Table
from schemas.codec import Codec
from streams.plain import RowForm, instant_us, is_time
from streams.store.columns import Row, count_map
from streams.store.port import CellValue, Store
from streams.versions.versions import Versions
from touchline.errors import Refused

__all__ = ["SCANNED_ROWS_MAX", "TableRows", "Tables", "Where", "rows_of", "tables_of", "wanted_of"]

SCANNED_ROWS_MAX: Final = 1_000_000
"""Rows that are looked at for one answer where the whole partition key is not given."""

_PART: Final = "src_partition"
_TRUTHS: Final = {"true": True, "false": False}
_ENGINES: Final = ("_state", "_timer", "_timer_bucket")

Where = Mapping[str, str | int]
"""The values that columns are to have."""


class Tables(NamedTuple):
    """The tables of a group in one version, by name."""

    group: str
    version: int
    tables: Mapping[str, Table]

    def find(self, name: str) -> Table:
        """Return one of them. Raises `Refused` naming those there are."""
        if name not in self.tables:
            raise Refused(f"{self.group} has no table {name[:60]!r}.", reason="unknown_table", next_step=f"choose from {', '.join(self.tables)}.")
        return self.tables[name]


class TableRows(msgspec.Struct, frozen=True, kw_only=True):
    """The rows that were asked for. `is_whole` is False where there are more of them, or the table was not read to its end."""

    group: str
    version: int
    table: str
    rows: tuple[dict[str, Any], ...]
    is_whole: bool

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        return {"group": self.group, "version": self.version, "table": self.table, "rows": list(self.rows), "whole": self.is_whole}


async def tables_of(store: Store, name: str, version: int | None) -> Tables:
    """Return the tables that readers use of a group, in the version that is asked for, by default the active one.

    Their shapes are the code's, of the newest version where the code no longer has the one in question. Raises `Refused` if there is
    no such group or version here, or none is active.
    """
    if name not in GROUPS:
        raise Refused(f"There is no group {name}.", reason="unknown_group", next_step=f"choose from {', '.join(GROUPS)}.")
    standing = await Versions(store).known(name)
    chosen = standing.active if version is None else version
    if not chosen:
        step = f"`touchline projection promote {name}`, or name a version: {name}@{max(standing.versions, default=1)}."
        raise Refused(f"No version of {name} is active yet.", reason="none_active", next_step=step)
    if standing.state(chosen) in {None, "retired"}:
        there = ", ".join(f"{number} ({standing.state(number)})" for number in sorted(standing.versions))
        raise Refused(f"{name} has no tables of version {chosen} here.", reason="no_version", next_step=f"its versions are {there}.")
    group = VERSIONS.get((name, chosen), GROUPS[name])
    return Tables(name, chosen, {table.name: table for table in group.tables() if not table.name.endswith(_ENGINES)})


def wanted_of(table: Table, where: Mapping[str, str]) -> Where:
    """Return the values that columns are to have, each of its column's type. Raises `Refused` for what cannot be compared."""
    return {column: _value(table, column, text) for column, text in where.items()}


async def rows_of(store: Store, tables: Tables, name: str, where: Mapping[str, str], *, limit: int) -> TableRows:
    """Read at most `limit` rows in which all columns of `where` have these values; by one read if they are a whole partition key.

    Raises `Refused` for an unknown table or column, `Retryable` as the store does.
    """
    table = tables.find(name)
    wanted, scanned = wanted_of(table, where), 0
    physical = f"{table.name}_v{tables.version}"
    taken = _Taken(table, wanted, limit)
    if all(column in wanted for column in table.partition_key):
        for row in await store.read(physical, {column: wanted[column] for column in table.partition_key}):
            taken.take(row)
    else:
        async for page in store.pages(physical):
            scanned += len(page)
            for row in page:
                taken.take(row)
            if taken.is_full or scanned >= SCANNED_ROWS_MAX:
                taken.stop()
                break
    return TableRows(group=tables.group, version=tables.version, table=table.name, rows=taken.rows(), is_whole=not taken.is_full)


class _Taken:
    """The rows that were taken so far. Those of one figure come behind each other, and are added up."""

    def __init__(self, table: Table, where: Where, limit: int) -> None:
        self.is_full = False
        self._form = RowForm(table, Codec())
        self._is_figure = "sums" in table.columns and table.primary_key[-1] == _PART
        self._key = table.primary_key[:-1] if self._is_figure else table.primary_key
        self._where = where
        self._limit = limit
        self._rows: dict[tuple[CellValue, ...], dict[str, Any]] = {}

    def take(self, row: Row) -> None:
        """Take a row if it is wanted and there is room for it."""
        if any(row[column] != value for column, value in self._where.items()):
            return
        key = tuple(row[name] for name in self._key)
        known = self._rows.get(key)
        if known is None and len(self._rows) >= self._limit:
            self.is_full = True
            return
        keys, columns = self._form.of(row)
        if self._is_figure:
            sums = Counter(known["sums"] if known else {})
            sums.update(count_map(row, "sums"))
            columns = {"sums": {name: n for name, n in sorted(sums.items()) if n}}
        self._rows[key] = {**{name: keys[name] for name in self._key}, **columns}

    def stop(self) -> None:
        """Note that the table was not read to its end: the figure at which reading stopped may lack a part, and goes."""
        if not self.is_full and self._is_figure and self._rows:
            self._rows.popitem()
        self.is_full = True

    def rows(self) -> tuple[dict[str, Any], ...]:
        """Return them, sorted by their keys; figures of which nothing is left are not there."""
        ordered = sorted(self._rows, key=lambda key: [(str(type(part)), part) for part in key])
        return tuple(self._rows[key] for key in ordered if not self._is_figure or self._rows[key]["sums"])


def _value(table: Table, column: str, text: str) -> str | int:
    kind = table.columns.get(column)
    if kind is None or column.startswith("sealed"):
        shown = ", ".join(name for name in table.columns if not name.startswith("sealed"))
        raise Refused(f"{table.name} has no column {column[:60]!r}.", reason="unknown_column", next_step=f"choose from {shown}.")
    try:
        if kind == "text":
            return text
        if kind == "boolean":
            return _TRUTHS[text.lower()]
        if kind in {"int", "bigint"}:
            return instant_us(text) if is_time(column, kind) and not text.lstrip("-").isdigit() else int(text)
    except (KeyError, ValueError):
        raise Refused(f"The value for {column} is no {kind}.", reason="bad_value", next_step="times are written 2026-01-12T09:00:00Z.") from None
    raise Refused(f"{table.name}.{column} is a {kind}, which cannot be compared here.", reason="bad_column", next_step="choose another column.")
