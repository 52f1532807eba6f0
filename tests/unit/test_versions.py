"""Versions of groups: who is active, who may change it, and what the second of two is told."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from streams.store.catalogue import control_tables
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion
from streams.versions.versions import Promoting, Standing, Versions
from touchline.errors import Refused

V1, V2 = GroupVersion("view", 1), GroupVersion("view", 2)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


@pytest.fixture
def versions() -> Versions:
    return Versions(MemoryStore(control_tables()))


def standing(versions: Versions) -> Standing:
    found = run(versions.read("view"))
    assert found is not None
    return found  # type: ignore[no-any-return]


def test_the_first_version_that_starts_is_active_and_the_next_one_is_not(versions: Versions) -> None:
    assert run(versions.read("view")) is None
    first = run(versions.begin(V1, 10))
    assert (first.first, first.active, first.state(1)) == (1, 1, "active")
    again = run(versions.begin(V2, 20))
    assert (again.first, again.active, again.state(2)) == (1, 1, None)
    assert run(versions.begin(V1, 30)) == first


def test_a_version_is_built_then_follows_then_speaks(versions: Versions) -> None:
    run(versions.begin(V1, 10))
    run(versions.add(V2, 20))
    assert standing(versions).state(2) == "building"
    assert standing(versions).running == [1]
    run(versions.add(V2, 21))  # a build that goes on
    run(versions.move(V2, "building", "shadow", 30))
    assert standing(versions).running == [1, 2]
    one = Promoting(2, "p-1", "ann", 40)
    run(versions.begin_promotion("view", one))
    assert standing(versions).promoting == one
    assert standing(versions).active == 1
    run(versions.end_promotion("view", one))
    after = standing(versions)
    assert (after.active, after.promoting, after.state(1), after.state(2), after.first) == (2, None, "shadow", "active", 1)
    run(versions.end_promotion("view", one))  # run again


def test_of_two_operators_one_is_told_what_the_other_does(versions: Versions) -> None:
    run(versions.begin(V1, 10))
    one, two = Promoting(2, "p-1", "ann", 40), Promoting(3, "p-2", "bob", 50)
    run(versions.begin_promotion("view", one))
    with pytest.raises(Refused, match="ann is promoting version 2"):
        run(versions.begin_promotion("view", two))
    run(versions.begin_promotion("view", two, instead_of=one))
    with pytest.raises(Refused, match="bob is promoting version 3"):
        run(versions.begin_promotion("view", Promoting(2, "p-1", "ann", 60), instead_of=one))
    with pytest.raises(Refused, match="another promotion has come in between"):
        run(versions.end_promotion("view", one))
    assert standing(versions).active == 1


def test_a_version_in_use_is_not_built_again(versions: Versions) -> None:
    run(versions.begin(V1, 10))
    with pytest.raises(Refused, match="view v1 is active: its tables are in use"):
        run(versions.add(V1, 20))
    run(versions.add(V2, 20))
    run(versions.move(V2, "building", "shadow", 21))
    with pytest.raises(Refused, match="view v2 is shadow"):
        run(versions.add(V2, 22))
    run(versions.move(V2, "shadow", "retired", 23))
    run(versions.add(V2, 24))
    assert standing(versions).state(2) == "building"


def test_a_state_changes_only_from_what_it_was(versions: Versions) -> None:
    run(versions.begin(V1, 10))
    run(versions.add(V2, 20))
    with pytest.raises(Refused, match="view v2 has changed meanwhile"):
        run(versions.move(V2, "shadow", "retired", 30))
    assert standing(versions).state(2) == "building"


def test_a_paused_version_stands_still_until_it_is_resumed(versions: Versions) -> None:
    run(versions.begin(V1, 10))
    assert run(versions.pause(V1, "parked: 101 customers in a minute", 20))
    assert not run(versions.pause(V1, "again", 21))
    assert standing(versions).versions[1].paused == "parked: 101 customers in a minute"
    assert standing(versions).state(1) == "active"
    run(versions.resume(V1, 30))
    assert not standing(versions).versions[1].paused
    with pytest.raises(Refused, match="view v1 is not paused"):
        run(versions.resume(V1, 31))


def test_what_a_comparison_came_to_is_kept(versions: Versions) -> None:
    run(versions.begin(V1, 10))
    run(versions.note_verified(V1, '{"equal": true}', 50))
    row = standing(versions).versions[1]
    assert (row.verified, row.verified_us) == ('{"equal": true}', 50)
