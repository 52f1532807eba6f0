"""The 360° view: facets, conversations, snapshot, and what a link between customers does to them."""

from typing import Any

import msgspec
import pytest

from projections.customer import Customer
from projections.handles import SEALED_BYTES_MAX, handle_facet
from projections.kernel import Config, Delete, Moment, Subject
from projections.testing import (
    World,
    contact_abandoned,
    contact_completed,
    contact_connected,
    contact_initiated,
    contact_queued,
    given,
    handle,
    make,
    message_received,
    message_sent,
    time_us,
)
from schemas import events
from schemas.record import Event

ANN = handle("email", "ann@example.org", verified=True)
PHONE = handle("phone", "+4930123456")
OF = (Customer(),)


def facet(world: World, name: str) -> Any:
    return next(row["body"] for row in world.rows()["customer"] if row.get("facet") == name)


def fold(*history: Event) -> World:
    world = World(OF)
    for event in history:
        world.append(event)
    return world


def conversation(world: World, conversation_id: str = "c-9") -> dict[str, Any]:
    (row,) = [row for row in world.rows()["conversation"] if row["conversation_id"] == conversation_id]
    return row


# -- handles


def test_a_handle_is_known_since_the_earliest_event_that_carries_it_whatever_came_first() -> None:
    world = fold(message_received(id="late", at="10:00", handles=(ANN,)), message_received(id="early", at="09:00", handles=(ANN, PHONE)))
    assert [(h.kind, h.event_id, h.first_seen_us, h.verified) for h in facet(world, "contact").handles] == [
        (h.kind, "early", time_us("09:00"), h.verified) for h in sorted((ANN, PHONE), key=lambda h: h.hash)
    ]


def test_a_handle_is_verified_once_any_source_has_proved_it() -> None:
    unproved = handle("email", "ann@example.org")
    assert facet(fold(message_received(id="1", handles=(unproved,)), message_received(id="2", handles=(ANN,))), "contact").handles[0].verified


def test_at_most_ten_handles_of_a_kind_are_kept_those_seen_first() -> None:
    history = [message_received(id=f"m-{n}", at=f"09:{n:02d}", handles=(handle("phone", str(n)),)) for n in range(15)]
    there, back = fold(*history), fold(*reversed(history))
    assert [h.event_id for h in facet(there, "contact").handles] == [f"m-{n}" for n in range(10)]
    assert facet(there, "contact") == facet(back, "contact")
    rows = {row["facet"] for row in back.rows()["customer"] if str(row.get("facet")).startswith("handle:")}
    assert rows == {handle_facet(handle("phone", str(n)).hash) for n in range(10)}


def test_the_sealed_part_of_a_handles_first_event_lies_in_a_row_of_its_own() -> None:
    given(message_received(id="m-1", handles=(ANN,), sealed=b"\x07", sealed_key="k/1"), of=OF).then(
        rows={"customer": [{"facet": handle_facet(ANN.hash), "sealed": b"\x07", "sealed_key": "k/1", "sealed_event_id": "m-1"}]}
    )


@pytest.mark.parametrize("sealed", [b"\x07" * (SEALED_BYTES_MAX + 1), None], ids=["too long", "nothing sealed"])
def test_an_earlier_event_that_cannot_be_copied_leaves_the_sealed_part_that_is_there(sealed: bytes | None) -> None:
    """Whichever of the two comes first: a long mail stays in the timeline, and a record without a sealed part has nothing to show."""
    early = message_received(id="early", at="08:00", handles=(ANN,), sealed=sealed, sealed_key="k/1")
    good = message_received(id="m-1", handles=(ANN,), sealed=b"\x07", sealed_key="k/1")
    for world in (fold(early, good), fold(good, early)):
        (row,) = [row for row in world.rows()["customer"] if row["facet"] == handle_facet(ANN.hash)]
        assert (row["sealed"], row["sealed_event_id"]) == (b"\x07", "m-1")
        assert facet(world, "contact").handles[0].event_id == "early"


def test_the_resolvers_own_records_are_not_where_a_handle_was_first_seen() -> None:
    observed = make(events.IdentityObserved, id="a", at="09:00", handles=(ANN,))
    world = fold(observed, message_received(id="m-1", at="09:00", handles=(ANN,), sealed=b"\x07", sealed_key="k/1"))
    assert facet(world, "contact").handles[0].event_id == "m-1"


# -- preferences


def test_channels_count_by_what_the_customer_did_and_not_by_what_we_sent() -> None:
    prefers = facet(
        fold(
            contact_initiated(id="1", at="09:00"),
            message_received(id="2", at="10:00"),
            message_received(id="3", at="11:00"),
            message_sent(id="4", at="12:00", channel="social"),
            contact_initiated(id="5", at="13:00", direction="outbound"),
            contact_initiated(id="6", at="08:00", channel="webchat"),
        ),
        "preferences",
    )
    assert prefers.channels == {"email": 2, "phone": 1, "webchat": 1}
    assert (prefers.most_used_channel, prefers.latest_channel, prefers.latest_at_us) == ("email", "email", time_us("11:00"))


