"""One batch through an engine, as its drivers do it."""

import asyncio

from streams.engine import Engine
from streams.records import Batch
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion
from streams.work import Work

__all__ = ["folded"]


def folded(engine: Engine, batch: Batch, into: MemoryStore | None = None) -> Work:
    """Fold a batch; with a store, load from it and write to it."""
    version = GroupVersion(engine.group.name, engine.group.version)

    async def run() -> Work:
        taken = engine.take(batch)
        states = await into.load_states(version, engine.missing(taken)) if into else {}
        work = engine.feed(taken, states)
        if into:
            await into.write(work.fan_out)
            await into.write(work.own)
        return work

    return asyncio.run(run())
