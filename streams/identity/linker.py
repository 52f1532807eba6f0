"""Carries links out: claims, what the log is told of them, and the mending of what somebody left half done (log.md §4).

    claim of the root B ──swap──▶ C     the link is made: whoever follows B from here on finds C
    handles that were linked to B ──swap──▶ C, via B
    identity.linked of each, under both customers ──acknowledged──▶ each claim `announced`
    the way from B is looked at again: C was linked on meanwhile? then B is, too

Each step can be the last of a process that dies. What it leaves is seen in the claims (`Way.is_whole`), and whoever meets one of these
handles next does the rest, under the same ids. Two who link at once are told apart by the swaps.
Must not know where records come from, nor how they are appended.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Final

import structlog

from schemas.codec import Codec
from streams.identity.appending import LogAppender
from streams.identity.claim import Claim, Name, Way
from streams.identity.claims import Claims
from streams.identity.copying import COPIES_MAX
from streams.identity.linking_rules import HANDLES_PER_KIND_MAX, Linkable, Verdict, in_order, parent, verdict
from streams.identity.pairs import Pair, Pairs
from streams.identity.roots import Roots
from streams.identity.telling import TOO_LONG, TWO_ACCOUNTS, Told, linked, proposed
from streams.identity.unlinking import Unlinker
from touchline.errors import Refused, Retryable

__all__ = ["Length", "Linker"]

log = structlog.get_logger(__name__)

ROUNDS_MAX: Final = 64
"""So often claims may turn out to have changed, while others link the same handles, before it is tried anew."""


Length = Callable[[Claim, Claim], Awaitable[int]]
"""Tells how many records a link of the first customer to the second would copy."""


class Linker:
    """Links over a store of claims, and keeps `roots` up to date. `tell` is told what came of each link that was asked for.

    Without `length` histories are not measured before a link: one that is too long is undone by whoever cannot copy it (`take_back`).
    """

    def __init__(
        self,
        claims: Claims,
        pairs: Pairs,
        roots: Roots,
        appender: LogAppender,
        codec: Codec,
        *,
        handles_per_kind_max: int = HANDLES_PER_KIND_MAX,
        tell: Callable[[Verdict], object] = lambda _: None,
        length: Length | None = None,
    ) -> None:
        self.claims = claims
        self.pairs = pairs
        self.roots = roots
        self.handles_per_kind_max = handles_per_kind_max
        self.tell = tell
        self.length = length
        self._appender = appender
        self._codec = codec
        self.unlinker = Unlinker(claims, pairs, roots, self.say)

    async def look(self, names: Iterable[Name]) -> None:
        """Read whose these handles are, so that `roots` knows. Changes nothing."""
        ways = await self.claims.follow(names)
        self.roots.keep(ways.items())

    async def settle(self, asked: Linkable) -> None:
        """Do for the handles of one record what is to be done: complete, link, propose. Afterwards `roots` knows whose they are.

        Raises `Retryable` as store and log do, and if others keep on changing the same claims: call again.
        """
        for _ in range(ROUNDS_MAX):
            ways = await self.mended(asked.names)
            if asked.says_nothing or not await self._link_one(ways, asked.evidence):
                self.roots.keep(ways.items())
                return
        raise _busy()

    async def mended(self, names: Iterable[Name]) -> dict[Name, Way]:
        """Return the ways of handles to their roots, nothing left to be done about them: what was half done is completed first."""
        names = list(names)
        for _ in range(ROUNDS_MAX):
            ways = await self.claims.follow(names)
            broken = next((way for way in ways.values() if not way.is_whole), None)
            if broken is None:
                return ways
            await self._mend(broken, names)
        raise _busy()

    async def link(self, one: Claim, target: Claim, *, via: str, evidence: str, met: Collection[Name]) -> bool:
        """Link a root to another one that comes before it; False if its claim was changed meanwhile. Nobody is asked whether it may be.

        The target may have been linked on meanwhile: the caller looks at the way again (`mended`). `met` are the handles by which the caller
        came here, and would come again after a kill.
        """
        claim = await self.claims.link(one, target, via=via, evidence=evidence)
        if claim is None:
            return False
        await self._complete(target, met)
        log.info("linked", evidence=evidence, turn=claim.turn)
        return True

    async def decide(self, one: Claim, target: Claim) -> tuple[Verdict, list[Claim], list[Claim]]:
        """Return whether a root may be linked to another one, and the claims of all handles of both."""
        some, others = [one, *await self.members(one)], [target, *await self.members(target)]
        decided, pairs = await self.pairs.decided(one.name.tenant, {claim.own for claim in some}, {claim.own for claim in others})
        return verdict(some, others, decided, handles_per_kind_max=self.handles_per_kind_max, pairs=pairs), some, others

    async def too_long(self, some: Sequence[Claim], target: Claim) -> tuple[Claim, int] | None:
        """Return the first of these customers that has more records than a link copies, and how many at least; None if there is none."""
        for one in some if self.length is not None else ():
            if (found := await self.length(one, target)) > COPIES_MAX:  # type: ignore[misc] # there is one
                return one, found
        return None

    async def members(self, root: Claim) -> list[Claim]:
        """Return the claims of the handles that are linked to a root, as they are now."""
        return await self.claims.members(root.name.tenant, root.own)

    async def propose(self, one: Claim, target: Claim, *, reason: str, evidence: str) -> bool:
        """Have a person decide whether two customers are one; tell whether it is being asked. Once decided it is not asked again."""
        tenant = one.name.tenant
        pair = await self.pairs.read(tenant, one.own, target.own)
        if pair is None:
            pair = await self.pairs.put(None, tenant, one.own, target.own, "open", reason=reason, evidence=evidence)
        if pair is None or pair.state != "open":
            return False
        if not pair.event_id:
            await self._tell_proposed(pair, one, target)
        return True

    async def take_back(self, one: Claim, target: Claim, *, reason: str) -> bool:
        """Undo a link that cannot be carried out, and have a person decide; tell whether it is undone.

        Repeating it after a kill at any point completes it.
        """
        tenant = one.name.tenant
        claim = (await self.mended([one.name]))[one.name].claims[0]
        pair = await self.pairs.read(tenant, one.own, target.own)
        if claim.customer == target.own:
            try:
                await self.unlinker.unlink(claim, await self.unlinker.plan(claim), actor="", reason=reason)
            except Refused:
                raise _busy() from None
            pair = await self.pairs.read(tenant, one.own, target.own)
        if pair is None or pair.state != "rejected" or pair.reason != reason:
            return False
        log.warning("link_undone", reason=reason, turn=claim.turn)
        await self._tell_proposed(pair, one, target)
        return True

    async def say(self, records: Sequence[Told]) -> None:
        """Append records and wait until they are on the log."""
        for key, event in records:
            self._appender.append(key, self._codec.encode(event))
        await self._appender.drain()

    async def _tell_proposed(self, pair: Pair, one: Claim, target: Claim) -> None:
        await self.pairs.propose(pair, one, target)
        records = proposed(pair, one, target)
        await self.say(records)
        await self.pairs.told(pair, records[0][1].header.id)

    async def _link_one(self, ways: dict[Name, Way], evidence: str) -> bool:
        """Link the first two customers of these handles that may be linked; False if there are none, and then it is known who stays two."""
        target, *others = in_order({way.end.name: way.end for way in ways.values()}.values())
        for one in others:
            if self.roots.is_apart(one.own, target.own):
                continue
            found, some, _ = await self.decide(one, target)
            if found == "linked" and await self.too_long(some, target):
                found = "too_long"
            if found == "linked":
                own = [way.claims[0] for way in ways.values() if way.end.name == target.name]
                if await self.link(one, target, via=parent(own, target), evidence=evidence, met=ways):
                    self.tell(found)
                return True
            why = {"proposed": TWO_ACCOUNTS, "too_long": TOO_LONG}.get(found)
            if why is not None and await self.propose(one, target, reason=why, evidence=evidence):
                log.info("merge_proposed", reason=why, evidence=evidence)
            elif found in {"too_many_handles", "shared"}:
                log.warning("not_linked", reason=found, evidence=evidence)
            self.tell(found)
            self.roots.set_apart(one.own, target.own)
        return False

    async def _mend(self, way: Way, met: Collection[Name]) -> None:
        """Do one thing that is left to be done about a way, the farthest first; whoever called looks again."""
        claims = way.claims
        self.roots.forget(claim.name for claim in claims)
        pending = next((number for number in reversed(range(len(claims))) if claims[number].is_pending), None)
        if pending is not None and not claims[pending].customer:
            await self.unlinker.complete(claims[pending])
        elif way.is_dead:
            await self.unlinker.leave(way.end)
        elif pending is not None and pending + 1 < len(claims):
            await self._complete(claims[pending + 1], met)
        else:
            left, between, end = claims[-3:]
            if await self._brought_along([between, left], end):  # first: once this one is there nobody would come by here again
                return
            await self.claims.link(left, end, via=left.via or between.own, evidence=left.evidence)

    async def _brought_along(self, linked_on: Sequence[Claim], root: Claim) -> bool:
        """Link to a root whoever is linked to one of these, each of which is linked to one before it or to the root; False if nobody is.

        Whoever has not seen yet that one of them is linked on may be moving handles from a later one to that one: the last are looked at first.
        """
        names = {claim.name for claim in linked_on}
        behind = [(member, claim) for claim in reversed(linked_on) for member in await self.members(claim) if member.name not in names]
        for member, claim in behind:
            await self.claims.link(member, root, via=member.via or claim.own, evidence=member.evidence)
            self.roots.forget([member.name])
        return bool(behind)

    async def _complete(self, root: Claim, met: Collection[Name]) -> None:
        """Complete every link to a root: whoever was linked to one of its handles comes along; then it is told, and noted that it was.

        Of the handles that were `met` that is noted last: who meets them again must see that something is left to be done.
        """
        for _ in range(ROUNDS_MAX):
            waiting = [claim for claim in await self.members(root) if not claim.announced]
            if not await self._brought_along(waiting, root):
                break
        else:
            raise _busy()
        told = [linked(claim) for claim in waiting]
        await self.say([under_root for under_root, _ in told])  # first, and there, before anybody can copy anything to it: docs/adr/0017
        await self.say([under_own for _, under_own in told])
        for claim in sorted(waiting, key=lambda one: one.name in met):
            await self.claims.announce(claim)
            self.roots.forget([claim.name])


def _busy() -> Retryable:
    return Retryable("the claims of some handles keep changing.", next_step="it is tried again; `touchline identity show` tells whose they are.")
