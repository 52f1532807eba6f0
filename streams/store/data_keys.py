"""The keyring's table, `data_key`: wrapped keys by handle and purpose. Sees no key in the clear and no handle but its hash.

Active rows are written at the wall clock. A destroyed one is final, so it is written a day ahead: no clock that is behind, and no
writer that raced, can bring its key back (a plain delete from a clock two seconds behind was measured to be ignored).
"""

from collections.abc import Callable, Collection, Sequence

import msgspec

from schemas.sealing import KeyPartition, Purpose, WrappedKey
from streams.store.columns import Row, blob, integer, text
from streams.store.port import CellValue, RowWrite, Store
from streams.store.ticks import Ticks

__all__ = ["CassandraDataKeys"]

_DESTROYED_AHEAD_US = 86_400_000_000


class CassandraDataKeys:
    """A `DataKeyStore` over a store of the keyring's keyspace: `store.beside(settings.keyring_keyspace, keyring_tables())`."""

    def __init__(self, store: Store, now_us: Callable[[], int]) -> None:
        self._store = store
        self._ticks = Ticks(now_us)

    async def read(self, tenant: str, handle_hash: bytes, purpose: Purpose) -> list[WrappedKey]:
        """Read all keys of one partition, destroyed ones included, in order of key id."""
        return list(map(_key, await self._store.read("data_key", _partition(KeyPartition(tenant, handle_hash, purpose)))))

    async def read_many(self, keys: Collection[KeyPartition]) -> dict[KeyPartition, list[WrappedKey]]:
        """Read many partitions at once; those without a row are absent from the answer."""
        found = await self._store.read_many("data_key", [_partition(key) for key in keys])
        return {key: list(map(_key, rows)) for key, rows in zip(keys, found, strict=True) if rows}

    async def insert(self, row: WrappedKey) -> None:
        """Insert one row plainly; one with the same key id is overwritten, unless that one is destroyed."""
        await self.insert_many([row])

    async def insert_many(self, rows: Sequence[WrappedKey]) -> None:
        """Insert many rows."""
        await self._store.write([self._write(row) for row in rows])

    def _write(self, row: WrappedKey) -> RowWrite:
        columns: dict[str, CellValue] = {"wrapped": row.wrapped, "kek_id": row.kek_id, "state": row.state, "created_at": row.created_at_us}
        if row.erased_at_us is not None:
            columns["erased_at"] = row.erased_at_us
        at_us = self._ticks.next_us() + (_DESTROYED_AHEAD_US if row.state == "destroyed" else 0)
        return RowWrite("data_key", (row.tenant, row.handle_hash.hex(), row.purpose, row.key_id), columns, at_us)


def _partition(key: KeyPartition) -> dict[str, str | int]:
    return {"tenant": key.tenant, "handle_hash": key.handle_hash.hex(), "purpose": key.purpose}


def _key(row: Row) -> WrappedKey:
    return msgspec.convert(
        {
            "tenant": text(row, "tenant"),
            "handle_hash": bytes.fromhex(text(row, "handle_hash")),
            "purpose": text(row, "purpose"),
            "key_id": text(row, "key_id"),
            "wrapped": blob(row, "wrapped", b""),
            "kek_id": text(row, "kek_id", ""),
            "state": text(row, "state"),
            "created_at_us": integer(row, "created_at", 0),
            "erased_at_us": row["erased_at"],
        },
        WrappedKey,
    )
