"""What is known of two customers who may be one: tables `identity_pair` (what was decided) and `identity_proposal` (what is to be decided).

    (nothing) ──two accounts──▶ open ──a person──▶ accepted | rejected         a link that is undone: undoing ──▶ rejected

A row of `identity_pair` is changed by lightweight transactions; that of a proposal is written plainly, once the pair is `open`.
`undoing` keeps the whole plan of an unlink, so that anybody can complete it; for everybody else it is as good as `rejected`.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final, Literal, cast

import msgspec

from streams.identity.claim import Claim
from streams.identity.linking_rules import Decided
from streams.store.columns import Row, integer, text
from streams.store.port import CellValue, RowWrite, Store
from streams.wall_clock import now_us

__all__ = ["Pair", "PairState", "Pairs", "Proposal", "pair_key"]

PairState = Literal["open", "undoing", "rejected", "accepted"]

_TABLE: Final = "identity_pair"
_PROPOSALS: Final = "identity_proposal"


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Two customers, in the order of their ids. `evidence` is an event's id, or of `undoing` the plan; `event_id` what was told of it."""

    tenant: str
    customer: str
    other: str
    state: PairState
    reason: str = ""
    evidence: str = ""
    event_id: str = ""
    actor: str = ""
    changed_us: int = 0

    @classmethod
    def of(cls, row: Row) -> "Pair":
        """Build it from a row of `identity_pair`."""
        return cls(
            tenant=text(row, "tenant"),
            customer=text(row, "customer"),
            other=text(row, "other"),
            state=cast("PairState", text(row, "state")),
            reason=text(row, "reason", ""),
            evidence=text(row, "evidence", ""),
            event_id=text(row, "event_id", ""),
            actor=text(row, "actor", ""),
            changed_us=integer(row, "changed_at", 0),
        )


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """Two customers of whom a person must say whether they are one, each with its home handle. `hash` is hex."""

    customer: str
    other: str
    reason: str
    evidence: str
    kind: str
    hash: str
    other_kind: str
    other_hash: str
    proposed_us: int


def pair_key(tenant: str, one: str, other: str) -> tuple[str, str, str]:
    """Return the key of a pair's row."""
    return (tenant, *sorted((one, other)))  # type: ignore[return-value] # two of them


class Pairs:
    """Reads and changes pairs and proposals over a store."""

    def __init__(self, store: Store, now: Callable[[], int] = now_us) -> None:
        self._store = store
        self._now_us = now

    async def read(self, tenant: str, one: str, other: str) -> Pair | None:
        """Return what is known of two customers; None if nothing is."""
        _, first, second = pair_key(tenant, one, other)
        rows = await self._store.read(_TABLE, {"tenant": tenant, "customer": first}, upto=(second,))
        return next((Pair.of(row) for row in rows if row["other"] == second), None)

    async def between(self, tenant: str, some: Collection[str], others: Collection[str]) -> list[Pair]:
        """Return every pair of which one is among `some` and the other among `others`."""
        everybody = sorted({*some, *others})
        found = await self._store.read_many(_TABLE, [{"tenant": tenant, "customer": customer} for customer in everybody])
        wanted = {pair_key(tenant, one, other)[1:] for one in some for other in others if one != other}
        return [Pair.of(row) for rows in found for row in rows if (row["customer"], row["other"]) in wanted]

    async def of(self, tenant: str, customers: Collection[str]) -> list[Pair]:
        """Return every pair that names one of these customers, in the order of ids."""
        keys = {pair_key(tenant, *names) for names in await self._named(tenant, sorted(customers))}
        found = [await self.read(*key) for key in sorted(keys)]
        return [pair for pair in found if pair is not None]

    async def decided(self, tenant: str, some: Collection[str], others: Collection[str]) -> Decided:
        """Return what was decided about two people, each known as several customers: what keeps any two of them apart keeps all apart."""
        states = {pair.state for pair in await self.between(tenant, some, others)}
        if states & {"rejected", "undoing"}:
            return "rejected"
        return "accepted" if "accepted" in states else "open" if "open" in states else ""

    async def put(
        self, pair: Pair | None, tenant: str, one: str, other: str, state: PairState, *, reason: str, evidence: str = "", actor: str = ""
    ) -> Pair | None:
        """Change a pair from what was read (None: nothing) to a state; return it, or None if somebody was quicker."""
        _, first, second = pair_key(tenant, one, other)
        if pair is None:  # the way back: a row that says nothing, in the order in which nobody looks for what was decided
            await self._store.write([RowWrite(_TABLE, (tenant, second, first), {}, self._now_us())])
        new = Pair(
            tenant=tenant,
            customer=first,
            other=second,
            state=state,
            reason=reason,
            evidence=evidence,
            actor=actor,
            changed_us=max(self._now_us(), 1 + (pair.changed_us if pair else 0)),
        )
        return new if await self._swap(pair, new) else None

    async def told(self, pair: Pair, event_id: str) -> None:
        """Note that what a pair came to is on the log; if the pair has changed meanwhile, that is told elsewhere."""
        await self._swap(pair, msgspec.structs.replace(pair, event_id=event_id))

    async def propose(self, pair: Pair, one: Claim, other: Claim) -> None:
        """Write the proposal of an open pair, each customer by the claim of its home handle. Repeating it changes nothing."""
        first, second = sorted((one, other), key=lambda claim: claim.own)
        columns: dict[str, CellValue] = {
            "proposed_at": pair.changed_us,
            "reason": pair.reason,
            "evidence": pair.evidence,
            "kind": first.name.kind,
            "hash": first.name.hash.hex(),
            "other_kind": second.name.kind,
            "other_hash": second.name.hash.hex(),
        }
        await self._store.write([RowWrite(_PROPOSALS, (pair.tenant, first.own, second.own), columns, pair.changed_us)])

    async def settle(self, pair: Pair) -> None:
        """Take the proposal of a pair back: it was decided."""
        await self._store.write([RowWrite(_PROPOSALS, (pair.tenant, pair.customer, pair.other), None, pair.changed_us)])

    async def proposals(self, tenant: str) -> list[Proposal]:
        """Return what a person has to decide, in the order of the customers' ids."""
        rows = await self._store.read(_PROPOSALS, {"tenant": tenant})
        return [
            Proposal(
                customer=text(row, "customer"),
                other=text(row, "other"),
                reason=text(row, "reason", ""),
                evidence=text(row, "evidence", ""),
                kind=text(row, "kind", ""),
                hash=text(row, "hash", ""),
                other_kind=text(row, "other_kind", ""),
                other_hash=text(row, "other_hash", ""),
                proposed_us=integer(row, "proposed_at", 0),
            )
            for row in rows
        ]

    async def _named(self, tenant: str, customers: Sequence[str]) -> list[tuple[str, str]]:
        found = await self._store.read_many(_TABLE, [{"tenant": tenant, "customer": customer} for customer in customers])
        return [(text(row, "customer"), text(row, "other")) for rows in found for row in rows]

    async def _swap(self, pair: Pair | None, new: Pair) -> bool:
        columns: dict[str, CellValue] = {
            "state": new.state,
            "reason": new.reason,
            "evidence": new.evidence,
            "event_id": new.event_id,
            "actor": new.actor,
            "changed_at": new.changed_us,
        }
        expected: dict[str, CellValue] | None = None if pair is None else {"state": pair.state, "changed_at": pair.changed_us}
        return await self._store.swap(_TABLE, (new.tenant, new.customer, new.other), columns, expected=expected)
