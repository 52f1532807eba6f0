"""The poll loop of one runner, in a thread of its own: Kafka on one side, an asyncio queue on the other.

Kafka's client wants to be polled even while the worker is busy, or the group takes its partitions away and nobody else can
join. So while the queue is full the loop goes on polling, one record at a time, and keeps what comes. (Pausing partitions
was tried: those whose first offset was still being looked up never came back after `resume`.)

Commits that a runner waits for are done here too, between polls: a synchronous commit in one thread beside a poll in another
was seen to wait for ever (confluent-kafka 2.16.0; the broker had answered), and later versions forbid it.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import structlog

from streams.cluster import Place
from streams.hosted import Runner
from streams.kafka import Subscription
from streams.records import Batch
from touchline.errors import Retryable, TouchlineError
from touchline.settings import Settings

__all__ = ["Consumption"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

POLL_S = 0.2
KEPT_RECORDS_MAX = 1000
"""Records kept while the queue is full: at one per `POLL_S`, three minutes' worth."""
FULL_POLL_S = 10.0
"""How often one more is polled after that, for as long as it takes (9,000 a day at most): who does not poll is put out of its group."""
COMMIT_EVERY_S = 1.0
HAND_OVER_MAX_S = 120.0
"""How long partitions may be held back until their writes are done; the broker gives up on a member after 300 s without a poll."""


class Stopped(Exception):
    """Raised inside the loop when the worker stops while it waits."""


class _Commit(NamedTuple):
    """Offsets that a runner wants committed, and who waits for it."""

    offsets: Mapping[Place, int]
    done: "Future[None]"


class Consumption:
    """Polls for one runner until `stop`. `put` hands one poll over and returns when there was room for it."""

    def __init__(self, runner: Runner, settings: Settings, put: Callable[[list[Batch]], Awaitable[None]], loop: asyncio.AbstractEventLoop) -> None:
        self._runner = runner
        self._settings = settings
        self._put = put
        self._loop = loop
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._commits: deque[_Commit] = deque()
        self._subscription: Subscription | None = None
        self._kept: list[Batch] = []

    def stop(self) -> None:
        """Ask the loop to end; it drains, commits and leaves the group on its way out."""
        self._stopping.set()

    def is_current(self, batch: Batch) -> bool:
        """Tell whether a batch's partition is still ours."""
        return self._subscription is not None and self._subscription.is_current(batch)

    def commit(self, offsets: Mapping[Place, int]) -> None:
        """Have the polling thread commit offsets, and wait for it: blocks, for a thread of its own. Raises `Retryable`."""
        asked = _Commit(offsets, Future())
        self._commits.append(asked)
        self._wake.set()
        if self._ended.is_set():
            self._commit_asked()
        asked.done.result()

    def run(self) -> None:
        """Poll until told to stop. Blocking; whatever it raises must end the process."""
        settings, runner = self._settings, self._runner
        self._subscription = subscription = Subscription(
            settings.brokers,
            runner.group_id,
            runner.topics,
            assigned=lambda places: self._wait(runner.assign(places)),
            revoked=lambda places: self._wait(runner.revoke(places), to_its_end=True),
            session_timeout_ms=settings.session_timeout_ms,
            instance_id=f"{settings.instance_id}.{runner.name}" if settings.instance_id else None,
        )
        committed: dict[Place, int] = {}
        next_commit = time.monotonic() + COMMIT_EVERY_S
        try:
            while not self._stopping.is_set():
                self._commit_asked()
                kept, self._kept = self._kept, []
                batches = _merged([*kept, *subscription.poll(settings.poll_records_max, 0 if kept else POLL_S)])
                if batches:
                    self._hand_over(subscription, batches)
                if time.monotonic() >= next_commit:
                    committed = self._commit_progress(subscription, committed)
                    next_commit = time.monotonic() + COMMIT_EVERY_S
            self._wait(runner.drain(), to_its_end=True)
            self._commit_progress(subscription, committed)
        except Stopped:
            log.info("stopped_while_waiting", part=runner.name)
        finally:
            try:
                subscription.close()
            except Stopped:
                log.info("stopped_while_waiting", part=runner.name)
            finally:
                self._ended.set()
                self._commit_asked()

    def _commit_progress(self, subscription: Subscription, committed: dict[Place, int]) -> dict[Place, int]:
        progress = self._runner.progress()
        moved = {place: offset for place, offset in progress.items() if committed.get(place) != offset}
        with suppress(Retryable):  # it is only for lag displays
            subscription.commit(moved, wait=False)
        return progress

    def _hand_over(self, subscription: Subscription, batches: list[Batch]) -> None:
        """Put a poll into the queue; while there is no room, go on polling and keep the little that comes."""
        handed, polled_s = self._started(_coroutine(self._put(batches))), time.monotonic()
        while not self._is_done(handed):
            if self._stopping.is_set():
                handed.cancel()
                raise Stopped
            if len(self._kept) < KEPT_RECORDS_MAX or time.monotonic() - polled_s >= FULL_POLL_S:
                polled_s = time.monotonic()
                self._kept.extend(subscription.poll(1, 0))
        handed.result()

    def _started(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """Start a coroutine on the worker's loop; its end wakes this thread."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        future.add_done_callback(lambda _: self._wake.set())
        return future

    def _is_done(self, future: "Future[Any]") -> bool:
        """Wait at most `POLL_S` for a future, committing meanwhile what is asked for, and tell whether it is done."""
        self._wake.wait(POLL_S)
        self._commit_asked()
        return future.done()

    def _commit_asked(self) -> None:
        """Do the commits that are waited for. Only the polling thread may, until it has ended: then nothing can be committed."""
        self._wake.clear()
        while self._commits:
            asked = self._commits.popleft()
            if self._subscription is None or self._ended.is_set():
                left = Retryable("this worker has left its group.", next_step="nothing: these records are read again, and known by their ids.")
                asked.done.set_exception(left)
                continue
            try:
                self._subscription.commit(asked.offsets, wait=True)
            except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
                asked.done.set_exception(error)
            else:
                asked.done.set_result(None)

    def _wait(self, coroutine: Coroutine[Any, Any, T], *, to_its_end: bool = False) -> T:
        """Run a coroutine on the worker's loop and wait for it. A stop gives it up, or gives it the stop budget to come `to_its_end`.

        Without a stop that may take `HAND_OVER_MAX_S`; then the process must end, or its partitions would lie idle for ever.
        """
        future = self._started(coroutine)
        since, stopping = time.monotonic(), False
        while not self._is_done(future):
            if self._stopping.is_set() and not stopping:
                since, stopping = time.monotonic(), True
            waited_s = time.monotonic() - since
            if stopping and (not to_its_end or waited_s > self._settings.stop_budget_s):
                future.cancel()
                raise Stopped
            if to_its_end and not stopping and waited_s > HAND_OVER_MAX_S:
                future.cancel()
                raise TouchlineError(
                    f"{self._runner.name} could not finish what was under way within {HAND_OVER_MAX_S:.0f} s, to give its partitions away.",
                    next_step="see what it waits for in the log, then start it again.",
                )
        return future.result()


def _merged(batches: list[Batch]) -> list[Batch]:
    """Join batches that continue each other, so that there is one per partition (and assignment)."""
    joined: dict[tuple[str, int, int], Batch] = {}
    for batch in batches:
        found = joined.get((batch.topic, batch.partition, batch.epoch))
        if found is None:
            joined[batch.topic, batch.partition, batch.epoch] = batch
        else:
            found.records.extend(batch.records)
    return list(joined.values())


async def _coroutine(awaitable: Awaitable[T]) -> T:
    return await awaitable
