"""Appending to Kafka: one idempotent producer, for asyncio and for plain code. Must not know what it carries.

    produce() ──> librdkafka's queue (bounded) ──> broker ──> acknowledged by all in-sync replicas
                        │ time-out, broker lost                        │
                        └──> kept here, sent again by the next drain() └──> drain() returns

Nothing counts as accepted before a `drain` or `flush` that came after it has returned. What could not be delivered in time
is kept and sent again, with the same bytes: it may have been written after all, so readers must bear repeats (they do: same
source and id is the same event), and it comes later than what was produced after it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Literal, NamedTuple

import structlog
from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import Producer as _Librdkafka

from touchline.errors import Misconfigured, Retryable, TouchlineError

__all__ = ["BY_KEY", "FatalProducerError", "Headers", "Linger", "OnAppend", "Producer"]

log = structlog.get_logger(__name__)

Headers = Sequence[tuple[str, bytes]]

OnAppend = Callable[[int], object]
"""Told the append time of one record, epoch µs, in the thread that drains."""

BY_KEY: Final = -1
"""No partition is named: the key's hash chooses it."""

Linger = Literal["events", "alerts"]
"""How long a record may wait for company: `events` 5 ms, `alerts` not at all."""

QUEUE_RECORDS_MAX: Final = 100_000
QUEUE_KBYTES_MAX: Final = 131_072
QUEUE_WAIT_S: Final = 60.0
"""How long `produce` waits for room in the queue before it raises `Retryable`."""

_SLICE_S: Final = 0.5
_POLL_EVERY: Final = 1000
_LINGER_MS: Final[dict[Linger, int]] = {"events": 5, "alerts": 0}
_REFUSED: Final = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - the library's public constants start like this
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_RECORD,
    }
)
"""Errors of a record that no waiting mends."""


class FatalProducerError(TouchlineError):
    """Raised when librdkafka can no longer promise that nothing is lost or doubled. The process must end and start again."""


