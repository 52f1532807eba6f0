"""The store in memory: the same port, the same answers as Cassandra, cell by cell. For tests and `simulate`.

Every write is an INSERT, here and in Cassandra: it also writes the row's marker, so a row with nothing but its key exists.
Per cell the greater timestamp wins; at equal ones a deleted cell, then one with a TTL, then the larger bytes. Deleting a
row hides what was written to it at that timestamp or before. Static columns belong to the partition and outlive its rows.

One thing it takes that Cassandra refuses: rows of one partition that are too large for one request.

Memory: everything ever written, and deleted rows too (their tombstones must go on hiding late writes); about 0.5 kB a row
of ten columns. Nothing is compacted: whoever simulates a year sizes the machine for its final tables.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import cast

import msgspec

from projections.kernel import Subject
from projections.tables import Table
from streams.store.cells import BAD_VALUE, SERIALISERS, Serialise, bad_value, key_bytes
from streams.store.control import checkpoint_row, checkpoints, state_row, state_table_name, subject_partition
from streams.store.port import Cells, CellValue, Checkpoint, GroupVersion, RowWrite, StateRow
from streams.store.shape import TableSet, check_key, partition_values, unknown_column
from streams.store.slices import Bound, check_bounds, in_bounds, sort_rows

__all__ = ["MemoryStore"]

_NEVER_US = -(2**63)


class _Cell(msgspec.Struct, frozen=True, gc=False):
    """One cell: when it was written, what (None = deleted), and the second in which it expires (None = never).

    This and `_Row` are kept from the garbage collector, which cost twice as much as the writing itself; they form no cycles.
    """

    ts_us: int
    value: CellValue
    expires_s: int | None

    def rank(self) -> tuple[int, int, int]:
        """Return what decides between two cells, before their bytes do."""
        kind = 2 if self.value is None else 0 if self.expires_s is None else 1
        return self.ts_us, kind, self.expires_s or 0

    def alive(self, now_s: int) -> bool:
        """Tell whether a reader sees it."""
        return self.value is not None and (self.expires_s is None or self.expires_s > now_s)


_NO_MARKER = _Cell(_NEVER_US, None, None)


class _Row(msgspec.Struct, gc=False):
    """One row: its tombstone, its cells, and its marker (what makes a row of only its key exist)."""

    deleted_us: int
    cells: dict[str, _Cell]
    marker: _Cell = _NO_MARKER

    def delete(self, ts_us: int) -> None:
        """Hide everything written at `ts_us` or before."""
        if ts_us > self.deleted_us:
            self.deleted_us = ts_us
            if self.marker.ts_us <= ts_us:
                self.marker = _NO_MARKER
            for column in [c for c, cell in self.cells.items() if cell.ts_us <= ts_us]:
                del self.cells[column]

    def values(self, columns: Iterable[str], now_s: int) -> dict[str, CellValue]:
        """Return the columns as a reader sees them."""
        cells = {column: self.cells.get(column) for column in columns}
        return {column: _copied(cell.value) if cell is not None and cell.alive(now_s) else None for column, cell in cells.items()}


class _Partition:
    """The rows of one partition by clustering key, and its static cells (a row without a marker)."""

    __slots__ = ("rows", "static")

    def __init__(self) -> None:
        self.rows: dict[Bound, _Row] = {}
        self.static = _Row(_NEVER_US, {})

    def add(self, clustering: Bound) -> _Row:
        """Add an empty row, under the partition's tombstone if it has one (which lies on its static row)."""
        row = self.rows[clustering] = _Row(self.static.deleted_us, {})
        return row


class _Kind:
    """A table with what a write needs at hand."""

    __slots__ = ("default_ttl_s", "partition_length", "partitions", "serialisers", "static", "table", "whole_length")

    def __init__(self, table: Table) -> None:
        self.table = table
        self.default_ttl_s = table.default_ttl_s
        self.static = table.static
        self.partition_length = len(table.partition_key)
        self.whole_length = len(table.primary_key)
        self.serialisers: dict[str, Serialise] = {c: SERIALISERS[kind] for c, kind in table.columns.items() if c not in table.primary_key}
        self.partitions: dict[Bound, _Partition] = {}


