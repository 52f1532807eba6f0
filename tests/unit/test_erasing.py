"""Erasing a person: who it is, what is destroyed, in which order, once and for good; wherever it is cut off, it can be completed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from schemas.handles import customer_id
from schemas.sealing import SealedKey, format_sealed_key
from streams.control_topic import KnownBy
from streams.identity.pairs import Pairs
from streams.store.port import RowWrite
from tests.support.erasures import NOW, TENANT, Cut, Place, known_by
from touchline.erasing_keys import AGAIN_S, IN_TIME_S, MARKER
from touchline.errors import Refused, Retryable

ACCOUNT, PHONE, MAIL, COOKIE = known_by("account", 1), known_by("phone", 2), known_by("email", 3), known_by("cookie", 4)
OTHER, OTHERS_PHONE, THIRD = known_by("account", 8), known_by("phone", 9), known_by("account", 7)
AGAIN_US, IN_TIME_US = round(AGAIN_S * 1e6), round(IN_TIME_S * 1e6)


def story(told: Callable[[Place], Awaitable[Any]]) -> Place:
    """Let something happen in a place."""
    place = Place()
    asyncio.run(told(place))
    return place


async def ann(place: Place) -> list[str]:
    """Make a person with an account, a phone and a mail address linked to it, and a neighbour; return her customers, the root first."""
    customers = [await place.own(handle) for handle in (ACCOUNT, PHONE, MAIL)]
    for handle, customer in zip((ACCOUNT, PHONE, MAIL), customers, strict=True):
        await place.key(handle)
        await place.view(customer, handle)
    await place.link(PHONE, ACCOUNT)
    await place.link(MAIL, ACCOUNT)
    await place.key(ACCOUNT, "k-2", purpose="vulnerability")
    await place.view(customers[0], ACCOUNT, PHONE, MAIL)
    await place.key(OTHER)
    await place.key(OTHERS_PHONE)
    await place.view(await place.own(OTHER), OTHER, OTHERS_PHONE)
    await place.link(OTHERS_PHONE, OTHER)
    await place.store.write(
        [
            RowWrite("raw_payload", (TENANT, "/s", "p-1"), {"sealed": b"x", "sealed_key": sealed_key(PHONE)}, NOW),
            RowWrite("raw_payload", (TENANT, "/s", "p-2"), {"sealed": b"x", "sealed_key": sealed_key(OTHERS_PHONE)}, NOW),
            RowWrite("raw_payload", ("other", "/s", "p-3"), {"sealed": b"x", "sealed_key": sealed_key(PHONE)}, NOW),
        ]
    )
    await place.own(THIRD)
    for one in (ACCOUNT, THIRD):
        await propose(place, one, OTHER)
    return customers


async def propose(place: Place, one: KnownBy, other: KnownBy) -> None:
    """Let a person be asked whether two accounts are one."""
    pairs = Pairs(place.store, lambda: NOW)
    claims = await place.claim(one), await place.claim(other)
    pair = await pairs.put(None, TENANT, claims[0].own, claims[1].own, "open", reason="two_accounts")
    assert pair is not None
    await pairs.propose(pair, *claims)


def sealed_key(handle: KnownBy) -> str:
    return format_sealed_key(SealedKey("contact", handle.hash, "k"))


# -- who it is


@pytest.mark.parametrize("handle", [ACCOUNT, PHONE, MAIL], ids=lambda handle: handle.kind)
def test_a_person_is_the_whole_alias_closure_whichever_handle_is_named(handle: KnownBy) -> None:
    async def told(place: Place) -> None:
        customers = await ann(place)
        person = await place.people.by_handle(TENANT, handle)
        assert person is not None
        assert (person.root, person.customers) == (customers[0], frozenset(customers))
        assert person.handles == {ACCOUNT.name, PHONE.name, MAIL.name}

    story(told)


def test_a_person_is_found_by_any_of_the_customers_they_were() -> None:
    async def told(place: Place) -> None:
        customers = await ann(place)
        for customer in customers:
            person = await place.people.by_customer(TENANT, customer)
            assert person is not None
            assert (person.root, person.customers, len(person.handles)) == (customers[0], frozenset(customers), 3)

    story(told)


def test_a_chain_of_links_that_was_not_straightened_yet_is_one_person() -> None:
    async def told(place: Place) -> None:
        await place.link(COOKIE, PHONE)
        await place.link(PHONE, ACCOUNT)
        for handle in (COOKIE, PHONE, ACCOUNT):
            person = await place.people.by_handle(TENANT, handle)
            assert person is not None
            assert person.root == await place.own(ACCOUNT)
            assert len(person.customers) == 3

    story(told)


def test_a_person_without_any_link_is_found_by_the_handle_that_names_them() -> None:
    async def told(place: Place) -> None:
        own = await place.own(MAIL)
        await place.view(own, MAIL)
        for person in (await place.people.by_handle(TENANT, MAIL), await place.people.by_customer(TENANT, own)):
            assert person is not None
            assert (person.root, person.customers, person.handles) == (own, {own}, {MAIL.name})

    story(told)


def test_a_handle_of_the_view_is_theirs_if_it_is_nobodys_and_stays_if_it_is_somebodys() -> None:
    async def told(place: Place) -> None:
        own = await place.own(ACCOUNT)
        await place.view(own, ACCOUNT, COOKIE, OTHERS_PHONE, MAIL)
        await place.view(await place.own(OTHERS_PHONE), OTHERS_PHONE)
        await place.link(MAIL, OTHER)
        person = await place.people.by_handle(TENANT, ACCOUNT)
        assert person is not None
        assert person.handles == {ACCOUNT.name, COOKIE.name}
        assert person.customers == {own}, "a cookie that nobody ever came with alone is no customer"

    story(told)


def test_a_customer_whose_handle_left_the_view_is_found_by_what_was_sealed_under_it() -> None:
    async def told(place: Place) -> None:
        own = await place.own(PHONE)
        await place.view(own, MAIL)
        await place.view(await place.own(MAIL), MAIL)
        row = {"type": "message.received", "channel": "phone", "direction": "inbound", "actor_kind": "customer", "hidden": False}
        row |= {"home_customer_id": own, "sealed": b"x", "sealed_key": sealed_key(PHONE), "src_partition": 0, "src_offset": 1}
        await place.store.write(
            [
                RowWrite("timeline_v1", (TENANT, own, "2026-01", NOW, "m-1"), row, NOW),
                RowWrite("timeline_months_v1", (TENANT, own, "2026-01"), {}, NOW),
            ]
        )
        person = await place.people.by_customer(TENANT, own)
        assert person is not None
        assert person.handles == {PHONE.name}

    story(told)


def test_a_customer_whose_handle_cannot_be_found_is_refused_and_nothing_is_done() -> None:
    async def told(place: Place) -> None:
        await place.view("cu-1")
        with pytest.raises(Refused) as refused:
            await place.people.by_customer(TENANT, "cu-1")
        assert refused.value.reason == "no_handle"

    assert story(told).changes == 0


def test_of_nobody_nothing_is_found() -> None:
    async def told(place: Place) -> None:
        assert await place.people.by_handle(TENANT, PHONE) is None
        assert await place.people.by_customer(TENANT, "cu-1") is None

    story(told)


# -- what is done


def test_an_erasure_says_it_to_the_log_and_to_everybody_and_is_noted_before_anything_happens() -> None:
    async def told(place: Place) -> None:
        customers = await ann(place)
        place.limit = place.changes
        with pytest.raises(Cut):
            await place.erase(MAIL)
        [(action, said)] = place.notes
        assert (action, said["customer"], said["count"], said["reason"]) == ("erased", customers[0], 3, "asked")
        place.limit = None
        [done] = await place.erase(MAIL)
        assert [event.header.customer_id for event in place.log] == sorted(customers)
        assert {(event.customer, event.erasure, event.reason) for event in place.log} == {(one, done.id, "asked") for one in customers}
        assert {event.header.home_customer_id for event in place.log} == set(customers)
        assert len({event.header.id for event in place.log}) == 3
        [message] = place.told
        assert (message.erasure, set(message.handles)) == (done.id, {ACCOUNT.name, PHONE.name, MAIL.name})

    story(told)


def test_every_key_for_every_purpose_is_gone_and_where_there_was_none_a_marker_stands() -> None:
    async def told(place: Place) -> None:
        await ann(place)
        await place.erase(PHONE)
        for handle in (ACCOUNT, PHONE, MAIL):
            for purpose in ("contact", "vulnerability"):
                rows = await place.rows_of(handle, purpose)
                assert [(row.state, row.wrapped, row.erased_at_us) for row in rows] == [("destroyed", b"", NOW)], (handle.kind, purpose)
        assert [row.key_id for row in await place.rows_of(MAIL, "vulnerability")] == [MARKER]
        assert [row.key_id for row in await place.rows_of(ACCOUNT, "vulnerability")] == ["k-2"]

    story(told)


def test_nobody_else_loses_anything() -> None:
    async def told(place: Place) -> None:
        await ann(place)
        before = [await place.claim(handle) for handle in (OTHER, OTHERS_PHONE)]
        await place.erase(PHONE)
        assert [await place.claim(handle) for handle in (OTHER, OTHERS_PHONE)] == before
        for handle in (OTHER, OTHERS_PHONE):
            assert [row.state for row in await place.rows_of(handle)] == ["active"]
        assert {row["id"] for row in await place.store.scan("raw_payload")} == {"p-2", "p-3"}
        [left] = await place.store.scan("identity_proposal")
        assert {left["customer"], left["other"]} == {(await place.claim(handle)).own for handle in (OTHER, THIRD)}

    story(told)


def test_whoever_returns_is_new() -> None:
    async def told(place: Place) -> None:
        customers = await ann(place)
        await place.erase(ACCOUNT)
        for handle, was in zip((ACCOUNT, PHONE, MAIL), customers, strict=True):
            claim = await place.claim(handle)
            assert (claim.customer, claim.generation, claim.announced, claim.erased_at_us) == ("", 1, False, NOW)
            assert claim.own == customer_id(TENANT, *handle, 1) != was
        assert not [row for row in await place.store.scan("identities_by_customer") if row["customer"] in customers]

    story(told)


def test_a_key_that_was_made_by_somebody_who_did_not_know_is_destroyed_a_minute_later_and_one_of_a_returning_person_stays() -> None:
    async def told(place: Place) -> None:
        await ann(place)

        async def meanwhile() -> None:
            await place.key(PHONE, "raced", made_us=NOW + 40_000_000)
            await place.key(PHONE, "returned", made_us=NOW + AGAIN_US + 1)

        place.meanwhile = meanwhile
        [done] = await place.erase(PHONE)
        assert place.waited_s == [AGAIN_S]
        assert {row.key_id: row.state for row in await place.rows_of(PHONE)} == {"k": "destroyed", "raced": "destroyed", "returned": "active"}
        assert {row.erased_at_us for row in await place.rows_of(PHONE) if row.state == "destroyed"} == {NOW}, "what came since can be sealed"
        assert (done.step, done.erased_at_us, done.done_at_us) == ("done", NOW, NOW + AGAIN_US)

    story(told)


def test_an_erasure_that_is_completed_days_later_leaves_the_keys_of_who_returned_meanwhile() -> None:
    async def told(place: Place) -> None:
        await ann(place)
        [left] = await place.erase(PHONE, wait=False)
        assert left.step == "announced"
        assert [one.id for one in await place.erasures.unfinished(TENANT)] == [left.id]
        place.now_us += 86_400_000_000
        await place.key(PHONE, "returned", made_us=place.now_us - 1000)
        await place.key(PHONE, "raced", made_us=NOW + 1)
        await place.resume()
        assert place.waited_s == []
        assert {row.key_id: row.state for row in await place.rows_of(PHONE)} == {"k": "destroyed", "raced": "destroyed", "returned": "active"}
        assert await place.erasures.unfinished(TENANT) == []

    story(told)


def test_a_handle_that_was_linked_while_the_erasure_ran_is_erased_too() -> None:
    async def told(place: Place) -> None:
        customers = await ann(place)
        was = await place.claim(ACCOUNT)
        await place.key(COOKIE)
        cookies_customer = await place.own(COOKIE)

        async def meanwhile() -> None:
            place.meanwhile = None
            assert await place.claims.link(await place.claim(COOKIE), was, via="", evidence="m-9") is not None

        place.meanwhile = meanwhile
        await place.erase(PHONE)
        assert [row.state for row in await place.rows_of(COOKIE)] == ["destroyed"]
        assert (await place.claim(COOKIE)).generation == 1
        assert [event.customer for event in place.log] == [*sorted(customers), cookies_customer]
        assert len(place.notes) == 2
        assert await place.erasures.unfinished(TENANT) == []

    story(told)


def test_a_slow_destruction_is_done_again_so_that_its_time_is_right() -> None:
    async def told(place: Place) -> None:
        await ann(place)
        slow = iter([IN_TIME_US + 1, 10])
        insert_many = place.keys.insert_many

        async def slowly(rows: Any) -> None:
            await insert_many(rows)
            place.now_us += next(slow, 0)

        place.keys.insert_many = slowly  # type: ignore[method-assign]
        found = await place.shredder.destroy(TENANT, [PHONE, ACCOUNT], NOW)
        assert found.at_us == NOW + IN_TIME_US + 1
        assert {row.state for row in await place.rows_of(PHONE)} == {"destroyed"}

    story(told)


def test_a_store_that_still_has_a_key_after_its_destruction_is_not_believed() -> None:
    async def told(place: Place) -> None:
        await ann(place)

        async def lost(rows: Any) -> None:
            del rows

        place.keys.insert_many = lost  # type: ignore[method-assign]
        with pytest.raises(Retryable, match="can still be read"):
            await place.erase(PHONE)

    story(told)


# -- twice


def test_erasing_twice_says_when_it_was_and_does_nothing() -> None:
    async def told(place: Place) -> None:
        customers = await ann(place)
        await place.erase(PHONE)
        for customer in customers:
            await place.view(customer, erased_at_us=NOW)
        before = await place.state()
        for handle in (ACCOUNT, PHONE, MAIL):
            person = await place.people.by_handle(TENANT, handle)
            assert person is not None
            assert (person.claims, person.erased_at_us) == ((), NOW)
        for customer in customers:
            person = await place.people.by_customer(TENANT, customer)
            assert person is not None
            assert (person.claims, person.erased_at_us) == ((), NOW)
        assert await place.state() == before

    story(told)


def test_a_customer_whose_view_has_not_heard_of_it_yet_is_not_erased_again() -> None:
    async def told(place: Place) -> None:
        customers = await ann(place)
        await place.erase(PHONE)
        for customer in customers:
            person = await place.people.by_customer(TENANT, customer)
            assert person is not None
            assert (person.claims, person.erased_at_us) == ((), NOW)

    story(told)


def test_a_person_who_returned_can_be_erased_again_as_the_new_customer() -> None:
    async def told(place: Place) -> None:
        await ann(place)
        await place.erase(PHONE)
        place.now_us += 1_000_000
        await place.key(PHONE, "again", made_us=place.now_us)
        new = await place.own(PHONE)
        await place.view(new, PHONE)
        [done] = await place.erase(PHONE)
        assert (done.customers, done.handles) == ({new}, {PHONE.name})
        assert (await place.claim(PHONE)).generation == 2
        assert {row.state for row in await place.rows_of(PHONE)} == {"destroyed"}
        assert (await place.claim(ACCOUNT)).generation == 1

    story(told)


def test_an_erasure_that_was_cut_off_is_taken_up_by_the_next_one_of_this_person() -> None:
    async def told(place: Place) -> None:
        await ann(place)
        place.limit = place.changes + 1
        with pytest.raises(Cut):
            await place.erase(PHONE)
        place.limit = None
        [left] = await place.erasures.unfinished(TENANT)
        [done] = await place.erase(MAIL)
        assert done.id == left.id
        assert len(place.notes) == 1

    story(told)


# -- killed at any point


@pytest.mark.parametrize("after", [False, True], ids=["before the change", "after the change"])
def test_wherever_it_is_killed_and_however_often_completing_it_leads_to_the_same(after: bool) -> None:  # noqa: FBT001 - of pytest
    def straight() -> tuple[Any, int, set[str]]:
        kept: dict[str, Any] = {}

        async def told(place: Place) -> None:
            await ann(place)
            start = place.changes
            await place.erase(PHONE)
            kept["state"], kept["changes"] = await place.state(), place.changes - start

        place = story(told)
        return kept["state"], kept["changes"], {event.customer for event in place.log}

    wanted, changes, customers = straight()
    assert changes >= 10
    for killed_at in range(changes):

        async def told(place: Place, killed_at: int = killed_at) -> None:
            await ann(place)
            place.after = after
            place.limit = place.changes + killed_at
            with pytest.raises(Cut):
                await place.erase(PHONE)
            for _ in range(3):  # and again, wherever it was
                place.limit = place.changes + 1
                try:
                    await place.resume()
                except Cut:
                    continue
            place.limit = None
            await place.resume()
            if killed_at == 0 and not after:
                await place.erase(PHONE)
            assert await place.state() == wanted, killed_at
            assert {event.customer for event in place.log} == customers
            assert len({event.header.id for event in place.log}) == len(customers), "the same ids, however often it is said"
            assert place.told

        story(told)


def test_two_who_erase_one_person_at_once_do_it_once() -> None:
    async def told(place: Place) -> None:
        await ann(place)
        person = await place.people.by_handle(TENANT, PHONE)
        assert person is not None
        first = await place.erasing.begin(person, reason="asked", actor="op-1")
        await place.erasures.save(first)
        await asyncio.gather(place.erasing.run(first), place.erasing.run(first))
        assert [(await place.claim(handle)).generation for handle in (ACCOUNT, PHONE, MAIL)] == [1, 1, 1]
        assert await place.erasures.unfinished(TENANT) == []

    story(told)
