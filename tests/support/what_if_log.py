"""A log in memory that answers as the log's reader does: partitions of records, whose beginnings may be gone. No broker."""

from collections.abc import Iterator
from typing import Self
from zlib import crc32

import msgspec

from projections.rules import RULES, Rulebook
from schemas.codec import Codec
from schemas.events import ConfigPublished, Header
from schemas.record import Event
from streams.records import Batch, RawRecord
from touchline.errors import Misconfigured

__all__ = ["LogInMemory", "published"]

CODEC = Codec()


class LogInMemory:
    """Customers lie in partitions by their ids. `gone` says by partition how many of its first records are no longer kept."""

    def __init__(self, partitions: int = 2) -> None:
        self.partitions: list[list[RawRecord]] = [[] for _ in range(partitions)]
        self.gone: dict[int, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return

    def append(self, event: Event, appended_us: int) -> None:
        """Append an event of a customer; published rules go to every partition."""
        config = isinstance(event, ConfigPublished)
        key = f"config:{event.id}" if isinstance(event, ConfigPublished) else event.header.customer_id
        for partition in range(len(self.partitions)) if config else [crc32(key.encode()) % len(self.partitions)]:
            records = self.partitions[partition]
            at_us = max(appended_us, records[-1].appended_us if records else 0)
            records.append(RawRecord(len(records), key.encode(), CODEC.encode(event), at_us))

    def range_of(self, partition: int) -> tuple[int, int]:
        """Return (first offset, offset after the last record)."""
        return self.gone.get(partition, 0), len(self.partitions[partition])

    def offset_at(self, partition: int, appended_us: int) -> int:
        """Return the offset of the first record that was appended at this time or later."""
        low, end = self.range_of(partition)
        return next((record.offset for record in self.partitions[partition][low:] if record.appended_us >= appended_us), end)

    def batches(self, partition: int, first: int, end: int, records_max: int = 7) -> Iterator[Batch]:
        """Yield the records in [first, end), a few at a time."""
        if first < self.gone.get(partition, 0):
            raise Misconfigured(f"partition {partition} begins later than {first}.")
        for start in range(first, end, records_max):
            yield Batch(partition, self.partitions[partition][start : min(start + records_max, end)])


def published(book: Rulebook, at_us: int, *, tenant: str = "acme") -> ConfigPublished:
    """Return the record that tells the log of a rulebook."""
    return ConfigPublished(
        header=Header(id=f"rules:{book.version}", source="/touchline/config", tenant=tenant, occurred_at_us=at_us, received_at_us=at_us),
        kind=RULES,
        id=RULES,
        version=book.version,
        effective_at_us=book.effective_at_us,
        body=msgspec.json.encode(book).decode(),
    )
