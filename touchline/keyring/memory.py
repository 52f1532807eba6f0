"""A store of wrapped keys in memory: for tests and for runs that leave nothing behind."""

from collections.abc import Collection, Sequence

from schemas.sealing import KeyPartition, Purpose, WrappedKey

__all__ = ["MemoryKeyStore"]


class MemoryKeyStore:
    """A `DataKeyStore`. A row with the same key id is overwritten, unless it is destroyed: that is final."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: dict[KeyPartition, dict[str, WrappedKey]] = {}

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
            rows[row.key_id] = row

    async def insert_many(self, rows: Sequence[WrappedKey]) -> None:
        """Insert many rows."""
        for row in rows:
            await self.insert(row)

    def __len__(self) -> int:
        """Count the rows."""
        return sum(map(len, self._rows.values()))

    def __repr__(self) -> str:
        """Show no row."""
        return f"MemoryKeyStore({len(self)} rows)"
