"""The engine and ties: what is known as a copy, what is held, what is handed on, what is to be copied."""

import asyncio

import pytest

from projections.kernel import Config, Subject
from schemas.events import LogImported
from streams.armed import next_of
from streams.copy_run import CopyRun
from streams.engine import Engine
from streams.records import Batch, RawRecord
from streams.store.memory import MemoryStore
from streams.store.port import Checkpoint, GroupVersion
from streams.ties import HOLD_US, Ties
from streams.versions.promotions import Promotion
from streams.work import Work
from tests.support.clockwork import CODEC, GROUP, SECOND, event, record, rules, store, wake
from tests.support.tied import complete, copy_of, direct, linked, unlinked

VERSION = GroupVersion("clockwork", 1)
P, C = Subject("acme", "c1"), Subject("acme", "c2")


class Tied:
    """An engine over a store; the bell rings after 60 s."""

    def __init__(self) -> None:
        self.into: MemoryStore = store()
        self.engine = self.anew()

    def anew(self) -> Engine:
        """Return an engine that has just started, where the partition was never checkpointed."""
        self.engine = Engine(GROUP, CODEC, tenant="acme", cached_subjects_max=100, config=Config((rules(60),)))
        self.engine.open(0, None)
        return self.engine

    def fold(self, *records: RawRecord) -> Work:
        """Fold and write one batch."""

        async def run() -> Work:
            taken = self.engine.take(Batch(0, list(records)))
            work = self.engine.feed(taken, await self.into.load_states(VERSION, self.engine.missing(taken)))
            await self.into.write(work.fan_out)
            await self.into.write(work.own)
            return work

        return asyncio.run(run())

    def ties(self, subject: Subject) -> Ties:
        """Return the ties as they are stored."""
        row = asyncio.run(self.into.load_states(VERSION, [subject]))[subject]
        return Ties.decoded(row.ties) or Ties()

    def rang(self) -> list[tuple[object, object]]:
        """Return (conversation, how often) of what rang."""
        return sorted((row["conversation"], row["n"]) for row in asyncio.run(self.into.scan("ring_v1")))


@pytest.fixture
def tied() -> Tied:
    return Tied()


def test_a_subject_without_ties_has_none_stored(tied: Tied) -> None:
    work = tied.fold(record(0, event("received", 1, 1000), 1000))
    assert all("ties" not in (row.columns or {}) for row in work.own)
    assert not work.copies


def test_a_link_asks_for_a_copy_of_all_that_came_before(tied: Tied) -> None:
    work = tied.fold(record(0, event("received", 1, 1000), 1000), linked(1, 1, 2, 1001, under=1), linked(2, 1, 2, 1001, under=2))
    assert work.copies == [CopyRun(P, "c2", "c1", 1, (), 1001 * SECOND)]
    assert tied.ties(P).to == "c2"
    assert tied.ties(C).linked == {"c1": 0}
    assert tied.ties(C).runs == {"c1": 1001 * SECOND}


def test_what_comes_afterwards_is_copied_on_one_by_one(tied: Tied) -> None:
    tied.fold(linked(0, 1, 2, 1000, under=1))
    work = tied.fold(record(1, event("received", 1, 1001), 1001), record(2, event("sent", 1, 1002), 1002), record(3, wake(1, 1003), 1003))
    assert [run.offsets for run in work.copies] == [(1,), (2,)]
    again = tied.fold(record(4, event("received", 1, 1001), 1004))
    assert not again.copies  # sent again: it was taken, and copied, already


def test_read_again_a_record_asks_again_but_is_not_folded_again(tied: Tied) -> None:
    """The rows were written, the checkpoint was not: whoever takes over has to copy all the same."""
    records = [record(0, event("received", 1, 1000), 1000), linked(1, 1, 2, 1001, under=1), record(2, event("sent", 1, 1002), 1002)]
    first = tied.fold(*records)
    tied.anew()
    again = tied.fold(*records)
    assert [run for run in again.copies if run.below] == [run for run in first.copies if run.below]
    assert {offset for run in again.copies for offset in run.offsets} == {0, 2}  # the first before the link, which does no harm
    assert again.results["repeat"] == 3
    assert not again.own


