"""Alerts: one for each cause, delivered when people may be woken, and what people do about them."""

from typing import Any

import pytest

from projections.alert_commands import HOLD_DEFAULT_S
from projections.alert_state import NEXT, AlertDoing, AlertState
from projections.alerts import OPEN_MAX, Alerts
from projections.rules import Config, Defaults, QuietHours, Rulebook, UnansweredRule, WeeklyHours
from projections.testing import Given, World, contact_abandoned, given, make, message_received, message_sent, time_us
from projections.unanswered import Unanswered
from schemas import events
from schemas.record import Event
from tests.support.causes import Sla

OFFICE = WeeklyHours(id="office", week=(((9 * 3600, 17 * 3600),),) * 5 + ((), ()))
MISSED = UnansweredRule(id="missed-call", when='type == "contact.abandoned"', answer_within_s=7200, severity="high")


OF = (Sla("office", recipients=("team:mail",)), Unanswered(), Alerts())


def start(*before: Event, **book: Any) -> Given:
    return given(*before, of=OF, config=Config((Rulebook(version=1, effective_at_us=0, calendars=(OFFICE,), unanswered=(MISSED,), **book),)))


def breach(at: str = "10:00", conversation_id: str = "c-1", **fields: Any) -> events.MessageReceived:
    return message_received(id=f"m-{conversation_id}-{at}", at=at, conversation_id=conversation_id, **fields)


def alerts(told: Given) -> list[dict[str, object]]:
    return sorted(told.world.rows()["alert"], key=lambda row: str(row["raised_at"]))


def only(told: Given) -> dict[str, Any]:
    (row,) = alerts(told)
    return row


def command(kind: type[Event], alert_id: object, at: str = "10:05", **fields: Any) -> Event:
    return make(kind, id=f"{kind.TYPE}@{at}", at=at, alert_id=alert_id, actor_kind="agent", actor_id="sup-1", channel="backoffice", **fields)


def outcomes(told: Given) -> list[tuple[object, object]]:
    return [(row["kind"], row["outcome"]) for row in told.world.rows()["alert_command"]]


# -- raised and over


def test_a_cause_raises_one_alert_with_everything_that_people_need() -> None:
    told = start().at("10:00").when(breach())
    row = only(told)
    told.then(
        rows={
            "alert": [{"team": "mail", "day": "2026-01-12", "raised_at": time_us("10:00"), "state": "open", "kind": "breach",
                       "name": "first_response", "severity": "normal", "conversation_id": "c-1",
                       "customer_id": "cu-1", "attempts": 1, "recipients": ("team:mail",)}],
            "alert_by_id": [{"alert_id": row["alert_id"], "team": "mail", "day": "2026-01-12", "customer_id": "cu-1"}],
            "alert_team": [{"day": "2026-01-12", "team": "mail"}],
            "care_summary": [{"open_alerts": 1, "worst_severity": "normal"}],
        },
        effects=[("alert.raised", {"alert_id": row["alert_id"], "due_at_us": time_us("10:00"), "severity": "normal", "recipients": ("team:mail",)})],
    )  # fmt: skip


def test_an_answer_ends_it_by_itself() -> None:
    told = start(breach()).at("11:00").when(message_sent(at="11:00", conversation_id="c-1"))
    told.then(
        rows={"alert": [{"state": "resolved", "reason": "answered", "resolved_at": time_us("11:00")}], "care_summary": [{"open_alerts": 0}]},
        effects=[("alert.resolved", {"reason": "answered", "by": None})],
    )
    assert "worst_severity" not in told.world.rows()["care_summary"][0]
    assert "resolved_by" not in only(told)


def test_a_breach_a_retraction_and_a_breach_again_are_two_alerts_with_ids_of_their_own() -> None:
    told = start().when(
        breach(), message_sent(at="10:30", conversation_id="c-1", attributes={"why": "retracted"}), breach("11:00", attributes={"turn": "2"})
    )
    told.then(effects=["alert.raised", ("alert.resolved", {"reason": "retracted"}), "alert.raised"])
    assert len({row["alert_id"] for row in alerts(told)}) == 2


def test_the_same_cause_told_twice_is_one_alert_also_after_it_is_over() -> None:
    again = message_received(id="again", at="10:01", conversation_id="c-1")
    start().when(breach(), again).then(effects=["alert.raised"])
    over = message_sent(at="10:30", conversation_id="c-1")
    start().when(breach(), over, message_received(id="again", at="10:31", conversation_id="c-1")).then(effects=["alert.raised", "alert.resolved"])


