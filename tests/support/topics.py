"""What really lies on topics: read by a bare consumer from the first offset to the last, decompressed, without the product's code."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.codec import Codec, Undecodable

__all__ = ["Stored", "ids_on", "stored", "topics_of"]

SILENCE_S = 30.0


class Stored(NamedTuple):
    """One record as it lies in the log."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int


def topics_of(brokers: str, prefix: str) -> list[str]:
    """Return the names of all topics that begin so."""
    consumer = _consumer(brokers)
    try:
        return sorted(name for name in consumer.list_topics(timeout=SILENCE_S).topics if name.startswith(prefix))
    finally:
        consumer.close()


def stored(brokers: str, topics: Iterable[str]) -> Iterator[Stored]:
    """Read whole topics; ends when every partition has been read to its end. Internal topics can be read too."""
    consumer = _consumer(brokers)
    try:
        known = consumer.list_topics(timeout=SILENCE_S).topics
        left = {(topic, partition) for topic in topics for partition in known[topic].partitions}
        consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in left])
        last = time.monotonic()
        while left:
            messages = consumer.consume(1000, 0.5)
            last = time.monotonic() if messages else last
            assert time.monotonic() - last < SILENCE_S, f"nothing was read for {SILENCE_S} s, and {len(left)} partitions are not at their ends"
            for message in messages:
                error = message.error()
                if error is None:
                    headers = tuple((name, value or b"") for name, value in message.headers() or ())
                    place = message.topic(), message.partition(), message.offset()
                    yield Stored(*place, message.key() or b"", message.value() or b"", headers, message.timestamp()[1])
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard((message.topic(), message.partition()))
                else:
                    raise KafkaException(error)
    finally:
        consumer.close()


def ids_on(brokers: str, topics: Iterable[str]) -> Counter[tuple[str, str]]:
    """Return how often each event of a source, by source and id, lies on these topics. Every record must be an event.

    What the product says itself (rules, wake-ups, works of agents) is left out.
    """
    codec, found = Codec(), Counter[tuple[str, str]]()
    for record in stored(brokers, topics):
        head = codec.head(record.value)
        assert not isinstance(head, Undecodable), head
        if not head.header.source.startswith("/touchline/"):
            found[head.header.source, head.header.id] += 1
    return found


def _consumer(brokers: str) -> Consumer:
    return Consumer({"bootstrap.servers": brokers, "group.id": "touchline-tests", "enable.auto.commit": False, "enable.partition.eof": True})
