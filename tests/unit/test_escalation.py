"""Ladders: who is told when, in the calendar's time, and what makes them wait or end."""

from typing import Any

import pytest

from projections.alerts import Alerts
from projections.escalation import LADDERS_MAX, Escalation
from projections.escalation_ladder import NEXT, Phase, Rung
from projections.rules import ALWAYS, Config, LadderStep, Rulebook, UnansweredRule, WeeklyHours
from projections.testing import Given, World, contact_abandoned, contact_connected, given, make, message_received, message_sent, time_us
from projections.unanswered import Unanswered
from schemas import events
from schemas.record import Event
from tests.support.causes import Sla

OFFICE = WeeklyHours(id="office", week=(((9 * 3600, 17 * 3600),),) * 5 + ((), ()))
STEPS = (
    LadderStep(after_s=0, to="role:team_lead"),
    LadderStep(after_s=1800, to="role:head_of_service"),
    LadderStep(after_s=3600, to="role:director"),
)


OF = (Sla(ALWAYS, ladder=STEPS, hold_s=600), Unanswered(), Alerts(), Escalation())


def start(*before: Event, **book: Any) -> Given:
    return given(*before, of=OF, config=Config((Rulebook(version=1, effective_at_us=0, calendars=(OFFICE,), **book),)))


def breach(at: str = "10:00", conversation_id: str = "c-1", **attributes: str) -> events.MessageReceived:
    return message_received(id=f"m-{conversation_id}-{at}", at=at, conversation_id=conversation_id, attributes=attributes)


def answer(at: str, **attributes: str) -> events.MessageSent:
    return message_sent(at=at, conversation_id="c-1", attributes=attributes)


def command(kind: type[Event], told: Given, at: str, **fields: Any) -> Event:
    (row,) = told.world.rows()["alert"]
    return make(kind, at=at, alert_id=row["alert_id"], actor_kind="agent", actor_id="sup-1", **fields)


def steps(world: World) -> list[tuple[object, object]]:
    return [(row["told"], row["at"]) for row in sorted(world.rows()["escalation"], key=lambda row: str(row["step"])) if row["step"]]


def told_by(world: World) -> list[object]:
    return [effect.payload.to for effect in world.effects if isinstance(effect.payload, events.EscalationStepReached)]


def ladder(world: World) -> dict[str, object]:
    (row,) = [row for row in world.rows()["escalation"] if row["step"] == 0]
    return row


# -- climbing


def test_the_steps_are_reached_one_after_the_other_and_each_says_who_was_told_and_why() -> None:
    told = start().at("10:00").when(breach())
    assert steps(told.world) == [("role:team_lead", time_us("10:00"))]
    told.at("10:29:59")
    assert len(steps(told.world)) == 1
    told.at("12:00")
    assert steps(told.world) == [
        ("role:team_lead", time_us("10:00")),
        ("role:head_of_service", time_us("10:30")),
        ("role:director", time_us("11:00")),
    ]
    told.then(
        rows={"escalation": [{"step": 2, "told": "role:head_of_service", "after_s": 1800, "from_team": "mail", "reason": "breach first_response"}]},
        effects=[
            "alert.raised",
            ("escalation.step_reached", {"step": 1, "to": "role:team_lead", "reason": "breach first_response", "from_team": "mail"}),
            ("escalation.step_reached", {"step": 2, "to": "role:head_of_service", "after_s": 1800}),
            ("escalation.step_reached", {"step": 3, "to": "role:director"}),
        ],
    )
    assert ladder(told.world)["phase"] == "top"


def test_glpi22678_steps_run_in_the_calendars_time_and_wake_nobody_at_midnight() -> None:
    told = start().at("16:50").when(breach("16:50", calendar="office")).advance("1d")
    assert [at for _, at in steps(told.world)] == [
        time_us("16:50"),
        time_us("2026-01-13T09:20:00Z"),
        time_us("2026-01-13T09:50:00Z"),
    ]


def test_a_first_step_with_an_offset_waits_for_it() -> None:
    told = start().at("10:00").when(breach(after="1800"))
    assert steps(told.world) == []
    assert steps(told.at("10:30").world) == [("role:head_of_service", time_us("10:30"))]


def test_a_breach_that_is_noticed_late_reaches_at_once_what_is_due_and_goes_on_from_there() -> None:
    told = start()
    told.world.append(breach("10:00"), appended_us=time_us("10:40"))
    assert steps(told.world) == [("role:team_lead", time_us("10:00")), ("role:head_of_service", time_us("10:30"))]
    assert len(steps(told.at("11:00").world)) == 3


