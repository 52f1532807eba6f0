"""Where else than on the log and in the views something of a person lies: the way back from customers to handles, proposals, raw payloads.

What stands there is not readable any more once the keys are gone; it is deleted because nobody needs it. A row that comes back (a
linker that was slow) is verified by its claim wherever it is read, and so is of no use.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, NamedTuple

from schemas.sealing import parse_sealed_key
from streams.control_topic import KnownBy
from streams.identity.pairs import Pairs
from streams.store.columns import Row, text
from streams.store.port import RowWrite, Store
from streams.store.ticks import Ticks

__all__ = ["Places", "RawPayload"]

_BACK: Final = "identities_by_customer"
_PROPOSALS: Final = "identity_proposal"
_RAW: Final = "raw_payload"
_CHUNK: Final = 500
_AHEAD_US: Final = 86_400_000_000
"""A raw payload is deleted a day ahead: a plain delete by a clock that is behind its writer's would be ignored."""


class RawPayload(NamedTuple):
    """The key of a raw payload that was sealed for a person."""

    tenant: str
    source: str
    id: str


class Places:
    """Finds and deletes such rows."""

    def __init__(self, store: Store, now_us: Callable[[], int]) -> None:
        self._store = store
        self._ticks = Ticks(now_us)

    async def proposals(self, tenant: str, customers: Collection[str]) -> list[tuple[str, str]]:
        """Return the proposals to merge that name one of these customers, by their two customers."""
        return [(one.customer, one.other) for one in await Pairs(self._store).proposals_of(tenant, customers)]

    async def raw_payloads(self, tenant: str, handles: Iterable[KnownBy], looked: Callable[[int], object] = int) -> list[RawPayload]:
        """Return the raw payloads that were sealed under one of these handles' keys. Reads the whole table; `looked` hears how many rows."""
        hashes = {handle.hash for handle in handles}
        found: list[RawPayload] = []
        async for page in self._store.pages(_RAW):
            found += [RawPayload(tenant, text(row, "source"), text(row, "id")) for row in page if row["tenant"] == tenant and _is_of(row, hashes)]
            looked(len(page))
        return found

    async def delete_way_back(self, tenant: str, customers: Iterable[str], handles: Iterable[KnownBy]) -> int:
        """Delete the rows that lead from these customers to these handles; return how many there were."""
        known = {(handle.kind, handle.hash.hex()) for handle in handles}
        keys: list[tuple[str | int, ...]] = []
        for customer in sorted(customers):
            rows = await self._store.read(_BACK, {"tenant": tenant, "customer": customer})
            keys += [
                (tenant, customer, kind, hashed)
                for row in rows
                if (kind := text(row, "kind"), hashed := text(row, "hash")) and (kind, hashed) in known
            ]
        await self._delete(_BACK, keys, self._ticks.next_us())
        return len(keys)

    async def delete_proposals(self, tenant: str, customers: Collection[str]) -> int:
        """Delete the proposals that name one of these customers; return how many there were."""
        pairs = await self.proposals(tenant, customers)
        await self._delete(_PROPOSALS, [(tenant, *pair) for pair in pairs], self._ticks.next_us())
        return len(pairs)

    async def delete_raw_payloads(self, found: Iterable[RawPayload]) -> None:
        """Delete raw payloads."""
        await self._delete(_RAW, list(found), self._ticks.next_us() + _AHEAD_US)

    async def _delete(self, table: str, keys: Sequence[tuple[str | int, ...]], ts_us: int) -> None:
        for at in range(0, len(keys), _CHUNK):
            await self._store.write([RowWrite(table, tuple(key), None, ts_us) for key in keys[at : at + _CHUNK]])


def _is_of(row: Row, hashes: Collection[bytes]) -> bool:
    name = parse_sealed_key(text(row, "sealed_key", ""))
    return name is not None and name.handle_hash in hashes
