"""Laws of the view: any order of arrival gives the same rows, nothing raises, nothing grows without bound."""

import random
import types
import typing
from typing import Any, Literal, get_args, get_origin

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections.conversations import KEPT_MAX, KEPT_MIN, KEPT_US
from projections.customer import Customer
from projections.digest import difference, digest
from projections.kernel import Tombstone
from projections.registry import GROUPS
from projections.testing import World, contact_completed, contact_initiated, message_received, time_us
from schemas.events import EVENT_TYPES, Channel, Handle, Header
from schemas.record import Event

VIEW = GROUPS["view"]
START_US = time_us("00:00")
WINDOW_US = KEPT_US - 1
CUSTOMERS = ("cu-1", "cu-2")
WORDS = st.sampled_from(["open", "pending", "closed", "high", "team-a", "team-b", "cu-1", "cu-2", "x" * 300, ""])
HANDLES = (*tuple(Handle(kind="phone", hash=bytes([n]) * 32) for n in range(14)), Handle(kind="email", hash=b"m" * 32, verified=True))


def value_of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a field's type; few different ones, so that events meet."""
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) in (types.UnionType, typing.Union):
        return st.one_of([value_of(part) for part in get_args(kind)])
    plain = {
        str: WORDS,
        int: st.integers(0, 2**40),
        float: st.floats(0, 10),
        bool: st.booleans(),
        bytes: st.binary(max_size=4),
        type(None): st.none(),
        Handle: st.sampled_from(HANDLES),
    }
    return plain.get(kind, st.just(() if get_origin(kind) is tuple else {}))


def own_fields(kind: type[Event]) -> st.SearchStrategy[dict[str, Any]]:
    hints = typing.get_type_hints(kind, localns={"Header": Header})
    names = [f.name for f in msgspec.structs.fields(kind) if f.name not in Event.__struct_fields__]
    attributes = st.sampled_from([{}, {"language": "de"}, {"language": "en", "plan": "gold"}])
    return st.fixed_dictionaries({**{name: value_of(hints[name]) for name in names}, "attributes": attributes})