def test_an_unanswered_contact_climbs_a_ladder_of_its_rule() -> None:
    rule = UnansweredRule(id="missed", when='type == "contact.abandoned"', answer_within_s=3600, escalation=STEPS, acknowledge_hold_s=600)
    told = start(contact_abandoned(at="09:00", contact_id="k-1"), unanswered=(rule,)).at("10:30")
    assert told_by(told.world) == ["role:team_lead", "role:head_of_service"]
    told.when(contact_connected(at="10:40", contact_id="k-2")).at("12:00")
    assert told_by(told.world) == ["role:team_lead", "role:head_of_service"]
    assert ladder(told.world)["reason"] == "answered"


def test_what_is_over_when_it_is_noticed_raises_an_alert_that_is_over_and_tells_nobody_of_a_ladder() -> None:
    rule = UnansweredRule(id="missed", when='type == "contact.abandoned"', answer_within_s=3600, escalation=STEPS)
    told = start(unanswered=(rule,))
    for event in (contact_abandoned(at="07:00", contact_id="k-1"), contact_connected(at="08:30", contact_id="k-2")):
        told.world.append(event, appended_us=time_us("09:00"))
    told.at("12:00").then(
        rows={"alert": [{"state": "resolved", "reason": "answered", "resolved_at": time_us("08:30")}], "escalation": []},
        effects=["unanswered.detected", "unanswered.cleared", "alert.raised", "alert.resolved"],
    )


@pytest.mark.parametrize(
    ("when", "asked"),
    [
        ('type == "complaint.raised"', make(events.ComplaintRaised, at="09:00", conversation_id="c-1")),
        (
            'channel == "community" && type == "thread.posted"',
            make(events.ThreadPosted, at="09:00", conversation_id="t-1", channel="community", direction="inbound"),
        ),
        ('"vulnerable" in segments', message_received(at="09:00", conversation_id="c-1", attributes={"no_ladder": "x", "silent": "x"})),
    ],
    ids=["complaint", "community thread unsolved for long", "vulnerable customer waiting"],
)
def test_complaints_threads_and_vulnerable_customers_climb_by_rules(when: str, asked: Event) -> None:
    rule = UnansweredRule(id="r", when=when, answer_within_s=3600, severity="critical", escalation=STEPS)
    entered = make(events.ProfileSegmentEntered, at="08:00", segment="vulnerable")
    told = start(entered, asked, unanswered=(rule,)).at("10:00")
    assert told_by(told.world) == ["role:team_lead"]


def test_repeated_attempts_climb_one_ladder() -> None:
    rule = UnansweredRule(id="missed", when='type == "contact.abandoned"', answer_within_s=60, escalation=STEPS[:1])
    calls = [contact_abandoned(at=f"09:0{n}", contact_id=f"k-{n}") for n in range(3)]
    told = start(unanswered=(rule,)).when(*calls).at("10:00")
    assert told_by(told.world) == ["role:team_lead"]


def test_an_alert_without_ladder_and_one_that_is_told_to_nobody_climb_none() -> None:
    for attributes in ({"no_ladder": "x"}, {"silent": "x"}):
        start(breach(**attributes)).at("12:00").then(rows={"escalation": []})


# -- waiting and ending


def test_acknowledged_holds_the_ladder_for_its_time_and_then_it_goes_on() -> None:
    told = start(breach()).at("10:25")
    told.when(command(events.AlertAcknowledgeRequested, told, "10:25"))
    told.then(
        rows={"escalation": [{"step": 0, "phase": "held", "held_until": time_us("10:35")}]},
        effects=["alert.acknowledged", ("escalation.held", {"until_us": time_us("10:35"), "by": "sup-1"})],
    )
    assert len(steps(told.at("10:34:59").world)) == 1
    assert steps(told.at("10:35").world)[1:] == [("role:head_of_service", time_us("10:35"))]
    assert steps(told.at("11:00").world)[2:] == [("role:director", time_us("11:00"))]


def test_a_step_that_waited_for_a_hold_that_ends_at_night_is_reached_in_the_morning() -> None:
    told = start(breach("16:20", calendar="office")).at("16:55")
    told.when(command(events.AlertAcknowledgeRequested, told, "16:45")).at("16:56")
    assert len(steps(told.world)) == 2  # the acknowledgement came too late for the second one
    told = start(breach("16:20", calendar="office")).at("16:49")
    told.when(command(events.AlertAcknowledgeRequested, told, "16:49")).at("16:58")
    told.when(command(events.AlertAcknowledgeRequested, told, "16:58")).advance("1d")
    assert [at for _, at in steps(told.world)] == [time_us("16:20"), time_us("2026-01-13T09:00:00Z"), time_us("2026-01-13T09:20:00Z")]


def test_acknowledged_twice_holds_from_the_second_time() -> None:
    told = start(breach()).at("10:25")
    told.when(command(events.AlertAcknowledgeRequested, told, "10:25")).at("10:34").when(command(events.AlertAcknowledgeRequested, told, "10:34"))
    assert len(steps(told.at("10:43:59").world)) == 1
    assert len(steps(told.at("10:44").world)) == 2


