"""Which versions a worker runs: what its operator names, as far as code and store let it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from projections.registry import GROUPS, VERSIONS, Group
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.store.port import Checkpoint, GroupVersion
from streams.versions.choosing import Wanted, kept_groups, running_groups, wanted
from streams.versions.versions import Promoting, State, Versions
from touchline.errors import Misconfigured
from touchline.settings import load_settings

V1, V2, V3 = (GroupVersion("view", number) for number in (1, 2, 3))


@pytest.fixture(autouse=True)
def _next_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this code have `view` v2 beside v1; v3 is of a later one."""
    newer = Group("view", 2, VERSIONS["view", 1].projections)
    monkeypatch.setitem(VERSIONS, ("view", 2), newer)
    monkeypatch.setitem(GROUPS, "view", newer)


def told(story: Callable[[MemoryStore], Awaitable[None]]) -> None:
    asyncio.run(story(MemoryStore(known_tables())))  # type: ignore[arg-type]


async def there(store: MemoryStore, **states: State) -> None:
    """Let v1 of the view be active, and others be what is said: `v2="shadow"`."""
    versions = Versions(store)
    await versions.begin(V1, 1)
    for name, state in states.items():
        group = GroupVersion("view", int(name[1:]))
        await versions.add(group, 2)
        if state != "building":
            await versions.move(group, "building", state, 3)


async def runs(store: MemoryStore, words: str) -> list[str]:
    return [f"{group.name}.v{group.version}" for group in await running_groups(store, wanted(words), 5)]


def test_words_name_groups_and_versions_each_once() -> None:
    assert wanted("resolver,repeat_contacts,care@2,care,care@2") == [
        Wanted("resolver", None),
        Wanted("repeat_contacts", None),
        Wanted("care", 2),
        Wanted("care", None),
    ]
    assert [str(one) for one in wanted("care@2,view")] == ["care@2", "view"]


@pytest.mark.parametrize("words", ["view", "view,care@2", "repeat_contacts", "a1_b"])
def test_the_setting_takes_names_with_underscores_and_versions(words: str) -> None:
    assert load_settings(groups=words).groups == words


@pytest.mark.parametrize("words", ["", "view,", "View", "view@", "view@0", "view@x", "view@2@3", "1view", "view care", "_view"])
def test_the_setting_refuses_anything_else(words: str) -> None:
    with pytest.raises(Misconfigured, match="TOUCHLINE_GROUPS"):
        load_settings(groups=words)


def test_of_a_group_that_never_ran_the_newest_version_begins_and_is_active() -> None:
    async def story(store: MemoryStore) -> None:
        assert await runs(store, "view,care") == ["view.v2", "care.v1"]
        standing = await Versions(store).read("view")
        assert standing is not None
        assert (standing.first, standing.active, standing.running) == (2, 2, [2])
        assert await runs(store, "view") == ["view.v2"], "and from then on it is the one that runs"

    told(story)


def test_a_version_that_ran_before_anybody_noted_versions_goes_on() -> None:
    """Tables of an older installation, run by newer code."""

    async def story(store: MemoryStore) -> None:
        await store.save_checkpoints(V1, {0: Checkpoint(5, 1, True, 1)})  # noqa: FBT003 - its third value
        assert await runs(store, "view") == ["view.v1"]

    told(story)


def test_a_group_means_every_version_that_runs_and_a_version_exactly_that_one() -> None:
    async def story(store: MemoryStore) -> None:
        await there(store, v2="shadow")
        assert await runs(store, "view") == ["view.v1", "view.v2"]
        assert await runs(store, "view@2") == ["view.v2"]
        assert await runs(store, "view@1,view") == ["view.v1", "view.v2"]

    told(story)


def test_versions_that_are_built_or_retired_or_of_other_code_are_left_to_others() -> None:
    async def story(store: MemoryStore) -> None:
        await there(store, v2="building", v3="shadow")
        assert await runs(store, "view") == ["view.v1"]

    told(story)


@pytest.mark.parametrize(
    ("states", "words", "why"),
    [
        ({"v2": "building"}, "view@2", "view v2 is being built. Next: wait for `touchline projection build view@2`"),
        ({"v2": "retired"}, "view@2", "view v2 is retired"),
        ({}, "view@2", "view v2 was never built here; v1 is active. Next: `touchline projection build view@2`"),
        ({"v3": "shadow"}, "view@3", "this code has no version 3 of the group view"),
        ({}, "nobody", "there is no group nobody"),
    ],
)
def test_a_version_that_must_not_run_is_refused_with_what_to_do(states: dict[str, State], words: str, why: str) -> None:
    async def story(store: MemoryStore) -> None:
        await there(store, **states)
        with pytest.raises(Misconfigured) as refused:
            await runs(store, words)
        assert why in str(refused.value)

    told(story)


def test_a_group_of_whose_running_versions_this_code_has_none_is_refused() -> None:
    async def story(store: MemoryStore) -> None:
        await there(store, v3="shadow")
        promoting = Promoting(3, "p", "op", 4)
        await Versions(store).begin_promotion("view", promoting)
        await Versions(store).end_promotion("view", promoting)
        await Versions(store).move(V1, "shadow", "retired", 5)
        with pytest.raises(Misconfigured, match=r"no version of view that runs here: it has v1, v2; running: v3"):
            await runs(store, "view")

    told(story)


def test_whoever_began_a_group_and_was_cut_off_is_finished() -> None:
    async def story(store: MemoryStore) -> None:
        await store.swap("projection_group", ("view",), {"first_version": 1, "active_version": 1}, expected=None)
        assert await runs(store, "view") == ["view.v1"]

    told(story)


def test_a_group_that_was_built_and_never_promoted_runs_in_shadow() -> None:
    async def story(store: MemoryStore) -> None:
        await store.swap("projection_group", ("view",), {"first_version": 0, "active_version": 0}, expected=None)
        await store.swap("projection_version", tuple(V2), {"state": "shadow"}, expected=None)
        assert await runs(store, "view") == ["view.v2"]

    told(story)


def test_tables_are_kept_for_the_first_version_of_a_group_and_for_those_that_are_known() -> None:
    async def kept(store: MemoryStore) -> list[str]:
        return [f"{group.name}.v{group.version}" for group in await kept_groups(store)]

    async def story(store: MemoryStore) -> None:
        assert await kept(store) == ["view.v2", "care.v1"]
        await there(store)
        assert await kept(store) == ["view.v1", "care.v1"], "those of v2 come with its build"
        await Versions(store).add(V2, 2)
        await Versions(store).add(V3, 2)
        assert await kept(store) == ["view.v1", "view.v2", "care.v1"]
        await Versions(store).move(V2, "building", "retired", 3)
        assert await kept(store) == ["view.v1", "care.v1"]

    told(story)
