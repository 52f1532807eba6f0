"""Missed contacts of customers who turn out to be one, what comes late, one conversation under two handles, and who was forgotten."""

import itertools
from typing import Any

import pytest

from projections.testing import contact_connected, make, message_received, message_sent, time_us
from schemas import events
from schemas.record import Event
from tests.support.one_person import RULES, C, OnePerson, P, kinds, linked, mail, missed, net, open_alerts, shop

ORDERS = list(itertools.permutations(range(3)))


# -- missed contacts


@pytest.mark.parametrize("order", ORDERS)
def test_a_missed_call_that_was_answered_under_the_other_handle_is_taken_back_or_cleared(order: tuple[int, ...]) -> None:
    for answered, after in (("09:30", 0), ("10:30", 1)):
        person = OnePerson(RULES).happen(missed(P), shop(C, answered))
        streams = linked(person, "11:00")
        for number in order:
            person.happen(*streams[number])
        person.world.advance_to(time_us("15:00"))
        (row,) = person.world.rows()["unanswered"]
        assert (row["customer_id"], row["state"]) == (C, "recovered" if after else "answered")
        assert [n for what, n in net(person.world.effects).items() if what[0] == "contact"] == [1] * after
        assert [e for e in kinds(person, "unanswered") if e[1] == C] == [("unanswered.cleared", C)]
        assert [e for e in kinds(person, "alert") if e[1] == C] == [("alert.resolved", C)]
        assert open_alerts(person) == []


@pytest.mark.parametrize("order", ORDERS)
def test_attempts_of_one_alert_go_over_together(order: tuple[int, ...]) -> None:
    person = OnePerson(RULES).happen(missed(P), missed(P, "09:10", "k-2"))
    streams = linked(person, "11:00")
    ((_, raised),) = person.said("alert.raised")
    for number in order:
        person.happen(*streams[number])
    person.world.advance_to(time_us("15:00"))
    (row,) = open_alerts(person)
    assert (row["alert_id"], row["attempts"], row["customer_id"]) == (raised.alert_id, 2, C)
    assert [e for e in kinds(person, "alert", "unanswered") if e[1] == C] == []


@pytest.mark.parametrize("order", ORDERS)
def test_attempts_under_both_handles_are_one_alert_with_a_count(order: tuple[int, ...]) -> None:
    person = OnePerson(RULES).happen(missed(P), missed(C, "09:10", "k-2"), missed(P, "09:20", "k-3"))
    streams = linked(person, "11:00")
    first, second = [alert.alert_id for _, alert in person.said("alert.raised")]
    for number in order:
        person.happen(*streams[number])
    person.world.advance_to(time_us("15:00"))
    (row,) = open_alerts(person)
    assert (row["alert_id"], row["attempts"], row["customer_id"]) == (second, 3, C)
    assert [(key, alert.alert_id, alert.reason) for key, alert in person.said("alert.resolved")] == [(C, first, "merged")]
    person.happen(shop(C, "16:00"))
    assert open_alerts(person) == []
    assert {what[0] for what in net(person.world.effects)} == {"contact"}


@pytest.mark.parametrize("order", ORDERS)
def test_an_attempt_still_has_an_alert_when_the_one_that_raised_it_is_taken_back(order: tuple[int, ...]) -> None:
    """The shop had answered the first call in time; the second one came after that, and nobody answered it."""
    person = OnePerson(RULES).happen(missed(P), shop(C, "09:30"), missed(P, "09:40", "k-2"))
    streams = linked(person, "11:00")
    for number in order:
        person.happen(*streams[number])
    person.world.advance_to(time_us("15:00"))
    assert [(row["contact"], row["state"]) for row in person.world.rows()["unanswered"]] == [("k-1", "answered"), ("k-2", "unanswered")]
    (row,) = open_alerts(person)
    assert net(person.world.effects) == {("contact", P, "k-2", "missed"): 1, ("alert", row["alert_id"]): 1}


def test_an_alert_that_a_person_resolved_here_is_not_raised_again_by_the_rest_of_its_attempts() -> None:
    person = OnePerson(RULES).happen(missed(P), missed(P, "09:10", "k-2"))
    link, copies, (first, *rest) = linked(person, "11:00")
    person.happen(*link, *copies, first)
    (alert,) = open_alerts(person)
    by = {"alert_id": alert["alert_id"], "actor_kind": "agent", "actor_id": "sup-1", "channel": "backoffice"}
    person.happen(make(events.AlertResolveRequested, at="11:01", customer=C, reason="done", **by), *rest)
    person.world.advance_to(time_us("15:00"))
    assert open_alerts(person) == []
    assert [key for key, _ in person.said("alert.raised")] == [P]


