"""All records of one customer, found by the rows that say where they lie: engine.md §6. Reads only; folding them is `streams/rebuild/lone.py`.

Every record of a customer but wake-ups has a row in the timeline of the active view version, hidden ones too. Records that wait have
their places in `parked_record`, those that a rebuild left out, or an undone link took out, in `excluded_record`. Agents and plans have no
timeline: their records are found by reading their partition (`History.keyed`).
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol, runtime_checkable

from projections.kernel import Config
from projections.registry import GROUPS
from streams.books import TABLE as BOOKS_TABLE
from streams.books import Books, positions
from streams.records import Batch, RawRecord
from streams.store.columns import Row, integer, text
from streams.store.excluded import ExcludedRecords, Exclusion
from streams.store.parked import ParkedCustomers
from streams.store.port import GroupVersion, Store
from streams.versions.versions import Versions
from touchline.errors import Refused

__all__ = ["RECORDS_MAX", "VIEW", "History", "Place", "PlacedRecord", "RangeReader", "RecordReader"]

RECORDS_MAX: Final = 500_000
"""Records of one customer that are read into memory: ten a day for a hundred years."""

VIEW: Final = "view"
"""The group whose timeline says where records lie."""

_PAGE_ROWS: Final = 2000


class Place(NamedTuple):
    """Where a record lies in the log."""

    partition: int
    offset: int


class PlacedRecord(NamedTuple):
    """A record and the partition in which it lies."""

    partition: int
    record: RawRecord

    @property
    def place(self) -> Place:
        """Where it lies."""
        return Place(self.partition, self.record.offset)


class RecordReader(Protocol):
    """Reads records at their offsets: a `LogReader`, or a log in memory."""

    def records(self, partition: int, offsets: Iterable[int]) -> Iterator[RawRecord]:
        """Yield the records at these offsets, in order of offset; blocking."""
        ...


@runtime_checkable
class RangeReader(RecordReader, Protocol):
    """Reads ranges of the log too."""

    def batches(self, partition: int, first: int, end: int, records_max: int = 20_000) -> Iterator[Batch]:
        """Yield the records in [first, end), in order; blocking."""
        ...


class History:
    """Finds and reads the records of customers. One at a time: the reader is not for several threads."""

    def __init__(self, store: Store, reader: RecordReader) -> None:
        self._store = store
        self._reader = reader
        self._parked = ParkedCustomers(store)
        self._lock = asyncio.Lock()

    async def view(self) -> GroupVersion:
        """Return the version of the view group whose timeline says where records lie: the active one."""
        standing = await Versions(self._store).read(VIEW)
        return GroupVersion(VIEW, standing.active if standing and standing.active else GROUPS[VIEW].version)

    async def places(
        self,
        tenant: str,
        customer: str,
        upto: int | None = None,
        *,
        group: GroupVersion | None = None,
        view: GroupVersion | None = None,
        places_max: int | None = None,
    ) -> list[Place]:
        """Return where a customer's records lie, in order of partition and offset; only those at offsets below `upto`, if given.

        Those that wait in the view group are among them, and those that wait in `group`; excluded ones too. A copy of a record
        (the same id at another offset) may be missing: it leads to nothing. `view` is the version whose timeline is asked, by default
        the active one. Raises `Refused` above `places_max`, by default `RECORDS_MAX`, `Retryable` as the store does.
        """
        view, places_max = view or await self.view(), places_max or RECORDS_MAX
        found: set[Place] = set()
        owner: dict[str, str | int] = {"tenant": tenant, "customer_id": customer}
        for month in await self._store.read(f"timeline_months_v{view.version}", owner):
            await self._add_bucket(found, f"timeline_v{view.version}", {**owner, "month": text(month, "month")}, upto, places_max)
        for version in {view, group or view}:
            found.update(place for place in map(Place._make, await self._parked.records(version, customer)) if _is_below(place, upto))
        for row in await self._store.read("excluded_record", {"customer": customer}):
            _add(found, row, upto)
        if len(found) > places_max:
            raise _too_many(customer, places_max)
        return sorted(found)

    async def records(self, places: Sequence[Place]) -> list[PlacedRecord]:
        """Read the records at these places, in order of partition and offset. Raises `Misconfigured` if the log no longer has one."""
        by_partition: dict[int, list[int]] = {}
        for partition, offset in places:
            by_partition.setdefault(partition, []).append(offset)
        async with self._lock:
            return await asyncio.to_thread(self._read, by_partition)

    async def keyed(self, partition: int, key: str, upto: int) -> list[PlacedRecord]:
        """Return every record below `upto` under a key, wake-ups too, by reading the whole partition: for agents, who have no timeline.

        Raises as `records`, and `Refused` above `RECORDS_MAX`, or where the log can only be read record by record.
        """
        async with self._lock:
            return await asyncio.to_thread(self._scan, partition, key.encode(), upto)

    async def books(self, tenant: str, partition: int, config: Config | None = None) -> Books | None:
        """Return the rulebooks that a partition has read for a tenant; None if there are none. `config` is in force before them."""
        books = Books(config or Config())
        for position in positions(await self._store.read(BOOKS_TABLE, {"partition": partition})):
            if position.tenant == tenant:
                books.add(position.offset, position.appended_us, position.book)
        return books if books.offsets else None

    async def excluded(self, customer: str, group: GroupVersion) -> list[Exclusion]:
        """Return the records of a customer that a version of a group leaves out since a rebuild."""
        return await ExcludedRecords(self._store).load(group, customer)

    def _read(self, by_partition: dict[int, list[int]]) -> list[PlacedRecord]:
        return [
            PlacedRecord(partition, record)
            for partition, offsets in sorted(by_partition.items())
            for record in self._reader.records(partition, offsets)
        ]

    def _scan(self, partition: int, key: bytes, upto: int) -> list[PlacedRecord]:
        if not isinstance(self._reader, RangeReader):
            raise Refused("This log is not read in ranges.", reason="no_ranges", next_step="read it from the broker.")
        found: list[PlacedRecord] = []
        for batch in self._reader.batches(partition, 0, upto):
            found += [PlacedRecord(partition, record) for record in batch.records if record.key == key]
            if len(found) > RECORDS_MAX:
                raise _too_many(key.decode("utf-8", "replace"), RECORDS_MAX)
        return found

    async def _add_bucket(self, found: set[Place], table: str, bucket: dict[str, str | int], upto: int | None, places_max: int) -> None:
        """Add the places of one bucket of a timeline, a page at a time."""
        after: tuple[str | int, ...] | None = None
        while True:
            rows = await self._store.read(table, bucket, limit=_PAGE_ROWS, after=after)
            for row in rows:
                _add(found, row, upto)
            if len(found) > places_max:
                raise _too_many(str(bucket["customer_id"]), places_max)
            if len(rows) < _PAGE_ROWS:
                return
            after = (integer(rows[-1], "occurred_at"), text(rows[-1], "event_id"))


def _add(found: set[Place], row: Row, upto: int | None) -> None:
    partition, offset = row["src_partition"], row["src_offset"]
    if isinstance(partition, int) and isinstance(offset, int) and _is_below(place := Place(partition, offset), upto):
        found.add(place)


def _is_below(place: Place, upto: int | None) -> bool:
    return upto is None or place.offset < upto


def _too_many(customer: str, most: int) -> Refused:
    return Refused(
        f"Customer {customer} has more than {most:,} records: too many to fold at once.",
        reason="history_too_long",
        next_step="build a new version of the group instead: `touchline projection build`.",
    )