def test_copies_are_taken_once_by_their_place_at_the_origin(tied: Tied) -> None:
    one, two = record(0, event("received", 1, 1000), 1000), record(1, event("received", 1, 1000, conversation="b"), 1000)
    work = tied.fold(linked(2, 1, 2, 1001, under=2), copy_of(3, one, 2, 1001), copy_of(4, two, 2, 1001))
    assert work.results["applied"] == 3
    repeated = tied.fold(copy_of(5, one, 2, 1002), copy_of(6, two, 2, 1002))
    assert repeated.results["repeat"] == 2
    assert tied.ties(C).origins == {"c1": [0, 1]}


def test_copies_do_not_push_records_out_of_memory(tied: Tied) -> None:
    own = direct(0, "received", 2, 2, 1000)
    copies = [copy_of(n + 1, record(n, event("received", 1, 1000 + n, conversation=f"k{n}"), 1000 + n), 2, 1200) for n in range(130)]
    tied.fold(own, *copies)
    again = tied.fold(own._replace(offset=200))
    assert again.results["repeat"] == 1
    assert len(tied.ties(C).copies) == 128 * 8


@pytest.mark.parametrize("copy_first", [True, False])
def test_a_record_that_comes_directly_and_as_a_copy_is_taken_once(tied: Tied, *, copy_first: bool) -> None:
    """A resolver that was killed resolved it once before the link and once after it."""
    original = record(0, event("received", 1, 1000), 1000)
    copy, came = copy_of(3, original, 2, 1001), direct(4, "received", 1, 2, 1000, appended_s=1001)
    pair = [copy, came] if copy_first else [came._replace(offset=3), copy._replace(offset=4)]
    work = tied.fold(linked(2, 1, 2, 1001, under=2), *pair)
    assert (work.results["applied"], work.results["repeat"]) == (2, 1)
    assert tied.ties(C).origins == {"c1": [0, 0]}


def test_while_copies_come_no_timer_expires(tied: Tied) -> None:
    """The question is c2's own, due at 1060; the answer came to c1 at 1030, and is on its way when 1060 has passed."""
    question, answer = record(0, event("received", 2, 1000), 1000), direct(1, "sent", 2, 1, 1030)
    tied.fold(question, answer, linked(2, 1, 2, 1059, under=2))
    tied.fold(record(3, wake(2, 1061), 1061), copy_of(4, answer, 2, 1062), complete(5, 1, 2, 1063, last=1))
    tied.fold(record(6, wake(2, 1200), 1200))
    assert tied.rang() == []


def test_what_is_overdue_expires_when_the_copies_are_complete(tied: Tied) -> None:
    tied.fold(record(0, event("received", 2, 1000), 1000), linked(1, 1, 2, 1059, under=2), record(2, wake(2, 1070), 1070))
    assert tied.rang() == []
    tied.fold(complete(3, 1, 2, 1071, last=-1))
    tied.fold(record(4, wake(2, 1072), 1072))
    assert tied.rang() == [("c2/a", 2)]  # at 1060 and 1067


def test_a_hold_ends_after_a_minute_whatever_became_of_the_copies(tied: Tied) -> None:
    tied.fold(record(0, event("received", 2, 1000), 1000), linked(1, 1, 2, 1059, under=2))
    tied.fold(record(2, wake(2, 1059 + 60), 1059 + 60))
    assert tied.rang() == []
    tied.fold(record(3, wake(2, 1059 + 60.001), 1059 + 60.001))
    assert tied.rang() != []


def test_the_driver_is_told_when_the_hold_ends_and_again_when_it_has_ended_sooner(tied: Tied) -> None:
    told = tied.fold(record(0, event("received", 2, 1000), 1000)).timers
    assert [due.next and due.next.expires_us for due in told] == [1060 * SECOND]
    held = tied.fold(linked(1, 1, 2, 1059, under=2)).timers
    assert [due.next and due.next.expires_us for due in held] == [1059 * SECOND + HOLD_US]
    stored = asyncio.run(tied.into.load_states(VERSION, [C]))[C]
    found = next_of(stored)
    assert found is not None
    assert found.expires_us == 1059 * SECOND + HOLD_US
    assert tied.engine.armed([C])[0][C] == found
    over = tied.fold(complete(2, 1, 2, 1061, last=-1)).timers
    assert [due.next and due.next.expires_us for due in over] == [1060 * SECOND]


