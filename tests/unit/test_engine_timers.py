"""What the engine does with timers, one rule at a time; the laws over any schedule are in tests/property/test_engine_timer_laws.py."""

import asyncio
from typing import Any, ClassVar

import msgspec
import pytest

from projections.kernel import Arm, Disarm, Effect, Moment, Projection, Step, Subject, Tally, Timer, Upsert
from projections.registry import Group
from projections.tables import Table, state_table, timer_tables
from schemas.events import CustomerContact, MessageReceived, MessageSent
from schemas.record import Event
from streams.armed import NEVER_US, ArmedTimers
from streams.engine import Engine
from streams.records import RawRecord
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion
from streams.work import Work
from tests.support.clockwork import CODEC, GROUP, SECOND, batch, event, record, rules, store, wake
from tests.support.folds import folded

VERSION = GroupVersion("clockwork", 1)
MINUTE = rules(60)


def engine(group: Group = GROUP, span_s: int = 60) -> Engine:
    """Return an engine whose partition 0 is open at offset 0; the bell rings after `span_s`."""
    from projections.rules import Config  # noqa: PLC0415

    built = Engine(group, CODEC, tenant="acme", cached_subjects_max=1000, config=Config((rules(span_s),)), settle_s=60)
    built.open(0, None)
    return built


def fold(one: Engine, records: list[RawRecord], into: MemoryStore | None = None) -> Work:
    """Fold some records of partition 0."""
    return folded(one, batch(records), into)


def rings(work: Work) -> list[tuple[Any, ...]]:
    """Return (how often, due in s, noticed in s) of the rows of the bell."""
    rows = [row.columns for row in work.own if row.table == "ring_v1" and row.columns]
    return [(c["n"], c["rang_at"] / SECOND, c["noticed_at"] / SECOND) for c in rows]  # type: ignore[operator]


def test_a_timer_expires_before_a_record_that_was_appended_after_its_expiry_moment() -> None:
    one = engine()
    fold(one, [record(0, event("received", 1, 100), 100)])
    assert rings(fold(one, [record(1, event("sent", 1, 160.5), 160.5)])) == [(1, 160, 160)]


def test_a_record_appended_at_exactly_the_expiry_moment_comes_first() -> None:
    one = engine()
    fold(one, [record(0, event("received", 1, 100), 100)])
    assert rings(fold(one, [record(1, event("sent", 1, 160), 160), record(2, event("received", 1, 500, conversation="b"), 500)])) == []


def test_grace_moves_the_expiry_moment_and_not_the_due_time() -> None:
    one = engine()
    fold(one, [record(0, event("received", 1, 100, channel="email"), 100)])
    assert rings(fold(one, [record(1, wake(1, 165), 165)])) == []
    assert rings(fold(one, [record(2, wake(1, 165.001), 165.001)])) == [(1, 160, 165)]


def test_a_timer_that_is_overdue_when_it_is_armed_waits_the_settling_time() -> None:
    """A backlog, an import or a merge brings question and answer a moment apart: nobody is alarmed."""
    one = engine()
    answered = [record(0, event("received", 1, 100), 7000), record(1, event("sent", 1, 120), 7001), record(2, wake(1, 9000), 9000)]
    assert rings(fold(one, answered)) == []
    fold(one, [record(3, event("received", 2, 100), 10_000)])
    assert rings(fold(one, [record(4, wake(2, 10_060), 10_060)])) == []
    assert rings(fold(one, [record(5, wake(2, 10_061), 10_061)])) == [(1, 160, 10_060)]


def test_arming_for_the_same_due_time_keeps_the_expiry_moment() -> None:
    timers = ArmedTimers()
    timers.arm("p", "a", 100, 160)
    timers.arm("p", "a", 100, 900)
    assert timers.next_us == 160
    timers.arm("p", "a", 101, 900)
    assert timers.next_us == 900
    timers.disarm("p", "a")
    timers.disarm("p", "a")
    assert (timers.next_us, len(timers), timers.encode()) == (NEVER_US, 0, b"")


