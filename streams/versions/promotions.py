"""Which version of a group speaks where in one partition of the log: engine.md §5. Values only.

A promotion is a record in every partition. Effects of records below it are the old version's, above it the new one's; effects of
timers are the old version's if their expiry moment lies before its append time, the new one's from there on. Both versions read
the same records and expire the same timers, so for each effect exactly one of them speaks: no gap, no overlap, and no clock.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Final, NamedTuple

from streams.store.columns import Row, integer
from streams.store.port import RowWrite

__all__ = ["TABLE", "Promotion", "Promotions", "promotions"]

TABLE: Final = "projection_promotion"


class Promotion(NamedTuple):
    """One promotion as a partition has it: where, when (append time, epoch µs), and of which version."""

    offset: int
    appended_us: int
    version: int

    def row(self, name: str, partition: int, ts_us: int) -> RowWrite:
        """Return the row that says so to whoever takes the partition over: the same whichever version writes it."""
        return RowWrite(TABLE, (name, partition, self.offset), {"version": self.version, "appended_us": self.appended_us}, ts_us + 1)


def promotions(rows: Iterable[Row]) -> list[Promotion]:
    """Return what the rows of a group and partition say, in the order of the log."""
    return [Promotion(integer(row, "src_offset"), integer(row, "appended_us"), integer(row, "version")) for row in rows]


class Promotions:
    """Who speaks where in one partition. `first` is the version that speaks below the first promotion."""

    __slots__ = ("_appended_us", "_offsets", "_versions")

    def __init__(self, first: int, read: Iterable[Promotion] = ()) -> None:
        self._offsets: list[int] = []
        self._appended_us: list[int] = []
        self._versions = [first]
        for promotion in read:
            self.add(promotion)

    def add(self, promotion: Promotion) -> bool:
        """Add the next one; False for a repeat: it is there already, or that version speaks anyhow."""
        if promotion.version == self._versions[-1] or (self._offsets and promotion.offset <= self._offsets[-1]):
            return False
        self._offsets.append(promotion.offset)
        self._appended_us.append(max(promotion.appended_us, self._appended_us[-1] if self._appended_us else 0))
        self._versions.append(promotion.version)
        return True

    @property
    def last(self) -> Promotion | None:
        """The newest promotion that was read here."""
        return Promotion(self._offsets[-1], self._appended_us[-1], self._versions[-1]) if self._offsets else None

    @property
    def speaker(self) -> int:
        """The version that speaks for records to come."""
        return self._versions[-1]

    def ended(self, version: int) -> Promotion | None:
        """Return the promotion with which a version last ceased to speak; None if it speaks, or never did."""
        if version == self.speaker or not self.spoke(version):
            return None
        n = max(at for at, one in enumerate(self._versions) if one == version)
        return Promotion(self._offsets[n], self._appended_us[n], self._versions[n + 1])

    def spoke(self, version: int) -> bool:
        """Tell whether a version speaks here, or did once."""
        return version in self._versions

    def matter(self, version: int) -> bool:
        """Tell whether there is anything but this version."""
        return bool(self._offsets) or self._versions[0] != version

    def of_record(self, offset: int) -> int:
        """Return the version that speaks for a record."""
        return self._versions[bisect_left(self._offsets, offset)]

    def of_timer(self, expires_us: int, noticed_at: int) -> int:
        """Return the version that speaks for a timer by its expiry moment, and by the offset of the record before which it expires.

        What is noticed below a promotion lies before it in time too, unless the broker's clock went back.
        """
        return self._versions[min(bisect_right(self._appended_us, expires_us), bisect_left(self._offsets, noticed_at))]
