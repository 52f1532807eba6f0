"""The timeline: a row per event, hidden or not; buckets; what a row says."""

import pytest

from projections import timeline
from projections.kernel import Config, Moment, Upsert
from projections.testing import World, contact_connected, contact_queued, given, handle, make, message_received, message_sent, time_us
from projections.timeline import MONTHS_MAX, Timeline, is_hidden
from schemas import events
from schemas.events import EVENT_TYPES


def test_an_event_becomes_a_row_with_what_is_known_of_it() -> None:
    event = message_received(
        id="m-1", at="09:00", conversation_id="c-9", case_id="k-1", actor_id="p-1", home_customer_id="cu-0", sealed=b"\x01", sealed_key="k/1"
    )
    row = {
        "tenant": "acme",
        "customer_id": "cu-1",
        "month": "2026-01",
        "occurred_at": time_us("09:00"),
        "event_id": "m-1",
        "channel": "email",
        "type": "message.received",
        "direction": "inbound",
        "conversation_id": "c-9",
        "case_id": "k-1",
        "actor_kind": "customer",
        "actor_id": "p-1",
        "hidden": False,
        "home_customer_id": "cu-0",
        "sealed": b"\x01",
        "sealed_key": "k/1",
        "src_partition": 0,
        "src_offset": 0,
    }
    world = World([Timeline()])
    world.append(event)
    assert world.rows()["timeline"] == [row]
    assert world.rows()["timeline_months"] == [{"tenant": "acme", "customer_id": "cu-1", "month": "2026-01"}]


def test_what_an_event_lacks_is_left_out_and_not_written_as_null() -> None:
    step = Timeline().apply(timeline.TimelineState(), message_received(), _moment())
    (row, _) = step.rows
    assert isinstance(row, Upsert)
    assert None not in row.columns.values()
    assert "contact_id" not in row.columns


def test_the_summary_holds_the_types_own_clear_fields_as_text() -> None:
    given(of=[Timeline()]).when(
        contact_queued(id="q", priority="high"),
        make(events.BotIntent, id="i", name="parcel", confidence=0.5),
        make(events.ThreadReplied, id="r", by_staff=True, attributes={"priority": "high"}, corrects="r-0"),
        make(events.ConversationStatusChanged, id="s", from_="open", to="pending"),
    ).then(
        rows={
            "timeline": [
                {"event_id": "q", "summary": {"queue": "billing", "priority": "high"}},
                {"event_id": "i", "summary": {"name": "parcel", "confidence": "0.5"}},
                {"event_id": "r", "summary": {"by_staff": "true", "attributes.priority": "high", "corrects": "r-0"}},
                {"event_id": "s", "summary": {"from": "open", "to": "pending"}},
            ]
        }
    )


def test_long_values_in_a_summary_are_cut() -> None:
    given(of=[Timeline()]).when(contact_connected(queue="q" * 1000)).then(rows={"timeline": [{"summary": {"agent": "ag-1", "queue": "q" * 256}}]})


def test_technical_events_have_hidden_rows_so_that_a_rebuild_finds_their_offsets() -> None:
    linked = make(events.IdentityLinked, id="l", handle=handle("email", "ann"), from_="cu-1", to="cu-2")
    given(of=[Timeline()]).when(linked, message_sent(id="m")).then(
        rows={"timeline": [{"event_id": "l", "hidden": True, "src_offset": 0}, {"event_id": "m", "hidden": False, "src_offset": 1}]}
    )


@pytest.mark.parametrize(
    ("event_type", "hidden"),
    [("identity.copied", True), ("config.published", True), ("privacy.erased", True), ("contact.wrapup_ended", True), ("message.sent", False)],
)
def test_which_types_are_hidden_is_a_table(event_type: str, hidden: bool) -> None:  # noqa: FBT001 - a case of the table
    assert is_hidden(event_type) is hidden


def test_every_type_but_the_wake_up_is_handled() -> None:
    assert frozenset(EVENT_TYPES.values()) - Timeline.handles == {events.TimerWoke}


def test_agents_and_plans_have_no_timeline() -> None:
    given(of=[Timeline()]).when(
        make(events.AgentStateChanged, customer="", actor_id="ag-1", state="ready"),
        make(events.AgentLoggedIn, customer="agent:ag-1"),
        make(events.AgentLoggedOut, customer="plan:1"),
    ).then(rows={"timeline": [], "timeline_months": []})


def test_a_month_is_that_of_the_event_time_and_its_row_is_written_once() -> None:
    first, late, next_month = "2026-01-31T23:59:59.999999Z", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
    projection, state = Timeline(), timeline.TimelineState()
    rows = [projection.apply(state, message_received(at=at), _moment()).rows for at in (first, late, next_month)]
    assert [[row.key[2] for row in changes] for changes in rows] == [["2026-01", "2026-01"], ["2026-01"], ["2026-02", "2026-02"]]


def test_above_the_cap_of_a_month_events_go_to_the_buckets_of_their_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "BUCKET_EVENTS_MAX", 2)
    world = World([Timeline()])
    for day in (1, 2, 3, 3):
        world.append(message_received(id=f"m-{day}", at=f"2026-01-{day:02d}T09:00:00Z"), appended_us=time_us("2026-02-01T00:00:00Z"))
    assert [row["month"] for row in world.rows()["timeline"]] == ["2026-01", "2026-01", "2026-01-03"]
    assert [row["month"] for row in world.rows()["timeline_months"]] == ["2026-01", "2026-01-03"]


def test_times_outside_the_calendar_do_not_raise_and_months_are_bounded() -> None:
    projection, state = Timeline(), timeline.TimelineState()
    for at_us in (-(2**63), 2**63 - 1, 0):
        assert projection.apply(state, message_received(at=at_us), _moment()).rows
    for number in range(2 * MONTHS_MAX):
        projection.apply(state, message_received(at=number * 32 * 86_400_000_000), _moment())
    assert len(state.months) == MONTHS_MAX


def _moment() -> Moment:
    return Moment(0, 0, 0, 0, Config())
