"""Opens sealed parts for the operator at this machine, and finds customers by their handles: both take the local key file.

What is opened is meant for the operator's eyes: it goes to the terminal, never into a log, an error or a file of ours.
"""

import time
from collections.abc import Sequence
from typing import Final, get_args

from schemas.codec import Codec
from schemas.events import HandleKind
from schemas.handles import customer_id, handle_hash, normalise
from schemas.sealing import DataKeyStore, Erased, Opened, Opening, SealedItem, Unreadable
from streams.store.cassandra import CassandraStore
from streams.store.catalogue import keyring_tables
from streams.store.data_keys import CassandraDataKeys
from touchline.errors import Misconfigured, Refused
from touchline.keyring.keyfile import KeyFile
from touchline.keyring.keyring import Keyring
from touchline.settings import Settings

__all__ = ["Opener", "data_keys_beside", "parse_handle", "state_of"]

NO_KEY_FILE: Final = "no_key_file"
"""The reason why nothing can be opened on a machine that has no key file."""

_KINDS: Final[tuple[HandleKind, ...]] = get_args(HandleKind)


class Opener:
    """Opens in batches. Without a key file on this machine everything is `Unreadable`; none is ever made here."""

    def __init__(self, settings: Settings, keys: DataKeyStore, codec: Codec) -> None:
        self._path = settings.key_file
        self._region = settings.default_region
        self._file = KeyFile.load_or_create(settings.key_file) if settings.key_file.exists() else None
        self._keyring = Keyring(keys, self._file.wrapper, codec) if self._file else None

    async def open(self, items: Sequence[SealedItem | None]) -> list[Opening | None]:
        """Open what there is to open, in order; None stays None. Raises `Retryable` if the keys cannot be read now."""
        wanted = [item for item in items if item is not None]
        if self._keyring is None:
            return [None if item is None else Unreadable(NO_KEY_FILE) for item in items]
        found = iter(await self._keyring.open_many(wanted) if wanted else ())
        return [None if item is None else next(found) for item in items]

    def customer_of(self, tenant: str, kind: HandleKind, value: str) -> str:
        """Return the customer_id of a handle that was never erased or linked. Raises `Refused` for a value that is none of its kind."""
        key = self._index_key(tenant)
        return customer_id(tenant, kind, handle_hash(key, kind, normalise(kind, value, self._region)))

    def value_of(self, tenant: str, kind: HandleKind, hashed: bytes, opening: Opening | None) -> str | None:
        """Return the handle that has this hash from the opened part of an event that carried it; None if it is not there."""
        if not isinstance(opening, Opened):
            return None
        key = self._index_key(tenant)
        return next((h.value for h in opening.personal.handles if h.kind == kind and handle_hash(key, kind, h.value) == hashed), None)

    def _index_key(self, tenant: str) -> bytes:
        if self._file is None:
            raise Misconfigured(f"There is no key file at {self._path}.", next_step="set TOUCHLINE_KEY_FILE to the one that the importer uses.")
        return self._file.index_key(tenant)


def data_keys_beside(store: CassandraStore, settings: Settings) -> DataKeyStore:
    """Return the data keys that lie in the same cluster as a store, over its connections."""
    return CassandraDataKeys(store.beside(settings.keyring_keyspace, keyring_tables()), lambda: time.time_ns() // 1000)


def parse_handle(text: str) -> tuple[HandleKind, str]:
    """Read `phone:+49301234567` as (kind, value). Raises `Refused` for another form, without repeating the value."""
    kind, colon, value = text.partition(":")
    found = next((known for known in _KINDS if known == kind.strip().lower()), None)
    if not colon or found is None or not value.strip():
        raise Refused(
            "A handle is written KIND:VALUE.", reason="handle_form", next_step=f"write for instance phone:+49301234567; kinds: {', '.join(_KINDS)}."
        )
    return found, value.strip()


def state_of(opening: Opening | None) -> str:
    """Return in one word what became of a sealed part: `none` (there was none), `opened`, `erased` or `unreadable`."""
    if opening is None:
        return "none"
    if isinstance(opening, Opened):
        return "opened"
    return "erased" if isinstance(opening, Erased) else "unreadable"
