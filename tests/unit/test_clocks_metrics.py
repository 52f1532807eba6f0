"""Every metric of the table: what starts, stops, pauses and cancels its clock."""

import pytest

from projections.rules import TeamRules
from projections.testing import contact_abandoned, contact_completed, contact_connected, contact_initiated, contact_queued, make, message_sent
from schemas import events
from tests.support.clock_sentences import AGENT, EVERYTHING, H, asks, clock, clocks, did, office, on, policy, replies, states, told, under

C = {"conversation_id": "c-9"}
CHAT = {**C, "channel": "webchat"}
ALL = policy(**EVERYTHING)


# -- responses


def test_a_bots_reply_is_a_first_response_but_not_a_humans() -> None:
    g = under(ALL).when(asks("09:00")).when(replies("09:01", author="bot", actor_kind="bot"))
    assert clock(g, "first_response")["state"] == "met"
    assert clock(g, "first_response_human")["state"] == "paused"


def test_an_auto_reply_stops_nothing_but_its_own_clock() -> None:
    closed = policy(**EVERYTHING, calendar="office", calendars={"acknowledge_auto": "always"})
    g = under(closed, calendars=(office(),)).when(asks("20:00")).when(replies("20:01", author="auto", actor_kind="system"))
    assert clock(g, "acknowledge_auto")["state"] == "met"
    assert (clock(g, "first_response")["state"], clock(g, "first_response_human")["state"]) == ("running", "running")


def test_an_internal_note_and_a_survey_are_no_reply() -> None:
    g = under(ALL).when(asks("09:00"), replies("09:10", visibility="internal"))
    g.when(replies("09:30", actor_role="survey"), replies("09:40", actor_role="macro", id="macro"))
    assert (clock(g, "first_response_human")["state"], clock(g, "next_response") if clocks(g, "next_response") else None) == ("running", None)


def test_dbt_v23_the_role_is_the_one_at_the_time_of_the_event() -> None:
    """Who was an end user when they wrote is no agent because they are one today."""
    g = under(ALL).when(asks("09:00"), replies("09:10", actor_role="end_user", actor_id="ag-1"))
    assert clock(g, "first_response_human")["state"] == "running"
    g.when(replies("09:20", actor_role="agent", actor_id="ag-1"))
    assert clock(g, "first_response_human")["stopped_at"] == on("12", "09:20")


def test_a_call_that_is_answered_is_a_first_response() -> None:
    g = under(ALL).when(contact_initiated(at="09:00", **C), contact_queued(at="09:00:10", **C), contact_connected(at="09:01", **C))
    assert (clock(g, "first_response")["stopped_at"], clock(g, "first_response_human")["state"]) == (on("12", "09:01"), "met")


def test_an_agent_who_joins_a_chat_has_not_answered_yet() -> None:
    g = under(ALL).when(asks("09:00", channel="webchat"), contact_connected(at="09:01", **CHAT))
    assert clock(g, "first_response_human")["state"] == "running"


def test_resolved_without_a_reply_is_counted_apart() -> None:
    g = under(ALL).when(asks("09:00"), did(events.ConversationResolved, "09:30"))
    row = clock(g, "first_response")
    assert (row["state"], row["reason"], row["cancelled_at"], row.get("stopped_at")) == ("cancelled", "resolved_unanswered", on("12", "09:30"), None)
    assert ("cancelled", "first_response") in told(g, "cancelled")


def test_a_first_response_is_owed_anew_after_a_reopen_only_if_nobody_ever_answered() -> None:
    g = under(ALL).when(asks("09:00"), did(events.ConversationResolved, "09:30"), asks("10:00"))
    assert [(r["instance"], r["state"], r["started_at"]) for r in clocks(g, "first_response")] == [
        (1, "cancelled", on("12", "09:00")),
        (2, "running", on("12", "10:00")),
    ]
    h = under(ALL).when(asks("09:00"), replies("09:10"), did(events.ConversationResolved, "09:30"), asks("10:00"))
    assert states(h, "first_response") == ["met"]


def test_cw10178_a_resolved_conversation_owes_no_next_response() -> None:
    g = under(ALL).when(asks("09:00"), replies("09:10"), asks("10:00"), did(events.ConversationResolved, "10:10")).advance("2d")
    assert (states(g, "next_response"), clock(g, "next_response")["reason"]) == (["cancelled"], "resolved")


