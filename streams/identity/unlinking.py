"""Undoes links: the part of the claims, and what the customer hears from whom somebody is taken (log.md §5).

    pair (P, C) undoing, with the whole plan       nobody links them meanwhile, and anybody can complete it
    claim of P ──swap──▶ its own again
    claims of whoever came along with P ──swap──▶ P
    identity.unlinked of each under C, identity.linked of those who are P's again ──acknowledged──▶ announced, pair rejected

What lies under C is given back by whoever owns C, when it reads that (`undoing.py`); who had come along and comes before P in the order
of handles (`claim.order`) leads them from here on, for links go one way. Must not know how records are appended.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from streams.identity.claim import Claim, Name, Way, order
from streams.identity.claims import Claims
from streams.identity.pairs import Pair, Pairs
from streams.identity.roots import Roots
from streams.identity.telling import ERASED, Told, linked, unlinked
from touchline.errors import Refused, Retryable

__all__ = ["Leaving", "Plan", "Unlinker"]

_TRIES_MAX: Final = 8


class Leaving(msgspec.Struct, frozen=True):
    """One handle that leaves a customer, as its claim was read. `via`: through whom it belongs to the one who leads it from here on."""

    kind: str
    hash: str
    own: str
    turn: int
    via: str = ""

    def name(self, tenant: str) -> Name:
        """Return the handle."""
        return Name(tenant, self.kind, bytes.fromhex(self.hash))  # type: ignore[arg-type] # a kind, for a claim had it


class Plan(msgspec.Struct, frozen=True):
    """Who leaves a customer together: first whoever leads, the others linked to it from here on.

    `others` are customers through whom they had come: they had them too. `asked` is the customer who was to be unlinked. `is_done`: it
    had been begun before, and was completed.
    """

    customer: str
    asked: str
    leaving: tuple[Leaving, ...]
    others: tuple[str, ...] = ()
    is_done: bool = False


class Unlinker:
    """Undoes links over a store of claims; `say` appends records and waits until they are on the log."""

    def __init__(self, claims: Claims, pairs: Pairs, roots: Roots, say: Callable[[Sequence[Told]], Awaitable[None]]) -> None:
        self._claims = claims
        self._pairs = pairs
        self._roots = roots
        self._say = say

    async def plan(self, claim: Claim) -> Plan:
        """Return what unlinking a handle's customer means; its claim must be whole, and link it to somebody. Changes nothing."""
        members = await self._claims.members(claim.name.tenant, claim.customer)
        known = {member.own: member for member in members}
        group = {claim.own: claim}
        for _ in members:
            more = {own: member for own, member in known.items() if own not in group and member.via in group}
            if not more:
                break
            group |= more
        others: list[str] = []
        above = claim.via
        while above in known and above not in others:
            others.append(above)
            above = known[above].via
        ordered = sorted(group.values(), key=lambda one: order(one.name))
        leaving = tuple(_leaving(one, via=one.via if one.via in group and one.via != ordered[0].own else "") for one in ordered)
        return Plan(claim.customer, claim.own, leaving, tuple(others))

    async def unlink(self, claim: Claim, plan: Plan, *, actor: str, reason: str) -> None:
        """Carry a plan out. Repeating it after a kill at any point completes it; `Refused` if the customers have changed since it was made."""
        tenant = claim.name.tenant
        leader = plan.leaving[0].own
        for one, other in [(plan.asked, plan.customer), *((plan.asked, other) for other in plan.others)]:
            if one != leader or other != plan.customer:
                await self._reject(tenant, one, other, actor=actor, reason=reason)
        pair = await self._pairs.read(tenant, leader, plan.customer)
        if pair is None or pair.state != "undoing":
            evidence = msgspec.json.encode(plan).decode()
            pair = await self._pairs.put(pair, tenant, leader, plan.customer, "undoing", reason=reason, evidence=evidence, actor=actor)
        if pair is None:
            raise _changed()
        await self._pairs.settle(pair)
        await self._carry_out(pair)

    async def resume(self, way: Way) -> Plan | None:
        """Complete what was begun with anybody on this way and cut off; return the plan that was for the way's first handle, if there is one."""
        first = way.claims[0]
        plan = None
        for pair in await self._pairs.of(first.name.tenant, {claim.own for claim in way.claims}):
            if pair.state == "undoing":
                found = await self._carry_out(pair)
                plan = found if found.asked == first.own else plan
        return plan

    async def leave(self, claim: Claim) -> None:
        """Take a handle from a customer who was erased: it is its own again."""
        released = await self._claims.release(claim)
        if released is not None:
            await self.complete(released)

    async def complete(self, claim: Claim) -> None:
        """Complete what was begun with a claim that was released and is not announced."""
        pair = await self._pairs.read(claim.name.tenant, claim.own, claim.via)
        if pair is not None and pair.state == "undoing":
            await self._carry_out(pair)
            return
        await self._say([unlinked(claim, claim.via, reason=pair.reason if pair else ERASED)])
        await self._claims.announce(claim)
        self._roots.forget([claim.name])

    async def _carry_out(self, pair: Pair) -> Plan:
        plan = msgspec.json.decode(pair.evidence, type=Plan)
        first, *rest = plan.leaving
        leader = await self._claims.one(first.name(pair.tenant))
        if leader.turn == first.turn and leader.customer == plan.customer:
            leader = await self._claims.release(leader) or await self._claims.one(leader.name)
        gone = leader.turn == first.turn + 1 and leader.own == first.own and not leader.customer
        records = [unlinked(leader, plan.customer, reason=pair.reason)] if gone else []
        with_it = [claim for one in rest if (claim := await self._moved(one, leader, plan, pair.tenant)) is not None] if gone else []
        for claim in with_it:
            records += [unlinked(claim, customer, reason=pair.reason, back=leader.own) for customer in (plan.customer, *plan.others)]
        told = [linked(claim) for claim in with_it]
        await self._say([*records, *(under_root for under_root, _ in told)])  # in the order of every link
        await self._say([under_own for _, under_own in told])
        for claim in with_it:
            await self._claims.announce(claim)
        if gone:
            await self._claims.announce(leader)
        await self._pairs.put(pair, pair.tenant, pair.customer, pair.other, "rejected", reason=pair.reason, actor=pair.actor)
        self._roots.forget(one.name(pair.tenant) for one in plan.leaving)
        return plan

    async def _moved(self, one: Leaving, leader: Claim, plan: Plan, tenant: str) -> Claim | None:
        """Link one of those who leave to the leader; None if its claim has changed since the plan was made."""
        claim = await self._claims.one(one.name(tenant))
        if claim.turn == one.turn and claim.customer == plan.customer:
            claim = await self._claims.link(claim, leader, via=one.via, evidence=claim.evidence) or await self._claims.one(claim.name)
        return claim if claim.turn == one.turn + 1 and claim.customer == leader.own else None

    async def _reject(self, tenant: str, one: str, other: str, *, actor: str, reason: str) -> None:
        for _ in range(_TRIES_MAX):
            pair = await self._pairs.read(tenant, one, other)
            if pair is not None and pair.state in {"rejected", "undoing"}:
                return
            new = await self._pairs.put(pair, tenant, one, other, "rejected", reason=reason, actor=actor)
            if new is not None:
                await self._pairs.settle(new)
                return
        raise Retryable("what is decided about two customers keeps changing.", next_step="try again; `touchline identity show` tells what it is.")


def _leaving(claim: Claim, *, via: str) -> Leaving:
    return Leaving(claim.name.kind, claim.name.hash.hex(), claim.own, claim.turn, via)


def _changed() -> Refused:
    return Refused(
        "Somebody else has just decided about these customers.",
        reason="pair_changed",
        next_step="look at `touchline identity show`, then decide anew.",
    )
