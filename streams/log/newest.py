"""The newest records of a topic that are wanted, read backwards: for lists of reports and entries. Blocking; knows no type of record."""

from collections.abc import Callable, Iterator
from heapq import merge
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec

from streams.records import Batch, RawRecord

__all__ = ["Backwards", "Found", "Newest"]

T = TypeVar("T")

_STEP = 5000


class Backwards(Protocol):
    """What is needed of `streams.log.reader.LogReader`."""

    def range_of(self, partition: int) -> tuple[int, int]:
        """Return (first offset, offset after the last record)."""
        ...

    def offset_at(self, partition: int, appended_us: int) -> int:
        """Return the offset of the first record that was appended at this time or later."""
        ...

    def batches(self, partition: int, first: int, end: int, records_max: int = ...) -> Iterator[Batch]:
        """Yield the records in [first, end) in order."""
        ...


class Found(NamedTuple, Generic[T]):
    """One thing that was wanted, and where its record lies."""

    what: T
    partition: int
    offset: int


class Newest(msgspec.Struct, Generic[T], frozen=True):
    """`read` makes of a record what it is, or None if it is not wanted; `at_us` and `id_of` say when it is from and what it is called."""

    reader: Backwards
    read: Callable[[RawRecord], T | None]
    at_us: Callable[[T], int]
    id_of: Callable[[T], str]

    def of(self, partitions: int, limit: int, since_us: int | None = None) -> list[Found[T]]:
        """Return the newest, at most `limit`, newest first; of several with one id the newest. Nothing older than `since_us`.

        Raises `Retryable` if no broker answers.
        """
        found: dict[str, Found[T]] = {}
        for one in merge(*(self._newest(n, limit, since_us) for n in range(partitions)), key=lambda one: -self.at_us(one.what)):
            found.setdefault(self.id_of(one.what), one)
            if len(found) >= limit:
                break
        return list(found.values())

    def _newest(self, partition: int, limit: int, since_us: int | None) -> list[Found[T]]:
        """Return the newest of one partition, newest first, read backwards in steps until there are enough."""
        low, end = self.reader.range_of(partition)
        if since_us is not None:
            low = max(low, self.reader.offset_at(partition, since_us))
        found: dict[str, Found[T]] = {}
        while end > low and len(found) < limit:
            first = max(low, end - _STEP)
            for one in reversed(list(self._between(partition, first, end))):
                if since_us is None or self.at_us(one.what) >= since_us:
                    found.setdefault(self.id_of(one.what), one)
            end = first
        return sorted(found.values(), key=lambda one: -self.at_us(one.what))[:limit]

    def _between(self, partition: int, first: int, end: int) -> Iterator[Found[T]]:
        for batch in self.reader.batches(partition, first, end, records_max=_STEP):
            for record in batch.records:
                what = self.read(record)
                if what is not None:
                    yield Found(what, partition, record.offset)
