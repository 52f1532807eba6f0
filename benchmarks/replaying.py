"""A measured replay: the product's own driver over partitions of a log, in a process of its own, until their end.

python -m benchmarks.replaying SPEC     options: group, partitions, store (real, none), chunk, rate (events/s), sample_every
"""

import asyncio
import gc
import os
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from benchmarks.child import Specification, report, settings_of, specification
from benchmarks.meter import CountedStore, Meter, rss_mb
from benchmarks.worker import GROUPS_MEASURED, Found, Sample
from projections.kernel import Subject
from projections.tables import Table
from schemas.codec import Codec
from streams.engine import Engine
from streams.log.reader import LogReader
from streams.replay.child import IN_FLIGHT_MAX, NICE
from streams.replay.governor import Pace
from streams.replay.replay import CHUNK_RECORDS, Done, Replay
from streams.store.cassandra import CassandraStore
from streams.store.catalogue import known_tables
from streams.store.encoding import TableEncoder
from streams.store.grouping import chunks, parts
from streams.store.port import CellValue, Checkpoint, GroupVersion, RowWrite, StateRow
from touchline.logging import configure_logging

__all__ = ["NoStore"]


class NoStore:
    """A store that encodes and groups what it is given as the real one does, and throws the requests away; there is nothing in it."""

    def __init__(self, tables: Iterable[Table]) -> None:
        self.rows = 0
        self.requests = 0
        self._encoders: dict[str, TableEncoder] = {}
        for table in tables:
            encoder = self._encoders[table.physical] = TableEncoder(table, "nowhere")
            encoder.prepare(lambda _: bytes(16))

    async def write(self, rows: Sequence[RowWrite]) -> None:
        """Encode, count, and forget."""
        self.rows += len(rows)
        self.requests += len(chunks(parts(rows, self._encoders), lambda _: 0))

    async def load_states(self, group: GroupVersion, subjects: Iterable[Subject]) -> dict[Subject, StateRow]:  # noqa: ARG002 - the port's
        """Know nobody."""
        return {}

    async def load_checkpoints(self, group: GroupVersion) -> dict[int, Checkpoint]:  # noqa: ARG002
        """Know none."""
        return {}

    async def save_checkpoints(self, group: GroupVersion, checkpoints: Mapping[int, Checkpoint]) -> None:  # noqa: ARG002
        """Count them; they are rows too."""
        self.rows += len(checkpoints)

    async def read(self, table: str, partition: Mapping[str, str | int], **_: object) -> list[dict[str, CellValue]]:  # noqa: ARG002
        """Find nothing."""
        return []

    async def read_many(self, table: str, partitions: Sequence[Mapping[str, str | int]]) -> list[list[dict[str, CellValue]]]:  # noqa: ARG002
        """Find nothing, as often as asked."""
        return [[] for _ in partitions]

    async def pages(self, table: str) -> AsyncIterator[list[dict[str, CellValue]]]:  # noqa: ARG002
        """Find nothing."""
        yield []

    async def close(self) -> None:
        """Nothing is open."""


async def _measured(spec: Specification) -> None:
    settings, options = settings_of(spec), spec.options
    group = GROUPS_MEASURED[options["group"]]
    tables = known_tables([group])
    store: Any = NoStore(tables)
    if options.get("store", "real") == "real":
        store = CountedStore(await CassandraStore.connect(settings, tables, in_flight_max=IN_FLIGHT_MAX))
    codec, pace = Codec(), Pace(options.get("rate"))
    samples: list[Sample] = []
    every = int(options.get("sample_every", 0))
    engine = Engine(group, codec, tenant=settings.tenant, cached_subjects_max=settings.cached_subjects_max)

    async def paced(records: int) -> None:
        await asyncio.sleep(pace.wait_s(records, time.monotonic()))

    def said(done: Done) -> None:
        if every and done.records // every > len(samples):
            samples.append(Sample(done.records, rss_mb(), engine.cached_subjects))

    with LogReader(settings.brokers, settings.topic("interaction")) as reader:
        partitions = options["partitions"]
        ends = {partition: reader.range_of(partition)[1] for partition in partitions}
        chunk = int(options.get("chunk", CHUNK_RECORDS))
        replay = Replay(engine, store, reader, codec, first=0, chunk_records=chunk, paced=paced if pace.rate else None, say=said)
        try:
            await replay.open(partitions)
            gc.collect()
            gc.freeze()
            gc.disable()
            meter = Meter(spec.pids)
            meter.start()
            limit_s = options.get("seconds")
            await asyncio.wait_for(replay.run(ends), limit_s)
        except TimeoutError:
            pass  # it was to go on for so long
        finally:
            replay.close()
        usage = meter.usage(max(1, replay.done.records), rows=store.rows, requests=store.requests)
        report(spec, Found(usage, samples, meter.by_thread()))
        await store.close()


def main(arguments: Sequence[str]) -> None:
    """Run one measured replay."""
    spec = specification(arguments)
    configure_logging("warning")
    os.nice(NICE)
    asyncio.run(_measured(spec))


if __name__ == "__main__":
    main(sys.argv)
