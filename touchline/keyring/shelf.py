"""A shelf: what the keyring knows of one handle's keys for one purpose, as of one reading of the store."""

from collections.abc import Sequence

from schemas.record import instant
from schemas.sealing import DataKey, Unreadable, WrappedKey

__all__ = ["Shelf", "year_of"]


def year_of(at_us: int) -> int:
    """Return the calendar year, UTC, of epoch microseconds."""
    return instant(at_us).year


class Shelf:
    """The rows of one partition of `data_key`, by key id, and those of the keys that were unwrapped.

    `current` is the key to seal with and `current_year` the year it was made in. `before` is an earlier reading of the same
    partition: keys whose row has not changed since need not be unwrapped again.
    """

    __slots__ = ("current", "current_year", "erased_at_us", "keys", "read_at_s", "rows")

    def __init__(self, rows: Sequence[WrappedKey], read_at_s: float, before: "Shelf | None" = None) -> None:
        self.rows = {row.key_id: row for row in rows}
        self.read_at_s = read_at_s
        self.erased_at_us = max((row.erased_at_us for row in rows if row.erased_at_us is not None), default=None)
        self.keys: dict[str, DataKey | Unreadable] = {}
        self.current: DataKey | None = None
        self.current_year = 0
        if before is not None:
            unwrapped = ((key_id, key) for key_id, key in before.keys.items() if isinstance(key, DataKey))  # what failed is tried again
            self.keys = {key_id: key for key_id, key in unwrapped if self.rows.get(key_id) == before.rows[key_id]}
            if before.current is not None and before.current.key_id in self.keys:
                self.current, self.current_year = before.current, before.current_year

    def erased(self, occurred_at_us: int) -> bool:
        """Tell whether an event of this time lies before an erasure of the handle."""
        return self.erased_at_us is not None and occurred_at_us <= self.erased_at_us

    def ready(self, year: int, latest_us: int) -> bool:
        """Tell whether events up to this event time can be sealed in this year without asking the store."""
        return self.erased(latest_us) or (self.current is not None and self.current_year == year)

    def locked(self, key_id: str) -> WrappedKey | None:
        """Return the row of an active key that was not unwrapped yet."""
        row = self.rows.get(key_id)
        return row if row is not None and row.state == "active" and key_id not in self.keys else None

    def candidates(self, year: int) -> list[WrappedKey]:
        """Return the keys made in a year, the one that everybody should use first."""
        rows = (row for row in self.rows.values() if row.state == "active" and year_of(row.created_at_us) == year)
        return sorted(rows, key=lambda row: (row.created_at_us, row.key_id))

    def use(self, row: WrappedKey, key: DataKey) -> None:
        """Seal with this key from now on."""
        self.rows[row.key_id] = row
        self.keys[row.key_id] = key
        self.current, self.current_year = key, year_of(row.created_at_us)

    def __repr__(self) -> str:
        """Show no key."""
        return f"Shelf({len(self.rows)} keys)"
