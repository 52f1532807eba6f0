"""Contacts nobody answered, and time: calendars, grace, backlogs, evidence that comes late, rules of a later day, merges, limits."""

from itertools import permutations
from typing import Any

import msgspec
import pytest

from projections.rules import ALWAYS, ChannelRules, Config, Rulebook, UnansweredRule, WeeklyHours
from projections.testing import (
    Given,
    World,
    contact_abandoned,
    contact_queued,
    given,
    make,
    message_received,
    message_sent,
    time_us,
)
from projections.unanswered import Unanswered
from projections.unanswered_state import NEXT, Found, WaitState
from projections.unanswered_types import asking_types
from schemas import events
from schemas.record import Event

MISSED = UnansweredRule(
    id="missed-call",
    when='type == "contact.abandoned" && channel == "phone" && stage in ["queue", "ringing"]',
    answer_within_s=7200,
)
MAIL = UnansweredRule(id="mail", when='type == "message.received" && channel == "email"', answer_within_s=3600)
OF = (Unanswered(),)


def book(*rules: UnansweredRule, **fields: Any) -> Config:
    return Config((Rulebook(version=1, effective_at_us=0, unanswered=rules or (MISSED, MAIL), **fields),))


def start(*before: Event, rules: Config | None = None) -> Given:
    return given(*before, of=OF, config=rules or book())


def missed_call(at: str = "09:00", contact_id: str = "k-1", **fields: Any) -> events.ContactAbandoned:
    return contact_abandoned(at=at, contact_id=contact_id, **fields)


# -- time: calendars, grace, backlogs, what is late


NINE_TO_FIVE = WeeklyHours(id="office", week=(((9 * 3600, 17 * 3600),),) * 5 + ((), ()))


def test_the_time_runs_in_the_rules_calendar() -> None:
    rules = book(UnansweredRule(id="r", when='type == "contact.abandoned"', answer_within_s=7200, calendar="office"), calendars=(NINE_TO_FIVE,))
    start(missed_call("16:00"), rules=rules).then(rows={"unanswered": [{"due_at": time_us("2026-01-13T10:00:00Z")}]})


def test_an_alarm_waits_for_its_channels_grace_and_speaks_of_the_due_time() -> None:
    rules = book(MAIL, channels=(ChannelRules(id="email", grace_s=300),))
    told = start(message_received(), rules=rules).at("10:04:59")
    told.then(effects=[])
    told.at("10:05").then(effects=[("unanswered.detected", {"due_at_us": time_us("10:00")})])
    assert told.world.effects[0].payload.header.received_at_us == time_us("10:05")


def test_a_question_and_its_answer_that_arrive_hours_late_together_alarm_nobody() -> None:
    told = start()
    for event in (message_received(at="06:00"), message_sent(at="06:30")):
        told.world.append(event, appended_us=time_us("09:00"))
    told.advance("1d").then(rows={"unanswered": [{"state": "answered"}]}, effects=[])


def test_a_second_reply_that_arrives_before_the_first_one_alarms_nobody_either() -> None:
    told = start()
    for event in (message_received(at="06:00"), message_sent(id="second", at="08:00"), message_sent(id="first", at="06:30")):
        told.world.append(event, appended_us=time_us("09:00"))
    told.advance("1d").then(rows={"unanswered": [{"state": "answered", "cleared_at": time_us("06:30")}]}, effects=[])


def test_of_a_backlog_what_was_answered_too_late_is_told_once_after_it_has_settled() -> None:
    told = start()
    for event in (message_received(at="06:00"), message_sent(at="08:00")):
        told.world.append(event, appended_us=time_us("09:00"))
    told.then(rows={"unanswered": [{"state": "recovered"}]}, effects=[])
    told.advance("1d").then(effects=[("unanswered.detected", {"due_at_us": time_us("07:00")}), ("unanswered.cleared", {"after_s": 7200})])


def test_of_a_backlog_what_nobody_answered_alarms_once_with_the_right_due_time() -> None:
    told = start()
    told.world.append(message_received(at="06:00"), appended_us=time_us("09:00"))
    told.advance("1d").then(effects=[("unanswered.detected", {"due_at_us": time_us("07:00")})])
    assert told.world.effects[0].payload.header.received_at_us == time_us("09:01")


