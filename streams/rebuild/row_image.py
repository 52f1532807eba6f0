"""Rows as they stand after a number of writes, in memory: what a store would hold that had nothing else. Values only; nothing expires.

Writes are applied in the order in which they come, whatever their timestamps say: those of one subject come in the order of its log.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from projections.tables import Table
from streams.store.port import CellValue, RowWrite

__all__ = ["RowImage", "RowKey"]


class RowKey(NamedTuple):
    """Which row: its table by its physical name, and its primary key's values in order; without clustering values the static columns."""

    table: str
    key: tuple[str | int, ...]


class RowImage:
    """The rows of these tables. Each holds the cells that were written and not deleted since."""

    def __init__(self, tables: Iterable[Table], writes: Iterable[RowWrite] = ()) -> None:
        self._tables = {table.physical: table for table in tables}
        self._cells: dict[RowKey, dict[str, CellValue]] = {}
        self.apply(writes)

    def __len__(self) -> int:
        return len(self._cells)

    def __iter__(self) -> Iterator[RowKey]:
        return iter(self._cells)

    def apply(self, writes: Iterable[RowWrite]) -> None:
        """Take writes in, in order. A delete without clustering values takes the whole partition along."""
        for write in writes:
            at = RowKey(write.table, write.key)
            if write.columns is not None:
                self._upsert(at, write.columns)
            elif self._is_whole(at):
                self._cells.pop(at, None)
            else:
                width = len(write.key)
                for found in [known for known in self._cells if known.table == at.table and known.key[:width] == at.key]:
                    del self._cells[found]

    def cells(self, at: RowKey) -> dict[str, CellValue] | None:
        """Return what was written of a row, its key and its partition's static columns left out; None if it is not there."""
        return self._cells.get(at)

    def row(self, at: RowKey) -> dict[str, CellValue] | None:
        """Return a whole row as a store reads it, without columns that hold nothing; None if it is not there."""
        cells = self._cells.get(at)
        if cells is None:
            return None
        table = self._tables[at.table]
        static = self._cells.get(RowKey(at.table, at.key[: len(table.partition_key)]), {}) if table.static else {}
        return {**dict(zip(table.primary_key, at.key, strict=False)), **static, **cells}

    def rows(self) -> dict[str, list[dict[str, CellValue]]]:
        """Return all rows by their tables' logical names, as digests take them; static columns stand in every row of their partition."""
        found: dict[str, list[dict[str, CellValue]]] = {}
        lone = {at for at in self._cells if not self._is_whole(at)} - {self._home(at) for at in self._cells if self._is_whole(at)}
        for at in self._cells:
            if self._is_whole(at) or at in lone:
                found.setdefault(self._tables[at.table].name, []).append(self.row(at) or {})
        return found

    def _upsert(self, at: RowKey, columns: dict[str, CellValue]) -> None:
        static = self._tables[at.table].static
        here = {column: value for column, value in columns.items() if column not in static}
        if self._is_whole(at):
            self._set(at, here)
        if len(here) < len(columns):
            self._set(self._home(at), {column: value for column, value in columns.items() if column in static})

    def _set(self, at: RowKey, columns: dict[str, CellValue]) -> None:
        cells = self._cells.setdefault(at, {})
        for column, value in columns.items():
            if value is None:
                cells.pop(column, None)
            else:
                cells[column] = value

    def _home(self, at: RowKey) -> RowKey:
        return RowKey(at.table, at.key[: len(self._tables[at.table].partition_key)])

    def _is_whole(self, at: RowKey) -> bool:
        return len(at.key) == len(self._tables[at.table].primary_key)
