"""A small installation in memory in which people can be erased: claims, the view's rows, a keyring; and a store that fails when told to.

The clock stands until somebody waits. What is said on the log and to everybody is kept, as often as it was said.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from projections.registry import GROUPS
from schemas.codec import Codec
from schemas.events import CustomerContact, CustomerKnownHandle, HandleKind, KeysDestroyed, PrivacyErased
from schemas.sealing import KeyPartition, Purpose, WrappedKey
from streams.control_topic import KnownBy
from streams.identity.claim import Claim, Name
from streams.identity.claims import Claims
from streams.reading import CustomerReader
from streams.store.catalogue import keyring_tables, known_tables
from streams.store.data_keys import CassandraDataKeys
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion, RowWrite
from touchline.erasing import Erasing, Parts
from touchline.erasing_keys import Shredder
from touchline.erasing_person import People
from touchline.erasing_places import Places
from touchline.erasures import Erasure, Erasures

__all__ = ["NOW", "TENANT", "Cut", "Place", "known_by"]

TENANT: Final = "acme"
NOW: Final = 1_768_176_000_000_000
VIEW: Final = GroupVersion("view", GROUPS["view"].version)


class Cut(Exception):
    """The process was killed here."""


def known_by(kind: HandleKind, n: int) -> KnownBy:
    """Return a handle."""
    return KnownBy(kind, bytes([n]) * 32)


class _Limited:
    """A store whose process is killed before its change number `limit`, or after it (`after`). `None`: never."""

    def __init__(self, store: MemoryStore, place: "Place") -> None:
        self._store = store
        self._place = place

    async def write(self, rows: Sequence[RowWrite]) -> None:
        await self._place.change(lambda: self._store.write(rows))

    async def swap(self, *args: Any, **options: Any) -> bool:
        return bool(await self._place.change(lambda: self._store.swap(*args, **options)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Place:
    """The installation. `limit`: how many changes are made before the process is killed; they are counted in `changes`."""

    def __init__(self) -> None:
        self.store = MemoryStore(known_tables())
        self.keyring = MemoryStore(keyring_tables())
        self.now_us = NOW
        self.limit: int | None = None
        self.after = False
        self.changes = 0
        self.log: list[PrivacyErased] = []
        self.told: list[KeysDestroyed] = []
        self.notes: list[tuple[str, dict[str, Any]]] = []
        self.waited_s: list[float] = []
        self.meanwhile: Callable[[], Any] | None = None
        limited: Any = _Limited(self.store, self)
        self.claims = Claims(limited, lambda: self.now_us)
        self.keys = CassandraDataKeys(_Limited(self.keyring, self), lambda: self.now_us)  # type: ignore[arg-type]
        self.people = People(self.claims, CustomerReader(limited, Codec(), VIEW), self.keys)
        self.erasures = Erasures(limited, lambda: self.now_us)
        self.places = Places(limited, lambda: self.now_us)
        self.shredder = Shredder(self.keys, lambda: self.now_us)
        self.erasing = Erasing(
            Parts(self.erasures, self.people, self.claims, self.shredder, self.places, self, self), lambda: self.now_us, pause=self._pause
        )

    async def change(self, make: Callable[[], Any]) -> Any:
        """Make a change, unless the process is killed at it."""
        is_last = self.limit is not None and self.changes >= self.limit
        if is_last and not self.after:
            raise Cut
        self.changes += 1
        made = await make()
        if is_last:
            raise Cut
        return made

    async def _pause(self, wait_s: float) -> None:
        self.waited_s.append(wait_s)
        if self.meanwhile is not None:
            await self.meanwhile()
        self.now_us += round(wait_s * 1e6)

    # -- the ports of an erasure

    async def to_the_log(self, events: Sequence[PrivacyErased]) -> None:
        """Take what is appended to the log."""

        async def append() -> None:
            self.log.extend(events)

        await self.change(append)

    async def to_everybody(self, said: KeysDestroyed) -> None:
        """Take what is said on the control topic."""

        async def append() -> None:
            self.told.append(said)

        await self.change(append)

    async def note(self, action: str, **said: Any) -> None:
        """Take a note of the audit trail."""
        self.notes.append((action, said))

    # -- the world

    async def key(self, handle: KnownBy, key_id: str = "k", *, purpose: Purpose = "contact", made_us: int = NOW - 5) -> None:
        """Make a key of a handle."""
        row = WrappedKey(
            tenant=TENANT, handle_hash=handle.hash, purpose=purpose, key_id=key_id, wrapped=b"wrapped", kek_id="kek", created_at_us=made_us
        )
        await CassandraDataKeys(self.keyring, lambda: self.now_us).insert(row)

    async def rows_of(self, handle: KnownBy, purpose: Purpose = "contact") -> list[WrappedKey]:
        """Return the keyring's rows of a handle."""
        return (await self.keys.read_many([KeyPartition(TENANT, handle.hash, purpose)])).get(KeyPartition(TENANT, handle.hash, purpose), [])

    async def claim(self, handle: KnownBy) -> Claim:
        """Return the claim of a handle."""
        return await self.claims.one(Name(TENANT, *handle))

    async def own(self, handle: KnownBy) -> str:
        """Return the customer that a handle names by itself."""
        return (await self.claim(handle)).own

    async def link(self, weaker: KnownBy, stronger: KnownBy) -> None:
        """Link a handle to another one's customer, announced."""
        linked = await self.claims.link(await self.claim(weaker), await self.claim(stronger), via="", evidence="m-1")
        assert linked is not None
        await self.claims.announce(linked)

    async def view(self, customer: str, *handles: KnownBy, erased_at_us: int | None = None, canonical: str | None = None) -> None:
        """Write what the view says of a customer."""
        facet = CustomerContact(
            handles=tuple(CustomerKnownHandle(kind=h.kind, hash=h.hash, verified=False, first_seen_us=1, event_id="m-1") for h in handles)
        )
        framed = Codec().encode(facet)
        body = {"body": framed[5:], "schema_id": int.from_bytes(framed[1:5], "big"), "updated_at": 1}
        await self.store.write(
            [
                RowWrite("customer_v1", (TENANT, customer, "contact"), body, self.now_us),
                RowWrite("customer_v1", (TENANT, customer), {"erased_at": erased_at_us, "canonical_id": canonical}, self.now_us),
            ]
        )

    async def erase(self, handle: KnownBy, *, wait: bool = True) -> list[Erasure]:
        """Erase whoever has a handle, as the command does; return the erasure, and those that followed from it."""
        person = await self.people.by_handle(TENANT, handle)
        assert person is not None
        return await self.erasing.run(await self.erasing.begin(person, reason="asked", actor="op-1"), wait=wait)

    async def resume(self) -> None:
        """Complete what was cut off."""
        for wait in (False, True):
            for one in await self.erasures.unfinished():
                await self.erasing.run(one, wait=wait)

    async def state(self) -> dict[str, Any]:
        """Return everything that is stored, without ids of erasures and times of writing."""
        found: dict[str, Any] = {}
        for table in ("identity", "identities_by_customer", "identity_proposal", "raw_payload"):
            found[table] = await self.store.scan(table)
        found["data_key"] = await self.keyring.scan("data_key")
        rows = [msgspec.to_builtins(one) for one in await self.erasures.unfinished()]
        return {**found, "unfinished": rows}
