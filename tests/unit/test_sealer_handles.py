"""The sealer and handles: which ones an event carries, which it goes by, and that a bad one loses nothing."""

import uuid
from typing import Any

import msgspec
import pytest

from connectors.contract import Actor, RawHandle
from connectors.sealer import Sealer
from schemas.events import AgentStateChanged, Handle, Personal, PersonalHandle
from schemas.handles import normalise
from tests.unit.test_sealer import CODEC, INDEX, MAIL, NOW, PHONE, bare, but, hashed, made


def test_a_bad_number_loses_no_event_and_is_kept_sealed() -> None:
    customer = (RawHandle("phone", "anonymous"), RawHandle("phone", "call me"), RawHandle("email", MAIL))
    event, personal = made(but(customer=customer))
    assert event.header.handles == (Handle(kind="email", hash=hashed("email", MAIL)),)
    assert personal.unknown == {"customer.phone": '"anonymous"', "customer.phone.2": '"call me"', "shoe size": "size-38"}
    assert Sealer(None, CODEC, INDEX.__getitem__, "DE").unusable(but(customer=customer)) == ("phone", "phone")


def test_an_event_with_only_a_bad_number_goes_by_its_conversation() -> None:
    event, personal = made(bare(customer=(RawHandle("phone", "anonymous"),)))
    assert event.header.handles == (Handle(kind="contact", hash=hashed("contact", "c-9")),)
    assert personal == Personal(unknown={"customer.phone": '"anonymous"'})


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({}, "c-9"),
        ({"conversation_id": None}, "k-1"),
        ({"conversation_id": "  ", "contact_id": " k-1 "}, "k-1"),
        ({"conversation_id": None, "contact_id": None}, "s-2"),
        ({"conversation_id": None, "contact_id": None, "case_id": None}, "m-17"),
    ],
)
def test_an_event_without_handles_is_its_own_handle(changes: dict[str, Any], value: str) -> None:
    event, personal = made(bare(**changes, text="hello"))
    assert event.header.handles == (Handle(kind="contact", hash=hashed("contact", value)),)
    assert personal == Personal(text="hello")


def test_an_event_without_anything_goes_by_the_id_that_it_is_given() -> None:
    event, _ = made(bare(id="", conversation_id=None, contact_id=None, case_id=None))
    assert event.header.handles == (Handle(kind="contact", hash=hashed("contact", event.header.id)),)


def test_agents_get_no_handle_and_what_is_personal_of_theirs_is_not_lost() -> None:
    draft = bare(type="agent.state_changed", fields={"state": "pause"}, text="back pain", actor=Actor("agent", "a-1"))
    event, personal = made(draft)
    assert isinstance(event, AgentStateChanged)
    assert event.header.handles == ()
    assert personal == Personal(text="back pain")
    assert made(but(**{**msgspec.structs.asdict(draft), "text": None}))[1] is None


def test_one_handle_named_twice_is_one_handle() -> None:
    event, personal = made(but(customer=(RawHandle("phone", PHONE), RawHandle("phone", "0151/12345678", verified=True))))
    assert event.header.handles == (Handle(kind="phone", hash=hashed("phone", PHONE), verified=True),)
    assert personal.handles == (PersonalHandle(kind="phone", value=PHONE, verified=True),)


def test_tenants_share_no_hash() -> None:
    one, two = (made(but(tenant=tenant))[0].header.handles for tenant in INDEX)
    assert not {h.hash for h in one} & {h.hash for h in two}


def test_the_id_of_an_event_without_one_is_the_same_each_time_and_another_for_another_body() -> None:
    ids = [
        made(but(id="", **changes))[0].header.id for changes in ({}, {"appended_at_us": 1}, {"attributes": {"name": "Ann Name", "priority": "high"}})
    ]
    assert len(set(ids)) == 1, "neither our own receipt nor the order of keys belongs to the body"
    assert uuid.UUID(ids[0]).version == 5
    others: list[dict[str, Any]] = [
        {"source": "/b"},
        {"occurred_at_us": NOW + 1},
        {"text": "x"},
        {"tenant": "acme2"},
        {"customer": ()},
        {"fields": {"a": 1}},
    ]
    assert len({ids[0], *(made(but(id="", **change))[0].header.id for change in others)}) == 7


def test_a_contact_that_is_its_own_handle_needs_no_key() -> None:
    """Its id stands in the header in clear: sealing it again would make a key for every unidentified call."""
    event, personal = made(bare(customer=(RawHandle("contact", "c-9"),), text=None))
    assert event.header.handles == (Handle(kind="contact", hash=hashed("contact", "c-9")),)
    assert personal is None
    assert made(bare(customer=(RawHandle("contact", "c-9"),), text="hello"))[1] == Personal(text="hello")
    other = made(bare(customer=(RawHandle("contact", "elsewhere"),), text=None))[1]
    assert other == Personal(handles=(PersonalHandle(kind="contact", value="elsewhere", verified=False),))


def test_a_blocked_value_names_nobody_is_kept_sealed_and_counted() -> None:
    """The trunk line is a number like any other; the event goes by its other handle."""
    customer = (RawHandle("phone", PHONE), RawHandle("email", MAIL))
    event, personal = made(but(customer=customer), blocked={("phone", normalise("phone", PHONE, "DE"))})
    assert event.header.handles == (Handle(kind="email", hash=hashed("email", MAIL)),)
    assert personal.unknown["customer.phone"] == f'"{PHONE}"'
    sealer = Sealer(None, CODEC, INDEX.__getitem__, "DE", blocked={("phone", normalise("phone", PHONE, "DE"))})
    for _ in range(2):
        sealer.event(but(customer=customer), NOW)
    sealer.event(but(customer=customer[1:]), NOW)
    assert sealer.blocked_handles == 2


def test_the_same_value_of_another_kind_is_not_blocked() -> None:
    event, _ = made(bare(customer=(RawHandle("account", "100"),)), blocked={("social", "100")})
    assert event.header.handles == (Handle(kind="account", hash=hashed("account", "100")),)


def test_a_sub_address_is_the_mailbox_where_its_domain_is_named() -> None:
    customer = (RawHandle("email", "ann+shop@plus.example"),)
    event, personal = made(bare(customer=customer), subaddress_domains=["plus.example"])
    assert event.header.handles[0].hash == hashed("email", "ann@plus.example")
    assert [one.value for one in personal.handles] == ["ann@plus.example"]