def test_the_summary_names_the_worst_of_what_is_open() -> None:
    told = start(breach(), breach("10:01", "c-2", attributes={"severity": "critical"}), breach("10:02", "c-3", attributes={"severity": "low"}))
    told.then(rows={"care_summary": [{"open_alerts": 3, "worst_severity": "critical"}]})
    told.when(message_sent(at="10:05", conversation_id="c-2")).then(rows={"care_summary": [{"open_alerts": 2, "worst_severity": "normal"}]})


# -- attempts


def test_repeated_attempts_are_one_alert_with_a_rising_count() -> None:
    calls = [contact_abandoned(at=f"09:{n}0", contact_id=f"k-{n}") for n in range(3)]
    told = start(*calls).at("12:00")
    told.then(
        rows={"alert": [{"attempts": 3, "raised_at": time_us("11:00"), "last_attempt_at": time_us("11:20"), "severity": "high"}]},
        effects=["unanswered.detected", "alert.raised", "unanswered.detected", "unanswered.detected"],
    )
    assert len(alerts(told)) == 1


def test_one_answer_ends_the_alert_of_all_attempts() -> None:
    calls = [contact_abandoned(at=f"09:{n}0", contact_id=f"k-{n}") for n in range(3)]
    told = start(*calls).at("12:00").when(message_sent(at="12:00", conversation_id="c-x"))
    assert [(row["state"], row["reason"]) for row in alerts(told)] == [("resolved", "answered")]
    assert [effect.kind for effect in told.world.effects].count("alert.resolved") == 1


def test_an_alert_of_two_attempts_lasts_until_the_last_one_is_over() -> None:
    """The first call was answered in time, as is found out late; the second one was not."""
    calls = contact_abandoned(at="09:00", contact_id="k-1"), contact_abandoned(at="09:30", contact_id="k-2")
    told = start(*calls).at("11:35").when(message_sent(at="09:20", conversation_id="c-x"))
    assert [(row["state"], row["attempts"]) for row in alerts(told)] == [("open", 2)]
    told.at("12:00").when(message_sent(id="r", at="12:00", conversation_id="c-x"))
    assert [(row["state"], row["reason"]) for row in alerts(told)] == [("resolved", "answered")]


def test_a_call_in_vain_after_the_alert_is_over_raises_a_new_one() -> None:
    told = start(contact_abandoned(at="09:00", contact_id="k-1")).at("12:00").when(message_sent(at="12:00", conversation_id="c-x"))
    told.when(contact_abandoned(at="13:00", contact_id="k-2")).at("15:00")
    assert [row["state"] for row in alerts(told)] == ["resolved", "open"]


def test_evidence_in_time_that_comes_late_retracts_the_alert() -> None:
    told = start(contact_abandoned(at="09:00", contact_id="k-1")).at("12:00").when(message_sent(at="10:00", conversation_id="c-x"))
    told.then(effects=["unanswered.detected", "alert.raised", "unanswered.cleared", ("alert.resolved", {"reason": "retracted"})])


# -- quiet hours, silence


QUIET = Defaults(quiet_hours=QuietHours(calendar="office", severity_below="high"))


@pytest.mark.parametrize(
    ("severity", "at", "deliver_at"),
    [
        ("normal", "2026-01-12T20:00:00Z", "2026-01-13T09:00:00Z"),
        ("normal", "2026-01-16T20:00:00Z", "2026-01-19T09:00:00Z"),
        ("normal", "2026-01-12T10:00:00Z", "2026-01-12T10:00:00Z"),
        ("high", "2026-01-12T20:00:00Z", "2026-01-12T20:00:00Z"),
        ("critical", "2026-01-12T20:00:00Z", "2026-01-12T20:00:00Z"),
    ],
)
def test_zm4432_in_quiet_hours_delivery_waits_and_the_due_time_stays(severity: str, at: str, deliver_at: str) -> None:
    told = start(defaults=QUIET).when(breach(at, attributes={"severity": severity}))
    told.then(
        rows={"alert": [{"raised_at": time_us(at), "deliver_at": time_us(deliver_at)}]},
        effects=[("alert.raised", {"due_at_us": time_us(at), "deliver_at_us": time_us(deliver_at)})],
    )


