"""The sealer: what of a draft stays clear, what is sealed under whose key, and that no event is lost."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from connectors.contract import Actor, Draft, RawHandle
from connectors.sealer import Sealer, _purpose
from schemas.codec import Codec
from schemas.events import ContactAbandoned, Handle, MessageReceived, Personal, PersonalHandle, PortalSearch
from schemas.handles import handle_hash
from schemas.record import Event
from schemas.sealing import Erased, Opened, SealedItem, WrappedKey, parse_sealed_key
from touchline.errors import Refused, Retryable
from touchline.keyring.keyring import Keyring
from touchline.keyring.memory import MemoryKeyStore
from touchline.keyring.wrapper import LocalWrapper

CODEC = Codec()
NOW = int(datetime(2026, 1, 12, 9, tzinfo=UTC).timestamp()) * 1_000_000
INDEX = {"acme": b"i" * 32, "acme2": b"j" * 32}
PHONE, MAIL = "+4915112345678", "ann@example.org"
MESSAGE = Draft(
    type="message.received",
    id="m-17",
    source="/mail/inbox-1",
    tenant="acme",
    channel="email",
    direction="inbound",
    occurred_at_us=NOW,
    customer=(RawHandle("phone", "0151 12345678"), RawHandle("email", " Ann@Example.org", verified=True)),
    actor=Actor("customer", "a-1", "mail", "lead"),
    contact_id="k-1",
    conversation_id="c-9",
    case_id="s-2",
    source_seq=4,
    causation_id="m-16",
    correlation_id="x",
    corrects="m-3",
    appended_at_us=NOW + 5,
    text="Where is my parcel?",
    subject="Parcel",
    attributes={"priority": "high", "name": "Ann Name"},
    unknown={"shoe size": "size-38"},
    original_ids={"conversation_id": "4915112345678@c.us"},
)


def ring_over(store: MemoryKeyStore) -> Keyring:
    return Keyring(store, LocalWrapper("k", {"k": b"s" * 32}), CODEC, monotonic=lambda: 0.0)


def hashed(kind: Any, value: str, tenant: str = "acme") -> bytes:
    return handle_hash(INDEX[tenant], kind, value)


def made(draft: Draft, store: MemoryKeyStore | None = None, **options: Any) -> tuple[Event, Any]:
    """Return the event of a draft, as it is read back from its bytes, and its opened personal part (None if there is none)."""
    store = MemoryKeyStore() if store is None else store
    ring = ring_over(store)
    sealer = Sealer(ring, CODEC, INDEX.__getitem__, "DE", **options)

    async def work() -> tuple[Event, Any]:
        await sealer.prepare([draft], NOW)
        built = sealer.event(draft, NOW + 7)
        event = CODEC.decode(CODEC.encode(built))
        assert event == built
        if event.sealed is None:
            return event, None
        [answer] = await ring.open_many([SealedItem(draft.tenant, event.header.id, event.sealed, str(event.sealed_key))])
        return event, answer.personal if isinstance(answer, Opened) else answer

    return asyncio.run(work())


def but(**changes: Any) -> Draft:
    return msgspec.structs.replace(MESSAGE, **changes)


def bare(**changes: Any) -> Draft:
    return but(**{"customer": (), "text": None, "subject": None, "attributes": {}, "unknown": {}, "original_ids": {}, **changes})


def test_a_draft_becomes_an_event_with_a_whole_header() -> None:
    event, _ = made(MESSAGE)
    assert isinstance(event, MessageReceived)
    header = msgspec.structs.asdict(event.header)
    assert header == {
        "id": "m-17",
        "source": "/mail/inbox-1",
        "tenant": "acme",
        "channel": "email",
        "direction": "inbound",
        "occurred_at_us": NOW,
        "received_at_us": NOW + 7,
        "customer_id": "",
        "home_customer_id": "",
        "contact_id": "k-1",
        "conversation_id": "c-9",
        "case_id": "s-2",
        "actor_kind": "customer",
        "actor_id": "a-1",
        "actor_team": "mail",
        "actor_role": "lead",
        "handles": (Handle(kind="email", hash=hashed("email", MAIL), verified=True), Handle(kind="phone", hash=hashed("phone", PHONE))),
        "source_seq": 4,
        "causation_id": "m-16",
        "correlation_id": "x",
        "corrects": "m-3",
        "origin_customer_id": None,
        "origin_offset": None,
        "appended_at_us": NOW + 5,
    }


def test_everything_personal_is_sealed_under_the_strongest_handle() -> None:
    event, personal = made(MESSAGE)
    assert personal == Personal(
        text="Where is my parcel?",
        subject="Parcel",
        handles=(PersonalHandle(kind="email", value=MAIL, verified=True), PersonalHandle(kind="phone", value=PHONE)),
        attributes={"priority": "high", "name": "Ann Name"},
        unknown={"shoe size": "size-38"},
        original_ids={"conversation_id": "4915112345678@c.us"},
    )
    name = parse_sealed_key(str(event.sealed_key))
    assert name is not None
    assert (name.purpose, name.handle_hash) == ("contact", hashed("email", MAIL))


def test_the_bytes_on_the_wire_hold_nothing_personal() -> None:
    store = MemoryKeyStore()
    event, _ = made(MESSAGE, store)
    wire = CODEC.encode(event)
    for hidden in (b"parcel", b"Parcel", b"Name", b"example.org", b"0151", b"15112345678", b"shoe", b"size-38", b"@c.us", b"high"):
        assert hidden not in wire
    assert event.attributes == {}


def test_only_attributes_on_the_list_stay_clear() -> None:
    event, personal = made(MESSAGE, clear_attributes=["priority", "plan"])
    assert event.attributes == {"priority": "high"}
    assert personal.attributes == {"name": "Ann Name"}


@pytest.mark.parametrize(
    "part",
    [
        {"text": "x"},
        {"subject": "x"},
        {"attributes": {"a": "b"}},
        {"unknown": {"a": "b"}},
        {"original_ids": {"a": "b"}},
        {"customer": MESSAGE.customer},
    ],
)
def test_any_single_personal_thing_is_sealed(part: dict[str, Any]) -> None:
    event, personal = made(bare(**part))
    assert personal is not None
    assert personal != Personal()
    assert event.sealed_key is not None


def test_where_nothing_is_personal_nothing_is_sealed_and_no_key_is_made() -> None:
    store = MemoryKeyStore()
    event, personal = made(bare(text="", attributes={"priority": "high"}), store, clear_attributes=["priority"])
    assert (event.sealed, event.sealed_key, personal, len(store)) == (None, None, None, 0)


def test_without_a_keyring_hashes_and_ids_are_the_same_and_nothing_is_kept() -> None:
    simulated = Sealer(None, CODEC, INDEX.__getitem__, "DE", clear_attributes=["priority"])
    asyncio.run(simulated.prepare([MESSAGE], NOW))
    event, _ = made(MESSAGE, clear_attributes=["priority"])
    assert simulated.event(MESSAGE, NOW + 7) == msgspec.structs.replace(event, sealed=None, sealed_key=None)
    assert simulated.event(but(id=""), NOW).header.id == made(but(id=""))[0].header.id


def test_fields_of_the_type_are_clear_and_all_others_are_sealed_as_json() -> None:
    fields = {"hits": 3, "query": "broken heart", "sealed": "x", "header": None, "score": 0.5}
    event, personal = made(bare(type="portal.search", fields=fields))
    assert isinstance(event, PortalSearch)
    assert event.hits == 3
    assert personal.unknown == {"query": '"broken heart"', "sealed": '"x"', "score": "0.5", "header": "null"}


def test_an_absent_field_takes_its_default() -> None:
    event, _ = made(bare(type="contact.abandoned", fields={"stage": None}))
    assert isinstance(event, ContactAbandoned)
    assert event.stage == "other"


@pytest.mark.parametrize(
    ("type_", "fields", "reason", "says"),
    [
        ("message.sang", {}, "unknown_type", "not known"),
        ("portal.search", {}, "bad_field", "portal.search: the field `hits` is missing"),
        ("portal.search", {"hits": "Ann - at `$.x`"}, "bad_field", "the field `hits` has a value"),
        ("contact.abandoned", {"stage": "Ann - at `$.x`"}, "bad_field", "the field `stage` has a value"),
    ],
)
def test_a_draft_that_fits_no_schema_is_refused_without_its_values(type_: str, fields: dict[str, Any], reason: str, says: str) -> None:
    with pytest.raises(Refused, match=says) as refused:
        made(but(type=type_, fields=fields))
    assert refused.value.reason == reason
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None or refused.value.__suppress_context__
    for hidden in ("Ann", "parcel", "0151", "$.x"):
        assert hidden not in f"{refused.value} {refused.value!r}"


def test_an_erased_person_s_old_events_are_kept_without_their_personal_part() -> None:
    store = MemoryKeyStore()
    old, _ = made(MESSAGE, store)
    [row] = asyncio.run(store.read("acme", hashed("email", MAIL), "contact"))
    gone: WrappedKey = msgspec.structs.replace(row, wrapped=b"", state="destroyed", erased_at_us=NOW)
    asyncio.run(store.insert(gone))
    again, nothing = made(MESSAGE, store)
    assert (again.header, again.sealed, again.sealed_key, nothing) == (old.header, None, None, None)
    assert len(store) == 1
    later, personal = made(but(occurred_at_us=NOW + 1), store)
    assert personal.text == "Where is my parcel?"
    assert later.sealed_key != old.sealed_key
    answers = asyncio.run(ring_over(store).open_many([SealedItem("acme", "m-17", old.sealed or b"", old.sealed_key or "")]))
    assert answers == [Erased()]


def test_a_batch_with_events_from_before_and_after_an_erasure_seals_only_the_later_ones() -> None:
    store = MemoryKeyStore()
    marker = WrappedKey(
        tenant="acme",
        handle_hash=hashed("email", MAIL),
        purpose="contact",
        key_id="k",
        wrapped=b"",
        kek_id="",
        state="destroyed",
        created_at_us=0,
        erased_at_us=NOW,
    )
    asyncio.run(store.insert(marker))
    sealer = Sealer(ring_over(store), CODEC, INDEX.__getitem__, "DE")
    drafts = [MESSAGE, but(occurred_at_us=NOW + 1), but(occurred_at_us=NOW - 1)]
    asyncio.run(sealer.prepare(drafts, NOW))
    assert [sealer.event(draft, NOW).sealed is not None for draft in drafts] == [False, True, False]


def test_special_category_data_have_keys_of_their_own_purpose() -> None:
    assert _purpose(but(type="vulnerability.flagged")) == "vulnerability"
    assert _purpose(MESSAGE) == "contact"


def test_what_a_vulnerability_event_says_is_sealed_whole_under_that_purpose_whatever_may_stay_clear() -> None:
    store = MemoryKeyStore()
    ends = {"expires_at_us": NOW + 1}
    draft = but(type="vulnerability.flagged", direction="internal", attributes={"plan": "gold"}, text="lost her husband", fields=ends)
    event, personal = made(draft, store, clear_attributes=["plan"])
    name = parse_sealed_key(event.sealed_key or "")
    assert name is not None
    assert name.purpose == "vulnerability"
    assert (event.attributes, event.expires_at_us) == ({}, NOW + 1)  # type: ignore[attr-defined] # a flag's own field
    assert asyncio.run(store.read("acme", name.handle_hash, "contact")) == []
    assert (personal.text, personal.attributes) == ("lost her husband", {"plan": "gold"})


def test_an_event_that_was_not_prepared_waits_instead_of_being_written_without_its_text() -> None:
    sealer = Sealer(ring_over(MemoryKeyStore()), CODEC, INDEX.__getitem__, "DE")
    with pytest.raises(Retryable, match="prepare the batch again"):
        sealer.event(MESSAGE, NOW)


def test_a_batch_of_many_tenants_is_prepared_at_once() -> None:
    store = MemoryKeyStore()
    sealer = Sealer(ring_over(store), CODEC, INDEX.__getitem__, "DE")
    drafts = [but(tenant=tenant, id=f"{n}", customer=(RawHandle("account", f"A{n % 10}"),)) for tenant in INDEX for n in range(50)]
    drafts.append(but(type="message.sang"))
    asyncio.run(sealer.prepare(drafts, NOW))
    assert all(sealer.event(draft, NOW).sealed for draft in drafts[:-1])
    assert len(store) == 20


def test_the_repr_of_a_sealer_shows_nothing() -> None:
    sealer = Sealer(None, CODEC, INDEX.__getitem__, "DE")
    sealer.event(MESSAGE, NOW)
    assert "Ann" not in repr(sealer)
    assert "0151" not in repr(sealer)
