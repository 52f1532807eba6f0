"""Erasing a person: log.md §3. Each step may be done again; how far it came stands in the table of erasures, for whoever takes it up.

    begun ──▶ told ──▶ destroyed ──▶ forgotten ──▶ searched ──▶ announced ─────── a minute ───────▶ done
      row       `privacy.erased`   every key     claims: a       raw          control topic:     keys made and handles
                 under every         of every      new            payloads     everybody lets      linked meanwhile by
                 customer            handle        generation     deleted      go of keys          whoever did not know

The order matters: clocks and views close before the text is gone, nobody becomes a new customer before the old one's keys are gone, and
what is told to everybody is true by then. Knows ports only; what they lead to stands in `erasing_said.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from projections.effect_ids import effect_id
from schemas.events import Header, KeysDestroyed, PrivacyErased
from streams.audit.trail import Notes
from streams.identity.claim import Name
from streams.identity.claims import Claims
from touchline.erasing_keys import AGAIN_S, Shredder
from touchline.erasing_person import People, Person
from touchline.erasing_places import Places
from touchline.erasures import Erasure, Erasures, Step
from touchline.errors import Retryable

__all__ = ["SOURCE", "Erasing", "Parts", "Said", "Tell"]

SOURCE: Final = "/touchline/privacy"

_SWAPS_MAX: Final = 50
"""So often a claim is read and changed in vain, because somebody else is quicker."""

_ROUNDS_MAX: Final = 10
"""Erasures that follow from one: handles that were linked while it ran, and again while that one ran."""

Tell = Callable[[Step, float], object]
"""Hears which step begins, and how many seconds it waits."""


class Said(Protocol):
    """What an erasure says: on the log, and to every process. Each returns when the broker has acknowledged it; trouble is `Retryable`."""

    async def to_the_log(self, events: Sequence[PrivacyErased]) -> None:
        """Append each under its customer."""
        ...

    async def to_everybody(self, said: KeysDestroyed) -> None:
        """Append it to the control topic."""
        ...


class Parts(NamedTuple):
    """What an erasure works with."""

    erasures: Erasures
    people: People
    claims: Claims
    shredder: Shredder
    places: Places
    said: Said
    notes: Notes


class Erasing:
    """Begins erasures and carries them out. `now_us` is the wall clock, `pause` waits so many seconds."""

    def __init__(
        self,
        parts: Parts,
        now_us: Callable[[], int],
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        tell: Tell | None = None,
    ) -> None:
        self._parts = parts
        self._now_us = now_us
        self._pause = pause
        self._tell = tell or _say_nothing
        self._steps: dict[Step, Callable[[Erasure], Awaitable[Erasure]]] = {
            "begun": self._say,
            "told": self._destroy,
            "destroyed": self._forget,
            "forgotten": self._search,
            "searched": self._announce,
        }

    async def begin(self, person: Person, *, reason: str, actor: str) -> Erasure:
        """Note the erasure of a person on the audit trail and in the table; one of this person that was cut off is taken up instead."""
        for one in await self._parts.erasures.unfinished(person.tenant):
            if person.customers <= one.customers and person.handles <= one.handles:
                return one
        at_us = self._now_us()
        erasure = Erasure(
            tenant=person.tenant,
            id=self._parts.erasures.new_id(),
            customer=person.root,
            customers=person.customers,
            handles=person.handles,
            reason=reason,
            actor=actor,
            begun_at_us=at_us,
        )
        details = {"erasure": erasure.id, "handles": str(len(erasure.handles)), "customers": str(len(erasure.customers))}
        await self._parts.notes.note(
            "erased", tenant=person.tenant, customer=person.root, count=len(person.customers), reason=reason, details=details
        )
        return await self._parts.erasures.save(erasure)

    async def run(self, erasure: Erasure, *, wait: bool = True) -> Erasure:
        """Carry an erasure out from where it stands, and whatever follows from it; without `wait` all but the last step.

        Raises `Retryable` where a server is unwell: whoever runs it again goes on there.
        """
        following = [erasure]
        first: Erasure | None = None
        for _ in range(_ROUNDS_MAX):
            if not following:
                break
            one = following.pop(0)
            while (step := self._steps.get(one.step)) is not None:
                self._tell(one.step, 0.0)
                one = await step(one)
            if wait and not one.is_done:
                one, more = await self._close(one)
                following += more
            first = first or one
        return first or erasure

    # -- the steps, each from the state that its name in `_steps` says

    async def _say(self, erasure: Erasure) -> Erasure:
        await self._parts.said.to_the_log([_event(erasure, customer) for customer in sorted(erasure.customers)])
        return await self._reached(erasure, "told")

    async def _destroy(self, erasure: Erasure) -> Erasure:
        found = await self._parts.shredder.destroy(erasure.tenant, erasure.known_by, erasure.begun_at_us)
        return await self._reached(msgspec.structs.replace(erasure, erased_at_us=found.at_us), "destroyed")

    async def _forget(self, erasure: Erasure) -> Erasure:
        for handle in erasure.known_by:
            await self._forget_one(erasure, Name(erasure.tenant, *handle))
        await self._parts.places.delete_proposals(erasure.tenant, erasure.customers)
        return await self._reached(erasure, "forgotten")

    async def _forget_one(self, erasure: Erasure, name: Name) -> None:
        """Make a handle nobody's, and of whoever returns with it a new customer; once per erasure, however often it is tried."""
        for _ in range(_SWAPS_MAX):
            claim = await self._parts.claims.one(name)
            if claim.erased_at_us >= erasure.begun_at_us:
                return
            if await self._parts.claims.erase(claim, erasure.erased_at_us or erasure.begun_at_us) is not None:
                return
        raise Retryable(f"{_SWAPS_MAX} times others changed a claim first.", next_step="run `touchline privacy erase --resume`.")

    async def _search(self, erasure: Erasure) -> Erasure:
        found = await self._parts.places.raw_payloads(erasure.tenant, erasure.known_by)
        await self._parts.places.delete_raw_payloads(found)
        return await self._reached(erasure, "searched")

    async def _announce(self, erasure: Erasure) -> Erasure:
        at_us = erasure.erased_at_us or erasure.begun_at_us
        said = KeysDestroyed(tenant=erasure.tenant, erasure=erasure.id, handles=tuple(sorted(erasure.handles)), at_us=at_us)
        await self._parts.said.to_everybody(said)
        return await self._reached(erasure, "announced")

    async def _close(self, erasure: Erasure) -> tuple[Erasure, list[Erasure]]:
        """Wait until nobody goes by what was read before, and destroy what was made meanwhile; return the erasures that follow."""
        at_us = erasure.erased_at_us or erasure.begun_at_us
        wait_s = max(0.0, at_us / 1e6 + AGAIN_S - self._now_us() / 1e6)
        self._tell("announced", wait_s)
        if wait_s:
            await self._pause(wait_s)
        await self._parts.shredder.destroy_again(erasure.tenant, erasure.known_by, at_us)
        following = await self._following(erasure)
        await self._parts.places.delete_proposals(erasure.tenant, erasure.customers)
        await self._parts.places.delete_way_back(erasure.tenant, erasure.customers, erasure.known_by)
        return await self._reached(msgspec.structs.replace(erasure, done_at_us=self._now_us()), "done"), following

    async def _following(self, erasure: Erasure) -> list[Erasure]:
        """Begin the erasure of handles that were linked to the person by somebody who did not know yet."""
        claims = await self._parts.people.later(erasure.tenant, erasure.customers, erasure.known_by)
        if not claims:
            return []
        person = Person(erasure.tenant, erasure.customer, frozenset(claim.own for claim in claims), tuple(claims))
        return [await self.begin(person, reason=erasure.reason, actor=erasure.actor)]

    async def _reached(self, erasure: Erasure, step: Step) -> Erasure:
        return await self._parts.erasures.save(msgspec.structs.replace(erasure, step=step))


def _say_nothing(step: Step, wait_s: float) -> None:
    """Hear it, and keep it."""
    del step, wait_s


def _event(erasure: Erasure, customer: str) -> PrivacyErased:
    """Return what the log says of one customer: the same, id included, however often it is said."""
    header = Header(
        id=effect_id("privacy.erased", erasure.id, customer),
        source=SOURCE,
        tenant=erasure.tenant,
        channel="backoffice",
        direction="internal",
        occurred_at_us=erasure.begun_at_us,
        received_at_us=erasure.begun_at_us,
        customer_id=customer,
        home_customer_id=customer,
        actor_kind="agent",
        actor_id=erasure.actor,
        actor_role="operator",
    )
    return PrivacyErased(header=header, customer=customer, erasure=erasure.id, reason=erasure.reason)
