"""Time in a simulation: what expires at the end, what goes back onto the log, and the rules that are there from the beginning."""

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import pytest

from projections.kernel import Arm, Effect, Moment, Step, Subject, Timer, Upsert
from projections.registry import Group
from projections.tables import Table, parse_tables, state_table, timer_tables
from schemas.events import AgentLoggedOut, ConversationReturnedToQueue, Header, MessageReceived, WorkAssigned
from schemas.record import Event
from streams.simulation import Simulation
from streams.store.catalogue import control_tables
from streams.store.memory import MemoryStore
from tests.support.clockwork import CODEC, GROUP, SECOND, event, published, rules, store
from touchline.errors import TouchlineError


def simulation(group: Group = GROUP, into: MemoryStore | None = None, **more: Any) -> Simulation:
    """Return a simulation of one group."""
    return Simulation([group], into or store(), CODEC, tenant="acme", future_max_s=10**9, cached_subjects_max=more.pop("cached", 1000), **more)


def told(one: Simulation, happened: Sequence[tuple[Event, float]], until_s: float | None = None) -> list[str]:
    """Feed (event, append time in s) pairs to the end; return the keys of the effects, in order."""

    async def run() -> list[Effect]:
        effects = await one.feed((of, round(at_s * SECOND)) for of, at_s in happened)
        return effects + await one.finish(None if until_s is None else round(until_s * SECOND))

    return [effect.key for effect in asyncio.run(run())]


def scan(into: MemoryStore, table: str) -> list[dict[str, Any]]:
    """Return a table."""
    return list(asyncio.run(into.scan(table)))


def test_at_the_end_expires_what_was_overdue_until_then_and_nothing_later() -> None:
    """The default end is the last append time and the settling time after it."""
    happened = [(event("received", 1, 100), 100.0), (event("received", 2, 0), 130.0), (event("received", 3, 131), 131.0)]
    by_191 = ["c1/a", "c1/a", "c1/a", "c2/a", "c3/a"]
    assert told(simulation(books=[rules(60)]), happened) == by_191, "at 160, 167, 174, 190 and 191: the last moment counts"
    assert told(simulation(books=[rules(60)]), happened, 190.999) == by_191[:4]
    assert told(simulation(books=[rules(60)]), happened, 160) == ["c1/a"]
    assert told(simulation(books=[rules(60)], settle_s=0), happened) == ["c2/a"] * 3, "overdue when it was armed, and again"
    assert sorted(told(simulation(books=[rules(60)]), happened, 10_000)) == sorted([f"c{n}/a" for n in (1, 2, 3) for _ in range(3)])


def test_the_end_may_come_twice_and_events_after_it() -> None:
    one = simulation(books=[rules(60)])
    assert told(one, [(event("received", 1, 100), 100.0)], 120) == []
    assert told(one, [], 160) == ["c1/a"]
    assert told(one, [(event("received", 2, 170), 170.0)], 230) == ["c1/a", "c1/a", "c2/a"]


def test_with_a_cache_that_holds_next_to_nothing_the_end_is_the_same() -> None:
    happened = [(event("received", n, 100 + n), 100.0 + n) for n in range(50)]
    tables = []
    for cached in (1000, 1):
        into = store()
        assert len(told(simulation(into=into, books=[rules(60)], cached=cached), happened, 10_000)) == 150
        tables.append({table: sorted(scan(into, table), key=repr) for table in ("ring_v1", "heard_v1", "tone_v1", "clockwork_v1_state")})
    assert tables[0] == tables[1]
    assert sum(row["sums"].get("rang", 0) for row in tables[0]["tone_v1"]) == 150


def test_rules_in_the_input_are_told_to_everybody_by_the_end() -> None:
    """Also to somebody whose timers lie behind it: a live worker wakes them."""
    into = store()
    one = simulation(into=into, books=[rules(3600)])
    happened = [(event("received", 1, 100), 100.0), (published(rules(30, 1), 110), 110.0), (published(rules(40, 2), 111), 111.0)]
    assert told(one, happened, 145) == ["c1/a"]
    assert [(row["rang_at"], row["rules"]) for row in scan(into, "ring_v1")] == [(140 * SECOND, 2)]
    assert one.results["config"] == 2


def test_configuration_that_cannot_be_read_is_refused_and_the_rest_goes_on() -> None:
    one = simulation(books=[rules(60)])
    assert told(one, [(published(rules(1, 1), 1, body="["), 1.0), (event("received", 1, 100), 100.0)], 160) == ["c1/a"]
    assert [refusal.reason for refusal in one.refusals] == ["no_rulebook"]


class Seen(msgspec.Struct):
    """What a customer has heard, or who an agent works for."""

    id: str
    works: list[str] = []
    log: list[str] = []


