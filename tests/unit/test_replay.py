"""The parts of a replay: how fast, who does what, whom it has met, what a chunk is, where it stops, what it is given to build."""

import asyncio
import os
import socket
from collections.abc import Awaitable
from typing import Any, TypeVar

import msgspec
import pytest

from projections.kernel import Subject
from projections.registry import GROUPS
from projections.rules import Config
from schemas.events import ProjectionRebuild
from streams.cluster import Place
from streams.dealing import deal
from streams.engine import Engine
from streams.records import Batch, RawRecord
from streams.replay.governor import LAG_RECORDS_MAX, RATE_MIN, Governor, Pace
from streams.replay.lease import HELD_S, Lease
from streams.replay.planning import planned, stored_build
from streams.replay.replay import Replay
from streams.replay.seen import Seen
from streams.replay.source import gridded
from streams.replay.writing import TABLE, ReplayWriter
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.store.port import Cells, Checkpoint, GroupVersion, RowWrite
from streams.versions.versions import Versions
from streams.work import Work
from tests.support.clockwork import CODEC, GROUP, SECOND, event, record, rules, store
from tests.support.memory_log import MemoryLog
from touchline.errors import Misconfigured, Refused, Retryable

T = TypeVar("T")
CARE = GROUPS["care"]
CARE_1 = GroupVersion("care", 1)
VERSION = GroupVersion("clockwork", 1)


def run(of: Awaitable[T]) -> T:
    """Run it."""

    async def awaited() -> T:
        return await of

    return asyncio.run(awaited())


# -- how fast


def test_a_replay_without_a_limit_and_without_live_traffic_goes_as_fast_as_it_can() -> None:
    assert Governor().look(None, 10_000) is None
    assert Governor(5_000).look(None, 10_000) == 5_000
    assert Governor().look(LAG_RECORDS_MAX, 10_000) is None, "what has just been appended is no lag"


def test_while_the_live_version_falls_behind_the_rate_is_halved_with_each_look() -> None:
    governor = Governor()
    rates = [governor.look(lag, 8_000.0 / 2**n) for n, lag in enumerate([1_000, 2_000, 4_000])]
    assert rates == [4_000, 2_000, 1_000]
    assert governor.yielding
    for _ in range(20):
        governor.look(9_000, 1_000)
    assert governor.rate == RATE_MIN, "it never stands still"


def test_a_lag_that_shrinks_is_given_time_and_then_the_rate_rises_step_by_step_until_it_is_let_go() -> None:
    governor = Governor()
    governor.look(5_000, 10_000)
    assert governor.look(3_000, 5_000) == 5_000, "it is catching up: neither less nor more"
    risen = [governor.look(0, 5_000) for _ in range(10)]
    assert risen[:3] == [6_000, 7_000, 8_000]
    assert (risen[-1], governor.yielding) == (None, False)


def test_what_the_operator_allows_is_never_exceeded() -> None:
    governor = Governor(3_000)
    assert governor.look(5_000, 3_000) == 1_500
    assert max(governor.look(0, 2_000) or 0 for _ in range(20)) == 3_000
    slow = Governor(50)
    assert slow.look(5_000, 50) == 50, "the least there is, is what the operator allows"


def test_a_pace_spreads_its_work_and_saves_nothing_up_over_a_pause() -> None:
    pace = Pace(1000.0, burst_s=1.0)
    assert [pace.wait_s(500, now) for now in (100.0, 100.0, 100.0)] == [0.0, 0.0, 0.0]
    assert pace.wait_s(500, 100.0) == pytest.approx(0.5)
    assert [pace.wait_s(500, 500.0) for _ in range(4)] == [0.0, 0.0, 0.0, pytest.approx(0.5)]
    assert Pace().wait_s(10**9, 0.0) == 0.0


def test_a_pace_that_is_let_go_does_not_pay_for_what_was_done_when_it_was_slow() -> None:
    pace = Pace(200.0)
    assert pace.wait_s(20_000, 100.0) == 0.0
    pace.change(5000.0, 102.0)
    assert pace.wait_s(20_000, 102.0) < 5, "98 s at the slow rate"
    pace.change(200.0, 103.0)
    assert pace.wait_s(1, 103.0) > 90, "and the other way round"


# -- who does what, and whom it has met


