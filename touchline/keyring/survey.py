"""How many data keys there are, by key-encryption key, purpose and year; and how many were destroyed. Reads rows, unwraps none."""

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from schemas.sealing import AllDataKeys, Purpose
from touchline.keyring.shelf import year_of

__all__ = ["Count", "Survey", "survey"]


class Count(NamedTuple):
    """Data keys of one kind; `kek_id` is empty for destroyed ones."""

    kek_id: str
    purpose: Purpose
    year: int


class Survey:
    """What was counted: `active` by key-encryption key, purpose and year of making; `destroyed` by purpose and year."""

    def __init__(self) -> None:
        self.active: Counter[Count] = Counter()
        self.destroyed: Counter[Count] = Counter()

    def __len__(self) -> int:
        """Count all rows."""
        return self.active.total() + self.destroyed.total()

    def under(self, kek_ids: Collection[str]) -> int:
        """Return how many active ones are wrapped by one of these."""
        return sum(n for count, n in self.active.items() if count.kek_id in kek_ids)

    def not_under(self, kek_id: str) -> int:
        """Return how many active ones another key wraps."""
        return sum(n for count, n in self.active.items() if count.kek_id != kek_id)

    def keks(self) -> list[str]:
        """Return the key-encryption keys that wrap something."""
        return sorted({count.kek_id for count in self.active})

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        active = [{"kek": c.kek_id, "purpose": c.purpose, "year": c.year, "data_keys": n} for c, n in sorted(self.active.items())]
        destroyed = [{"purpose": c.purpose, "year": c.year, "data_keys": n} for c, n in sorted(self.destroyed.items())]
        return {"active": active, "destroyed": destroyed}


async def survey(store: AllDataKeys, tell: Callable[[int], None] = lambda _: None) -> Survey:
    """Count all rows, page by page; `tell` hears how many more were read. Raises `Retryable` as the store does."""
    found = Survey()
    async for page in store.pages():
        for row in page.rows:
            if row.state == "destroyed":
                found.destroyed[Count("", row.purpose, year_of(row.created_at_us))] += 1
            else:
                found.active[Count(row.kek_id, row.purpose, year_of(row.created_at_us))] += 1
        tell(len(page.rows))
    return found
