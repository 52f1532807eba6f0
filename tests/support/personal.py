"""Opening sealed parts as the operator of an installation may: with its key file, through the product's keyring."""

import time
from collections.abc import Sequence
from typing import Any

from schemas.codec import Codec
from schemas.events import Personal
from schemas.sealing import Opened, SealedItem
from streams.store.cassandra import CassandraStore
from streams.store.catalogue import keyring_tables
from streams.store.data_keys import CassandraDataKeys
from tests.support.harness import Installation
from touchline.keyring.keyfile import KeyFile
from touchline.keyring.keyring import Keyring

__all__ = ["opened"]


def opened(here: Installation, rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str], Personal]:
    """Return the personal part of each timeline row that can be opened, by (customer_id, event_id)."""
    items = [SealedItem(row["tenant"], row["event_id"], row["sealed"], row["sealed_key"]) for row in rows]

    async def asked(store: CassandraStore) -> list[object]:
        keys = CassandraDataKeys(store.beside(here.settings.keyring_keyspace, keyring_tables()), lambda: time.time_ns() // 1000)
        keyring = Keyring(keys, KeyFile.load_or_create(here.settings.key_file).wrapper, Codec())
        return list(await keyring.open_many(items))

    openings = here.read(asked)
    return {
        (row["customer_id"], row["event_id"]): opening.personal for row, opening in zip(rows, openings, strict=True) if isinstance(opening, Opened)
    }