def test_the_largest_partition_is_dealt_first_and_to_whom_has_the_least() -> None:
    def dealt(sizes: dict[int, int], hands: int) -> list[list[int]]:
        return deal(sizes, sizes.__getitem__, hands)

    assert dealt({0: 10, 1: 90, 2: 50, 3: 40}, 2) == [[1, 0], [2, 3]]
    assert dealt({0: 0, 1: 0, 2: 0}, 2) == [[0, 2], [1]]
    assert dealt({0: 5}, 8) == [[0]], "nobody starts with empty hands"
    with pytest.raises(ValueError, match="somebody"):
        dealt({0: 1}, 0)


def test_the_filter_never_forgets_anybody_and_seldom_takes_one_for_another() -> None:
    seen, people = Seen(2**16), [Subject("acme", f"c{n}") for n in range(20_000)]
    assert len(seen.add_all(people[:10_000])) < 200
    assert seen.add_all(people[:10_000]) == people[:10_000]
    assert len(seen.add_all(people[10_000:])) < 500
    full = Seen(1)
    full.add_all(people)
    assert full.add_all(people[:5]) == people[:5], "one that is full spares nothing, and stays right"
    with pytest.raises(ValueError, match="power of two"):
        Seen(3)


# -- what a chunk is


def raw(offsets: range | list[int]) -> list[RawRecord]:
    """Return records that are nothing but their offsets."""
    return [RawRecord(offset, None, b"", 0) for offset in offsets]


@pytest.mark.parametrize("start", [0, 1, 4, 5, 9])
@pytest.mark.parametrize("read", [1, 2, 3, 5, 7, 100])
def test_chunks_end_at_the_same_places_wherever_reading_begins(start: int, read: int) -> None:
    offsets = range(start, 23)
    batches = [Batch(0, raw(list(offsets)[at : at + read])) for at in range(0, len(offsets), read)]
    found = [[record.offset for record in chunk.records] for chunk in gridded(batches, 5)]
    assert [offset for chunk in found for offset in chunk] == list(offsets)
    assert [chunk[-1] for chunk in found] == [last for last in (4, 9, 14, 19, 22) if last >= start]


def test_offsets_that_were_never_used_do_not_move_the_cuts() -> None:
    found = list(gridded([Batch(0, raw([0, 1, 3])), Batch(0, raw([6, 11, 12]))], 5))
    assert [[record.offset for record in chunk.records] for chunk in found] == [[0, 1, 3], [6], [11, 12]]


# -- where it stops


def replay_of(records: list[RawRecord], into: MemoryStore, on_error: str = "stop", **more: Any) -> Replay:
    """Return a replay of one partition."""
    engine = Engine(GROUP, CODEC, tenant="acme", cached_subjects_max=100, config=Config((rules(60),)))
    return Replay(engine, into, MemoryLog({0: records}), CODEC, first=0, chunk_records=4, on_error=on_error, seen=Seen(64), **more)  # type: ignore[arg-type]


async def replayed(replay: Replay, end: int) -> bool:
    """Run it to the end."""
    try:
        await replay.open([0])
        return await replay.run({0: end})
    finally:
        replay.close()


def records_of(*kinds: str) -> list[RawRecord]:
    """Return a record of each kind, of a customer each."""
    return [record(n, event(kind, n, 1000 + n, id=f"e{n}"), 1000 + n) for n, kind in enumerate(kinds)]


def test_a_record_that_cannot_be_folded_stops_it_there_and_nothing_of_its_chunk_is_written() -> None:
    into, records = store(), records_of("received", "sent", "received", "sent", "received", "poison", "poison")
    replay = replay_of(records, into)
    with pytest.raises(Refused, match=r"partition 0, offset 5: the record cannot be folded \(poisoned\)") as stopped:
        run(replayed(replay, 7))
    assert stopped.value.reason == "record_failed"
    assert "c5" not in str(stopped.value), "whose record it is, is nobody's business"
    checkpoint = run(into.load_checkpoints(VERSION))[0]
    assert (checkpoint.next_offset, run(into.scan("parked_customer"))) == (4, [])

    parking = replay_of(records, into, "park")
    assert run(replayed(parking, 7))
    assert {row["customer"] for row in run(into.scan("parked_customer"))} == {"c5", "c6"}
    assert parking.done.parked == 2
    assert run(replayed(replay_of([*records, record(7, event("sent", 5, 1100, id="late"), 1100)], into), 8)), "who waits already stops nobody"


def test_history_whose_schema_this_code_has_no_more_is_said_by_its_id() -> None:
    strange = RawRecord(1, b"c1", b"\x00" + (987_654).to_bytes(4, "big") + b"whatever", 1001 * SECOND)
    records = [*records_of("received"), strange]
    with pytest.raises(Refused, match="no schema with id 987654; the code that wrote it is needed") as stopped:
        run(replayed(replay_of(records, store()), 2))
    assert "--on-error park" in stopped.value.next_step
    assert run(replayed(replay_of(records, store(), "park"), 2))


