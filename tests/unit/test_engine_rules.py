"""Rulebooks in the engine: who hears of which, and when."""

import asyncio
from typing import Any

from streams.books import Books, Position, positions
from streams.store.memory import MemoryStore
from tests.support.clockwork import SECOND, event, published, record, rules, store, wake
from tests.unit.test_engine_timers import engine, fold, rings


def told(into: MemoryStore) -> list[Any]:
    """Return what the ear has been told, by customer."""
    return sorted((row["customer_id"], row["told"]) for row in asyncio.run(into.scan("heard_v1")))


def test_a_record_sees_the_rulebooks_before_it_and_no_later_one() -> None:
    one = engine()
    book = record(1, published(rules(20, 1), 100.5), 100.5)
    fold(one, [record(0, event("received", 1, 101), 101), book, record(2, event("received", 2, 101), 101)])
    assert rings(fold(one, [record(3, wake(2, 122), 122)])) == [(1, 121, 121)]
    assert rings(fold(one, [record(4, wake(1, 122), 122)])) == [(1, 121, 121)], "it heard of the rules before its wake-up, and moved"


def test_a_rulebook_is_applied_at_its_own_append_time_between_timers_in_the_order_of_time() -> None:
    """The bell that rang at 160 rang under the old rules, the one at 200 under the new, whoever comes at 1000."""
    one = engine()
    fold(one, [record(0, event("received", 1, 100), 100)])
    fold(one, [record(1, event("received", 1, 140, conversation="b"), 140), record(2, published(rules(3600, 4), 161), 161)])
    work = fold(one, [record(3, event("received", 1, 163, conversation="c"), 163)])
    assert [row.columns["rules"] for row in work.own if row.table == "ring_v1" and row.columns] == [0]
    work = fold(one, [record(4, wake(1, 1000), 1000)])
    assert [
        (c["conversation"] if "conversation" in c else row.key[2], c["rules"]) for row in work.own if row.table == "ring_v1" and (c := row.columns)
    ] == [
        ("c1/a", 4),
        ("c1/b", 4),
    ]


def test_a_subject_without_a_state_is_not_told_of_rules() -> None:
    """And a projection that has none yet is not either: it begins with the rules as they are."""
    one, into = engine(), store()
    fold(one, [record(0, published(rules(30, 1), 1), 1), record(1, event("received", 1, 100), 100), record(2, wake(1, 131), 131)], into)
    assert told(into) == [("c1", ())]
    fold(one, [record(3, published(rules(31, 2), 132), 132), record(4, wake(1, 133), 133)], into)
    fold(one, [record(5, event("sent", 1, 140), 140), record(6, event("received", 1, 141), 141), record(7, wake(1, 173), 173)], into)
    assert told(into) == [("c1", ("2@132000000",)), ("c1", ("2@132000000",))]


def test_each_rulebook_is_told_once_whoever_owns_the_partition() -> None:
    """The next owner reads them from the store, and so does one that must read the record itself again."""
    into = store()
    first = [record(0, event("received", 1, 100), 100), record(1, wake(1, 161), 161), record(2, published(rules(31, 2), 162), 162)]
    fold(engine(), first, into)
    read = positions(asyncio.run(into.read("config_position", {"partition": 0})))
    assert [(p.tenant, p.offset, p.appended_us, p.id, p.book.version) for p in read] == [("acme", 2, 162 * SECOND, "rules", 2)]
    assert read[0].book.defaults.reopen_window_s == 31
    for _ in range(2):
        later = engine()
        later.open(0, None, books=read)
        fold(later, [first[2], record(3, wake(1, 163), 163), record(4, published(rules(31, 2), 164), 164), record(5, wake(1, 169), 169)], into)
    (ear,) = [row["state"] for row in asyncio.run(into.scan("clockwork_v1_state")) if row["projection"] == "ear"]
    assert bytes(ear).count(b"2@162000000") == 1  # type: ignore[arg-type]


def test_a_wake_up_tells_of_rules_and_is_then_written() -> None:
    one, into = engine(), store()
    fold(one, [record(0, event("received", 1, 100), 100), record(1, published(rules(20, 1), 101), 101)], into)
    (due,) = fold(one, [record(2, wake(1, 102), 102)], into).timers
    assert due.next is not None
    assert (due.was_us, due.next.expires_us) == (160 * SECOND, 120 * SECOND)
    states = [row for row in asyncio.run(into.scan("clockwork_v1_state")) if row["subject"] == "c1"]
    assert {row["applied_offset"] for row in states} == {2}


def test_rules_of_another_tenant_are_nobodys_business() -> None:
    one, into = engine(), store()
    fold(one, [record(0, event("received", 1, 100), 100), record(1, published(rules(20, 1), 101, tenant="other"), 101)], into)
    assert fold(one, [record(2, wake(1, 102), 102)], into).own == []


def test_what_cannot_be_read_is_said_and_left_out_and_the_rest_goes_on() -> None:
    one, into = engine(), store()
    torn = record(1, published(rules(20, 1), 101), 101)._replace(value=b"\x00\x00\x00\x00\x01garbage")
    work = fold(
        one,
        [record(0, published(rules(20, 1), 101, body="{]"), 101), torn, record(2, event("received", 1, 102), 102), record(3, wake(1, 163), 163)],
        into,
    )
    assert [offset for offset, _ in work.refused] == [0, 1]
    assert work.results["applied"] == 1
    assert rings(work) == [(1, 162, 162)]
    assert asyncio.run(into.scan("config_position")) == []
    assert asyncio.run(into.scan("parked_customer")) == []


def test_a_known_version_is_a_repeat() -> None:
    one, into = engine(), store()
    work = fold(one, [record(n, published(rules(20, 1), 101 + n), 101 + n) for n in range(3)], into)
    assert (work.results["config"], work.results["repeat"]) == (1, 2)
    assert [row["src_offset"] for row in asyncio.run(into.scan("config_position"))] == [0]


def test_a_subject_that_was_folded_in_another_partition_has_heard_what_was_appended_until_then() -> None:
    from projections.rules import Config  # noqa: PLC0415

    books = Books(Config())
    for offset in (5, 9):
        assert books.add(offset, offset * 10, Position("t", offset, offset * 10, "rules", rules(1, offset)).book)
    assert [books.before(5), books.before(6), books.until(49), books.until(50), books.until(1000)] == [0, 1, 0, 1, 2]
    assert [books.config(n).newest.version for n in range(3)] == [0, 5, 9]