def test_without_quiet_hours_an_alert_is_delivered_when_it_is_noticed() -> None:
    start().when(breach("20:00")).then(effects=[("alert.raised", {"deliver_at_us": time_us("20:00")})])


def test_what_is_too_old_has_rows_and_wakes_nobody() -> None:
    told = start().when(breach(attributes={"silent": "yes"}))
    told.then(rows={"alert": [{"silent": True, "state": "open"}], "care_summary": [{"open_alerts": 0}]}, effects=[])
    told.when(message_sent(at="11:00", conversation_id="c-1")).then(rows={"alert": [{"state": "resolved"}]}, effects=[])


def test_a_fresh_attempt_never_hides_in_an_alert_that_was_told_to_nobody() -> None:
    told = start()
    told.world.append(contact_abandoned(at="2026-01-01T09:00:00Z", contact_id="k-1"), appended_us=time_us("09:00"))
    told.at("09:30").then(effects=[])
    told.when(contact_abandoned(at="09:30", contact_id="k-2")).at("12:00").then(effects=["unanswered.detected", "alert.raised"])
    assert [(row.get("silent"), row["attempts"]) for row in alerts(told)] == [(True, 1), (False, 1)]


# -- what people do


def test_acknowledging_names_who_looks_after_it_and_holds_its_ladder_for_a_time() -> None:
    told = start(breach("16:40")).at("16:45")
    told.when(command(events.AlertAcknowledgeRequested, only(told)["alert_id"], at="16:45", reason="mine"))
    until_us = time_us("17:15")
    told.then(
        rows={"alert": [{"state": "acknowledged", "acknowledged_by": "sup-1", "acknowledged_at": time_us("16:45"), "held_until": until_us}]},
        effects=[("alert.acknowledged", {"by": "sup-1", "until_us": until_us})],
    )
    assert HOLD_DEFAULT_S == 1800
    assert told.world.rows()["alert_command"] == [
        {"tenant": "acme", "alert_id": only(told)["alert_id"], "event_id": "alert.acknowledge_requested@16:45", "kind": "alert.acknowledge_requested",
         "at": time_us("16:45"), "actor": "sup-1", "reason": "mine", "outcome": "done", "customer_id": "cu-1"}
    ]  # fmt: skip


def test_a_snoozed_alert_comes_back_as_it_was() -> None:
    told = start(breach()).at("10:05")
    alert_id = only(told)["alert_id"]
    told.when(command(events.AlertSnoozeRequested, alert_id, until_us=time_us("11:00")))
    told.then(rows={"alert": [{"state": "snoozed", "snoozed_until": time_us("11:00"), "snoozed_by": "sup-1"}]}, effects=["alert.snoozed"])
    told.at("11:00").then(rows={"alert": [{"state": "open"}]})
    told.when(
        command(events.AlertAcknowledgeRequested, alert_id, at="11:01"),
        command(events.AlertSnoozeRequested, alert_id, at="11:02", until_us=time_us("12:00")),
    )
    told.at("11:59").then(rows={"alert": [{"state": "snoozed"}]})
    told.at("12:00").then(rows={"alert": [{"state": "acknowledged"}]})


def test_a_snooze_is_cut_short_by_an_answer_and_does_not_come_back() -> None:
    told = start(breach()).at("10:05")
    told.when(
        command(events.AlertSnoozeRequested, only(told)["alert_id"], until_us=time_us("11:00")), message_sent(at="10:10", conversation_id="c-1")
    )
    told.at("12:00").then(rows={"alert": [{"state": "resolved"}]})


def test_a_snooze_into_the_past_changes_nothing_and_says_so() -> None:
    told = start(breach()).at("10:05")
    told.when(command(events.AlertSnoozeRequested, only(told)["alert_id"], until_us=time_us("10:05"))).then(
        rows={"alert": [{"state": "open"}]}, effects=[]
    )
    assert outcomes(told) == [("alert.snooze_requested", "past")]


