"""The plain loop that an experienced programmer writes: confluent-kafka, fastavro, `execute_async` with a semaphore of 256.

    python -m benchmarks.peers.plain SPEC

Per event a timeline row and a state row, and the row of a month when it is new: the tables of the benchmark job, with the same
contents. States are kept in a dictionary without limit and never read; repeats are not looked for; offsets are committed at the end.
"""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import fastavro
import msgspec
from cassandra.cluster import Cluster, Session
from cassandra.io.libevreactor import LibevConnection
from confluent_kafka import Consumer

from benchmarks.child import report, settings_of, specification
from benchmarks.meter import Meter
from schemas.ids import Ids

__all__ = ["TIMELINE", "Fold", "decoder", "rows_of"]

_IN_FLIGHT = 256
_FRAME = 5
_POLL = 1000

TIMELINE = (
    *("tenant", "customer_id", "month", "occurred_at", "event_id", "channel", "type", "direction", "contact_id", "conversation_id"),
    *("actor_kind", "hidden", "home_customer_id", "sealed", "sealed_key", "src_partition", "src_offset"),
)
"""The columns that the benchmark job's events fill."""


class Fold:
    """The state of every customer: events by month. Returns what one event leads to."""

    def __init__(self) -> None:
        self._months: dict[str, dict[str, int]] = {}

    def __call__(self, event: dict[str, Any], partition: int, offset: int) -> tuple[list[Any], bytes, bool]:
        """Return the timeline row's values, the state to store, and whether the month is new."""
        header = event["header"]
        customer, at_us = header["customer_id"], header["occurred_at_us"]
        month = datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m")
        months = self._months.setdefault(customer, {})
        months[month] = months.get(month, 0) + 1
        values = [
            header["tenant"],
            customer,
            month,
            at_us,
            header["id"],
            header["channel"],
            "message.received",
            header["direction"],
            header["contact_id"],
            header["conversation_id"],
            header["actor_kind"],
            False,
            header["home_customer_id"],
            event["sealed"],
            event["sealed_key"],
            partition,
            offset,
        ]
        return values, msgspec.msgpack.encode(months), months[month] == 1


def rows_of(session: Session, keyspace: str) -> tuple[Any, Any, Any]:
    """Prepare the three INSERTs."""
    marks = ", ".join("?" * len(TIMELINE))
    return (
        session.prepare(f"INSERT INTO {keyspace}.timeline_v1 ({', '.join(TIMELINE)}) VALUES ({marks})"),  # noqa: S608 - our own names
        session.prepare(f"INSERT INTO {keyspace}.job_v1_state (tenant, subject, projection, state) VALUES (?, ?, 'timeline', ?)"),  # noqa: S608
        session.prepare(f"INSERT INTO {keyspace}.timeline_months_v1 (tenant, customer_id, month) VALUES (?, ?, ?)"),  # noqa: S608
    )


class Writer:
    """`execute_async` with at most 256 requests under way."""

    def __init__(self, session: Session) -> None:
        self.rows = 0
        self._session = session
        self._room = threading.Semaphore(_IN_FLIGHT)
        self.failed: list[Exception] = []

    def write(self, statement: Any, values: Sequence[Any]) -> None:  # noqa: ANN401 - a prepared statement
        """Start one INSERT; wait while there is no room."""
        self._room.acquire()
        self.rows += 1
        self._session.execute_async(statement, values).add_callbacks(self._done, self._fail)

    def wait(self) -> None:
        """Wait until none is under way."""
        for _ in range(_IN_FLIGHT):
            self._room.acquire()
        self._room.release(_IN_FLIGHT)

    def _done(self, _: object) -> None:
        self._room.release()

    def _fail(self, error: Exception) -> None:
        self.failed.append(error)
        self._room.release()


def decoder() -> Callable[[bytes], dict[str, Any]]:
    """Return what decodes a framed record by fastavro, whatever its type."""
    schemas = {entry.id: fastavro.parse_schema(entry.full()) for entry in Ids.load().entries if entry.header is not None}

    def decode(raw: bytes) -> dict[str, Any]:
        stream = BytesIO(raw)
        stream.seek(_FRAME)
        return fastavro.schemaless_reader(stream, schemas[int.from_bytes(raw[1:_FRAME], "big")], None)  # type: ignore[return-value]

    return decode


def main(arguments: Sequence[str]) -> None:
    """Read the log to its end."""
    spec = specification(arguments)
    settings = settings_of(spec)
    cluster = Cluster([settings.cassandra_hosts], port=settings.cassandra_port, connection_class=LibevConnection, protocol_version=4)
    session = cluster.connect()
    timeline, state, month = rows_of(session, settings.keyspace)
    writer, fold, decode, meter = Writer(session), Fold(), decoder(), Meter(spec.pids)
    consumer = Consumer(
        {
            "bootstrap.servers": settings.brokers,
            "group.id": f"{settings.keyspace}.plain.{time.time_ns()}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([settings.topic("interaction")], on_assign=lambda *_: meter.start())
    done = 0
    while done < spec.events:
        for message in consumer.consume(_POLL, 0.2):
            event = decode(message.value() or b"")
            values, blob, first = fold(event, message.partition() or 0, message.offset() or 0)
            writer.write(timeline, values)
            writer.write(state, (values[0], values[1], blob))
            if first:
                writer.write(month, values[:3])
            done += 1
    writer.wait()
    consumer.commit(asynchronous=False)
    if writer.failed:
        raise writer.failed[0]
    report(spec, meter.usage(done, rows=writer.rows, requests=writer.rows))
    consumer.close()
    cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv)
