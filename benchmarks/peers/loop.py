"""The bare loop beside the resolver: consume, produce the same bytes, commit once a poll is acknowledged, and nothing between.

    python -m benchmarks.peers.loop SPEC        options: warm (records before the clock starts)

Nobody could resolve for less: what the resolver takes above it is what is done about whose the records are.
"""

import asyncio
import sys
import time
from collections.abc import Sequence

from confluent_kafka import Consumer

from benchmarks.child import Specification, report, settings_of, specification
from benchmarks.figures import Usage
from benchmarks.meter import Meter
from connectors.producer import Producer
from touchline.settings import Settings

__all__ = ["passed_on"]


async def passed_on(spec: Specification, settings: Settings) -> Usage:
    """Pass a channel's log on, from its beginning; return what that used after the warm-up."""
    meter, producer, topic = Meter(spec.pids), Producer(settings.brokers), settings.topic("interaction")
    warm, done, begun = int(spec.options["warm"]), 0, 0
    consumer = Consumer(
        {
            "bootstrap.servers": settings.brokers,
            "group.id": f"{settings.keyspace}.{time.time_ns()}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([settings.topic("channel.email")])
    while done < spec.events:
        messages = consumer.consume(settings.poll_records_max, 0.2)
        for message in messages:
            producer.produce(topic, message.key(), message.value())
        if messages:
            await producer.drain()
            consumer.commit(asynchronous=False)
        before, done = done, done + len(messages)
        if before < warm <= done:
            begun = done
            meter.start()
    usage = meter.usage(done - begun)
    consumer.close()
    return usage


def main(arguments: Sequence[str]) -> None:
    """Run it."""
    spec = specification(arguments)
    report(spec, asyncio.run(passed_on(spec, settings_of(spec))))


if __name__ == "__main__":
    main(sys.argv)
