"""Rows of clocks, of open clocks and of the customer; odd input; and the bounds of the state."""

import msgspec
import pytest

from projections.kernel import Config, Moment, Subject
from projections.sla.bounds import COURSES_MAX
from projections.sla.clocks import Sla
from projections.sla.course import TURNS_MAX
from projections.testing import contact_queued, make, message_received, message_sent
from schemas import events
from streams.folding import STATE_BYTES_MAX
from tests.support.clock_sentences import EVERYTHING, H, asks, clock, clocks, did, on, policy, replies, rulebook, states, told, under

US = 1_000_000
MAIL = policy(first_response=H, next_response=4 * H, resolution_total=24 * H)
ALL = policy(**EVERYTHING)
C = {"conversation_id": "c-9"}


# -- rows


def test_the_open_clocks_of_a_team_stand_by_due_time_and_say_where_they_went() -> None:
    g = under(policy(first_response=H)).when(asks("09:00", attributes={"priority": "high"}))
    g.then(rows={"open_clock": [{"team": "", "due_hour": "2026-01-12T10", "due_at": on("12", "10:00"), "state": "running", "priority": "high"}]})
    g.at("10:10").then(rows={"open_clock": [{"due_at": on("12", "10:00"), "state": "breached"}]})
    g.when(replies("10:30")).then(rows={"open_clock": [{"due_at": on("12", "10:00"), "state": "closed"}]})
    g.advance("2h").then(rows={"open_clock": []})


def test_a_moved_due_time_moves_the_row() -> None:
    g = under(policy("high", when='priority == "high"', first_response=60), policy(first_response=2 * H)).when(asks("09:00"))
    g.when(did(events.ConversationPriorityChanged, "09:00:30", priority="high"))
    g.then(rows={"open_clock": [{"due_at": on("12", "11:00"), "state": "moved"}, {"due_at": on("12", "09:01"), "state": "running"}]})


def test_the_summary_names_the_worst_open_clock_and_counts_them() -> None:
    g = under(MAIL).when(asks("09:00"), asks("08:30", conversation_id="c-2"))
    g.then(rows={"care_summary": [{"worst_conversation_id": "c-2", "worst_metric": "first_response", "running": 4, "breached": 0}]})
    g.at("09:45").then(rows={"care_summary": [{"worst_state": "breached", "worst_due_at": on("12", "09:30"), "running": 3, "breached": 1}]})
    g.when(replies("09:50"), replies("09:51", conversation_id="c-2"))
    g.then(rows={"care_summary": [{"worst_metric": "resolution_total", "worst_state": "running", "running": 2, "breached": 0, "paused": 0}]})
    g.when(did(events.ConversationResolved, "09:55"), did(events.ConversationResolved, "09:56", conversation_id="c-2"))
    (row,) = g.world.rows()["care_summary"]
    assert row == {"tenant": "acme", "customer_id": "cu-1", "running": 0, "paused": 0, "breached": 0}


def test_the_home_is_that_of_the_first_inbound_record_by_event_time() -> None:
    g = under(MAIL).when(asks("09:00", home_customer_id="cu-7")).when(asks("08:50", home_customer_id="cu-8")).at("10:00")
    assert clock(g, "first_response")["home_customer_id"] == "cu-8"
    g.advance("1d")
    assert len(told(g, "breached")) == 2
    assert {e.payload.header.home_customer_id for e in g.world.effects if e.kind == "sla.breached"} == {"cu-8"}


# -- odd input


ODD = {
    "replied before it was opened": (replies("08:00"), did(events.ConversationOpened, "08:30"), asks("09:00")),
    "answered before asked": (replies("08:00"), asks("09:00")),
    "resolved twice": (
        asks("07:00", id="first"),
        did(events.ConversationResolved, "08:00"),
        did(events.ConversationResolved, "08:10"),
        asks("09:00"),
    ),
    "returned by nobody": (did(events.ConversationReturnedToQueue, "08:00", reason="x"), asks("09:00")),
    "reopened while open": (asks("09:00"), did(events.ConversationReopened, "09:00", by="agent")),
    "snoozed into the past": (asks("09:00"), did(events.ConversationSnoozed, "09:00", until_us=0)),
    "assigned to nobody": (did(events.ConversationAssigned, "08:00", team=None, agent=None), asks("09:00")),
    "dequeued without a queue": (make(events.ContactDequeued, at="08:00", queue="q", reason="x", **C), asks("09:00")),
    "a status without a name": (did(events.ConversationStatusChanged, "08:00", from_="", to=" "), asks("09:00")),
    "corrects what never was": (did(events.ConversationTagged, "08:00", tag="t", corrects="nothing"), asks("09:00")),
    "split off what is not there": (did(events.CaseSplit, "08:00", from_="k", at_event="nothing", case_id="k-2"), asks("09:00")),
    "bot asked for a person twice": (asks("09:00"), make(events.BotEnded, at="09:00", **C)),
}


