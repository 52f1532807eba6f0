"""Who has which conversation, and the figures, when a customer turns out to be another one."""

from typing import Any

import msgspec
import pytest

from projections.desk import Desk
from projections.rules import Defaults, Rulebook
from projections.service_levels import ServiceLevels
from projections.testing import contact_connected, contact_queued, make, time_us
from schemas import events
from schemas.record import Event
from tests.support.one_person import C, OnePerson, P

BOOK = Rulebook(version=1, effective_at_us=0, defaults=Defaults(return_after_s=600))


def person() -> OnePerson:
    return OnePerson(BOOK, (Desk(), ServiceLevels()))


def assigned(customer: str, at: str, agent: str | None = "ag-1", **fields: Any) -> Event:
    return make(events.ConversationAssigned, at=at, customer=customer, conversation_id="c-9", channel="email", agent=agent, team="t", **fields)


def resolved(customer: str, at: str, **fields: Any) -> Event:
    return make(events.ConversationResolved, at=at, customer=customer, conversation_id="c-9", channel="email", **fields)


def told(one: OnePerson) -> list[tuple[str, str, bool]]:
    """Return (agent, customer, released) of what was told to agents."""
    return [(e.payload.agent, e.payload.customer, e.payload.released) for e in one.world.effects if isinstance(e.payload, events.WorkAssigned)]


def offline(one: OnePerson) -> list[tuple[str, str]]:
    """Let the agents hear what was told them, let ag-1 go, and return (kind, customer) of what the agent's side says then."""
    for effect in [e for e in one.world.effects if e.kind == "work.assigned"]:
        event: Any = effect.payload
        one.happen(msgspec.structs.replace(event, header=msgspec.structs.replace(event.header, customer_id=effect.key)))
    one.world.effects.clear()
    one.happen(make(events.AgentLoggedOut, at="09:30", customer="agent:ag-1", actor_kind="agent", actor_id="ag-1"))
    one.world.advance_to(time_us("12:00"))
    return [(e.kind, e.key) for e in one.world.effects]


def link(one: OnePerson, at: str) -> None:
    one.happen(one.link(P, at), one.link(C, at), *one.copies())


def test_what_an_agent_has_is_not_told_again_when_its_customer_is_linked() -> None:
    one = person().happen(assigned(P, "09:00"))
    link(one, "09:10")
    assert told(one) == [("ag-1", P, False)]
    one.happen(resolved(C, "09:20"))
    assert told(one) == [("ag-1", P, False), ("ag-1", C, True)]


@pytest.mark.parametrize("is_resolved", [False, True])
def test_the_agent_knows_the_conversation_by_its_home_and_gives_back_what_was_not_released(is_resolved: bool) -> None:  # noqa: FBT001 - pytest's way
    """What goes back to the old customer is copied on like every record of theirs."""
    one = person().happen(assigned(P, "09:00"))
    link(one, "09:10")
    if is_resolved:
        one.happen(resolved(C, "09:20"))
    assert offline(one) == ([] if is_resolved else [("conversation.returned_to_queue", P)])


def test_who_took_over_under_the_other_customer_is_told_and_the_first_one_released_when_all_copies_are_there() -> None:
    one = person().happen(assigned(P, "09:00"), assigned(C, "09:05", "ag-2"))
    one.world.effects.clear()
    one.happen(one.link(P, "09:10"), one.link(C, "09:10"))
    run = one.copies()
    one.happen(*run[:-1])
    assert told(one) == []
    one.happen(run[-1])
    assert told(one) == [("ag-1", C, True)]


def test_what_still_arrives_under_who_is_linked_is_told_at_the_other_customer() -> None:
    one = person().happen(assigned(P, "09:00"))
    link(one, "09:10")
    one.world.effects.clear()
    one.happen(assigned(P, "09:09", "ag-3"))
    assert told(one) == []
    one.happen(*one.copies())
    assert told(one) == [("ag-1", C, True), ("ag-3", C, False)]


def test_a_link_that_is_taken_back_tells_what_has_changed_meanwhile() -> None:
    one = person().happen(assigned(P, "09:00"))
    one.happen(one.link(P, "09:10"), assigned(P, "09:15", "ag-2"), make(events.IdentityUnlinked, at="09:20", customer=P, from_=P, to=C))
    assert told(one) == [("ag-1", P, False), ("ag-1", P, True), ("ag-2", P, False)]


def test_what_an_agent_has_of_a_person_who_was_forgotten_is_given_back() -> None:
    one = person().happen(assigned(P, "09:00"))
    header = assigned(P, "09:10").header
    one.happen(events.PrivacyErased(header=header, customer=P, erasure="e"), assigned(P, "09:20", "ag-2"))
    assert told(one) == [("ag-1", P, False), ("ag-1", P, True)]


# -- figures


def total(one: OnePerson) -> dict[str, int]:
    sums: dict[str, int] = {}
    for found in one.world.sums.values():
        for name, n in found.items():
            sums[name] = sums.get(name, 0) + n
    return {name: n for name, n in sums.items() if n}


def queued(customer: str, at: str = "09:00") -> Event:
    return contact_queued(at=at, customer=customer, contact_id="k-1")


def connected(customer: str, at: str) -> Event:
    return contact_connected(at=at, customer=customer, contact_id="k-1")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("where", [P, C])
def test_a_contact_is_counted_once_whichever_comes_first_the_link_or_the_copies(where: str, order: tuple[int, int]) -> None:
    """Also where it was queued under one handle and connected under the other."""
    one = person().happen(queued(P), connected(where, "09:00:30"))
    one.happen(one.link(P, "09:05"))
    streams = [[one.link(C, "09:05")], one.copies()]
    for number in order:
        one.happen(*streams[number])
    assert total(one) == {"offered": 1, "answered": 1, "w:30": 1, "wait_us": 30_000_000}


def test_a_customer_who_is_linked_on_keeps_what_was_decided_where_it_was_counted() -> None:
    one = person().happen(queued(P), connected(P, "09:00:30"))
    link(one, "09:05")
    on = make(events.IdentityLinked, id="on", at="09:06", customer=P, handle=events.Handle(kind="email", hash=b"x"), from_=P, to="cu-d", via=C)
    away = make(events.IdentityLinked, id="away", at="09:06", customer=C, handle=events.Handle(kind="email", hash=b"y"), from_=C, to="cu-d")
    one.happen(on, away)
    assert total(one) == {"offered": 1, "answered": 1, "w:30": 1, "wait_us": 30_000_000}
