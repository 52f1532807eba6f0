"""Puts an importer together from the settings: keys, store, sealer, producer, manifests. For `ingest` and `demo`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from connectors.ingest import Importer
from connectors.manifest import KnownChunk, Note
from connectors.pace import Pace
from connectors.producer import Producer
from connectors.quarantine import Quarantine
from connectors.sealer import Sealer
from connectors.tally import Counts
from schemas.codec import Codec
from schemas.events import KeysDestroyed
from streams.control_topic import handles_of, listening
from streams.store.catalogue import keyring_tables
from streams.store.data_keys import CassandraDataKeys
from streams.store.manifests import Manifests
from streams.wall_clock import now_us
from touchline.channel_topics import ChannelTopics
from touchline.keyring.keyring import Keyring
from touchline.keyring.service import KeyService
from touchline.publishing import clear_attributes
from touchline.sealers import new_sealer
from touchline.settings import Settings
from touchline.tables import connected

__all__ = ["Importing", "importing"]

DELIVERY_TIMEOUT_S = 600
"""An import has time: waiting longer keeps the order of what it sends."""


class Importing(NamedTuple):
    """An importer, the channel topics that it appends to, and the sealer, which counts handles that are blocked."""

    importer: Importer
    channels: ChannelTopics
    sealer: Sealer


@asynccontextmanager
async def importing(
    settings: Settings,
    keys: KeyService,
    *,
    source: str,
    file: str,
    shift_us: int = 0,
    pace: Pace | None = None,
    strict: bool = False,
    tell: Callable[[int, Counts], None] | None = None,
) -> AsyncIterator[Importing]:
    """Connect, yield an importer of one `Input` (its source is `source`, `file` the name told in quarantine), disconnect.

    Attributes stay clear that the newest published rules name.
    """
    async with connected(settings) as store:
        codec = Codec()
        data_keys = CassandraDataKeys(store.beside(settings.keyring_keyspace, keyring_tables()), now_us)
        producer = Producer(settings.brokers, delivery_timeout_s=DELIVERY_TIMEOUT_S)
        channels = ChannelTopics(settings, codec)
        clear = await asyncio.to_thread(clear_attributes, settings)
        keyring = Keyring(data_keys, keys.wrapper, codec)
        sealer = new_sealer(settings, keyring, codec, keys.index_key, clear_attributes=clear)
        importer = Importer(
            tenant=settings.tenant,
            index_key=keys.index_key(settings.tenant),
            sealer=sealer,
            codec=codec,
            producer=producer,
            quarantine=Quarantine(producer, codec, settings.topic("quarantine"), tenant=settings.tenant, source=source, file=file),
            manifests=Manifests(store, KnownChunk, Note, now_us),
            channels=channels,
            clock_us=now_us,
            topic_prefix=settings.topic_prefix,
            future_max_s=settings.future_max_s,
            vulnerability_days_max=settings.vulnerability_days_max,
            shift_us=shift_us,
            pace=pace,
            strict=strict,
            tell=tell,
        )

        def hear(said: KeysDestroyed) -> None:
            for handle in handles_of(said.handles):
                keyring.doubt(said.tenant, handle.hash)

        async with listening(settings.brokers, settings.topic("control"), codec, hear):
            yield Importing(importer, channels, sealer)
