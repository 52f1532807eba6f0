"""A timeline's buckets as one lazy stream of rows, newest first: month after month, and in a month its days beside it.

A month's own bucket holds what came first, its days' buckets what lay above the cap (`projections/timeline.py`): by event
time both are spread over the whole month, so they are merged. Nothing is read before it is needed.
"""

import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from datetime import date
from functools import partial
from typing import Final

from streams.cursors import Filters
from streams.store.port import Store
from streams.timeline_row import Position, TimelineRow

__all__ = ["CHUNK_ROWS_MAX", "Buckets"]

CHUNK_ROWS_MAX: Final = 256
"""Rows of one request; a row with a long sealed mail has some kilobytes."""

_CHUNK_ROWS_MIN: Final = 16
_MONTH_CHARS: Final = len("2026-01")
_DAY_US: Final = 86_400_000_000
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()


class Buckets:
    """Reads the buckets of one timeline table that can hold rows behind `start` and within the filters' times.

    `chunk_rows` is the size of the first request to a bucket; further ones double up to `CHUNK_ROWS_MAX`.
    """

    def __init__(self, store: Store, table: str, filters: Filters, start: Position | None, chunk_rows: int) -> None:
        self._store = store
        self._table = table
        self._filters = filters
        self._after: tuple[str | int, ...] | None = start
        self._newest_us = None if start is None else start.occurred_at_us
        if filters.until_us is not None and (start is None or filters.until_us <= start.occurred_at_us):
            self._after, self._newest_us = (filters.until_us,), filters.until_us - 1
        self._upto = None if filters.since_us is None else (filters.since_us,)
        self._chunk_rows = min(max(chunk_rows, _CHUNK_ROWS_MIN), CHUNK_ROWS_MAX)

    async def rows(self, buckets: Iterable[str]) -> AsyncGenerator[TimelineRow, None]:
        """Yield the rows of these buckets (`2026-01`, `2026-01-12`), newest first, each once."""
        months: dict[str, list[str]] = {}
        for bucket in sorted(filter(self._may_hold, buckets), reverse=True):
            months.setdefault(bucket[:_MONTH_CHARS], []).append(bucket)
        for month, found in months.items():
            days = [bucket for bucket in found if bucket != month]
            streams = [self._chained(days)] if days else []
            if month in found:
                streams.append(self._chained([month]))
            async for row in _merged(streams):
                yield row

    def _may_hold(self, bucket: str) -> bool:
        newest, since = self._newest_us, self._filters.since_us
        size = len(bucket)
        return (newest is None or bucket <= _day(newest)[:size]) and (since is None or bucket >= _day(since)[:size])

    async def _chained(self, buckets: Sequence[str]) -> AsyncIterator[TimelineRow]:
        """Yield the rows of buckets that lie behind each other in time."""
        for bucket in buckets:
            read = partial(self._store.read, self._table, {"tenant": self._filters.tenant, "customer_id": self._filters.customer_id, "month": bucket})
            after, size = self._after, self._chunk_rows
            while True:
                rows = [TimelineRow.of(row) for row in await read(limit=size, after=after, upto=self._upto)]
                for row in rows:
                    yield row
                if len(rows) < size:
                    break
                after, size = rows[-1].position, min(size * 2, CHUNK_ROWS_MAX)


async def _merged(streams: Sequence[AsyncIterator[TimelineRow]]) -> AsyncIterator[TimelineRow]:
    """Merge streams that are each newest first. A row that stands in two buckets (a late repeat) comes once."""
    heap: list[tuple[int, str, int, TimelineRow]] = []
    for number, stream in enumerate(streams):
        await _push(heap, number, stream)
    last: Position | None = None
    while heap:
        _, _, number, row = heapq.heappop(heap)
        if row.position != last:
            last = row.position
            yield row
        await _push(heap, number, streams[number])


async def _push(heap: list[tuple[int, str, int, TimelineRow]], number: int, stream: AsyncIterator[TimelineRow]) -> None:
    row = await anext(stream, None)
    if row is not None:
        heapq.heappush(heap, (-row.occurred_at_us, row.event_id, number, row))


def _day(at_us: int) -> str:
    """Return the day's bucket of an event time; times outside the calendar count as its ends, as in the projection."""
    return date.fromordinal(min(max(at_us // _DAY_US + _EPOCH_DAY, 1), date.max.toordinal())).isoformat()
