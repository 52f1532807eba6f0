"""A log that a simulation keeps on disk, so that what lies under one key can be found again: what `History` is to a worker."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from streams.rebuild.history import Place, PlacedRecord
from streams.records import RawRecord
from streams.store.excluded import Exclusion
from streams.store.port import GroupVersion
from touchline.errors import Refused

__all__ = ["KeptLog"]

_PORTION: Final = 1_000
_TABLE: Final = """
CREATE TABLE record (place INTEGER PRIMARY KEY, key BLOB, value BLOB, appended_us INTEGER);
CREATE INDEX by_key ON record (key, place);
"""
_KEEP: Final = "INSERT INTO record VALUES (?, ?, ?, ?)"
_PLACES: Final = "SELECT place FROM record WHERE key = ? AND place < ? ORDER BY place LIMIT ?"
_FIND: Final = "SELECT place, key, value, appended_us FROM record WHERE place = ?"


class KeptLog:
    """One partition, 0. `disk` is the caller's, and is left inside a transaction without end. Hot path: 4 µs a record."""

    def __init__(self, disk: sqlite3.Connection) -> None:
        self._disk = disk
        self._waiting: list[tuple[int, bytes, bytes, int]] = []
        disk.executescript(_TABLE)
        disk.execute("BEGIN")  # and never ended: nothing is to be kept

    def put(self, record: RawRecord) -> None:
        """Keep a record; it is written with the next thousand, or when somebody asks."""
        self._waiting.append((record.offset, record.key or b"", record.value, record.appended_us))
        if len(self._waiting) >= _PORTION:
            self._write()

    async def places(self, tenant: str, customer: str, upto: int, *, view: GroupVersion, places_max: int) -> list[Place]:  # noqa: ARG002 - as `History`
        """Return where the records of a customer lie, below an offset. Raises `Refused` above `places_max`."""
        self._write()
        found = [Place(0, place) for (place,) in self._disk.execute(_PLACES, (customer.encode(), upto, places_max + 1))]
        if len(found) > places_max:
            raise Refused(f"Customer {customer} has more than {places_max:,} records.", reason="history_too_long", next_step="keep them apart.")
        return found

    async def records(self, places: Sequence[Place]) -> list[PlacedRecord]:
        """Return the records at these places, in their order."""
        self._write()
        found = [self._disk.execute(_FIND, (place.offset,)).fetchone() for place in places]
        return [PlacedRecord(0, RawRecord(*row)) for row in found if row is not None]

    async def excluded(self, customer: str, group: GroupVersion) -> list[Exclusion]:  # noqa: ARG002 - as `History`
        """Return nothing: in a simulation nobody is rebuilt."""
        return []

    def _write(self) -> None:
        if self._waiting:
            self._disk.executemany(_KEEP, self._waiting)
            self._waiting.clear()
