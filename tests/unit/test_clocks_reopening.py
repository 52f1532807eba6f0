"""Re-open, merge, split, hand-over, linked conversations and linked customers."""

import pytest

from projections.rules import Defaults
from projections.testing import handle, make, message_received, message_sent
from schemas import events
from tests.support.clock_sentences import AGENT, EVERYTHING, H, asks, clock, clocks, did, on, policy, replies, states, told, under

US = 1_000_000
ALL = policy(**EVERYTHING)
RESOLUTIONS = ("requester_wait", "agent_work", "resolution_total", "resolution_net")


# -- re-open


@pytest.mark.parametrize("metric", RESOLUTIONS)
def test_a_reopen_within_the_window_resumes_the_same_instance_without_the_solved_time(metric: str) -> None:
    """DBT v0.22 lost the first resolution; both are kept."""
    g = under(policy(**{metric: 8 * H})).when(asks("09:00"), did(events.ConversationResolved, "11:00"))
    assert clock(g, metric)["state"] == "met"
    g.when(asks("2026-01-14T09:00:00Z"))
    row = clock(g, metric)
    assert (row["state"], row["due_at"], row["consumed_us"]) == ("running", on("14", "15:00"), 2 * H * US)
    g.when(did(events.ConversationResolved, "2026-01-14T10:00:00Z"))
    row = clock(g, metric)
    assert (row["state"], row["instance"], row["consumed_us"]) == ("met", 1, 3 * H * US)
    assert (row["first_stopped_at"], row["stopped_at"]) == (on("12", "11:00"), on("14", "10:00"))
    assert told(g) == [("clock_started", metric), ("fulfilled", metric), ("resumed", metric), ("fulfilled", metric)]
    assert len({e.payload.header.id for e in g.world.effects}) == len(g.world.effects)


def test_after_the_window_it_is_a_repeat_contact_with_a_new_instance() -> None:
    g = under(policy(resolution_total=8 * H)).when(asks("09:00"), did(events.ConversationResolved, "11:00"), asks("2026-01-19T11:00:01Z"))
    assert [(r["instance"], r["state"], r["started_at"]) for r in clocks(g, "resolution_total")] == [
        (1, "met", on("12", "09:00")),
        (2, "running", on("19", "11:00:01")),
    ]
    h = under(policy(resolution_total=8 * H)).when(asks("09:00"), did(events.ConversationResolved, "11:00"), asks("2026-01-19T11:00:00Z"))
    assert len(clocks(h, "resolution_total")) == 1


def test_the_window_is_a_setting() -> None:
    g = under(policy(resolution_total=8 * H), defaults=Defaults(reopen_window_s=H))
    g.when(asks("09:00"), did(events.ConversationResolved, "11:00"), did(events.ConversationReopened, "12:30", by="agent"))
    assert len(clocks(g, "resolution_total")) == 2


def test_a_conversation_that_was_forgotten_goes_on_counting_its_instances() -> None:
    g = under(ALL).when(asks("09:00"), replies("09:10"), did(events.ConversationResolved, "11:00"))
    for day in range(100):
        g.when(message_received(at=on("12", "12:00") + day * 86_400 * US, conversation_id=f"o-{day}", id=f"o-{day}"))
        g.when(did(events.ConversationResolved, on("12", "12:01") + day * 86_400 * US, conversation_id=f"o-{day}", id=f"x-{day}"))  # type: ignore[arg-type]
    (state,) = g.world.states.values()
    assert "c-9" not in state.courses  # type: ignore[attr-defined]
    g.when(asks("2026-06-01T09:00:00Z"))
    assert [r["instance"] for r in clocks(g, "resolution_total")] == [1, 2]
    assert [r["instance"] for r in clocks(g, "next_response")] == [1]
    assert len(clocks(g, "first_response")) == 1


def test_a_breach_stays_over_a_reopen_and_is_told_once() -> None:
    g = under(policy(resolution_total=H)).when(asks("09:00")).at("11:00")
    g.when(did(events.ConversationResolved, "12:00"), asks("13:00"), did(events.ConversationResolved, "14:00")).advance("1d")
    assert (states(g, "resolution_total"), told(g, "breached", "breach_retracted")) == (["breached"], [("breached", "resolution_total")])


