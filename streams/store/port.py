"""The store port: all that the engine's drivers, readers and commands ask of a store. Two implementations, one conformance suite.

Time stamps are bound by the caller, never taken from a clock: see `RowWrite.ts_us`.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from projections.kernel import Subject

__all__ = ["CellValue", "Cells", "Checkpoint", "GroupVersion", "RowWrite", "StateRow", "Store"]

CellValue = str | int | float | bool | bytes | None | tuple[str, ...] | frozenset[str] | dict[str, str] | dict[str, bytes] | dict[str, int]

Cells = Mapping[str, CellValue]
"""Columns of a row by their names."""


class GroupVersion(NamedTuple):
    """A group of projections in one version: the unit that runs, commits and has tables (`<table>_v<version>`)."""

    group: str
    version: int

    def __str__(self) -> str:
        """Return it as people write it: `care v1`."""
        return f"{self.group} v{self.version}"

    @property
    def part(self) -> str:
        """Its name as a part of a worker, in logs and consumer groups: `care.v1`."""
        return f"{self.group}.v{self.version}"


class RowWrite(msgspec.Struct, frozen=True, gc=False):
    """One row to write, or to delete where `columns` is None.

    `table` is the physical name (`timeline_v1`; control tables have no version). `key` are the primary key's values in
    order. A whole key may come with static columns too; a key of only the partition key's length writes static columns,
    and with `columns` None deletes the whole partition. `ts_us` is the write timestamp in µs: the greater one wins per
    cell; at equal ones a delete wins, then the larger bytes. `ttl_s` None = the table's default, which is for ever unless
    its `.cql` says otherwise; 0 = for ever. A column that is absent from `columns` is not touched; None clears it.
    Every write is an INSERT: with a whole key the row exists afterwards, even if `columns` is empty.
    """

    table: str
    key: tuple[str | int, ...]
    columns: dict[str, CellValue] | None
    ts_us: int
    ttl_s: int | None = None


class StateRow(msgspec.Struct, frozen=True, gc=False):
    """What is stored of a subject in a group: `blobs` by projection, MessagePack; the rest is common to the group.

    `timers` are those that are armed, MessagePack too (`streams/armed.py`); empty: none. So are `ties` (`streams/ties.py`).
    """

    blobs: dict[str, bytes]
    recent_ids: bytes
    applied_partition: int
    applied_offset: int
    appended_us: int
    timers: bytes = b""
    ties: bytes = b""


class Checkpoint(msgspec.Struct, frozen=True):
    """How far a group version has come in one partition. The one truth: Kafka's committed offset is only for lag displays.

    `active`: it speaks for its group from here on. `importing`: the log is being imported here (`streams/taking.py`).
    """

    next_offset: int
    write_ts_us: int
    active: bool
    event_time_us: int
    oldest_timer_bucket: int = 0
    importing: bool = False


class Store(Protocol):
    """Rows in, rows out. Transient trouble raises `touchline.errors.Retryable`; callers back off and try again."""

    async def write(self, rows: Sequence[RowWrite]) -> None:
        """Write all rows; rows of one partition key (same values, any table of the keyspace) are written atomically.

        Returns when every one is acknowledged at LOCAL_QUORUM. Repeating it with the same rows changes nothing. Nothing is
        written if a row is refused: `Poison` (a value that its column cannot hold, a row above 480 KiB),
        `Misconfigured` (an unknown table or column). After `Retryable` any part may have been written: write all again.
        """
        ...

    async def load_states(self, group: GroupVersion, subjects: Iterable[Subject]) -> dict[Subject, StateRow]:
        """Read the state rows of many subjects at once; subjects without one are absent from the answer."""
        ...

    async def load_checkpoints(self, group: GroupVersion) -> dict[int, Checkpoint]:
        """Read the checkpoint of every partition that has one."""
        ...

    async def save_checkpoints(self, group: GroupVersion, checkpoints: Mapping[int, Checkpoint]) -> None:
        """Write checkpoints by partition, each at its `write_ts_us`, in one request; an older one never overwrites a newer one."""
        ...

    async def read(
        self,
        table: str,
        partition: Mapping[str, str | int],
        *,
        limit: int | None = None,
        after: tuple[str | int, ...] | None = None,
        upto: tuple[str | int, ...] | None = None,
    ) -> list[dict[str, CellValue]]:
        """Read one partition of a physical table in clustering order, as dictionaries of all columns.

        `after` (exclusive) and `upto` (inclusive) bound it by a prefix of the clustering key, in the table's own order.
        Static columns stand in every row; a partition that has only static columns gives one row in which the clustering
        columns are None, unless the read is bounded.
        """
        ...

    async def read_many(self, table: str, partitions: Sequence[Mapping[str, str | int]]) -> list[list[dict[str, CellValue]]]:
        """Read several whole partitions at once, answers in the order of `partitions`; bounded in flight."""
        ...

    async def swap(self, table: str, key: tuple[str | int, ...], columns: Cells, *, expected: Cells | None) -> bool:
        """Change one row if it is as `expected`, by a lightweight transaction; tell whether it was changed.

        `expected` None: there is no such row, and `columns` make it; else these columns hold these values (None: nothing). The
        server stamps it: for rows that `write` never touches (identity claims, versions), store.md §1.3. After `Retryable` it
        may have been done all the same: read before trying again.
        """
        ...

    def pages(self, table: str) -> AsyncIterator[list[dict[str, CellValue]]]:
        """Read a whole table of any size, some thousand rows at a time; rows of one partition come behind each other."""
        ...

    async def scan(self, table: str) -> list[dict[str, CellValue]]:
        """Read a whole table (digests, checks and small control tables; bounded by the caller's knowledge of it)."""
        ...

    async def close(self) -> None:
        """Release connections; harmless when repeated."""
        ...
