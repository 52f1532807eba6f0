"""Records that rebuilds left out, as the store has them: they stay left out in every later rebuild (engine.md §6).

Beside them lies where the records are that undone links took out: which those are follows from the log, but no row of the timeline says any
more where they lie.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from msgspec import json

from streams.store.columns import Row, integer, text
from streams.store.port import CellValue, GroupVersion, RowWrite, Store

__all__ = ["ExcludedRecords", "Exclusion", "Stood"]

_STOOD: Final = "#"
"""Before the offset of a rebuild: the row says how the customer stood."""

_APART: Final = "apart"
"""The scope of rows that say where something lies that an undone link took out: of no version, and of none that is left out for ever."""


class Exclusion(NamedTuple):
    """One record of a customer that a version of a group leaves out, since its rebuild at `rebuild_offset`.

    `id` is the event's, or `@<partition>:<offset>` where it has none that can be read; `partition` and `offset` say where it lies.
    """

    id: str
    reason: str
    partition: int
    offset: int
    rebuild_offset: int

    def names(self, partition: int, offset: int, event_id: str | None) -> bool:
        """Tell whether it is of the record at a place, which has this id, if that can be read; a repeat of an event is left out like it."""
        return self.id == f"@{partition}:{offset}" or (event_id is not None and self.id == event_id)

    def row(self, group: GroupVersion, customer: str, ts_us: int) -> RowWrite:
        """Return the row that says so; several versions may leave the same record out, each with a row of its own."""
        scope = group.part
        columns: dict[str, CellValue] = {
            "reason": self.reason,
            "scope": scope,
            "src_partition": self.partition,
            "src_offset": self.offset,
            "rebuild_offset": self.rebuild_offset,
        }
        return RowWrite("excluded_record", (customer, f"{scope} {self.id}"), columns, ts_us)

    @classmethod
    def of(cls, row: Row) -> "Exclusion":
        """Build it from a row of `excluded_record`."""
        id_ = text(row, "id").removeprefix(text(row, "scope", "") + " ")
        return cls(id_, text(row, "reason", ""), integer(row, "src_partition"), integer(row, "src_offset"), integer(row, "rebuild_offset"))


class Stood(NamedTuple):
    """How a customer stood when its rebuild at a place of the log began.

    `parked_at`: the first offset that waited (None: nothing did). `applied_offset` and `appended_us` are of the last record, or wake-up,
    that had led to anything (-1: none). It is noted before anything is changed, so that a rebuild that was cut off begins again from the same.
    `below_us`: every row of the customer was written below this timestamp (0: not known). Of one who waits that is long ago: meanwhile
    somebody else, to whom it is linked or no longer, may have written rows of the same keys.
    """

    parked_at: int | None
    applied_offset: int
    appended_us: int
    below_us: int = 0

    def row(self, group: GroupVersion, customer: str, rebuild_offset: int, ts_us: int) -> RowWrite:
        """Return the row that says so."""
        columns: dict[str, CellValue] = {"reason": json.encode(self).decode(), "scope": group.part, "rebuild_offset": rebuild_offset}
        return RowWrite("excluded_record", (customer, f"{group.part} {_STOOD}{rebuild_offset}"), columns, ts_us)


class ExcludedRecords:
    """Reads and writes them, and beside them how customers stood before their rebuilds."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self, group: GroupVersion, customer: str) -> list[Exclusion]:
        """Return what a version of a group leaves out of a customer's records."""
        rows = await self._store.read("excluded_record", {"customer": customer})
        return [Exclusion.of(row) for row in rows if row["scope"] == group.part and row["src_offset"] is not None]

    async def stood(self, group: GroupVersion, customer: str, rebuild_offset: int) -> Stood | None:
        """Return how a customer stood when this rebuild began; None if it never did."""
        wanted = f"{group.part} {_STOOD}{rebuild_offset}"
        rows = await self._store.read("excluded_record", {"customer": customer})
        return next((json.decode(text(row, "reason"), type=Stood) for row in rows if row["id"] == wanted), None)

    async def add(
        self,
        group: GroupVersion,
        customer: str,
        stood: Stood,
        exclusions: Iterable[Exclusion],
        apart: Iterable[tuple[int, int]] = (),
        *,
        rebuild_offset: int,
        ts_us: int,
    ) -> None:
        """Note that a rebuild begins: how the customer stands, and what else is left out. Repeating it changes nothing.

        `apart` are partition and offset of the records that an undone link takes out.
        """
        older = [
            RowWrite("excluded_record", (customer, text(row, "id")), None, ts_us)
            for row in await self._store.read("excluded_record", {"customer": customer})
            if row["scope"] == group.part and row["src_offset"] is None and integer(row, "rebuild_offset") < rebuild_offset
        ]
        noted = [one.row(group, customer, ts_us) for one in exclusions]
        noted += [_apart(customer, partition, offset, rebuild_offset, ts_us) for partition, offset in apart]
        await self._store.write([*older, stood.row(group, customer, rebuild_offset, ts_us), *noted])

    async def forget(self, group: GroupVersion, ts_us: int) -> None:
        """Forget what a version left out: it is gone, and learns it anew from the log when it is built again. Reads the whole table."""
        async for page in self._store.pages("excluded_record"):
            mine = [row for row in page if row["scope"] == group.part]
            await self._store.write([RowWrite("excluded_record", (text(row, "customer"), text(row, "id")), None, ts_us) for row in mine])


def _apart(customer: str, partition: int, offset: int, rebuild_offset: int, ts_us: int) -> RowWrite:
    columns: dict[str, CellValue] = {"scope": _APART, "src_partition": partition, "src_offset": offset, "rebuild_offset": rebuild_offset}
    return RowWrite("excluded_record", (customer, f"{_APART} @{partition}:{offset}"), columns, ts_us)
