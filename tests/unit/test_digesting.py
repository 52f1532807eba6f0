"""A store's digest, taken page by page, is the digest of its rows."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from projections.digest import digest
from projections.registry import VERSIONS, Group
from streams.digesting import store_digest
from streams.store.memory import MemoryStore
from streams.store.port import RowWrite
from tests.support.clockwork import Bell, ClockworkGroup, Ear, event
from tests.support.side_by_side import SideBySide

VIEW, CARE = VERSIONS["view", 1], VERSIONS["care", 1]
DAY_US = 86_400_000_000
names = st.sampled_from(["a", "b"])


def scanned(store: MemoryStore, group: Group) -> dict[str, list[dict[str, object]]]:
    """Return all rows of a group."""
    return {table.name: asyncio.run(store.scan(table.physical)) for table in group.tables()}  # type: ignore[misc]


def test_it_is_the_digest_of_all_rows() -> None:
    """Bodies, hidden rows and months among them."""
    twins = SideBySide(VIEW, CARE)
    for n, kind in enumerate(["received", "tagged", "sent", "received"] * 5):
        twins.put(event(kind, n % 3, n * 10 * DAY_US / 1e6), 1e9 + n)
    asyncio.run(twins.fold_all())
    from schemas.codec import Codec  # noqa: PLC0415
    from streams.customer_view import decoded  # noqa: PLC0415

    codec = Codec()
    whole = digest(VIEW.tables(), scanned(twins.store, VIEW), decode=lambda schema_id, body: decoded(codec, body, schema_id))
    assert asyncio.run(store_digest(twins.store, VIEW)) == whole


timeline = st.lists(st.tuples(names, st.sampled_from(["2026-01", "2026-01-03", "2026-02"]), st.integers(0, 3), st.booleans()), max_size=8)
months = st.lists(st.tuples(names, st.sampled_from(["2026-01", "2026-01-03", "2026-02", "2026-03"])), max_size=6)
figures = st.lists(st.tuples(names, st.integers(0, 3), st.dictionaries(names, st.integers(-2, 2), max_size=2)), max_size=8)


@given(timeline=timeline, months=months)
def test_hidden_rows_and_months_of_nothing_else_do_not_count(timeline: list[tuple[str, str, int, bool]], months: list[tuple[str, str]]) -> None:
    store = MemoryStore(VIEW.tables())
    for customer, month, at, hidden in timeline:
        store.apply([RowWrite("timeline_v1", ("acme", customer, month, at, "e"), {"hidden": hidden}, 1)])
    for customer, month in months:
        store.apply([RowWrite("timeline_months_v1", ("acme", customer, month), {}, 1)])
    assert asyncio.run(store_digest(store, VIEW)) == digest(VIEW.tables(), scanned(store, VIEW))


@given(figures=figures)
def test_figures_count_added_up_and_not_at_all_if_they_come_to_nothing(figures: list[tuple[str, int, dict[str, int]]]) -> None:
    store = MemoryStore(CARE.tables())
    for queue, partition, sums in figures:
        key = ("acme", "service_level", "2026-01-12", 0, queue, "phone", partition)
        store.apply([RowWrite("figure_v1", key, {"sums": sums, "applied_offset": 1}, 1)])
    assert asyncio.run(store_digest(store, CARE)) == digest(CARE.tables(), scanned(store, CARE))


def test_an_empty_store_has_the_digest_of_nothing() -> None:
    assert asyncio.run(store_digest(MemoryStore(VIEW.tables()), VIEW)) == digest((), {})


def test_a_row_more_is_another_digest() -> None:
    store = MemoryStore(VIEW.tables())
    empty = asyncio.run(store_digest(store, VIEW))
    store.apply([RowWrite("conversation_v1", ("acme", "c-1", "a"), {"status": "open"}, 1)])
    assert asyncio.run(store_digest(store, VIEW)) != empty


def test_tables_come_from_the_group_and_those_without_readers_are_left_out() -> None:
    group = ClockworkGroup("clockwork", 1, (Bell(), Ear()))
    store = MemoryStore(group.tables())
    store.apply([RowWrite("clockwork_v1_state", ("acme", "a", "bell"), {"state": b"x"}, 1)])
    assert asyncio.run(store_digest(store, group)) == digest((), {})
    store.apply([RowWrite("ring_v1", ("acme", "a", "b"), {"n": 1}, 1)])
    assert asyncio.run(store_digest(store, group)) == digest(group.tables(), scanned(store, group)) != digest((), {})
