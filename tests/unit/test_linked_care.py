"""Clocks, alerts and ladders of a customer who turns out to be another one: the flagship, and what goes over to the other."""

import itertools

import pytest

from projections.testing import make, message_sent, time_us
from schemas import events
from tests.support.one_person import RULES, C, OnePerson, P, clocks, kinds, linked, mail, net, open_alerts, shop

MET = [(C, "c-9", "met", 1800 * 1_000_000)]
ORDERS = list(itertools.permutations(range(3)))


# -- the flagship


@pytest.mark.parametrize("order", ORDERS)
def test_a_breach_is_taken_back_when_the_answer_was_given_in_the_shop_by_the_one_who_stays(order: tuple[int, ...]) -> None:
    person = OnePerson(RULES).happen(mail(P), shop(C))
    streams = linked(person, "11:00")
    assert kinds(person, "alert", "sla")[-1] == ("alert.raised", P)
    for number in order:
        person.happen(*streams[number])
    person.world.advance_to(time_us("15:00"))
    assert clocks(person) == MET
    assert net(person.world.effects) == {}
    assert [e for e in kinds(person, "sla", "alert") if e[1] == C] == [("sla.breach_retracted", C), ("sla.fulfilled", C), ("alert.resolved", C)]
    assert [e for e in kinds(person, "escalation") if e[1] == C] == [("escalation.stood_down", C)]
    (row,) = person.world.rows()["alert"]
    assert (row["state"], row["reason"], row["customer_id"]) == ("resolved", "retracted", C)
    assert {(r["step"], r["customer_id"]) for r in person.world.rows()["escalation"]} == {(0, C), (1, C), (2, C)}


@pytest.mark.parametrize("order", ORDERS)
def test_a_breach_is_taken_back_when_the_answer_was_given_in_the_shop_by_the_one_who_is_linked(order: tuple[int, ...]) -> None:
    person = OnePerson(RULES).happen(mail(C), shop(P))
    streams = linked(person, "11:00")
    for number in order:
        person.happen(*streams[number])
    person.world.advance_to(time_us("15:00"))
    assert clocks(person) == MET
    assert net(person.world.effects) == {}
    assert {e[0] for e in kinds(person, "sla", "alert", "escalation")} >= {"sla.breach_retracted", "alert.resolved", "escalation.stood_down"}
    assert streams[2] == []


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("root", [C, P])
def test_linked_before_the_breach_there_is_no_alert_ever(root: str, order: tuple[int, ...]) -> None:
    person = OnePerson(RULES).happen(mail(root), shop(P if root == C else C))
    streams = linked(person, "09:40")
    for number in order:
        person.happen(*streams[number])
    person.world.advance_to(time_us("15:00"))
    assert clocks(person) == MET
    assert kinds(person, "alert", "escalation") == []
    assert [kind for kind, _ in kinds(person, "sla")].count("sla.fulfilled") == 1


# -- what is confirmed


@pytest.mark.parametrize("order", ORDERS)
def test_a_breach_that_holds_goes_on_as_the_same_alert_and_is_told_once(order: tuple[int, ...]) -> None:
    person = OnePerson(RULES).happen(mail(P))
    streams = linked(person, "10:20")
    ((_, alert),) = person.said("alert.raised")
    for number in order:
        person.happen(*streams[number])
    person.world.advance_to(time_us("15:00"))
    (row,) = open_alerts(person)
    assert (row["alert_id"], row["customer_id"], row["raised_at"], row["home_customer_id"]) == (alert.alert_id, C, time_us("10:00"), P)
    told = [(e.kind, e.key) for e in person.world.effects if e.kind in {"sla.breached", "alert.raised"}]
    assert told == [("sla.breached", P), ("alert.raised", P)]
    assert [(key, step.step) for key, step in person.said("escalation.step_reached")] == [(P, 1), (C, 2)]
    person.happen(message_sent(at="16:00", customer=C, conversation_id="c-9"))
    assert net(person.world.effects) == {("clock", P, "c-9", "first_response", 1): 1}
    assert open_alerts(person) == []


