"""Late truth: a verdict depends on event times alone, is taken back when evidence proves it wrong, and alarms nobody needlessly."""

from projections.kernel import Moment, Subject
from projections.rules import LadderStep
from projections.sla.clocks import Sla
from projections.sla.signals import CauseEnded, CauseRaised
from projections.testing import make, message_received, message_sent
from schemas import events
from schemas.record import Event
from tests.support.clock_sentences import H, asks, clock, clocks, did, on, policy, replies, states, told, under

US = 1_000_000
MAIL = policy(first_response=H, next_response=4 * H, severity="high", recipients=("team:mail",), escalation=(LadderStep(after_s=0, to="role:lead"),))


def test_an_answer_that_comes_late_takes_the_breach_back() -> None:
    g = under(MAIL).when(asks("09:00")).at("12:00").when(replies("09:30"))
    assert (states(g, "first_response"), clock(g, "first_response")["stopped_at"]) == (["met"], on("12", "09:30"))
    assert [kind for kind, _ in told(g)] == ["clock_started", "breached", "breach_retracted", "fulfilled"]
    retracted = next(e.payload for e in g.world.effects if e.kind == "sla.breach_retracted")
    assert (retracted.cause, retracted.previous, retracted.stopped_at_us, retracted.turn) == ("message.sent", "breached", on("12", "09:30"), 1)


def test_breach_retraction_and_breach_again_are_three_ids() -> None:
    """The reply is corrected: it was an internal note after all."""
    g = (
        under(MAIL)
        .when(asks("09:00"))
        .at("12:00")
        .when(replies("09:30", id="r-1"))
        .when(replies("09:30", id="r-2", visibility="internal", corrects="r-1"))
    )
    g.advance("2m")
    assert states(g, "first_response") == ["breached"]
    ids = [e.payload.header.id for e in g.world.effects if e.kind in {"sla.breached", "sla.breach_retracted"}]
    assert len(set(ids)) == 3
    assert g.world.effects[-1].payload.detected_late


def test_a_question_that_turns_out_to_be_older_breaches_a_clock_that_was_met() -> None:
    g = under(MAIL).when(asks("10:00"), replies("10:30")).when(asks("09:00")).advance("2m")
    assert (states(g, "first_response"), clock(g, "first_response")["started_at"]) == (["breached"], on("12", "09:00"))
    breached = g.world.effects[-1].payload
    assert (breached.detected_late, breached.due_at_us, breached.turn) == (True, on("12", "10:00"), 1)


def test_an_earlier_start_moves_the_due_time_and_says_so() -> None:
    g = under(MAIL).when(asks("10:00")).when(asks("09:55"))
    assert told(g) == [("clock_started", "first_response"), ("retargeted", "first_response")]
    assert clock(g, "first_response")["due_at"] == on("12", "10:55")


def test_an_instance_that_never_was_leaves_the_rows() -> None:
    g = under(MAIL).when(asks("09:00"), replies("09:10"), asks("10:00")).at("15:00")
    assert states(g, "next_response") == ["breached"]
    g.when(make(events.ConversationTagged, at="10:00", id="tag", conversation_id="c-9", tag="x", corrects="asks@10:00"))
    assert clocks(g, "next_response") == []
    assert told(g, "breach_retracted") == [("breach_retracted", "next_response")]


def test_cw_a_late_answer_between_two_looks_is_a_breach_all_the_same() -> None:
    """A job that looks only at open clocks misses it."""
    g = under(MAIL)
    g.world.append(asks("09:00"), appended_us=on("12", "12:00"))
    g.world.append(replies("10:30"), appended_us=on("12", "12:00"))
    assert states(g, "first_response") == ["breached"]
    g.advance("61s")
    assert told(g, "breached") == [("breached", "first_response")]


