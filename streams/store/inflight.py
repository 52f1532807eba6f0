"""Requests of an event loop to a driver that answers on a thread of its own: bounded in flight, woken once for many answers."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Generic, TypeVar

__all__ = ["InFlight", "Request"]

T = TypeVar("T")

Request = Callable[[Callable[[T], None], Callable[[Exception], None]], None]
"""Starts a request; calls exactly one of the two, with the answer or with the error, on any thread."""

_STARTED_AT_ONCE = 8
"""Requests started before the loop gets a turn: encoding and sending one takes about 0.3 ms."""


class InFlight(Generic[T]):
    """At most `limit` requests at a time over all callers; the others wait their turn in order."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in_flight = 0
        self._waiting: deque[tuple[Request[T], asyncio.Future[T]]] = deque()
        self._answered: deque[tuple[asyncio.Future[T], Callable[[], None]]] = deque()
        self._woken = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def all(self, requests: Sequence[Request[T]]) -> list[T]:
        """Run requests; return their answers in order, or raise the first error once none is in flight any more."""
        futures: list[asyncio.Future[T]] = []
        try:
            for number, request in enumerate(requests, 1):
                futures.append(self._submit(request))
                if number % _STARTED_AT_ONCE == 0:
                    await asyncio.sleep(0)
            if futures:
                await asyncio.wait(futures)
        except asyncio.CancelledError:
            for future in futures:
                future.cancel()
            raise
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise errors[0]
        return [future.result() for future in futures]

    def _submit(self, request: Request[T]) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # another asyncio.run: whatever the last one left behind is nobody's any more
            self._loop, self._in_flight, self._woken = loop, 0, False
            self._waiting.clear()
            self._answered.clear()
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.append((request, future))
        self._start()
        return future

    def _start(self) -> None:
        while self._waiting and self._in_flight < self._limit:
            request, future = self._waiting.popleft()
            if future.done():
                continue
            self._in_flight += 1
            loop = self._loop
            try:
                request(partial(self._answer, loop, future), partial(self._fail, loop, future))
            except Exception as error:  # noqa: BLE001 - handed to whoever waits for this request
                self._fail(loop, future, error)

    def _answer(self, loop: asyncio.AbstractEventLoop | None, future: asyncio.Future[T], answer: T) -> None:
        self._finished(loop, future, partial(future.set_result, answer))

    def _fail(self, loop: asyncio.AbstractEventLoop | None, future: asyncio.Future[T], error: Exception) -> None:
        self._finished(loop, future, partial(future.set_exception, error))

    def _finished(self, loop: asyncio.AbstractEventLoop | None, future: asyncio.Future[T], settle: Callable[[], None]) -> None:
        """Note an outcome, on the driver's thread; wake the loop unless it is awake already."""
        if loop is None or loop is not self._loop:
            return
        self._answered.append((future, settle))
        if not self._woken:
            self._woken = True
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._woken = False  # before the queue is emptied: an answer that comes in between wakes again
        while self._answered:
            future, settle = self._answered.popleft()
            self._in_flight -= 1
            if not future.done():
                settle()
        self._start()
