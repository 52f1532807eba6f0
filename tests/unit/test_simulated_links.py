"""Simulated, a person is one customer over all handles, as live: linked, copied, in order; also where only clocks are wanted."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from projections.kernel import Effect
from projections.registry import GROUPS
from projections.rules import Policy, Rulebook
from projections.testing import handle, make
from schemas import events
from schemas.codec import Codec
from schemas.events import Handle
from schemas.handles import customer_id
from schemas.record import Event
from streams.identity import lengths, linker
from streams.simulation import Simulation
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore

CODEC = Codec()
MINUTE = 60_000_000
NINE = 1_768_208_400_000_000
BOOK = Rulebook(version=1, effective_at_us=0, policies=(Policy(id="all", targets={"first_response": 3600}, answered_by="any_channel"),))
MAIL, PHONE, COOKIE = (handle(kind, "one") for kind in ("email", "phone", "cookie"))


def root(of: Handle) -> str:
    """Return the customer of a handle that is linked to nobody."""
    return customer_id("acme", of.kind, of.hash)


def happened(kind: type[Event], id_: str, minute: int, *handles: Handle, answer: bool = False) -> tuple[Event, int]:
    """Return an event and when it was appended."""
    at_us = NINE + minute * MINUTE
    said: dict[str, Any] = (
        {"direction": "outbound", "actor_kind": "agent", "visibility": "public", "author": "human"} if answer else {"direction": "inbound"}
    )
    event = make(kind, id=id_, at=at_us, tenant="acme", customer="", conversation_id=f"talk-{id_}", channel="email", handles=handles, **said)
    return event, at_us


def simulated(found: Sequence[tuple[Event, int]], *groups: str) -> tuple[MemoryStore, list[Effect]]:
    """Simulate them in these groups; return the store, and what was said."""
    store = MemoryStore(known_tables())
    chosen = [GROUPS[name] for name in groups or GROUPS]
    run = Simulation(chosen, store, CODEC, tenant="acme", future_max_s=300, cached_subjects_max=100, books=[BOOK])

    async def simulate() -> list[Effect]:
        return [*await run.feed(found), *await run.finish(NINE + 1000 * MINUTE)]

    effects = asyncio.run(simulate())
    assert run.parked_customers == 0
    assert run.refusals == []
    return store, effects


def shown(store: MemoryStore, customer: str) -> list[str]:
    """Return the ids of a customer's timeline, in the order of time."""
    rows = [row for row in asyncio.run(store.scan("timeline_v1")) if row["customer_id"] == customer and not row["hidden"]]
    return [str(row["event_id"]) for row in sorted(rows, key=lambda row: int(str(row["occurred_at"])))]


DAY = [
    happened(events.MessageReceived, "chat", 0, COOKIE),
    happened(events.MessageReceived, "mail", 5, MAIL),
    happened(events.MessageReceived, "both", 10, COOKIE, PHONE),
    happened(events.MessageReceived, "all", 15, PHONE, MAIL),
    happened(events.MessageReceived, "late", 20, COOKIE),
]


def test_whoever_has_several_handles_is_one_customer_with_one_timeline() -> None:
    store, _ = simulated(DAY)
    assert shown(store, root(PHONE)) == ["chat", "mail", "both", "all", "late"]
    assert shown(store, root(COOKIE)) == ["chat"]
    [canonical] = {row["canonical_id"] for row in asyncio.run(store.scan("customer_v1")) if row["customer_id"] == root(COOKIE)}
    assert canonical == root(PHONE)


def test_a_link_stops_a_clock_in_time_also_where_nothing_but_clocks_is_folded() -> None:
    """Asked under the cookie at 9:00, answered under the phone's number at 9:30; that both are one is known at 9:50."""
    found = [
        happened(events.MessageReceived, "asked", 0, COOKIE),
        happened(events.MessageSent, "answered", 30, PHONE, answer=True),
        happened(events.MessageReceived, "tied", 50, COOKIE, PHONE),
        happened(events.MessageSent, "done", 55, PHONE, answer=True),
    ]
    for groups in ((), ("care",)):
        _, effects = simulated(found, *groups)
        assert [effect.kind for effect in effects if effect.kind in {"sla.breached", "alert.raised"}] == []
    apart = [found[0], found[1], found[3]]
    assert "sla.breached" in [effect.kind for effect in simulated(apart, "care")[1]]


def test_whose_history_is_too_long_is_not_linked_and_nothing_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """As live: a person would decide. What was said to be breached was."""
    monkeypatch.setattr(lengths, "COPIES_MAX", 1)
    monkeypatch.setattr(linker, "COPIES_MAX", 1)
    found = [
        happened(events.MessageReceived, "asked", 0, COOKIE),
        happened(events.MessageReceived, "again", 5, COOKIE),
        happened(events.MessageReceived, "called", 10, PHONE),
        happened(events.MessageReceived, "tied", 90, COOKIE, PHONE),
        happened(events.MessageReceived, "tied too", 91, COOKIE, PHONE),
    ]
    store = MemoryStore(known_tables())
    run = Simulation(GROUPS.values(), store, CODEC, tenant="acme", future_max_s=300, cached_subjects_max=100, books=[BOOK])

    async def simulate() -> list[Effect]:
        return [*await run.feed(found), *await run.finish(NINE + 1000 * MINUTE)]

    said = [effect.kind for effect in asyncio.run(simulate())]
    assert said.count("sla.breached") == 5  # each of the conversations
    assert "sla.breach_retracted" not in said
    assert (shown(store, root(COOKIE)), shown(store, root(PHONE))) == (["asked", "again"], ["called", "tied", "tied too"])
    kinds = [row["type"] for row in asyncio.run(store.scan("timeline_v1")) if row["hidden"] and str(row["type"]).startswith("identity.")]
    assert kinds == ["identity.merge_proposed"] * 2
    assert run.links == {"too_long": 1}


def test_what_lies_in_a_batch_with_a_link_or_far_from_it_comes_to_the_same() -> None:
    """Fed one by one, or at once."""
    store = MemoryStore(known_tables())
    run = Simulation([GROUPS["view"]], store, CODEC, tenant="acme", future_max_s=300, cached_subjects_max=1)

    async def one_by_one() -> None:
        for each in DAY:
            await run.feed([each])
        await run.finish()

    asyncio.run(one_by_one())
    whole, _ = simulated(DAY, "view")
    assert shown(store, root(PHONE)) == shown(whole, root(PHONE))
