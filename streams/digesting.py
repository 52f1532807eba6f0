"""The digest of what a store holds for a group's readers: the same number for live, replay and simulate (engine.md §5)."""

from projections.digest import digest
from projections.registry import Group
from schemas.codec import Codec
from streams.customer_view import decoded
from streams.store.port import Store

__all__ = ["store_digest"]


async def store_digest(store: Store, group: Group, codec: Codec | None = None) -> str:
    """Return the SHA-256, in hex, of a group's reader tables, which are read whole and held in memory."""
    reader = codec or Codec()
    rows = {table.name: await store.scan(table.physical) for table in group.reader_tables}
    return digest(group.tables(), rows, decode=lambda schema_id, body: decoded(reader, body, schema_id))
