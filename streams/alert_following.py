"""Alerts as they come: reads output topics from now on, and hands on each event. Blocking; for a terminal, not for a loop."""

from collections.abc import Iterator, Mapping
from typing import Final
from uuid import uuid4

from schemas.codec import Codec
from schemas.ids import Ids
from schemas.record import Event
from streams.cluster import Cluster, Place
from streams.kafka import Subscription

__all__ = ["followed"]

_POLL_S: Final = 0.2
_RECORDS_MAX: Final = 500


def followed(brokers: str, topics: list[str], codec: Codec, registered: Mapping[str, int] | None = None) -> Iterator[Event]:
    """Yield every event that is appended to these topics from now on, for as long as the caller goes on.

    `registered` are a registry's schema ids by record name, where the topics carry those. What cannot be decoded is passed over.
    Raises `Retryable` if no broker answers.
    """
    ends = Cluster(brokers).end_offsets(topics)
    internal = {entry.name: entry.id for entry in Ids.load().entries}
    ids = {number: internal[name] for name, number in (registered or {}).items() if name in internal}

    def started(places: list[Place]) -> dict[Place, int | None]:
        return {place: ends.get(place) for place in places}

    subscription = Subscription(brokers, f"touchline-follow-{uuid4()}", topics, assigned=started, revoked=lambda _: None)
    try:
        while True:
            for batch in subscription.poll(_RECORDS_MAX, _POLL_S):
                for record in batch.records:
                    found = codec.decode(reframed(record.value, ids))
                    if isinstance(found, Event):
                        yield found
    finally:
        subscription.close()


def reframed(value: bytes, ids: Mapping[int, int]) -> bytes:
    """Return a record under our own schema id instead of a registry's; as it is if that id is not the registry's."""
    known = ids.get(int.from_bytes(value[1:5], "big"))
    return value if known is None else value[:1] + known.to_bytes(4, "big") + value[5:]