def test_a_wake_up_that_came_in_vain_is_asked_for_again(tied: Tied) -> None:
    """The driver takes it for done, since it is on the log: link, wake-up and the end of the hold in one batch."""
    tied.fold(record(0, event("received", 2, 1000), 1000))
    told = tied.fold(linked(1, 1, 2, 1059, under=2), record(2, wake(2, 1061), 1061), complete(3, 1, 2, 1062, last=-1)).timers
    assert [due.next and due.next.expires_us for due in told] == [None, 1060 * SECOND]
    tied.fold(record(4, wake(2, 1063), 1063))
    assert tied.rang() == [("c2/a", 1)]


def test_what_completes_copies_lifts_the_write_timestamp(tied: Tied) -> None:
    high_us = 5_000 * SECOND
    tied.fold(linked(0, 1, 2, 1000, under=2))
    work = tied.fold(complete(1, 1, 2, 1001, write_ts_us=high_us))
    assert work.checkpoint.write_ts_us == high_us + 10


def test_what_a_record_that_fails_did_to_the_ties_is_undone(tied: Tied) -> None:
    """The link before it stays, and asks once; the customer waits for the rest, which is not copied."""
    poison = event("poison", 1, 1002)
    work = tied.fold(linked(0, 1, 2, 1000, under=1), copy_of(1, direct(9, "received", 1, 3, 990), 1, 1001), record(2, poison, 1002))
    assert [(run.below, run.offsets) for run in work.copies] == [(0, ()), (0, (1,))]
    assert work.results["parked"] == 1
    assert (tied.ties(P).to, tied.ties(P).origins) == ("c2", {"c3": [9, 9]})
    assert tied.fold(record(3, event("sent", 1, 1003), 1003)).copies == []


def test_who_is_gone_gets_what_still_comes(tied: Tied) -> None:
    """A record of his home is handed on and not folded; a copy that he sent off before he knew is his already."""
    late = record(0, event("received", 1, 990), 990)
    tied.fold(linked(1, 1, 2, 1000, under=2), complete(2, 1, 2, 1000), unlinked(3, 1, 2, 1001, under=2))
    work = tied.fold(direct(4, "received", 1, 2, 1002, conversation="z"), copy_of(5, late, 2, 1002), direct(6, "received", 2, 2, 1003))
    assert work.copies == [CopyRun(C, "c1", "c1", 0, (4,), 1002 * SECOND)]
    assert work.results == {"applied": 1, "repeat": 1, "parked": 0, "handed_on": 1}
    assert (tied.ties(C).gone, tied.ties(C).origins, tied.ties(C).linked) == ({"c1": 1}, {}, {})
    tied.anew()
    again = tied.fold(direct(4, "received", 1, 2, 1002, conversation="z"))
    assert again.copies == work.copies


def test_linked_again_he_is_not_gone_any_more(tied: Tied) -> None:
    tied.fold(linked(1, 1, 2, 1000, under=2), unlinked(3, 1, 2, 1001, under=2), linked(4, 1, 2, 1002, under=2, turn=2))
    assert (tied.ties(C).gone, tied.ties(C).linked) == ({}, {"c1": 2})
    assert tied.fold(direct(5, "received", 1, 2, 1003)).results["applied"] == 1


def test_a_copy_that_came_home_is_copied_on_and_no_other(tied: Tied) -> None:
    home, other = direct(0, "received", 1, 3, 990), direct(1, "received", 3, 3, 991)
    tied.fold(linked(2, 1, 2, 1000, under=1))
    work = tied.fold(copy_of(3, home, 1, 1001), copy_of(4, other, 1, 1001))
    assert [run.offsets for run in work.copies] == [(3,)]


def test_unlinked_and_given_back_to_another_one_he_is_copied_there_whole(tied: Tied) -> None:
    work = tied.fold(linked(0, 1, 2, 1000, under=1), unlinked(1, 1, 2, 1001, under=1, back="c3"))
    assert [(run.to, run.below) for run in work.copies] == [("c2", 0), ("c3", 1)]
    assert tied.ties(P).to == "c3"


def test_a_link_of_an_earlier_turn_says_nothing_any_more(tied: Tied) -> None:
    work = tied.fold(linked(0, 1, 3, 1000, under=1, turn=5), linked(1, 1, 2, 1001, under=1, turn=4))
    assert [run.to for run in work.copies] == ["c3"]
    assert tied.ties(P).to == "c3"