def test_evidence_of_an_answer_in_time_that_comes_after_the_alarm_takes_it_back() -> None:
    told = start(missed_call()).at("12:00").when(message_sent(at="10:00", channel="messaging"))
    told.then(
        rows={"unanswered": [{"state": "answered", "cleared_at": time_us("10:00"), "turn": 1}]},
        effects=[("unanswered.detected", {"turn": 0}), ("unanswered.cleared", {"turn": 1, "after_s": 3600})],
    )


def test_an_earlier_answer_that_comes_later_turns_recovered_into_answered() -> None:
    told = start(missed_call()).at("12:00").when(message_sent(id="a", at="12:00"), message_sent(id="b", at="10:00"))
    told.then(
        rows={"unanswered": [{"state": "answered"}]},
        effects=["unanswered.detected", ("unanswered.cleared", {"turn": 0}), ("unanswered.cleared", {"turn": 1})],
    )


def test_an_earlier_answer_that_is_late_too_only_corrects_the_row() -> None:
    told = start(missed_call()).at("13:00").when(message_sent(id="a", at="13:00"), message_sent(id="b", at="12:00"))
    told.then(rows={"unanswered": [{"state": "recovered", "cleared_at": time_us("12:00")}]}, effects=["unanswered.detected", "unanswered.cleared"])


def test_an_answer_that_arrives_before_its_question_counts() -> None:
    told = start()
    for event in (message_sent(at="09:30"), message_received(at="09:00")):
        told.world.append(event, appended_us=time_us("09:40"))
    told.advance("1d").then(rows={"unanswered": [{"state": "answered"}]}, effects=[])


def test_what_is_older_than_the_allowed_lateness_has_its_row_and_tells_nobody() -> None:
    told = start()
    told.world.append(missed_call(), appended_us=time_us("2026-01-20T09:00:00Z"))
    told.advance("1d").then(rows={"unanswered": [{"state": "unanswered", "silent": True}]}, effects=[])


def test_every_order_of_arrival_ends_in_the_same_rows() -> None:
    history = [
        contact_queued(id="q", at="08:59", contact_id="k-1", queue="billing"),
        missed_call("09:00", "k-1", id="a1"),
        missed_call("09:20", "k-2", id="a2"),
        message_sent(id="r1", at="10:00"),
        message_received(id="m1", at="10:10", conversation_id="c-1"),
        message_sent(id="r2", at="11:30", conversation_id="c-1"),
    ]
    rules = book(
        MAIL,
        UnansweredRule(id="billing", when='type == "contact.abandoned" && queue == "billing"', answer_within_s=1800),
        UnansweredRule(id="other", when='type == "contact.abandoned" && queue != "billing"', answer_within_s=1800),
    )
    found = []
    for arrival in permutations(history):
        world = World(OF, config=rules)
        for event in arrival:
            world.append(event, appended_us=time_us("12:00"))
        world.advance_to(time_us("14:00"))
        keys = ("contact", "rule", "state", "asked_at", "due_at", "cleared_at", "queue")
        found.append(sorted((tuple(row.get(key) for key in keys) for row in world.rows()["unanswered"]), key=repr))
    assert found[0] == [
        ("k-1", "billing", "recovered", time_us("09:00"), time_us("09:30"), time_us("10:00"), "billing"),
        ("k-2", "other", "recovered", time_us("09:20"), time_us("09:50"), time_us("10:00"), None),
        ("m1", "mail", "recovered", time_us("10:10"), time_us("11:10"), time_us("11:30"), None),
    ]
    assert all(one == found[0] for one in found)


def test_a_fact_that_comes_late_can_take_an_alarm_back() -> None:
    """The call was in the queue for spam all along."""
    rules = book(UnansweredRule(id="r", when='type == "contact.abandoned" && queue != "spam"', answer_within_s=1800))
    told = start(missed_call(), rules=rules).at("10:00").when(contact_queued(at="08:59", contact_id="k-1", queue="spam"))
    told.then(rows={"unanswered": []}, effects=["unanswered.detected", ("unanswered.cleared", {"by": "rules", "turn": 1})])


