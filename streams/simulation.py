"""The third driver: a log in memory, the same resolver and engine, the in-memory store. No server, no network."""

from collections.abc import Iterable, Iterator

from projections.kernel import Effect
from projections.registry import Group
from schemas.codec import Codec
from schemas.record import Event
from streams.engine import Engine
from streams.records import Batch, RawRecord
from streams.resolving import Resolved, Resolver, Unresolvable
from streams.store.port import GroupVersion, Store

__all__ = ["Simulation"]

BATCH_RECORDS = 10_000
"""Records folded together: rows are merged over a batch, and ten thousand cost a quarter less than one thousand."""


class Simulation:
    """Feeds events, in the order given, through the resolver and every group into a store.

    Append time never goes backwards: an event with an earlier one gets that of the event before it. All records lie in
    one partition; what comes out does not depend on that.
    """

    def __init__(self, groups: Iterable[Group], store: Store, codec: Codec, *, tenant: str, future_max_s: int, cached_subjects_max: int) -> None:
        self._codec = codec
        self._store = store
        self._resolver = Resolver(codec, future_max_s=future_max_s)
        self._engines = [Engine(g, codec, tenant=tenant, cached_subjects_max=cached_subjects_max) for g in groups]
        for engine in self._engines:
            engine.open(0, None)
        self._offset = 0
        self._appended_us = 0
        self.refusals: list[Unresolvable] = []
        self.results: dict[str, int] = {}

    async def feed(self, events: Iterable[tuple[Event, int]]) -> list[Effect]:
        """Append (event, append time in µs) pairs and fold them; return the effects, in order."""
        effects: list[Effect] = []
        for records in _chunks(self._resolved(events)):
            batch = Batch(0, records)
            for engine in self._engines:
                effects.extend(await self._fold(engine, batch))
        return effects

    @property
    def parked_customers(self) -> int:
        """How many customers are parked."""
        return sum(engine.parked_customers for engine in self._engines)

    def _resolved(self, events: Iterable[tuple[Event, int]]) -> Iterator[RawRecord]:
        for event, appended_us in events:
            self._appended_us = max(self._appended_us, appended_us)
            found = self._resolver.resolve(self._codec.encode(event), self._appended_us)
            if isinstance(found, Resolved):
                yield RawRecord(self._offset, found.key.encode(), found.value, self._appended_us)
                self._offset += 1
            else:
                self.refusals.append(found)

    async def _fold(self, engine: Engine, batch: Batch) -> list[Effect]:
        group = GroupVersion(engine.group.name, engine.group.version)
        taken = engine.take(batch)
        missing = engine.missing(taken)
        work = engine.feed(taken, await self._store.load_states(group, missing) if missing else {})
        await self._store.write(work.fan_out)
        await self._store.write(work.own)
        engine.acknowledge(engine.work_number)
        for result, n in work.results.items():
            self.results[result] = self.results.get(result, 0) + n
        return work.effects


def _chunks(records: Iterator[RawRecord]) -> Iterator[list[RawRecord]]:
    chunk: list[RawRecord] = []
    for record in records:
        chunk.append(record)
        if len(chunk) == BATCH_RECORDS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