def test_only_the_version_that_speaks_asks_for_copies(tied: Tied) -> None:
    """From a promotion on the other version copies; what came before, too, since the one that spoke then may not have come to it."""
    records = [record(0, event("received", 1, 1000), 1000), linked(1, 1, 2, 1001, under=1)]
    straggler = record(3, event("sent", 1, 1003), 1003)
    for version, expected in ((1, [CopyRun(P, "c2", "c1", 1, (), 1001 * SECOND)]), (2, [])):
        engine = Engine(GROUP, CODEC, tenant="acme", cached_subjects_max=100)
        engine.open(0, None, first=version)
        assert engine.feed(engine.take(Batch(0, records)), {}).copies == expected
    engine = Engine(GROUP, CODEC, tenant="acme", cached_subjects_max=100)
    engine.open(0, None, first=2)
    engine.feed(engine.take(Batch(0, records)), {})
    engine.close(0)
    engine.open(0, Checkpoint(3, 0, active=True, event_time_us=0), first=2, promoted=[Promotion(2, 1002 * SECOND, 1)])
    work = tied.fold(*records)
    states = asyncio.run(tied.into.load_states(VERSION, [P]))
    work = engine.feed(engine.take(Batch(0, [straggler])), states)
    assert work.copies == [CopyRun(P, "c2", "c1", 3, (3,), 1003 * SECOND)]
    asyncio.run(tied.into.write(work.own))
    engine.open(0, Checkpoint(3, 0, active=True, event_time_us=0), first=2, promoted=[Promotion(2, 1002 * SECOND, 1)])
    again = engine.feed(engine.take(Batch(0, [straggler, record(4, event("received", 1, 1004), 1004)])), {})
    assert again.copies == [*work.copies, CopyRun(P, "c2", "c1", 0, (4,), 1004 * SECOND)]  # once is enough


def test_a_promotion_hands_on_to_who_is_gone_whatever_came_late_and_nothing_else(tied: Tied) -> None:
    """And the customer whom he left is linked on itself: what came to it before is copied there again."""
    own, before = record(0, event("received", 2, 1000), 1000), direct(3, "received", 1, 2, 1003)
    tied.fold(own, linked(1, 1, 2, 1001, under=2), unlinked(2, 1, 2, 1002, under=2), before, linked(4, 2, 3, 1004, under=2))
    engine = Engine(GROUP, CODEC, tenant="acme", cached_subjects_max=100)
    engine.open(0, Checkpoint(6, 0, active=True, event_time_us=0), first=2, promoted=[Promotion(5, 1005 * SECOND, 1)])
    late = [direct(6, "sent", 1, 2, 1006), direct(7, "received", 2, 2, 1007), direct(8, "closed", 1, 2, 1008)]
    work = engine.feed(engine.take(Batch(0, late)), asyncio.run(tied.into.load_states(VERSION, [C])))
    assert work.copies == [
        CopyRun(C, "c1", "c1", 6, (3, 6), 1006 * SECOND),
        CopyRun(C, "c3", "c2", 7, (7,), 1007 * SECOND),
        CopyRun(C, "c1", "c1", 0, (8,), 1008 * SECOND),  # once is enough
    ]


def test_what_was_imported_is_not_copied_again(tied: Tied) -> None:
    """The log that was exported holds the copies; their time is then that of their origins, for the broker's means nothing."""
    one = record(0, event("received", 1, 1000), 1000)
    dated = [_imported(one), _imported(linked(1, 1, 2, 1001, under=1)), _imported(linked(2, 1, 2, 1001, under=2))]
    work = tied.fold(*dated, copy_of(3, one, 2, 9000), _imported(complete(4, 1, 2, 1002)))
    assert not work.copies
    assert all(effect is None for effect in work.effects)
    assert asyncio.run(tied.into.load_states(VERSION, [C]))[C].appended_us == 1002 * SECOND
    ended = LogImported(header=event("received", 1, 1003).header, export_id="x", records=5)
    tied.fold(RawRecord(5, b"log:import", CODEC.encode(ended), 9001 * SECOND))
    assert tied.fold(record(6, event("sent", 1, 9002), 9002)).copies == [CopyRun(P, "c2", "c1", 0, (6,), 9002 * SECOND)]


def _imported(one: RawRecord) -> RawRecord:
    import msgspec  # noqa: PLC0415

    from schemas.codec import Head  # noqa: PLC0415

    head = CODEC.head(one.value)
    assert isinstance(head, Head)
    return one._replace(value=CODEC.rehead(head, msgspec.structs.replace(head.header, appended_at_us=one.appended_us)), appended_us=8000 * SECOND)
