"""Parked customers as the store has them: who waits in a group version, and which records of theirs."""

from streams.parking import ParkedCustomer
from streams.store.columns import integer
from streams.store.port import GroupVersion, RowWrite, Store

__all__ = ["ParkedCustomers"]


class ParkedCustomers:
    """Reads and removes what the engine writes by `ParkedCustomer.writes`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self, group: GroupVersion) -> list[ParkedCustomer]:
        """Return every parked customer of a group version, in order of customer."""
        rows = await self._store.read("parked_customer", {"name": group.group, "version": group.version})
        return [ParkedCustomer.from_row(row) for row in rows]

    async def records(self, group: GroupVersion, customer: str) -> list[tuple[int, int]]:
        """Return (partition, offset) of a customer's waiting records, in order."""
        rows = await self._store.read("parked_record", {"name": group.group, "version": group.version, "customer": customer})
        return [(integer(row, "src_partition"), integer(row, "src_offset")) for row in rows]

    async def remove(self, group: GroupVersion, customer: str, ts_us: int) -> None:
        """Forget a customer and the waiting records that were noted at `ts_us` or before: retried, or dropped."""
        key = (group.group, group.version, customer)
        await self._store.write([RowWrite("parked_customer", key, None, ts_us), RowWrite("parked_record", key, None, ts_us)])
