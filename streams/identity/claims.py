"""Claims as the store has them: whose a handle is (table `identity`), and the way back (`identities_by_customer`).

    handle ──identity──▶ customer (the root's id, and its home handle) ──identity──▶ ...      at most one step, but for a moment
    customer ──identities_by_customer──▶ handles that may be its own: each counts only if its claim says so

A claim is changed by a lightweight transaction, and only if nobody else changed it meanwhile; the way back is written before it, so
no link is ever without one. Links point from a handle to one that comes before it (`claim.order`): there are no circles.
Must not know who may be linked to whom, nor what is told of it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from schemas.handles import customer_id
from streams.identity.claim import Claim, Name, Way, order
from streams.store.columns import Row, text
from streams.store.port import CellValue, RowWrite, Store
from streams.wall_clock import now_us
from touchline.errors import TouchlineError

__all__ = ["STEPS_MAX", "Claims", "way_back"]

STEPS_MAX: Final = 8
"""Claims that are followed, one after the other; what lies further is found when the first ones have been straightened."""

_CANDIDATES_MAX: Final = 2000
"""Handles that were ever a customer's, as many as are looked at: limits keep them below a hundred, undone links add some."""

_TABLE: Final = "identity"
_BACK: Final = "identities_by_customer"


class Claims:
    """Reads and changes claims over a store. Nothing is kept here: see `Roots`. Trouble that may pass raises `Retryable`."""

    def __init__(self, store: Store, now: Callable[[], int] = now_us) -> None:
        self._store = store
        self._now_us = now

    async def read(self, names: Sequence[Name]) -> list[Claim]:
        """Read claims, in the order of the names."""
        keys = [{"tenant": tenant, "kind": kind, "hash": hashed} for tenant, kind, hashed in (name.key for name in names)]
        found = await self._store.read_many(_TABLE, keys)
        return [Claim.of(name, rows[0]) if rows else Claim.absent(name) for name, rows in zip(names, found, strict=True)]

    async def one(self, name: Name) -> Claim:
        """Read one claim."""
        [claim] = await self.read([name])
        return claim

    async def follow(self, names: Iterable[Name]) -> dict[Name, Way]:
        """Follow the claims of handles to their roots, all at once."""
        names = list(dict.fromkeys(names))
        known = dict(zip(names, await self.read(names), strict=True))
        for _ in range(STEPS_MAX):
            missing = list(dict.fromkeys(claim.root for claim in known.values() if claim.customer and claim.root and claim.root not in known))
            if not missing:
                break
            known |= zip(missing, await self.read(missing), strict=True)
        return {name: _way(name, known) for name in names}

    async def members(self, tenant: str, customer: str) -> list[Claim]:
        """Return the claims of the handles that are linked to a customer, in the order of kind and hash; its home handle is not among them."""
        return [claim for claim in await self.read(await self._candidates(tenant, customer)) if claim.customer == customer]

    async def home(self, tenant: str, customer: str) -> Claim | None:
        """Return the claim of the handle that a customer is named by; None for one who had never to do with a link, and for one who was erased."""
        return next((claim for claim in await self.read(await self._candidates(tenant, customer)) if claim.own == customer), None)

    async def link(self, claim: Claim, root: Claim, *, via: str, evidence: str) -> Claim | None:
        """Link a handle to a root, if its claim is still as it was read; return the new claim, not announced; None if somebody was quicker.

        Both ways back are written before.
        """
        if order(root.name) >= order(claim.name):
            raise TouchlineError("a handle was about to be linked to one that comes after it.", next_step="report it; nothing was changed.")
        at_us = self._later(claim)
        new = msgspec.structs.replace(
            claim, customer=root.own, root=root.name, announced=False, turn=claim.turn + 1, via=via, evidence=evidence, linked_at_us=at_us
        )
        back = [(root.own, claim.name), (root.own, root.name), (claim.own, claim.name)]
        await self._store.write([way_back(customer, name, at_us) for customer, name in back])
        return await self._change(claim, new)

    async def release(self, claim: Claim) -> Claim | None:
        """Make a handle its own again, if its claim is still as it was read; return the new claim, not announced; None if somebody was quicker.

        Until that is announced `via` says from whom it was released.
        """
        new = msgspec.structs.replace(
            claim, customer="", root=None, announced=False, turn=claim.turn + 1, via=claim.customer, linked_at_us=self._later(claim)
        )
        return await self._change(claim, new)

    async def announce(self, claim: Claim) -> bool:
        """Note that a change is on the log; tell whether the claim was still as that change left it."""
        new = msgspec.structs.replace(claim, announced=True, via=claim.via if claim.customer else "")
        return await self._change(claim, new) is not None

    async def erase(self, claim: Claim, erased_at_us: int) -> Claim | None:
        """Make a handle nobody's, and whoever has it next a new customer; None if somebody was quicker."""
        new = msgspec.structs.replace(
            claim,
            own=customer_id(*claim.name, claim.generation + 1),
            customer="",
            root=None,
            generation=claim.generation + 1,
            announced=False,
            turn=claim.turn + 1,
            via="",
            evidence="",
            erased_at_us=erased_at_us,
        )
        return await self._change(claim, new)

    async def restore(self, claim: Claim, new: Claim) -> bool:
        """Put what a log says of a handle in the place of its claim as it was read; False if somebody was quicker. Its way back must be there."""
        return await self._change(claim, new) is not None

    async def _candidates(self, tenant: str, customer: str) -> list[Name]:
        rows = await self._store.read(_BACK, {"tenant": tenant, "customer": customer}, limit=_CANDIDATES_MAX)
        return sorted((_named(tenant, row) for row in rows), key=order)

    async def _change(self, claim: Claim, new: Claim) -> Claim | None:
        columns: dict[str, CellValue] = {
            "customer": new.customer,
            "root_kind": new.root.kind if new.root else "",
            "root_hash": new.root.hash.hex() if new.root else "",
            "generation": new.generation,
            "announced": new.announced,
            "turn": new.turn,
            "via": new.via,
            "evidence": new.evidence,
            "linked_at": new.linked_at_us,
            "erased_at": new.erased_at_us,
        }
        if not await self._store.swap(_TABLE, claim.name.key, columns, expected=claim.guard):
            return None
        return msgspec.structs.replace(new, exists=True, guard={column: columns[column] for column in ("turn", "generation")})

    def _later(self, claim: Claim) -> int:
        """Return now, but after the claim's last change: readers order changes of one handle by this time."""
        return max(self._now_us(), claim.linked_at_us + 1, claim.erased_at_us + 1)


def way_back(customer: str, name: Name, at_us: int, *, erased: bool = False) -> RowWrite:
    """Return the row that leads from a customer to a handle that was linked then; if it was `erased` then, the end of that row."""
    tenant, kind, hashed = name.key
    return RowWrite(_BACK, (tenant, customer, kind, hashed), None if erased else {"linked_at": at_us}, at_us)


def _named(tenant: str, row: Row) -> Name:
    return Name(tenant, text(row, "kind"), bytes.fromhex(text(row, "hash")))  # type: ignore[arg-type] # a kind, for we wrote it


def _way(name: Name, known: dict[Name, Claim]) -> Way:
    claims = [known[name]]
    while claims[-1].customer:
        last = claims[-1]
        if last.root is None:
            return Way(tuple(claims), is_dead=True)
        if last.root not in known or len(claims) > STEPS_MAX:
            return Way(tuple(claims), is_cut=True)
        following = known[last.root]
        if following.own != last.customer:
            return Way(tuple(claims), is_dead=True)
        claims.append(following)
    return Way(tuple(claims))
