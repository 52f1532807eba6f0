"""The poll loop while nobody takes what it has polled: it stays a member of its group, and keeps little."""

import asyncio
import threading

import pytest

from streams import consumption as consumption_module
from streams.consumption import Consumption
from streams.records import Batch, RawRecord
from streams.runner import GroupRunner
from tests.support.small_log import SmallLog, Worker
from tests.support.two_versions import both
from touchline.settings import Settings


class Topic:
    """A subscription in which there is always one more record."""

    def __init__(self) -> None:
        self.polls = 0
        self.enough = threading.Event()

    def poll(self, records_max: int, timeout_s: float) -> list[Batch]:
        assert (records_max, timeout_s) == (1, 0)
        self.polls += 1
        if self.polls >= 12:
            self.enough.set()
        return [Batch(0, [RawRecord(self.polls, b"k", b"v", 1)], topic="t")]


@pytest.mark.parametrize("every_s", [0.0, 1000.0])
def test_whoever_waits_for_long_goes_on_polling_now_and_then(monkeypatch: pytest.MonkeyPatch, every_s: float) -> None:
    """A version that trails one whose workers are dead may wait for hours, and a rollback asks whether anybody runs it."""
    monkeypatch.setattr(consumption_module, "POLL_S", 0.005)
    monkeypatch.setattr(consumption_module, "KEPT_RECORDS_MAX", 5)
    monkeypatch.setattr(consumption_module, "FULL_POLL_S", every_s)

    async def told() -> Topic:
        runner: GroupRunner = Worker(SmallLog(), await both()).runner
        room, topic = asyncio.Event(), Topic()

        async def put(batches: list[Batch]) -> None:
            del batches
            await room.wait()

        consumption = Consumption(runner, Settings(), put, asyncio.get_running_loop())  # type: ignore[call-arg]
        handing = asyncio.create_task(asyncio.to_thread(consumption._hand_over, topic, []))  # type: ignore[arg-type]
        await asyncio.to_thread(topic.enough.wait, 0.5 if every_s else 10)
        room.set()
        await handing
        return topic

    polls = asyncio.run(told()).polls
    assert polls == 5 if every_s else polls >= 12
