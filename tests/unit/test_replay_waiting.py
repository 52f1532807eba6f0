"""What a replay says it waits for: the store or the log, and why, for as long as it does and no longer."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streams.engine import Engine
from streams.records import Batch
from streams.replay import source
from streams.replay.replay import Replay
from streams.replay.waiting import Waiting
from streams.store.memory import MemoryStore
from tests.support.clockwork import CODEC, GROUP, event, record, store
from touchline.errors import Retryable

RECORDS = [record(n, event("received", n, 1000 + n), 1000 + n) for n in range(4)]


class Log:
    """A log that says nothing until it is let go, and has `silent` times nothing to say even then."""

    def __init__(self, *, silent: int = 0) -> None:
        self.let_go = threading.Event()
        self.silent = silent

    def batches(self, partition: int, first: int, end: int, records_max: int = 1000) -> Iterator[Batch]:
        assert self.let_go.wait(60)
        if self.silent:
            self.silent -= 1
            raise Retryable(f"log partition {partition}: nothing came after {first}.")
        yield from (Batch(partition, RECORDS[at : min(end, at + records_max)]) for at in range(first, end, records_max))


class Refusing(MemoryStore):
    """A store that has no room for writes, until it has."""

    full = True

    async def write(self, rows: Any) -> None:
        if self.full:
            raise Retryable("the store has no room.")
        await super().write(rows)


async def seen(replay: Replay, met: Callable[[Waiting | None], bool]) -> Waiting | None:
    """Look until what is waited for is as expected."""
    async with asyncio.timeout(60):
        while not met(replay.waiting):  # noqa: ASYNC110 - nobody says when it waits: whoever watches a build looks, too
            await asyncio.sleep(0.01)
    return replay.waiting


def watched(into: MemoryStore, log: Log, watch: Callable[[Replay], Any]) -> Replay:
    """Replay everything while somebody watches."""
    replay = Replay(Engine(GROUP, CODEC, tenant="acme", cached_subjects_max=100), into, log, CODEC, first=0, chunk_records=2)

    async def run() -> None:
        assert replay.waiting is None
        await replay.open([0])
        running = asyncio.create_task(replay.run({0: 4}))
        await watch(replay)
        assert await running
        replay.close()

    asyncio.run(run())
    assert (replay.done.records, replay.waiting) == (4, None)
    return replay


def test_a_log_that_says_nothing_is_waited_for_from_the_moment_it_is_asked() -> None:
    log = Log()

    async def watch(replay: Replay) -> None:
        waiting = await seen(replay, lambda one: one is not None)
        assert waiting is not None
        assert (waiting.what, waiting.reason) == ("the log", "")
        log.let_go.set()

    watched(store(), log, watch)


def test_a_log_that_falls_silent_again_and_again_is_waited_for_since_the_first_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_PAUSE_S", 0.05)
    log, last = Log(silent=2), 0.0

    async def watch(replay: Replay) -> None:
        nonlocal last
        log.let_go.set()
        while log.silent or replay.waiting is not None:
            if (waiting := replay.waiting) is not None:
                assert waiting.seconds >= last
                last = waiting.seconds
                assert waiting.reason in {"", "log partition 0: nothing came after 0."}
            await asyncio.sleep(0.01)

    watched(store(), log, watch)
    assert last > 0


def test_a_log_that_stays_silent_ends_the_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_PAUSE_S", 0.0)
    monkeypatch.setattr(source, "SILENCE_MAX_S", -1.0)
    log = Log(silent=1)
    log.let_go.set()
    with pytest.raises(Retryable, match="nothing came after 0"):
        watched(store(), log, lambda _: asyncio.sleep(0))


def test_a_store_that_refuses_is_waited_for_and_says_why() -> None:
    into = Refusing(store()._tables.by_name.values())
    log = Log()
    log.let_go.set()

    async def watch(replay: Replay) -> None:
        waiting = await seen(replay, lambda one: one is not None and one.what == "the store")
        assert waiting is not None
        assert waiting.reason == "the store has no room."
        into.full = False

    watched(into, log, watch)
