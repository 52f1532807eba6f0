"""Bounded reading of the log: ranges of offsets, or single records, without a consumer group. Blocking; for threads and processes.

Replays, exports and rebuilds read through here: what is asked for is what comes, or an error that says what is missing.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.cluster import Cluster, unwell, watermarks
from streams.records import Batch, RawRecord
from touchline.errors import Misconfigured, Retryable

__all__ = ["LogReader", "read_topic"]

SILENCE_MAX_S: Final = 30.0
"""After so long without a record that must be there the broker counts as unwell."""

_WAIT_S: Final = 1.0
_NEAR: Final = 500
"""Records between two wanted ones that are read over rather than looked up: a look-up costs about as much as these."""


class LogReader:
    """Reads one topic, one range after the other; a context manager. Not for several threads.

    `queued_kbytes` is what librdkafka may fetch ahead.
    """

    def __init__(self, brokers: str, topic: str, *, queued_kbytes: int = 65_536) -> None:
        self.topic = topic
        self._consumer = Consumer(
            {
                "bootstrap.servers": brokers,
                "group.id": "touchline-log-reader",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "queued.max.messages.kbytes": queued_kbytes,
                "queued.min.messages": 100_000,
                "fetch.message.max.bytes": 4 * 1024 * 1024,
                "fetch.wait.max.ms": 50,
                "reconnect.backoff.max.ms": 2000,
                "log_level": 2,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Release the connection; harmless when repeated."""
        self._consumer.close()

    def range_of(self, partition: int) -> tuple[int, int]:
        """Return (first offset, offset after the last record) of a partition as of now. Raises `Retryable`."""
        return watermarks(self._consumer, TopicPartition(self.topic, partition))

    def offset_at(self, partition: int, appended_us: int) -> int:
        """Return the offset of the first record that was appended at this time or later; the end if there is none. Raises `Retryable`."""
        try:
            [found] = self._consumer.offsets_for_times([TopicPartition(self.topic, partition, appended_us // 1000)], timeout=_WAIT_S * 10)
        except KafkaException as error:
            raise unwell(error) from error
        return found.offset if found.offset >= 0 else self.range_of(partition)[1]

    def batches(self, partition: int, first: int, end: int, records_max: int = 20_000) -> Iterator[Batch]:
        """Yield the records in [first, end) in order, `records_max` at a time.

        Raises `Misconfigured` if the log begins later than `first`, `Retryable` if the broker falls silent. Whoever stops early
        loses nothing: the next range starts anew.
        """
        if first >= end:
            return
        low, _ = self.range_of(partition)
        if first < low:
            raise Misconfigured(
                f"{self.topic} partition {partition} begins at {low}: what came before, from {first} on, is gone.",
                next_step="restore the log from an export (`touchline log import`); history that is gone cannot be replayed.",
            )
        self._consumer.assign([TopicPartition(self.topic, partition, first)])
        try:
            at = first
            kept: list[RawRecord] = []
            while at < end:
                for record in self._next(min(records_max - len(kept), end - at), partition, at):
                    if record.offset < end:
                        kept.append(record)
                    at = record.offset + 1
                if len(kept) >= records_max or at >= end:
                    yield Batch(partition, kept, topic=self.topic)
                    kept = []
        finally:
            with suppress(RuntimeError):  # whoever stopped early may have closed the reader before this generator
                self._consumer.unassign()

    def records(self, partition: int, offsets: Iterable[int]) -> Iterator[RawRecord]:
        """Yield the records at these offsets, in order of offset; neighbours are read together. Raises as `batches` does."""
        wanted = sorted(set(offsets))
        at = 0
        while at < len(wanted):
            last = at
            while last + 1 < len(wanted) and wanted[last + 1] - wanted[last] <= _NEAR:
                last += 1
            these = set(wanted[at : last + 1])
            for batch in self.batches(partition, wanted[at], wanted[last] + 1, records_max=_NEAR):
                yield from (record for record in batch.records if record.offset in these)
            at = last + 1

    def _next(self, records_max: int, partition: int, at: int) -> list[RawRecord]:
        """Return the next records, at least one."""
        until = time.monotonic() + SILENCE_MAX_S
        while True:
            messages = self._consumer.consume(min(records_max, 100_000), _WAIT_S if records_max > _NEAR else 0.2)
            found = []
            for message in messages:
                error = message.error()
                if error is None:
                    # as in `Subscription.poll`: a fetched message has all of them
                    found.append(RawRecord(message.offset(), message.key(), message.value() or b"", message.timestamp()[1] * 1000))  # type: ignore[arg-type]
                elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - the library's public constant
                    raise Misconfigured(
                        f"{self.topic} partition {partition} has no record {at} any more.",
                        next_step="the log was cut meanwhile: restore it from an export.",
                    )
            if found:
                return found
            if time.monotonic() > until:
                raise Retryable(
                    f"{self.topic} partition {partition}: nothing came after {at}.", next_step="see `touchline status`; then run it again."
                )


def read_topic(brokers: str, topic: str) -> list[Batch]:
    """Return every record of a small topic, up to its end as of now, by partition; nothing if there is no such topic. Raises `Retryable`."""
    ranges = sorted(Cluster(brokers).ranges([topic]).items())
    with LogReader(brokers, topic, queued_kbytes=1024) as reader:
        return [
            Batch(place.partition, [record for batch in reader.batches(place.partition, first, end) for record in batch.records], topic=topic)
            for place, (first, end) in ranges
            if first < end
        ]