def test_an_answer_during_the_hold_ends_it_for_good() -> None:
    told = start(breach()).at("10:25")
    told.when(command(events.AlertAcknowledgeRequested, told, "10:25"), answer("10:30")).at("14:00")
    assert len(steps(told.world)) == 1
    assert ladder(told.world)["phase"] == "ended"


@pytest.mark.parametrize("why", ["answered", "resolved", "retracted", "cancelled"])
def test_whatever_ends_the_cause_ends_the_ladder_by_itself(why: str) -> None:
    told = start(breach()).at("10:10").when(answer("10:10", why=why)).at("14:00")
    told.then(
        rows={"escalation": [{"step": 0, "phase": "ended", "reason": why, "ended_at": time_us("10:10")}]},
        effects=["alert.resolved", ("escalation.stood_down", {"reason": why, "by": None})],
    )
    assert len(steps(told.world)) == 1


def test_a_person_stands_it_down_with_a_reason_and_the_alert_stays_open() -> None:
    told = start(breach()).at("10:10")
    told.when(command(events.EscalationStandDownRequested, told, "10:10", reason="known_outage")).at("14:00")
    told.then(
        rows={
            "alert": [{"state": "open"}],
            "escalation": [{"step": 0, "phase": "ended", "reason": "known_outage", "ended_by": "sup-1"}],
            "alert_command": [{"kind": "escalation.stand_down_requested", "outcome": "done", "reason": "known_outage", "actor": "sup-1"}],
        },
        effects=[("escalation.stood_down", {"reason": "known_outage", "by": "sup-1"})],
    )


def test_resolving_the_alert_by_hand_ends_its_ladder_in_the_persons_name() -> None:
    told = start(breach()).at("10:10")
    told.when(command(events.AlertResolveRequested, told, "10:10", reason="called")).at("14:00")
    told.then(effects=["alert.resolved", ("escalation.stood_down", {"reason": "called", "by": "sup-1"})])


def test_standing_down_twice_or_where_there_is_no_ladder_is_shown_and_changes_nothing() -> None:
    told = start(breach()).at("10:10")
    twice = [command(events.EscalationStandDownRequested, told, at, reason="x") for at in ("10:10", "10:11")]
    told.when(*twice).then(effects=["escalation.stood_down"])
    assert sorted(str(row["outcome"]) for row in told.world.rows()["alert_command"]) == ["done", "ended"]
    without = start(breach(no_ladder="x")).at("10:10")
    without.when(command(events.EscalationStandDownRequested, without, "10:10", reason="x")).then(effects=[])
    assert [row["outcome"] for row in without.world.rows()["alert_command"]] == ["no_ladder"]


def test_a_ladder_never_runs_twice_for_the_same_cause() -> None:
    told = start(breach()).when(answer("10:10"), message_received(id="again", at="10:20", conversation_id="c-1")).at("14:00")
    assert len(steps(told.world)) == 1


def test_a_ladder_at_its_top_is_not_held_any_more() -> None:
    told = start(breach()).at("12:00")
    told.when(command(events.AlertAcknowledgeRequested, told, "12:00")).then(effects=[*["escalation.step_reached"] * 2, "alert.acknowledged"])
    assert ladder(told.world)["phase"] == "top"


def test_a_step_names_the_team_that_has_it_by_then() -> None:
    told = start(breach()).at("10:10")
    told.when(command(events.AlertAssignRequested, told, "10:10", team="billing")).at("10:30")
    assert [row.get("from_team") for row in told.world.rows()["escalation"] if row["step"] == 2] == ["billing"]


def test_a_merged_customers_ladders_stop_without_a_word() -> None:
    linked = make(events.IdentityLinked, at="10:10", handle=events.Handle(kind="email", hash=b"x"), from_="cu-1", to="cu-2")
    told = start(breach()).when(linked).at("14:00")
    told.then(rows={"escalation": []}, effects=[])


def test_a_step_has_the_same_id_under_the_customer_into_whom_it_was_merged() -> None:
    ids = []
    for customer in ("cu-1", "cu-2"):
        told = start().at("10:00").when(message_received(at="10:00", conversation_id="c-1", customer=customer, home_customer_id="cu-1"))
        ids.append([effect.payload.header.id for effect in told.world.effects])
    assert ids[0] == ids[1]


def test_ladders_of_one_customer_are_bounded() -> None:
    world = World(OF)
    for n in range(LADDERS_MAX + 5):
        world.append(breach(f"10:00:{n % 60:02d}.{n:03d}", f"c-{n}"))
    (state,) = [state for (_, name), state in world.states.items() if name == "escalation"]
    assert len(state.ladders) == LADDERS_MAX


def test_nothing_leaves_the_end_and_everything_can_be_ended() -> None:
    assert NEXT[Phase.ENDED] == {}
    assert all(NEXT[phase][rung] is Phase.ENDED for phase in Phase if phase is not Phase.ENDED for rung in (Rung.ALERT_CLOSED, Rung.STOOD_DOWN))
