"""The producer against librdkafka's own mock cluster: what is acknowledged, what is sent again, what ends it."""

import asyncio
import time

import pytest
from confluent_kafka import KafkaError

from connectors import producer as module
from connectors.producer import FatalProducerError, Producer
from touchline.errors import Misconfigured, Retryable

NOBODY = "127.0.0.1:1"
"""Where no broker listens; not a free port of the system's choice, since a client can come to be connected to itself there."""

MOCK = {"test.mock.num.brokers": 1, "allow.auto.create.topics": True}


@pytest.fixture
def mock() -> Producer:
    return Producer("unused", config=MOCK)


def test_what_is_drained_is_acknowledged(mock: Producer) -> None:
    for number in range(2500):
        mock.produce("t", b"k%d" % number, b"v", [("ce_id", b"1")] if number % 2 else ())
    asyncio.run(mock.drain())
    assert (mock.pending(), mock.produced, mock.unwell) == (0, 2500, None)


def test_plain_code_flushes_and_a_tombstone_is_a_record(mock: Producer) -> None:
    mock.produce("t", b"k", None)
    mock.flush()
    assert mock.pending() == 0


def test_draining_nothing_is_harmless(mock: Producer) -> None:
    asyncio.run(mock.drain())


def test_while_the_broker_is_away_a_drain_says_so_and_nothing_counts_as_written() -> None:
    away = Producer(NOBODY, delivery_timeout_s=60)
    away.produce("t", b"k", b"v")
    with pytest.raises(Retryable, match="still wait for the broker"):
        asyncio.run(away.drain(1.2))
    assert away.pending() >= 1
    assert away.unwell is not None
    away.discard()


def test_what_was_not_acknowledged_in_time_is_kept_and_sent_again_by_the_next_drain() -> None:
    """A caller that repeats `drain` on `Retryable` loses nothing, headers included."""
    away = Producer(NOBODY, delivery_timeout_s=0.3)
    away.produce("t", b"k", b"v", [("ce_id", b"1")])
    away.produce("t", None, None)
    for _ in range(2):
        with pytest.raises(Retryable, match="2 records were not acknowledged"):
            asyncio.run(away.drain(5))
        assert [(record.key, record.value, list(record.headers)) for record in away._failed] == [
            (b"k", b"v", [("ce_id", b"1")]),
            (None, None, []),
        ]
    away.discard()
    assert away.pending() == 0


def test_a_record_for_a_named_partition_is_sent_again_to_that_partition() -> None:
    away = Producer(NOBODY, delivery_timeout_s=0.3)
    away.produce("t", b"k", b"v", partition=7)
    for _ in range(2):
        with pytest.raises(Retryable, match="1 records were not acknowledged"):
            asyncio.run(away.drain(5))
        assert [(record.key, record.partition) for record in away._failed] == [(b"k", 7)]
    away.discard()


def test_a_named_partition_wins_over_the_key_and_one_that_there_is_not_is_refused(mock: Producer) -> None:
    """The mock cluster's topics have four partitions."""
    for partition in range(4):
        mock.produce("t", b"same", b"v", partition=partition)
    asyncio.run(mock.drain())
    assert mock.pending() == 0
    with pytest.raises(Misconfigured, match="topics create"):
        mock.produce("t", b"same", b"v", partition=99)


def test_a_record_for_a_topic_that_is_not_there_names_the_command_that_makes_it() -> None:
    producer = Producer("unused", config={"test.mock.num.brokers": 1, "topic.metadata.propagation.max.ms": 100})
    producer._failed.append(module._Failed("t", b"k", b"v", (), KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)))  # the mock cluster makes every topic
    with pytest.raises(Misconfigured, match="touchline topics create"):
        producer._check(0, time.monotonic() + 1)


def test_a_fatal_error_ends_every_drain(mock: Producer) -> None:
    mock._troubled(KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "sequence", fatal=True))
    with pytest.raises(FatalProducerError, match="start the process again"):
        mock.flush()


def test_a_full_queue_is_waited_for_and_then_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_WAIT_S", 0.2)
    away = Producer(NOBODY, config={"queue.buffering.max.messages": 5}, delivery_timeout_s=60)
    for _ in range(5):
        away.produce("t", b"k", b"v")
    with pytest.raises(Retryable, match="queue has been full"):
        away.produce("t", b"k", b"v")
    away.discard()