def test_best_hours_are_the_three_with_most_inbound_contacts_earlier_hours_first_among_equals() -> None:
    hours = [9, 9, 9, 14, 14, 22, 7, 14, 14, 5]
    history = [message_received(id=str(n), at=f"{hour:02d}:00") for n, hour in enumerate(hours)]
    assert facet(fold(*history), "preferences").best_hours == (14, 9, 5)
    assert facet(fold(*reversed(history)), "preferences").best_hours == (14, 9, 5)


def test_the_language_is_the_latest_that_the_customers_own_events_name() -> None:
    history = [
        message_received(id="1", at="09:00", attributes={"language": "de"}),
        message_received(id="2", at="08:00", attributes={"locale": "en-GB"}),
        message_sent(id="3", at="10:00", attributes={"language": "fr"}),
    ]
    assert facet(fold(*history), "preferences").language == "de"


# -- latest contacts


def test_latest_contacts_are_one_per_conversation_with_its_latest_public_event_newest_first() -> None:
    world = fold(
        message_received(id="m-1", at="09:00", conversation_id="c-9"),
        contact_completed(id="k-2", at="12:00", contact_id="k"),
        message_sent(id="m-2", at="11:00", conversation_id="c-9", actor_team="mail"),
        contact_initiated(id="k-1", at="10:00", contact_id="k"),
        message_sent(id="note", at="13:00", conversation_id="c-9", visibility="internal"),
    )
    assert [(e.id, e.conversation_id, e.type, e.actor_team) for e in facet(world, "last_contacts").contacts] == [
        ("k-2", None, "contact.completed", None),
        ("m-2", "c-9", "message.sent", "mail"),
    ]


def test_the_ten_latest_contacts_are_the_same_for_both_directions_of_arrival() -> None:
    history = [message_received(id=f"m-{n}", at=f"09:{n:02d}", conversation_id=f"c-{n}") for n in range(25)]
    there, back = facet(fold(*history), "last_contacts"), facet(fold(*reversed(history)), "last_contacts")
    assert there == back
    assert [e.id for e in there.contacts] == [f"m-{n}" for n in range(24, 14, -1)]


# -- conversations


def test_a_conversation_row_says_what_stands_open_with_whom_and_since_when() -> None:
    given(of=OF).when(
        message_received(id="1", at="09:00", conversation_id="c-9"),
        make(events.ConversationAssigned, id="2", at="09:05", conversation_id="c-9", team="mail", agent="ag-7"),
        make(events.ConversationPriorityChanged, id="3", at="09:06", conversation_id="c-9", priority="high"),
        make(events.ConversationTagged, id="4", at="09:07", conversation_id="c-9", tag="parcel"),
        message_sent(id="5", at="09:10", conversation_id="c-9", channel="webchat"),
    ).then(
        rows={
            "conversation": [
                {
                    "conversation_id": "c-9",
                    "home_customer_id": "cu-1",
                    "customer_id": "cu-1",
                    "status": "open",
                    "channels": frozenset({"email", "webchat"}),
                    "opened_at": time_us("09:00"),
                    "last_at": time_us("09:10"),
                    "last_direction": "outbound",
                    "last_channel": "webchat",
                    "assignee": "ag-7",
                    "team": "mail",
                    "priority": "high",
                }
            ]
        }
    )


def test_the_facet_lists_open_conversations_with_their_tags_and_channels_in_order_of_first_use() -> None:
    world = fold(
        message_received(id="1", at="09:30", conversation_id="c-9", channel="webchat"),
        message_received(id="2", at="09:00", conversation_id="c-9"),
        make(events.ConversationTagged, id="3", conversation_id="c-9", tag="b"),
        make(events.ConversationTagged, id="4", conversation_id="c-9", tag="a"),
        make(events.ConversationUntagged, id="5", at="09:01", conversation_id="c-9", tag="b"),
        message_received(id="6", at="08:00", conversation_id="c-8"),
        message_received(id="7", at="08:00", conversation_id="c-7"),
        make(events.ConversationClosed, id="8", at="08:01", conversation_id="c-7"),
    )
    listed = facet(world, "open_conversations").conversations
    assert [(c.conversation_id, c.channels, c.subject_tags) for c in listed] == [("c-9", ("email", "webchat"), ("a",)), ("c-8", ("email",), ())]


