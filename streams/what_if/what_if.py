"""What-if: the history of the log under other rules, compared with what the rules before made of it.

A `Question` says which rules, a `Plan` which records answer it: bounded by the ends of the log as they were when it was made. A share
of its partitions is read once and folded twice (`streams/what_if/side.py`). Nothing is written but a scratch store that nobody else
can see. The log comes through a port; must not know Kafka, processes or who reads the report.
"""

import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from functools import lru_cache
from typing import Final, Protocol
from zoneinfo import ZoneInfo

import msgspec

from projections.registry import find
from projections.rules import Rulebook
from projections.sla.zones import zone
from schemas.codec import Codec
from schemas.record import instant
from streams.books import Position
from streams.dealing import deal
from streams.records import Batch
from streams.what_if.report import Side, together
from streams.what_if.scratch import SLOT_US
from streams.what_if.side import FoldedSide, Span
from touchline.errors import TouchlineError

__all__ = ["BATCH_RECORDS", "LogSource", "Part", "Plan", "Question", "answered", "week_of"]

BATCH_RECORDS: Final = 20_000
"""Records folded together: rows are merged over a batch."""

_CARE: Final = "care"
_EVER_US: Final = 2**62
_WEEKS_CACHED_MAX: Final = 65_536


class LogSource(Protocol):
    """Ranges of one topic; `streams/log/reader.py` reads them from Kafka."""

    def range_of(self, partition: int) -> tuple[int, int]:
        """Return (first offset, offset after the last record)."""
        ...

    def offset_at(self, partition: int, appended_us: int) -> int:
        """Return the offset of the first record that was appended at this time or later; the end if there is none."""
        ...

    def batches(self, partition: int, first: int, end: int, records_max: int = BATCH_RECORDS) -> Iterator[Batch]:
        """Yield the records in [first, end) in order."""
        ...


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked: of whose history, under which rules, compared with which (None: the log's own).

    What started in [from_us, until_us) counts (event time, epoch µs; None: no bound). `zone` is that of the weeks.
    """

    tenant: str
    policies: Rulebook
    against: Rulebook | None = None
    from_us: int | None = None
    until_us: int | None = None
    zone: str = "UTC"
    settle_s: float = 60

    @property
    def span(self) -> Span:
        """What counts."""
        tz = zone(self.zone)
        from_us, until_us = (-_EVER_US if self.from_us is None else self.from_us), (_EVER_US if self.until_us is None else self.until_us)
        return Span(from_us, until_us, lambda slot: week_of(tz, slot))


class Part(msgspec.Struct, frozen=True):
    """What is read of one partition: [first, end); `books` are the rulebooks of the log that lie below it."""

    partition: int
    first: int
    end: int
    books: tuple[Position, ...] = ()

    @property
    def records(self) -> int:
        """How many records that are."""
        return self.end - self.first


class Plan(msgspec.Struct, frozen=True):
    """What is read. Timers expire up to `as_of_us`; `start_us` is the append time from which on records are read, None: all are."""

    parts: tuple[Part, ...]
    as_of_us: int
    start_us: int | None = None

    @property
    def records(self) -> int:
        """How many records are read."""
        return sum(part.records for part in self.parts)

    def shares(self, workers: int) -> list[tuple[Part, ...]]:
        """Deal the parts out to at most so many workers, about as much to each; every share has something to read."""
        return [tuple(share) for share in deal((part for part in self.parts if part.records), lambda part: part.records, workers)]


def answered(question: Question, as_of_us: int, parts: Sequence[Part], source: LogSource, told: Callable[[int], None]) -> tuple[Side, Side]:
    """Fold parts of the log under both sets of rules; return (before, after). `told` hears how many records were read since it last did.

    Raises `TouchlineError` if there is no room on disk, and what the source raises.
    """
    codec, care = Codec(), find(_CARE)
    before = FoldedSide(care, codec, tenant=question.tenant, book=question.against, settle_s=question.settle_s, levels=True)
    after = FoldedSide(care, codec, tenant=question.tenant, book=question.policies, settle_s=question.settle_s, levels=False)
    try:
        with closing(before), closing(after):
            found = [_folded(part, question, as_of_us, (before, after), _batches(source, part, told)) for part in parts]
    except sqlite3.Error as error:
        raise TouchlineError(
            f"the scratch store in {tempfile.gettempdir()} failed ({error}).",
            next_step="make room there, or name another folder by the variable SQLITE_TMPDIR; nothing was changed.",
        ) from None
    return together(side for side, _ in found), together(side for _, side in found)


def _batches(source: LogSource, part: Part, told: Callable[[int], None]) -> Iterator[Batch]:
    for batch in source.batches(part.partition, part.first, part.end):
        yield batch
        told(len(batch.records))


def _folded(part: Part, question: Question, as_of_us: int, sides: tuple[FoldedSide, FoldedSide], batches: Iterable[Batch]) -> tuple[Side, Side]:
    before, after = sides
    span = question.span
    for side in sides:
        side.open(part.partition, part.first, part.books)
    for batch in batches:
        taken = before.take(batch)
        for side in sides:
            side.feed(taken)
    for side in sides:
        side.finish(as_of_us)
    levels = before.levels(span)
    return before.counted(span, levels), after.counted(span, levels)


@lru_cache(maxsize=_WEEKS_CACHED_MAX)
def week_of(tz: ZoneInfo, slot: int) -> str:
    """Return the ISO week of a quarter hour since 1970 in a zone: `2026-W03`."""
    year, week, _ = (instant(0) + timedelta(microseconds=slot * SLOT_US)).astimezone(tz).isocalendar()
    return f"{year}-W{week:02d}"