def test_thanks_reopen_and_resolve_again() -> None:
    g = under(ALL).when(asks("09:00"), replies("09:10"), did(events.ConversationResolved, "11:00"))
    g.when(asks("12:00"), did(events.MessageNoReplyNeeded, "12:01"))
    assert (clock(g, "next_response")["state"], clock(g, "next_response")["reason"]) == ("cancelled", "no_reply_needed")
    row = clock(g, "resolution_total")
    assert (row["state"], row["stopped_at"], row["consumed_us"]) == ("met", on("12", "12:01"), (2 * H + 60) * US)


def test_a_reopen_by_an_agent_owes_an_answer_that_was_never_given() -> None:
    g = under(ALL).when(asks("09:00"), did(events.ConversationResolved, "09:30"), did(events.ConversationReopened, "10:00", by="agent"))
    assert [(r["state"], r["started_at"]) for r in clocks(g, "first_response")] == [("cancelled", on("12", "09:00")), ("running", on("12", "10:00"))]


# -- cases


def test_zm904_a_merged_case_escalates_nothing_and_the_target_keeps_the_earliest_start() -> None:
    g = under(policy(first_response=2 * H, resolution_total=8 * H))
    g.when(asks("09:00", conversation_id="c-2", case_id="k-2"), asks("09:30", case_id="k-9"))
    g.when(make(events.CaseMerged, at="10:00", into="k-9", case_id="k-2", conversation_id="c-2", channel="email", **AGENT))
    assert [(r["state"], r["reason"]) for r in (clock(g, "first_response", "c-2"), clock(g, "resolution_total", "c-2"))] == [
        ("cancelled", "merged")
    ] * 2
    assert (clock(g, "first_response")["started_at"], clock(g, "first_response")["due_at"]) == (on("12", "09:00"), on("12", "11:00"))
    assert clock(g, "resolution_total")["due_at"] == on("12", "17:00")
    g.when(replies("10:30")).advance("2d")
    assert told(g, "breached") == [("breached", "resolution_total")]


def test_what_was_answered_in_the_target_is_still_owed_for_what_was_merged_into_it() -> None:
    g = under(policy(first_response=2 * H, next_response=2 * H))
    g.when(
        asks("09:00", case_id="k-9"), replies("09:05"), asks("09:10", conversation_id="c-2", case_id="k-2"), replies("09:15", conversation_id="c-2")
    )
    g.when(asks("09:30", conversation_id="c-2", id="more"))
    g.when(make(events.CaseMerged, at="10:00", into="k-9", case_id="k-2", channel="email", **AGENT))
    assert (clock(g, "next_response", "c-2")["reason"], clock(g, "next_response")["started_at"]) == ("merged", on("12", "09:30"))


def test_a_case_merged_into_itself_stays_as_it_is() -> None:
    g = under(ALL).when(asks("09:00", case_id="k-1"))
    g.when(did(events.CaseMerged, "09:30", into="k-1", case_id="k-1"), did(events.CaseMerged, "09:31", into="c-9", case_id="k-1", id="x"))
    assert states(g, "first_response") == ["running"]


def test_a_message_in_a_merged_conversation_is_not_lost() -> None:
    g = under(policy(first_response=2 * H))
    g.when(asks("09:00", conversation_id="c-2", case_id="k-2"), asks("09:30", case_id="k-9"))
    g.when(make(events.CaseMerged, at="10:00", into="k-9", case_id="k-2", conversation_id="c-2", channel="email", **AGENT))
    g.when(asks("11:00", conversation_id="c-2", id="again"))
    assert states(g, "first_response", "c-2") == ["cancelled", "running"]
    g.when(replies("11:30"))
    assert states(g, "first_response", "c-2") == ["cancelled", "met"]


def test_a_split_case_starts_at_the_message_that_was_split_off() -> None:
    g = under(policy(first_response=2 * H)).when(asks("09:00", id="m-1"), asks("09:20", id="m-2"), replies("09:30"))
    g.when(make(events.CaseSplit, at="11:00", from_="k-1", at_event="m-2", conversation_id="n-1", case_id="k-2", channel="email", **AGENT))
    assert (clock(g, "first_response", "n-1")["started_at"], clock(g, "first_response", "n-1")["due_at"]) == (on("12", "09:20"), on("12", "11:20"))


