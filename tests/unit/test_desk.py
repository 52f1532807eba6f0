"""The desk: who has which conversation, and what becomes of it when that agent goes offline."""

import asyncio
from itertools import permutations
from typing import Any

from projections.desk import Desk
from projections.desk_state import HELD_MAX, WORKS_MAX
from projections.kernel import Effect, Subject
from projections.registry import Group
from projections.rules import Config, Defaults, Rulebook, TeamRules, WeeklyHours
from projections.testing import Given, World, given, make, time_us
from schemas import events
from schemas.codec import Codec
from schemas.record import Event
from streams.simulation import Simulation
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore

OFFICE = WeeklyHours(id="office", week=(((9 * 3600, 17 * 3600),),) * 5 + ((), ()))
OF = (Desk(),)


def start(*before: Event, **book: Any) -> Given:
    rules = {"teams": (TeamRules(id="mail", return_after_s=1800),), "calendars": (OFFICE,), **book}
    return given(*before, of=OF, config=Config((Rulebook(version=1, effective_at_us=0, **rules),)))


def assigned(at: str = "09:00", agent: str | None = "ag-1", conversation_id: str = "c-1", **fields: Any) -> events.ConversationAssigned:
    return make(events.ConversationAssigned, id=f"a-{at}", at=at, agent=agent, conversation_id=conversation_id, channel="email", **fields)


def agent(kind: type[Event], at: str, **fields: Any) -> Event:
    return make(kind, at=at, customer="agent:ag-1", actor_kind="agent", actor_id="ag-1", actor_team="mail", **fields)


def given_work(at: str = "09:00", conversation_id: str = "c-1", *, released: bool = False, customer_id: str = "cu-1") -> events.WorkAssigned:
    """Return what the customer's side tells the agent's side, under the agent's key."""
    under = {"customer": "agent:ag-1", "home_customer_id": customer_id, "conversation_id": conversation_id, "channel": "email"}
    header = make(events.AgentLoggedIn, id=f"w-{conversation_id}-{at}", at=at, **under).header
    return events.WorkAssigned(header=header, agent="ag-1", customer=customer_id, released=released)


def told_agents(told: Given) -> list[tuple[str, str, bool]]:
    return [(e.key, e.payload.agent, e.payload.released) for e in told.world.effects if isinstance(e.payload, events.WorkAssigned)]


# -- under a customer


def test_an_assigned_conversation_is_told_to_the_agents_side() -> None:
    told = start().at("09:00").when(assigned(team="mail"))
    told.then(effects=[("work.assigned", {"agent": "ag-1", "customer": "cu-1", "team": "mail", "released": False})])
    (effect,) = told.world.effects
    assert effect.key == "agent:ag-1"
    header = effect.payload.header
    assert (header.conversation_id, header.home_customer_id, header.occurred_at_us, header.customer_id) == ("c-1", "cu-1", time_us("09:00"), "")


def test_a_conversation_that_changes_hands_is_released_by_one_and_given_to_the_other() -> None:
    told = start(assigned()).when(assigned("09:10", "ag-2"))
    assert told_agents(told) == [("agent:ag-1", "ag-1", True), ("agent:ag-2", "ag-2", False)]


def test_a_hand_over_from_a_bot_gives_the_work_to_the_agent() -> None:
    told = start().when(make(events.BotHandoffAccepted, conversation_id="c-1", agent="ag-1"))
    assert told_agents(told) == [("agent:ag-1", "ag-1", False)]


def test_work_ends_when_the_conversation_is_unassigned_returned_over_or_another_teams() -> None:
    for end in (
        make(events.ConversationUnassigned, at="09:10", conversation_id="c-1"),
        make(events.ConversationReturnedToQueue, at="09:10", conversation_id="c-1"),
        make(events.ConversationResolved, at="09:10", conversation_id="c-1"),
        make(events.ConversationClosed, at="09:10", conversation_id="c-1"),
        make(events.ConversationStatusChanged, at="09:10", conversation_id="c-1", from_="open", to="resolved"),
        assigned("09:10", None, team="billing"),
    ):
        told = start(assigned()).when(end)
        assert told_agents(told) == [("agent:ag-1", "ag-1", True)]


def test_a_reopened_conversation_is_its_agents_again() -> None:
    over = make(events.ConversationResolved, at="09:10", conversation_id="c-1")
    told = start(assigned(), over).when(make(events.ConversationReopened, at="09:20", conversation_id="c-1", by="customer"))
    assert told_agents(told) == [("agent:ag-1", "ag-1", False)]


def test_saying_it_again_tells_nobody() -> None:
    assert told_agents(start(assigned()).when(assigned("09:10"))) == []


def test_the_latest_by_event_time_has_it_whatever_came_last() -> None:
    history = assigned("09:00", "ag-1"), assigned("09:10", "ag-2"), make(events.ConversationUnassigned, at="09:05", conversation_id="c-1")
    for arrival in permutations(history):
        world = World(OF)
        for event in arrival:
            world.append(event, appended_us=time_us("09:30"))
        (state,) = world.states.values()
        assert state.held["c-1"].told == "ag-2"


def test_what_belongs_to_no_conversation_belongs_to_nobody() -> None:
    start().when(make(events.ConversationAssigned, agent="ag-1")).then(effects=[])


def test_owners_of_one_customers_conversations_are_bounded() -> None:
    world = World(OF)
    for n in range(HELD_MAX + 5):
        world.append(assigned(f"09:00:{n % 60:02d}.{n:03d}", "ag-1", f"c-{n}"))
    (state,) = world.states.values()
    assert len(state.held) == HELD_MAX


# -- under an agent