def test_timers_expire_in_the_order_of_expiry_due_and_name() -> None:
    timers = ArmedTimers()
    for projection, name, due_us, expires_us in (("b", "z", 1, 9), ("a", "y", 2, 9), ("b", "x", 2, 9), ("b", "y", 2, 9), ("c", "a", 9, 8)):
        timers.arm(projection, name, due_us, expires_us)
    came = []
    while found := timers.earliest():
        came.append((found.projection, found.name))
        timers.disarm(*came[-1])
    assert came == [("c", "a"), ("b", "z"), ("b", "x"), ("a", "y"), ("b", "y")]


def test_what_is_stored_of_timers_does_not_depend_on_the_order_in_which_they_were_armed() -> None:
    there, back = ArmedTimers(), ArmedTimers()
    for name in ("a", "b"):
        there.arm("p", name, 1, 2)
    for name in ("b", "a"):
        back.arm("p", name, 1, 2)
    assert there.encode() == back.encode()
    assert ArmedTimers(there.encode()).earliest() == there.earliest()


def test_a_chain_of_timers_runs_off_before_one_record_each_noticed_at_its_own_moment() -> None:
    """The bell rings at most three times, 7 s apart; its ear hears each in the same pass, and has an echo 3 s later."""
    one = engine()
    fold(one, [record(0, event("received", 1, 100), 100)])
    work = fold(one, [record(1, wake(1, 1000), 1000)])
    assert rings(work) == [(3, 174, 174)]
    assert [effect.kind for effect in work.effects] == ["alert.raised"] * 3
    said = [(one.tally.key[1], one.tally.adds, one.offset) for one in work.tallies]
    assert said == [
        ("1", {"rang": 1, "c1": 1}, 1),
        ("echo", {"n": 1, "at3": 1}, 1),
        ("2", {"rang": 1, "c1": 1}, 1),
        ("echo", {"n": 1, "at0": 1}, 1),
        ("0", {"rang": 1, "c1": 1}, 1),
        ("echo", {"n": 1, "at2": 1}, 1),
    ]


def test_timers_are_stored_with_their_subject_and_found_by_the_next_owner() -> None:
    into = store()
    fold(engine(), [record(0, event("received", 1, 100), 100)], into)
    later = engine()
    work = fold(later, [record(1, wake(1, 161), 161)], into)
    assert rings(work) == [(1, 160, 160)]
    (state,) = [row for row in asyncio.run(into.scan("clockwork_v1_state")) if row["projection"] == "bell"]
    assert ArmedTimers(state["timers"]).earliest() is not None  # type: ignore[arg-type]
    assert state["applied_offset"] == 1


def test_the_timers_column_is_written_only_when_it_changed() -> None:
    one = engine()
    first = fold(one, [record(0, event("received", 1, 100), 100)])
    again = fold(one, [record(1, event("received", 1, 101), 101)])
    answered = fold(one, [record(2, event("sent", 1, 102), 102)])
    told = [[row.columns["timers"] for row in work.own if row.columns and "timers" in row.columns] for work in (first, again, answered)]
    assert [len(found) for found in told] == [1, 0, 1]
    assert told[2] == [b""]


def test_a_wake_up_for_which_there_is_nothing_to_do_leaves_no_trace() -> None:
    """No row, no position, no append time: the next owner, who does not remember it, knows the same."""
    one, into = engine(), store()
    fold(one, [record(0, event("received", 1, 100), 100)], into)
    before = asyncio.run(into.scan("clockwork_v1_state"))
    work = fold(one, [record(1, wake(1, 110), 110), record(2, wake(9, 110), 110)], into)
    assert (work.own, work.fan_out, work.results["woke"], work.results["applied"]) == ([], [], 2, 0)
    assert asyncio.run(into.scan("clockwork_v1_state")) == before