@pytest.mark.parametrize(
    ("last", "status"),
    [
        (contact_completed(at="09:10", contact_id="k"), "closed"),
        (contact_abandoned(at="09:10", contact_id="k"), "closed"),
        (make(events.ContactDisconnected, at="09:10", contact_id="k", by="customer"), "closed"),
        (make(events.ConversationSnoozed, at="09:10", contact_id="k", until_us=1), "snoozed"),
        (make(events.ConversationStatusChanged, at="09:10", contact_id="k", from_="open", to="On-Hold"), "on_hold"),
        (make(events.ConversationStatusChanged, at="09:10", contact_id="k", from_="open", to="nobody knows"), "open"),
        (make(events.CaseResolved, at="09:10", contact_id="k"), "resolved"),
        (message_sent(at="09:10", contact_id="k"), "open"),
        (contact_queued(at="09:10", contact_id="k"), "open"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.TYPE,
)
def test_the_status_follows_the_latest_event_that_speaks_of_it(last: Event, status: str) -> None:
    first = contact_initiated(at="09:00", contact_id="k")
    assert conversation(fold(first, last), "k")["status"] == status
    assert conversation(fold(last, first), "k")["status"] == status


def test_a_reply_leaves_a_pending_conversation_pending_and_the_customers_message_opens_it() -> None:
    pending = [
        message_received(id="1", at="09:00", conversation_id="c-9"),
        make(events.ConversationStatusChanged, id="2", at="09:01", conversation_id="c-9", from_="open", to="pending"),
        message_sent(id="3", at="09:02", conversation_id="c-9"),
    ]
    assert conversation(fold(*pending))["status"] == "pending"
    assert conversation(fold(*pending, message_received(id="4", at="09:03", conversation_id="c-9")))["status"] == "open"


def test_a_call_that_hung_up_in_the_instant_in_which_it_was_queued_is_closed() -> None:
    both = [contact_queued(id="z", contact_id="k"), contact_abandoned(id="a", contact_id="k")]
    assert conversation(fold(*both), "k")["status"] == conversation(fold(*reversed(both)), "k")["status"] == "closed"


def test_whoever_takes_a_call_owns_it_until_it_goes_back_to_the_queue() -> None:
    taken = [contact_initiated(id="1", contact_id="k"), contact_connected(id="2", at="09:01", contact_id="k", actor_team="phone")]
    assert [conversation(fold(*taken), "k")[name] for name in ("assignee", "team")] == ["ag-1", "phone"]
    back = make(events.ConversationReturnedToQueue, id="3", at="09:02", contact_id="k", reason="logged_out")
    assert "assignee" not in conversation(fold(*taken, back), "k")


def test_an_assigned_team_stands_above_one_that_merely_answered() -> None:
    history = [
        make(events.ConversationAssigned, id="1", at="09:00", conversation_id="c-9", team="billing"),
        message_sent(id="2", at="09:01", conversation_id="c-9", actor_team="night"),
    ]
    assert conversation(fold(*history))["team"] == conversation(fold(*reversed(history)))["team"] == "billing"


def test_the_home_is_that_of_the_first_inbound_record_even_if_it_comes_last() -> None:
    sent = message_sent(id="1", at="08:00", conversation_id="c-9", home_customer_id="cu-a")
    later = message_received(id="2", at="10:00", conversation_id="c-9", home_customer_id="cu-b")
    first = message_received(id="3", at="09:00", conversation_id="c-9", home_customer_id="cu-c")
    world = fold(sent, later, first)
    assert conversation(world)["home_customer_id"] == "cu-c"
    assert conversation(world)["opened_at"] == time_us("08:00")


def test_surveys_and_receipts_begin_no_conversation() -> None:
    world = fold(
        make(events.FeedbackSurveyOffered, id="1", conversation_id="c-9"),
        make(events.MessageRead, id="2", conversation_id="c-9"),
        make(events.ContactWrapupEnded, id="3", conversation_id="c-9", code="x", disposition="y"),
    )
    assert world.rows()["conversation"] == []


# -- the row of the customer, snapshot, links


def test_a_snapshot_follows_each_change_and_carries_the_record_it_is_of() -> None:
    told = given(message_received(id="1", conversation_id="c-9", handles=(ANN,)), of=OF).when(message_sent(id="2", at="09:05", conversation_id="c-9"))
    told.then(effects=[("customer.snapshot", {"customer_id": "cu-1", "offset": 1, "event_time_us": time_us("09:05"), "merged_into": None})])
    (effect,) = told.world.effects
    for name in ("contact", "preferences", "last_contacts", "open_conversations"):
        assert getattr(effect.payload, name) == facet(told.world, name)


def test_an_event_that_changes_nothing_in_view_moves_only_as_of() -> None:
    told = given(message_received(id="1", conversation_id="c-9", handles=(ANN,)), of=OF).when(
        make(events.OrderCreated, id="2", at="09:05", handles=(ANN,))
    )
    told.then(effects=[], rows={"customer": [{"as_of": {"partition": "0", "offset": "1", "event_time_us": str(time_us("09:05"))}}]})


def test_a_linked_customer_points_to_the_other_one_and_lists_nothing_open() -> None:
    linked = make(events.IdentityLinked, id="l", at="09:10", handle=ANN, from_="cu-1", to="cu-2")
    told = given(message_received(id="1", conversation_id="c-9"), of=OF).when(linked, message_received(id="2", at="09:20", conversation_id="c-8"))
    told.then(
        rows={"customer": [{"facet": "open_conversations", "canonical_id": "cu-2", "body": events.CustomerOpenConversations()}]},
        effects=[("customer.snapshot", {"merged_into": "cu-2", "contact": None})],
    )
    assert [row["conversation_id"] for row in told.world.rows()["conversation"]] == ["c-9"]


def test_the_other_customer_of_a_link_stays_as_it_is() -> None:
    linked = make(events.IdentityLinked, id="l", handle=ANN, from_="cu-0", to="cu-1")
    assert all("canonical_id" not in row for row in fold(linked, message_received(id="1")).rows()["customer"])


def test_taking_a_link_back_shows_what_is_open_again() -> None:
    linked = make(events.IdentityLinked, id="l", at="09:10", handle=ANN, from_="cu-1", to="cu-2")
    unlinked = make(events.IdentityUnlinked, id="u", at="09:20", from_="cu-1", to="cu-2")
    world = fold(message_received(id="1", conversation_id="c-9"), linked, unlinked)
    assert len(facet(world, "open_conversations").conversations) == 1
    assert world.effects[-1].payload.merged_into is None


def test_copied_conversations_are_written_whole_again_when_the_copy_is_complete() -> None:
    copy = message_received(id="1", conversation_id="c-9", customer="cu-2", home_customer_id="cu-1", origin_customer_id="cu-1", origin_offset=4)
    own = message_received(id="2", conversation_id="c-2", customer="cu-2")
    copied = make(events.IdentityCopied, id="x", customer="cu-2", from_="cu-1", home="cu-1", to="cu-2", last_offset=4, write_ts_us=1)
    projection = Customer()
    state = projection.initial(Subject("acme", "cu-2"))
    at = Moment(0, 0, 0, 0, Config())
    for event in (copy, own):
        state = projection.apply(state, event, at).state
    step = projection.apply(state, copied, at)
    (row,) = [row for row in step.rows if row.table == "conversation"]
    assert row.key == ("acme", "c-9", "cu-1")
    assert row.columns["customer_id"] == "cu-2"
    assert row.columns["status"] == "open"
    assert len(step.effects) == 1
    assert not [row for row in projection.apply(state, copied, at).rows if row.table == "conversation"]


def test_whoever_was_linked_on_before_a_copy_was_complete_writes_no_row_of_it() -> None:
    copy = message_received(id="1", conversation_id="c-9", customer="cu-2", home_customer_id="cu-1", origin_customer_id="cu-1", origin_offset=4)
    linked = make(events.IdentityLinked, id="l", customer="cu-2", handle=PHONE, from_="cu-2", to="cu-3")
    copied = make(events.IdentityCopied, id="x", customer="cu-2", from_="cu-1", home="cu-1", to="cu-2", last_offset=4, write_ts_us=1)
    projection = Customer()
    state = projection.initial(Subject("acme", "cu-2"))
    at = Moment(0, 0, 0, 0, Config())
    for event in (copy, linked):
        state = projection.apply(state, event, at).state
    assert not [row for row in projection.apply(state, copied, at).rows if row.table == "conversation"]


def test_agents_and_plans_have_no_view() -> None:
    given(of=OF).when(make(events.MessageRead, customer="agent:ag-1"), make(events.MessageRead, id="2", customer="")).then(
        rows={"customer": [], "conversation": []}, effects=[]
    )


def test_a_home_that_moves_deletes_the_row_of_the_old_one() -> None:
    projection = Customer()
    state = projection.initial(Subject("acme", "cu-1"))
    at = Moment(0, 0, 0, 0, Config())
    projection.apply(state, message_received(id="1", at="10:00", conversation_id="c-9"), at)
    step = projection.apply(state, message_received(id="2", at="09:00", conversation_id="c-9", home_customer_id="cu-0"), at)
    assert Delete("conversation", ("acme", "c-9", "cu-1")) in step.rows


def test_a_typical_customers_state_is_small() -> None:
    history = []
    for n in range(3):
        call = [contact_initiated, contact_queued, contact_connected, contact_completed]
        history += [
            kind(id=f"{n}{i:035d}", at=f"{9 + n:02d}:0{i}", contact_id=f"{n:036d}", customer="c" * 36, handles=(PHONE,))
            for i, kind in enumerate(call)
        ]
    world = fold(*history)
    (state,) = world.states.values()
    assert len(msgspec.msgpack.encode(state)) <= 1500
