"""The store in Cassandra.

Whatever needs no connection lies beside: bytes (`encoding.py`), requests (`grouping.py`), ranges (`slices.py`), the bridge to asyncio
(`inflight.py`). Reads and writes are prepared, at LOCAL_QUORUM, and idempotent, since every row binds its timestamp.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from struct import Struct
from typing import Any, Self

from cassandra.query import BoundStatement, PreparedStatement

from projections.kernel import Subject
from projections.tables import Table
from streams.store.catalogue import known_tables
from streams.store.cells import cell_bytes, key_bytes, routing_key, value_readers
from streams.store.control import checkpoint_row, state_row, state_table_name
from streams.store.control import checkpoints as to_checkpoints
from streams.store.driver import Batch, Driver
from streams.store.encoding import TableEncoder
from streams.store.grouping import chunks, parts
from streams.store.inflight import InFlight, Request
from streams.store.port import Cells, CellValue, Checkpoint, GroupVersion, RowWrite, StateRow
from streams.store.shape import TableSet, check_key, partition_values
from streams.store.slices import Bound, Slice, select, select_many, slices, swap
from touchline.settings import Settings

__all__ = ["CassandraStore"]

_SIZE = Struct(">i")
_ALL_ROWS = 2**31 - 1
_PAGE_ROWS = 5000
_PAGE_CELLS = 50_000
"""Cells of a page at most, half of what a server gives up at (`tombstone_failure_threshold`): an empty one counts as deleted."""

_STATES_PER_READ = 30
"""States read by one request of one replica set: 18 µs of client CPU each instead of 96 with a request for each (`touchline bench`)."""


class CassandraStore:
    """The port over one keyspace. `connect` gives one; `beside` another on the same connections."""

    def __init__(self, driver: Driver, keyspace: str, tables: Iterable[Table], *, in_flight_max: int) -> None:
        self.driver = driver
        self.keyspace = keyspace
        self._tables = TableSet(tables)
        self._in_flight_max = in_flight_max
        self._requests: InFlight[list[Any]] = InFlight(in_flight_max)
        self._pages: InFlight[tuple[list[Any], bytes]] = InFlight(in_flight_max)
        self._encoders: dict[str, TableEncoder] = {}

    @classmethod
    async def connect(cls, settings: Settings, tables: Iterable[Table] | None = None, *, in_flight_max: int = 32) -> Self:
        """Connect to the keyspace of the settings. `tables` are by default all that migrations and registry know.

        Raises `Retryable` if no node answers. `in_flight_max` bounds the requests of all callers together.
        """
        known = list(known_tables() if tables is None else tables)
        driver = await asyncio.to_thread(Driver.open, settings)
        return cls(driver, settings.keyspace, known, in_flight_max=in_flight_max)

    def beside(self, keyspace: str, tables: Iterable[Table]) -> "CassandraStore":
        """Return a store of another keyspace over the same connections; closing either closes both."""
        return CassandraStore(self.driver, keyspace, tables, in_flight_max=self._in_flight_max)

    async def write(self, rows: Sequence[RowWrite]) -> None:
        """Write all rows; see the port. Hot path: 12 µs of client CPU a row in batches of 30, 5 of them encoding."""
        encoders = self._encoders
        for name in {row.table for row in rows} - encoders.keys():
            encoder = TableEncoder(self._tables.find(name), self.keyspace)
            await asyncio.to_thread(encoder.prepare, lambda cql: bytes(self.driver.prepare(cql).query_id))
            encoders[name] = encoder
        found = chunks(parts(rows, encoders), self.driver.ring(self.keyspace))
        await self._requests.all([partial(self.driver.send, Batch(chunk, self.keyspace), f"writing to {chunk.table}") for chunk in found])

    async def read(
        self,
        table: str,
        partition: Mapping[str, str | int],
        *,
        limit: int | None = None,
        after: Bound | None = None,
        upto: Bound | None = None,
    ) -> list[dict[str, CellValue]]:
        """Read one partition in clustering order; see the port. A table with mixed orders takes a request per range."""
        kind = self._tables.find(table)
        answer: list[dict[str, CellValue]] = []
        for part in slices(kind, after, upto):
            wanted = _ALL_ROWS if limit is None else limit - len(answer)
            if wanted > 0:
                answer += (await self._select(kind, [partition], part, wanted))[0]
        return answer

    async def read_many(self, table: str, partitions: Sequence[Mapping[str, str | int]]) -> list[list[dict[str, CellValue]]]:
        """Read several partitions; see the port."""
        return await self._select(self._tables.find(table), partitions, Slice(()), _ALL_ROWS)

    async def swap(self, table: str, key: tuple[str | int, ...], columns: Cells, *, expected: Cells | None) -> bool:
        """Change one row if it is as expected; see the port."""
        kind = self._tables.find(table)
        check_key(kind, RowWrite(table, key, dict(columns), 0))
        statement = await self._prepared(swap(kind, self.keyspace, list(columns), None if expected is None else list(expected)))
        set_values = [cell_bytes(kind, column, value) for column, value in columns.items()]
        keys = key_bytes(kind, key)
        bound = BoundStatement(statement)
        bound.values = [*keys, *set_values] if expected is None else [*set_values, *keys, *(cell_bytes(kind, c, v) for c, v in expected.items())]
        bound.is_idempotent = False
        [[answer]] = await self._requests.all([partial(self.driver.send, bound, f"changing {table}")])
        return bool(answer[0])

    async def pages(self, table: str) -> AsyncIterator[list[dict[str, CellValue]]]:
        """Read a whole table, page by page; see the port."""
        kind = self._tables.find(table)
        statement = await self._prepared(select(kind, self.keyspace))
        to_row, state = value_readers(kind), b""
        while True:
            bound = BoundStatement(statement, fetch_size=_page_rows(kind))
            [(rows, state)] = await self._pages.all([partial(self.driver.page, bound, f"scanning {table}", state)])
            yield list(map(to_row, rows))
            if not state:
                return

    async def scan(self, table: str) -> list[dict[str, CellValue]]:
        """Read a whole table; see the port."""
        kind = self._tables.find(table)
        statement = await self._prepared(select(kind, self.keyspace))
        [rows] = await self._requests.all([partial(self.driver.send, BoundStatement(statement, fetch_size=_page_rows(kind)), f"scanning {table}")])
        return list(map(value_readers(kind), rows))

    async def load_states(self, group: GroupVersion, subjects: Iterable[Subject]) -> dict[Subject, StateRow]:
        """Read the states of many subjects; see the port."""
        table = self._tables.find(state_table_name(group))
        statement = await self._prepared(select_many(table, self.keyspace))
        owner = self.driver.ring(self.keyspace)
        found: dict[tuple[bytes, int], list[list[bytes]]] = {}
        for subject in subjects:
            key = key_bytes(table, subject)
            found.setdefault((key[0], owner(routing_key(key))), []).append(key)
        cut = [keys[at : at + _STATES_PER_READ] for keys in found.values() for at in range(0, len(keys), _STATES_PER_READ)]
        answers = await self._requests.all([self._reading_many(statement, keys, table) for keys in cut])
        to_row = value_readers(table)
        rows: dict[Subject, list[dict[str, CellValue]]] = {}
        for row in chain.from_iterable(answers):
            rows.setdefault(Subject(row[0], row[1]), []).append(to_row(row))
        return {subject: state for subject, of_it in rows.items() if (state := state_row(of_it)) is not None}

    def _reading_many(self, statement: PreparedStatement, keys: list[list[bytes]], table: Table) -> Request[list[Any]]:
        """Return a request for partitions that differ in the last value of their keys only."""
        listed = [piece for *_, last in keys for piece in (_SIZE.pack(len(last)), last)]
        bound = BoundStatement(statement)
        bound.values = [*keys[0][:-1], b"".join([_SIZE.pack(len(keys)), *listed])]
        bound._routing_key = routing_key(keys[0])  # noqa: SLF001 - the driver would take the list for a key and ask any node
        return partial(self.driver.send, bound, f"reading {table.physical}")

    async def load_checkpoints(self, group: GroupVersion) -> dict[int, Checkpoint]:
        """Read the checkpoints of a group version; see the port."""
        return to_checkpoints(await self.read("projection_checkpoint", {"name": group.group, "version": group.version}))

    async def save_checkpoints(self, group: GroupVersion, checkpoints: Mapping[int, Checkpoint]) -> None:
        """Write the checkpoints of several partitions; see the port."""
        await self.write([checkpoint_row(group, partition, checkpoint) for partition, checkpoint in checkpoints.items()])

    async def close(self) -> None:
        """Release the connections; harmless when repeated."""
        await asyncio.to_thread(self.driver.close)

    async def _select(self, table: Table, partitions: Sequence[Mapping[str, str | int]], part: Slice, limit: int) -> list[list[dict[str, CellValue]]]:
        statement = await self._prepared(select(table, self.keyspace, part))
        bounds, last = part.packed(table), limit.to_bytes(4, "big")
        requests = []
        for partition in partitions:
            bound = BoundStatement(statement, fetch_size=_page_rows(table))
            bound.values = [*key_bytes(table, partition_values(table, partition)), *bounds, last]
            requests.append(partial(self.driver.send, bound, f"reading {table.physical}"))
        to_row = value_readers(table)
        return [list(map(to_row, rows)) for rows in await self._requests.all(requests)]

    async def _prepared(self, cql: str) -> PreparedStatement:
        return self.driver.prepared.get(cql) or await asyncio.to_thread(self.driver.prepare, cql)


def _page_rows(table: Table) -> int:
    """Return how many rows of a table a page may have."""
    return max(1, min(_PAGE_ROWS, _PAGE_CELLS // len(table.columns)))