def test_it_stops_behind_the_chunk_in_hand_and_goes_on_behind_it() -> None:
    into, records = store(), records_of(*["received"] * 10)
    replay = replay_of(records, into)
    replay._say = lambda _: replay.stop()
    assert not run(replayed(replay, 10))
    stopped = run(into.load_checkpoints(VERSION))[0].next_offset
    assert 0 < stopped < 10
    assert stopped % 4 == 0
    again = replay_of(records, into)
    assert run(replayed(again, 10))
    assert (again.done.records, again.done.offsets) == (10 - stopped, {0: 10})


def test_a_subject_that_was_never_met_costs_no_read() -> None:
    into, asked = store(), []
    load = into.load_states

    async def counted(group: GroupVersion, subjects: list[Subject]) -> object:
        asked.extend(subjects)
        return await load(group, subjects)

    into.load_states = counted  # type: ignore[method-assign,assignment]
    assert run(replayed(replay_of(records_of(*["sent"] * 40), into), 40))
    assert len(asked) <= 2, "but for what the filter takes for another"


def test_a_rebuild_is_executed_where_it_lies_when_all_before_it_is_written() -> None:
    into, found = store(), []
    header = msgspec.structs.replace(event("sent", 1, 1003).header, id="again")
    asked = [ProjectionRebuild(header=header, group="clockwork", version=version, customer="c1", mode="rebuild") for version in (1, 2)]
    records = records_of("received", "received", "received")
    records += [record(3, asked[0], 1003), record(4, asked[1], 1004), record(5, event("sent", 2, 1005), 1005)]

    async def rebuild(batch: Batch) -> Work:
        written = await into.scan("clockwork_v1_state")
        found.append(([one.offset for one in batch.records], {str(row["subject"]) for row in written}))
        return replay.engine.feed(replay.engine.take(batch), {})

    replay = replay_of(records, into, rebuild=rebuild)
    replay._ahead._size = 100
    assert run(replayed(replay, 6))
    assert found == [([3], {"c0", "c1", "c2"})], "another version's is an ordinary record"
    assert run(into.load_checkpoints(VERSION))[0].next_offset == 6


def test_effects_are_counted_and_go_nowhere() -> None:
    records = [record(0, event("received", 1, 1000), 1000), record(1, event("opened", 2, 5000), 5000)]
    replay = replay_of(records, store())
    run(replayed(replay, 2))
    assert (replay.done.withheld, replay.done.expired) == (3, 1), "the bell rang three times, and told nobody"


def test_a_store_that_refuses_for_too_long_is_said() -> None:
    class Full:
        async def write(self, rows: object) -> None:
            raise Retryable("no room")

    from streams.patience import Patience  # noqa: PLC0415

    writer = ReplayWriter(Full(), VERSION, Patience("test"), wait_max_s=0.05)  # type: ignore[arg-type]
    with pytest.raises(Retryable, match=r"clockwork v1 has waited for 0 s in vain: no room") as stopped:
        run(writer.waited(lambda: Full().write([])))
    assert "last checkpoint" in stopped.value.next_step


def test_a_view_that_stays_behind_is_not_taken_for_a_store_that_refuses() -> None:
    async def behind() -> None:
        raise Retryable("view v1 has not come to 7.", next_step="see that a worker runs it.")

    from streams.patience import Patience  # noqa: PLC0415

    with pytest.raises(Retryable, match="view v1 has not come to 7") as stopped:
        run(ReplayWriter(store(), VERSION, Patience("test"), wait_max_s=0.05).waited(behind))
    assert stopped.value.next_step.startswith("see that a worker runs it. Then run the same command again")


# -- what it is given to build


def tables() -> MemoryStore:
    """Return an empty store with every table of this code."""
    return MemoryStore(known_tables())


class Late(MemoryStore):
    """A store that makes the change before `lost` ones true only when the next one is asked for."""

    lost = 0

    async def swap(self, table: str, key: tuple[str | int, ...], columns: Cells, *, expected: Cells | None) -> bool:
        if self.lost:
            self.lost -= 1
            await super().swap(table, key, {**columns, "held_until": 7}, expected=expected)
        return await super().swap(table, key, columns, expected=expected)


RANGES = {Place("log", 0): (0, 100), Place("log", 1): (0, 50)}


