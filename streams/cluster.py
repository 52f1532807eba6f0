"""Questions to a Kafka cluster, and its administration: topics, offsets, consumer groups, small topics read whole.

Everything above sees topic names, `Batch`es and plain numbers. Following the log is `kafka.py`'s.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas.topics import TopicSpec
from touchline.errors import Misconfigured, Retryable

__all__ = ["Cluster", "Member", "Place", "TopicOutcome", "unwell", "watermarks"]

REQUEST_TIMEOUT_S = 10.0

_NO_GROUP = frozenset({KafkaError.GROUP_ID_NOT_FOUND})


class Place(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class TopicOutcome(NamedTuple):
    """What `create_topics` did for one topic: `created`, `exists`, or a warning that the existing one differs."""

    topic: str
    partitions: int
    outcome: str


class Member(NamedTuple):
    """One consumer of a group: the id that its client gives itself, and its machine's address."""

    client_id: str
    host: str


class Cluster:
    """Questions to, and administration of, a cluster. Blocking; call it from a thread where a loop runs."""

    def __init__(self, brokers: str) -> None:
        self._brokers = brokers
        self._admin = AdminClient({"bootstrap.servers": brokers, "log_level": 2})

    def create_topics(self, specs: Iterable[TopicSpec]) -> list[TopicOutcome]:
        """Create the topics that are missing; raises `Retryable` if no broker answers, `Misconfigured` if it refuses."""
        existing = self.topics()
        outcomes = []
        for spec in specs:
            found = existing.get(spec.name)
            if found is not None:
                same = found == spec.partitions
                outcomes.append(TopicOutcome(spec.name, found, "exists" if same else f"exists with {found} partitions instead of {spec.partitions}"))
                continue
            new = NewTopic(spec.name, num_partitions=spec.partitions or 1, replication_factor=spec.replication, config=spec.config())
            for future in self._admin.create_topics([new], request_timeout=REQUEST_TIMEOUT_S).values():
                try:
                    future.result(REQUEST_TIMEOUT_S * 2)
                except KafkaException as error:
                    if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                        raise Misconfigured(
                            f"the topic {spec.name} could not be created: {error.args[0].str()}.",
                            next_step="check the broker's rights, replication factor and partition limits.",
                        ) from error
            outcomes.append(TopicOutcome(spec.name, spec.partitions or 1, "created"))
        return outcomes

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has; 0 if there is none of that name."""
        return self.topics().get(topic, 0)

    def end_offsets(self, topics: Iterable[str]) -> dict[Place, int]:
        """Return the offset after the last record of every partition of these topics."""
        return {place: high for place, (_, high) in self.ranges(topics).items()}

    def ranges(self, topics: Iterable[str]) -> dict[Place, tuple[int, int]]:
        """Return (first offset, offset after the last record) of every partition of these topics."""
        existing = self.topics()
        consumer = Consumer({"bootstrap.servers": self._brokers, "group.id": "touchline-watermarks", "log_level": 2})
        try:
            return {
                Place(topic, partition): watermarks(consumer, TopicPartition(topic, partition))
                for topic in topics
                for partition in range(existing.get(topic, 0))
            }
        finally:
            consumer.close()

    def committed(self, group_id: str, topics: Iterable[str]) -> dict[Place, int]:
        """Return the committed offset of a consumer group in every partition of these topics; 0 where there is none."""
        existing = self.topics()
        wanted = [TopicPartition(topic, partition) for topic in topics for partition in range(existing.get(topic, 0))]
        consumer = Consumer({"bootstrap.servers": self._brokers, "group.id": group_id, "log_level": 2})
        try:
            return {Place(p.topic, p.partition): max(p.offset, 0) for p in consumer.committed(wanted, timeout=REQUEST_TIMEOUT_S)}
        except KafkaException as error:
            raise unwell(error) from error
        finally:
            consumer.close()

    def topics(self) -> dict[str, int]:
        """Return how many partitions each topic has. Raises `Retryable` if no broker answers."""
        try:
            found = self._admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics
        except KafkaException as error:
            raise unwell(error) from error
        return {name: len(topic.partitions) for name, topic in found.items()}

    def members(self, group_id: str) -> list[Member]:
        """Return who is in a consumer group now; nobody if there is no such group. Raises `Retryable` if no broker answers."""
        try:
            described = self._admin.describe_consumer_groups([group_id], request_timeout=REQUEST_TIMEOUT_S)[group_id].result(REQUEST_TIMEOUT_S * 2)
        except KafkaException as error:
            if error.args[0].code() in _NO_GROUP:
                return []
            raise unwell(error) from error
        return [Member(one.client_id, one.host.removeprefix("/")) for one in described.members]

    def groups(self, prefix: str) -> list[str]:
        """Return the ids of the consumer groups that begin so, with members or without. Raises `Retryable` if no broker answers."""
        try:
            found = self._admin.list_consumer_groups(request_timeout=REQUEST_TIMEOUT_S).result(REQUEST_TIMEOUT_S * 2)
        except KafkaException as error:
            raise unwell(error) from error
        return sorted(one.group_id for one in found.valid if one.group_id.startswith(prefix))

    def commit(self, group_id: str, offsets: Mapping[Place, int]) -> None:
        """Set the committed offsets of a consumer group that has no members. Raises `Retryable` if it has some, or no broker answers."""
        wanted = ConsumerGroupTopicPartitions(group_id, [TopicPartition(place.topic, place.partition, at) for place, at in offsets.items()])
        try:
            self._admin.alter_consumer_group_offsets([wanted], request_timeout=REQUEST_TIMEOUT_S)[group_id].result(REQUEST_TIMEOUT_S * 2)
        except KafkaException as error:
            raise unwell(error) from error

    def delete_group(self, group_id: str) -> bool:
        """Delete a consumer group with its offsets; tell whether there was one. Raises `Retryable` while it has members."""
        try:
            self._admin.delete_consumer_groups([group_id], request_timeout=REQUEST_TIMEOUT_S)[group_id].result(REQUEST_TIMEOUT_S * 2)
        except KafkaException as error:
            if error.args[0].code() in _NO_GROUP:
                return False
            raise unwell(error) from error
        return True


def watermarks(consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
    """Return (first offset, offset after the last record). A broker that has just started may not lead its partitions yet: `Retryable`."""
    try:
        low, high = consumer.get_watermark_offsets(partition, timeout=REQUEST_TIMEOUT_S)
    except KafkaException as error:
        raise unwell(error) from error
    return low, high


def unwell(error: KafkaException) -> Retryable:
    """Return our error for one of the library's that may pass."""
    return Retryable(f"the broker did not answer ({error.args[0].name()}).", next_step="see `touchline status`; a worker tries again by itself.")
