"""Pauses, and changes of priority, policy, team, tags, segment, channel, rulebook and calendar."""

import pytest

from projections.rules import ChannelRules
from projections.testing import make
from schemas import events
from tests.support.clock_sentences import H, asks, clock, clocks, did, office, on, policy, replies, rulebook, states, told, under

US = 1_000_000
PENDING = {"from_": "open", "to": "pending"}
NET = policy(resolution_net=8 * H, first_response=H)


# -- pause and resume


def test_zm3551_a_reply_that_also_sets_pending_stops_the_clock_first() -> None:
    g = under(policy(first_response=H, pause_responses=True)).when(asks("09:00"))
    g.when(did(events.ConversationStatusChanged, "09:30", id="a", **PENDING), replies("09:30", id="b"))
    assert clock(g, "first_response")["state"] == "met"
    h = under(policy(first_response=H, pause_responses=True)).when(asks("09:00"))
    h.when(replies("09:30", id="a"), did(events.ConversationStatusChanged, "09:30", id="b", **PENDING))
    assert clock(h, "first_response")["state"] == "met"


def test_zm1322_a_message_of_the_customer_in_a_paused_state_resumes_at_once() -> None:
    """ZM#1322, ZM#2091: also when it comes through another channel."""
    g = under(NET).when(asks("09:00"), replies("09:10"), did(events.ConversationStatusChanged, "10:00", **PENDING))
    assert clock(g, "resolution_net")["state"] == "paused"
    g.when(asks("12:00", channel="social"))
    row = clock(g, "resolution_net")
    assert (row["state"], row["running_since"], row["consumed_us"]) == ("running", on("12", "12:00"), H * US)


def test_zm2091_a_message_in_another_conversation_of_the_case_resumes_too() -> None:
    g = under(NET).when(asks("09:00", case_id="k-1"), did(events.ConversationStatusChanged, "10:00", **PENDING))
    g.when(asks("12:00", conversation_id="c-2", channel="social", case_id="k-1"))
    assert clock(g, "resolution_net")["state"] == "running"
    g.when(did(events.ConversationStatusChanged, "13:00", id="again", **PENDING), asks("14:00", conversation_id="c-3"))
    assert clock(g, "resolution_net")["state"] == "paused"


def test_pauses_are_counted_by_the_microsecond() -> None:
    """Zammad counts pauses by the minute."""
    g = under(NET).when(asks("09:00"), did(events.ConversationStatusChanged, "09:00:10.5", **PENDING))
    g.when(did(events.ConversationStatusChanged, "09:00:40.75", from_="pending", to="open"))
    assert clock(g, "resolution_net")["due_at"] == on("12", "17:00") + 30_250_000


def test_a_pause_at_exactly_the_due_time_comes_before_the_breach() -> None:
    g = under(policy(resolution_net=H)).when(asks("09:00")).when(did(events.ConversationStatusChanged, "10:00", **PENDING))
    g.advance("1d")
    assert states(g, "resolution_net") == ["paused"]
    g.when(did(events.ConversationStatusChanged, "2026-01-14T09:00:00Z", from_="pending", to="open")).advance("2m")
    assert (states(g, "resolution_net"), clock(g, "resolution_net")["breached_at"]) == (["breached"], on("14", "09:00"))


@pytest.mark.parametrize(("pauses", "due"), [(False, "17:00"), (True, "18:00")])
def test_a_snooze_is_a_pause_only_if_the_policy_says_so_and_ends_by_itself(pauses: bool, due: str) -> None:  # noqa: FBT001 - a case
    g = under(policy(resolution_net=8 * H, snooze_pauses=pauses)).when(asks("09:00"))
    g.when(did(events.ConversationSnoozed, "10:00", until_us=on("12", "11:00")))
    assert states(g, "resolution_net") == ["paused" if pauses else "running"]
    g.at("11:30")
    assert (states(g, "resolution_net"), clock(g, "resolution_net")["due_at"]) == (["running"], on("12", due))


