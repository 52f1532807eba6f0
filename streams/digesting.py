"""The digest of what a store holds for a group's readers: the same number for live, replay and simulate (engine.md §5).

Rows come page by page, are reduced at once, and are sorted on disk, in a temporary file that nobody else can see: a digest of any
number of rows takes little memory. It is the number that `projections.digest.digest` gives for rows that fit.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from hashlib import sha256
from typing import Any, Final

import msgspec

from projections.digest import Decode, encoded, linked_away, owner_of, reduced_row, sums_added
from projections.registry import Group
from projections.tables import Table, readers_use
from schemas.codec import Codec
from streams.customer_view import decoded
from streams.store.port import Store

__all__ = ["store_digest"]

_CACHE_KIB: Final = 32 * 1024
_TIMELINE: Final = "timeline"
_MONTHS: Final = "timeline_months"
_CUSTOMER: Final = "customer"

_ROW: Final = "CREATE TABLE row (name TEXT, key BLOB, cells BLOB, PRIMARY KEY (name, key)) WITHOUT ROWID"
_SHOWN: Final = "CREATE TABLE shown (month BLOB PRIMARY KEY) WITHOUT ROWID"
_ALL: Final = "SELECT cells FROM row WHERE name = ? ORDER BY cells"
_MONTHS_SHOWN: Final = "SELECT cells FROM row JOIN shown ON shown.month = row.key WHERE name = ? ORDER BY cells"
"""A month counts if a row of the timeline in it does."""


async def store_digest(store: Store, group: Group, codec: Codec | None = None) -> str:
    """Return the SHA-256, in hex, of a group's reader tables. Raises `Retryable` as the store does."""
    reader = codec or Codec()
    with closing(_SortedRows(lambda schema_id, body: decoded(reader, body, schema_id))) as rows:
        tables = [table for table in group.tables() if readers_use(table)]
        for table in tables:
            if table.name == _CUSTOMER:
                async for page in store.pages(table.physical):
                    rows.linked |= linked_away(page)
        for table in tables:
            async for page in store.pages(table.physical):
                rows.add(table, page)
        return rows.digest([table.name for table in tables])


class _SortedRows:
    """Reduced rows on disk: one per table and key, in the order of their bytes when they are asked for.

    `linked` are those whose rows do not count.
    """

    def __init__(self, decode: Decode) -> None:
        self.linked: set[tuple[str, str]] = set()
        self._decode = decode
        self._disk = sqlite3.connect("", isolation_level=None)
        for pragma in (f"cache_size = -{_CACHE_KIB}", "journal_mode = OFF", "synchronous = OFF"):
            self._disk.execute(f"PRAGMA {pragma}")
        self._disk.execute(_ROW)
        self._disk.execute(_SHOWN)
        self._disk.execute("BEGIN")  # and never ended: nothing is to be kept

    def close(self) -> None:
        """Let the file go."""
        self._disk.close()

    def add(self, table: Table, page: Iterable[Mapping[str, Any]]) -> None:
        """Add rows of one table; of two under one key the later one counts, partial values are added up."""
        is_figure, is_timeline = "sums" in table.columns, table.name == _TIMELINE
        rows: list[tuple[str, bytes, bytes]] = []
        months: set[bytes] = set()
        for row in page:
            found = reduced_row(table, row, decode=self._decode)
            if found is None or (self.linked and owner_of(row) in self.linked):
                continue
            key, cells = encoded(found[0]), found[1]
            if is_figure:
                self._add_figure(table.name, key, cells)
                continue
            rows.append((table.name, key, encoded(cells)))
            if is_timeline:
                months.add(encoded((cells["tenant"], cells["customer_id"], cells["month"])))
        self._disk.executemany("INSERT OR REPLACE INTO row VALUES (?, ?, ?)", rows)
        self._disk.executemany("INSERT OR IGNORE INTO shown VALUES (?)", [(month,) for month in months])

    def digest(self, names: Iterable[str]) -> str:
        """Return the hash of all rows of these tables."""
        names = sorted(names)
        hashed = sha256()
        for name in names:
            wanted = _MONTHS_SHOWN if name == _MONTHS and _TIMELINE in names else _ALL
            is_first = True
            for (cells,) in self._disk.execute(wanted, (name,)):
                if is_first:
                    hashed.update(encoded(name))
                    is_first = False
                hashed.update(cells)
        return hashed.hexdigest()

    def _add_figure(self, name: str, key: bytes, cells: dict[str, Any]) -> None:
        known = self._disk.execute("SELECT cells FROM row WHERE name = ? AND key = ?", (name, key)).fetchone()
        before = msgspec.msgpack.decode(known[0])["sums"] if known else None
        cells["sums"] = sums_added(before, cells.get("sums"))
        if cells["sums"]:
            self._disk.execute("INSERT OR REPLACE INTO row VALUES (?, ?, ?)", (name, key, encoded(cells)))
        else:  # a figure that comes to nothing is not there
            self._disk.execute("DELETE FROM row WHERE name = ? AND key = ?", (name, key))
