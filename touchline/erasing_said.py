"""Erasures on real servers: what they say on Kafka, and all their parts put together from the settings."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from connectors.producer import Producer
from schemas.codec import Codec
from schemas.events import KeysDestroyed, PrivacyErased
from schemas.sealing import DataKeyStore
from streams.audit.trail import Notes
from streams.identity.claims import Claims
from streams.reading import ActiveVersions, CustomerReader
from streams.store.catalogue import keyring_tables
from streams.store.data_keys import CassandraDataKeys
from streams.store.port import Store
from streams.wall_clock import now_us
from touchline.auditing import trail_of
from touchline.erasing import Erasing, Parts, Tell
from touchline.erasing_keys import Shredder
from touchline.erasing_person import People
from touchline.erasing_places import Places
from touchline.erasures import Erasures
from touchline.settings import Settings
from touchline.tables import connected

__all__ = ["KafkaSaid", "Office", "office"]


class KafkaSaid:
    """Says it on the log and on the control topic."""

    def __init__(self, producer: Producer, codec: Codec, topic: Callable[[str], str]) -> None:
        self._producer = producer
        self._codec = codec
        self._topic = topic

    async def to_the_log(self, events: Sequence[PrivacyErased]) -> None:
        """Append each under its customer, and wait for the acknowledgements."""
        for event in events:
            self._producer.produce(self._topic("interaction"), event.customer.encode(), self._codec.encode(event))
        await self._producer.drain()

    async def to_everybody(self, said: KeysDestroyed) -> None:
        """Append it to the control topic, and wait for the acknowledgement."""
        self._producer.produce(self._topic("control"), said.erasure.encode(), self._codec.encode(said))
        await self._producer.drain()


class Office(NamedTuple):
    """Where a privacy officer works: over one connection, what finds people, what erases them, and what reads of them."""

    store: Store
    codec: Codec
    people: People
    keys: DataKeyStore
    places: Places
    erasures: Erasures
    view: CustomerReader
    notes: Notes
    erasing: Erasing


@asynccontextmanager
async def office(settings: Settings, *, tell: Tell | None = None, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> AsyncIterator[Office]:
    """Connect to Cassandra for as long as the context lasts, and to Kafka when something is said. `tell` and `pause` as of `Erasing`.

    Raises `Retryable` if no node answers, `Refused` while no version of the view is active.
    """
    codec = Codec()
    async with connected(settings) as store:
        keys = CassandraDataKeys(store.beside(settings.keyring_keyspace, keyring_tables()), now_us)
        view = CustomerReader(store, codec, await ActiveVersions(store).of("view"))
        claims, notes = Claims(store), trail_of(settings, store)
        people, places, erasures = People(claims, view, keys), Places(store, now_us), Erasures(store, now_us)
        said = KafkaSaid(Producer(settings.brokers, linger="alerts"), codec, settings.topic)
        parts = Parts(erasures, people, claims, Shredder(keys, now_us), places, said, notes)
        yield Office(store, codec, people, keys, places, erasures, view, notes, Erasing(parts, now_us, pause=pause, tell=tell))
