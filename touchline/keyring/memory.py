"""A store of wrapped keys in memory: for tests and for runs that leave nothing behind."""

from collections.abc import AsyncIterator, Collection, Sequence

import msgspec

from schemas.sealing import KeyPage, KeyPartition, Purpose, WrappedKey

__all__ = ["MemoryKeyStore"]


class MemoryKeyStore:
    """A `DataKeyStore` and `AllDataKeys`. A row with the same key id is overwritten, unless it is destroyed: that is final."""

    __slots__ = ("_rows", "_writes", "_written")

    def __init__(self) -> None:
        self._rows: dict[KeyPartition, dict[str, WrappedKey]] = {}
        self._writes = 0
        self._written: dict[tuple[KeyPartition, str], int] = {}

    async def read(self, tenant: str, handle_hash: bytes, purpose: Purpose) -> list[WrappedKey]:
        """Read all keys of one partition in order of key id."""
        rows = self._rows.get(KeyPartition(tenant, handle_hash, purpose), {})
        return [rows[key_id] for key_id in sorted(rows)]

    async def read_many(self, keys: Collection[KeyPartition]) -> dict[KeyPartition, list[WrappedKey]]:
        """Read many partitions; those without a row are absent."""
        return {key: await self.read(*key) for key in keys if key in self._rows}

    async def insert(self, row: WrappedKey) -> None:
        """Insert one row; see the class."""
        rows = self._rows.setdefault(row.partition, {})
        if row.state == "destroyed" or row.key_id not in rows or rows[row.key_id].state == "active":
            self._put(row)

    async def insert_many(self, rows: Sequence[WrappedKey]) -> None:
        """Insert many rows."""
        for row in rows:
            await self.insert(row)

    async def pages(self) -> AsyncIterator[KeyPage]:
        """Read all rows, a partition at a time; here a page's time counts writings."""
        for key in list(self._rows):
            yield KeyPage(self._writes, await self.read(*key))

    async def rewrap_many(self, rows: Sequence[WrappedKey], read_at_us: int) -> None:
        """Write blob and `kek_id` of rows that were read then, unless they were written since."""
        for row in rows:
            found = self._rows.get(row.partition, {}).get(row.key_id)
            if found is not None and found.state == "active" and self._written[found.partition, found.key_id] <= read_at_us:
                self._put(msgspec.structs.replace(found, wrapped=row.wrapped, kek_id=row.kek_id))

    def __len__(self) -> int:
        """Count the rows."""
        return sum(map(len, self._rows.values()))

    def _put(self, row: WrappedKey) -> None:
        self._writes += 1
        self._rows.setdefault(row.partition, {})[row.key_id] = row
        self._written[row.partition, row.key_id] = self._writes

    def __repr__(self) -> str:
        """Show no row."""
        return f"MemoryKeyStore({len(self)} rows)"
