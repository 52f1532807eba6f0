"""Checking the chains of the audit topic against the topic and the head rows. Changes nothing; prints nothing."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgspec

from schemas.codec import Codec
from streams.audit.chain import FAULTS, Chain, Verdict
from streams.audit.heads import Heads
from streams.plain import utc
from streams.records import Batch

__all__ = ["AuditLog", "Report", "read_range", "verify"]

_BATCH = 5000


class AuditLog(Protocol):
    """Reading of the audit topic: `streams.log.reader.LogReader`. Blocking."""

    def range_of(self, partition: int) -> tuple[int, int]:
        """Return (first offset, offset after the last record) of a partition as of now."""
        ...

    def batches(self, partition: int, first: int, end: int, records_max: int = ...) -> Iterator[Batch]:
        """Yield the records in [first, end) in order."""
        ...


class Report(msgspec.Struct, frozen=True):
    """What the partitions' chains came to."""

    verdicts: tuple[Verdict, ...]

    @property
    def whole(self) -> bool:
        """Whether every chain holds."""
        return all(verdict.broken is None for verdict in self.verdicts)

    @property
    def entries(self) -> int:
        """How many entries there are, repeats counted once."""
        return sum(verdict.entries for verdict in self.verdicts)

    @property
    def actors(self) -> int:
        """How many there are who did something."""
        return len(frozenset().union(*(verdict.actors for verdict in self.verdicts)))

    @property
    def since_us(self) -> int | None:
        """When the oldest entry is from, epoch µs; None without one."""
        return min((verdict.since_us for verdict in self.verdicts if verdict.since_us is not None), default=None)

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        since_us = self.since_us
        return {
            "whole": self.whole,
            "entries": self.entries,
            "actors": self.actors,
            "since": None if since_us is None else utc(since_us),
            "partitions": [_form(verdict) for verdict in self.verdicts],
        }


async def verify(
    heads: Heads, log: AuditLog, partitions: list[int], codec: Codec, *, begin: Callable[[int], object], tell: Callable[[int], object]
) -> Report:
    """Check the chains of these partitions up to their ends as of now.

    `begin` hears how many records there are, `tell` how many more were read. Raises `Retryable` as store and broker do.
    """
    before = {partition: await heads.read(partition) for partition in partitions}
    ranges = {partition: await asyncio.to_thread(log.range_of, partition) for partition in partitions}
    begin(sum(end - first for first, end in ranges.values()))
    verdicts = []
    for partition, (first, end) in ranges.items():
        chain = Chain(partition, first, codec)
        await asyncio.to_thread(read_range, log, chain, (partition, first, end), tell)
        verdicts.append(chain.end(before[partition], await heads.read(partition)))
    return Report(tuple(verdicts))


def read_range(
    log: AuditLog,
    chain: Chain,
    where: tuple[int, int, int],
    tell: Callable[[int], object],
    keep: Callable[[bytes], object] = lambda _: None,
) -> None:
    """Let a chain look at (partition, first, end) until its end, or until it is broken; `keep` sees each value. Blocking."""
    for batch in log.batches(*where, records_max=_BATCH):
        for record in batch.records:
            chain.take(record.offset, record.key, record.value)
            keep(record.value)
        tell(len(batch.records))
        if chain.broken is not None:
            return


def _form(verdict: Verdict) -> dict[str, Any]:
    broken = verdict.broken
    return {
        "partition": verdict.partition,
        "entries": verdict.entries,
        "repeats": verdict.repeats,
        "first_seq": verdict.first_seq,
        "last_seq": verdict.last_seq,
        "since": None if verdict.since_us is None else utc(verdict.since_us),
        "until": None if verdict.until_us is None else utc(verdict.until_us),
        "pending": verdict.pending,
        "broken": None
        if broken is None
        else {
            "offset": broken.offset,
            "seq": broken.seq,
            "entry_id": broken.entry_id,
            "fault": broken.fault,
            "what": FAULTS[broken.fault],
            "detail": broken.detail,
        },
    }
