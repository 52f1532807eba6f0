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
from streams.store.catalogue import keyring_tables
from streams.store.data_keys import CassandraDataKeys
from streams.store.manifests import Manifests
from streams.wall_clock import now_us
from touchline.channel_topics import ChannelTopics
from touchline.keyring.keyfile import KeyFile
from touchline.keyring.keyring import Keyring
from touchline.publishing import clear_attributes
from touchline.settings import Settings
from touchline.tables import connected

__all__ = ["Importing", "importing"]

DELIVERY_TIMEOUT_S = 600
"""An import has time: waiting longer keeps the order of what it sends."""


class Importing(NamedTuple):
    """An importer and the channel topics that it appends to."""

    importer: Importer
    channels: ChannelTopics


@asynccontextmanager
async def importing(
    settings: Settings,
    keys: KeyFile,
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
        importer = Importer(
            tenant=settings.tenant,
            index_key=keys.index_key(settings.tenant),
            sealer=Sealer(Keyring(data_keys, keys.wrapper, codec), codec, keys.index_key, settings.default_region, clear_attributes=clear),
            codec=codec,
            producer=producer,
            quarantine=Quarantine(producer, codec, settings.topic("quarantine"), tenant=settings.tenant, source=source, file=file),
            manifests=Manifests(store, KnownChunk, Note, now_us),
            channels=channels,
            clock_us=now_us,
            topic_prefix=settings.topic_prefix,
            future_max_s=settings.future_max_s,
            shift_us=shift_us,
            pace=pace,
            strict=strict,
            tell=tell,
        )
        yield Importing(importer, channels)
