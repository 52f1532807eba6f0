"""The public JSON form: what comes through, what is kept sealed, what is refused and how that is said."""

import json
from typing import Any

import pytest

from connectors.contract import Actor, Draft, RawHandle, Rejected
from connectors.public import PublicReader
from schemas.events import EVENT_TYPES
from schemas.speakers import is_internal

READER = PublicReader(tenant="default")

MESSAGE: dict[str, Any] = {
    "specversion": "1.0",
    "id": "m-17",
    "source": "/mail/inbox-1",
    "type": "message.received",
    "time": "2026-01-12T09:00:00Z",
    "tenant": "acme",
    "data": {
        "channel": "email",
        "direction": "inbound",
        "conversation_id": "c-9",
        "case_id": None,
        "contact_id": None,
        "customer": [{"kind": "email", "value": "ann@example.org", "verified": True}],
        "actor": {"kind": "customer", "id": None, "team": None},
        "text": "Where is my parcel?",
        "attributes": {"priority": "high"},
    },
}


def line(*, without: tuple[str, ...] = (), data: dict[str, Any] | None = None, **envelope: Any) -> bytes:
    body = {**MESSAGE, **envelope, "data": {**MESSAGE["data"], **(data or {})}}
    for name in without:
        (body["data"] if name in body["data"] else body).pop(name)
    return json.dumps(body).encode()


def draft(raw: bytes) -> Draft:
    found = READER.read(raw, 1)
    assert isinstance(found, Draft), found
    return found


def refusal(raw: bytes) -> Rejected:
    found = READER.read(raw, 7)
    assert isinstance(found, Rejected), "it was not refused"
    assert found.outcome == "refused"
    assert found.line == 7
    assert found.detail.startswith("line 7: ")
    return found


def test_the_example_of_the_documentation_becomes_the_draft_that_it_describes() -> None:
    """Every common field arrives under its name; times are epoch µs."""
    assert draft(line()) == Draft(
        type="message.received",
        id="m-17",
        source="/mail/inbox-1",
        tenant="acme",
        channel="email",
        direction="inbound",
        occurred_at_us=1_768_208_400_000_000,
        customer=(RawHandle("email", "ann@example.org", verified=True),),
        actor=Actor(kind="customer"),
        conversation_id="c-9",
        text="Where is my parcel?",
        attributes={"priority": "high"},
    )


def test_a_line_that_names_no_tenant_gets_that_of_the_reader() -> None:
    assert draft(line(without=("tenant",))).tenant == "default"


def test_appendedat_is_taken_over_and_does_not_replace_the_event_time() -> None:
    found = draft(line(appendedat="2026-01-12T10:00:00.000001+01:00"))
    assert found.occurred_at_us == 1_768_208_400_000_000
    assert found.appended_at_us == 1_768_208_400_000_001


def test_the_fields_of_a_type_lie_in_data_beside_the_common_ones() -> None:
    """`from` is a word of Python and a field of a status change."""
    found = draft(line(type="conversation.status_changed", data={"from": "open", "to": "pending"}))
    assert found.fields == {"from": "open", "to": "pending"}


def test_a_time_among_the_fields_is_rfc_3339_in_public_and_microseconds_in_the_draft() -> None:
    found = draft(line(type="conversation.snoozed", data={"until": "2026-01-13T09:00:00Z"}))
    assert found.fields == {"until_us": 1_768_294_800_000_000}
    assert refusal(line(type="conversation.snoozed")).detail == "line 7: data.until: a required field is missing."


def test_what_a_type_may_say_and_does_not_is_left_to_its_schema() -> None:
    assert draft(line(type="message.sent")).fields == {}
    assert draft(line(type="message.sent", data={"visibility": "internal"})).fields == {"visibility": "internal"}


def test_what_only_the_product_says_is_internal() -> None:
    assert [kind for kind in ("sla.breached", "alert.raised", "work.assigned", "identity.linked", "escalation.held") if not is_internal(kind)] == []
    machinery = ("config.published", "timer.woke", "projection.promoted", "projection.rebuild", "log.imported", "identity.copied", "privacy.erased")
    assert [kind for kind in machinery if not is_internal(kind)] == []
    assert [kind for kind in ("message.sent", "alert.snooze_requested", "alert.note_added", "identity.observed") if is_internal(kind)] == []


@pytest.mark.parametrize("kind", sorted(EVENT_TYPES))
def test_every_public_type_can_be_read_and_no_internal_one(kind: str) -> None:
    """A type that is added costs nothing here; only what this product itself says is refused as unknown."""
    data = {
        "actor": {"kind": "agent", "id": "a-1"},
        "name": "x",
        "confidence": 0.5,
        "until": "2026-01-13T09:00:00Z",
        "reached": True,
        "by_staff": True,
    }
    words = "conversation into from at_event option agent queue state priority to tag article task scale reason"
    found = READER.read(line(type=kind, data={**data, **dict.fromkeys(words.split(), "x"), "hits": 1, "score": 1}), 1)
    if is_internal(kind):
        assert isinstance(found, Rejected)
        assert found.reason == "unknown_type"
    else:
        assert isinstance(found, Draft) or found.reason in {"missing_field", "unknown_value"}, found


