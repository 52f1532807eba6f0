"""Whose timers are held while records are copied to it: woken when the hold ends, whoever owns the partition then, and however it ends."""

import asyncio
from collections.abc import Awaitable, Callable

from streams.records import RawRecord
from tests.support.clockwork import SECOND, event
from tests.support.small_log import SmallLog, Worker
from tests.support.tied import complete, linked

Story = Callable[[SmallLog], Awaitable[None]]


def run(story: Story) -> None:
    """Run a story in a loop of its own."""
    asyncio.run(story(SmallLog()))  # type: ignore[arg-type]


def passes(log: SmallLog, seconds: float) -> None:
    """Let time pass."""
    log.now_us += round(seconds * SECOND)


def put(log: SmallLog, made: RawRecord) -> None:
    """Append a record now."""
    records = log.partitions[0]
    records.append(made._replace(offset=len(records), appended_us=log.stamp_us()))


def test_held_he_is_woken_when_the_copies_are_complete() -> None:
    async def story(log: SmallLog) -> None:
        worker = await Worker(log).own(0)
        log.put(event("received", 1, 1000))
        passes(log, 59)
        put(log, linked(0, 2, 1, 1059, under=1))
        await worker.fold()
        passes(log, 30)
        await worker.settle()
        assert log.woken() == [], "while copies come nobody is woken"
        put(log, complete(0, 2, 1, 1089, last=-1))
        await worker.fold()
        await worker.until(lambda: log.woken() == [("c1", "c1/a")])
        passes(log, 1)
        await worker.fold()
        assert worker.rang()[0][:2] == ("c1/a", 3)
        await worker.stop()

    run(story)


def test_woken_in_vain_he_is_woken_again() -> None:
    """The wake-up is on the log already when the link is read: it does nothing, and must not be taken for the one that counts."""

    async def story(log: SmallLog) -> None:
        worker = await Worker(log).own(0)
        log.put(event("received", 1, 1000))
        await worker.fold()
        passes(log, 59)
        put(log, linked(0, 2, 1, 1059, under=1))
        passes(log, 1.5)
        await worker.until(lambda: len(log.appended) == 1)
        put(log, complete(0, 2, 1, 1061, last=-1))
        await worker.fold()
        assert worker.rang() == []
        await worker.until(lambda: len(log.appended) == 2)
        passes(log, 0.1)
        await worker.fold()
        assert worker.rang() == [("c1/a", 1, 1060 * SECOND)]
        await worker.stop()

    run(story)


def test_a_hold_that_nobody_ends_ends_after_a_minute_for_the_next_owner_too() -> None:
    async def story(log: SmallLog) -> None:
        first = await Worker(log).own(0)
        log.put(event("received", 1, 1000))
        passes(log, 59)
        put(log, linked(0, 2, 1, 1059, under=1))
        await first.fold()
        await first.stop()
        second = await Worker(log, first.into).own(0)
        passes(log, 59.9)
        await second.settle()
        assert log.woken() == []
        passes(log, 0.2)
        await second.until(lambda: log.woken() == [("c1", "c1/a")])
        passes(log, 0.1)
        await second.fold()
        assert second.rang() != []
        await second.stop()

    run(story)
