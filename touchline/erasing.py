"""Erasing a person: log.md §3. Each step may be done again; how far it came stands in the table of erasures, for whoever takes it up.

    begun ──▶ told ──▶ destroyed ──▶ forgotten ──▶ searched ──▶ announced ─────── a minute ───────▶ done
      row       `privacy.erased`   every key     claims: a       raw          control topic:     keys made and handles
                 under every         of every      new            payloads     everybody lets      linked meanwhile by
                 customer            handle        generation     deleted      go of keys          whoever did not know

The order matters: clocks and views close before the text is gone, nobody becomes a new customer before the old one's keys are gone, and
what is told to everybody is true by then. Whoever was linked to the person before the claims were cleared, in either direction, is
forgotten too, by an erasure that follows and is begun before anything of that is cleared; whoever is linked later is somebody new.
Knows ports only; what they lead to stands in `erasing_said.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from projections.effect_ids import effect_id
from schemas.events import Header, KeysDestroyed, PrivacyErased
from streams.audit.trail import Notes
from streams.control_topic import handle_name
from streams.identity.claim import Name
from streams.identity.claims import Claims
from touchline.erasing_keys import AGAIN_S, Shredder
from touchline.erasing_person import People, Person
from touchline.erasing_places import Places
from touchline.erasures import STEPS, Erasure, Erasures, Step
from touchline.errors import Retryable

__all__ = ["ERASURES_MAX", "SOURCE", "Erasing", "Parts", "Said", "Tell"]

SOURCE: Final = "/touchline/privacy"

_SWAPS_MAX: Final = 50
"""So often a claim is read and changed in vain, because somebody else is quicker."""

ERASURES_MAX: Final = 10
"""Erasures that are carried out at once: one, what follows from it, and what follows from that."""

Reached = tuple[Erasure, list[Erasure]]
"""An erasure a step further, and those that were found to follow from it."""

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
        self._steps: dict[Step, Callable[[Erasure], Awaitable[Reached]]] = {
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

    async def run(self, erasure: Erasure, *, wait: bool = True) -> list[Erasure]:
        """Carry an erasure out from where it stands, and whatever follows from it; without `wait` all but the last step.

        Return them, that one first. Raises `Retryable` where a server is unwell, or if handles go on being linked to the person:
        whoever runs it again goes on there.
        """
        waiting, announced, done = [erasure], list[Erasure](), list[Erasure]()
        known = {erasure.id}
        while waiting or announced:
            one, following = await (self._advanced(waiting.pop(0)) if waiting else self._close(announced.pop(0)))
            (done if one.is_done or not wait else announced).append(one)
            for other in following:
                if other.id not in known:
                    known.add(other.id)
                    waiting.append(other)
            if len(known) > ERASURES_MAX:
                raise Retryable("Handles go on being linked to the person.", next_step="run `touchline privacy erase --resume`.")
        return done

    async def _advanced(self, erasure: Erasure) -> Reached:
        """Take an erasure through every step but the last; from where somebody else has brought it meanwhile, if that is further."""
        stored = await self._parts.erasures.read(erasure.tenant, erasure.id) or erasure
        one, found = max(erasure, stored, key=lambda one: STEPS.index(one.step)), list[Erasure]()
        while (step := self._steps.get(one.step)) is not None:
            self._tell(one.step, 0.0)
            one, following = await step(one)
            found += following
        return one, found

    # -- the steps, each from the state that its name in `_steps` says

    async def _say(self, erasure: Erasure) -> Reached:
        claims = await self._parts.claims.read([Name(erasure.tenant, *handle) for handle in erasure.known_by])
        generations = {handle_name(one.name.kind, one.name.hash): one.generation + (one.erased_at_us < erasure.begun_at_us) for one in claims}
        await self._parts.said.to_the_log([_event(erasure, customer, generations) for customer in sorted(erasure.customers)])
        return await self._reached(erasure, "told")

    async def _destroy(self, erasure: Erasure) -> Reached:
        found = await self._parts.shredder.destroy(erasure.tenant, erasure.known_by, erasure.begun_at_us)
        return await self._reached(msgspec.structs.replace(erasure, erased_at_us=found.at_us), "destroyed")

    async def _forget(self, erasure: Erasure) -> Reached:
        """Make every handle nobody's, and of whoever returns with it a new customer; once per erasure, however often it is tried.

        A claim is cleared as it was when it was looked where it leads, or not at all.
        """
        names = [Name(erasure.tenant, *handle) for handle in erasure.known_by]
        following: list[Erasure] = []
        for _ in range(_SWAPS_MAX):
            left = [claim for claim in await self._parts.claims.read(names) if claim.erased_at_us < erasure.begun_at_us]
            following += await self._following(erasure)
            if not left:
                break
            for claim in left:
                await self._parts.claims.erase(claim, erasure.erased_at_us or erasure.begun_at_us)
        else:
            raise Retryable(f"{_SWAPS_MAX} times others changed a claim first.", next_step="run `touchline privacy erase --resume`.")
        await self._parts.places.delete_proposals(erasure.tenant, erasure.customers)
        return await self._reached(erasure, "forgotten", following)

    async def _search(self, erasure: Erasure) -> Reached:
        found = await self._parts.places.raw_payloads(erasure.tenant, erasure.known_by)
        await self._parts.places.delete_raw_payloads(found)
        return await self._reached(erasure, "searched")

    async def _announce(self, erasure: Erasure) -> Reached:
        at_us = erasure.erased_at_us or erasure.begun_at_us
        said = KeysDestroyed(tenant=erasure.tenant, erasure=erasure.id, handles=tuple(sorted(erasure.handles)), at_us=at_us)
        await self._parts.said.to_everybody(said)
        return await self._reached(erasure, "announced")

    async def _close(self, erasure: Erasure) -> Reached:
        """Wait until nobody goes by what was read before, and destroy what was made meanwhile."""
        at_us = erasure.erased_at_us or erasure.begun_at_us
        wait_s = max(0.0, at_us / 1e6 + AGAIN_S - self._now_us() / 1e6)
        self._tell("announced", wait_s)
        if wait_s:
            await self._pause(wait_s)
        await self._parts.shredder.destroy_again(erasure.tenant, erasure.known_by, at_us)
        following = await self._following(erasure)
        await self._parts.places.delete_proposals(erasure.tenant, erasure.customers)
        await self._parts.places.delete_way_back(erasure.tenant, erasure.customers, erasure.known_by)
        return await self._reached(msgspec.structs.replace(erasure, done_at_us=self._now_us()), "done", following)

    async def _following(self, erasure: Erasure) -> list[Erasure]:
        """Begin the erasure of whoever was linked to the person since it was looked who that is."""
        more = await self._parts.people.linked_since(erasure.tenant, erasure.customers, erasure.known_by, erasure.begun_at_us)
        return [] if more is None else [await self.begin(more, reason=erasure.reason, actor=erasure.actor)]

    async def _reached(self, erasure: Erasure, step: Step, following: Sequence[Erasure] = ()) -> Reached:
        return await self._parts.erasures.save(msgspec.structs.replace(erasure, step=step)), list(following)


def _say_nothing(step: Step, wait_s: float) -> None:
    """Hear it, and keep it."""
    del step, wait_s


def _event(erasure: Erasure, customer: str, generations: dict[str, int]) -> PrivacyErased:
    """Return what the log says of one customer: the same, id included, however often it is said. `generations`: as `_forget` makes them."""
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
    return PrivacyErased(header=header, customer=customer, erasure=erasure.id, reason=erasure.reason, handles=generations)
