"""Readers follow the pointer: which version of a group they read, and how soon they know of another one."""

import asyncio

import pytest

from projections.kernel import Subject
from projections.registry import GROUPS
from schemas.codec import Codec
from streams.reading import ACTIVE_S, ActiveVersions, CustomerReader
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion, RowWrite
from streams.store.shape import another_version
from streams.versions.versions import Promoting, Versions
from touchline.errors import Misconfigured, Refused

NEWER = GroupVersion("view", GROUPS["view"].version + 1)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(known_tables())


async def promote(store: MemoryStore, group: GroupVersion) -> None:
    promoting = Promoting(group.version, f"p-{group.version}", "op", 1)
    await Versions(store).begin_promotion(group.group, promoting)
    await Versions(store).end_promotion(group.group, promoting)


def test_of_a_group_that_never_ran_readers_read_the_newest_version_of_this_code(store: MemoryStore) -> None:
    assert asyncio.run(ActiveVersions(store).of("care")) == GroupVersion("care", GROUPS["care"].version)


def test_readers_follow_a_promotion_within_the_time_that_they_may_take_it_as_known(store: MemoryStore) -> None:
    async def story() -> None:
        now_s = 100.0
        active = ActiveVersions(store, lambda: now_s)
        await Versions(store).begin(GroupVersion("view", 1), 1)
        assert await active.of("view") == ("view", 1)
        await promote(store, NEWER)
        now_s += ACTIVE_S - 0.001
        assert await active.of("view") == ("view", 1), "it is not asked for each read"
        now_s += 0.001
        assert await active.of("view") == NEWER

    asyncio.run(story())


def test_a_version_that_this_code_does_not_have_is_read_by_the_shape_of_the_one_it_has(store: MemoryStore) -> None:
    async def story() -> None:
        await Versions(store).begin(GroupVersion("view", 1), 1)
        await promote(store, NEWER)
        table = f"customer_v{NEWER.version}"
        await store.write([RowWrite(table, ("acme", "cu-1", "preferences"), {"updated_at": 5}, 1)])
        reader = CustomerReader(store, Codec(), await ActiveVersions(store).of("view"))
        view = await reader.customer("acme", "cu-1")
        assert view is not None
        assert view.version == NEWER.version
        assert await store.load_states(NEWER, [Subject("acme", "cu-1")]) == {}

    asyncio.run(story())


def test_tables_of_another_version_have_its_suffix_and_the_newest_shape() -> None:
    tables = known_tables()
    for physical, name in (("clock_v7", "clock"), ("care_v7_state", "care_state"), ("care_v7_timer_bucket", "care_timer_bucket")):
        found = another_version(tables, physical)
        assert found is not None
        assert (found.physical, found.name) == (physical, name)
    for physical in ("clock", "nothing_v7", "clock_v", "projection_version"):
        assert another_version(tables, physical) is None


def test_a_group_of_which_no_version_is_active_yet_is_refused_with_what_makes_one_so(store: MemoryStore) -> None:
    async def story() -> None:
        await store.swap("projection_group", ("care",), {"first_version": 0, "active_version": 0}, expected=None)
        with pytest.raises(Refused, match="No version of care is active yet") as refused:
            await ActiveVersions(store).of("care")
        assert "projection promote care" in refused.value.next_step

    asyncio.run(story())


def test_a_group_that_is_not_there_is_named(store: MemoryStore) -> None:
    with pytest.raises(Misconfigured, match="no group nothing"):
        asyncio.run(ActiveVersions(store).of("nothing"))
