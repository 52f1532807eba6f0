"""What a wake-up says, and that its append time is heard of; against librdkafka's own mock of a cluster."""

import asyncio

from connectors.producer import Producer
from projections.kernel import Subject
from schemas.codec import Codec
from schemas.events import TimerWoke
from streams.patience import Patience
from streams.wakeups import KafkaWaker, Wake

WAKE = Wake(2, Subject("acme", "cu-1"), "c:co-1|cu-1|first_response|1", 900, 1_000)
MOCK = {"test.mock.num.brokers": 1, "allow.auto.create.topics": True}


def test_whoever_notices_says_the_same_and_of_another_timer_something_else() -> None:
    ids = {
        WAKE.event("care").header.id,
        WAKE._replace(partition=5, due_us=901).event("care").header.id,
        WAKE._replace(expires_us=1_001).event("care").header.id,
        WAKE._replace(timer="other").event("care").header.id,
        WAKE._replace(subject=Subject("acme", "cu-2")).event("care").header.id,
        WAKE._replace(subject=Subject("other", "cu-1")).event("care").header.id,
        WAKE.event("view").header.id,
    }
    assert len(ids) == 6


def test_a_wake_up_names_its_subject_timer_and_due_time_and_survives_the_codec() -> None:
    codec = Codec()
    woke = codec.decode(codec.encode(WAKE.event("care")))
    assert isinstance(woke, TimerWoke)
    assert (woke.timer, woke.due_at_us, woke.header.tenant, woke.header.customer_id, woke.header.occurred_at_us) == (
        WAKE.timer,
        900,
        "acme",
        "cu-1",
        1_000,
    )
    assert WAKE._replace(subject=Subject("acme", "agent:7")).event("care").header.customer_id == "", "an agent is no customer"


def test_the_waker_returns_the_append_time_of_each_once_all_are_acknowledged() -> None:
    producer = Producer("unused", reports=True, config=MOCK)
    waker = KafkaWaker(producer, Codec(), topic="log", group="care", patience=Patience("test"))
    found = asyncio.run(waker.append([WAKE._replace(timer=str(n), partition=n % 4) for n in range(50)]))
    assert len(found) == 50
    assert all(at_us > 0 and at_us % 1000 == 0 for at_us in found), "the broker's clock ticks in milliseconds"
    assert producer.pending() == 0
