"""The bridge between an event loop and a driver's thread: bounded, ordered, and clean after errors and cancellations."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from streams.store.inflight import InFlight


class Server:
    """Answers on a thread of its own, in reverse order, when asked to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, Callable[[int], None], Callable[[Exception], None]]] = []
        self.most = 0

    def request(self, number: int) -> Callable[[Callable[[int], None], Callable[[Exception], None]], None]:
        def start(answer: Callable[[int], None], fail: Callable[[Exception], None]) -> None:
            self.waiting.append((number, answer, fail))
            self.most = max(self.most, len(self.waiting))

        return start

    def settle(self) -> None:
        """Answer everything that waits; requests with odd tens fail."""
        taken, self.waiting = self.waiting[::-1], []
        for number, answer, fail in taken:
            if number >= 1000:
                fail(RuntimeError(f"no {number}"))
            else:
                answer(number * 2)

    async def serve(self, until: asyncio.Future[object]) -> None:
        """Settle again and again, on a thread."""
        while not until.done():
            await asyncio.sleep(0.001)
            thread = threading.Thread(target=self.settle)
            thread.start()
            thread.join()


def test_answers_come_in_the_order_of_the_requests_and_few_are_in_flight() -> None:
    async def scene() -> None:
        server, flight = Server(), InFlight[int](4)
        asked = asyncio.ensure_future(flight.all([server.request(n) for n in range(50)]))
        await server.serve(asked)
        assert asked.result() == [n * 2 for n in range(50)]
        assert server.most == 4

    asyncio.run(scene())


def test_the_limit_holds_over_all_callers() -> None:
    async def scene() -> None:
        server, flight = Server(), InFlight[int](3)
        asked = asyncio.gather(*[flight.all([server.request(n) for n in range(5)]) for _ in range(5)])
        await server.serve(asked)
        assert asked.result() == [[0, 2, 4, 6, 8]] * 5
        assert server.most == 3

    asyncio.run(scene())


def test_an_error_is_raised_when_nothing_is_in_flight_any_more() -> None:
    async def scene() -> None:
        server, flight = Server(), InFlight[int](2)
        asked = asyncio.ensure_future(flight.all([server.request(n) for n in (1, 1000, 2, 1001, 3)]))
        await server.serve(asked)
        with pytest.raises(RuntimeError, match="no 1000"):
            asked.result()
        assert server.waiting == []
        again = asyncio.ensure_future(flight.all([server.request(4)]))
        await server.serve(again)
        assert again.result() == [8]

    asyncio.run(scene())


def test_a_request_that_cannot_start_fails_like_one_that_did() -> None:
    def broken(_answer: object, _fail: object) -> None:
        raise OSError("no connection")

    with pytest.raises(OSError, match="no connection"):
        asyncio.run(InFlight[int](1).all([broken, broken]))


def test_a_cancelled_caller_leaves_room_for_others() -> None:
    async def scene() -> None:
        server, flight = Server(), InFlight[int](2)
        dropped = asyncio.ensure_future(flight.all([server.request(n) for n in range(10)]))
        await asyncio.sleep(0.01)
        dropped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dropped
        asked = asyncio.ensure_future(flight.all([server.request(n) for n in range(10)]))
        await server.serve(asked)
        assert asked.result() == [n * 2 for n in range(10)]

    asyncio.run(scene())


def test_it_serves_one_loop_after_another() -> None:
    server, flight = Server(), InFlight[int](2)

    async def scene() -> list[int]:
        asked = asyncio.ensure_future(flight.all([server.request(n) for n in range(5)]))
        await server.serve(asked)
        return asked.result()

    assert asyncio.run(scene()) == asyncio.run(scene())