def test_a_missed_call_is_not_told_before_all_copies_are_there() -> None:
    person = OnePerson(RULES).happen(missed(P))
    link, copies, moved = linked(person, "09:10")
    assert moved == []
    person.happen(*link, *copies[:-1])
    person.world.advance_to(time_us("11:00"))
    assert kinds(person, "alert", "unanswered") == []
    person.happen(copies[-1])
    person.world.advance_to(time_us("11:02"))
    assert [kind for kind, _ in kinds(person, "unanswered")] == ["unanswered.detected"]


def test_a_straggler_that_answers_takes_back_what_was_told_here_when_its_run_is_complete() -> None:
    """It was told under C, and the answer of before comes late, under P."""
    person = OnePerson(RULES).happen(mail(P), missed(P))
    for stream in linked(person, "09:10"):
        person.happen(*stream)
    person.world.advance_to(time_us("10:30"))
    assert len(open_alerts(person)) == 2
    person.happen(contact_connected(at="09:20", customer=P, contact_id="k-7", conversation_id="c-9"))
    *copies, end = person.copies()
    person.happen(*copies, end)
    person.world.advance_to(time_us("15:00"))
    assert open_alerts(person) == []
    assert net(person.world.effects) == {}


# -- what comes later than it should


def test_what_was_handed_over_long_after_the_copies_is_one_alert_all_the_same() -> None:
    """The care group of who is linked was not there for ten minutes: it is told again, under the same ids."""
    person = OnePerson(RULES).happen(mail(P), missed(P))
    link, copies, moved = linked(person, "11:00")
    person.happen(*link, *copies)
    person.world.advance_to(time_us("11:10"))
    told = {kind: [(key, one.header.id) for key, one in person.said(kind)] for kind in ("sla.breached", "alert.raised", "unanswered.detected")}
    assert all([key for key, _ in ids] in ([P, C], [P, P, C, C]) for ids in told.values())
    assert all(len({one for _, one in ids}) == len(ids) // 2 for ids in told.values())
    person.happen(*moved)
    person.world.advance_to(time_us("15:00"))
    assert len(open_alerts(person)) == 2
    person.happen(message_sent(at="16:00", customer=C, conversation_id="c-9"))
    assert open_alerts(person) == []
    assert set(net(person.world.effects).values()) == {1}


def test_an_old_answer_that_comes_with_a_link_is_not_late_and_is_told() -> None:
    """Its source was in time; it is only here that it comes ten days later."""
    person = OnePerson(RULES).happen(mail(C), shop(P))
    person.world.advance_to(time_us("10:00") + 10 * 86_400_000_000)
    person.happen(person.link(P, person.world.now_us), person.link(C, person.world.now_us), *person.copies())
    assert net(person.world.effects) == {}
    assert open_alerts(person) == []


def test_a_breach_so_old_that_nobody_was_told_is_not_handed_over_and_not_taken_back() -> None:
    late = {"appended_us": time_us("09:00") + 9 * 86_400_000_000}
    person = OnePerson(RULES)
    person.world.append(mail(P), **late)
    person.world.advance_to(late["appended_us"] + 3_600_000_000)
    person.happen(person.link(P, person.world.now_us))
    assert [one.kind for one in person.world.effects if one.kind != "clock.moved"] == []
    assert all(not one.announced for one in person.moved() if isinstance(one, events.ClockMoved))


# -- one conversation under two handles


def test_a_conversation_that_went_on_under_the_other_handle_is_one_clock_from_its_first_message() -> None:
    """A chat as a visitor, going on after the login; each had its own breach, and one of them is left."""
    person = OnePerson(RULES).happen(mail(P), mail(C, "09:20"))
    streams = linked(person, "11:00")
    assert len(person.said("sla.breached")) == 2
    for stream in streams:
        person.happen(*stream)
    person.world.advance_to(time_us("15:00"))
    (row,) = person.world.rows()["clock"]
    assert (row["customer_id"], row["home_customer_id"], row["started_at"], row["state"]) == (C, P, time_us("09:00"), "breached")
    assert net(person.world.effects).keys() == {("clock", P, "c-9", "first_response", 1), ("alert", open_alerts(person)[0]["alert_id"])}


def test_a_clock_of_which_nothing_is_known_here_any_more_is_taken_back() -> None:
    """What was handed over must not stay open for ever; here the copies lack the mail that it was about."""
    person = OnePerson(RULES).happen(mail(P))
    link, copies, moved = linked(person, "11:00")
    person.happen(*link, copies[-1], *moved)
    assert net(person.world.effects) == {}
    assert [kind for kind, key in kinds(person, "sla", "alert", "escalation") if key == C] == ["sla.breach_retracted", "alert.resolved"]
    assert open_alerts(person) == []


# -- away, and back


def test_who_is_linked_away_closes_without_a_word_and_its_rows_are_gone() -> None:
    person = OnePerson(RULES).happen(mail(P), missed(P))
    person.world.advance_to(time_us("10:30"))
    person.world.effects.clear()
    person.happen(person.link(P, "10:30"), mail(P, "10:40"), missed(P, "10:41", "k-2"))
    person.world.advance_to(time_us("10:30") + 10 * 86_400_000_000)
    assert {e.kind for e in person.world.effects} == {"clock.moved"}
    rows = person.world.rows()
    for table in ("clock", "open_clock", "alert", "alert_by_id", "unanswered", "escalation"):
        assert rows[table] == [], table
    assert [{**row} for row in rows["care_summary"]] == [{"tenant": "acme", "customer_id": P, "open_alerts": 0}]


def test_what_was_handed_over_goes_on_with_a_customer_who_is_linked_on() -> None:
    person = OnePerson(RULES).happen(mail(P))
    streams = linked(person, "10:20")
    person.happen(*streams[0], *streams[1])
    onward = make(events.IdentityLinked, id="on", at="10:21", customer=C, handle=events.Handle(kind="email", hash=b"y"), from_=C, to="cu-d")
    person.happen(onward)
    person.moved()
    person.happen(*streams[2])
    moved: Any = person.moved()[0]
    assert (moved.origin, moved.home, moved.header.customer_id, moved.announced, moved.turn) == (C, P, "cu-d", True, 0)
    assert moved.alert == streams[2][0].alert


def test_repeating_the_link_and_what_came_of_it_changes_nothing() -> None:
    person = OnePerson(RULES).happen(mail(P), shop(C))
    streams = linked(person, "11:00")
    for stream in streams:
        person.happen(*stream)
    before, told = person.world.rows(), len(person.world.effects)
    person.happen(person.link(P, "11:00"), person.link(C, "11:00"), person.copies()[-1], *streams[2])
    assert (person.world.rows(), len(person.world.effects)) == (before, told)


# -- erasure


def erased(customer: str, at: str = "10:30") -> Event:
    header = make(events.IdentityObserved, id=f"erased-{customer}-{at}", at=at, customer=customer).header
    return events.PrivacyErased(header=header, customer=customer, erasure="e-1")


def test_a_person_who_was_forgotten_closes_without_a_word_and_a_second_time_changes_nothing() -> None:
    person = OnePerson(RULES).happen(mail(P), missed(P), message_received(id="m2", at="10:00", customer=P, conversation_id="c-10"))
    person.world.advance_to(time_us("10:29"))
    assert len(open_alerts(person)) == 2
    person.world.effects.clear()
    person.happen(erased(P))
    rows = person.world.rows()
    assert {(r["conversation_id"], r["state"], r.get("reason")) for r in rows["clock"]} == {
        ("c-9", "breached", "erased"),
        ("c-10", "cancelled", "erased"),
    }
    assert all("cancelled_at" in row for row in rows["clock"])
    assert {row["state"] for row in rows["open_clock"]} == {"closed"}
    assert [row["state"] for row in rows["unanswered"]] == ["settled"]
    assert {(row["state"], row["reason"]) for row in rows["alert"]} == {("resolved", "erased")}
    assert {row["phase"] for row in rows["escalation"] if row["step"] == 0} == {"ended"}
    person.happen(erased(P, "10:31"), mail(P, "10:32"), missed(P, "10:33", "k-3"))
    person.world.advance_to(time_us("10:30") + 10 * 86_400_000_000)
    assert person.world.effects == []
    after = person.world.rows()
    assert {table: found for table, found in after.items() if table != "open_clock"} == {
        table: found for table, found in rows.items() if table != "open_clock"
    }
    assert after["open_clock"] == []


def test_who_was_linked_away_and_then_forgotten_leaves_nothing_open_on_either_side() -> None:
    person = OnePerson(RULES).happen(mail(P))
    for stream in linked(person, "10:20"):
        person.happen(*stream)
    person.happen(erased(C, "10:30"), erased(P, "10:30"))
    told = len(person.world.effects)
    person.world.advance_to(time_us("10:30") + 10 * 86_400_000_000)
    assert open_alerts(person) == []
    assert len(person.world.effects) == told
