"""What people ask and decide about who is one person: by customers' ids or by handles, noted on the audit trail before anything changes.

Knows how a customer's id becomes the handle that it is named by; who may be joined is decided in `streams/identity/deciding.py`.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import msgspec

from schemas.codec import Codec
from streams.audit.trail import Notes
from streams.identity.appending import KafkaLog
from streams.identity.claim import Claim, Name, Way
from streams.identity.claims import Claims
from streams.identity.deciding import Deciding, Merge
from streams.identity.lengths import Lengths
from streams.identity.linker import Linker
from streams.identity.pairs import Pair, Pairs, Proposal
from streams.identity.roots import Roots
from streams.identity.unlinking import Plan
from streams.log.reader import LogReader
from streams.plain import utc
from streams.reading import ActiveVersions, CustomerReader
from streams.rebuild.history import History
from streams.records import RawRecord
from touchline.auditing import trail_of
from touchline.errors import Refused
from touchline.settings import Settings
from touchline.tables import connected

__all__ = ["Identities", "Identity", "Move", "identities", "merge_moves", "pair_json", "proposal_json", "unmerge_moves"]


class Move(msgspec.Struct, frozen=True):
    """One handle that a decision moves from one customer to another."""

    kind: str
    hash: str
    home: str
    customer: str
    to: str
    via: str = ""


class Identity(msgspec.Struct, frozen=True):
    """One person: the root, every claim of a handle that is the root's, the root's own first, and what was decided about any of them.

    Without `is_known` it is one who may come yet: nothing came by the handle, or nothing since it was forgotten.
    """

    root: Claim
    handles: tuple[Claim, ...]
    pairs: tuple[Pair, ...]
    proposals: tuple[Proposal, ...]
    is_settled: bool = True
    is_known: bool = True

    def json(self) -> dict[str, Any]:
        """Return the public JSON form. `since` of the root's own handle is null: it was never linked."""
        return {
            "kind": "identity",
            "customer_id": self.root.own,
            "known": self.is_known,
            "settled": self.is_settled,
            "handles": [_handle_json(claim) for claim in self.handles],
            "pairs": [pair_json(pair) for pair in self.pairs],
            "proposals": [proposal_json(one) for one in self.proposals],
        }


def _handle_json(claim: Claim) -> dict[str, Any]:
    return {
        "kind": claim.name.kind,
        "hash": claim.name.hash.hex(),
        "home_customer_id": claim.own,
        "via": claim.via or None,
        "evidence": claim.evidence or None,
        "since": utc(claim.linked_at_us) if claim.customer else None,
        "generation": claim.generation,
    }


def pair_json(pair: Pair) -> dict[str, Any]:
    """Return the public JSON form of what is decided about two customers."""
    evidence = None if pair.state == "undoing" else pair.evidence or None
    return {
        "customers": [pair.customer, pair.other],
        "state": pair.state,
        "reason": pair.reason,
        "evidence": evidence,
        "actor": pair.actor or None,
        "at": utc(pair.changed_us),
    }


def proposal_json(one: Proposal) -> dict[str, Any]:
    """Return the public JSON form of a proposal."""
    return {
        "kind": "proposal",
        "customers": [one.customer, one.other],
        "handles": [{"kind": one.kind, "hash": one.hash}, {"kind": one.other_kind, "hash": one.other_hash}],
        "reason": one.reason,
        "evidence": one.evidence,
        "at": utc(one.proposed_us),
    }


def merge_moves(plan: Merge) -> list[Move]:
    """Return what joining two customers moves."""
    to = plan.target.own
    first = Move(plan.one.name.kind, plan.one.name.hash.hex(), plan.one.own, plan.one.own, to)
    return [first, *(Move(c.name.kind, c.name.hash.hex(), c.own, plan.one.own, to, c.via or plan.one.own) for c in plan.along)]


def unmerge_moves(plan: Plan) -> list[Move]:
    """Return what taking a customer from another one moves: whoever leads becomes its own, the others go with it."""
    leader = plan.leaving[0].own
    return [Move(one.kind, one.hash, one.own, plan.customer, leader, one.via) for one in plan.leaving]