def test_no_reply_needed_cancels_the_next_response() -> None:
    g = under(ALL).when(asks("09:00"), replies("09:10"), asks("10:00"), did(events.MessageNoReplyNeeded, "10:10"))
    assert clock(g, "next_response")["reason"] == "no_reply_needed"
    assert clock(g, "resolution_total")["state"] == "running"


# -- bots


def test_cw8477_the_clock_of_people_starts_at_the_request_and_no_bot_stops_it() -> None:
    g = under(ALL).when(make(events.BotStarted, at="08:59", **CHAT), asks("09:00", channel="webchat"))
    g.when(replies("09:00:05", author="bot", actor_kind="bot", channel="webchat"))
    assert clocks(g, "first_response_human") == []
    g.when(make(events.BotHandoffRequested, at="09:10", reason="person", **CHAT))
    g.when(replies("09:11", author="bot", actor_kind="bot", channel="webchat"))
    g.when(make(events.BotHandoffAccepted, at="09:20", agent="ag-1", **CHAT, **AGENT))
    assert (clock(g, "first_response_human")["started_at"], clock(g, "first_response_human")["state"]) == (on("12", "09:10"), "running")
    g.when(replies("09:25", channel="webchat"))
    row = clock(g, "first_response_human")
    assert (row["state"], row["consumed_us"]) == ("met", 15 * 60 * 1_000_000)


def test_a_bot_that_leads_from_the_second_message_on_makes_the_clock_of_people_wait_for_the_request() -> None:
    g = under(ALL).when(asks("09:00"), replies("09:00:10", author="bot", actor_kind="bot"))
    assert clock(g, "first_response_human")["state"] == "paused"
    g.when(make(events.BotHandoffRequested, at="09:10", reason="person", **C))
    row = clock(g, "first_response_human")
    assert (row["instance"], row["state"], row["started_at"], row["due_at"]) == (1, "running", on("12", "09:10"), on("12", "10:10"))


def test_every_hand_over_has_a_clock_of_its_own() -> None:
    g = under(ALL).when(asks("09:00"), make(events.BotHandoffRequested, at="09:01", reason="x", **C), replies("09:05"))
    g.when(make(events.BotStarted, at="10:00", **C), make(events.BotHandoffRequested, at="10:05", reason="x", id="again", **C))
    assert [(r["instance"], r["state"]) for r in clocks(g, "first_response_human")] == [(1, "met"), (2, "running")]


def test_a_second_request_while_nobody_came_changes_nothing() -> None:
    g = under(ALL).when(make(events.BotHandoffRequested, at="09:00", reason="x", **C))
    g.when(make(events.BotHandoffRequested, at="09:05", reason="x", id="again", **C))
    assert clock(g, "first_response_human")["started_at"] == on("12", "09:00")


# -- updates, resolutions, owners


def test_zm5177_no_update_is_owed_before_the_first_response_and_each_one_starts_the_next() -> None:
    g = under(ALL).when(replies("08:00"))
    assert clocks(g, "periodic_update") == []
    g.when(asks("09:00"))
    assert clocks(g, "periodic_update") == []
    g.when(replies("10:00", id="r-1"), replies("12:00"))
    assert [(r["state"], r["started_at"]) for r in clocks(g, "periodic_update")] == [("met", on("12", "10:00")), ("running", on("12", "12:00"))]
    g.when(did(events.ConversationResolved, "13:00"))
    assert states(g, "periodic_update") == ["met", "cancelled"]


@pytest.mark.parametrize(
    ("status", "paused"),
    [
        ("pending", {"periodic_update", "requester_wait", "agent_work", "resolution_net"}),
        ("on_hold", {"agent_work"}),
        ("new", set()),
    ],
)
def test_which_clocks_rest_in_which_status(status: str, paused: set[str]) -> None:
    g = under(ALL).when(asks("09:00"), replies("09:10"), asks("09:20"))
    g.when(did(events.ConversationStatusChanged, "09:30", from_="open", to=status))
    assert {r["metric"] for r in g.world.rows()["clock"] if r["state"] == "paused"} == paused


def test_a_policy_that_names_pause_states_lets_responses_rest_too() -> None:
    for named, state in ((False, "running"), (True, "paused")):
        g = under(policy(first_response=H, pause_states=("pending",), pause_responses=named))
        g.when(asks("09:00"), did(events.ConversationStatusChanged, "09:30", from_="open", to="pending"))
        assert states(g, "first_response") == [state]


