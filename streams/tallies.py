"""Figures across customers: tallies of one Kafka partition added up into absolute rows (store.md §1.5). Over the store port only.

A row is its own state: its key ends in the Kafka partition, its `sums` are what that partition has counted up to `applied_offset`.
A tally of a record at or below that offset is in it already, so a batch that is folded again after a crash between the
fan-out and the subjects' own rows adds nothing, and one whose subjects' rows were written emits nothing. Readers add up at most
as many rows as there are partitions.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from projections.registry import Group
from projections.tables import Table
from streams.store.columns import count_map, integer
from streams.store.port import CellValue, RowWrite, Store
from streams.work import Tallied, Work

__all__ = ["CACHED_ROWS_MAX", "Tallies"]

CACHED_ROWS_MAX: Final = 50_000
"""Rows kept in memory: those of a day of 96 quarter hours, 50 queues and 10 channels."""

_NONE: Final = -1
_Key = tuple[str, tuple[str | int, ...]]


class _Row(msgspec.Struct):
    """What a row holds, and with which work it last changed: until that is written it stays in memory."""

    sums: dict[str, int]
    applied_offset: int
    ts_us: int = 0
    work_number: int = 0


class Tallies:
    """The rows of the open partitions of one group. `fresh`: the store was empty, so a row that was never here is nowhere."""

    def __init__(self, group: Group, store: Store, *, fresh: bool = False, cached_rows_max: int = CACHED_ROWS_MAX) -> None:
        self._tables: dict[str, Table] = {table.name: table for table in group.tables()}
        self._store = store
        self._fresh = fresh
        self._cached_rows_max = cached_rows_max
        self._rows: OrderedDict[_Key, _Row] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    async def add(self, works: Sequence[Work], work_number: int) -> None:
        """Add the tallies of works to their rows, and the rows as they then are to the fan-out of each. Raises `Retryable`.

        Only after all that is missing was read is anything changed, so it may be called again.
        """
        wanted = dict.fromkeys((one.tally.table, (*one.tally.key, work.partition)) for work in works for one in work.tallies)
        missing = [key for key in wanted if key not in self._rows]
        for key in wanted.keys() & self._rows.keys():
            self._rows[key].work_number = work_number  # none of them leaves while the others are read
        for key, row in zip(missing, await self._read(missing), strict=True):
            self._rows[key] = row
        for work in works:
            if work.tallies:
                work.fan_out.extend(self._add(work.partition, work.tallies, work_number))
                work.tallies.clear()

    def acknowledge(self, work_number: int) -> None:
        """Note that this work and all before it are written: their rows may leave the memory."""
        while len(self._rows) > self._cached_rows_max:
            key, row = next(iter(self._rows.items()))
            if row.work_number > work_number:
                return
            del self._rows[key]
            self._fresh = False

    def drop(self, partition: int) -> None:
        """Forget the rows of a partition that was given away."""
        for key in [key for key in self._rows if key[1][-1] == partition]:
            del self._rows[key]

    def _add(self, partition: int, tallied: Iterable[Tallied], work_number: int) -> list[RowWrite]:
        by_row: dict[_Key, list[Tallied]] = {}
        for one in tallied:
            by_row.setdefault((one.tally.table, (*one.tally.key, partition)), []).append(one)
        writes = []
        for key, found in by_row.items():
            row = self._rows[key]
            self._rows.move_to_end(key)
            new = [one for one in found if one.offset > row.applied_offset]
            if not new:
                continue
            for one in new:
                for name, n in one.tally.adds.items():
                    row.sums[name] = row.sums.get(name, 0) + n
                row.applied_offset = max(row.applied_offset, one.offset)
                row.ts_us = max(row.ts_us, one.ts_us)
            row.sums = {name: n for name, n in row.sums.items() if n}
            row.work_number = work_number
            columns: dict[str, CellValue] = {"sums": dict(row.sums), "applied_offset": row.applied_offset}
            writes.append(RowWrite(self._tables[key[0]].physical, key[1], columns, row.ts_us + 1))
        return writes

    async def _read(self, keys: Sequence[_Key]) -> list[_Row]:
        if self._fresh:
            return [_Row({}, _NONE) for _ in keys]
        return await asyncio.gather(*[self._read_one(*key) for key in keys])

    async def _read_one(self, name: str, key: tuple[str | int, ...]) -> _Row:
        """Read one row: what lies behind the partition before ours and up to ours."""
        table = self._tables[name]
        width = len(table.partition_key)
        *clustering, partition = key[width:]
        before = (*clustering, int(partition) - 1)
        rows = await self._store.read(
            table.physical, dict(zip(table.partition_key, key[:width], strict=True)), limit=1, after=before, upto=key[width:]
        )
        return _Row(count_map(rows[0], "sums"), integer(rows[0], "applied_offset", _NONE)) if rows else _Row({}, _NONE)
