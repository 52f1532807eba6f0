"""The tables, as commands read them: a connection for as long as a context lasts, and the rules that the workers have read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec

from projections.rules import Config
from streams.books import TABLE, positions
from streams.store.cassandra import CassandraStore
from streams.store.port import Store
from touchline.settings import Settings

__all__ = ["connected", "rules_of"]


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[CassandraStore]:
    """Connect to Cassandra. Raises `Retryable` if no node answers, `Misconfigured` if there are no tables yet."""
    store = await CassandraStore.connect(settings)
    try:
        yield store
    finally:
        await store.close()


async def rules_of(store: Store, tenant: str) -> Config:
    """Return the rules of a tenant, all versions, as the workers have read them; without any, the empty ones.

    Every partition of the log carries every version, so the first one says it all.
    """
    config = Config()
    for row in await store.read(TABLE, {"partition": 0}):
        with suppress(msgspec.MsgspecError):  # a version that this program is too old for: it goes on by those it knows
            for position in positions([row]):
                config = config.with_book(position.book) if position.tenant == tenant else config
    return config