FIELDS = {kind: own_fields(kind) for kind in EVENT_TYPES.values()}
HEADERS = st.fixed_dictionaries(
    {
        "channel": st.sampled_from(get_args(Channel)[:4]),
        "direction": st.sampled_from(["inbound", "outbound", "internal"]),
        "occurred_at_us": st.integers(0, 40).map(lambda n: START_US + n * WINDOW_US // 40),
        "home_customer_id": st.sampled_from([*CUSTOMERS, "cu-3"]),
        "contact_id": st.sampled_from([None, "k-1"]),
        "conversation_id": st.sampled_from([None, "c-1", "c-2", "c-3"]),
        "actor_kind": st.sampled_from(["customer", "agent", "system"]),
        "actor_team": st.sampled_from([None, "mail"]),
        "source_seq": st.sampled_from([None, 1, 2]),
        "handles": st.lists(st.sampled_from(HANDLES), max_size=2, unique=True).map(tuple),
    }
)


@st.composite
def event(draw: st.DrawFn, kinds: list[type[Event]]) -> Event:
    kind = draw(st.sampled_from(kinds))
    header = Header(id="", source="/test", tenant="acme", received_at_us=0, customer_id="cu-1", **draw(HEADERS))
    return kind(header=header, **draw(FIELDS[kind]), sealed=draw(st.sampled_from([None, b"\x01"])), sealed_key="k/1")


def numbered(history: list[Event]) -> list[Event]:
    """Give every event an id of its own; the engine lets none through twice."""
    return [msgspec.structs.replace(e, header=msgspec.structs.replace(e.header, id=f"e-{n}")) for n, e in enumerate(history)]


# links are told by the log at one place, and what the linked customer wrote before stays until the other one overwrites it;
# what comes after an erasure is not folded any more
LASTING = [kind for name, kind in EVENT_TYPES.items() if not name.startswith("privacy.")]
UNLINKED = [kind for kind in LASTING if not kind.TYPE.startswith("identity.")]
MANY = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def fold(history: list[Event]) -> World:
    world = World(VIEW.projections)
    for n, one in enumerate(history):
        world.append(one, appended_us=START_US + WINDOW_US + n)
    return world


@MANY
@given(st.lists(event(UNLINKED), min_size=2, max_size=30).map(numbered), st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_the_same_rows(history: list[Event], rng: random.Random) -> None:
    shuffled = list(history)
    rng.shuffle(shuffled)
    there, back = fold(history).rows(), fold(shuffled).rows()
    assert [str(one) for one in difference(VIEW.tables(), there, back)] == []
    assert digest(VIEW.tables(), there) == digest(VIEW.tables(), back)


@MANY
@given(st.lists(event(LASTING), min_size=2, max_size=20).map(numbered), st.randoms(use_true_random=False))
def test_links_may_come_at_any_time_too_for_all_but_the_rows_that_become_the_other_customers(history: list[Event], rng: random.Random) -> None:
    shuffled = list(history)
    rng.shuffle(shuffled)
    own = [table for table in VIEW.tables() if table.name != "conversation"]
    assert [str(one) for one in difference(own, fold(history).rows(), fold(shuffled).rows())] == []


@MANY
@given(st.lists(event(list(EVENT_TYPES.values())), max_size=20).map(numbered))
def test_no_event_of_any_type_raises_and_every_state_can_be_stored(history: list[Event]) -> None:
    world = fold(history)
    assert all(len(msgspec.msgpack.encode(state)) < 20_000 for state in world.states.values())


@MANY
@given(st.lists(event(list(EVENT_TYPES.values())), max_size=20).map(numbered))
def test_the_last_snapshot_is_what_the_facets_say(history: list[Event]) -> None:
    world = fold(history)
    if not world.effects:
        return
    last = world.effects[-1].payload
    bodies = {row["facet"]: row["body"] for row in world.rows()["customer"] if "body" in row}
    if isinstance(last, Tombstone):
        assert not any(any(msgspec.to_builtins(body).values()) for body in bodies.values())
    elif last.merged_into is None:
        for name, body in bodies.items():
            assert getattr(last, str(name)) == body


def test_histories_of_years_fold_alike_in_any_order_while_few_conversations_are_under_way() -> None:
    rng = random.Random(3)  # noqa: S311 - a test
    history = numbered(
        [
            kind(conversation_id=f"c-{n % KEPT_MIN}", contact_id=f"c-{n % KEPT_MIN}", at=START_US + rng.randrange(900) * 86_400_000_000)
            for n, kind in enumerate([message_received, contact_initiated, contact_completed] * 40)
        ]
    )
    wanted = digest(VIEW.tables(), fold(history).rows())
    for _ in range(10):
        rng.shuffle(history)
        assert digest(VIEW.tables(), fold(history).rows()) == wanted


def test_settled_conversations_leave_the_state_after_their_time_and_open_ones_at_the_hard_limit() -> None:
    world = World([Customer()])
    for n in range(40):
        world.append(contact_completed(id=f"k-{n}", contact_id=f"k-{n}", at=START_US + n * 86_400_000_000))
    (state,) = world.states.values()
    assert set(state.conversations) == {f"k-{n}" for n in range(40 - 9, 40)}
    for n in range(KEPT_MAX + 20):
        world.append(message_received(id=f"m-{n}", conversation_id=f"c-{n}", at=START_US + (50 + n) * 86_400_000_000))
    (state,) = world.states.values()
    assert len(state.conversations) == KEPT_MAX
    assert "c-0" not in state.conversations
    assert len(msgspec.msgpack.encode(state)) < 80_000
    assert len(world.rows()["conversation"]) == 40 + KEPT_MAX + 20


def test_the_state_of_a_long_history_stays_small() -> None:
    world = World(VIEW.projections)
    for n in range(3000):
        world.append(contact_completed(id=f"e-{n:034d}", contact_id=f"k-{n:034d}", at=START_US + n * 43_200_000_000, handles=(HANDLES[n % 14],)))
    sizes = {name: len(msgspec.msgpack.encode(state)) for (_, name), state in world.states.items()}
    assert sizes["customer"] < 8_000
    assert sizes["timeline"] < 500
