"""Figures: absolute rows of a Kafka partition, which no repeat doubles and no crash loses."""

import asyncio
from collections.abc import Sequence

from projections.kernel import Tally
from streams.store.memory import MemoryStore
from streams.store.port import Checkpoint
from streams.tallies import Tallies
from streams.work import Tallied, Work
from tests.support.clockwork import GROUP, store


def work(partition: int, *tallied: tuple[str, int, dict[str, int]]) -> Work:
    """Return a work with (tone, offset, adds)."""
    found = [Tallied(Tally("tone", ("acme", tone), adds), offset, offset * 10) for tone, offset, adds in tallied]
    return Work(partition, [], [], [], [], found, Checkpoint(0, 0, True, 0), {})  # noqa: FBT003 - its third value


def add(one: Tallies, into: MemoryStore, works: Sequence[Work], number: int = 1) -> int:
    """Add and write; return how many rows were written."""

    async def run() -> int:
        await one.add(works, number)
        rows = [row for each in works for row in each.fan_out]
        await into.write(rows)
        return len(rows)

    return asyncio.run(run())


def sums(into: MemoryStore) -> dict[tuple[str, int], tuple[dict[str, int], int]]:
    """Return sums and offset by tone and partition."""
    return {(row["tone"], row["src_partition"]): (row["sums"], row["applied_offset"]) for row in asyncio.run(into.scan("tone_v1"))}  # type: ignore[misc]


def test_tallies_of_a_batch_make_one_row_each_and_nothing_stays_of_what_is_taken_back() -> None:
    into = store()
    assert add(Tallies(GROUP, into), into, [work(0, ("a", 1, {"n": 1, "m": 2}), ("b", 2, {"n": 5}), ("a", 3, {"n": 1, "m": -2}))]) == 2
    assert sums(into) == {("a", 0): ({"n": 2}, 3), ("b", 0): ({"n": 5}, 2)}


def test_what_a_row_knows_already_is_not_added_again() -> None:
    """A batch that is folded again after a crash may be cut elsewhere: offset by offset it is known what is new."""
    into = store()
    add(Tallies(GROUP, into), into, [work(0, ("a", 1, {"n": 1}), ("a", 4, {"n": 1}), ("a", 4, {"n": 1}))])
    later = Tallies(GROUP, into)
    assert add(later, into, [work(0, ("a", 1, {"n": 1}))]) == 0
    assert add(later, into, [work(0, ("a", 4, {"n": 2}), ("a", 5, {"n": 10}))], 2) == 1
    assert sums(into) == {("a", 0): ({"n": 13}, 5)}


def test_each_partition_has_rows_of_its_own_and_reads_only_them() -> None:
    into = store()
    add(Tallies(GROUP, into), into, [work(0, ("a", 9, {"n": 1})), work(2, ("a", 1, {"n": 100}))])
    add(Tallies(GROUP, into), into, [work(1, ("a", 1, {"n": 10})), work(2, ("a", 2, {"n": 100}))])
    assert sums(into) == {("a", 0): ({"n": 1}, 9), ("a", 1): ({"n": 10}, 1), ("a", 2): ({"n": 200}, 2)}


def test_several_works_of_one_partition_add_up_before_any_is_written() -> None:
    """While the writes of one poll are on their way, the next one is folded already."""
    into, one = store(), Tallies(GROUP, store())
    first, second = work(0, ("a", 1, {"n": 1})), work(0, ("a", 2, {"n": 1}))
    asyncio.run(one.add([first, second], 1))
    assert [row.columns for row in [*first.fan_out, *second.fan_out]] == [
        {"sums": {"n": 1}, "applied_offset": 1},
        {"sums": {"n": 2}, "applied_offset": 2},
    ]
    assert [row.ts_us for row in [*first.fan_out, *second.fan_out]] == [11, 21]
    asyncio.run(into.write([*second.fan_out, *first.fan_out]))
    assert sums(into) == {("a", 0): ({"n": 2}, 2)}


def test_rows_leave_the_memory_only_once_they_are_written_and_come_back_as_they_were() -> None:
    for fresh in (False, True):
        into = store()
        one = Tallies(GROUP, into, fresh=fresh, cached_rows_max=2)
        add(one, into, [work(0, *((f"t{n}", n, {"n": n}) for n in range(1, 6)))], 1)
        assert len(one) == 5
        one.acknowledge(0)
        assert len(one) == 5
        one.acknowledge(1)
        assert len(one) == 2
        add(one, into, [work(0, ("t1", 9, {"n": 1}), ("t5", 9, {"n": 1}))], 2)
        assert sums(into)["t1", 0] == ({"n": 2}, 9)
        assert sums(into)["t5", 0] == ({"n": 6}, 9)


def test_a_row_that_is_wanted_stays_while_others_are_read() -> None:
    """The writes of the poll before are acknowledged meanwhile, and make room."""
    into = store()
    one = Tallies(GROUP, into, cached_rows_max=0)
    add(one, into, [work(0, ("a", 1, {"n": 1}))], 1)

    async def run() -> None:
        adding = asyncio.create_task(one.add([both := work(0, ("a", 2, {"n": 1}), ("b", 2, {"n": 1}))], 2))
        await asyncio.sleep(0)
        one.acknowledge(1)
        await adding
        await into.write(both.fan_out)

    asyncio.run(run())
    assert sums(into) == {("a", 0): ({"n": 2}, 2), ("b", 0): ({"n": 1}, 2)}


def test_a_partition_given_away_is_forgotten() -> None:
    into = store()
    one = Tallies(GROUP, into)
    add(one, into, [work(0, ("a", 1, {"n": 1})), work(1, ("a", 1, {"n": 1}))])
    one.drop(0)
    assert len(one) == 1
