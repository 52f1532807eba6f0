"""Links that are made while a person is being erased: whoever was linked before the claims are cleared goes too, in either direction."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from streams.control_topic import KnownBy
from streams.identity.claim import Claim
from tests.support.erasures import TENANT, Cut, Place, known_by
from touchline.erasing import ERASURES_MAX
from touchline.erasing_keys import AGAIN_S
from touchline.errors import Retryable

ACCOUNT, PHONE, COOKIE, SESSION = known_by("account", 1), known_by("phone", 2), known_by("cookie", 4), known_by("session", 5)
Told = Callable[[Place], Awaitable[Any]]


def story(told: Told) -> Place:
    """Let something happen in a place."""
    place = Place()
    asyncio.run(told(place))
    return place


async def known(place: Place, *handles: KnownBy) -> list[str]:
    """Make a customer of each handle, with a key and a row in the view; return them."""
    for handle in handles:
        await place.key(handle)
        await place.view(await place.own(handle), handle)
    return [await place.own(handle) for handle in handles]


def when_it_is_told(place: Place, then: Callable[[], Awaitable[Any]]) -> None:
    """Let something happen once, right after `privacy.erased` is on the log: before keys are destroyed and claims are cleared."""
    append = place.to_the_log

    async def hooked(events: Any) -> None:
        await append(events)
        place.to_the_log = append  # type: ignore[method-assign]
        await then()

    place.to_the_log = hooked  # type: ignore[method-assign]


async def left(place: Place, claim: Claim) -> None:
    """Let a handle leave somebody who was erased, as the linker does when it meets one."""
    released = await place.claims.release(claim)
    assert released is not None
    assert await place.claims.announce(released)


async def forgotten(place: Place, *handles: KnownBy) -> bool:
    """Tell whether handles are nobody's and none of their keys is left."""
    claims = [await place.claim(handle) for handle in handles]
    rows = [row for handle in handles for row in await place.rows_of(handle)]
    return all((one.customer, one.generation) == ("", 1) for one in claims) and {row.state for row in rows} == {"destroyed"}


def test_a_handle_that_is_linked_meanwhile_goes_too_although_it_left_again_before_the_minute_was_over() -> None:
    async def told(place: Place) -> None:
        [_, cookies] = await known(place, PHONE, COOKIE)

        async def met_again() -> None:
            place.meanwhile = None
            if (claim := await place.claim(COOKIE)).customer:
                await left(place, claim)

        when_it_is_told(place, lambda: place.link(COOKIE, PHONE))
        place.meanwhile = met_again
        first, following = await place.erase(PHONE)
        assert await forgotten(place, PHONE, COOKIE)
        assert (first.handles, following.handles) == ({PHONE.name}, {COOKIE.name})
        assert cookies in {event.customer for event in place.log}
        assert len(place.notes) == 2
        assert await place.erasures.unfinished(TENANT) == []

    story(told)


def test_whom_the_person_is_linked_to_meanwhile_goes_too_with_all_that_is_theirs() -> None:
    async def told(place: Place) -> None:
        customers = await known(place, ACCOUNT, PHONE, COOKIE)
        await place.link(COOKIE, ACCOUNT)
        when_it_is_told(place, lambda: place.link(PHONE, ACCOUNT))
        await place.erase(PHONE)
        assert await forgotten(place, ACCOUNT, PHONE, COOKIE)
        assert {event.customer for event in place.log} == set(customers)
        assert await place.erasures.unfinished(TENANT) == []

    story(told)


def test_whom_the_person_is_linked_to_meanwhile_goes_too_although_they_were_forgotten_once_before() -> None:
    async def told(place: Place) -> None:
        await known(place, ACCOUNT)
        await place.erase(ACCOUNT)
        place.now_us += 1_000_000
        await known(place, PHONE)
        await place.key(ACCOUNT, "again", made_us=place.now_us)
        await place.view(await place.own(ACCOUNT), ACCOUNT)
        when_it_is_told(place, lambda: place.link(PHONE, ACCOUNT))
        await place.erase(PHONE)
        assert (await place.claim(ACCOUNT)).generation == 2
        assert {row.state for row in await place.rows_of(ACCOUNT)} == {"destroyed"}

    story(told)


