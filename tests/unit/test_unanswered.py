"""Contacts nobody answered: what asks, what answers, in any channel, in any order of arrival."""

from itertools import permutations
from typing import Any

import pytest

from projections.rules import Config, Rulebook, UnansweredRule
from projections.testing import (
    Given,
    World,
    contact_abandoned,
    contact_connected,
    contact_initiated,
    given,
    make,
    message_received,
    message_sent,
    time_us,
)
from projections.unanswered import Unanswered
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


def waits(world: World) -> dict[tuple[object, object], dict[str, object]]:
    return {(row["contact"], row["rule"]): row for row in world.rows()["unanswered"]}


# -- the two ways in which it ends


def test_a_missed_call_without_an_answer_in_time_is_unanswered_at_its_due_time() -> None:
    start(missed_call()).advance("2h").then(
        rows={"unanswered": [{"contact": "k-1", "state": "unanswered", "due_at": time_us("11:00"), "asked_at": time_us("09:00")}]},
        effects=[("unanswered.detected", {"rule": "missed-call", "due_at_us": time_us("11:00"), "attempts": 1, "turn": 0})],
    )


def test_a_call_back_in_time_never_alarms() -> None:
    (
        start(missed_call())
        .at("10:30")
        .when(contact_connected(at="10:30", contact_id="k-2", direction="outbound"))
        .advance("1d")
        .then(
            rows={
                "unanswered": [{"state": "answered", "cleared_at": time_us("10:30"), "cleared_by": "contact.connected", "cleared_channel": "phone"}]
            },
            effects=[],
        )
    )


def test_an_answer_at_exactly_the_due_time_is_in_time() -> None:
    start(missed_call()).when(message_sent(at="11:00")).advance("1d").then(rows={"unanswered": [{"state": "answered"}]}, effects=[])


def test_a_late_answer_recovers_the_contact_and_says_how_long_it_took() -> None:
    told = start(missed_call()).at("12:00").when(message_sent(at="12:00", channel="messaging"))
    told.then(
        rows={"unanswered": [{"state": "recovered", "cleared_at": time_us("12:00"), "cleared_channel": "messaging"}]},
        effects=["unanswered.detected", ("unanswered.cleared", {"by": "message.sent", "channel": "messaging", "after_s": 10_800, "turn": 0})],
    )
    (cleared,) = [effect.payload for effect in told.world.effects if effect.kind == "unanswered.cleared"]
    assert cleared.header.occurred_at_us == time_us("12:00")
    assert cleared.header.causation_id == missed_call().header.id


def test_a_customer_who_calls_again_and_is_answered_clears_the_earlier_call() -> None:
    again = contact_initiated(at="09:30", contact_id="k-2"), contact_connected(at="09:31", contact_id="k-2")
    start(missed_call()).when(*again).advance("1d").then(rows={"unanswered": [{"contact": "k-1", "state": "answered"}]}, effects=[])


def test_a_customer_who_calls_again_in_vain_has_two_contacts_that_count() -> None:
    start(missed_call(), missed_call("09:30", "k-2")).advance("1d").then(
        effects=[("unanswered.detected", {"attempts": 1}), ("unanswered.detected", {"attempts": 2})]
    )


def test_an_automatic_reply_a_bots_reply_and_a_note_answer_nothing() -> None:
    said = [
        message_sent(id="auto", at="09:01", author="auto", actor_kind="system"),
        message_sent(id="bot", at="09:02", author="bot", actor_kind="bot"),
        message_sent(id="note", at="09:03", visibility="internal"),
        contact_connected(id="ivr", at="09:04", actor_kind="bot", contact_id="k-2"),
        make(events.ContactCallbackAttempted, id="busy", at="09:05", reached=False, actor_kind="agent"),
        make(events.ThreadReplied, id="peer", at="09:06", by_staff=False, actor_kind="customer"),
    ]
    start(missed_call()).when(*said).at("11:00").then(rows={"unanswered": [{"state": "unanswered"}]})


@pytest.mark.parametrize(
    "answer",
    [
        contact_connected(at="10:00", contact_id="k-9"),
        message_sent(at="10:00", channel="social"),
        make(events.ThreadReplied, at="10:00", by_staff=True, actor_kind="agent", channel="community"),
        make(events.StoreServiceGiven, at="10:00", actor_kind="agent", channel="store"),
        make(events.ContactCallbackAttempted, at="10:00", reached=True, actor_kind="agent", channel="phone"),
    ],
    ids=lambda event: type(event).TYPE,
)
def test_an_answer_counts_in_any_channel(answer: Event) -> None:
    start(missed_call()).when(answer).advance("1d").then(
        rows={"unanswered": [{"state": "answered", "cleared_by": type(answer).TYPE, "cleared_channel": answer.header.channel}]}, effects=[]
    )


# -- what asks