def test_the_total_resolution_never_rests_and_ends_when_closed_at_the_latest() -> None:
    g = under(ALL).when(asks("09:00"), did(events.ConversationStatusChanged, "09:30", from_="open", to="pending"))
    g.when(did(events.ConversationClosed, "11:00"))
    assert (clock(g, "resolution_total")["state"], clock(g, "resolution_total")["consumed_us"]) == ("met", 2 * H * 1_000_000)
    assert clock(g, "resolution_net")["consumed_us"] == H // 2 * 1_000_000


def test_ownership_ends_with_the_owners_reply_or_the_next_owner() -> None:
    g = under(ALL).when(asks("09:00"), did(events.ConversationAssigned, "09:05", team="mail", agent="ag-1"))
    g.when(replies("09:10", actor_id="ag-2"))
    assert states(g, "ownership") == ["running"]
    g.when(replies("09:20", actor_id="ag-1"), did(events.ConversationAssigned, "09:30", team="mail", agent="ag-2"))
    g.when(did(events.ConversationAssigned, "09:40", team="mail", agent="ag-3"))
    assert [(r["state"], r.get("stopped_at")) for r in clocks(g, "ownership")] == [
        ("met", on("12", "09:20")),
        ("met", on("12", "09:40")),
        ("running", None),
    ]


def test_work_that_goes_back_to_the_queue_is_nobodys() -> None:
    g = under(ALL).when(did(events.ConversationAssigned, "09:05", team="mail", agent=None))
    g.when(did(events.ConversationReturnedToQueue, "09:30", reason="offline"))
    assert clock(g, "ownership")["reason"] == "returned"


def test_a_teams_ownership_counts_in_its_shifts() -> None:
    late = office(12, 20, name="late")
    g = under(policy(ownership=2 * H), calendars=(late,), teams=(TeamRules(id="night", calendar="late"),))
    g.when(did(events.ConversationAssigned, "09:00", team="night", agent=None, actor_team=None))
    assert (clock(g, "ownership")["due_at"], clock(g, "ownership")["calendar"]) == (on("12", "14:00"), "late")


# -- queues


def test_ninety_seconds_in_a_queue() -> None:
    g = under(ALL).when(contact_queued(at="09:00", **C)).when(contact_connected(at="09:01:30", **C))
    assert (clock(g, "queue_answer")["state"], clock(g, "queue_answer")["consumed_us"]) == ("met", 90_000_000)
    late = under(ALL).when(contact_queued(at="09:00", **C)).when(contact_connected(at="09:01:31", **C))
    assert clock(late, "queue_answer")["state"] == "breached"


def test_who_hangs_up_in_time_has_not_waited_too_long() -> None:
    g = under(ALL).when(contact_queued(at="09:00", **C), contact_abandoned(at="09:01", **C))
    assert (clock(g, "queue_answer")["state"], clock(g, "queue_answer")["reason"]) == ("cancelled", "abandoned")
    late = under(ALL).when(contact_queued(at="09:00", **C)).when(contact_abandoned(at="09:03", **C))
    row = clock(late, "queue_answer")
    assert (row["state"], row.get("stopped_at"), row["cancelled_at"]) == ("breached", None, on("12", "09:03"))


def test_a_contact_that_ends_in_the_queue_was_abandoned() -> None:
    g = under(ALL).when(contact_queued(at="09:00", **C), contact_completed(at="09:01", **C))
    assert clock(g, "queue_answer")["reason"] == "abandoned"


def test_each_queue_has_a_clock_and_several_have_one_end_to_end() -> None:
    g = under(ALL).when(contact_queued(at="09:00", queue="billing", **C), contact_queued(at="09:01", queue="tech", **C))
    g.when(contact_connected(at="09:02:10", queue="tech", **C))
    rows = clocks(g, "queue_answer")
    assert [(r["state"], r.get("reason"), r.get("end_to_end", False), r["started_at"]) for r in rows] == [
        ("cancelled", "left", False, on("12", "09:00")),
        ("met", None, False, on("12", "09:01")),
        ("breached", None, True, on("12", "09:00")),
    ]


