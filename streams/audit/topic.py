"""The audit topic on Kafka: appending to one partition of it. Connects when it is first asked. Knows no entry."""

import asyncio

from connectors.producer import Producer
from streams.cluster import Cluster
from streams.log.reader import LogReader
from touchline.errors import Misconfigured, Retryable

__all__ = ["KafkaAuditTopic"]


class KafkaAuditTopic:
    """Appends to `topic` with a producer of its own: what it could not append in time it gives up, since the head row keeps it."""

    def __init__(self, brokers: str, topic: str) -> None:
        self._brokers = brokers
        self._topic = topic
        self._partitions = 0
        self._producer: Producer | None = None

    async def partitions(self) -> int:
        """Return how many partitions the topic has. Raises `Misconfigured` if there is none, `Retryable` if no broker answers."""
        if not self._partitions:
            self._partitions = await asyncio.to_thread(Cluster(self._brokers).partitions, self._topic)
        if not self._partitions:
            raise Misconfigured(f"the topic {self._topic} is missing.", next_step="run `touchline topics create`.")
        return self._partitions

    async def append(self, partition: int, key: bytes, value: bytes) -> None:
        """Append, and return when it is acknowledged. Raises `Retryable`: then it may be there or not, and is not sent again."""
        if self._producer is None:
            self._producer = Producer(self._brokers, linger="alerts")
        self._producer.produce(self._topic, key, value, partition=partition)
        try:
            await self._producer.drain(timeout_s=10.0)
        except Retryable:
            self._producer.discard()
            self._producer = None  # reports of what was discarded may still come: they must not make the next one send it
            raise

    async def is_empty(self, partition: int) -> bool:
        """Tell whether nothing was ever appended to a partition."""

        def end() -> int:
            with LogReader(self._brokers, self._topic, queued_kbytes=1024) as reader:
                return reader.range_of(partition)[1]

        return not await asyncio.to_thread(end)
