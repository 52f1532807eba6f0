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
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

import msgspec

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

__all__ = ["CACHE_S", "WRAPPED_S", "Decodes", "Keyring"]

CACHE_S: Final = 60.0
"""How long what was read from the store may be used: the time within which an erasure is in force."""

_REFRESH_S: Final = 45.0
"""What is older is read again beforehand, so that what was prepared can be used for a quarter of a minute at least."""

WRAPPED_S: Final = 20.0
"""A new key is stored within this time after it was wrapped, or made anew: its key-encryption key may be on its way out by then."""

_CHUNK: Final = 64
_CHUNKS_IN_FLIGHT_MAX: Final = 4
_KEY_ID_BYTES: Final = 12

T = TypeVar("T")
Shelves = Mapping[tuple[str, bytes, Purpose], Shelf]


class Decodes(Protocol):
    """What the keyring needs of `schemas.codec.Codec`."""

    def decode(self, raw: bytes) -> object:
        """Return the record, or whatever says that there is none."""
        ...


class Keyring:
    """Keys of one process. `prepare` and `open_many` wait for the store; `seal` and `open` never wait.

    `monotonic` gives seconds. `entries_max` bounds the handles kept, least recently used first: about 1.5 kB each, and
    2.6 kB for each of their keys that was used; a `prepare` for more keeps all of its own. Old ones leave at the next call.
    """

    def __init__(
        self, store: DataKeyStore, wrapper: KeyWrapper, codec: Decodes, *, monotonic: Callable[[], float] = time.monotonic, entries_max: int = 50_000
    ) -> None:
        self._store = store
        self._wrapper = wrapper
        self._codec = codec
        self._monotonic = monotonic
        self._entries_max = entries_max
        self._shelves: OrderedDict[tuple[str, bytes, Purpose], Shelf] = OrderedDict()

    async def prepare(self, tenant: str, wanted: Mapping[tuple[bytes, Purpose], int], now_us: int) -> None:
        """Have a key of the current year for each (handle hash, purpose); the value is the latest event time to be sealed.

        No key is made where even that lies before an erasure. On return, new keys are acknowledged by the store.
        Raises `Retryable` as the store does, and `Misconfigured` where keys were wrapped by a key-encryption key unknown here.
        """
        year = year_of(now_us)
        fresh_from_s = self._monotonic() - _REFRESH_S
        missing: dict[KeyPartition, int] = {}
        for (handle_hash, purpose), latest_us in wanted.items():
            partition = KeyPartition(tenant, handle_hash, purpose)
            shelf = self._shelves.get(partition)
            if shelf is None or shelf.read_at_s < fresh_from_s or not shelf.ready(year, latest_us):
                missing[partition] = latest_us
            else:
                self._shelves.move_to_end(partition)
        await self._in_chunks(list(missing), lambda chunk: self._stock({p: missing[p] for p in chunk}, year, now_us))
        self._drop(keep=len(wanted))

    def seal(self, tenant: str, handle_hash: bytes, purpose: Purpose, event_id: str, plain: bytes, *, occurred_at_us: int) -> Sealed | None:
        """Seal under a prepared key; None if the handle was erased at or after the event's time.

        Raises `Retryable` if it was not prepared, or too long ago. Hot path: 2.4 µs for 400 bytes.
        """
        shelf = self._fresh(self._shelves, (tenant, handle_hash, purpose))
        if shelf.erased(occurred_at_us):
            return None
        if shelf.current is None:
            raise _not_prepared()
        return Sealed(shelf.current.seal(event_id, plain), shelf.current.sealed_key)

    async def open_many(self, items: Sequence[SealedItem]) -> list[Opening]:
        """Open sealed parts, in their order. Erased and corrupt ones are answers; only an unwell store or key service raises."""
        return [self._opened(found) for found in await self.unseal_many(items)]

    def open(self, item: SealedItem) -> Opening:
        """Open a part whose key was used here within 60 s, without waiting. Raises `Retryable` if none was: use `open_many`."""
        return self._opened(self._unsealed(item, self._shelves))

    async def unseal_many(self, items: Sequence[SealedItem]) -> list[bytes | Erased | Unreadable]:
        """Return what was sealed as it was sealed: for raw payloads, whose bytes are not a `Personal`."""
        shelves = await self._fetched(items)
        return [self._unsealed(item, shelves) for item in items]

    def doubt(self, tenant: str, handle_hash: bytes) -> None:
        """Read a handle's keys again before they are prepared or opened next; what was prepared can still be used, within its minute."""
        old_s = self._monotonic() - _REFRESH_S - 1.0
        for purpose in ("contact", "vulnerability"):
            if (shelf := self._shelves.get(KeyPartition(tenant, handle_hash, purpose))) is not None:
                shelf.read_at_s = min(shelf.read_at_s, old_s)

    def __len__(self) -> int:
        """Count the handles whose keys are kept, once per purpose."""
        return len(self._shelves)

    def __repr__(self) -> str:
        """Show no key."""
        return f"Keyring({len(self)} handles)"

    def _fresh(self, shelves: Shelves, partition: tuple[str, bytes, Purpose]) -> Shelf:
        shelf = shelves.get(partition)
        if shelf is None or self._monotonic() - shelf.read_at_s > CACHE_S:
            raise _not_prepared()
        return shelf

    def _opened(self, found: bytes | Erased | Unreadable) -> Opening:
        if not isinstance(found, bytes):
            return found
        record = self._codec.decode(found)
        return Opened(record) if isinstance(record, Personal) else Unreadable("content")

    def _unsealed(self, item: SealedItem, shelves: Shelves) -> bytes | Erased | Unreadable:
        name = parse_sealed_key(item.sealed_key)
        if name is None:
            return Unreadable("key_name")
        shelf = self._fresh(shelves, (item.tenant, name.handle_hash, name.purpose))
        row = shelf.rows.get(name.key_id)
        if row is None:
            return Unreadable("key_missing")
        if row.state == "destroyed":
            return Erased()
        key = shelf.keys.get(name.key_id)
        if key is None:
            raise _not_prepared()
        return key.unseal(item.event_id, item.sealed) if isinstance(key, DataKey) else key

    async def _fetched(self, items: Iterable[SealedItem]) -> Shelves:
        """Return shelves with the keys of these items; read anew where there is none, an old one, or one that lacks a key."""
        wanted: dict[KeyPartition, set[str]] = {}
        for item in items:
            if name := parse_sealed_key(item.sealed_key):
                wanted.setdefault(KeyPartition(item.tenant, name.handle_hash, name.purpose), set()).add(name.key_id)
        fresh_from_s = self._monotonic() - _REFRESH_S
        kept = {p: shelf for p in wanted if (shelf := self._shelves.get(p)) is not None}
        shelves: dict[tuple[str, bytes, Purpose], Shelf] = {
            p: shelf for p, shelf in kept.items() if shelf.read_at_s >= fresh_from_s and wanted[p] <= shelf.rows.keys()
        }
        stale = [p for p in wanted if p not in shelves]

        async def read(chunk: Sequence[KeyPartition]) -> None:
            shelves.update(await self._read(chunk))

        await self._in_chunks(stale, read)
        locked = [p for p, ids in wanted.items() if not ids <= shelves[p].keys.keys()]
        await self._in_chunks(locked, lambda chunk: self._unlock({p: wanted[p] for p in chunk}, shelves))
        for partition, shelf in shelves.items():
            self._keep(partition, shelf)
        self._drop(keep=len(shelves))
        return shelves

    async def _read(self, chunk: Sequence[KeyPartition]) -> dict[tuple[str, bytes, Purpose], Shelf]:
        read_at_s = self._monotonic()  # before the reading: the 60 s must not begin late
        found = await self._store.read_many(chunk)
        return {p: Shelf(found.get(p, ()), read_at_s, self._shelves.get(p)) for p in chunk}

    async def _unlock(self, wanted: Mapping[KeyPartition, set[str]], shelves: Shelves) -> None:
        todo = [(shelves[p], row) for p, ids in wanted.items() for key_id in ids if (row := shelves[p].locked(key_id))]
        for (shelf, row), key in zip(todo, await _all(self._key_or_reason(row) for _, row in todo), strict=True):
            shelf.keys[row.key_id] = key

    async def _stock(self, wanted: Mapping[KeyPartition, int], year: int, now_us: int) -> None:
        shelves = await self._read(list(wanted))
        began_s = self._monotonic()
        made = await _all(self._provide(p, shelves[p], latest_us, year, now_us) for p, latest_us in wanted.items())
        if rows := [row for row in made if row is not None]:
            if self._monotonic() - began_s > WRAPPED_S:
                raise Retryable("Making data keys took too long.", next_step="prepare the batch again; look at the key service if there is one.")
            await self._store.insert_many(rows)
        for partition, shelf in shelves.items():  # only now: nothing may be sealed under a key that is not stored
            self._keep(partition, shelf)

    async def _provide(self, partition: KeyPartition, shelf: Shelf, latest_us: int, year: int, now_us: int) -> WrappedKey | None:
        """Give the shelf a key to seal with if it needs one; return the row if the key is new."""
        if shelf.erased(latest_us):
            return None
        for row in shelf.candidates(year):
            known = shelf.keys.get(row.key_id)
            key = known if isinstance(known, DataKey) else await self._key(row)
            if key is not None:
                shelf.use(row, key)
                return None
        secret, key_id = secrets.token_bytes(KEY_BYTES), secrets.token_urlsafe(_KEY_ID_BYTES)
        name = SealedKey(partition.purpose, partition.handle_hash, key_id)
        bare = WrappedKey(**partition._asdict(), key_id=key_id, wrapped=b"", kek_id="", created_at_us=now_us)
        wrapped, kek_id = await self._wrapper.wrap(secret, bare.context)
        row = msgspec.structs.replace(bare, wrapped=wrapped, kek_id=kek_id)
        shelf.use(row, DataKey(partition.tenant, name, secret))
        return row

    async def _key(self, row: WrappedKey) -> DataKey | None:
        secret = await self._wrapper.unwrap(row.wrapped, row.kek_id, row.context)
        if secret is None or len(secret) != KEY_BYTES:
            return None
        return DataKey(row.tenant, SealedKey(row.purpose, row.handle_hash, row.key_id), secret)

    async def _key_or_reason(self, row: WrappedKey) -> DataKey | Unreadable:
        try:
            return await self._key(row) or Unreadable("key_wrapping")
        except Misconfigured:
            return Unreadable("kek_unknown")

    def _keep(self, partition: tuple[str, bytes, Purpose], shelf: Shelf) -> None:
        """Put the shelf among the others, as the most recently used one; a later reading by another task wins."""
        before = self._shelves.get(partition)
        if before is None or before.read_at_s <= shelf.read_at_s:
            self._shelves[partition] = shelf
        self._shelves.move_to_end(partition)

    def _drop(self, keep: int) -> None:
        """Let go of the least recently used beyond the limit, and of those too old to be used."""
        limit, expired_s = max(self._entries_max, keep), self._monotonic() - CACHE_S
        while self._shelves and (len(self._shelves) > limit or next(iter(self._shelves.values())).read_at_s < expired_s):
            self._shelves.popitem(last=False)

    async def _in_chunks(self, partitions: Sequence[KeyPartition], work: Callable[[Sequence[KeyPartition]], Awaitable[None]]) -> None:
        chunks = [partitions[at : at + _CHUNK] for at in range(0, len(partitions), _CHUNK)]
        for at in range(0, len(chunks), _CHUNKS_IN_FLIGHT_MAX):
            await _all(work(chunk) for chunk in chunks[at : at + _CHUNKS_IN_FLIGHT_MAX])


def _not_prepared() -> Retryable:
    return Retryable("A key is not at hand, or was read more than a minute ago.", next_step="prepare the batch again.")


async def _all(works: Iterable[Awaitable[T]]) -> list[T]:
    """Run all to their ends, then raise the first error if there is one: nothing goes on behind the caller's back."""
    ended = await asyncio.gather(*works, return_exceptions=True)
    results = []
    for found in ended:
        if isinstance(found, BaseException):
            raise found
        results.append(found)
    return results
