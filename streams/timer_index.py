"""The index of timers by hour, so that whoever takes a partition over finds them: rows written and read. Over the store port only.

A row is one subject's earliest timer when it was written. Rows are never deleted: what a row says is asked of the subject's state, and
it expires 90 days after it stopped to matter (docs/adr/0011).
"""

from collections.abc import Iterable
from typing import Final

from projections.kernel import Subject
from projections.tables import timer_tables
from streams.armed import Due
from streams.store.columns import integer, text
from streams.store.port import CellValue, GroupVersion, RowWrite, Store
from streams.timers import hour_of

__all__ = ["PAGE_ROWS", "TimerIndex"]

KEPT_S: Final = 90 * 86_400
"""How long after its expiry moment, and after it was written, a row stays."""

PAGE_ROWS: Final = 5000


class TimerIndex:
    """Reads and writes the index of one group version."""

    def __init__(self, store: Store, group: GroupVersion) -> None:
        self._store = store
        self._index, self._buckets = (table.physical for table in timer_tables(*group))
        self._said: set[tuple[int, int]] = set()

    def rows(self, partition: int, timers: Iterable[Due], now_us: int) -> list[RowWrite]:
        """Return the rows that say when these subjects' timers expire; a bucket is said once."""
        rows = []
        for due in timers:
            if due.next is None or due.indexed:
                continue
            expires_us, due_us, name, projection = due.next
            hour = hour_of(expires_us)
            ttl_s = max(0, expires_us - now_us) // 1_000_000 + KEPT_S
            columns: dict[str, CellValue] = {"projection": projection, "name": name, "due_at": due_us}
            rows.append(RowWrite(self._index, (partition, hour, expires_us, due.tenant, due.subject), columns, due.ts_us + 1, ttl_s))
            if (partition, hour) not in self._said:
                self._said.add((partition, hour))
                rows.append(RowWrite(self._buckets, (partition, hour), {}, due.ts_us + 1, ttl_s + 3600))
        return rows

    def forget(self, partition: int) -> None:
        """Forget which buckets of a partition were said, as after it was given away."""
        self._said = {said for said in self._said if said[0] != partition}

    async def hours(self, partition: int, oldest: int) -> list[int]:
        """Return the hours from `oldest` on in which timers of a partition were ever to expire, in order."""
        after = (oldest - 1,) if oldest else None
        return [integer(row, "bucket_hour") for row in await self._store.read(self._buckets, {"partition": partition}, after=after)]

    async def page(self, partition: int, hour: int, after: tuple[Subject, int] | None = None) -> list[tuple[Subject, int]]:
        """Return the next (subject, expiry moment) pairs of one hour, in order of time; fewer than `PAGE_ROWS` are the last ones."""
        bound = None if after is None else (after[1], *after[0])
        rows = await self._store.read(self._index, {"partition": partition, "bucket_hour": hour}, limit=PAGE_ROWS, after=bound)
        return [(Subject(text(row, "tenant"), text(row, "subject")), integer(row, "expires_at")) for row in rows]