def test_a_wake_up_twice_finds_nothing_armed_the_second_time() -> None:
    one = engine()
    fold(one, [record(0, event("received", 1, 100), 100)])
    assert len(fold(one, [record(1, wake(1, 161), 161), record(2, wake(1, 161), 161.001)]).effects) == 1


def test_the_driver_is_told_the_earliest_timer_of_a_subject_and_when_that_changes() -> None:
    one = engine()
    (first,) = fold(one, [record(0, event("received", 1, 100), 100), record(1, event("received", 1, 110, conversation="b"), 110)]).timers
    assert (first.was_us, first.next and first.next.expires_us, first.indexed) == (-1, 160 * SECOND, False)
    assert fold(one, [record(2, event("received", 1, 120, conversation="c"), 120)]).timers == []
    (second,) = fold(one, [record(3, event("sent", 1, 121), 121)]).timers
    assert (second.was_us, second.next and second.next.expires_us) == (160 * SECOND, 170 * SECOND)
    (last,) = fold(one, [record(4, event("sent", 1, 122, conversation=c), 122 + n) for n, c in enumerate("bc")]).timers
    assert (last.was_us, last.next) == (170 * SECOND, None)


def test_the_next_owner_is_told_of_every_subject_that_it_touches_without_a_new_row_of_the_index() -> None:
    """Also of one whose records it only reads again: its index row may lie in a bucket that nobody reads any more."""
    into = store()
    fold(engine(), [record(0, event("received", 1, 100), 100)], into)
    (due,) = fold(engine(), [record(0, event("received", 1, 100), 100)], into).timers
    assert (due.was_us, due.next and due.next.expires_us, due.indexed) == (-1, 160 * SECOND, True)


def test_a_failure_while_a_timer_expires_parks_its_customer_at_that_record_and_keeps_what_was_armed() -> None:
    one, into = engine(), store()
    fold(one, [record(0, event("received", 1, 100), 100), record(1, event("bomb", 1, 150), 101)], into)
    work = fold(one, [record(2, wake(1, 155), 155), record(3, wake(1, 156), 156), record(4, event("sent", 1, 157), 157)], into)
    assert work.results == {"applied": 0, "repeat": 0, "parked": 2, "woke": 1}
    (parked,) = asyncio.run(into.scan("parked_customer"))
    assert (parked["first_offset"], parked["n"], parked["reason"]) == (2, 2, "exploded")
    known, _ = one.armed([Subject("acme", "c1")])
    assert known[Subject("acme", "c1")] is not None


def test_a_record_that_cannot_be_folded_leaves_the_timers_of_those_before_it() -> None:
    one, into = engine(), store()
    work = fold(one, [record(0, event("received", 1, 100), 100), record(1, event("poison", 1, 101), 101)], into)
    assert (work.results["applied"], work.results["parked"]) == (1, 1)
    assert rings(fold(one, [record(2, wake(1, 170), 170)], into)) == [], "a parked customer's timers wait"
    (due,) = work.timers
    assert due.next is not None
    assert due.next.expires_us == 160 * SECOND


def test_a_group_that_arms_no_timers_leaves_wake_ups_out() -> None:
    from projections.registry import GROUPS  # noqa: PLC0415

    one = Engine(GROUPS["view"], CODEC, tenant="acme", cached_subjects_max=10)
    one.open(0, None)
    taken = one.take(batch([record(0, wake(1, 110), 110)]))
    assert one.missing(taken) == []
    work = one.feed(taken, {})
    assert (work.results["woke"], work.checkpoint.next_offset, work.checkpoint.write_ts_us) == (1, 1, 110 * SECOND)