@pytest.mark.parametrize("story", ODD.values(), ids=ODD.keys())
def test_odd_input_moves_what_it_can(story: tuple[events.MessageReceived, ...]) -> None:
    g = under(MAIL).when(*story)
    rows = clocks(g, "first_response")
    assert (rows[-1]["state"], rows[-1]["started_at"]) == ("running", on("12", "09:00"))
    g.when(replies("09:10"))
    assert states(g, "first_response")[-1] == "met"


def test_resolved_twice_is_resolved_at_the_first_time() -> None:
    g = under(MAIL).when(asks("09:00"), did(events.ConversationResolved, "10:00"), did(events.ConversationResolved, "11:00"))
    assert (clock(g, "resolution_total")["stopped_at"], len(told(g, "fulfilled"))) == (on("12", "10:00"), 1)


def test_what_has_no_conversation_starts_no_clock_but_may_answer_one() -> None:
    g = under(policy(first_response=H, answered_by="any_channel")).when(asks("08:00", conversation_id=None))
    g.then(rows={"clock": []})
    g.when(asks("09:00"), message_sent(at="09:30", channel="social"))
    assert states(g, "first_response") == ["met"]


def test_a_contact_without_a_conversation_is_one_by_its_own_id() -> None:
    g = under(policy(queue_answer=90)).when(contact_queued(at="09:00", contact_id="call-1"))
    assert states(g, "queue_answer", "call-1") == ["running"]


def test_an_id_with_bars_in_it_finds_its_timers() -> None:
    g = under(policy(first_response=H, warn={"first_response": 60})).when(asks("09:00", conversation_id="a|b|c")).at("10:30")
    assert (states(g, "first_response", "a|b|c"), told(g, "warned", "breached")) == (
        ["breached"],
        [("warned", "first_response"), ("breached", "first_response")],
    )


def test_one_record_twice_is_one_record() -> None:
    g = under(MAIL).when(asks("09:00"), asks("09:00"), replies("09:30"), replies("09:30"))
    assert (states(g, "first_response"), len(told(g))) == (["met"], 3)


# -- bounds


def test_a_very_long_conversation_keeps_few_turns_and_goes_on_right() -> None:
    g = under(policy(next_response=4 * H, resolution_total=24 * H)).when(asks(on("12", "08:00"), id="a"), replies(on("12", "08:01"), id="b"))  # type: ignore[arg-type]
    for n in range(400):
        at_us = on("12", "09:00") + n * 120 * US
        g.when(message_received(id=f"m-{n}", at=at_us, **C), message_sent(id=f"r-{n}", at=at_us + 60 * US, **C))
    (state,) = g.world.states.values()
    (course,) = state.courses.values()  # type: ignore[attr-defined]
    assert len(course.turns) <= TURNS_MAX
    assert [r["instance"] for r in clocks(g, "next_response")] == list(range(1, 401))
    assert set(states(g, "next_response")) == {"met"}
    last_us = on("12", "09:00") + 399 * 120 * US
    g.when(message_received(id="late", at=last_us + 30 * US, **C)).when(message_received(id="older than what is kept", at="09:00:30", **C))
    assert (len(clocks(g, "next_response")), clock(g, "resolution_total")["started_at"]) == (400, on("12", "08:00"))


def test_the_state_stays_small_for_a_customer_with_thousands_of_conversations() -> None:
    sla, config = Sla(), Config((rulebook(ALL),))
    state = sla.initial(Subject("acme", "cu-1"))
    offset = 0
    for n in range(2_000):
        c = {"conversation_id": f"00000000-0000-4000-8000-{n:012d}", "channel": "webchat", "actor_team": "chat"}
        at_us = on("12", "09:00") + n * 60 * US
        for k in range(4):
            said = message_sent if k % 2 else message_received
            event = said(id=f"0000000-{k}-{n:026d}", at=at_us + k * 10 * US, **c)
            offset += 1
            state = sla.apply(state, event, Moment(event.header.occurred_at_us, event.header.occurred_at_us, 0, offset, config)).state
    assert len(state.courses) <= COURSES_MAX + 8
    assert len(msgspec.msgpack.encode(state)) < STATE_BYTES_MAX * 3 // 4
    assert len(state.courses) + len(state.forgotten) > COURSES_MAX


def test_nothing_personal_is_in_the_state() -> None:
    g = under(MAIL).when(asks("09:00", sealed=b"secret", sealed_key="k/1"), replies("09:10", sealed=b"secret", sealed_key="k/1"))
    (state,) = g.world.states.values()
    assert b"secret" not in msgspec.msgpack.encode(state)