def test_work_of_an_agent_who_logs_out_goes_back_after_the_teams_time() -> None:
    told = start(given_work(), agent(events.AgentLoggedOut, "10:00")).at("10:29:59")
    told.then(effects=[])
    told.at("10:30").then(effects=[("conversation.returned_to_queue", {"reason": "agent_offline"})])
    (effect,) = told.world.effects
    header = effect.payload.header
    assert effect.key == "cu-1"
    assert (header.customer_id, header.conversation_id, header.home_customer_id, header.occurred_at_us, header.actor_id) == (
        "cu-1",
        "c-1",
        "cu-1",
        time_us("10:30"),
        "ag-1",
    )


def test_an_agent_who_comes_back_in_time_keeps_the_work() -> None:
    for back in (agent(events.AgentLoggedIn, "10:20"), agent(events.AgentStateChanged, "10:20", state="available")):
        start(given_work(), agent(events.AgentLoggedOut, "10:00"), back).advance("1d").then(effects=[])


def test_a_state_of_offline_is_as_good_as_logging_out_and_a_break_is_not() -> None:
    start(given_work(), agent(events.AgentStateChanged, "10:00", state="offline")).at("10:30").then(effects=["conversation.returned_to_queue"])
    start(given_work(), agent(events.AgentStateChanged, "10:00", state="break")).advance("1d").then(effects=[])


def test_the_time_counts_from_the_first_going_away() -> None:
    away = agent(events.AgentStateChanged, "10:00", state="offline"), agent(events.AgentLoggedOut, "10:20")
    for arrival in permutations(away):
        told = start(given_work())
        for event in arrival:
            told.world.append(event, appended_us=time_us("10:25"))
        told.at("10:30").then(effects=["conversation.returned_to_queue"])


def test_the_time_runs_in_the_teams_shifts() -> None:
    team = TeamRules(id="mail", calendar="office", return_after_s=1800)
    told = start(given_work(), agent(events.AgentLoggedOut, "16:50"), teams=(team,)).at("2026-01-13T09:19:59Z")
    told.then(effects=[])
    told.at("2026-01-13T09:20:00Z").then(effects=["conversation.returned_to_queue"])


def test_a_team_without_a_time_of_its_own_takes_the_tenants_and_without_any_the_work_stays() -> None:
    away = given_work(), agent(events.AgentLoggedOut, "10:00")
    start(*away, teams=(), defaults=Defaults(return_after_s=600)).at("10:10").then(effects=["conversation.returned_to_queue"])
    start(*away, teams=()).advance("1d").then(effects=[])


def test_what_was_released_or_given_on_is_not_returned() -> None:
    start(given_work(), given_work("09:30", released=True), agent(events.AgentLoggedOut, "10:00")).advance("1d").then(effects=[])


def test_a_release_that_arrives_before_its_giving_stands() -> None:
    told = start()
    for event in (given_work("09:30", released=True), given_work("09:00"), agent(events.AgentLoggedOut, "10:00")):
        told.world.append(event, appended_us=time_us("10:00"))
    told.advance("1d").then(effects=[])


def test_work_that_is_given_to_an_agent_who_is_away_goes_back_too_after_its_own_time() -> None:
    told = start(agent(events.AgentLoggedOut, "10:00"), given_work("10:10", "c-1"), given_work("10:20", "c-2")).at("10:40")
    told.then(effects=["conversation.returned_to_queue"])
    told.at("10:50").then(effects=["conversation.returned_to_queue"] * 2)


def test_each_return_has_an_id_of_its_own_and_the_same_in_every_run() -> None:
    history = given_work("09:00", "c-1"), given_work("09:01", "c-2"), agent(events.AgentLoggedOut, "10:00")
    runs = [[e.payload.header.id for e in start(*history).advance("1d").world.effects] for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 2


def test_the_list_of_an_agents_work_is_bounded_and_the_released_leave_first() -> None:
    world = World(OF)
    world.append(given_work("09:00", "kept"))
    for n in range(WORKS_MAX + 20):
        world.append(given_work(f"09:00:{n % 60:02d}.{n:03d}", f"c-{n}", released=True))
    state = world.states[Subject("acme", "agent:ag-1"), "desk"]
    assert len(state.works) == WORKS_MAX
    assert any(work.conversation_id == "kept" for work in state.works.values())


# -- both sides, over the log


def test_an_agents_work_finds_its_way_back_to_the_queue_over_the_log() -> None:
    """Through engine and store in memory: given, away, returned, released; another agent's work stays."""
    group = Group("desks", 1, OF)
    store = MemoryStore(known_tables([group]))
    book = Rulebook(version=1, effective_at_us=0, teams=(TeamRules(id="mail", return_after_s=1800),))
    simulation = Simulation([group], store, Codec(), tenant="acme", future_max_s=300, cached_subjects_max=100, books=(book,))
    away = make(events.AgentLoggedOut, at="10:00", customer="", home_customer_id="", actor_kind="agent", actor_id="ag-1", actor_team="mail")
    history = [assigned("09:00", "ag-1", "c-1"), assigned("09:10", "ag-2", "c-2"), away]

    async def run() -> list[Effect]:
        came = await simulation.feed((event, event.header.occurred_at_us) for event in history)
        return came + await simulation.finish(time_us("12:00"))

    told = [(e.kind, e.key, getattr(e.payload, "released", None)) for e in asyncio.run(run())]
    assert told == [
        ("work.assigned", "agent:ag-1", False),
        ("work.assigned", "agent:ag-2", False),
        ("conversation.returned_to_queue", "cu-1", None),
        ("work.assigned", "agent:ag-1", True),
    ]
