"""The cluster that an import goes to: the topics of the settings, by their short names."""

from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

from connectors.producer import Producer
from streams.cluster import Cluster, Place
from streams.log.reader import LogReader
from streams.records import Batch
from touchline.settings import Settings

__all__ = ["KafkaTarget"]

DELIVERY_S: Final = 120.0
"""How long one record may stay unacknowledged: a broker may start anew meanwhile."""

_CONFIG: Final = "config"


class KafkaTarget:
    """A `streams.log.importing.Target` on Kafka; a context manager. Blocking."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cluster = Cluster(settings.brokers)
        self._readers: dict[str, LogReader] = {}
        self._open = ExitStack()
        # a record that times out is never sent again behind a later one: the run ends, and the next one goes on where the topic ends
        self._producer = Producer(settings.brokers, delivery_timeout_s=DELIVERY_S, config={"enable.gapless.guarantee": True})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._producer.discard()
        self._open.close()

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has, 0 if it is not there."""
        return self._cluster.partitions(self._settings.topic(topic))

    def range_of(self, topic: str, partition: int) -> tuple[int, int]:
        """Return (first offset, offset after the last record)."""
        return self._reader(topic).range_of(partition)

    def read(self, topic: str, partition: int, first: int, end: int) -> Iterator[Batch]:
        """Yield the records in [first, end)."""
        return self._reader(topic).batches(partition, first, end)

    def append(self, topic: str, partition: int, key: bytes | None, value: bytes) -> None:
        """Queue one record."""
        self._producer.produce(self._settings.topic(topic), key, value, partition=partition)

    def flush(self) -> None:
        """Wait until all are written."""
        self._producer.flush(DELIVERY_S)

    def members(self) -> dict[str, int]:
        """Return how many members each consumer group of the product has, those with none left out."""
        found = {group: len(self._cluster.members(group)) for group in self._cluster.groups(f"{self._settings.topic_prefix}.")}
        return {group: members for group, members in found.items() if members}

    def commit_told(self, offset: int) -> None:
        """Let the broadcaster go on behind so many records of `config`."""
        self._cluster.commit(f"{self._settings.topic_prefix}.{_CONFIG}", {Place(self._settings.topic(_CONFIG), 0): offset})

    def _reader(self, topic: str) -> LogReader:
        if topic not in self._readers:
            self._readers[topic] = self._open.enter_context(LogReader(self._settings.brokers, self._settings.topic(topic)))
        return self._readers[topic]
