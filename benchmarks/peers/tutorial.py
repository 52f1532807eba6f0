"""The Faust app of a tutorial: one agent, decode the event, await two writes.

    python -m benchmarks.peers.tutorial SPEC

The same fold and tables as the plain loop; the driver's futures are awaited one after the other, as tutorials do.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

import faust
from cassandra.cluster import Cluster, ResponseFuture
from cassandra.io.libevreactor import LibevConnection

from benchmarks.child import Specification, report, settings_of, specification
from benchmarks.meter import Meter
from benchmarks.peers.plain import Fold, decoder, rows_of

__all__ = ["app_of"]


def app_of(spec: Specification) -> faust.App:
    """Return the app."""
    settings = settings_of(spec)
    session = Cluster([settings.cassandra_hosts], port=settings.cassandra_port, connection_class=LibevConnection, protocol_version=4).connect()
    timeline, state, month = rows_of(session, settings.keyspace)
    app = faust.App(f"{settings.keyspace}-tutorial-{time.time_ns()}", broker=f"kafka://{settings.brokers}", store="memory://", web_enabled=False)
    events = app.topic(settings.topic("interaction"), value_serializer="raw", key_serializer="raw")
    decode, fold, meter = decoder(), Fold(), Meter(spec.pids)
    counts = {"done": 0, "rows": 0}

    @app.on_partitions_assigned.connect
    async def begin(*_: object, **__: object) -> None:
        meter.start()

    @app.agent(events)
    async def project(stream: Any) -> None:  # noqa: ANN401 - as in a tutorial
        async for event in stream.events():
            message = event.message
            values, blob, first = fold(decode(event.value), message.partition, message.offset)
            await finished(session.execute_async(timeline, values))
            await finished(session.execute_async(state, (values[0], values[1], blob)))
            if first:
                await finished(session.execute_async(month, values[:3]))
            counts["rows"] += 3 if first else 2
            counts["done"] += 1
            if counts["done"] == spec.events:
                report(spec, meter.usage(counts["done"], rows=counts["rows"], requests=counts["rows"]))
                os.kill(os.getpid(), signal.SIGTERM)

    return app


async def finished(request: ResponseFuture) -> None:
    """Await one of the driver's futures."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    request.add_callbacks(
        lambda _: loop.call_soon_threadsafe(future.set_result, None), lambda error: loop.call_soon_threadsafe(future.set_exception, error)
    )
    await future


def main(arguments: Sequence[str]) -> None:
    """Run the app until it has read as many events as the specification says."""
    app = app_of(specification(arguments))
    faust.Worker(app, loglevel="WARNING", quiet=True).execute_from_commandline()


if __name__ == "__main__":
    main(sys.argv)
