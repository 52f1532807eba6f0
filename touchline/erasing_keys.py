"""The destruction of keys: every key of a handle, for every purpose, overwritten for good and read back. Sees no key in the clear.

A partition that holds no key gets a row all the same, so that whoever seals for this handle next finds out since when nothing older
may be sealed.

    read ──▶ overwrite what is active (else put a marker) ──▶ read back: active still? once more
                                                             │
    a minute and some seconds later: once more, for a key that somebody made who had read the keyring before
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec

from schemas.sealing import DataKeyStore, KeyPartition, WrappedKey
from streams.control_topic import KnownBy
from touchline.erasing_person import PURPOSES
from touchline.errors import Retryable
from touchline.keyring.keyring import CACHE_S

__all__ = ["AGAIN_S", "IN_TIME_S", "MARKER", "Destroyed", "Shredder", "partitions_of"]

MARKER: Final = "erased"
"""The key id of the row that stands where there was no key."""

IN_TIME_S: Final = 5.0
"""How long one destruction may take, from the time that it gives as its own to what was read back; else it is done again with a later one."""

AGAIN_S: Final = CACHE_S + IN_TIME_S
"""When keys are destroyed once more, counted from the first time: by then nobody goes by what was read before it."""

_CHUNK: Final = 50
_TRIES_MAX: Final = 5


class Destroyed(NamedTuple):
    """What a destruction came to: `at_us` is the time from which on text is sealed anew, `keys` how many there were."""

    at_us: int
    keys: int


class Shredder:
    """Destroys keys in a keyring's store. `now_us` is the wall clock."""

    def __init__(self, keys: DataKeyStore, now_us: Callable[[], int]) -> None:
        self._keys = keys
        self._now_us = now_us

    async def destroy(self, tenant: str, handles: Iterable[KnownBy], since_us: int) -> Destroyed:
        """Destroy every key of these handles. On return the store has them no more.

        What was destroyed at `since_us` or later counts as done: this erasure did it, when it was cut off.

        Raises `Retryable` if that cannot be had in time: then do it again.
        """
        partitions = partitions_of(tenant, handles)
        for _ in range(_TRIES_MAX):
            at_us, keys = self._now_us(), 0
            for at in range(0, len(partitions), _CHUNK):
                keys += await self._destroy(partitions[at : at + _CHUNK], at_us, since_us)
            if self._now_us() - at_us <= IN_TIME_S * 1e6:
                return Destroyed(at_us, keys)
        raise Retryable(
            f"Destroying {len(partitions)} handles' keys takes longer than {IN_TIME_S:.0f} s.", next_step="try again when the store is well."
        )

    async def destroy_again(self, tenant: str, handles: Iterable[KnownBy], erased_at_us: int) -> int:
        """Destroy keys that were made by somebody who had read the keyring before; return how many.

        One that is younger than the time for which anybody may go by what was read is of somebody who came back, and stays.
        """
        before_us = erased_at_us + round(AGAIN_S * 1e6)
        partitions, keys = partitions_of(tenant, handles), 0
        for at in range(0, len(partitions), _CHUNK):
            rows = await self._active(partitions[at : at + _CHUNK], before_us)
            await self._keys.insert_many([_destroyed(row, erased_at_us) for row in rows])
            keys += len(rows)
            await self._read_back(partitions[at : at + _CHUNK], before_us)
        return keys

    async def _destroy(self, partitions: list[KeyPartition], at_us: int, since_us: int) -> int:
        found = await self._keys.read_many(partitions)
        active = [row for partition in partitions for row in found.get(partition, ()) if row.state == "active"]
        marked = {row.partition for rows in found.values() for row in rows if row.state == "active" or (row.erased_at_us or 0) >= since_us}
        markers = [_marker(partition, at_us) for partition in partitions if partition not in marked]
        await self._keys.insert_many([*(_destroyed(row, at_us) for row in active), *markers])
        await self._read_back(partitions, at_us)
        return len(active)

    async def _active(self, partitions: list[KeyPartition], before_us: int) -> list[WrappedKey]:
        found = await self._keys.read_many(partitions)
        return [row for rows in found.values() for row in rows if row.state == "active" and row.created_at_us <= before_us]

    async def _read_back(self, partitions: list[KeyPartition], before_us: int) -> None:
        """See to it that the store really has no key of before any more. Raises `Retryable` if it has."""
        if left := await self._active(partitions, before_us):
            raise Retryable(f"{len(left)} destroyed keys can still be read.", next_step="run `touchline privacy erase --resume`.")


def partitions_of(tenant: str, handles: Iterable[KnownBy]) -> list[KeyPartition]:
    """Return the partitions of the keyring that the keys of these handles lie in, for every purpose."""
    return [KeyPartition(tenant, handle.hash, purpose) for handle in handles for purpose in PURPOSES]


def _destroyed(row: WrappedKey, at_us: int) -> WrappedKey:
    return msgspec.structs.replace(row, wrapped=b"", state="destroyed", erased_at_us=max(at_us, row.erased_at_us or 0))


def _marker(partition: KeyPartition, at_us: int) -> WrappedKey:
    return WrappedKey(**partition._asdict(), key_id=MARKER, wrapped=b"", kek_id="", state="destroyed", created_at_us=at_us, erased_at_us=at_us)