class MemoryStore:
    """Build it with the tables that it shall hold; `now_s` is the clock against which TTLs expire (by default it stands still)."""

    def __init__(self, tables: Iterable[Table], now_s: Callable[[], int] = lambda: 0) -> None:
        self._tables = TableSet(tables)
        self._now_s = now_s
        self._kinds: dict[str, _Kind] = {}
        self._swaps = 0

    def apply(self, rows: Iterable[RowWrite]) -> None:
        """Write rows at once, without an event loop. Hot path: 3 to 6 µs per row."""
        kinds = self._kinds
        for row in rows:
            self._apply(kinds.get(row.table) or self._kind(row.table), row)

    async def write(self, rows: Sequence[RowWrite]) -> None:
        """Write all rows, or none if one of them is refused."""
        kinds = self._kinds
        for row in rows:
            _check(kinds.get(row.table) or self._kind(row.table), row)
        self.apply(rows)

    async def read(
        self,
        table: str,
        partition: Mapping[str, str | int],
        *,
        limit: int | None = None,
        after: Bound | None = None,
        upto: Bound | None = None,
    ) -> list[dict[str, CellValue]]:
        """Read one partition in clustering order; see the port."""
        kind = self._kind(table)
        check_bounds(kind.table, after, upto)
        key = partition_values(kind.table, partition)
        found = kind.partitions.get(key)
        return [] if found is None else self._rows(kind, key, found, after, upto)[:limit]

    async def read_many(self, table: str, partitions: Sequence[Mapping[str, str | int]]) -> list[list[dict[str, CellValue]]]:
        """Read several partitions; see the port."""
        return [await self.read(table, partition) for partition in partitions]

    async def swap(self, table: str, key: tuple[str | int, ...], columns: Cells, *, expected: Cells | None) -> bool:
        """Change one row if it is as expected; see the port. The time stamps of such rows only count up."""
        kind = self._kind(table)
        width = kind.partition_length
        rows = await self.read(table, dict(zip(kind.table.partition_key, key[:width], strict=True)), upto=key[width:] or None)
        found = next((row for row in rows if tuple(row[column] for column in kind.table.primary_key) == key), None)
        if (found is not None) if expected is None else found is None or any(found[column] != value for column, value in expected.items()):
            return False
        self._swaps += 1
        await self.write([RowWrite(table, key, dict(columns), self._swaps)])
        return True

    async def pages(self, table: str) -> AsyncIterator[list[dict[str, CellValue]]]:
        """Read a whole table, a partition at a time; see the port."""
        kind = self._kind(table)
        for key in list(kind.partitions):
            yield self._rows(kind, key, kind.partitions[key], None, None)

    async def scan(self, table: str) -> list[dict[str, CellValue]]:
        """Read a whole table; see the port."""
        kind = self._kind(table)
        return [row for key, found in kind.partitions.items() for row in self._rows(kind, key, found, None, None)]

    async def load_states(self, group: GroupVersion, subjects: Iterable[Subject]) -> dict[Subject, StateRow]:
        """Read the states of many subjects; see the port."""
        table = state_table_name(group)
        found = {subject: state_row(await self.read(table, subject_partition(subject))) for subject in subjects}
        return {subject: row for subject, row in found.items() if row is not None}

    async def load_checkpoints(self, group: GroupVersion) -> dict[int, Checkpoint]:
        """Read the checkpoints of a group version; see the port."""
        return checkpoints(await self.read("projection_checkpoint", {"name": group.group, "version": group.version}))

    async def save_checkpoints(self, group: GroupVersion, checkpoints: Mapping[int, Checkpoint]) -> None:
        """Write checkpoints; see the port."""
        await self.write([checkpoint_row(group, partition, checkpoint) for partition, checkpoint in checkpoints.items()])

    async def close(self) -> None:
        """Keep everything: there is nothing to release."""

    def _kind(self, table: str) -> _Kind:
        kind = self._kinds.get(table)
        if kind is None:
            kind = self._kinds[table] = _Kind(self._tables.find(table))
        return kind

    def _apply(self, kind: _Kind, row: RowWrite) -> None:
        key, length, columns, ts_us = row.key, kind.partition_length, row.columns, row.ts_us
        partition_key = key[:length]
        partition = kind.partitions.get(partition_key)
        if partition is None:
            partition = kind.partitions[partition_key] = _Partition()
        if columns is None:
            self._delete(kind, partition, row)
            return
        ttl_s = kind.default_ttl_s if row.ttl_s is None else row.ttl_s
        expires_s = self._now_s() + ttl_s if ttl_s else None
        marker = _Cell(ts_us, True, expires_s)  # noqa: FBT003 - a value like any other
        target = partition.static
        if len(key) == kind.whole_length:
            clustering = key[length:]
            target = partition.rows.get(clustering) or partition.add(clustering)
            if ts_us > target.deleted_us:
                target.marker = marker if ts_us > target.marker.ts_us else _winner(target.marker, marker)
        static = kind.static
        for column, value in columns.items():
            into = partition.static if column in static else target
            if ts_us > into.deleted_us:
                old = into.cells.get(column)
                new = _Cell(ts_us, _copied(value), expires_s)
                into.cells[column] = new if old is None or ts_us > old.ts_us else _winner(old, new, kind.serialisers[column])

    def _delete(self, kind: _Kind, partition: _Partition, row: RowWrite) -> None:
        clustering = row.key[kind.partition_length :]
        if clustering or not kind.table.clustering:
            (partition.rows.get(clustering) or partition.add(clustering)).delete(row.ts_us)
            return
        partition.static.delete(row.ts_us)
        for found in partition.rows.values():
            found.delete(row.ts_us)

    def _rows(self, kind: _Kind, key: Bound, partition: _Partition, after: Bound | None, upto: Bound | None) -> list[dict[str, CellValue]]:
        table, now_s = kind.table, self._now_s()
        static = partition.static.values(kind.static, now_s)
        head = dict(zip(table.partition_key, key, strict=True))
        names = [c.column for c in table.clustering]
        regular = [c for c in kind.serialisers if c not in kind.static]
        answer: list[dict[str, CellValue]] = []
        for clustering in sort_rows([k for k in partition.rows if in_bounds(k, table.clustering, after, upto)], table.clustering):
            row = partition.rows[clustering]
            cells = row.values(regular, now_s)
            if row.marker.alive(now_s) or any(value is not None for value in cells.values()):
                answer.append({**head, **dict(zip(names, clustering, strict=True)), **static, **cells})
        if not answer and after is None and upto is None and any(value is not None for value in static.values()):
            answer.append({**head, **dict.fromkeys(names), **static, **dict.fromkeys(regular)})
        return answer


def _check(kind: _Kind, row: RowWrite) -> None:
    """Refuse what Cassandra would refuse."""
    check_key(kind.table, row)
    key_bytes(kind.table, row.key)
    serialisers, column = kind.serialisers, ""
    try:
        for column, value in (row.columns or {}).items():
            if value is not None:
                serialisers[column](value)
    except BAD_VALUE:
        raise bad_value(kind.table, column) from None
    except KeyError:
        raise unknown_column(kind.table, column) from None


def _copied(value: CellValue) -> CellValue:
    return cast("CellValue", value.copy()) if isinstance(value, dict) else value


def _winner(old: _Cell, new: _Cell, serialise: Serialise | None = None) -> _Cell:
    """Return the cell that Cassandra keeps of two (`Cells.resolveRegular`, `LivenessInfo.supersedes`)."""
    old_rank, new_rank = old.rank(), new.rank()
    if old_rank != new_rank or serialise is None or old.value is None:
        return new if new_rank > old_rank else old
    return new if serialise(new.value) > serialise(old.value) else old
