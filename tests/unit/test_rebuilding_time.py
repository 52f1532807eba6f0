"""Rebuilds and time: what was noticed by a wake-up is not noticed again, what comes due after a rebuild is told, what is past is not."""

import asyncio

from streams.records import RawRecord
from streams.store.memory import MemoryStore
from streams.work import Work
from tests.support.clockwork import event, record, store, wake
from tests.support.repairing import ALL_STEPS, BROKEN, MENDED, Owner, rebuild, written


def run(into: MemoryStore, log: list[RawRecord], *, start: int = 0, mended: bool = True) -> list[Work]:
    """Fold a log from `start` on, record by record."""

    async def folded() -> list[Work]:
        owner = await Owner(into, log, MENDED if mended else BROKEN).opened()
        return [work for one in log[start:] for work in await owner.run([one])]

    return asyncio.run(folded())


def sums(of: MemoryStore) -> dict[str, dict[str, int]]:
    return {str(row["tone"]): row["sums"] for row in asyncio.run(of.scan("tone_v1"))}  # type: ignore[misc]


def told(works: list[Work]) -> list[str]:
    return [effect.key for work in works for effect in work.effects]


def test_what_a_wake_up_noticed_is_neither_told_nor_counted_again() -> None:
    """The wake-up has no place in the history: the state row says how far time had come."""
    log = [record(0, event("received", 1, 1000), 1000), record(1, wake(1, 1061), 1061)]
    into = store()
    assert told(run(into, log)) == ["c1/a"]
    before = sums(into), asyncio.run(into.scan("ring_v1"))
    log.append(rebuild(2, 1, 1061.5))
    assert told(run(into, log, start=2)) == []
    assert (sums(into), asyncio.run(into.scan("ring_v1"))) == before


def test_what_comes_due_at_the_rebuild_of_a_healthy_customer_is_told_once() -> None:
    """Nobody had woken it: the rebuild's own record is what notices."""
    log = [record(0, event("received", 1, 1000), 1000), rebuild(1, 1, 1061)]
    into = store()
    assert told(run(into, log)) == ["c1/a"]
    [row] = asyncio.run(into.scan("ring_v1"))
    assert row["n"] == 1
    log.append(rebuild(2, 1, 1062))
    assert told(run(into, log, start=2)) == []


def test_what_came_due_while_a_customer_waited_is_in_the_rows_and_told_to_nobody() -> None:
    log = [record(0, event("received", 1, 1000), 1000), record(1, event("poison", 1, 1001, conversation="b"), 1001)]
    into = store()
    run(into, log, mended=False)
    log += [record(2, wake(1, 1061), 1061), rebuild(3, 1, 1062, mode="retry")]
    assert told(run(into, log, start=2)) == []
    rows = {str(row["conversation"]): row["n"] for row in asyncio.run(into.scan("ring_v1"))}
    assert rows == {"c1/a": 1, "c1/b": -1}
    log.append(record(4, wake(1, 1068), 1068))
    assert told(run(into, log, start=4)) == ["c1/a"]  # it rings again 7 s after the first time


def test_the_index_has_the_timers_of_a_customer_that_was_rebuilt() -> None:
    """Whoever takes the partition over finds them, whatever was known of them before."""
    log = [record(0, event("poison", 1, 1000, conversation="b"), 1000), record(1, event("received", 1, 1001), 1001)]
    into = store()
    run(into, log, mended=False)
    assert asyncio.run(into.scan("clockwork_v1_timer")) == []
    log.append(rebuild(2, 1, 1002, mode="retry"))
    run(into, log, start=2)
    [row] = asyncio.run(into.scan("clockwork_v1_timer"))
    assert (row["subject"], row["name"], row["expires_at"]) == ("c1", "c1/a", 1_061_000_000)


def test_a_crash_before_any_step_of_the_writes_comes_to_the_same() -> None:
    """Half of the fan-out, all of it, half of the own rows, all of them: whoever comes next does it again."""
    log = [record(0, event("received", 1, 1000), 1000), record(1, event("poison", 1, 1001), 1001), record(2, event("received", 1, 1002), 1002)]
    log += [record(3, wake(2, 1070), 1070), rebuild(4, 1, 1071, mode="retry"), record(5, wake(1, 1200), 1200)]

    async def crashed(steps: int, *, torn: bool = False) -> list[object]:
        into = store()
        broken = await Owner(into, log, BROKEN).opened()
        for one in log[:4]:
            await broken.run([one])
        dying = await Owner(into, log, MENDED).opened()
        await written(into, await dying.fold(dying.cut([log[4]])[0]), steps, torn=torn)
        owner = await Owner(into, log, MENDED).opened()
        for one in log[owner.start :]:
            await owner.run([one])
        tables = ("ring_v1", "heard_v1", "tone_v1", "clockwork_v1_state", "parked_customer", "parked_record")
        return [sorted(await into.scan(table), key=repr) for table in tables]

    straight = asyncio.run(crashed(ALL_STEPS))
    assert straight[-2:] == [[], []]
    assert [asyncio.run(crashed(steps)) for steps in range(ALL_STEPS)] == [straight] * ALL_STEPS
    assert [asyncio.run(crashed(steps, torn=True)) for steps in (3, 4)] == [straight] * 2  # also where a partition is too large for one request