def test_a_person_who_came_back_within_the_minute_is_a_new_customer_and_loses_nothing() -> None:
    async def told(place: Place) -> None:
        await known(place, PHONE, COOKIE)

        async def back() -> None:
            place.meanwhile = None
            place.now_us += round(AGAIN_S * 1e6)
            await known(place, ACCOUNT)
            await place.key(PHONE, "new", made_us=place.now_us + 1)
            await place.view(await place.own(PHONE), PHONE)
            await place.link(PHONE, ACCOUNT)
            await place.link(COOKIE, ACCOUNT)

        place.meanwhile = back
        await place.erase(PHONE)
        assert (await place.claim(PHONE)).customer == (await place.claim(COOKIE)).customer == await place.own(ACCOUNT)
        assert {row.key_id for row in await place.rows_of(PHONE) if row.state == "active"} == {"new"}
        assert not await forgotten(place, COOKIE)
        assert len(place.notes) == 1

    story(told)


def test_following_goes_on_until_nobody_new_is_found() -> None:
    async def told(place: Place) -> None:
        await known(place, ACCOUNT, PHONE, COOKIE, SESSION)
        when_it_is_told(place, lambda: place.link(SESSION, COOKIE))
        person = await place.people.by_handle(TENANT, PHONE)
        assert person is not None
        erasure = await place.erasing.begin(person, reason="asked", actor="op-1")
        await place.link(COOKIE, PHONE)
        await place.erasing.run(erasure)
        assert await forgotten(place, PHONE, COOKIE, SESSION)
        assert not await forgotten(place, ACCOUNT)
        assert await place.erasures.unfinished(TENANT) == []

    story(told)


def test_there_is_a_limit_to_what_follows_and_completing_it_goes_on() -> None:
    async def told(place: Place) -> None:
        others = [known_by("cookie", n) for n in range(20, 20 + ERASURES_MAX + 2)]
        await known(place, PHONE, *others)
        pairs = iter(zip(others, [PHONE, *others], strict=False))
        append = place.to_the_log

        async def hooked(events: Any) -> None:
            await append(events)
            if (pair := next(pairs, None)) is not None:
                await place.link(*pair)

        place.to_the_log = hooked  # type: ignore[method-assign]
        with pytest.raises(Retryable, match="go on being linked"):
            await place.erase(PHONE)
        assert await place.erasures.unfinished(TENANT)
        for _ in range(3):
            await place.resume()
        assert await place.erasures.unfinished(TENANT) == []
        assert await forgotten(place, PHONE, *others)

    story(told)


@pytest.mark.parametrize("after", [False, True], ids=["before the change", "after the change"])
@pytest.mark.parametrize("stronger", [False, True], ids=["linked to them", "they are linked to"])
def test_wherever_it_is_killed_whoever_was_linked_meanwhile_goes_too(*, stronger: bool, after: bool) -> None:
    async def begun(place: Place) -> None:
        customers.update(await known(place, ACCOUNT, PHONE, COOKIE))
        person = await place.people.by_handle(TENANT, PHONE)
        assert person is not None
        await place.erasing.begin(person, reason="asked", actor="op-1")
        place.now_us += 1_000_000  # what follows was begun later
        await (place.link(PHONE, ACCOUNT) if stronger else place.link(COOKIE, PHONE))

    async def straight(place: Place) -> None:
        await begun(place)
        start = place.changes
        await place.resume()
        counted.append(place.changes - start)
        wanted.append(await place.state())

    customers: set[str] = set()
    counted: list[int] = []
    wanted: list[Any] = []
    said = {event.customer for event in story(straight).log}
    assert counted[0] >= 10
    for killed_at in range(counted[0]):

        async def told(place: Place, killed_at: int = killed_at) -> None:
            await begun(place)
            place.after, place.limit = after, place.changes + killed_at
            with pytest.raises(Cut):
                await place.resume()
            place.limit = None
            await place.resume()
            assert await place.state() == wanted[0], killed_at
            assert await place.erasures.unfinished() == []

        assert {event.customer for event in story(told).log} == said
    assert len(said & customers) == 2


def test_an_erasure_that_somebody_else_completed_meanwhile_is_not_done_again() -> None:
    async def told(place: Place) -> None:
        await known(place, PHONE)
        person = await place.people.by_handle(TENANT, PHONE)
        assert person is not None
        begun = await place.erasing.begin(person, reason="asked", actor="op-1")
        await place.erasing.run(begun)
        place.now_us += 86_400_000_000
        await place.key(PHONE, "returned", made_us=place.now_us - 1)
        [again] = await place.erasing.run(begun)
        assert again.is_done
        assert {row.key_id: row.state for row in await place.rows_of(PHONE)} == {"k": "destroyed", "returned": "active"}

    story(told)
