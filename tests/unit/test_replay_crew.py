"""The processes of a build: told, listened to, and never left alone with a dead one among them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from streams.replay.crew import Crew
from streams.replay.messages import Share
from tests.support.crews import dying, failing, waiting, working
from touchline.errors import Refused, TouchlineError
from touchline.settings import load_settings

T = TypeVar("T")
SHARES = [Share(load_settings(), "care", 2, 1, partitions, 1000, "stop") for partitions in ((0, 2), (1,))]


def with_crew(target: Callable[..., None], of: Callable[[Crew], Awaitable[T]]) -> T:
    """Start a crew, do something with it, and let it leave."""

    async def run() -> T:
        crew = Crew(SHARES, target)
        try:
            await asyncio.wait_for(crew.start(), 60)
            return await asyncio.wait_for(of(crew), 60)
        finally:
            await crew.close()
            assert not any(member.process.is_alive() for member in crew._members), "nobody is left behind"

    return asyncio.run(run())


def test_everybody_gets_their_own_partitions_and_is_asked_again_and_again() -> None:
    async def twice(crew: Crew) -> tuple[object, ...]:
        first = await crew.run({0: 5, 1: 7, 2: 9}), [one.offsets for one in crew.progress]
        second = await crew.run({0: 6, 1: 7, 2: 9}), sum(one.records for one in crew.progress)
        return *first, *second

    assert with_crew(working, twice) == (True, [{0: 5, 2: 9}, {1: 7}], True, 22)


def test_one_that_is_killed_is_named_and_the_others_leave() -> None:
    with pytest.raises(TouchlineError, match=r"process 1 of 2 \(partitions 0, 2\) ended with -9 .* finished their chunk") as said:
        with_crew(dying, lambda crew: crew.run({0: 5, 1: 7, 2: 9}))
    assert "goes on from the last checkpoints" in said.value.next_step


def test_what_one_of_them_says_when_it_cannot_go_on_is_what_the_build_says() -> None:
    with pytest.raises(Refused, match="offset 7") as said:
        with_crew(failing, lambda crew: crew.run({0: 5, 1: 7, 2: 9}))
    assert said.value.next_step == "correct it."


def test_a_stop_ends_a_round_before_it_is_complete_and_a_kill_ends_it_at_once() -> None:
    async def stopped(crew: Crew) -> bool:
        running = asyncio.create_task(crew.run({0: 5, 1: 7, 2: 9}))
        await asyncio.sleep(0)
        crew.stop()
        return await running

    async def killed(crew: Crew) -> bool:
        running = asyncio.create_task(crew.run({0: 5, 1: 7, 2: 9}))
        await asyncio.sleep(0)
        crew.kill()
        return await running

    assert with_crew(waiting, stopped) is False
    assert with_crew(waiting, killed) is False