class Restless:
    """Arms a timer in the past whenever one expires."""

    name: ClassVar[str] = "restless"
    version: ClassVar[int] = 1
    handles: ClassVar[frozenset[type[Event]]] = frozenset({MessageReceived, MessageSent})
    depends_on: ClassVar[tuple[str, ...]] = ()
    step: ClassVar[Step[Any] | None] = None

    def initial(self, subject: Subject) -> msgspec.Struct:
        return CustomerContact()

    def apply(self, state: msgspec.Struct, event: Event, at: Moment) -> Step[Any]:
        return self.step or Step(state, timers=(Arm("t", at.occurred_at_us + 1),))

    def expire(self, state: msgspec.Struct, timer: Timer, at: Moment) -> Step[Any]:
        return Step(state, timers=(Disarm("u"), Arm("t", timer.due_at_us + 1)))


class RestlessGroup(Group):
    """Its group, without tables of its own."""

    def tables(self) -> tuple[Table, ...]:
        return (state_table(self.name, self.version), *timer_tables(self.name, self.version))


def restless(step: Step[Any] | None = None) -> Engine:
    """Return an engine for it; `step` is what it does with a record."""
    projection: Projection[Any] = Restless()
    projection.step = step  # type: ignore[attr-defined]
    return engine(RestlessGroup("restless", 1, (projection,)))


def test_a_projection_that_arms_for_ever_parks_its_customer() -> None:
    work = fold(restless(), [record(0, event("received", 1, 100), 100), record(1, event("received", 1, 5000), 5000)])
    assert (work.results["applied"], work.results["parked"]) == (1, 1)
    assert work.fan_out[0].columns is not None
    assert work.fan_out[0].columns["reason"] == "timers_without_end"


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (Step(CustomerContact(), effects=(Effect("nonsense", "k", CustomerContact()),)), "unknown_effect:restless"),
        (Step(CustomerContact(), tallies=(Tally("nowhere", ("a",), {"n": 1}),)), "unknown_figure:restless"),
        (Step(CustomerContact(), timers=tuple(Arm("x" * 1000 + str(n), 10**15) for n in range(300))), "state_too_large:timers"),
    ],
)
def test_what_there_is_no_place_for_parks_its_customer(step: Step[Any], reason: str) -> None:
    work = fold(restless(step), [record(0, event("received", 1, 100), 100)])
    assert work.fan_out[0].columns is not None
    assert work.fan_out[0].columns["reason"] == reason


def test_a_tally_whose_key_does_not_fit_its_table_parks_its_customer() -> None:
    from tests.support.clockwork import Bell, ClockworkGroup  # noqa: PLC0415

    class Wrong(Bell):
        def apply(self, state: Any, event: Event, at: Moment) -> Step[Any]:
            return Step(state, tallies=(Tally("tone", ("acme",), {"n": 1}),))

    work = fold(engine(ClockworkGroup("clockwork", 1, (Wrong(),))), [record(0, event("received", 1, 100), 100)])
    assert work.results["parked"] == 1


def test_a_row_that_is_to_expire_is_written_with_its_span() -> None:
    from streams.work import RowMerger  # noqa: PLC0415

    merger = RowMerger()
    merger.add(Upsert("t", ("a", "b"), {"n": 1}), 10)
    merger.add(Upsert("t", ("a", "b"), {"n": 2}, 3600), 20)
    (row,), _ = merger.writes("_v1", Subject("x", "y"), frozenset(), CODEC)
    assert (row.columns, row.ttl_s) == ({"n": 2}, 3600)


def test_a_state_that_a_batch_changed_there_and_back_is_written() -> None:
    """A former owner may have written what it was in between, and may do so once more when it comes back to life."""
    into, one = store(), engine()
    fold(one, [record(0, event("received", 1, 100, id="r1"), 100), record(1, event("sent", 1, 101, id="s1"), 101)], into)
    work = fold(one, [record(2, event("received", 1, 103, id="r2"), 103), record(3, event("sent", 1, 104, id="s2"), 104)], into)
    assert [row.key[2] for row in work.own if row.table == "clockwork_v1_state" and "state" in (row.columns or {})] == ["bell"]