def test_a_paused_clock_keeps_its_last_due_time_among_the_open_ones() -> None:
    g = under(NET).when(asks("09:00"), did(events.ConversationStatusChanged, "10:00", **PENDING))
    g.then(rows={"open_clock": [{"metric": "resolution_net", "due_at": on("12", "17:00"), "state": "paused"}]})


def test_pauses_and_resumptions_are_told_each_with_an_id_of_its_own() -> None:
    g = under(policy(resolution_net=8 * H)).when(asks("09:00"))
    for hour in (10, 12):
        g.when(did(events.ConversationStatusChanged, f"{hour}:00", **PENDING))
        g.when(did(events.ConversationStatusChanged, f"{hour + 1}:00", from_="pending", to="open"))
    assert [kind for kind, _ in told(g)] == ["clock_started", "paused", "resumed", "paused", "resumed"]
    assert len({e.payload.header.id for e in g.world.effects}) == 6
    paused = g.world.effects[2].payload
    assert (paused.due_at_us, paused.consumed_us, paused.header.occurred_at_us) == (None, H * US, on("12", "10:00"))


# -- another policy

HIGH = policy("high", when='priority == "high"', first_response=H // 2, resolution_total=8 * H)
LOW = policy("low", first_response=2 * H, next_response=4 * H, resolution_total=16 * H)


def priority(at: str, value: str = "high") -> events.ConversationPriorityChanged:
    return did(events.ConversationPriorityChanged, at, priority=value)  # type: ignore[return-value]


def test_a_higher_priority_retargets_from_the_same_start() -> None:
    g = under(HIGH, LOW).when(asks("09:00")).when(priority("09:10"))
    row = clock(g, "first_response")
    assert (row["due_at"], row["started_at"], row["policy"], row["target_s"]) == (on("12", "09:30"), on("12", "09:00"), "high", H // 2)
    found = next(e.payload for e in g.world.effects if e.kind == "sla.retargeted" and e.payload.metric == "first_response")
    assert (found.cause, found.previous_due_at_us, found.by) == ("priority", on("12", "11:00"), "ag-1")


def test_who_is_above_the_new_target_is_breached_at_the_instant_of_the_change() -> None:
    g = under(HIGH, LOW).when(asks("09:00")).when(priority("10:00"))
    g.world.effects[:] = [e for e in g.world.effects if e.kind == "sla.breached"]
    g.then(effects=[("sla.breached", {"cause": "retarget", "by": "ag-1", "detected_late": False, "due_at_us": on("12", "10:00")})])
    assert g.world.effects[0].payload.header.occurred_at_us == on("12", "10:00")
    g.when(replies("10:05")).advance("1h")
    assert clock(g, "first_response")["state"] == "breached"
    assert len(told(g, "breached")) == 1


def test_a_breach_that_was_before_stays_and_there_is_no_second_one() -> None:
    """ZD breaches once more."""
    g = under(HIGH, LOW).when(asks("09:00")).at("11:30").when(priority("12:00")).when(priority("13:00", "low")).advance("1h")
    assert clock(g, "first_response")["breached_at"] == on("12", "11:00")
    assert told(g, "breached", "breach_retracted") == [("breached", "first_response")]


def test_zm5624_what_the_new_policy_lacks_is_cancelled() -> None:
    g = under(HIGH, LOW).when(asks("09:00"), replies("09:10"), asks("09:20")).when(priority("09:30"))
    assert (clock(g, "next_response")["state"], clock(g, "next_response")["reason"]) == ("cancelled", "policy")


def test_what_the_new_policy_adds_counts_from_its_own_start() -> None:
    g = under(HIGH, LOW).when(priority("08:00"), asks("09:00"), replies("09:10"), asks("09:20"))
    assert clocks(g, "next_response") == []
    g.when(priority("10:00", "low"))
    assert (clock(g, "next_response")["started_at"], clock(g, "next_response")["due_at"]) == (on("12", "09:20"), on("12", "13:20"))


def test_a_policy_that_goes_and_comes_back_is_the_same_instance() -> None:
    g = under(HIGH, LOW).when(asks("09:00"), replies("09:10"), asks("09:20")).when(priority("09:30")).when(priority("09:40", "low"))
    assert [(r["instance"], r["state"], r["due_at"]) for r in clocks(g, "next_response")] == [(1, "running", on("12", "13:20"))]


def test_glpi6902_paused_time_survives_a_change_of_policy() -> None:
    other = policy("high", when='priority == "high"', resolution_net=4 * H)
    g = under(other, policy(resolution_net=8 * H)).when(asks("09:00"), did(events.ConversationStatusChanged, "10:00", **PENDING))
    g.when(did(events.ConversationStatusChanged, "12:00", from_="pending", to="open")).when(priority("12:30"))
    assert clock(g, "resolution_net")["due_at"] == on("12", "15:00")


def test_metrics_that_are_promised_late_leave_out_what_was_paused_before() -> None:
    other = policy("high", when='priority == "high"', resolution_net=4 * H)
    g = under(other).when(asks("09:00"), did(events.ConversationStatusChanged, "10:00", **PENDING))
    g.when(did(events.ConversationStatusChanged, "12:00", from_="pending", to="open")).when(priority("12:30"))
    assert clock(g, "resolution_net")["due_at"] == on("12", "15:00")


@pytest.mark.parametrize(("on_change", "due"), [("recompute", "10:30"), ("carry_seconds", "11:30")])
def test_recompute_measures_again_and_carry_keeps_what_was_consumed(on_change: str, due: str) -> None:
    late = office(10, 20, name="late")
    vip = policy("vip", when='"vip" in segments', first_response=3 * H // 2, calendar="early", on_change=on_change)
    g = under(vip, policy(first_response=2 * H, calendar="late"), calendars=(office(), late, office(9, 17, name="early"))).when(asks("09:00"))
    g.when(make(events.ProfileSegmentEntered, at="10:30", segment="vip"))
    row = clock(g, "first_response")
    assert (row["due_at"], row["state"]) == (on("12", due), "running")


def test_the_earlier_due_time_wins_when_the_channel_changes() -> None:
    mail = policy("mail", when='channel == "email"', first_response=H, next_response=H)
    chat = policy("chat", when='channel == "webchat"', first_response=60, resolution_total=H)
    g = under(mail, chat).when(asks("09:00")).when(asks("09:00:10", channel="webchat"))
    assert (clock(g, "first_response")["due_at"], clock(g, "first_response")["policy"]) == (on("12", "09:01"), "chat")
    h = under(mail, chat).when(asks("09:00", channel="webchat")).when(asks("09:00:10"))
    assert (clock(h, "first_response")["due_at"], clock(h, "first_response")["policy"]) == (on("12", "09:01"), "chat")
    assert clock(h, "resolution_total")["state"] == "running"


def test_a_change_of_team_or_queue_resets_nothing() -> None:
    g = under(LOW).when(asks("09:00")).when(did(events.ConversationAssigned, "09:30", team="billing", agent=None))
    g.when(did(events.ConversationAssigned, "10:00", team="tech", agent=None))
    assert clock(g, "first_response")["due_at"] == on("12", "11:00")
    g.then(rows={"open_clock": [{"metric": "first_response", "team": "tech", "state": "running"}, {"team": "billing", "state": "moved"}]})


def test_attributes_and_tags_choose_policies() -> None:
    tagged = policy("legal", when='"legal" in tags || conversation.attributes["plan"] == "gold"', first_response=60)
    g = under(tagged, LOW).when(asks("09:00")).when(did(events.ConversationTagged, "09:00:30", tag="legal"))
    assert clock(g, "first_response")["policy"] == "legal"
    h = under(HIGH, LOW).when(asks("09:00", attributes={"priority": "high"}))
    assert clock(h, "first_response")["policy"] == "high"


# -- rulebooks


def test_a_policy_published_later_does_not_touch_open_clocks_but_new_ones() -> None:
    g = under(LOW).when(asks("09:00")).configure(rulebook(policy("strict", first_response=60, next_response=60), version=2), at="09:30")
    g.when(asks("09:40")).at("10:30")
    assert (clock(g, "first_response")["state"], clock(g, "first_response")["rules_version"]) == ("running", 1)
    g.when(replies("10:40"), asks("10:50"))
    assert (clock(g, "next_response")["policy"], clock(g, "next_response")["rules_version"]) == ("strict", 2)


def test_a_policy_that_applies_to_open_clocks_retargets_them_once() -> None:
    strict = policy("strict", first_response=3 * H, apply_to_open=True)
    g = under(LOW).when(asks("09:00")).configure(rulebook(strict, version=2), at="09:30").at("09:45")
    assert (clock(g, "first_response")["due_at"], clock(g, "first_response")["policy"]) == (on("12", "12:00"), "strict")
    found = [e.payload for e in g.world.effects if e.kind == "sla.retargeted"]
    assert [(e.metric, e.cause, e.header.occurred_at_us) for e in found] == [("first_response", "rules", on("12", "09:30"))]
    g.when(asks("09:50"))
    assert len([e for e in g.world.effects if e.kind == "sla.retargeted"]) == 1


def test_rules_that_come_into_force_later_wait_until_then() -> None:
    strict = policy("strict", first_response=3 * H, apply_to_open=True)
    g = under(LOW).when(asks("09:00")).configure(rulebook(strict, version=2, effective_at_us=on("12", "10:00")), at="09:30")
    assert clock(g, "first_response")["due_at"] == on("12", "11:00")
    g.at("10:01")
    assert clock(g, "first_response")["due_at"] == on("12", "12:00")


def test_rules_to_come_also_reach_clocks_that_start_in_between() -> None:
    strict = policy("strict", first_response=3 * H, apply_to_open=True)
    g = under(LOW).when(asks("08:00", conversation_id="c-1"))
    g.configure(rulebook(strict, version=2, effective_at_us=on("12", "10:00")), at="08:30").when(asks("09:00")).at("10:01")
    assert clock(g, "first_response")["due_at"] == on("12", "12:00")


def test_zm390_a_calendars_new_version_counts_from_its_moment_on() -> None:
    """St Martin's day became a working day in the middle of a wait."""
    rules = policy(first_response=2 * H, calendar="office")
    g = under(rules, calendars=(office(9, 10),)).when(asks("09:30"))
    assert clock(g, "first_response")["due_at"] == on("14", "09:30")
    g.configure(rulebook(rules, calendars=(office(9, 17),), version=2), at="12:00").at("12:00")
    row = clock(g, "first_response")
    assert (row["due_at"], row["policy"], row["rules_version"]) == (on("12", "13:30"), "default", 1)
    assert [e.payload.cause for e in g.world.effects if e.kind == "sla.retargeted"] == ["calendar"]
    g.when(replies("13:00"))
    assert clock(g, "first_response")["consumed_us"] == 3 * H // 2 * US


def test_the_grace_of_a_channel_delays_the_notice_and_not_the_breach() -> None:
    g = under(policy(first_response=H), channels=(ChannelRules(id="email", grace_s=300),)).when(asks("09:00")).at("10:04")
    assert states(g, "first_response") == ["running"]
    g.at("10:06").then(rows={"clock": [{"state": "breached", "breached_at": on("12", "10:00")}]})
    found = g.world.effects[-1].payload
    assert (found.header.occurred_at_us, found.header.received_at_us, found.detected_late) == (on("12", "10:00"), on("12", "10:05"), False)


def test_a_book_that_is_superseded_when_it_comes_changes_nothing() -> None:
    strict = policy("strict", first_response=60, apply_to_open=True)
    g = under(LOW).when(asks("09:00")).configure(rulebook(LOW, version=3, effective_at_us=on("12", "08:00")), at="09:10")
    g.configure(rulebook(strict, version=4, effective_at_us=on("12", "07:00")), at="09:30").advance("1h")
    assert (clock(g, "first_response")["state"], clock(g, "first_response")["due_at"]) == ("running", on("12", "11:00"))


def test_a_publication_says_nothing_of_conversations_that_are_over() -> None:
    g = under(LOW).when(asks("09:00"), replies("09:10"), did(events.ConversationResolved, "09:20"))
    before = len(g.world.effects)
    g.configure(rulebook(policy("other", first_response=60), version=2), at="10:00")
    assert len(g.world.effects) == before