class Desk:
    """Under a customer: a message gives them to agent 1. Under an agent: a minute after logging out they are given back."""

    name: ClassVar[str] = "toydesk"
    version: ClassVar[int] = 1
    handles: ClassVar[frozenset[type[Event]]] = frozenset({MessageReceived, WorkAssigned, AgentLoggedOut, ConversationReturnedToQueue})
    depends_on: ClassVar[tuple[str, ...]] = ()
    loops_back: ClassVar[bool] = True
    endless: ClassVar[bool] = False

    def initial(self, subject: Subject) -> Seen:
        return Seen(subject.id)

    def apply(self, state: Seen, event: Event, at: Moment) -> Step[Seen]:
        state.log.append(f"{type(event).TYPE} @{at.appended_at_us / SECOND:g}")
        row = (Upsert("log", ("acme", state.id), {"said": tuple(state.log)}),)
        if isinstance(event, MessageReceived) or (self.endless and isinstance(event, ConversationReturnedToQueue)):
            return Step(state, row, effects=(Effect("work.assigned", "agent:1", assigned(state.id, at.occurred_at_us + len(state.log) - 1)),))
        if isinstance(event, WorkAssigned):
            state.works.append(event.customer)
            return self._given_back(state, row, at.occurred_at_us) if self.endless else Step(state, row)
        if isinstance(event, AgentLoggedOut):
            return Step(state, row, timers=(Arm("return", at.occurred_at_us + 60 * SECOND),))
        return Step(state, row)

    def expire(self, state: Seen, timer: Timer, at: Moment) -> Step[Seen]:
        return self._given_back(state, (), timer.due_at_us)

    @staticmethod
    def _given_back(state: Seen, rows: tuple[Upsert, ...], at_us: int) -> Step[Seen]:
        works, state.works = state.works, []
        return Step(state, rows, effects=tuple(Effect("conversation.returned_to_queue", work, returned(work, at_us)) for work in works))


def head(id_: str, at_us: int, **more: Any) -> Header:
    """Return a header of what the desk says."""
    return Header(id=f"{id_}-{at_us}", source="/touchline/toydesk", tenant="acme", occurred_at_us=at_us, received_at_us=at_us, **more)


def assigned(customer: str, at_us: int) -> WorkAssigned:
    """Return what tells the agent's side."""
    return WorkAssigned(header=head(customer, at_us, actor_id="1"), agent="1", customer=customer, released=False)


def returned(customer: str, at_us: int) -> ConversationReturnedToQueue:
    """Return what tells the customer's side."""
    return ConversationReturnedToQueue(header=head(f"back-{customer}", at_us, customer_id=customer, conversation_id="a"), reason="away")


class DeskGroup(Group):
    """The desk's group."""

    def tables(self) -> tuple[Table, ...]:
        own = parse_tables("CREATE TABLE log_vN (tenant text, id text, said frozen<list<text>>, PRIMARY KEY ((tenant, id)));", self.version)
        return (*own, state_table(self.name, self.version), *timer_tables(self.name, self.version))


def logged_out(at_s: float) -> AgentLoggedOut:
    """Return agent 1's leaving."""
    return AgentLoggedOut(header=head("out", round(at_s * SECOND), actor_id="1", actor_kind="agent"))


def desk(happened: Sequence[tuple[Event, float]], until_s: float, **fields: Any) -> dict[str, list[str]]:
    """Return what each subject has heard, and when it was appended."""
    group = DeskGroup("toydesk", 1, (type("Desk", (Desk,), fields)(),))
    into = MemoryStore([*group.tables(), *control_tables()])
    one = simulation(group, into)
    told(one, happened, until_s)
    assert [(row["reason"], row["failed_at"]) for row in scan(into, "parked_customer")] == []
    return {row["id"]: list(row["said"]) for row in scan(into, "log_v1")}


def test_what_goes_back_onto_the_log_is_there_before_the_next_event() -> None:
    """The agent knows of the work before logging out; the customer is given back in between, at its time, not at the end."""
    happened = [(event("received", 1, 100), 100.0), (logged_out(101), 101.0), (event("received", 2, 200), 200.0), (event("received", 1, 300), 300.0)]
    found = desk(happened, 1000)
    assert found["agent:1"] == ["work.assigned @100", "agent.logged_out @101", "work.assigned @200", "work.assigned @300"]
    assert found["c1"] == ["message.received @100", "conversation.returned_to_queue @161.001", "message.received @300"]


def test_what_goes_back_at_the_end_is_folded_too() -> None:
    found = desk([(event("received", 1, 100), 100.0), (logged_out(101), 101.0)], 161)
    assert found["c1"][1:] == ["conversation.returned_to_queue @161"]
    assert desk([(event("received", 1, 100), 100.0), (logged_out(101), 101.0)], 160.9)["c1"] == ["message.received @100"]


def test_effects_that_cause_each_other_for_ever_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.simulation.ROUNDS_MAX", 50)
    with pytest.raises(TouchlineError, match="without end"):
        desk([(event("received", 1, 100), 100.0)], 1000, endless=True)