@pytest.mark.parametrize(
    ("when", "asked", "answer"),
    [
        ('type == "contact.abandoned" && stage == "ringing"', missed_call(stage="ringing"), contact_connected(at="09:10", contact_id="k-2")),
        ('type == "contact.abandoned" && channel == "webchat"', missed_call(channel="webchat"), message_sent(at="09:10", channel="email")),
        ('type == "contact.voicemail_left"', make(events.ContactVoicemailLeft, contact_id="k-1", channel="phone"), contact_connected(at="09:10")),
        (
            'type == "contact.disconnected"',
            make(events.ContactDisconnected, contact_id="k-1", channel="phone", by="system", reason="closed"),
            message_sent(at="09:10"),
        ),
        (
            'type == "contact.callback_requested"',
            make(events.ContactCallbackRequested, contact_id="k-1", channel="phone"),
            make(events.ContactCallbackAttempted, at="09:10", reached=True, actor_kind="agent"),
        ),
        ('type == "message.received"', message_received(conversation_id="c-1"), message_sent(at="09:10", conversation_id="c-1")),
        (
            'type == "thread.posted"',
            make(events.ThreadPosted, conversation_id="t-1", channel="community", direction="inbound"),
            make(events.ThreadMarkedAnswered, at="09:10", conversation_id="t-1", actor_kind="customer"),
        ),
        (
            'type == "store.visit"',
            make(events.StoreVisit, contact_id="v-1", channel="store"),
            make(events.StoreServiceGiven, at="09:10", contact_id="v-1"),
        ),
        ('type == "store.form_left"', make(events.StoreFormLeft, channel="store"), message_sent(at="09:10")),
        ('type == "complaint.raised"', make(events.ComplaintRaised, conversation_id="c-1"), message_sent(at="09:10")),
    ],
    ids=lambda value: type(value).TYPE if isinstance(value, Event) else "",
)
def test_whatever_asks_is_unanswered_without_its_answer_and_quiet_with_it(when: str, asked: Event, answer: Event) -> None:
    rules = book(UnansweredRule(id="r", when=when, answer_within_s=1800))
    start(asked, rules=rules).at("09:31").then(rows={"unanswered": [{"state": "unanswered"}]}, effects=["unanswered.detected"])
    start(asked, rules=rules).when(answer).at("09:31").then(rows={"unanswered": [{"state": "answered"}]}, effects=[])


def test_a_contact_asks_once_at_its_first_moment_however_often_it_asked() -> None:
    rule = UnansweredRule(id="r", when='type in ["contact.abandoned", "contact.voicemail_left"]', answer_within_s=1800)
    asked = missed_call("09:00"), make(events.ContactVoicemailLeft, at="09:05", contact_id="k-1", channel="phone")
    for history in permutations(asked):
        told = start(*history, rules=book(rule)).advance("1d")
        told.then(effects=["unanswered.detected"])
        assert [row["asked_at"] for row in told.world.rows()["unanswered"]] == [time_us("09:00")]


def test_each_message_is_a_contact_of_its_own_and_one_reply_answers_all_before_it() -> None:
    asked = [message_received(id=f"m-{n}", at=f"09:0{n}", conversation_id="c-1") for n in range(3)]
    told = start(*asked).when(message_sent(at="09:30", conversation_id="c-1")).when(message_received(id="m-9", at="09:31", conversation_id="c-1"))
    told.at("12:00").then(effects=[("unanswered.detected", {"attempts": 1})])
    assert {contact: row["state"] for (contact, _), row in waits(told.world).items()} == {
        "m-0": "answered",
        "m-1": "answered",
        "m-2": "answered",
        "m-9": "unanswered",
    }


def test_a_call_that_we_made_asks_for_nothing() -> None:
    start(missed_call(direction="outbound")).advance("1d").then(rows={"unanswered": []}, effects=[])


def test_one_contact_under_two_rules_is_detected_once_for_each() -> None:
    soon = UnansweredRule(id="soon", when='type == "contact.abandoned"', answer_within_s=600)
    start(missed_call(), rules=book(MISSED, soon)).advance("1d").then(
        effects=[("unanswered.detected", {"rule": "soon"}), ("unanswered.detected", {"rule": "missed-call"})]
    )


# -- who may answer, and what only ends the matter


@pytest.mark.parametrize(
    ("recovered_by", "answer", "state"),
    [
        ("any_channel", {"channel": "email", "conversation_id": "c-2"}, "answered"),
        ("same_channel", {"channel": "email", "conversation_id": "c-2"}, "unanswered"),
        ("same_channel", {"channel": "social", "conversation_id": "c-2"}, "answered"),
        ("conversation", {"channel": "social", "conversation_id": "c-2"}, "unanswered"),
        ("conversation", {"channel": "email", "conversation_id": "c-1"}, "answered"),
    ],
)
def test_the_rule_says_where_an_answer_must_come(recovered_by: Any, answer: dict[str, str], state: str) -> None:
    rules = book(UnansweredRule(id="r", when='channel == "social"', answer_within_s=3600, recovered_by=recovered_by))
    asked = message_received(channel="social", conversation_id="c-1")
    start(asked, rules=rules).when(message_sent(at="09:30", **answer)).advance("1d").then(rows={"unanswered": [{"state": state}]})


@pytest.mark.parametrize("kind", [events.MessageNoReplyNeeded, events.ConversationResolved, events.ConversationClosed])
def test_a_conversation_that_is_over_settles_what_it_asked_and_nothing_else(kind: type[Event]) -> None:
    asked = message_received(id="m-1", conversation_id="c-1"), message_received(id="m-2", conversation_id="c-2")
    told = start(*asked).when(make(kind, at="09:30", conversation_id="c-1", actor_kind="agent")).advance("1d")
    assert {contact: row["state"] for (contact, _), row in waits(told.world).items()} == {"m-1": "settled", "m-2": "unanswered"}
    told.then(effects=["unanswered.detected"])


def test_a_call_that_was_connected_before_it_was_given_up_is_not_answered_by_that() -> None:
    rules = book(UnansweredRule(id="r", when='type == "contact.abandoned"', answer_within_s=60))
    connected = contact_connected(at="09:00", contact_id="k-1")
    start(connected, missed_call(stage="hold"), rules=rules).advance("1h").then(rows={"unanswered": [{"state": "unanswered"}]})
