"""The first clocks: a response, the next one, a resolution; in business time, with the golden vectors."""

import pytest

from projections.testing import make
from schemas import events
from tests.support.clock_sentences import H, asks, clock, clocks, did, office, on, policy, replies, states, told, under

MAIL = policy(first_response=H, next_response=4 * H, resolution_total=24 * H)


# -- golden vectors


def test_v1_a_clock_that_starts_at_half_past_four_on_friday_is_due_on_monday_morning() -> None:
    g = under(policy(first_response=H, calendar="office"), calendars=(office(),)).when(asks("2026-01-30T16:30:00Z"))
    assert clock(g, "first_response")["due_at"] == on("2026-02-02", "09:30")


def test_v2_a_clock_passes_over_closed_days() -> None:
    day = ((9 * H, 21 * H),)
    berlin = office(zone="Europe/Berlin", exceptions={"2016-11-11": (), "2016-11-13": ()})
    berlin = type(berlin)(id="office", timezone="Europe/Berlin", week=(day,) * 7, exceptions=berlin.exceptions)
    g = under(policy(first_response=48 * H, calendar="office"), calendars=(berlin,)).when(asks("2016-11-09T22:00:00Z"))
    assert clock(g, "first_response")["due_at"] == on("2016-11-15", "20:00")


def test_v3_a_warning_comes_an_hour_of_open_time_before_the_due_time() -> None:
    """GLPI 22678: the warning landed at midnight."""
    paris = office(8, 18, "Europe/Paris")
    g = under(policy(first_response=4 * H, warn={"first_response": H}, calendar="office"), calendars=(paris,))
    g.when(asks("2026-01-12T16:00:00Z")).at("2026-01-13T09:00:00Z")
    g.then(effects=["sla.policy_applied", "sla.clock_started", ("sla.warned", {"due_at_us": on("13", "10:00")})])
    assert g.world.effects[-1].payload.header.occurred_at_us == on("13", "09:00")
    assert clock(g, "first_response")["due_at"] == on("13", "10:00")
    assert told(g.at("2026-01-13T10:00:00Z"), "breached") == [("breached", "first_response")]


@pytest.mark.parametrize("metric", ["agent_work", "resolution_net", "first_response"])
def test_v4_a_hold_ends_a_segment_and_does_not_shift_the_start(metric: str) -> None:
    held = policy(**{metric: 8 * H}, calendar="office", pause_states=("on_hold",), pause_responses=True)
    g = under(held, calendars=(office(),)).when(asks("2026-01-12T09:00:00Z"))
    g.when(did(events.ConversationStatusChanged, "2026-01-12T16:00:00Z", from_="open", to="on_hold"))
    assert clock(g, metric)["state"] == "paused"
    assert "due_at" not in clock(g, metric)
    g.when(did(events.ConversationStatusChanged, "2026-01-13T09:00:00Z", from_="on_hold", to="open"))
    row = clock(g, metric)
    assert (row["state"], row["due_at"], row["started_at"]) == ("running", on("13", "10:00"), on("12", "09:00"))
    assert row["consumed_us"] == 7 * H * 1_000_000


# -- first and next response


def test_a_stop_at_exactly_the_due_time_is_in_time() -> None:
    g = under(MAIL).when(asks("09:00")).when(replies("10:00")).at("12:00")
    row = clock(g, "first_response")
    assert (row["state"], row["stopped_at"], row["consumed_us"]) == ("met", on("12", "10:00"), H * 1_000_000)


def test_a_microsecond_later_is_too_late() -> None:
    g = under(MAIL).when(asks("09:00")).when(replies("10:00:00.000001"))
    row = clock(g, "first_response")
    assert (row["state"], row["breached_at"], row["stopped_at"]) == ("breached", on("12", "10:00"), on("12", "10:00") + 1)


def test_a_breached_clock_that_is_answered_later_stays_breached_and_knows_when_it_was_answered() -> None:
    g = under(MAIL).when(asks("09:00")).at("10:30")
    assert clock(g, "first_response")["consumed_us"] == H * 1_000_000
    g.when(replies("11:00"))
    row = clock(g, "first_response")
    assert (row["state"], row["due_at"], row["stopped_at"], row["consumed_us"]) == (
        "breached",
        on("12", "10:00"),
        on("12", "11:00"),
        2 * H * 1_000_000,
    )
    assert told(g, "breached", "fulfilled") == [("breached", "first_response")]


