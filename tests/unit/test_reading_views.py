"""What readers hand out: the 360° view, conversations, their public JSON form, excerpts, the digest of a store."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from projections.registry import GROUPS
from projections.testing import contact_abandoned, contact_initiated, handle, make, message_received, message_sent
from schemas import events
from schemas.codec import Codec
from schemas.events import CustomerContact, CustomerLastContacts, Personal
from schemas.record import Event
from schemas.sealing import Erased, Opened, SealedItem, Unreadable
from streams.customer_view import AsOf, CustomerView
from streams.digesting import store_digest
from streams.excerpts import clean, excerpt, journey, journeys
from streams.plain import RowForm, conversation_json, event_json, instant_us, record_json, utc
from streams.reading import CustomerReader
from streams.simulation import Simulation
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.store.port import CellValue, GroupVersion, RowWrite
from streams.timeline_row import TimelineRow

CODEC = Codec()
ANN = handle("email", "ann@example.org", verified=True)
VIEW = GROUPS["view"]


def simulated(*happened: Event) -> MemoryStore:
    """Return a store with what the view group makes of these events."""
    store = MemoryStore(known_tables())
    simulation = Simulation(GROUPS.values(), store, CODEC, tenant="acme", future_max_s=300, cached_subjects_max=100)
    asyncio.run(simulation.feed((event, event.header.occurred_at_us) for event in happened))
    assert not simulation.refusals
    return store


def started_in_chat_and_continued_by_mail() -> list[Event]:
    return [
        message_received(id="m-1", at="09:00", channel="webchat", conversation_id="c-9", handles=(ANN,), sealed=b"sealed", sealed_key="key"),
        message_sent(id="m-2", at="09:10", channel="webchat", conversation_id="c-9", handles=(ANN,), actor_team="mail"),
        message_received(id="m-3", at="09:30", channel="email", conversation_id="c-9", handles=(ANN,)),
        contact_initiated(id="k-1", at="10:00", contact_id="k", conversation_id="k", handles=(ANN,), queue="billing"),
        contact_abandoned(id="k-2", at="10:01", contact_id="k", conversation_id="k", handles=(ANN,)),
    ]


def reader(store: MemoryStore) -> CustomerReader:
    return CustomerReader(store, CODEC, GroupVersion("view", VIEW.version))


def only_customer(store: MemoryStore) -> str:
    [customer_id] = {str(row["customer_id"]) for row in asyncio.run(store.scan("customer_v1"))}
    return customer_id


def view(store: MemoryStore) -> CustomerView:
    found = asyncio.run(reader(store).customer("acme", only_customer(store)))
    assert found is not None
    return found


def test_a_view_has_what_the_projection_wrote_decoded() -> None:
    found = view(simulated(*started_in_chat_and_continued_by_mail()))
    assert [one.hash for one in found.contact.handles] == [ANN.hash]
    [conversation] = found.open_conversations.conversations
    assert journey(conversation.channels) == "started in webchat, continued in email"
    assert [entry.type for entry in found.last_contacts.contacts] == ["contact.abandoned", "message.received"]
    assert found.preferences.channels == {"email": 1, "phone": 1, "webchat": 1}
    assert found.as_of == AsOf(0, 4, instant_us("2026-01-12T10:01:00Z"))
    assert found.sealed_handles == {ANN.hash: SealedItem("acme", "m-1", b"sealed", "key")}
    assert (found.version, found.canonical_id, found.unreadable) == (1, None, ())


def test_a_customer_takes_one_read_of_one_partition() -> None:
    reads: list[tuple[str, Mapping[str, str | int]]] = []

    class Noting(MemoryStore):
        async def read(self, table: str, partition: Mapping[str, str | int], **bounds: Any) -> list[dict[str, CellValue]]:
            reads.append((table, partition))
            return await super().read(table, partition, **bounds)

    store = Noting(VIEW.tables())
    assert asyncio.run(reader(store).customer("acme", "nobody")) is None
    assert reads == [("customer_v1", {"tenant": "acme", "customer_id": "nobody"})]


def test_a_facet_whose_bytes_are_broken_is_named_and_hides_no_other() -> None:
    store = simulated(*started_in_chat_and_continued_by_mail())
    customer = only_customer(store)
    late = 2**60
    store.apply(
        [
            RowWrite("customer_v1", ("acme", customer, "contact"), {"body": b"\xff\xff"}, late),
            RowWrite("customer_v1", ("acme", customer, "orders"), {"body": b"", "schema_id": 2**31 - 1}, late),
        ]
    )
    found = view(store)
    assert found.unreadable == ("contact", "orders")
    assert found.contact == CustomerContact()
    assert found.last_contacts != CustomerLastContacts()


def test_a_partition_with_static_columns_only_is_a_customer_without_facets() -> None:
    store = MemoryStore(VIEW.tables())
    store.apply([RowWrite("customer_v1", ("acme", "cu-1"), {"canonical_id": "cu-2"}, 1)])
    found = asyncio.run(reader(store).customer("acme", "cu-1"))
    assert found is not None
    assert (found.facets, found.canonical_id, found.as_of) == ({}, "cu-2", None)


def test_a_conversation_is_read_by_its_id() -> None:
    store = simulated(*started_in_chat_and_continued_by_mail())
    [found] = asyncio.run(reader(store).conversation("acme", "c-9"))
    assert (found.status, found.channels, found.last_channel, found.team) == ("open", ("email", "webchat"), "email", "mail")
    assert conversation_json(found)["opened_at"] == "2026-01-12T09:00:00Z"
    assert asyncio.run(reader(store).conversation("acme", "c-0")) == []


def test_a_timeline_of_more_events_than_a_month_holds_reads_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projections.timeline.BUCKET_EVENTS_MAX", 3)
    times = [
        "2026-01-12T09:00:00Z",
        "2026-01-20T09:00:00Z",
        "2026-01-13T09:00:00Z",
        "2026-01-12T08:00:00Z",
        "2026-01-19T09:00:00Z",
        "2025-12-31T09:00:00Z",
    ]
    store = simulated(*(message_received(id=f"m-{n}", at=at, handles=(ANN,)) for n, at in enumerate(times)))
    customer = only_customer(store)
    buckets = [row["month"] for row in asyncio.run(store.read("timeline_months_v1", {"tenant": "acme", "customer_id": customer}))]
    assert buckets == ["2026-01-19", "2026-01-12", "2026-01", "2025-12"], "the fourth and fifth event of January lie in their days"
    page = asyncio.run(reader(store).timeline("acme", customer))
    assert [row.event_id for row in page.rows] == ["m-1", "m-4", "m-2", "m-0", "m-3", "m-5"]


# -- the public JSON form -------------------------------------------------------------------------------------------------


def test_times_are_utc_with_z_and_exact() -> None:
    assert utc(1_768_208_400_000_000) == "2026-01-12T09:00:00Z"
    assert utc(1_768_208_400_000_001) == "2026-01-12T09:00:00.000001Z"
    assert utc(-1) == "1969-12-31T23:59:59.999999Z"
    assert utc(2**63 - 1) == "9999-12-31T23:59:59.999999Z"
    assert instant_us("2026-01-12T10:00:00+01:00") == 1_768_208_400_000_000
    assert utc(instant_us("2026-01-12")) == "2026-01-12T00:00:00Z"


@pytest.mark.parametrize("text", ["2026-01-12T09:00:00", "", "yesterday", "2026-13-01", "12"])
def test_a_naive_time_or_none_at_all_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is Python's own
        instant_us(text)


def test_an_event_has_stable_names_and_no_sealed_bytes() -> None:
    store = simulated(*started_in_chat_and_continued_by_mail())
    page = asyncio.run(reader(store).timeline("acme", only_customer(store)))
    found = event_json(page.rows[-1])
    assert {"customer_id": page.rows[0].customer_id, "home_customer_id": page.rows[0].customer_id, **found} == found
    assert {name: found[name] for name in found if not name.endswith("customer_id")} == {
        "at": "2026-01-12T09:00:00Z",
        "event_id": "m-1",
        "type": "message.received",
        "channel": "webchat",
        "direction": "inbound",
        "actor": {"kind": "customer", "id": None},
        "conversation_id": "c-9",
        "contact_id": None,
        "case_id": None,
        "hidden": False,
        "summary": {},
    }
    json.dumps(found)


def test_a_record_loses_the_unit_of_its_times_and_its_sealed_part() -> None:
    found = record_json(message_received(handles=(ANN,), sealed=b"x", sealed_key="k"))
    assert (found["header"]["occurred_at"], found["header"]["appended_at"]) == ("2026-01-12T09:00:00Z", None)
    assert found["header"]["handles"][0]["hash"] == ANN.hash.hex()
    assert not [name for name in found if name.startswith("sealed")]
    assert record_json(make(events.IdentityUnlinked, from_="a", to="b"))["from"] == "a"


def test_a_span_of_an_event_keeps_its_unit_and_a_time_loses_it() -> None:
    clock = {"metric": "first_response", "instance": 1, "turn": 0, "policy": "mail", "calendar": "office", "rules_version": 1, "target_s": 60}
    times = {"started_at_us": instant_us("2026-01-12T09:00:00Z"), "due_at_us": None, "consumed_us": 61_500_000}
    found = record_json(make(events.SlaBreached, **clock, **times, cause="due", detected_late=False))
    assert (found["started_at"], found["due_at"], found["consumed_s"]) == ("2026-01-12T09:00:00Z", None, 61.5)
    assert "consumed" not in found


def test_a_stored_row_is_plain_json_with_its_record_decoded() -> None:
    store = simulated(*started_in_chat_and_continued_by_mail())
    rows = {row["facet"]: row for row in asyncio.run(store.scan("customer_v1"))}
    [table] = [table for table in VIEW.reader_tables if table.name == "customer"]
    form = RowForm(table, CODEC)
    key, columns = form.of(rows["last_contacts"])
    assert key == {"tenant": "acme", "customer_id": only_customer(store), "facet": "last_contacts"}
    assert columns["body"]["contacts"][0]["at"] == "2026-01-12T10:01:00Z"
    assert columns["as_of"] == {"partition": 0, "offset": 4, "event_time": "2026-01-12T10:01:00Z"}
    assert columns["updated_at"] == "2026-01-12T10:01:00Z"
    handle_columns = form.of(rows[f"handle:{ANN.hash.hex()}"])[1]
    assert "sealed" not in json.dumps(handle_columns)
    _, broken = form.of({**rows["last_contacts"], "body": b"\xff"})
    assert broken["body"] == "ff", "what cannot be decoded is shown as it is"


# -- excerpts -------------------------------------------------------------------------------------------------------------


def event_row(**fields: Any) -> TimelineRow:
    told: dict[str, Any] = dict.fromkeys(("actor_id", "contact_id", "conversation_id", "case_id", "sealed"))
    told |= {"tenant": "acme", "customer_id": "cu-1", "occurred_at_us": 1, "event_id": "m-1", "channel": "email", "type": "message.received"}
    told |= {"direction": "inbound", "actor_kind": "customer", "hidden": False, "home_customer_id": "cu-1", "summary": {}}
    return TimelineRow(**{**told, **fields})


def test_an_excerpt_is_one_line_whatever_the_sender_put_in() -> None:
    evil = "Hi\x1b[2J\x1b]0;owned\x07\r\nthere\u202e\u2028 !\x9b31m 我的包裹\t在哪里"
    said = excerpt(event_row(), Opened(Personal(text=evil)))
    assert said == "Hi [2J ]0;owned there ! 31m 我的包裹 在哪里"
    assert said.isprintable()


def test_joiners_that_scripts_and_emoji_need_are_kept() -> None:
    assert clean("क्\u200dष 👩\u200d💻") == "क्\u200dष 👩\u200d💻"


def test_a_long_text_is_cut_with_a_mark() -> None:
    assert clean("x" * 401) == "x" * 400 + "…"
    assert clean("x" * 400) == "x" * 400
    assert clean("x" + " " * 5000 + "y") == "x…"


def test_an_excerpt_says_what_became_of_the_sealed_part() -> None:
    row = event_row(summary={"queue": "billing", "attributes.plan": "gold"}, sealed=SealedItem("acme", "m-1", b"", ""))
    assert excerpt(row, Opened(Personal(subject="Parcel", text="Where?"))) == "Parcel — Where?"
    assert excerpt(row, Opened(Personal())) == "queue billing, plan gold"
    assert excerpt(row, Erased()) == "(erased) queue billing, plan gold"
    assert excerpt(row, Unreadable("key_missing")) == "(unreadable: key_missing) queue billing, plan gold"
    assert excerpt(row, None, closed=True) == "(sealed) queue billing, plan gold"
    assert excerpt(row, None) == "queue billing, plan gold"


def test_a_journey_names_channels_in_order_of_first_use_and_only_where_there_are_several() -> None:
    rows = [
        event_row(channel=channel, conversation_id=conversation, hidden=hidden)
        for channel, conversation, hidden in [
            ("email", "c-1", False),
            ("phone", "c-2", False),
            ("phone", "c-1", False),
            ("store", "c-2", True),
            ("email", "c-1", False),
            ("store", None, False),
        ]
    ]
    assert journeys(rows) == {"c-1": ("email", "phone")}
    assert journey(("email", "phone", "store")) == "started in email, continued in phone, store"
    assert [journey(("email",)), journey(())] == ["in email", ""]


# -- the digest -----------------------------------------------------------------------------------------------------------


def test_the_digest_of_a_store_ignores_the_order_of_arrival_and_sees_a_changed_row() -> None:
    happened = started_in_chat_and_continued_by_mail()
    noon = happened[-1].header.occurred_at_us
    at_once = [msgspec.structs.replace(e, header=msgspec.structs.replace(e.header, appended_at_us=noon)) for e in happened]
    straight, turned = simulated(*at_once), simulated(*reversed(at_once))
    assert asyncio.run(store_digest(straight, VIEW)) == asyncio.run(store_digest(turned, VIEW, CODEC))
    turned.apply([RowWrite("conversation_v1", ("acme", "c-9", only_customer(turned)), {"status": "closed"}, 2**60)])
    assert asyncio.run(store_digest(straight, VIEW)) != asyncio.run(store_digest(turned, VIEW))
