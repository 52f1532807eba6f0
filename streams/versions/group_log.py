"""The log as the versions of a group stand on it: where it ends, how old what waits is, who reads it; and the record that promotes.

A Protocol, so that promoting and retiring are tested without Kafka.
"""

import asyncio
from collections.abc import Mapping
from typing import Protocol

from connectors.producer import Producer
from schemas.codec import Codec
from schemas.events import ProjectionPromoted
from streams.cluster import Cluster, Member
from streams.log.reader import LogReader
from streams.store.port import GroupVersion
from touchline.errors import Misconfigured
from touchline.settings import Settings

__all__ = ["GroupLog", "KafkaGroupLog", "promotion_key"]


def promotion_key(group: str) -> bytes:
    """Return the key of a group's promotions on the log: they are of no subject."""
    return f"projection:{group}".encode()


class GroupLog(Protocol):
    """What promoting, retiring and the status ask of the log. Everything raises `Retryable` if the broker does not answer."""

    async def ends(self) -> dict[int, int]:
        """Return the offset after the last record of every partition."""
        ...

    async def appended_us(self, offsets: Mapping[int, int]) -> dict[int, int]:
        """Return when the record at this offset of each partition (or the first that is still there) was appended, epoch µs."""
        ...

    async def members(self, group: GroupVersion) -> list[Member]:
        """Return the consumers that run a version."""
        ...

    async def append(self, records: Mapping[int, ProjectionPromoted]) -> None:
        """Append one record to each of these partitions; they are acknowledged when it returns."""
        ...

    async def forget(self, group: GroupVersion) -> bool:
        """Delete the consumer group of a version; tell whether there was one."""
        ...


class KafkaGroupLog:
    """The log on Kafka. It connects for each question: these are an operator's, a few a minute."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._settings = settings
        self._codec = codec
        self._topic = settings.topic("interaction")
        self._cluster = Cluster(settings.brokers)

    async def ends(self) -> dict[int, int]:
        """Return the ends; raises `Misconfigured` if the topic is missing."""
        found = await asyncio.to_thread(self._cluster.end_offsets, [self._topic])
        if not found:
            raise Misconfigured(f"the topic {self._topic} is missing.", next_step="run `touchline topics create`.")
        return {place.partition: end for place, end in found.items()}

    async def appended_us(self, offsets: Mapping[int, int]) -> dict[int, int]:
        """Read the records and return their append times."""

        def read() -> dict[int, int]:
            found = {}
            with LogReader(self._settings.brokers, self._topic, queued_kbytes=1024) as reader:
                for partition, wanted in sorted(offsets.items()):
                    first, end = reader.range_of(partition)
                    offset = max(first, wanted)
                    for batch in reader.batches(partition, offset, min(offset + 1, end), 1):
                        found[partition] = batch.records[0].appended_us
            return found

        return await asyncio.to_thread(read) if offsets else {}

    async def members(self, group: GroupVersion) -> list[Member]:
        """Ask the group's coordinator."""
        return await asyncio.to_thread(self._cluster.members, self._group_id(group))

    async def append(self, records: Mapping[int, ProjectionPromoted]) -> None:
        """Append by a producer of its own."""
        producer = Producer(self._settings.brokers, linger="alerts")
        for partition, record in sorted(records.items()):
            producer.produce(self._topic, promotion_key(record.group), self._codec.encode(record), partition=partition)
        await producer.drain()

    async def forget(self, group: GroupVersion) -> bool:
        """Delete the consumer group and its offsets."""
        return await asyncio.to_thread(self._cluster.delete_group, self._group_id(group))

    def _group_id(self, group: GroupVersion) -> str:
        return f"{self._settings.topic_prefix}.{group.part}"