class Identities:
    """Asks and decides, for one tenant. `Refused` says what stands against it; `Retryable` may be tried again: nothing is half done."""

    def __init__(self, linker: Linker, view: CustomerReader, notes: Notes, *, tenant: str, actor: str) -> None:
        self._linker = linker
        self._deciding = Deciding(linker)
        self._view = view
        self._notes = notes
        self._tenant = tenant
        self._actor = actor

    async def handle_of(self, customer: str) -> Name:
        """Return the handle that a customer is named by. Raises `Refused` if there is no such customer, or no more."""
        home = await self._linker.claims.home(self._tenant, customer)
        if home is not None:
            return home.name
        view = await self._view.customer(self._tenant, customer)
        known = [] if view is None else [Name(self._tenant, one.kind, one.hash) for one in view.contact.handles]
        for claim in await self._linker.claims.read(known) if known else []:
            if claim.own == customer:
                return claim.name
        if view is not None and view.erased_at_us is not None:
            raise Refused(f"Customer {customer} was erased at {utc(view.erased_at_us)}.", reason="erased", next_step="name another one.")
        raise Refused(
            f"There is no customer {customer} of tenant {self._tenant}.",
            reason="unknown_customer",
            next_step="check the id, which must be whole, and --tenant; `touchline identity show --handle KIND:VALUE` says whose a handle is.",
        )

    async def show(self, name: Name) -> Identity:
        """Return the person that a handle belongs to. Changes nothing."""
        way: Way = (await self._linker.claims.follow([name]))[name]
        root = way.end
        members = await self._linker.members(root)
        customers = {root.own, *(claim.own for claim in members)}
        pairs = await self._linker.pairs.of(self._tenant, customers)
        proposals = await self._linker.pairs.proposals_of(self._tenant, customers)
        settled = way.is_whole and not any(claim.is_pending for claim in members)
        known = bool(way.claims[0].customer or members or pairs) or await self._view.customer(self._tenant, root.own) is not None
        return Identity(root, (root, *members), tuple(pairs), tuple(proposals), settled, known)

    async def proposals(self, limit: int) -> list[Proposal]:
        """Return what a person has to decide, the first `limit` of it."""
        return await self._linker.pairs.proposals(self._tenant, limit)

    async def merge(self, first: Name, second: Name, *, reason: str, dry_run: bool, noted: Literal["merged", "linked"] = "merged") -> list[Move]:
        """Join the customers of two handles; return what it moves, or with `dry_run` would. `noted`: what the audit trail calls it."""
        plan = await self._deciding.planned_merge(first, second)
        if not dry_run:
            details = {"other": plan.target.own, "handles": str(1 + len(plan.along))}
            await self._notes.note(noted, tenant=self._tenant, customer=plan.one.own, reason=reason, details=details)
            await self._deciding.merge(plan, actor=self._actor, reason=reason)
        return merge_moves(plan)

    async def unmerge(self, name: Name, *, customer: str, reason: str, dry_run: bool) -> list[Move]:
        """Take a handle's customer from the one that it is linked to; return what it moves, or with `dry_run` would."""
        plan = await self._deciding.planned_unmerge(name, customer)
        if not dry_run:
            details = {"other": plan.customer, "handles": str(len(plan.leaving))}
            await self._notes.note("unmerged", tenant=self._tenant, customer=plan.asked, reason=reason, details=details)
            await self._deciding.unmerge(name, plan, actor=self._actor, reason=reason)
        return unmerge_moves(plan)

    async def reject(self, first: Name, second: Name, *, reason: str, dry_run: bool) -> tuple[str, str]:
        """Say that the customers of two handles are two, for ever or until a person joins them; return both."""
        one, other = await self._deciding.planned_reject(first, second)
        if not dry_run:
            details = {"other": other.own}
            await self._notes.note("proposal_rejected", tenant=self._tenant, customer=one.own, reason=reason, details=details)
            await self._deciding.reject(first, second, actor=self._actor, reason=reason)
        return one.own, other.own


class _Reader:
    """Reads records of the log; connects when it is asked for some."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def records(self, partition: int, offsets: Iterable[int]) -> Iterator[RawRecord]:
        """Yield the records at these offsets."""
        with LogReader(self._settings.brokers, self._settings.topic("interaction")) as reader:
            yield from reader.records(partition, offsets)


@asynccontextmanager
async def identities(settings: Settings, tenant: str) -> AsyncIterator[Identities]:
    """Connect for as long as the context lasts; the broker is not asked before something is to be changed."""
    codec = Codec()
    async with connected(settings) as store:
        told = KafkaLog(settings.brokers, settings.topic("interaction"), linger="alerts")
        version = await ActiveVersions(store).of("view")
        length = Lengths(History(store, _Reader(settings)), codec, version).of
        most = settings.identity_handles_per_kind_max
        linker = Linker(Claims(store), Pairs(store), Roots(), told, codec, handles_per_kind_max=most, length=length)
        view = CustomerReader(store, codec, version)
        yield Identities(linker, view, trail_of(settings, store), tenant=tenant, actor=settings.operator)