def test_an_alert_given_to_another_team_is_shown_there_whole() -> None:
    told = start(breach()).at("10:05")
    alert_id = only(told)["alert_id"]
    told.when(command(events.AlertAssignRequested, alert_id, team="billing", agent="ag-7"))
    row = only(told)
    assert (row["team"], row["assignee"], row["assigned_by"], row["recipients"]) == ("billing", "ag-7", "sup-1", ("team:mail",))
    told.then(
        rows={"alert_by_id": [{"alert_id": alert_id, "team": "billing"}], "alert_team": [{"team": "mail"}, {"team": "billing"}]},
        effects=[("alert.assigned", {"team": "billing", "agent": "ag-7", "by": "sup-1"})],
    )
    told.when(message_sent(at="10:30", conversation_id="c-1"))
    assert (only(told)["team"], only(told)["state"]) == ("billing", "resolved")


def test_an_alert_given_to_an_agent_stays_with_its_team() -> None:
    told = start(breach()).at("10:05")
    told.when(command(events.AlertAssignRequested, only(told)["alert_id"], agent="ag-7")).then(rows={"alert": [{"team": "mail", "assignee": "ag-7"}]})


def test_a_note_is_counted_and_its_text_stays_sealed() -> None:
    told = start(breach()).at("10:05")
    note = command(events.AlertNoteAdded, only(told)["alert_id"], sealed=b"\x07", sealed_key="k/1")
    told.when(note).then(rows={"alert": [{"notes": 1}], "alert_command": [{"sealed": b"\x07", "sealed_key": "k/1", "outcome": "done"}]}, effects=[])


def test_a_person_can_close_an_alert_and_what_comes_then_is_shown_as_too_late() -> None:
    told = start(breach()).at("10:05")
    alert_id = only(told)["alert_id"]
    told.when(command(events.AlertResolveRequested, alert_id, reason="duplicate"))
    told.then(rows={"alert": [{"state": "resolved", "resolved_by": "sup-1", "reason": "duplicate"}]}, effects=[("alert.resolved", {"by": "sup-1"})])
    told.when(command(events.AlertAcknowledgeRequested, alert_id, at="10:06"), message_sent(at="10:30", conversation_id="c-1"))
    told.then(rows={"alert": [{"reason": "duplicate"}]}, effects=["alert.resolved"])
    assert outcomes(told) == [("alert.resolve_requested", "done"), ("alert.acknowledge_requested", "closed")]


def test_a_command_for_an_alert_that_nobody_knows_is_ignored_and_shown() -> None:
    told = start(breach()).at("10:05").when(command(events.AlertResolveRequested, "no-such-alert", reason="x"))
    told.then(rows={"alert": [{"state": "open"}]}, effects=[])
    assert outcomes(told) == [("alert.resolve_requested", "unknown_alert")]


# -- merges, limits, the table of states


def test_a_merged_customers_alerts_are_left_without_a_word() -> None:
    linked = make(events.IdentityLinked, at="10:30", handle=events.Handle(kind="email", hash=b"x"), from_="cu-1", to="cu-2")
    told = start(breach()).when(linked)
    told.then(rows={"alert": [], "alert_by_id": [], "care_summary": [{"open_alerts": 0}]}, effects=[])


def test_an_alert_has_the_same_id_under_the_customer_into_whom_it_was_merged() -> None:
    here, there = start(breach()), start(breach(customer="cu-2", home_customer_id="cu-1"))
    assert only(here)["alert_id"] == only(there)["alert_id"]


def test_open_alerts_of_one_customer_are_bounded_and_rows_stay() -> None:
    world = World(OF)
    for n in range(OPEN_MAX + 10):
        world.append(breach(f"10:{n // 60:02d}:{n % 60:02d}", f"c-{n}"))
    (state,) = [state for (_, name), state in world.states.items() if name == "alerts"]
    assert (len(state.open), len(world.rows()["alert"])) == (OPEN_MAX, OPEN_MAX + 10)


def test_columns_hold_plain_values_that_every_store_takes() -> None:
    told = start(breach()).at("10:05")
    alert_id = only(told)["alert_id"]
    told.when(command(events.AlertSnoozeRequested, alert_id, until_us=time_us("10:10"))).at("10:10")
    told.when(command(events.AlertResolveRequested, alert_id, at="10:11", reason="x"))
    assert {type(value) for row in told.world.rows()["alert"] for value in row.values()} <= {str, int, bool, tuple}


def test_an_alert_that_is_over_stays_over() -> None:
    assert NEXT[AlertState.RESOLVED] == {}
    assert all(NEXT[state][AlertDoing.END] == AlertState.RESOLVED for state in AlertState if state is not AlertState.RESOLVED)
