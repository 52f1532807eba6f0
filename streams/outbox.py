"""Effects onto their output topics: framed with a registry's ids where one is configured, with CloudEvents headers."""

from collections.abc import Callable, Mapping, Sequence

from connectors.producer import Producer
from projections.kernel import Effect, Tombstone
from schemas.cloudevents import headers
from schemas.codec import Codec
from schemas.events import CustomerSnapshot
from schemas.record import Event
from streams.effects import DESTINATIONS

__all__ = ["KafkaEffects"]

SOURCE = "/touchline"


class KafkaEffects:
    """The effect port of a live worker.

    `topic` makes full topic names; `registry_ids` maps full record names to a registry's schema ids (empty = our own ids).
    """

    def __init__(self, producer: Producer, codec: Codec, topic: Callable[[str], str], registry_ids: Mapping[str, int] | None = None) -> None:
        self._producer = producer
        self._codec = codec
        self._topic = topic
        self._ids = registry_ids or {}

    async def send(self, effects: Sequence[Effect]) -> None:
        """Append all effects and wait until every one is acknowledged."""
        if not effects:
            return
        for effect in effects:
            self._append(effect)
        await self._producer.drain()

    def _append(self, effect: Effect) -> None:
        destination = DESTINATIONS[effect.kind]
        payload = effect.payload
        topic = self._topic(destination.topic)
        if destination.loop_back:
            self._producer.produce(topic, effect.key.encode(), self._codec.encode(payload))
            return
        if isinstance(payload, Tombstone):
            self._producer.produce(topic, effect.key.encode(), None)
            return
        registered = self._ids.get(payload.FULL_NAME)
        value = self._codec.encode(payload) if registered is None else self._codec.encode_as(payload, registered)
        event_id, at_us = _identity(effect)
        said = headers(
            event_id=event_id,
            source=SOURCE,
            type_=effect.kind,
            at_us=at_us,
            subject=effect.key,
            dataschema=f"urn:touchline:schema:{payload.FULL_NAME}:{int.from_bytes(value[1:5], 'big')}",
        )
        for name in (topic, *map(self._topic, destination.also)):
            self._producer.produce(name, effect.key.encode(), value, said)


def _identity(effect: Effect) -> tuple[str, int]:
    """Return (id, event time): an event's own; of a snapshot its customer and the place in the log that it is of."""
    payload = effect.payload
    if isinstance(payload, Event):
        return payload.header.id, payload.header.occurred_at_us
    if isinstance(payload, CustomerSnapshot):
        return f"{effect.key}/{payload.partition}/{payload.offset}", payload.event_time_us
    raise TypeError(f"effects of kind {effect.kind} have no identity of their own")