def test_conditions_see_tags_segments_priority_and_attributes_as_of_the_question() -> None:
    seen = {
        "tag": make(events.ConversationTagged, id="f", at="08:00", conversation_id="c-1", tag="vip-line"),
        "segment": make(events.ProfileSegmentEntered, id="f", at="08:00", segment="fragile"),
        "priority": make(events.ConversationPriorityChanged, id="f", at="08:00", conversation_id="c-1", priority="high"),
    }
    whens = {"tag": '"vip-line" in tags', "segment": 'segment == "fragile"', "priority": 'priority == "high"'}
    for name, fact in seen.items():
        rules = book(UnansweredRule(id="r", when=f'type == "message.received" && {whens[name]}', answer_within_s=60))
        before = start(fact, message_received(conversation_id="c-1"), rules=rules).advance("1h")
        before.then(effects=["unanswered.detected"])
        later = moved(fact, "09:30")
        start(message_received(conversation_id="c-1"), later, rules=rules).advance("1h").then(effects=[], rows={"unanswered": []})
    rules = book(UnansweredRule(id="r", when='conversation.attributes.plan == "gold"', answer_within_s=60))
    start(message_received(attributes={"plan": "gold"}), rules=rules).advance("1h").then(effects=["unanswered.detected"])


def moved(event: Event, at: str) -> Event:
    return msgspec.structs.replace(event, header=msgspec.structs.replace(event.header, occurred_at_us=time_us(at)))


# -- rules of a later day, merges, limits


def test_a_rule_published_later_does_not_touch_what_was_asked_before() -> None:
    told = start(message_received(), rules=Config())
    told.world.configure(Rulebook(unanswered=(MAIL,)), at_us=time_us("09:30"))
    told.advance("1d").then(rows={"unanswered": []}, effects=[])


def test_a_merged_customer_waits_quietly_elsewhere() -> None:
    linked = make(events.IdentityLinked, at="09:30", handle=events.Handle(kind="email", hash=b"x"), from_="cu-1", to="cu-2")
    start(missed_call(), linked, missed_call("10:00", "k-2")).advance("1d").then(rows={"unanswered": []}, effects=[])


def test_the_same_contact_under_another_customer_is_told_with_the_same_id() -> None:
    """What was detected before a merge and is confirmed by the copies is one detection."""
    here = start(missed_call(contact_id="k-1")).advance("1d")
    there = start(missed_call(contact_id="k-1", customer="cu-2", home_customer_id="cu-1")).advance("1d")
    ids = [told.world.effects[0].payload.header.id for told in (here, there)]
    assert ids[0] == ids[1]


def test_the_state_stays_bounded_and_rows_stay() -> None:
    world = World(OF, config=book(UnansweredRule(id="r", when='type == "message.received"', answer_within_s=3600, calendar=ALWAYS)))
    begin = time_us("09:00")
    for n in range(400):
        world.append(message_received(id=f"m-{n}", at=begin + n * 1_000_000, conversation_id=f"c-{n}", attributes={"plan": "x"}))
    (state,) = world.states.values()
    assert (len(state.open), len(world.rows()["unanswered"])) == (256, 400)
    world.append(message_sent(id="r", at=begin + 500_000_000))
    (state,) = world.states.values()
    assert (len(state.open), len(state.closed)) == (0, 64)
    assert len(state.facts) <= 64


def test_agents_have_no_contacts_and_without_rules_nothing_is_kept() -> None:
    start(message_received(customer="agent:ag-1")).then(rows={"unanswered": []})
    world = World(OF)
    world.append(message_received())
    (state,) = world.states.values()
    assert not state.open
    assert not state.closed


def test_only_who_waits_comes_to_a_due_time_and_what_was_answered_in_time_never_turns_late() -> None:
    assert [state for state in WaitState if Found.DUE in NEXT[state]] == [WaitState.WAITING]
    assert [state for state in WaitState if Found.LATE not in NEXT[state]] == [WaitState.ANSWERED]


# -- what need not be looked at


@pytest.mark.parametrize(
    ("whens", "types"),
    [
        (['type == "a"'], {"a"}),
        (['type == \'a\' && channel == "phone" && (stage == "queue" || stage == "ringing")'], {"a"}),
        (['channel == "phone" && type in ["a", "b"]', 'type=="c"'], {"a", "b", "c"}),
        (['type == "a" && type in ["b"]'], set()),
        (['type == "a" || channel == "phone"'], None),
        (['channel == "phone" ? type == "a" : type == "b"'], None),
        (['(type == "a")'], None),
        (['type == "a"', 'channel == "phone"'], None),
        (['type != "a" && channel == "phone"'], None),
        (['channel == "x && y" && type == "a"'], {"a"}),
        ([], set()),
    ],
)
def test_types_that_no_rule_can_match_are_known_and_where_it_is_not_sure_any_type_may(whens: list[str], types: set[str] | None) -> None:
    rules = tuple(UnansweredRule(id=f"r{n}", when=when, answer_within_s=1) for n, when in enumerate(whens))
    assert asking_types(Rulebook(unanswered=rules)) == types