def test_a_split_whose_message_comes_later_starts_there_all_the_same() -> None:
    g = under(policy(first_response=2 * H)).when(asks("09:00", id="m-1"))
    g.when(make(events.CaseSplit, at="11:00", from_="k-1", at_event="m-2", conversation_id="n-1", case_id="k-2", channel="email", **AGENT))
    g.when(asks("09:20", id="m-2"))
    assert clock(g, "first_response", "n-1")["started_at"] == on("12", "09:20")


def test_a_reply_in_any_conversation_of_the_case_stops_the_clocks_of_all() -> None:
    g = under(policy(first_response=H)).when(asks("09:00", case_id="k-1"), asks("09:10", conversation_id="c-2", case_id="k-1", channel="social"))
    g.when(message_sent(at="09:30", conversation_id="c-2", channel="social"))
    assert [clock(g, "first_response", c)["stopped_at"] for c in ("c-9", "c-2")] == [on("12", "09:30")] * 2


def test_a_link_that_comes_late_makes_the_answer_count_that_came_before_it() -> None:
    g = under(policy(first_response=H)).when(asks("09:00", case_id="k-1")).when(message_sent(at="09:30", conversation_id="c-2", channel="store"))
    g.at("10:30")
    assert told(g, "breached", "breach_retracted") == [("breached", "first_response")]
    g.when(make(events.CaseLinked, at="11:00", conversation="c-2", case_id="k-1", conversation_id="c-9", channel="email", **AGENT))
    assert clock(g, "first_response")["state"] == "met"
    assert told(g, "breached", "breach_retracted", "fulfilled") == [
        ("breached", "first_response"),
        ("breach_retracted", "first_response"),
        ("fulfilled", "first_response"),
    ]


def test_a_case_that_is_resolved_resolves_its_conversations() -> None:
    g = under(ALL).when(asks("09:00", case_id="k-1"), replies("09:10"), asks("09:20", conversation_id="c-2", case_id="k-1"))
    g.when(make(events.CaseResolved, at="10:00", case_id="k-1", **AGENT))
    assert [clock(g, "resolution_total", c)["state"] for c in ("c-9", "c-2")] == ["met", "met"]


# -- customers


def test_an_answer_that_came_before_its_question_was_known_stops_the_clock() -> None:
    g = under(policy(first_response=H, answered_by="any_channel"))
    g.when(message_sent(at="09:30", conversation_id="shop", channel="social")).when(asks("09:00")).advance("5m")
    assert (states(g, "first_response"), told(g, "breached")) == (["met"], [])


def linked(at: str, **fields: str) -> events.IdentityLinked:
    return make(events.IdentityLinked, at=at, handle=handle("email", "a@x"), from_="cu-1", to="cu-2", evidence="login", **fields)


def test_a_customer_who_is_linked_away_closes_quietly() -> None:
    g = under(policy(first_response=H)).when(asks("09:00")).when(linked("09:30")).advance("2d")
    g.then(rows={"clock": []})
    assert told(g, "breached", "cancelled") == []


def test_copied_conversations_keep_their_home_and_are_quiet_until_all_are_there() -> None:
    g = under(policy(first_response=H))
    copy = {"customer": "cu-2", "home_customer_id": "cu-1", "origin_customer_id": "cu-1", "origin_offset": 0}
    g.when(asks("09:00", **copy)).at("10:30")
    assert told(g) == []
    g.when(make(events.IdentityCopied, at="10:40", customer="cu-2", from_="cu-1", home="cu-1", to="cu-2", last_offset=0, write_ts_us=0)).advance("2m")
    assert told(g, "breached") == [("breached", "first_response")]
    header = g.world.effects[-1].payload.header
    assert (header.customer_id, header.home_customer_id) == ("cu-2", "cu-1")
    p = under(policy(first_response=H)).when(asks("09:00")).at("10:30")
    assert p.world.effects[-1].payload.header.id == header.id
