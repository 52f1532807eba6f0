"""Questions of an import to the channel topics, answered by the cluster: `connectors.ports.ChannelLog` over `streams.kafka`.

Lies with the front door, since connectors may not know streams.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Final, TypeVar
from uuid import uuid4

from connectors.ports import Place
from schemas.codec import Codec, Head
from schemas.topics import CHANNELS, channel_topic
from streams.assembly import resolver_group
from streams.cluster import Cluster
from streams.cluster import Place as KafkaPlace
from streams.kafka import Subscription
from touchline.errors import Retryable
from touchline.settings import Settings

__all__ = ["ChannelTopics"]

_READ_WAIT_S: Final = 30.0
"""How long reading may bring nothing before it is given up."""

_RECORDS_MAX: Final = 1000
_POLL_S: Final = 0.5

V = TypeVar("V")


class ChannelTopics:
    """See `connectors.ports.ChannelLog`. The blocking calls run in threads."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._cluster = Cluster(settings.brokers)
        self._codec = codec
        self._settings = settings
        self._topics = [channel_topic(settings.topic_prefix, channel) for channel in CHANNELS]
        self._group = resolver_group(settings)

    async def ends(self) -> Mapping[Place, int]:
        """Return the offset after the last record of every partition of every channel topic."""
        return _by_place(await asyncio.to_thread(self._cluster.end_offsets, self._topics))

    async def committed(self) -> Mapping[Place, int]:
        """Return how far the resolver is."""
        return _by_place(await asyncio.to_thread(self._cluster.committed, self._group, self._topics))

    async def ids_from(self, offsets: Mapping[Place, int]) -> set[tuple[str, str]]:
        """Return (source, id) of every event from these offsets up to now."""
        return await asyncio.to_thread(self._read, offsets)

    def _read(self, offsets: Mapping[Place, int]) -> set[tuple[str, str]]:
        ranges = _by_place(self._cluster.ranges(self._topics))
        starts = {place: min(max(first, offsets.get(place, first)), end) for place, (first, end) in ranges.items()}
        left = {place: end for place, (_, end) in ranges.items() if starts[place] < end}
        if not left:
            return set()

        def assigned(places: list[KafkaPlace]) -> dict[KafkaPlace, int | None]:
            return {place: starts[Place(*place)] for place in places}

        reader = Subscription(
            self._settings.brokers,
            f"{self._settings.topic_prefix}.ingest.{uuid4()}",  # nobody else's; commits nothing
            {place.topic for place in left},
            assigned=assigned,
            revoked=_nothing,
        )
        try:
            return self._ids(reader, left)
        finally:
            reader.close()

    def _ids(self, reader: Subscription, left: dict[Place, int]) -> set[tuple[str, str]]:
        ids: set[tuple[str, str]] = set()
        until = time.monotonic() + _READ_WAIT_S
        while left:
            for batch in reader.poll(_RECORDS_MAX, _POLL_S):
                until = time.monotonic() + _READ_WAIT_S
                heads = (self._codec.head(record.value) for record in batch.records)
                ids |= {(head.header.source, head.header.id) for head in heads if isinstance(head, Head)}
                place = Place(batch.topic, batch.partition)
                if batch.records[-1].offset + 1 >= left.get(place, 0):
                    left.pop(place, None)
            if time.monotonic() > until:
                raise Retryable("the channel topics could not be read to their ends.", next_step="see `touchline status`; it is tried again.")
        return ids


def _by_place(found: Mapping[KafkaPlace, V]) -> dict[Place, V]:
    return {Place(*place): value for place, value in found.items()}


def _nothing(places: object) -> None:
    del places
