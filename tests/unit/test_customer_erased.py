"""What becomes of the view, and of the output topics, when a person is forgotten."""

import asyncio
from typing import Any

import msgspec
import pytest

from projections.customer import FACETS, Customer
from projections.erasure_notice import ErasureNotice
from projections.kernel import Effect, Moment, Subject, Tombstone
from projections.registry import GROUPS
from projections.rules import Config
from projections.testing import World, contact_completed, given, handle, make, message_received, message_sent, time_us
from schemas import events
from schemas.cloudevents import headers
from schemas.codec import Codec
from schemas.record import Event
from streams.effects import DESTINATIONS
from streams.outbox import KafkaEffects
from touchline.emitting import Effects, SortedLines

OF = GROUPS["view"].projections
ANN, PHONE = handle("email", "ann@example.org"), handle("phone", "+49301234567")


def erased(customer: str = "cu-1", at: str = "10:00", id_: str = "x") -> Event:
    header = make(events.MessageRead, id=id_, at=at, customer=customer).header
    return events.PrivacyErased(header=header, customer=customer, erasure="er-1", reason="asked")


HISTORY = [
    message_received(id="1", at="09:00", conversation_id="c-9", handles=(ANN, PHONE), sealed=b"\x01", sealed_key="k", attributes={"language": "de"}),
    message_received(id="2", at="09:01", conversation_id="c-8", channel="webchat", handles=(ANN,)),
    contact_completed(id="3", at="09:02", contact_id="k-1"),
]


def folded(*history: Event) -> World:
    world = World(OF)
    for event in history:
        world.append(event)
    return world


def facets(world: World) -> dict[str, Any]:
    return {str(row["facet"]): row.get("body") for row in world.rows()["customer"]}


def test_an_erasure_empties_every_facet_deletes_the_handles_and_closes_what_stands_open() -> None:
    world = folded(*HISTORY, erased())
    empty = {
        "contact": events.CustomerContact(),
        "preferences": events.CustomerPreferences(),
        "last_contacts": events.CustomerLastContacts(),
        "open_conversations": events.CustomerOpenConversations(),
    }
    assert facets(world) == empty
    assert set(empty) == set(FACETS)
    assert {row["erased_at"] for row in world.rows()["customer"]} == {time_us("10:00")}
    assert {row["conversation_id"]: row["status"] for row in world.rows()["conversation"]} == {"c-9": "erased", "c-8": "erased", "k-1": "closed"}


def test_the_snapshot_becomes_a_tombstone_and_is_published_again_as_one() -> None:
    world = folded(*HISTORY, erased())
    last = world.effects[-1]
    assert (last.kind, last.key) == ("customer.snapshot", "cu-1")
    assert last.payload == Tombstone(partition=0, offset=3, event_time_us=time_us("10:00"))
    state = world.states[Subject("acme", "cu-1"), "customer"]
    assert Customer().publish(state, Subject("acme", "cu-1"), Moment(0, 0, 0, 3, Config())) == (last,)


def test_what_comes_late_under_the_old_id_brings_nothing_back_and_lies_in_the_timeline() -> None:
    late = [
        message_received(id="4", at="09:30", conversation_id="c-9", handles=(ANN,), sealed=b"\x02", sealed_key="k"),
        message_sent(id="5", at="11:00", conversation_id="c-7", handles=(PHONE,)),
        make(events.IdentityLinked, id="6", at="11:01", handle=ANN, from_="cu-1", to="cu-2"),
        make(events.IdentityCopied, id="7", at="11:02", from_="cu-0", home="cu-0", to="cu-1", last_offset=1, write_ts_us=1),
    ]
    before, after = folded(*HISTORY, erased()), folded(*HISTORY, erased(), *late)
    unmoved = [{name: value for name, value in row.items() if name != "as_of"} for row in before.rows()["customer"]]
    assert [{name: value for name, value in row.items() if name != "as_of"} for row in after.rows()["customer"]] == unmoved
    assert after.rows()["conversation"] == before.rows()["conversation"]
    assert after.effects == before.effects
    assert {row["event_id"] for row in after.rows()["timeline"]} >= {"4", "5", "6", "7"}


def test_a_second_erasure_does_nothing() -> None:
    given(*HISTORY, erased(), of=OF).when(erased(at="12:00", id_="y")).then(effects=[], rows={"customer": [{"erased_at": time_us("10:00")}]})