def test_a_plan_says_what_is_to_be_read_and_changes_nothing() -> None:
    into = tables()
    run(into.save_checkpoints(CARE_1, {0: Checkpoint(0, 5, active=False, event_time_us=0)}))
    found = run(planned(into, CARE, RANGES, 0))
    assert (found.records, found.active, found.state, found.first) == (150, 0, "", 0)
    assert found.seconds(1, 50) == 3
    assert "clock_v1" in found.tables
    assert run(Versions(into).read("care")) is None


def test_tables_in_use_and_tables_of_which_nobody_knows_are_refused() -> None:
    into = tables()
    run(into.save_checkpoints(CARE_1, {0: Checkpoint(9, 5, active=False, event_time_us=0)}))
    with pytest.raises(Refused, match="no version of that number") as unknown:
        run(planned(into, CARE, RANGES, 0))
    assert unknown.value.reason == "tables_not_empty"
    run(Versions(into).begin(CARE_1, 1))
    with pytest.raises(Refused, match="care v1 is active: its tables are in use") as used:
        run(planned(into, CARE, RANGES, 0))
    assert used.value.reason == "version_in_use"


def test_a_log_whose_beginning_is_gone_is_refused_unless_it_was_read_already() -> None:
    into, cut = tables(), {**RANGES, Place("log", 1): (20, 50)}
    with pytest.raises(Misconfigured, match="begins at offset 20 in partition 1"):
        run(planned(into, CARE, cut, 0))
    run(Versions(into).add(CARE_1, 1))
    run(into.save_checkpoints(CARE_1, {1: Checkpoint(20, 5, active=False, event_time_us=0)}))
    assert run(planned(into, CARE, cut, 0)).records == 130


def test_a_group_that_never_ran_has_nobody_who_speaks_until_the_first_promotion() -> None:
    into = tables()
    run(Versions(into).add(CARE_1, 1))
    run(Versions(into).add(CARE_1, 2))
    standing = run(Versions(into).read("care"))
    assert standing is not None
    assert (standing.first, standing.active, standing.state(1), standing.running) == (0, 0, "building", [])


def test_one_build_of_a_version_at_a_time_and_a_dead_one_holds_nobody_up() -> None:
    into, here = Late(known_tables()), f"{socket.gethostname()}:{os.getpid()}"
    elsewhere, other = Lease(into, CARE_1, "elsewhere:7"), Lease(into, CARE_1, here)
    run(elsewhere.take(0))
    run(elsewhere.take(1_000_000))
    with pytest.raises(Refused, match="elsewhere:7") as held:
        run(other.take(2_000_000))
    assert held.value.reason == "build_under_way"
    later = 1_000_000 + round(HELD_S * 1e6)
    run(other.take(later))
    with pytest.raises(Refused, match="by somebody else"):
        run(elsewhere.renew(later))
    run(other.renew(later))
    run(other.give_back(later))
    run(elsewhere.take(later))

    into.lost = 1
    run(elsewhere.renew(later + 1))
    assert into.lost == 0, "a renewal that was thought lost has come true in between: that is nobody else"

    dead = Lease(into, GroupVersion("view", 1), f"{socket.gethostname()}:{2**22 + 1}")
    run(dead.take(later))
    run(Lease(into, GroupVersion("view", 1), here).take(later + 1))


def test_of_two_who_look_at_the_same_moment_one_builds() -> None:
    class Between(MemoryStore):
        other: Lease | None = None

        async def swap(self, *args: Any, **how: Any) -> bool:
            other, self.other = self.other, None
            if other is not None:
                await other.take(1)
            return await super().swap(*args, **how)

    into = Between(known_tables())
    one, other = Lease(into, CARE_1, "a:1"), Lease(into, CARE_1, "b:2")
    into.other = other
    with pytest.raises(Refused, match="is being built by somebody else"):
        run(one.take(1))
    run(other.renew(2))


def test_what_a_build_was_to_read_is_kept_with_it() -> None:
    into = tables()
    assert run(stored_build(into, CARE_1)) is None
    run(Lease(into, CARE_1, "a:1").take(0))
    assert run(stored_build(into, CARE_1)) is None, "somebody was about to, and that is all"
    rows = [RowWrite(TABLE, (*CARE_1, p), {"end_offset": 10 * p, "began_at": 5, "chunk_records": 1000}, 5) for p in (1, 2)]
    run(into.write(rows))
    found = run(stored_build(into, CARE_1))
    assert found is not None
    assert (found.ends, found.chunk_records, found.began_us) == ({1: 10, 2: 20}, 1000, 5)