def test_zm3410_later_messages_do_not_restart_the_clock_of_the_oldest_unanswered_one() -> None:
    """ZM#3410, CW#4043: every message of the customer moved the due time."""
    g = under(MAIL).when(asks("09:00"), asks("09:20")).when(replies("09:30"))
    g.when(asks("10:00")).when(asks("11:00")).when(asks("12:00"))
    row = clock(g, "next_response")
    assert (row["instance"], row["started_at"], row["due_at"]) == (1, on("12", "10:00"), on("12", "14:00"))
    assert clock(g, "first_response")["started_at"] == on("12", "09:00")


def test_each_cycle_of_question_and_answer_is_an_instance_of_its_own() -> None:
    g = under(MAIL).when(asks("09:00"), replies("09:10"), asks("10:00"), replies("15:00"), asks("16:00"), replies("16:05"))
    assert [(r["instance"], r["state"]) for r in clocks(g, "next_response")] == [(1, "breached"), (2, "met")]


def test_no_next_response_is_owed_before_the_first_one() -> None:
    g = under(MAIL).when(asks("09:00"), asks("09:30"))
    assert clocks(g, "next_response") == []


def test_dbt_v22_answered_outside_hours_with_no_open_second_consumed_is_zero_seconds_and_met() -> None:
    """DBT v0.11, v0.12, v0.17 gave null."""
    g = under(policy(first_response=H, calendar="office"), calendars=(office(),)).when(asks("20:00"), replies("21:00"))
    row = clock(g, "first_response")
    assert (row["state"], row["consumed_us"]) == ("met", 0)


def test_a_target_of_zero_is_due_at_its_start() -> None:
    g = under(policy(first_response=0)).when(asks("09:00"))
    assert clock(g, "first_response")["due_at"] == on("12", "09:00")
    g.advance("61s")
    assert states(g, "first_response") == ["breached"]


def test_a_calendar_that_never_opens_has_no_due_time_and_no_breach() -> None:
    closed = office()
    closed = type(closed)(id="office", timezone="UTC", week=((),) * 7)
    g = under(policy(first_response=H, calendar="office"), calendars=(closed,)).when(asks("09:00")).advance("40d")
    row = clock(g, "first_response")
    assert (row["state"], row.get("due_at")) == ("running", None)


def test_a_conversation_that_no_policy_matches_has_no_clocks() -> None:
    g = under(policy(when='channel == "phone"', first_response=H)).when(asks("09:00"), replies("12:00"))
    g.then(rows={"clock": [], "open_clock": []}, effects=[])


def test_without_any_rules_nothing_happens() -> None:
    g = under().when(asks("09:00"), replies("12:00"), did(events.ConversationResolved, "13:00"))
    g.then(rows={"clock": [], "care_summary": []}, effects=[])


def test_an_event_of_an_agent_or_plan_is_not_a_customers() -> None:
    g = under(MAIL).when(make(events.MessageReceived, at="09:00", conversation_id="c-9", customer="agent:ag-1", channel="email"))
    g.then(rows={"clock": []})


def test_a_whole_conversation_is_told_in_order() -> None:
    g = under(MAIL).when(asks("09:00"), replies("09:30"), asks("10:00"), replies("10:10"), did(events.ConversationResolved, "11:00"))
    g.then(
        effects=[
            ("sla.policy_applied", {"policy": "default", "previous": None}),
            ("sla.clock_started", {"metric": "resolution_total", "target_s": 24 * H}),
            ("sla.clock_started", {"metric": "first_response", "due_at_us": on("12", "10:00"), "rules_version": 1, "calendar": "always"}),
            ("sla.fulfilled", {"metric": "first_response", "stopped_at_us": on("12", "09:30"), "channel": "email", "turn": 0}),
            ("sla.clock_started", {"metric": "next_response", "instance": 1}),
            ("sla.fulfilled", {"metric": "next_response", "consumed_us": 600_000_000}),
            ("sla.fulfilled", {"metric": "resolution_total", "consumed_us": 2 * H * 1_000_000}),
        ]
    )
    header = g.world.effects[3].payload.header
    assert (header.occurred_at_us, header.received_at_us, header.conversation_id) == (on("12", "09:30"), on("12", "09:30"), "c-9")
    assert (header.source, header.channel, header.home_customer_id, header.tenant) == ("/touchline/sla", "email", "cu-1", "acme")
    assert len({e.payload.header.id for e in g.world.effects}) == len(g.world.effects)