def test_an_alert_that_somebody_has_in_hand_stays_in_hand() -> None:
    person = OnePerson(RULES).happen(mail(P))
    person.world.advance_to(time_us("10:05"))
    (alert,) = open_alerts(person)
    command = {"alert_id": alert["alert_id"], "actor_kind": "agent", "actor_id": "sup-1", "channel": "backoffice"}
    person.happen(make(events.AlertAcknowledgeRequested, at="10:10", customer=P, **command))
    person.happen(make(events.AlertAssignRequested, at="10:11", customer=P, team="tech", agent="ag-4", **command))
    (before,) = open_alerts(person)
    link, copies, moved = linked(person, "10:20")
    assert [(one.announced, one.acknowledged, one.alert) for one in moved] == [(True, True, alert["alert_id"])]
    assert open_alerts(person) == []
    person.happen(*link, *copies, *moved)
    (row,) = open_alerts(person)
    assert row == before | {"customer_id": C, "noticed_at": time_us("10:00")}
    assert [e for e in kinds(person, "alert", "escalation") if e[1] == C] == []
    commands = person.world.rows()["alert_command"]
    assert {(r["customer_id"], r["outcome"]) for r in commands} == {(P, "done")}
    person.world.advance_to(time_us("15:00"))
    steps = [(key, step.step, step.header.occurred_at_us) for key, step in person.said("escalation.step_reached")]
    assert steps == [(P, 1, time_us("10:00")), (C, 2, time_us("10:40"))]


def test_a_command_that_still_arrives_under_the_old_customer_is_carried_out_once_at_the_new_one() -> None:
    person = OnePerson(RULES).happen(mail(P))
    streams = linked(person, "10:20")
    ((_, raised),) = person.said("alert.raised")
    for stream in streams:
        person.happen(*stream)
    person.happen(
        make(events.AlertResolveRequested, at="10:30", customer=P, alert_id=raised.alert_id, reason="done", actor_kind="agent", actor_id="sup-1")
    )
    assert len(open_alerts(person)) == 1
    person.happen(*person.copies())
    assert open_alerts(person) == []
    assert [(r["customer_id"], r["outcome"]) for r in person.world.rows()["alert_command"]] == [(C, "done")]
    assert [e for e in kinds(person, "alert") if e[0] == "alert.resolved"] == [("alert.resolved", C)]


def test_an_alert_that_a_person_had_resolved_does_not_come_back() -> None:
    person = OnePerson(RULES).happen(mail(P))
    person.world.advance_to(time_us("10:05"))
    (alert,) = open_alerts(person)
    person.happen(
        make(events.AlertResolveRequested, at="10:10", customer=P, alert_id=alert["alert_id"], reason="done", actor_kind="agent", actor_id="sup-1")
    )
    streams = linked(person, "10:20")
    for stream in streams:
        person.happen(*stream)
    person.world.advance_to(time_us("15:00"))
    assert open_alerts(person) == []
    assert [e for e in kinds(person, "alert", "escalation") if e[1] == C] == []


def test_a_ladder_that_was_stood_down_does_not_begin_again() -> None:
    person = OnePerson(RULES).happen(mail(P))
    person.world.advance_to(time_us("10:05"))
    (alert,) = open_alerts(person)
    person.happen(
        make(
            events.EscalationStandDownRequested, at="10:10", customer=P, alert_id=alert["alert_id"], reason="x", actor_kind="agent", actor_id="sup-1"
        )
    )
    for stream in linked(person, "10:20"):
        person.happen(*stream)
    person.world.advance_to(time_us("15:00"))
    assert [e for e in kinds(person, "escalation") if e[1] == C] == []
    assert len(open_alerts(person)) == 1
