"""The owner of a partition wakes whose timers come: nobody early, nobody forgotten, whoever owned the partition before."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from projections.kernel import Subject
from streams.armed import Due, Expiry
from streams.metrics import GroupMetrics
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion
from streams.timer_index import KEPT_S, PAGE_ROWS, TimerIndex
from streams.timers import HOUR_US, hour_of
from streams.wakeups import Wake
from tests.support.clockwork import SECOND, event, published, record, rules, store
from tests.support.small_log import SmallLog, Worker
from tests.support.two_versions import both, imported, imported_event

GROUP = GroupVersion("clockwork", 1)


def run(story: Callable[[SmallLog], Awaitable[None]]) -> None:
    """Run a story in a loop of its own."""
    asyncio.run(story(SmallLog()))  # type: ignore[arg-type]


def passes(log: SmallLog, seconds: float) -> None:
    """Let time pass."""
    log.now_us += round(seconds * SECOND)


def due(subject: str, following: Expiry | None, *, indexed: bool = False) -> Due:
    """Return what the engine tells of a subject."""
    return Due("t", subject, -1, following, indexed, 5)


async def checkpoint_hour(into: MemoryStore, partition: int = 0) -> int:
    """Return the oldest bucket that the checkpoint names."""
    return (await into.load_checkpoints(GROUP))[partition].oldest_timer_bucket


def test_a_timer_that_comes_is_woken_once_and_expires_when_that_is_read_back() -> None:
    async def story(log: SmallLog) -> None:
        worker = await Worker(log).own(0)
        log.put(event("received", 1, 1000))
        await worker.fold()
        passes(log, 59.999)
        await worker.settle()
        assert log.woken() == []
        passes(log, 0.002)
        await worker.until(lambda: log.woken() == [("c1", "c1/a")])
        assert worker.rang() == [], "nothing changes before the log is read back"
        await worker.fold()
        assert worker.rang() == [("c1/a", 1, 1060 * SECOND)]
        assert [effect.kind for effect in worker.effects.sent] == ["alert.raised"]
        await worker.settle()
        assert len(log.appended) == 1
        await worker.stop()

    run(story)


def test_a_wake_up_that_the_broker_stamped_too_early_is_appended_again_after_the_difference() -> None:
    """Its clock is 40 ms behind: what was appended first expires nothing, and says the same as the second."""

    async def story(log: SmallLog) -> None:
        log.behind_us = 40_000
        worker = await Worker(log).own(0)
        log.put(event("received", 1, 999.9))
        await worker.fold()
        passes(log, 59.92)
        await worker.until(lambda: len(log.appended) == 1)
        await worker.fold()
        assert worker.rang() == []
        await worker.settle()
        assert len(log.appended) == 1
        passes(log, 0.05)
        await worker.until(lambda: len(log.appended) == 2)
        await worker.fold()
        assert [row[1] for row in worker.rang()] == [1]
        assert len({woken.header.id for woken in log.appended}) == 1
        await worker.stop()

    run(story)


def test_an_answer_cancels_the_wake_up() -> None:
    async def story(log: SmallLog) -> None:
        worker = await Worker(log).own(0)
        log.put(event("received", 1, 1000))
        log.put(event("received", 2, 1000))
        await worker.fold()
        log.put(event("sent", 1, 1010))
        await worker.fold()
        assert worker.runner.timers is not None
        assert worker.runner.timers.waiting == 1
        passes(log, 61)
        await worker.until(lambda: log.woken() == [("c2", "c2/a")])
        await worker.settle()
        assert log.woken() == [("c2", "c2/a")]
        await worker.stop()

    run(story)


def test_somebody_whose_state_left_the_memory_is_looked_up() -> None:
    async def story(log: SmallLog) -> None:
        worker = await Worker(log, cached=1).own(0)
        for customer in range(1, 6):
            log.put(event("received", customer, 1000 + customer))
        await worker.fold()
        assert worker.runner.engine.cached_subjects == 1
        passes(log, 66)
        await worker.until(lambda: len(log.appended) == 5)
        assert sorted(log.woken()) == [(f"c{n}", f"c{n}/a") for n in range(1, 6)]
        await worker.fold()
        assert len(worker.rang()) == 5
        await worker.stop()

    run(story)


def test_the_next_owner_finds_what_is_overdue_and_what_comes() -> None:
    """Also what the former owner had only begun: it died before anything else was written."""

    async def story(log: SmallLog) -> None:
        into = store()
        worker = await Worker(log, into).own(0, 1)
        for customer in (1, 2):
            log.put(event("received", customer, 1000))
        log.put(event("received", 3, 1050), 1)
        log.put(event("received", 4, 1000))
        log.put(event("sent", 4, 1000))
        await worker.fold()
        await worker.stop()
        passes(log, 61)
        later = await Worker(log, into).own(0, 1)
        await later.until(lambda: sorted(log.woken()) == [("c1", "c1/a"), ("c2", "c2/a")])
        passes(log, 60)
        await later.until(lambda: len(log.appended) == 3)
        await later.fold()
        assert [row[0] for row in later.rang()] == ["c1/a", "c2/a", "c3/a"]
        await later.stop()

    run(story)


def test_hours_that_lie_far_ahead_are_read_when_they_come_near() -> None:
    async def story(log: SmallLog) -> None:
        into = store()
        worker = await Worker(log, into).own(0)
        log.put(published(rules(5 * 3600, 1), 1000))
        log.put(event("received", 1, 1000))
        log.put(event("received", 2, 1000 - 5 * 3600 + 600))
        await worker.fold()
        await worker.stop()
        later = await Worker(log, into).own(0)
        timers = later.runner.timers
        assert timers is not None
        await later.until(lambda: timers._unread[0] == [hour_of((1000 + 5 * 3600) * SECOND)])
        assert timers.waiting == 1
        assert timers.oldest_hour(0) == 0
        passes(log, 4 * 3600)
        timers._news.set()  # a minute later it would look by itself
        await later.until(lambda: timers._unread[0] == [])
        passes(log, 3601)
        await later.until(lambda: ("c1", "c1/a") in log.woken())
        await later.stop()

    run(story)


def test_a_partition_that_was_given_away_wakes_nobody() -> None:
    async def story(log: SmallLog) -> None:
        worker = await Worker(log).own(0, 1)
        log.put(event("received", 1, 1000))
        log.put(event("received", 2, 1000), 1)
        await worker.fold()
        await worker.give_away(0)
        passes(log, 61)
        await worker.until(lambda: log.woken() == [("c2", "c2/a")])
        await worker.settle()
        assert log.woken() == [("c2", "c2/a")]
        await worker.own(0)
        await worker.until(lambda: sorted(log.woken()) == [("c1", "c1/a"), ("c2", "c2/a")])
        await worker.stop()

    run(story)


def test_the_checkpoint_names_an_hour_before_which_nothing_is_pending() -> None:
    """What is on its way to the log is pending until it is there."""

    async def story(log: SmallLog) -> None:
        log.now_us = 10 * HOUR_US
        worker = await Worker(log).own(0)
        timers = worker.runner.timers
        assert timers is not None
        await worker.until(lambda: timers._unread[0] == [])
        log.put(event("received", 1, 36_000))
        await worker.fold()
        assert await checkpoint_hour(worker.into) == 10
        passes(log, 2 * 3600)
        release = asyncio.Event()
        append = log.append

        async def held(wakes: object) -> list[int]:
            await release.wait()
            return await append(wakes)  # type: ignore[arg-type]

        log.append = held  # type: ignore[assignment,method-assign]
        await worker.until(lambda: bool(timers._flying))
        log.put(event("sent", 2, 43_200))
        await worker.fold()
        assert await checkpoint_hour(worker.into) == 10
        release.set()
        await worker.until(lambda: not timers._flying)
        passes(log, 11)
        log.put(event("sent", 2, 43_211))
        await worker.fold()
        await worker.until(lambda: not timers._flying and timers.waiting == 0)
        passes(log, 11)
        log.put(event("sent", 2, 43_222))
        await worker.fold()
        assert await checkpoint_hour(worker.into) == 12
        log.partitions[0].append(record(len(log.partitions[0]), event("received", 3, 36_000), 36_001))
        await worker.fold()
        assert await checkpoint_hour(worker.into) == 10, "a worker that is behind arms what is over already"
        await worker.stop()

    run(story)


def test_new_rules_are_told_to_everybody_who_waits_so_many_a_second() -> None:
    async def story(log: SmallLog) -> None:
        worker = await Worker(log, wakes_per_s=40).own(0, 1)
        for customer in range(1, 6):
            log.put(event("received", customer, 1000), customer % 2)
        await worker.fold()
        for partition in (0, 1):
            log.put(published(rules(30, 7), 1001), partition)
        await worker.fold()
        await worker.until(lambda: len(log.appended) == 5)
        assert sorted(log.woken()) == [(f"c{n}", "config:rules:7") for n in range(1, 6)]
        assert max(log.portions) == 2
        await worker.fold()
        passes(log, 31)
        await worker.until(lambda: len(log.appended) == 10)
        await worker.fold()
        assert [row[2] for row in worker.rang()] == [1030 * SECOND] * 5
        await worker.stop()

    run(story)


def test_the_next_owner_tells_the_rules_again_for_an_hour_also_to_those_far_ahead() -> None:
    """Its former owner may have been in the middle of it; whoever has heard of them writes nothing."""

    async def story(log: SmallLog) -> None:
        into = store()
        worker = await Worker(log, into).own(0)
        log.put(published(rules(8 * 3600, 1), 1000))
        for customer in (1, 2):
            log.put(event("received", customer, 1000))
        await worker.fold()
        await worker.stop()
        log.appended.clear()
        before = await into.scan("clockwork_v1_state")
        later = await Worker(log, into).own(0)
        await later.until(lambda: sorted(log.woken()) == [("c1", "config:rules:1"), ("c2", "config:rules:1")])
        await later.fold()
        assert await into.scan("clockwork_v1_state") == before
        await later.stop()
        passes(log, 3601)
        latest = await Worker(log, into).own(0)
        await latest.settle()
        assert len(log.appended) == 2
        await latest.stop()

    run(story)


def test_what_ends_waking_is_raised_to_whoever_hosts_it() -> None:
    async def story(log: SmallLog) -> None:
        async def broken(wakes: object) -> list[int]:
            del wakes
            raise ValueError

        log.append = broken  # type: ignore[assignment,method-assign]
        worker = await Worker(log).own(0)
        log.put(event("received", 1, 1000))
        await worker.fold()
        passes(log, 61)
        try:
            await worker.until(lambda: False)
        except ValueError:
            return
        raise AssertionError

    run(story)


def test_lateness_is_measured_from_the_expiry_moment_to_the_log() -> None:
    async def story(log: SmallLog) -> None:
        worker = await Worker(log).own(0)
        metric = GroupMetrics("clockwork", 1).timer_lateness_seconds
        before = metric._sum.get()
        log.put(event("received", 1, 1000))
        await worker.fold()
        passes(log, 62.5)
        await worker.until(lambda: len(log.appended) == 1)
        await worker.until(lambda: metric._sum.get() - before == 2.5)
        await worker.stop()

    run(story)


def test_rows_of_the_index_stay_ninety_days_after_they_mattered() -> None:
    """Each is the earliest timer of a subject; the bucket is said once, and stays a little longer."""
    index = TimerIndex(store(), GROUP)
    soon, late = Expiry(10 * HOUR_US, 1, "a", "bell"), Expiry(10 * HOUR_US + 1, 1, "b", "bell")
    rows = index.rows(0, [due("x", soon), due("y", late), due("z", late, indexed=True)], 9 * HOUR_US)
    assert [(row.table, row.key, row.ttl_s) for row in rows] == [
        ("clockwork_v1_timer", (0, 10, 10 * HOUR_US, "t", "x"), KEPT_S + 3600),
        ("clockwork_v1_timer_bucket", (0, 10), KEPT_S + 7200),
        ("clockwork_v1_timer", (0, 10, 10 * HOUR_US + 1, "t", "y"), KEPT_S + 3600),
    ]
    assert index.rows(0, [due("x", soon), due("y", None)], 20 * HOUR_US)[0].ttl_s == KEPT_S


def test_an_hour_of_many_timers_is_read_page_by_page() -> None:
    async def pages() -> list[int]:
        into = store()
        index = TimerIndex(into, GROUP)
        dues = [due(f"c{n:05}", Expiry(n // 2, 1, "a", "bell")) for n in range(PAGE_ROWS + 3)]
        await into.write(index.rows(0, dues, 0))
        first = await index.page(0, 0)
        second = await index.page(0, 0, first[-1])
        assert {*first, *second} == {(Subject("t", due.subject), due.next.expires_us) for due in dues if due.next}
        return [len(first), len(second)]

    assert asyncio.run(pages()) == [PAGE_ROWS, 3]


def test_a_wake_up_that_is_read_back_before_its_report_leaves_nothing_behind() -> None:
    async def story(log: SmallLog) -> None:
        worker = await Worker(log).own(0)
        append = log.append

        async def slow(wakes: Sequence[Wake]) -> list[int]:
            found = await append(wakes)
            await worker.fold()
            return found

        log.append = slow  # type: ignore[method-assign]
        log.put(event("received", 1, 1000))
        await worker.fold()
        timers = worker.runner.timers
        assert timers is not None
        passes(log, 200)
        await worker.until(lambda: [row[1] for row in worker.rang()] == [3] and timers.waiting == 0 and not timers._flying)
        assert timers._woken == {}
        await worker.stop()

    run(story)


def test_nobody_is_woken_in_the_middle_of_an_import_and_at_its_end_everybody_whose_timer_is_still_armed() -> None:
    """What came later in the exported log may have disarmed what looks overdue; the next owner finds those who are held back."""

    async def story(log: SmallLog) -> None:
        into = await both()
        worker = await Worker(log, into).own(0)
        for number in (1, 2, 3):
            imported_event(log, event("received", number, 100), 100 * SECOND)
        await worker.fold()
        await worker.settle()
        assert log.woken() == []
        log.put(event("received", 9, 990), 1)
        imported_event(log, event("sent", 2, 130), 130 * SECOND)
        await worker.fold()
        await worker.settle()
        assert log.woken() == []
        assert await checkpoint_hour(into) == 0, "what is held back is pending"
        imported(log)
        await worker.fold()
        await worker.until(lambda: len(log.woken()) == 2)
        assert sorted(log.woken()) == [("c1", "c1/a"), ("c3", "c3/a")]
        await worker.stop()

    run(story)