def test_an_event_of_an_agent_needs_neither_customer_nor_channel_but_the_agent() -> None:
    body = {"specversion": "1.0", "id": "a", "source": "/acd", "type": "agent.logged_in", "time": "2026-01-12T09:00:00Z"}
    found = draft(json.dumps({**body, "data": {"actor": {"kind": "agent", "id": "a-7", "team": "mail"}}}).encode())
    assert (found.actor.id, found.channel, found.customer) == ("a-7", "other", ())
    assert refusal(json.dumps({**body, "data": {"actor": {"kind": "agent"}}}).encode()).detail.startswith("line 7: data.actor.id:")


def test_what_nobody_knows_is_kept_as_json_text_wherever_it_stands() -> None:
    """It will be sealed, never refused; numbers keep the form in which they were written."""
    raw = line(
        data={
            "mood": {"a": [1, None]},
            "customer": [{"kind": "email", "value": "ann@example.org", "label": "work"}],
            "actor": {"kind": "customer", "shoe": 43},
        },
        traceparent="00-1",
    ).replace(b"43", b"43.50")
    found = draft(raw)
    assert found.unknown == {"mood": '{"a": [1, null]}', "customer.0.label": '"work"', "actor.shoe": "43.50", "ce_traceparent": '"00-1"'}
    assert found.customer == (RawHandle("email", "ann@example.org"),)
    assert found.text == "Where is my parcel?"


def test_attributes_that_are_no_texts_are_kept_as_json_text() -> None:
    assert draft(line(data={"attributes": {"plan": "gold", "score": 1.5, "vip": True, "list": ["x"]}})).attributes == {
        "plan": "gold",
        "score": "1.5",
        "vip": "true",
        "list": '["x"]',
    }


@pytest.mark.parametrize(
    ("raw", "reason", "field"),
    [
        (line(without=("id",)), "missing_field", "id:"),
        (line(without=("type",)), "missing_field", "type:"),
        (line(without=("channel",)), "missing_field", "data.channel:"),
        (line(without=("direction",)), "missing_field", "data.direction:"),
        (line(id=17), "wrong_type", "id: expected str, got int"),
        (line(id=""), "wrong_length", "id:"),
        (line(specversion="0.3"), "unknown_value", "specversion:"),
        (line(type="message.recieved"), "unknown_type", "type:"),
        (line(type=3), "wrong_type", "type:"),
        (line(type="timer.woke"), "unknown_type", "type:"),
        (line(time="2026-01-12T09:00:00"), "naive_time", "time:"),
        (line(time="yesterday"), "wrong_time", "time:"),
        (line(time=None), "wrong_type", "time:"),
        (line(appendedat="2026-01-12T09:00:00"), "naive_time", "appendedat:"),
        (line(data={"channel": "pigeon-ann@example.org"}), "unknown_value", "data.channel:"),
        (line(data={"text": 3}), "wrong_type", "data.text:"),
        (line(data={"attributes": 7}), "wrong_type", "data.attributes:"),
        (line(data={"customer": [{"kind": "ann@example.org", "value": "x"}]}), "unknown_value", "data.customer[0].kind:"),
        (line(data={"customer": [{"kind": "email"}]}), "missing_field", "data.customer[0].value:"),
        (line(data={"source_seq": 2**64}), "wrong_type", "data.source_seq:"),
        (line(type="message.sent", data={"visibility": "ann@example.org"}), "unknown_value", "data.visibility:"),
        (line().replace(b'"data": {', b'"data": [{').replace(b"}}", b"}}]"), "wrong_type", "data:"),
        (b"[]", "wrong_type", "expected object, got array"),
        (b"{", "not_json", "it is not JSON"),
        (b'{"specversion": ', "not_json", "it is not JSON"),
        (line().replace(b"Where", b"\xff"), "not_utf8", "it is not UTF-8"),
        (b"[" * 100_000, "wrong_type", "expected object, got array"),
        (b'{"data":' * 100_000, "too_deep", "it is nested too deeply"),
    ],
)
def test_a_bad_line_is_refused_by_number_field_and_reason_and_never_by_its_content(raw: bytes, reason: str, field: str) -> None:
    found = refusal(raw)
    assert found.reason == reason
    assert field in found.detail
    for personal in ("ann@example.org", "pigeon", "recieved", "yesterday", "parcel"):
        assert personal not in found.detail


def test_a_flag_takes_its_end_as_a_time_like_any_other_and_cannot_be_read_without() -> None:
    flag = {"type": "vulnerability.flagged", "data": {"expires_at": "2026-04-01T00:00:00+02:00", "consent_id": "co-1"}}
    found = READER.read(line(**flag), 1)
    assert isinstance(found, Draft)
    assert found.fields == {"expires_at_us": 1_774_994_400_000_000, "consent_id": "co-1"}
    for data, reason in (({}, "missing_field"), ({"expires_at": "2026-04-01T00:00:00"}, "naive_time"), ({"expires_at": None}, "wrong_type")):
        refused = READER.read(line(type="vulnerability.extended", data=data), 1)
        assert isinstance(refused, Rejected)
        assert refused.reason == reason
        assert "expires_at" in refused.detail
