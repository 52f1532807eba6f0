"""The keyring's table, `data_key`: wrapped keys by handle and purpose. Sees no key in the clear and no handle but its hash.

Active rows are written at the wall clock. A destroyed one is final, so it is written a day ahead: no clock that is behind, and no
writer that raced, can bring its key back (a plain delete from a clock two seconds behind was measured to be ignored).

A key that is wrapped anew is written at the time before it was read: whatever happened to the row since then wins. The cell `wrapped`
also names its key-encryption key, so that of two such writes one wins whole, even where their times are equal; the column `kek_id`
says the same for people.
"""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Final

import msgspec

from schemas.sealing import KeyPage, KeyPartition, Purpose, WrappedKey
from streams.store.columns import Row, blob, integer, text
from streams.store.port import CellValue, RowWrite, Store
from streams.store.ticks import Ticks

__all__ = ["CassandraDataKeys"]

_DESTROYED_AHEAD_US: Final = 86_400_000_000
_NAMED: Final = b"\x02"
"""Begins a cell that names its key: then the name's length in 2 bytes, the name, the blob. No blob of the local wrapper begins so."""

_NAME_AT: Final = 3


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

    async def pages(self) -> AsyncIterator[KeyPage]:
        """Read all rows, page by page, destroyed ones included."""
        pages = self._store.pages("data_key")
        while True:
            read_at_us = self._ticks.next_us()
            rows = await anext(pages, None)
            if rows is None:
                return
            yield KeyPage(read_at_us, list(map(_key, rows)))

    async def rewrap_many(self, rows: Sequence[WrappedKey], read_at_us: int) -> None:
        """Write blob and `kek_id` of rows that were read at that time; see the module."""
        cells: list[dict[str, CellValue]] = [{"wrapped": _named(row), "kek_id": row.kek_id} for row in rows]
        await self._store.write([RowWrite("data_key", _primary(row), columns, read_at_us) for row, columns in zip(rows, cells, strict=True)])

    def _write(self, row: WrappedKey) -> RowWrite:
        columns: dict[str, CellValue] = {"wrapped": _named(row), "kek_id": row.kek_id, "state": row.state, "created_at": row.created_at_us}
        if row.erased_at_us is not None:
            columns["erased_at"] = row.erased_at_us
        at_us = self._ticks.next_us() + (_DESTROYED_AHEAD_US if row.state == "destroyed" else 0)
        return RowWrite("data_key", _primary(row), columns, at_us)


def _partition(key: KeyPartition) -> dict[str, str | int]:
    return {"tenant": key.tenant, "handle_hash": key.handle_hash.hex(), "purpose": key.purpose}


def _primary(row: WrappedKey) -> tuple[str, ...]:
    return row.tenant, row.handle_hash.hex(), row.purpose, row.key_id


def _named(row: WrappedKey) -> bytes:
    """Return the cell `wrapped`; that of a destroyed key is empty."""
    if not row.wrapped:
        return b""
    name = row.kek_id.encode()
    return b"".join((_NAMED, len(name).to_bytes(2, "big"), name, row.wrapped))


def _unnamed(cell: bytes, kek_id: str) -> tuple[bytes, str]:
    """Return (blob, key-encryption key) of a cell; one without a name is as the column says."""
    if cell[:1] != _NAMED:
        return cell, kek_id
    end = _NAME_AT + int.from_bytes(cell[1:_NAME_AT], "big")
    return cell[end:], cell[_NAME_AT:end].decode(errors="replace")


def _key(row: Row) -> WrappedKey:
    wrapped, kek_id = _unnamed(blob(row, "wrapped", b""), text(row, "kek_id", ""))
    return msgspec.convert(
        {
            "tenant": text(row, "tenant"),
            "handle_hash": bytes.fromhex(text(row, "handle_hash")),
            "purpose": text(row, "purpose"),
            "key_id": text(row, "key_id"),
            "wrapped": wrapped,
            "kek_id": kek_id,
            "state": text(row, "state"),
            "created_at_us": integer(row, "created_at", 0),
            "erased_at_us": row["erased_at"],
        },
        WrappedKey,
    )
