"""The audit trail of the operator at this machine: a connection to note on it, put together from the settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from schemas.codec import Codec
from streams.audit.topic import KafkaAuditTopic
from streams.audit.trail import Trail
from streams.cluster import Cluster
from streams.store.port import Store
from touchline import tables
from touchline.errors import Misconfigured
from touchline.settings import Settings

__all__ = ["audited", "partitions_of", "trail_of"]


def trail_of(settings: Settings, store: Store) -> Trail:
    """Return the operator's trail; nothing is connected before its first note."""
    topic = KafkaAuditTopic(settings.brokers, settings.topic("audit"))
    return Trail(store, topic, Codec(), actor=settings.operator, roles=sorted(settings.role_names))


@asynccontextmanager
async def audited(settings: Settings) -> AsyncIterator[Trail]:
    """Connect to Cassandra for as long as the context lasts: for what needs nothing else there. Raises `Retryable` if no node answers."""
    async with tables.connected(settings) as store:
        yield trail_of(settings, store)


def partitions_of(settings: Settings) -> int:
    """Return how many partitions the audit topic has. Raises `Misconfigured` if there is none, `Retryable` if no broker answers."""
    topic = settings.topic("audit")
    found = Cluster(settings.brokers).partitions(topic)
    if not found:
        raise Misconfigured(f"the topic {topic} is missing.", next_step="run `touchline topics create`.")
    return found
