"""The keyring: data keys per (tenant, handle hash, purpose), prepared for many events at once, then used without waiting.

- A key is made only when there is something to seal, and anew in each calendar year (UTC, of the `now_us` that the caller
  passes, normally the time of receipt), so that text can be aged out by destroying old keys. Inserts are plain: two racers
  make two valid keys, and from the next look on both use the one that comes first in (created_at_us, key_id).
- What was read is used for at most 60 s: an erasure anywhere is in force everywhere within that time.
- A destroyed key leaves its row with `erased_at_us`: an event with event time ≤ that is kept without its personal part, a
  later one gets a new key.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NoReturn, Protocol

from schemas.events import Personal
from schemas.sealing import (
    KEY_BYTES,
    DataKey,
    DataKeyStore,
    Erased,
    KeyPartition,
    KeyWrapper,
    Opened,
    Opening,
    Purpose,
    Sealed,
    SealedItem,
    SealedKey,
    Unreadable,
    WrappedKey,
    parse_sealed_key,
)
from touchline.errors import Misconfigured, Retryable
from touchline.keyring.shelf import Shelf, year_of

__all__ = ["CACHE_S", "Keyring"]

CACHE_S: Final = 60.0
"""How long what was read from the store may be used: the time within which an erasure is in force."""

_REFRESH_S: Final = 45.0
"""`prepare` reads again what is older, so that what it leaves can be used for a quarter of a minute at least."""

_CHUNK: Final = 64
_CHUNKS_IN_FLIGHT_MAX: Final = 4


class Decodes(Protocol):
    """What the keyring needs of `schemas.codec.Codec`."""

    def decode(self, raw: bytes) -> object:
        """Return the record, or whatever says that there is none."""
        ...


class Keyring:
    """Keys of one process. `prepare` and `open_many` wait for the store; `seal` and `open` never wait.

    `entries_max` bounds what is kept: about 1 kB for a handle, and 2.6 kB for each of its keys that was used.
    Hot path: `seal` 2.5 µs for 400 bytes, `prepare` of handles already there 0.6 µs each.
    """

    def __init__(
        self, store: DataKeyStore, wrapper: KeyWrapper, codec: Decodes, *, monotonic: Callable[[], float] = time.monotonic, entries_max: int = 50_000
    ) -> None:
        self._store = store
        self._wrapper = wrapper
        self._codec = codec
        self._monotonic = monotonic
        self._entries_max = entries_max
        self._shelves: dict[KeyPartition, Shelf] = {}  # least recently prepared first
        self._in_flight = asyncio.Semaphore(_CHUNKS_IN_FLIGHT_MAX)

    async def prepare(self, tenant: str, wanted: Mapping[tuple[bytes, Purpose], int], now_us: int) -> None:
        """Make sure of a key of the current year for each (handle hash, purpose); its value is the latest event time to seal.

        No key is made where even that event lies before an erasure. On return new keys are acknowledged by the store.
        Raises `Retryable` as the store does, and `Misconfigured` if keys were wrapped by a key-encryption key unknown here.
        """
        year = year_of(now_us)
        fresh_after_s = self._monotonic() - _REFRESH_S
        missing: dict[KeyPartition, int] = {}
        for (handle_hash, purpose), latest_us in wanted.items():
            partition = KeyPartition(tenant, handle_hash, purpose)
            shelf = self._shelves.pop(partition, None)
            if shelf is not None:
                self._shelves[partition] = shelf  # most recently used: to the end
            if shelf is None or shelf.read_at_s < fresh_after_s or not shelf.ready(year, latest_us):
                missing[partition] = latest_us
        if missing:
            await self._chunked(list(missing), lambda chunk: self._stock(chunk, missing, year, now_us))
        self._drop(keep=len(wanted))

    def seal(self, tenant: str, handle_hash: bytes, purpose: Purpose, event_id: str, plain: bytes, occurred_at_us: int) -> Sealed | None:
        """Seal under a prepared key; None if the handle was erased at or after the event's time.

        Raises `Retryable` if it was not prepared, or too long ago.
        """
        shelf = self._shelves.get((tenant, handle_hash, purpose))  # type: ignore[call-overload] # a plain tuple equals the named one
        if shelf is None or self._monotonic() - shelf.read_at_s > CACHE_S:
            _not_prepared()
        if shelf.erased(occurred_at_us):
            return None
        key: DataKey | None = shelf.current
        if key is None:
            _not_prepared()
        return Sealed(key.seal(event_id, plain), key.sealed_key)

    async def open_many(self, items: Sequence[SealedItem]) -> list[Opening]:
        """Open sealed parts, in their order. Erased and corrupt ones are answers; only an unwell store or key service raises."""
        return [self._opened(found) for found in await self.unseal_many(items)]

    def open(self, item: SealedItem) -> Opening:
        """Open one part under a key that this process has used within 60 s. Raises `Retryable` if it has not: use `open_many`."""
        return self._opened(self._unsealed(item))

    async def unseal_many(self, items: Sequence[SealedItem]) -> list[bytes | Erased | Unreadable]:
        """Return what was sealed as it was sealed: for raw payloads, whose bytes are not a `Personal`."""
        await self._fetch(items)
        return [self._unsealed(item) for item in items]

    def forget(self, tenant: str, handle_hash: bytes) -> None:
        """Drop a handle's keys now: its keys were destroyed."""
        for purpose in ("contact", "vulnerability"):
            self._shelves.pop(KeyPartition(tenant, handle_hash, purpose), None)

    def __len__(self) -> int:
        """Count the handles whose keys are kept."""
        return len(self._shelves)

    def __repr__(self) -> str:
        """Show no key."""
        return f"Keyring({len(self)} handles)"

    def _opened(self, found: bytes | Erased | Unreadable) -> Opening:
        if not isinstance(found, bytes):
            return found
        record = self._codec.decode(found)
        return Opened(record) if isinstance(record, Personal) else Unreadable("content")

    def _unsealed(self, item: SealedItem) -> bytes | Erased | Unreadable:
        name = parse_sealed_key(item.sealed_key)
        if name is None:
            return Unreadable("key_name")
        shelf = self._shelves.get(KeyPartition(item.tenant, name.handle_hash, name.purpose))
        if shelf is None or self._monotonic() - shelf.read_at_s > CACHE_S:
            _not_prepared()
        row = shelf.rows.get(name.key_id)
        if row is None:
            return Unreadable("key_missing")
        if row.state == "destroyed":
            return Erased()
        key = shelf.keys.get(name.key_id)
        if key is None:
            _not_prepared()
        return key.unseal(item.event_id, item.sealed) if isinstance(key, DataKey) else key

    async def _fetch(self, items: Iterable[SealedItem]) -> None:
        """Have the keys of these items: read a partition that is not here, is old, or lacks a key made since; then unwrap."""
        wanted: dict[KeyPartition, set[str]] = {}
        for item in items:
            if name := parse_sealed_key(item.sealed_key):
                wanted.setdefault(KeyPartition(item.tenant, name.handle_hash, name.purpose), set()).add(name.key_id)
        fresh_after_s = self._monotonic() - _REFRESH_S
        stale = [p for p, ids in wanted.items() if (s := self._shelves.get(p)) is None or s.read_at_s < fresh_after_s or not ids <= s.rows.keys()]
        await self._chunked(stale, self._read)
        for partition, key_ids in wanted.items():
            shelf = self._shelves[partition] = self._shelves.pop(partition)
            for key_id in key_ids - shelf.keys.keys():
                if (row := shelf.rows.get(key_id)) is not None and row.state == "active":
                    shelf.keys[key_id] = await self._unwrapped(row)
        self._drop(keep=len(wanted))

    async def _chunked(self, partitions: Sequence[KeyPartition], work: Callable[[Sequence[KeyPartition]], object]) -> None:
        raise NotImplementedError
