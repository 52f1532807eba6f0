"""Measured reads: the 360° view of random customers, one partition each, one after the other and warm.

python -m benchmarks.reading SPEC       options: reads
"""

import asyncio
import random
import sys
import time
from collections.abc import Sequence

import msgspec

from benchmarks.child import Specification, report, settings_of, specification
from benchmarks.figures import Usage
from benchmarks.meter import CountedStore, Meter
from schemas.codec import Codec
from streams.reading import ActiveVersions, CustomerReader
from streams.store.cassandra import CassandraStore

__all__ = ["Reads"]

_WARM_UP = 500


class Reads(msgspec.Struct, frozen=True):
    """What the reads took, each in milliseconds of wall time."""

    usage: Usage
    ms: list[float]


async def _run(spec: Specification) -> Reads:
    settings = settings_of(spec)
    store = CountedStore(await CassandraStore.connect(settings))
    try:
        group = await ActiveVersions(store).of()
        customers = sorted({str(row["customer_id"]) for row in await store.scan(f"customer_v{group.version}")})
        reader, rng = CustomerReader(store, Codec(), group), random.Random(5)  # noqa: S311 - the same customers every time
        for customer in rng.choices(customers, k=_WARM_UP):
            await reader.customer(settings.tenant, customer)
        meter, ms = Meter(spec.pids), []
        before = store.requests
        meter.start()
        for customer in rng.choices(customers, k=int(spec.options["reads"])):
            began = time.perf_counter()
            await reader.customer(settings.tenant, customer)
            ms.append((time.perf_counter() - began) * 1000)
        return Reads(meter.usage(len(ms), requests=store.requests - before), ms)
    finally:
        await store.close()


def main(arguments: Sequence[str]) -> None:
    """Run the measured reads."""
    spec = specification(arguments)
    report(spec, asyncio.run(_run(spec)))


if __name__ == "__main__":
    main(sys.argv)
