"""What is said on the control topic reaches everybody who keeps keys or claims in memory; who does not hear it is no worse off."""

import asyncio
from collections.abc import Iterator

import pytest

from schemas.codec import Codec
from schemas.events import KeysDestroyed
from streams import live
from streams.control_topic import KnownBy, Listener, handle_name, handles_of, heard, listen
from streams.records import Batch, RawRecord
from touchline.errors import Retryable

CODEC = Codec()
PHONE = KnownBy("phone", bytes(range(32)))


def said(erasure: str) -> KeysDestroyed:
    return KeysDestroyed(tenant="acme", erasure=erasure, handles=(PHONE.name,), at_us=1)


class Topic:
    """A control topic in memory; `is_silent`: no broker answers."""

    def __init__(self) -> None:
        self.records: list[RawRecord] = []
        self.low = 0
        self.is_silent = False
        self.closed = False

    def say(self, value: bytes) -> None:
        self.records.append(RawRecord(self.low + len(self.records), None, value, 0))

    def forget(self) -> None:
        self.low += len(self.records)
        self.records = []

    def range_of(self, partition: int) -> tuple[int, int]:
        assert partition == 0
        if self.is_silent:
            raise Retryable("silent")
        return self.low, self.low + len(self.records)

    def batches(self, partition: int, first: int, end: int) -> Iterator[Batch]:
        assert first >= self.low
        if first < end:
            yield Batch(partition, self.records[first - self.low : end - self.low])

    def close(self) -> None:
        self.closed = True


def test_a_handle_is_one_word_and_is_read_back_from_it() -> None:
    assert PHONE.name == handle_name("phone", PHONE.hash) == f"phone:{PHONE.hash.hex()}"
    assert handles_of([PHONE.name, "phone:zz", "nothing", "fax:00"]) == [PHONE]


def test_a_listener_hears_what_comes_after_its_first_look_once_whatever_the_topic_has_lost() -> None:
    topic = Topic()
    listener = Listener(topic, CODEC)
    topic.say(CODEC.encode(said("before")))
    assert listener.news() == []
    topic.say(CODEC.encode(said("er-1")))
    topic.say(b"of another program")
    assert listener.news() == [said("er-1")]
    assert listener.news() == []
    topic.forget()
    topic.say(CODEC.encode(said("er-2")))
    assert listener.news() == [said("er-2")]


def test_a_silent_broker_ends_no_listening() -> None:
    topic, came = Topic(), list[str]()

    async def story() -> None:
        listener = Listener(topic, CODEC)
        assert listener.news() == []
        topic.is_silent = True
        arrived = asyncio.Event()

        def hear(one: KeysDestroyed) -> None:
            came.append(one.erasure)
            arrived.set()

        task = asyncio.create_task(listen(listener, hear, every_s=0.001))
        await asyncio.sleep(0.02)
        topic.say(CODEC.encode(said("er-1")))
        topic.is_silent = False
        await asyncio.wait_for(arrived.wait(), 30)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        listener.close()

    asyncio.run(story())
    assert came == ["er-1"]
    assert topic.closed


class Keeps:
    """A runner that keeps something of people; whatever else a runner has does not matter here."""

    def __init__(self) -> None:
        self.heard: list[KeysDestroyed] = []

    def hear(self, said: KeysDestroyed) -> None:
        self.heard.append(said)


def test_a_worker_tells_the_runners_that_keep_something_of_people() -> None:
    keeps = Keeps()
    live._pass_on(heard(CODEC, CODEC.encode(said("er-1"))), [keeps, object()])  # type: ignore[list-item]
    live._pass_on(heard(CODEC, b"of another program"), [keeps])  # type: ignore[list-item]
    assert keeps.heard == [said("er-1")]


@pytest.mark.parametrize("value", [b"", b"\x00\x00\x00\x00\x01", CODEC.encode(said("x"))[:9]])
def test_what_is_no_such_record_says_nothing(value: bytes) -> None:
    assert heard(CODEC, value) is None
