"""Linking, whoever does it, in whatever order, killed wherever: the same customers, one of them for each handle, and all of it told."""

from collections.abc import Sequence
from random import Random
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.events import Handle
from tests.support.identity_invariants import customer_of, links_between, roots_of, wrong_claims, wrong_records
from tests.support.linking import TENANT, Log, Process, handle, identity_store, run, scheduled

HANDLES = [handle("account", 1), *(handle(kind, n) for kind in ("phone", "email", "cookie") for n in (1, 2, 3))]

Events = list[list[Handle]]

events = st.lists(st.lists(st.sampled_from(HANDLES), min_size=1, max_size=3, unique_by=lambda one: (one.kind, one.hash)), min_size=1, max_size=8)
turns = st.lists(st.integers(-3, 5), max_size=150)


def key(one: Handle) -> tuple[str, str, str]:
    """Return a handle as a row names it."""
    return TENANT, one.kind, one.hash.hex()


def numbered(found: Events) -> list[tuple[str, Sequence[Handle]]]:
    """Give events their ids."""
    return [(f"e-{number}", handles) for number, handles in enumerate(found)]


def tables(store: Any) -> tuple[list[Any], list[Any]]:
    """Return the claims and the ways back."""
    return run(store.scan("identity")), run(store.scan("identities_by_customer"))


def whose(claims: Any, asked: Any) -> dict[tuple[str, str, str], str]:
    """Return the customers of handles, as the claims say; a handle without one is its own."""
    roots = roots_of(claims)
    return {one: roots.get(one) or customer_of(one) for one in asked}


@settings(max_examples=150, deadline=None)
@given(found=events, order=st.randoms(use_true_random=False))
def test_any_order_of_arrival_comes_to_the_same_customers(found: Events, order: Any) -> None:
    """The first of all handles that belong together names the customer, whichever event came first."""
    expected = links_between([[key(one) for one in handles] for handles in found])
    order.shuffle(found)
    store, log = identity_store(), Log()
    process = Process(store, log, numbered(found), stepping=False)
    run(process.work())
    claims, back = tables(store)
    assert whose(claims, expected) == expected
    assert wrong_claims(claims, back) == []
    assert wrong_records(claims, log.records) == []
    for handles in found:
        assert run(process.resolve("again", handles)) == expected[key(handles[0])]


@settings(max_examples=400, deadline=None)
@given(found=st.lists(events, min_size=2, max_size=3), schedule=turns)
@example(found=[[[HANDLES[7], HANDLES[4]]], [[HANDLES[4], HANDLES[1]]]], schedule=[0] * 12 + [1] * 40)
def test_resolvers_that_link_at_once_and_are_killed_anywhere_come_to_the_same(found: list[Events], schedule: list[int]) -> None:
    """Steps of two or three of them in any order, each killed between any two steps and started again: one customer, told under both keys."""
    expected = links_between([[key(one) for one in handles] for mine in found for handles in mine])
    store, log = identity_store(), Log()
    processes = [Process(store, log, [(f"{number}-{id_}", handles) for id_, handles in numbered(mine)]) for number, mine in enumerate(found)]
    scheduled(processes, schedule)
    claims, back = tables(store)
    assert whose(claims, expected) == expected
    assert wrong_claims(claims, back) == []
    assert wrong_records(claims, log.records) == []
    for number, mine in enumerate(found):
        for id_, _ in numbered(mine):
            assert log.keys(f"{number}-{id_}"), "an event was lost"


decided = st.tuples(st.sampled_from(["unmerge", "unmerge", "merge", "reject"]), st.lists(st.sampled_from(HANDLES), min_size=2, max_size=2))
deeds = st.lists(st.one_of(st.tuples(st.just(""), events.map(lambda found: found[0])), decided), min_size=1, max_size=8)


@settings(max_examples=400, deadline=None)
@given(found=st.lists(deeds, min_size=1, max_size=3), schedule=turns)
def test_links_and_unlinks_at_once_leave_nothing_half_done(found: list[list[tuple[str, list[Handle]]]], schedule: list[int]) -> None:
    """Whatever people decide while events link, and whoever is killed: one root for each handle, what is so was told, nothing is lost."""
    store, log = identity_store(), Log()
    mine = [[(f"{what}-{number}-{n}", handles) for n, (what, handles) in enumerate(some)] for number, some in enumerate(found)]
    processes = [Process(store, log, some) for some in mine]
    scheduled(processes, schedule)
    for some in mine:
        for id_, _ in some:
            assert log.keys(id_) or not id_.startswith("-"), "an event was lost"
    last = Process(store, log, stepping=False)
    for one in HANDLES:
        run(last.resolve("last", [one]))
    claims, back = tables(store)
    assert wrong_claims(claims, back, by_people=True) == []
    assert wrong_records(claims, log.records) == []
    assert {row["state"] for row in run(store.scan("identity_pair")) if row["state"]} <= {"open", "rejected", "accepted"}


def test_thousands_of_contradicting_deeds_of_two_workers_leave_one_customer_per_handle() -> None:
    """Two workers, 60 handles, 4,000 events and decisions at once, each worker killed now and then: no event lost, nobody in two places."""
    rng = Random(6)  # noqa: S311 - the same every time
    everybody = [handle(kind, n) for kind in ("account", "phone", "email", "cookie") for n in range(1, 16)]

    def deed(number: int, n: int) -> tuple[str, list[Handle]]:
        what = rng.choices(["", "unmerge", "merge", "reject"], [80, 14, 4, 2])[0]
        return f"{what}-{number}-{n}", rng.sample(everybody, 2 if what else rng.randint(1, 3))

    store, log = identity_store(), Log()
    mine = [[deed(number, n) for n in range(2000)] for number in range(2)]
    processes = [Process(store, log, some, most=4) for some in mine]
    scheduled(processes, [rng.randrange(-1, 2) if rng.randrange(200) == 0 else rng.randrange(2) for _ in range(40_000)], steps_max=1_000_000)
    resolved = {event.header.id for _, event in log.records}
    assert {id_ for some in mine for id_, _ in some if id_.startswith("-")} <= resolved, "an event was lost"
    last = Process(store, log, stepping=False, most=4)
    where = {key(one): run(last.resolve("last", [one])) for one in everybody}
    claims, back = tables(store)
    assert wrong_claims(claims, back, per_kind_max=4 + len(processes) - 1, by_people=True) == []
    assert wrong_records(claims, log.records) == []
    assert where == whose(claims, where)
    assert len({outcome for process in processes for outcome in process.outcomes}) == 4, "every outcome came about"
