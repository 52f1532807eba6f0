"""What is known of two customers who may be one: tables `identity_pair` (what was decided) and `identity_proposal` (what is to be decided).

    (nothing) ──two accounts──▶ open ──a person──▶ accepted | rejected         a link that is undone: undoing ──▶ rejected

A row of `identity_pair` is changed by lightweight transactions; that of a proposal is written plainly, once the pair is `open`.
`undoing` keeps the whole plan of an unlink, so that anybody can complete it; for everybody else it is as good as `rejected`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Literal, cast, get_args

import msgspec

from streams.identity.claim import Claim
from streams.identity.linking_rules import Decided
from streams.store.columns import Row, integer, text
from streams.store.port import CellValue, RowWrite, Store
from streams.wall_clock import now_us
from touchline.errors import Retryable

__all__ = ["Pair", "PairState", "Pairs", "Proposal", "pair_key"]

PairState = Literal["open", "accepted", "rejected", "undoing"]
_STATES: Final[tuple[PairState, ...]] = get_args(PairState)

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

    @classmethod
    def of(cls, row: Row) -> "Proposal":
        """Build it from a row of `identity_proposal`."""
        return cls(
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

    @property
    def handles(self) -> tuple[str, str]:
        """The home handles of both, each as one word."""
        return f"{self.kind}:{self.hash}", f"{self.other_kind}:{self.other_hash}"


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
        return _between(await self._rows(tenant, {*some, *others}), some, others)

    async def of(self, tenant: str, customers: Collection[str]) -> list[Pair]:
        """Return every pair that names one of these customers, in the order of ids."""
        rows = await self._rows(tenant, customers)
        keys = {pair_key(tenant, customer, text(row, "other")) for customer, found in rows.items() for row in found}
        found = [await self.read(*key) for key in sorted(keys)]
        return [pair for pair in found if pair is not None]

    async def decided(self, tenant: str, some: Collection[str], others: Collection[str]) -> tuple[Decided, tuple[int, int]]:
        """Return what was decided about two people, each known as several customers: what keeps any two of them apart keeps all apart.

        And in how many pairs a customer of either is named, the one that is in most.
        """
        found = await self._rows(tenant, {*some, *others})
        states = {pair.state for pair in _between(found, some, others)}
        first, second = (max((len(found[customer]) for customer in customers), default=0) for customers in (some, others))
        if states & {"rejected", "undoing"}:
            return "rejected", (first, second)
        return "accepted" if "accepted" in states else "open" if "open" in states else "", (first, second)

    async def put(
        self, pair: Pair | None, tenant: str, one: str, other: str, state: PairState, *, reason: str, evidence: str = "", actor: str = ""
    ) -> Pair | None:
        """Change a pair from what was read (None: nothing) to a state; return it, or None if somebody was quicker."""
        _, first, second = pair_key(tenant, one, other)
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
        return new if await self._change(pair, new) else None

    async def restore(self, pair: Pair) -> None:
        """Put what a log says of a pair in the place of what is known, if it is newer. Raises `Retryable` if somebody was quicker."""
        known = await self.read(pair.tenant, pair.customer, pair.other)
        if (known is None or _age(known) < _age(pair)) and not await self._change(known, pair):
            raise Retryable("what is decided about two customers keeps changing.", next_step="stop all workers, then try again.")

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

    async def proposals(self, tenant: str, limit: int, *, after: Proposal | None = None) -> list[Proposal]:
        """Return what a person has to decide, in the order of the customers' ids: the first `limit` of it, or of what comes behind `after`."""
        beyond = None if after is None else (after.customer, after.other)
        return [Proposal.of(row) for row in await self._store.read(_PROPOSALS, {"tenant": tenant}, limit=limit, after=beyond)]

    async def proposals_of(self, tenant: str, customers: Collection[str]) -> list[Proposal]:
        """Return what a person has to decide about these customers, in the order of the customers' ids."""
        rows = await self._rows(tenant, customers)
        keys = {pair_key(tenant, customer, text(row, "other"))[1:] for customer, found in rows.items() for row in found}
        proposals: list[Proposal] = []
        for first in sorted({first for first, _ in keys}):
            found = await self._store.read(_PROPOSALS, {"tenant": tenant}, after=(first, ""), upto=(first, max(b for a, b in keys if a == first)))
            proposals += [one for row in found if ((one := Proposal.of(row)).customer, one.other) in keys]
        return proposals

    async def _rows(self, tenant: str, customers: Collection[str]) -> Mapping[str, Sequence[Row]]:
        """Return all rows of some customers, by customer: a row for each pair that names one, in whichever order."""
        names = sorted(customers)
        return dict(zip(names, await self._store.read_many(_TABLE, [{"tenant": tenant, "customer": name} for name in names]), strict=True))

    async def _change(self, pair: Pair | None, new: Pair) -> bool:
        if pair is None:  # the way back: a row that says nothing, in the order in which nobody looks for what was decided
            await self._store.write([RowWrite(_TABLE, (new.tenant, new.other, new.customer), {}, new.changed_us)])
        return await self._swap(pair, new)

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


def _age(pair: Pair) -> tuple[int, int, str]:
    """Return what a pair is ordered by in time: of two changes in the same µs the one that decides more comes later."""
    return pair.changed_us, _STATES.index(pair.state), pair.event_id


def _between(rows: Mapping[str, Sequence[Row]], some: Collection[str], others: Collection[str]) -> list[Pair]:
    wanted = {tuple(sorted((one, other))) for one in some for other in others if one != other}
    return [Pair.of(row) for customer, found in rows.items() for row in found if (customer, row["other"]) in wanted]
