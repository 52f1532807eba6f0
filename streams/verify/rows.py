"""The rows of single customers in both versions, whole: read where they lie, for the second look at those who may differ.

Where the rows lie of tables that are not kept by customer (open clocks by team, alerts by day) is gathered in one reading of those
tables. The places of both versions together are read in both, so a row that one of them lacks is missed in neither.
"""

from collections.abc import Callable, Collection
from typing import Final

from projections.digest import owner_of
from projections.tables import Table
from streams.store.columns import Row, text
from streams.store.port import CellValue, Store
from streams.verify.sides import Pair, Sides
from streams.verify.sums import Customer

__all__ = ["ROWS_MAX", "CustomerRows", "Found"]

ROWS_MAX: Final = 200_000
"""Rows of one customer in one version that are held at once; with more he is told of as too large to compare."""

Found = dict[str, list[dict[str, CellValue]]]
"""Rows by logical table name."""

_Partition = tuple[str, tuple[str | int, ...]]
_OF_CUSTOMER: Final = ("tenant", "customer_id")
_TIMELINE: Final = "timeline"
_MONTHS: Final = "timeline_months"


class CustomerRows:
    """Reads the rows of some customers: `gather` first, then `read` each; `forget` between those who are looked at together."""

    def __init__(self, store: Store, sides: Sides) -> None:
        self._store = store
        self._sides = sides
        self._names = {pair.name for pair in sides.pairs}
        self._places: dict[Customer, set[_Partition]] = {}
        self._shared: dict[_Partition, list[dict[str, CellValue]]] = {}

    async def gather(self, customers: Collection[Customer], told: Callable[[int], None] | None = None) -> None:
        """Note where the rows of these customers lie, and forget those of others. `told` hears of the rows read so far."""
        wanted = set(customers)
        self._places = {}
        n = 0
        for pair in self._sides.pairs:
            if pair.is_figures or self._is_known(pair):
                continue
            for table in pair:
                async for page in self._store.pages(table.physical):
                    n += len(page)
                    self._note(table, page, wanted)
                    if told:
                        told(n)

    async def read(self, customer: Customer, side: int) -> Found | None:
        """Return a customer's rows in one version (0 the active one, 1 the candidate); None if there are more than `ROWS_MAX`."""
        found: Found = {}
        n = 0
        for pair in self._sides.pairs:
            if pair.is_figures:
                continue
            rows = found[pair.name] = []
            for partition in await self._partitions(customer, pair, side):
                own = [row for row in await self._partition(pair, side, partition) if owner_of(row) == customer]
                rows += own
                n += len(own)
                if n > ROWS_MAX:
                    return None
        return found

    def forget(self) -> None:
        """Forget the partitions that several customers share: the next ones are read anew."""
        self._shared.clear()

    async def _partition(self, pair: Pair, side: int, partition: tuple[str | int, ...]) -> list[dict[str, CellValue]]:
        """Read a partition; one that is not a customer's own once for all who are looked at together."""
        table = pair[side]
        known = self._shared.get((table.physical, partition))
        if known is not None:
            return known
        rows = await self._store.read(table.physical, dict(zip(table.partition_key, partition, strict=True)))
        if not self._is_known(pair):
            self._shared[table.physical, partition] = rows
        return rows

    def _is_known(self, pair: Pair) -> bool:
        """Tell whether it needs no gathering: the customer says where his rows are."""
        return pair.active.partition_key == _OF_CUSTOMER or (pair.name == _TIMELINE and _MONTHS in self._names)

    async def _partitions(self, customer: Customer, pair: Pair, side: int) -> list[tuple[str | int, ...]]:
        if not self._is_known(pair):
            return sorted((partition for name, partition in self._places.get(customer, ()) if name == pair.name), key=repr)
        if pair.name != _TIMELINE:
            return [customer]
        months = await self._store.read(
            next(months for months in self._sides.pairs if months.name == _MONTHS)[side].physical, dict(zip(_OF_CUSTOMER, customer, strict=True))
        )
        return [(*customer, text(month, "month")) for month in months]

    def _note(self, table: Table, page: list[dict[str, CellValue]], wanted: set[Customer]) -> None:
        width = table.partition_key
        for row in page:
            customer = owner_of(row)
            if customer in wanted:
                self._places.setdefault(customer, set()).add((table.name, _values(row, width)))


def _values(row: Row, columns: tuple[str, ...]) -> tuple[str | int, ...]:
    return tuple(value for column in columns if isinstance(value := row[column], str | int))