def test_a_merged_customer_is_forgotten_too_and_leaves_the_rows_of_the_one_it_was_merged_into_alone() -> None:
    linked = make(events.IdentityLinked, id="l", at="09:10", handle=ANN, from_="cu-1", to="cu-2")
    world = folded(*HISTORY, linked, erased())
    assert facets(world)["contact"] == events.CustomerContact()
    assert {row["canonical_id"] for row in world.rows()["customer"]} == {"cu-2"}
    assert {row["status"] for row in world.rows()["conversation"]} == {"open", "closed"}, "they are the other customer's, who closes them"
    assert isinstance(world.effects[-1].payload, Tombstone)


def test_a_link_of_a_later_turn_wins_whatever_its_time() -> None:
    first = make(events.IdentityLinked, id="l1", at="09:30", handle=ANN, from_="cu-1", to="cu-2", turn=0)
    on = make(events.IdentityLinked, id="l2", at="09:10", handle=ANN, from_="cu-1", to="cu-3", turn=1)
    for history in ((first, on), (on, first)):
        assert {row["canonical_id"] for row in folded(HISTORY[0], *history).rows()["customer"]} == {"cu-3"}


def test_the_notice_is_the_last_that_the_care_group_says_and_comes_once() -> None:
    assert isinstance(GROUPS["care"].projections[-1], ErasureNotice)
    told = given(of=[ErasureNotice()]).when(erased(), erased(at="11:00", id_="y"))
    told.then(effects=[("privacy.erased", {"customer": "cu-1", "erasure": "er-1", "reason": "asked"})])
    assert told.world.effects[0].payload.header.id == "x"


class Appended:
    """A producer that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[tuple[str, bytes | None, bytes | None, object]] = []

    def produce(self, topic: str, key: bytes | None, value: bytes | None, headers: object = ()) -> None:
        self.records.append((topic, key, value, headers))

    async def drain(self) -> None:
        """Have nothing to wait for."""


@pytest.fixture
def appended() -> Appended:
    return Appended()


async def sent(appended: Appended, *effects: Effect, ids: dict[str, int] | None = None) -> None:
    await KafkaEffects(appended, Codec(), lambda name: f"t.{name}.v1", ids).send(effects)  # type: ignore[arg-type]


def test_a_tombstone_is_a_null_value_under_the_customers_key(appended: Appended) -> None:
    asyncio.run(sent(appended, Effect("customer.snapshot", "cu-1", Tombstone(partition=0, offset=3, event_time_us=1))))
    assert appended.records == [("t.customer.v1", b"cu-1", None, ())]


def test_the_notice_goes_to_every_topic_that_people_and_crms_read_with_the_same_bytes(appended: Appended) -> None:
    event = erased()
    asyncio.run(sent(appended, Effect("privacy.erased", "cu-1", event), ids={"touchline.privacy.Erased": 77}))
    assert [(topic, key) for topic, key, _, _ in appended.records] == [(f"t.{name}.v1", b"cu-1") for name in ("sla", "alert", "escalation")]
    value = Codec().encode_as(event, 77)
    schema = "urn:touchline:schema:touchline.privacy.Erased:77"
    said = headers(event_id="x", source="/touchline", type_="privacy.erased", at_us=time_us("10:00"), subject="cu-1", dataschema=schema)
    assert {(bytes(v or b""), str(h)) for _, _, v, h in appended.records} == {(value, str(said))}


def test_of_a_snapshot_and_a_tombstone_of_one_batch_the_last_one_counts() -> None:
    assert DESTINATIONS["customer.snapshot"].compacted
    world = folded(*HISTORY, erased())
    assert {effect.kind for effect in world.effects} == {"customer.snapshot"}, "one kind, so that the engine keeps the last per key"


def test_simulate_tells_a_tombstone_as_what_it_is(tmp_path: Any) -> None:
    world = folded(*HISTORY, erased())
    with SortedLines() as lines:
        effects = Effects(lines)
        effects.add(world.effects)
        effects.emit()
        with (tmp_path / "out").open("wb") as out:
            assert lines.write(out) == 1
    line = msgspec.json.decode((tmp_path / "out").read_bytes())
    assert (line["type"], line["id"], line["tombstone"], line["offset"]) == ("customer.snapshot", "cu-1", True, 3)
