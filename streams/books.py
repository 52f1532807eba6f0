"""The rulebooks that one partition of the log has read for one tenant, and from which offset on each is in force there.

Each lies in the table `config_position`, whole, so that whoever takes the partition over has them by one read (docs/adr/0010).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

import msgspec

from projections.rules import Config, Rulebook
from streams.store.columns import Row, integer, text
from streams.store.port import CellValue, RowWrite
from streams.subjects import SubjectEntry

__all__ = ["Books", "Position", "positions"]

TABLE = "config_position"
_decode = msgspec.json.Decoder(Rulebook).decode


class Position(msgspec.Struct, frozen=True):
    """Where a rulebook came into a partition, and which."""

    tenant: str
    offset: int
    appended_us: int
    id: str
    book: Rulebook

    def row(self, partition: int, ts_us: int) -> RowWrite:
        """Return the row that says so."""
        book = self.book
        columns: dict[str, CellValue] = {
            "tenant": self.tenant,
            "appended_us": self.appended_us,
            "kind": "rules",
            "id": self.id,
            "config_version": book.version,
            "effective_at": book.effective_at_us,
            "body": msgspec.json.encode(book).decode(),
        }
        return RowWrite(TABLE, (partition, self.offset), columns, ts_us + 1)


def positions(rows: Iterable[Row]) -> list[Position]:
    """Return what the rows of a partition say, in the order of the log; a row without a body is of nothing that folds use."""
    return [
        Position(text(row, "tenant"), integer(row, "src_offset"), integer(row, "appended_us"), text(row, "id"), _decode(text(row, "body")))
        for row in rows
        if row["body"] is not None
    ]


class Books:
    """What a subject of the tenant has to hear of, in the order of the log. `base` was always there."""

    __slots__ = ("_configs", "appended_us", "offsets")

    def __init__(self, base: Config) -> None:
        self.offsets: list[int] = []
        self.appended_us: list[int] = []
        self._configs = [base]

    def add(self, offset: int, appended_us: int, book: Rulebook) -> bool:
        """Add the next one; False if its version was there already: a repeat changes nothing."""
        config = self._configs[-1].with_book(book)
        if config is self._configs[-1]:
            return False
        self.offsets.append(offset)
        self.appended_us.append(appended_us)
        self._configs.append(config)
        return True

    def before(self, offset: int) -> int:
        """Return how many were read before an offset."""
        return bisect_left(self.offsets, offset)

    def until(self, appended_us: int) -> int:
        """Return how many were appended by a time: for a subject that was folded elsewhere."""
        return bisect_right(self.appended_us, appended_us)

    def first(self, read: int) -> "Books":
        """Return the first `read` of them."""
        books = Books(self._configs[0])
        books.offsets, books.appended_us, books._configs = self.offsets[:read], self.appended_us[:read], self._configs[: read + 1]
        return books

    def heard(self, entry: SubjectEntry, partition: int, offset: int) -> int:
        """Return how many a subject has heard of whose first record here is at `offset`: a new one, all before it."""
        if entry.applied_offset < 0:
            return self.before(offset)
        return self.before(entry.applied_offset) if entry.applied_partition == partition else self.until(entry.appended_us)

    def reached(self, read: int, offset: int) -> int:
        """Return up to where one has come who was noticed at `offset` and has heard of `read`: not beyond the next, which would pass for heard."""
        return min(offset, self.offsets[read]) if read < len(self.offsets) else offset

    def config(self, read: int) -> Config:
        """Return the configuration after the first `read` of them."""
        return self._configs[read]