def test_a_transfer_after_an_answer_begins_a_wait_of_its_own() -> None:
    g = under(ALL).when(contact_queued(at="09:00", **C), contact_connected(at="09:01", **C), contact_queued(at="09:30", queue="tech", id="q2", **C))
    assert [(r["state"], r.get("end_to_end", False)) for r in clocks(g, "queue_answer")] == [("met", False), ("running", False)]


def test_a_queue_that_was_left_ends_its_clock() -> None:
    g = under(ALL).when(contact_queued(at="09:00", **C), make(events.ContactDequeued, at="09:01", queue="billing", reason="overflow", **C))
    assert clock(g, "queue_answer")["reason"] == "left"
    h = under(ALL).when(contact_queued(at="09:00", **C), make(events.ContactDequeued, at="09:01", queue="billing", reason="connected", **C))
    assert states(h, "queue_answer") == ["running"]


# -- turns of a live chat


def test_fifteen_seconds_for_a_turn() -> None:
    g = under(ALL).when(asks("09:00", channel="webchat")).when(asks("09:00:05", channel="webchat")).when(replies("09:00:15", channel="webchat"))
    g.when(asks("09:01", channel="webchat")).when(replies("09:01:16", channel="webchat"))
    assert [(r["state"], r["started_at"]) for r in clocks(g, "turn_response")] == [("met", on("12", "09:00")), ("breached", on("12", "09:01"))]


def test_a_mail_is_no_turn() -> None:
    g = under(ALL).when(asks("09:00"))
    assert clocks(g, "turn_response") == []


def test_who_leaves_the_chat_takes_the_turn_along() -> None:
    g = under(ALL).when(asks("09:00", channel="webchat"))
    g.when(make(events.ContactDisconnected, at="09:00:10", by="customer", reason="closed", **CHAT))
    assert (clock(g, "turn_response")["state"], clock(g, "turn_response")["reason"]) == ("cancelled", "left")


def test_a_turn_said_in_the_queue_begins_when_somebody_is_there() -> None:
    g = under(ALL).when(contact_queued(at="09:00", **CHAT), asks("09:00:10", channel="webchat"))
    assert clocks(g, "turn_response") == []
    g.when(contact_connected(at="09:01", **CHAT))
    assert clock(g, "turn_response")["started_at"] == on("12", "09:01")


def test_in_the_bots_turn_people_owe_no_turn() -> None:
    g = under(ALL).when(make(events.BotStarted, at="09:00", **CHAT), asks("09:00:10", channel="webchat"))
    assert clocks(g, "turn_response") == []
    g.when(make(events.BotHandoffRequested, at="09:02", reason="x", **CHAT))
    assert clock(g, "turn_response")["started_at"] == on("12", "09:02")


# -- out of hours


def test_an_acknowledgement_is_owed_only_out_of_hours() -> None:
    rules = policy(acknowledge_auto=300, first_response=H, calendar="office", calendars={"acknowledge_auto": "always"})
    open_now = under(rules, calendars=(office(),)).when(asks("09:00"))
    assert clocks(open_now, "acknowledge_auto") == []
    g = under(rules, calendars=(office(),)).when(asks("20:00")).advance("10m")
    assert states(g, "acknowledge_auto") == ["breached"]
    g.when(asks("2026-01-12T23:00:00Z"))
    assert len(clocks(g, "acknowledge_auto")) == 1


def test_a_clock_starts_in_a_mail_and_stops_in_the_shop() -> None:
    rules = policy(first_response=H, answered_by="any_channel")
    service = make(events.StoreServiceGiven, at="09:30", conversation_id="shop-1", channel="store", **AGENT)
    g = under(rules).when(asks("09:00")).when(service)
    row = clock(g, "first_response")
    assert (row["state"], row["stopped_at"]) == ("met", on("12", "09:30"))
    g.then(effects=["sla.policy_applied", "sla.clock_started", "sla.policy_applied", ("sla.fulfilled", {"channel": "store"})])


@pytest.mark.parametrize("answered_by", ["conversation", "case"])
def test_elsewhere_counts_only_where_the_policy_says_so(answered_by: str) -> None:
    g = under(policy(first_response=H, answered_by=answered_by)).when(asks("09:00"))
    g.when(message_sent(at="09:30", conversation_id="c-2", channel="social"))
    assert states(g, "first_response") == ["running"]