class _Failed(NamedTuple):
    """A record that was not acknowledged in time, and why."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    error: KafkaError
    partition: int = BY_KEY
    on_append: OnAppend | None = None


class Producer:
    """Appends records. Produce as many as you like, then `await drain()`: only then are they written.

    `linger` is for all of its records: make two producers where alerts must not wait. `delivery_timeout_s` is how long one
    record may stay unacknowledged before the next `drain` raises `Retryable`; in a worker it lies below its session timeout.
    With `reports` the append time of a record is told to its `on_append`.

    >>> producer = Producer("127.0.0.1:9092")                                   # doctest: +SKIP
    >>> producer.produce("touchline.channel.email.v1", b"key", b"value")        # doctest: +SKIP
    >>> await producer.drain()                                                  # doctest: +SKIP
    """

    def __init__(
        self,
        brokers: str,
        *,
        linger: Linger = "events",
        delivery_timeout_s: float = 5.0,
        reports: bool = False,
        config: dict[str, Any] | None = None,
    ) -> None:
        """Connect in the background; a broker that is away is found out by the first `drain`. `config` adds librdkafka's own settings."""
        self._failed: deque[_Failed] = deque()  # reports arrive in the threads that flush: only atomic operations
        self._fatal: KafkaError | None = None
        self._produced = 0
        self.unwell: str | None = None
        """What the broker connection suffers from (an error's name), until records are acknowledged again."""
        settings: dict[str, Any] = {
            "bootstrap.servers": brokers,
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": _LINGER_MS[linger],
            "delivery.timeout.ms": int(delivery_timeout_s * 1000),
            "queue.buffering.max.messages": QUEUE_RECORDS_MAX,
            "queue.buffering.max.kbytes": QUEUE_KBYTES_MAX,
            "batch.num.messages": 10_000,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 2000,
            "delivery.report.only.error": not reports,  # a Python call per acknowledged record would cost more than producing it
            "on_delivery": self._reported,
            "error_cb": self._troubled,
            "log_level": 2,
            **(config or {}),
        }
        self._producer = _Librdkafka(settings)

    @property
    def produced(self) -> int:
        """How many records were handed over since the start, sent again or not."""
        return self._produced

    def produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        partition: int = BY_KEY,
        *,
        on_append: OnAppend | None = None,
    ) -> None:
        """Queue one record; `value` None is a tombstone. Not written before the next `drain`. `partition` wins over the key.

        Waits while the queue is full. Raises `Retryable` if it stays full, `Misconfigured` if the record can never be sent,
        `FatalProducerError`. Hot path: 1.5 µs (`touchline bench`), so nothing is looked up here.
        """
        try:
            if headers or partition != BY_KEY or on_append is not None:
                told = partial(self._reported, headers=headers, partition=partition, on_append=on_append)
                self._producer.produce(topic, value, key, partition, headers=list(headers) or None, on_delivery=told)
            else:
                self._producer.produce(topic, value, key)
        except BufferError:
            self._wait_for_room(topic, key, value, headers, partition, on_append=on_append)
        except KafkaException as error:
            self._raise(error.args[0], topic)
        self._produced += 1
        if not self._produced % _POLL_EVERY:
            self._producer.poll(0)

    async def drain(self, timeout_s: float = 30.0) -> None:
        """Wait until everything that was produced is acknowledged by all in-sync replicas. The loop runs on meanwhile.

        Raises `Retryable` if `timeout_s` passes or a record was not acknowledged in time: call again, which sends such records
        again. Raises `Misconfigured` for what no waiting mends, `FatalProducerError` when the process must end.
        """
        deadline = time.monotonic() + timeout_s
        self._send_again()
        while waiting := await asyncio.to_thread(self._producer.flush, _SLICE_S):
            self._check(waiting, deadline)
        self._check(0, deadline)

    def flush(self, timeout_s: float = 30.0) -> None:
        """Do the same as `drain`, blocking: for plain code."""
        deadline = time.monotonic() + timeout_s
        self._send_again()
        while waiting := self._producer.flush(_SLICE_S):
            self._check(waiting, deadline)
        self._check(0, deadline)

    def pending(self) -> int:
        """Return how many records are not acknowledged yet; librdkafka counts its waiting callbacks too, so 0 is exact, more is about."""
        return len(self._producer) + len(self._failed)

    def discard(self) -> None:
        """Give up what is queued or in flight: it may or may not be written. For leaving at once."""
        self._producer.purge()
        self._producer.flush(0)
        self._failed.clear()

    def _send_again(self) -> None:
        for _ in range(len(self._failed)):
            record = self._failed.popleft()
            try:
                self.produce(record.topic, record.key, record.value, record.headers, record.partition, on_append=record.on_append)
            except TouchlineError:
                self._failed.appendleft(record)
                raise

    def _check(self, waiting: int, deadline: float) -> None:
        if self._fatal is not None:
            raise _fatal(self._fatal)
        if self._failed:
            for record in list(self._failed):
                if record.error.code() in _REFUSED:
                    self._raise(record.error, record.topic)
            if not waiting:
                name = _name(self._failed[0].error)
                log.warning("not_acknowledged", records=len(self._failed), reason=name)
                raise Retryable(
                    f"{len(self._failed)} records were not acknowledged ({name}).", next_step="see `touchline status`; they are sent again."
                )
        if not waiting:
            self.unwell = None
        elif time.monotonic() > deadline:
            raise Retryable(
                f"{waiting} records still wait for the broker{f' ({self.unwell})' if self.unwell else ''}.",
                next_step="see `touchline status`; they are sent when it is back.",
            )

    def _wait_for_room(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers, partition: int, *, on_append: OnAppend | None
    ) -> None:
        deadline = time.monotonic() + QUEUE_WAIT_S
        told = partial(self._reported, headers=headers, partition=partition, on_append=on_append)
        while True:
            self._producer.poll(0.05)
            try:
                self._producer.produce(topic, value, key, partition, headers=list(headers) or None, on_delivery=told)
            except BufferError:
                if self._fatal is not None:
                    raise _fatal(self._fatal) from None
                if time.monotonic() > deadline:
                    raise Retryable(
                        f"the producer's queue has been full for {QUEUE_WAIT_S:.0f} s.", next_step="see `touchline status`; is a broker up?"
                    ) from None
            except KafkaException as error:
                self._raise(error.args[0], topic)
            else:
                return

    def _reported(
        self, error: KafkaError | None, message: Message, headers: Headers = (), partition: int = BY_KEY, on_append: OnAppend | None = None
    ) -> None:
        """Be told what became of a record. The message of a report has lost its headers (confluent-kafka 2.16): they come along."""
        if error is not None:
            self._failed.append(_Failed(str(message.topic()), message.key(), message.value(), headers, error, partition, on_append))
        elif on_append is not None:
            on_append(message.timestamp()[1] * 1000)

    def _troubled(self, error: KafkaError) -> None:
        """Be told of the connection's state; librdkafka reconnects with back-off by itself."""
        if error.fatal() or error.code() == KafkaError._FATAL:  # noqa: SLF001 - see above
            self._fatal = error
            log.error("producer_fatal", reason=_name(error))
        elif self.unwell != _name(error):
            self.unwell = _name(error)
            log.warning("broker_unwell", reason=self.unwell)

    def _raise(self, error: KafkaError, topic: str) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:  # noqa: SLF001 - see above
            raise _fatal(error)
        if error.code() in _REFUSED:
            raise Misconfigured(
                f"the broker refuses records for {topic} ({_name(error)}).", next_step="run `touchline topics create`, or check the broker's rights."
            )
        raise Retryable(f"a record for {topic} could not be queued ({_name(error)}).", next_step="see `touchline status`.")


def _fatal(error: KafkaError) -> FatalProducerError:
    return FatalProducerError(f"the producer cannot go on ({_name(error)}).", next_step="start the process again; nothing acknowledged is lost.")


def _name(error: KafkaError) -> str:
    return str(error.name())
