"""What a replay reads: chunks of one partition, cut at fixed places of the log, read ahead by a thread.

A chunk ends where its offset is a whole multiple of the chunk's size, or at the end: whoever takes a replay up again after a crash gets
the same chunks, so what is told for a whole chunk (figures, timers that have come) is told in the same pieces.
"""

import asyncio
import time
from bisect import bisect_left
from collections.abc import AsyncGenerator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from operator import attrgetter
from typing import Final, Protocol

import structlog

from streams.records import Batch
from streams.replay.waiting import Waiting
from touchline.errors import Retryable

__all__ = ["SILENCE_MAX_S", "Ahead", "Source", "gridded"]

log = structlog.get_logger(__name__)

SILENCE_MAX_S: Final = 600.0
"""How long a broker that does not answer is waited for; then the replay stops, and can be taken up again."""

_PAUSE_S: Final = 2.0
_offset = attrgetter("offset")


class Source(Protocol):
    """Ranges of the log: `LogReader`, or a test's."""

    def batches(self, partition: int, first: int, end: int, records_max: int = ...) -> Iterator[Batch]:
        """Yield the records in [first, end) in order. Blocking. Raises `Retryable` and `Misconfigured` as `LogReader.batches`."""
        ...


def gridded(batches: Iterable[Batch], size: int) -> Iterator[Batch]:
    """Cut consecutive batches of one partition at the multiples of `size`, and join what lies between two of them."""
    kept: Batch | None = None
    for batch in batches:
        rest = batch
        while rest.records:
            border = ((kept or rest).records[0].offset // size + 1) * size
            if rest.records[-1].offset < border:
                kept = rest if kept is None else _joined(kept, rest)
                break
            cut = bisect_left(rest.records, border, key=_offset)
            head, rest = _sliced(rest, 0, cut), _sliced(rest, cut, None)
            found = head if kept is None else _joined(kept, head)
            kept = None
            if found.records:
                yield found
        if kept is not None and kept.records[-1].offset + 1 == (kept.records[0].offset // size + 1) * size:
            yield kept
            kept = None
    if kept is not None:
        yield kept


class Ahead:
    """Reads one chunk ahead of the one that is being folded. `close` it in the end."""

    def __init__(self, source: Source, size: int) -> None:
        self._source = source
        self._size = size
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="replay-read")
        self._since_s: float | None = None
        self._reason = ""

    @property
    def waiting(self) -> Waiting | None:
        """How long the next chunk has been waited for; None while one is being folded."""
        return None if self._since_s is None else Waiting("the log", time.monotonic() - self._since_s, self._reason)

    async def chunks(self, partition: int, first: int, end: int) -> AsyncGenerator[Batch, None]:
        """Yield the chunks of [first, end). A broker that falls silent is waited for; raises `Retryable` when it stays so."""
        at = first
        while at < end:
            records = gridded(self._source.batches(partition, at, end, self._size), self._size)
            try:
                pending = self._next(records)
                while (batch := await self._come(pending)) is not None:
                    at = batch.records[-1].offset + 1
                    pending = self._next(records)
                    yield batch
                at = end  # what is missing below it was never there
            except Retryable as error:
                self._reason = error.what
                if self.waiting is not None and self.waiting.seconds > SILENCE_MAX_S:
                    raise
                log.warning("waiting", part="replay.log", partition=partition, offset=at, reason=error.what)
                await asyncio.sleep(_PAUSE_S)
            finally:
                self._thread.submit(records.close)  # type: ignore[attr-defined]  # a generator, and this thread's

    def close(self) -> None:
        """Let the thread end; what it reads at the moment is thrown away."""
        self._thread.shutdown(wait=True, cancel_futures=False)

    async def _come(self, pending: "Future[Batch | None]") -> Batch | None:
        """Wait for the next chunk, or for the end of the range."""
        if self._since_s is None:
            self._since_s = time.monotonic()
        batch = await asyncio.wrap_future(pending)
        self._since_s, self._reason = None, ""
        return batch

    def _next(self, records: Iterator[Batch]) -> "Future[Batch | None]":
        return self._thread.submit(next, records, None)


def _joined(one: Batch, other: Batch) -> Batch:
    return Batch(one.partition, one.records + other.records, one.epoch, one.topic)


def _sliced(batch: Batch, first: int, end: int | None) -> Batch:
    return (
        batch
        if first == 0 and end is not None and end >= len(batch.records)
        else Batch(batch.partition, batch.records[first:end], batch.epoch, batch.topic)
    )
