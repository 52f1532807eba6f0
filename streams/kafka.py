"""The one place that follows Kafka (questions: `cluster.py`; bounded reading: `log/reader.py`; appending: `connectors/producer.py`).

Everything above sees `Batch`es, topic names and plain numbers.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.cluster import Place, unwell, watermarks
from streams.patience import wait_out
from streams.records import Batch, RawRecord
from touchline.errors import Misconfigured, TouchlineError

__all__ = ["FatalConsumerError", "PartitionsLost", "Subscription"]

log = structlog.get_logger(__name__)

_EPOCHS: Final = count(1)
"""Numbers of assignments, unique in this process: what one subscription has read is never current in the next one."""


class FatalConsumerError(TouchlineError):
    """Raised when librdkafka gives a consumer up, as when a static member is fenced. The process must end and start again."""


class PartitionsLost(Exception):
    """Raised by a commit for partitions that the broker took away. It is no error: whoever has them now reads their records again."""


class Subscription:
    """A member of a consumer group that hands out batches. Its methods, all but `is_current`, belong to the one polling thread.

    `assigned` is called with new partitions, inside `poll`; it answers where each is to be read from (None = the committed
    offset, or the beginning). `revoked` is called before they are given away, `lost` when they already are.
    """

    def __init__(
        self,
        brokers: str,
        group_id: str,
        topics: Iterable[str],
        *,
        assigned: Callable[[list[Place]], Mapping[Place, int | None]],
        revoked: Callable[[list[Place]], None],
        session_timeout_ms: int = 6000,
        instance_id: str | None = None,
    ) -> None:
        config: dict[str, str | int | bool] = {
            "bootstrap.servers": brokers,
            "group.id": group_id,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": session_timeout_ms,
            "heartbeat.interval.ms": max(session_timeout_ms // 6, 200),
            "max.poll.interval.ms": 300_000,
            "queued.max.messages.kbytes": 32_768,
            "fetch.wait.max.ms": 50,
            "reconnect.backoff.max.ms": 2000,
            "log_level": 2,
        }
        if instance_id:
            config["group.instance.id"] = instance_id
        self._first_epoch = next(_EPOCHS)
        self._epochs: dict[tuple[str, int], int] = {}
        self._lost: set[tuple[str, int]] = set()
        self._assigned, self._revoked = assigned, revoked
        self._consumer = Consumer(config, error_cb=self._troubled)
        self._consumer.subscribe(list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def poll(self, records_max: int, timeout_s: float) -> list[Batch]:
        """Return at most `records_max` records as one batch per partition; an empty list if none came in time."""
        first = self._consumer.poll(timeout_s)
        if first is None:
            return []
        messages = [first, *self._consumer.consume(records_max - 1, 0)] if records_max > 1 else [first]
        by_place: dict[tuple[str, int], list[RawRecord]] = {}
        for message in messages:
            error = message.error()
            if error is not None:
                self._trouble_with(error)
                continue
            # a fetched message has a topic, a partition and an offset; the library's types allow for one that was not sent yet
            record = RawRecord(message.offset(), message.key(), message.value() or b"", message.timestamp()[1] * 1000)  # type: ignore[arg-type]
            place: tuple[str, int] = (message.topic(), message.partition())  # type: ignore[assignment]
            found = by_place.get(place)
            if found is None:
                by_place[place] = [record]
            else:
                found.append(record)
        return [Batch(place[1], records, self._epoch(place), place[0]) for place, records in by_place.items()]

    def is_current(self, batch: Batch) -> bool:
        """Tell whether a batch's partition has been ours without a break since it was read. Safe from any thread."""
        return self._epoch((batch.topic, batch.partition)) == batch.epoch

    def commit(self, offsets: Mapping[Place, int], *, wait: bool) -> None:
        """Commit the offsets to be read next. Raises `Retryable` if waiting for it failed, `PartitionsLost` if waiting is in vain."""
        if wait and not self._lost.isdisjoint(offsets):
            raise PartitionsLost
        if not offsets:
            return
        places = [TopicPartition(place.topic, place.partition, offset) for place, offset in offsets.items()]
        try:
            if wait:
                self._consumer.commit(offsets=places, asynchronous=False)
            else:
                self._consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._NO_OFFSET:  # noqa: SLF001 - the library's public constant: nothing to commit is success
                raise unwell(error) from error

    def close(self) -> None:
        """Leave the group; partitions are revoked first."""
        self._consumer.close()

    def _epoch(self, place: tuple[str, int]) -> int:
        """Return the number of the assignment under which a partition is ours now."""
        return self._epochs.get(place, self._first_epoch)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._lost.difference_update((p.topic, p.partition) for p in partitions)
        starts = self._assigned([Place(p.topic, p.partition) for p in partitions])
        for partition in partitions:
            start = starts[Place(partition.topic, partition.partition)]
            if start is not None:
                self._check_within_log(consumer, partition, start)
                partition.offset = start
        consumer.incremental_assign(partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        del consumer
        for p in partitions:
            self._epochs[p.topic, p.partition] = next(_EPOCHS)
        self._revoked([Place(p.topic, p.partition) for p in partitions])

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._lost.update((p.topic, p.partition) for p in partitions)
        self._on_revoke(consumer, partitions)

    @staticmethod
    def _check_within_log(consumer: Consumer, partition: TopicPartition, start: int) -> None:
        low, high = wait_out("assignment", lambda: watermarks(consumer, partition))
        if not low <= start <= high:
            raise Misconfigured(
                f"the checkpoint of {partition.topic} partition {partition.partition} is {start}, but the log holds {low} to {high}.",
                next_step="the log was cut or made anew: restore it, or start over with empty tables (on one machine: `touchline down --wipe`).",
            )

    @staticmethod
    def _troubled(error: KafkaError) -> None:
        log.warning("broker_unwell", reason=error.name())

    @staticmethod
    def _trouble_with(error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:  # noqa: SLF001 - public, see above; `fatal()` alone is false for a polled one
            raise FatalConsumerError(
                f"the consumer cannot go on ({error.str()}).",
                next_step="start this worker again; nothing is lost. If another one has the same TOUCHLINE_INSTANCE_ID, give each its own.",
            )
        if error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED):
            raise Misconfigured(f"the broker refuses this consumer: {error.str()}.", next_step="check its rights and group id.")
        if error.code() == KafkaError.INVALID_SESSION_TIMEOUT:
            raise Misconfigured(
                "the broker refuses the session timeout of this worker.",
                next_step="set TOUCHLINE_SESSION_TIMEOUT_MS within the broker's group.min.session.timeout.ms (6000 by default) and its maximum.",
            )
        log.warning("fetch_failed", reason=error.name())
