"""What people decide about customers: these two are one, these two are two, this one does not belong there. log.md §4, §5.

People are bound by the limits, not by what machines may do by themselves: they join two who both own an account, and whom somebody kept
apart before. Every call says first what it would change (`planned_*`), and changes nothing that it did not say. Must not know who asks,
nor how a person names a customer: handles come in.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from streams.identity.claim import Claim, Name
from streams.identity.copying import COPIES_MAX
from streams.identity.linker import Linker
from streams.identity.linking_rules import carries_too_many, in_order
from streams.identity.pairs import Pair
from streams.identity.telling import OPERATOR, TOO_LONG, rejected
from streams.identity.unlinking import Plan
from touchline.errors import Refused

__all__ = ["Deciding", "Merge"]

_SHOW: Final = "see `touchline identity show`."
_TRIES_MAX: Final = 8


class Merge(msgspec.Struct, frozen=True):
    """What joining two customers means: `one` is linked to `target`, and with it all of `along`. `decided`: what had been said of them.

    `names` are the handles by which the caller named them.
    """

    names: tuple[Name, Name]
    one: Claim
    target: Claim
    along: tuple[Claim, ...]
    decided: tuple[Pair, ...]


class Deciding:
    """Carries decisions out, by a linker. `Refused` names what stands against it; nothing is half done then."""

    def __init__(self, linker: Linker) -> None:
        self._linker = linker

    async def planned_merge(self, first: Name, second: Name) -> Merge:
        """Return what joining the customers of two handles means.

        Raises `Refused` if they are one, were erased, have too many handles, or too many records to be copied.
        """
        target, one = await self._roots(first, second)
        if one.name == target.name:
            raise Refused(f"Both are the customer {target.own} already.", reason="same_customer", next_step=_SHOW)
        _, some, others = await self._linker.decide(one, target)
        most = self._linker.handles_per_kind_max
        if carries_too_many([claim.name.kind for claim in (*some, *others)], most):
            raise Refused(
                f"The customers {one.own} and {target.own} have more than {most} handles of one kind together.",
                reason="too_many_handles",
                next_step="unlink what does not belong to them, or raise TOUCHLINE_IDENTITY_HANDLES_PER_KIND_MAX.",
            )
        if (long := await self._linker.too_long(some, target)) is not None:
            raise Refused(
                f"The customer {long[0].own} has {long[1]:,} records or more, and a link copies at most {COPIES_MAX:,}.",
                reason=TOO_LONG,
                next_step="keep the two apart with `touchline identity reject`; a value that many people share belongs among the blocked ones "
                "(TOUCHLINE_BLOCKED_HANDLES).",
            )
        decided = await self._linker.pairs.between(one.name.tenant, {claim.own for claim in some}, {claim.own for claim in others})
        return Merge((first, second), one, target, tuple(some[1:]), tuple(decided))

    async def merge(self, plan: Merge, *, actor: str, reason: str) -> None:
        """Join two customers. Killed at any point, it is completed by the next call, or by the next event of one of their handles."""
        one, target, tenant = plan.one, plan.target, plan.one.name.tenant
        keys = {(pair.customer, pair.other) for pair in plan.decided} | {(one.own, target.own)}
        for first, second in sorted(keys):
            await self._decide(tenant, first, second, "accepted", actor=actor, reason=reason)
        if not await self._linker.link(one, target, via="", evidence=OPERATOR, met=plan.names):
            raise _changed()
        await self._linker.mended(plan.names)

    async def planned_unmerge(self, name: Name, customer: str = "") -> Plan:
        """Return what taking a handle's customer from the one that it is linked to means. Raises `Refused` if it is linked to nobody.

        `customer`: whom the caller means, for the message. What was begun before and cut off is completed first; then there is nothing more
        to do (`Plan.is_done`).
        """
        begun = await self._linker.unlinker.resume((await self._linker.claims.follow([name]))[name])
        claim = (await self._linker.mended([name]))[name].claims[0]
        if begun is not None:
            return msgspec.structs.replace(begun, is_done=True)
        whom = customer or claim.own
        if claim.erased_at_us and not claim.customer:
            raise Refused(f"The customer {whom} was erased: there is nothing to be undone.", reason="erased", next_step=_SHOW)
        if not claim.customer:
            linked = [member.own for member in await self._linker.members(claim)]
            step = f"name the one who does not belong there: {', '.join(linked)}." if linked else _SHOW
            raise Refused(f"The customer {whom} is linked to nobody.", reason="not_linked", next_step=step)
        return await self._linker.unlinker.plan(claim)

    async def unmerge(self, name: Name, plan: Plan, *, actor: str, reason: str) -> None:
        """Take a customer, and whoever came along, from the one that it is linked to. Killed at any point, it is completed as `merge` is."""
        if plan.is_done:
            return
        [claim] = await self._linker.claims.read([name])
        if claim.customer != plan.customer:
            raise _changed()
        await self._linker.unlinker.unlink(claim, plan, actor=actor, reason=reason)
        if (await self._linker.mended([name]))[name].end.own == plan.customer:
            raise _changed()

    async def planned_reject(self, first: Name, second: Name) -> Sequence[Claim]:
        """Return the roots of the two customers who are to stay two, the one last that would stay. Raises `Refused` if they are one."""
        target, one = await self._roots(first, second)
        if one.name == target.name:
            step = f"`touchline identity unmerge` takes one from it; {_SHOW}"
            raise Refused(f"Both are the customer {target.own}.", reason="same_customer", next_step=step)
        return one, target

    async def reject(self, first: Name, second: Name, *, actor: str, reason: str) -> Pair:
        """Say that the customers of two handles are two: they are never joined by themselves. Raises `Refused` if they are one."""
        one, target = await self.planned_reject(first, second)
        pair = await self._decide(one.name.tenant, one.own, target.own, "rejected", actor=actor, reason=reason)
        if not pair.event_id:
            records = rejected(pair, one, target)
            await self._linker.say(records)
            await self._linker.pairs.told(pair, records[0][1].header.id)
        return pair

    async def _roots(self, first: Name, second: Name) -> Sequence[Claim]:
        """Return the roots of two handles, the one first that stays."""
        ways = await self._linker.mended([first, second])
        return in_order([ways[first].end, ways[second].end])

    async def _decide(self, tenant: str, one: str, other: str, state: Literal["accepted", "rejected"], *, actor: str, reason: str) -> Pair:
        """Change what is decided of a pair, whatever it was; what nobody decided, since a link could not be carried out, a person decides too."""
        for _ in range(_TRIES_MAX):
            pair = await self._linker.pairs.read(tenant, one, other)
            if pair is None or pair.state != state or not pair.actor:
                pair = await self._linker.pairs.put(pair, tenant, one, other, state, reason=reason, evidence=OPERATOR, actor=actor)
            if pair is not None:
                await self._linker.pairs.settle(pair)
                return pair
        raise _changed()


def _changed() -> Refused:
    look = "look at `touchline identity show`, then decide anew."
    return Refused("Somebody else has just changed one of these customers.", reason="changed_meanwhile", next_step=look)
