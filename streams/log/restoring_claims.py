"""Restores the identity tables from an export, before its records are appended: whose each handle is, what was decided, who was erased.

    files, in portions ──> `identity.*`, `privacy.erased` ──hearing──> joined per handle ──> what the store has ──> changed where it says less

A claim is a projection of the log as any other; but its readers change it too, so it is no group's. Nothing is noted anywhere: what is
heard again changes nothing, so a run that was killed is done again from the beginning. Rows that say more than the log stay: they are of
somebody who went on. Must not know what the records mean beyond `streams/identity/hearing.py`.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from schemas.codec import Codec
from streams.control_topic import handles_of
from streams.cutting import FRAME, frames_of
from streams.identity.claim import Claim, Name
from streams.identity.claims import Claims
from streams.identity.hearing import HEARD, Heard, Saying, heard, joined
from streams.identity.pairs import Pair, Pairs, Proposal
from streams.log.importing import LOG, Tell
from streams.log.manifest import Manifest, Part
from streams.store.port import RowWrite, Store
from streams.together import all_of
from touchline.errors import Refused, Retryable

__all__ = ["RestoringClaims"]

_PORTION: Final = 1_000
"""Events that are held in memory, and whose claims are changed at once."""

_TELL_EVERY: Final = 5_000
_FRAMES: Final = frames_of(*HEARD)


class RestoringClaims:
    """Restores over a store. `restored` counts changes of claims, `unnamed` events that do not name what they speak of."""

    def __init__(self, store: Store, codec: Codec) -> None:
        self._store = store
        self._claims = Claims(store)
        self._pairs = Pairs(store)
        self._codec = codec
        self._asked: set[str] = set()
        self.restored = self.unnamed = 0

    async def restore(self, folder: Path, manifest: Manifest, tell: Tell) -> None:
        """Read all records of the log and restore what they say; `tell` hears of records.

        Raises `Refused` if the tables hold what this log contradicts, `Retryable` if somebody else changes them.
        """
        for topic, part in manifest.parts:
            if topic.name == LOG:
                events = self._events(folder, part, tell)
                while portion := list(islice(events, _PORTION)):
                    await self._take(portion)
        for tenant in sorted(self._asked):
            await self._drop_erased(tenant)

    def _events(self, folder: Path, part: Part, tell: Tell) -> Iterator[Saying]:
        for number, record in enumerate(part.records(folder), 1):
            if record.value[:FRAME] in _FRAMES and isinstance(event := self._codec.decode(record.value), HEARD):
                yield event
            if not number % _TELL_EVERY:
                tell(_TELL_EVERY)

    async def _take(self, events: Iterable[Saying]) -> None:
        """Restore what some events say: the way back before the claims, pairs before proposals, as everywhere."""
        found = [said for event in events if (said := self._heard(event)) is not None]
        claims: dict[Name, Claim] = {}
        ways: dict[tuple[str | int, ...], RowWrite] = {}
        for said in found:
            for claim in said.claims:
                claims[claim.name] = joined(claims.get(claim.name, claim), claim)
            ways |= {(*way.key, way.ts_us, way.columns is None): way for way in said.ways}
        await self._store.write(list(ways.values()))
        there = await self._claims.read(list(claims))
        await all_of(self._put(claim, claims[claim.name]) for claim in there)
        for said in found:
            await self._decide(said)

    def _heard(self, event: Saying) -> Heard | None:
        said = heard(event)
        self.unnamed += said is None
        return said

    async def _put(self, there: Claim, said: Claim) -> None:
        if (there.generation, there.turn) == (said.generation, said.turn) and there.customer != said.customer:
            raise _another(said.name)
        new = msgspec.structs.replace(joined(there, said), exists=there.exists, guard=there.guard)
        if new == there:
            return
        if not await self._claims.restore(there, new):
            raise Retryable("the claims of some handles keep changing.", next_step="stop all workers, then run the import again.")
        self.restored += 1

    async def _decide(self, said: Heard) -> None:
        if said.pair is None:
            return
        await self._pairs.restore(said.pair)
        if said.proposed is not None:
            await self._pairs.propose(said.pair, *said.proposed)
            self._asked.add(said.pair.tenant)
        else:  # it was decided; but what was unlinked may be proposed instead in the very same µs, and that stays
            before = 1 if said.claims and said.pair.state == "rejected" else 0
            await self._pairs.settle(msgspec.structs.replace(said.pair, changed_us=said.pair.changed_us - before))

    async def _drop_erased(self, tenant: str) -> None:
        """Take back what was proposed of somebody who was erased: their handle names another customer now."""
        last: Proposal | None = None
        while some := await self._pairs.proposals(tenant, _PORTION, after=last):
            last = some[-1]
            known = handles_of({handle for one in some for handle in one.handles})
            own = {handle.name: claim.own for handle, claim in zip(known, await self._claims.read([Name(tenant, *it) for it in known]), strict=True)}
            for one in some:
                if {own.get(handle) for handle in one.handles} != {one.customer, one.other}:
                    await self._pairs.settle(
                        Pair(tenant=tenant, customer=one.customer, other=one.other, state="rejected", changed_us=one.proposed_us)
                    )


def _another(name: Name) -> Refused:
    return Refused(
        f"The table identity links a {name.kind} to another customer than this log does at the same turn. Nothing was appended.",
        reason="claims_differ",
        next_step="it is of another log: import into a keyspace of its own (TOUCHLINE_KEYSPACE), made by `touchline store migrate`.",
    )