def test_a_backlog_that_was_answered_in_time_alarms_nobody_and_the_rest_alarms_once() -> None:
    g = under(MAIL)
    arrival = on("12", "12:00")
    for n in range(50):
        c = {"conversation_id": f"c-{n}", "customer": f"cu-{n}"}
        g.world.append(message_received(id=f"m-{n}", at="09:00", **c), appended_us=arrival)
        g.world.append(message_received(id=f"n-{n}", at="11:00", **c), appended_us=arrival)
    for n in range(0, 50, 2):
        c = {"conversation_id": f"c-{n}", "customer": f"cu-{n}"}
        g.world.append(message_sent(id=f"r-{n}", at="09:50", **c), appended_us=arrival + 30 * US)
    g.advance("2m")
    raised = [e.payload for e in g.world.effects if e.kind == "sla.breached"]
    assert sorted(e.header.customer_id for e in raised) == sorted(f"cu-{n}" for n in range(1, 50, 2))
    assert {e.header.occurred_at_us for e in raised} == {on("12", "10:00")}
    assert told(g, "breach_retracted") == []


def test_what_is_older_than_the_allowed_lateness_has_rows_and_no_effects() -> None:
    g = under(MAIL)
    for event in (asks("09:00"), replies("11:00"), asks("12:00")):
        g.world.append(event, appended_us=on("2026-02-12", "12:00"))
    g.advance("1d")
    assert (states(g, "first_response"), states(g, "next_response")) == (["breached"], ["breached"])
    g.then(effects=[])


# -- signals


def pass_through(*steps: Event | str) -> list[object]:
    """Fold events, each appended at its time, and notice the timer of the first response; return the signals."""
    sla, config = Sla(), under(MAIL).world._config
    state, found = sla.initial(Subject("acme", "cu-1")), []
    for offset, event in enumerate(steps):
        if isinstance(event, str):
            due_us = on("12", event)
            name = "c:c-9|cu-1|first_response|1"
            step = sla.expire(state, events_timer(name, due_us), Moment(due_us, due_us, 0, offset, config))
        else:
            at_us = event.header.occurred_at_us
            step = sla.apply(state, event, Moment(at_us, at_us if not event.header.id.startswith("late") else on("12", "12:00"), 0, offset, config))
        state = step.state
        found += step.signals
    return found


def events_timer(name: str, due_us: int):  # noqa: ANN201 - a kernel timer
    from projections.kernel import Timer  # noqa: PLC0415

    return Timer(name, due_us)


def test_a_breach_is_raised_with_all_that_an_alert_needs_and_ends_when_it_is_answered() -> None:
    raised, ended = pass_through(
        asks("09:00", case_id="k-1"), did(events.ConversationAssigned, "09:01", team="mail", agent="ag-7"), "10:00", replies("11:00")
    )
    assert isinstance(raised, CauseRaised)
    assert (raised.cause_id, raised.kind, raised.name, raised.turn) == ("breach|c-9|cu-1|first_response|1", "breach", "first_response", 0)
    assert (raised.at_us, raised.noticed_us, raised.severity, raised.rule_id) == (on("12", "10:00"), on("12", "10:00"), "high", "default")
    assert (raised.recipients, raised.ladder, raised.calendar, raised.silent) == (("team:mail",), MAIL.escalation, "always", False)
    place = raised.place
    assert (place.team, place.assignee, place.channel, place.case_id, place.home_customer_id) == ("mail", "ag-7", "email", "k-1", "cu-1")
    assert ended == CauseEnded(raised.cause_id, "answered", on("12", "11:00"), "email", silent=False)


def test_a_retraction_ends_the_cause_too() -> None:
    _, ended = pass_through(asks("09:00"), "10:00", replies("09:30", id="late"))
    assert isinstance(ended, CauseEnded)
    assert (ended.cause_id, ended.why) == ("breach|c-9|cu-1|first_response|1", "retracted")


def test_a_breach_whose_conversation_is_resolved_is_over() -> None:
    _, ended = pass_through(asks("09:00"), "10:00", did(events.ConversationResolved, "11:00"))
    assert isinstance(ended, CauseEnded)
    assert (ended.why, ended.at_us) == ("resolved", on("12", "11:00"))


def test_a_breach_that_is_over_when_it_is_noticed_says_so() -> None:
    raised, ended = pass_through(asks("09:00"), replies("11:00"), "10:00")
    assert isinstance(raised, CauseRaised)
    assert isinstance(ended, CauseEnded)
    assert (raised.over, ended.why) == (True, "answered")


def test_a_timer_for_what_is_no_longer_due_does_nothing() -> None:
    assert pass_through(asks("09:00"), replies("09:30"), "10:00") == []
    assert pass_through("10:00") == []
