"""A log that was exported, through the engine, without servers: records as they lie there, each partition apart, into an empty store.

Unlike `simulation.py` there is nothing to resolve and nothing to append: wake-ups and what goes back onto the log are in it already.
Rebuilds are executed as the owner of a partition does; whoever has none in its log needs no `reader`.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from projections.kernel import Effect, Subject
from projections.registry import Group
from schemas.codec import Codec
from schemas.events import ProjectionPromoted
from streams.cutting import FRAME, Cutter, frames_of
from streams.engine import SETTLE_S, Engine
from streams.rebuild.history import History, RecordReader
from streams.rebuild.rebuilding import Rebuilder
from streams.records import Batch, first_appended_us
from streams.store.port import GroupVersion, Store
from streams.tallies import Tallies
from streams.timers import TimerWheel
from streams.work import Work

__all__ = ["LogSimulation"]

_ROUNDS_MAX: Final = 10_000
_EXPIRED_MAX: Final = 5_000
"""Subjects whose timers expire together at the end: their states are in memory at once."""

_MS_US: Final = 1000
_PROMOTIONS: Final = frames_of(ProjectionPromoted)


class _Driven:
    """One group: its engine, its figures, and who waits for timers, by partition."""

    def __init__(self, engine: Engine, store: Store, codec: Codec, reader: RecordReader | None) -> None:
        self.engine = engine
        self.version = GroupVersion(engine.group.name, engine.group.version)
        self.tallies = Tallies(engine.group, store, fresh=True)
        self.waiting = TimerWheel()
        self.cutter = Cutter(codec, *self.version)
        self.rebuilder = None if reader is None else Rebuilder(engine, store, History(store, reader), codec=codec)
        self.unheard: set[int] = set()
        """Partitions with rulebooks of which not everybody who waits for a timer may have heard."""

    def note(self, work: Work) -> None:
        """Remember whose timers come when, and that there are new rules."""
        for due in work.timers:
            if due.was_us >= 0:
                self.waiting.cancel(work.partition, due.tenant, due.subject, due.was_us)
            if due.next is not None:
                self.waiting.arm(work.partition, due.tenant, due.subject, due.next.expires_us)
        if work.books and self.engine.is_configured:
            self.unheard.add(work.partition)


class LogSimulation:
    """Folds partitions of a log, each from offset 0 on. `groups`: the view group first, if there are rebuilds; its rows say what is rebuilt.

    `reader` finds single records again, for rebuilds. What these versions would have said is returned, whichever spoke then: promotions are
    left out. What was said before an import is not said again.
    """

    def __init__(
        self,
        groups: Iterable[Group],
        store: Store,
        codec: Codec,
        *,
        tenant: str,
        cached_subjects_max: int,
        settle_s: float = SETTLE_S,
        reader: RecordReader | None = None,
    ) -> None:
        self._codec = codec
        self._store = store
        engines = [Engine(group, codec, tenant=tenant, cached_subjects_max=cached_subjects_max, settle_s=settle_s) for group in groups]
        self._driven = [_Driven(engine, store, codec, reader) for engine in engines]
        self._open: set[int] = set()
        self.appended_us = 0
        """When the last record was appended, of all partitions."""
        self.refused: list[tuple[int, int, str]] = []
        """Partition and offset of published configuration that could not be read, and why."""
        self.results: dict[str, int] = {}
        """What became of the records, over all groups."""

    @property
    def parked_customers(self) -> int:
        """How many customers are parked."""
        return sum(driven.engine.parked_customers for driven in self._driven)

    async def feed(self, batch: Batch) -> list[Effect]:
        """Fold the next records of a partition in every group; return the effects, in order."""
        batch = Batch(batch.partition, [record for record in batch.records if record.value[:FRAME] not in _PROMOTIONS], topic=batch.topic)
        if not batch.records:
            return []
        if batch.partition not in self._open:
            self._open.add(batch.partition)
            for driven in self._driven:
                driven.engine.open(batch.partition, None)
        self.appended_us = max(self.appended_us, first_appended_us(batch.records[-1], self._codec))
        effects: list[Effect] = []
        for driven in self._driven:
            for part in driven.cutter.cut(batch):
                work = await self._fold(driven, part)
                effects += await self._keep(driven, work)
                if driven is self._driven[0]:  # every group says the same
                    self.refused += [(batch.partition, offset, reason) for offset, reason in work.refused]
        return effects

    async def finish(self, until_us: int | None = None) -> list[Effect]:
        """Let time pass to the end: expire what expires up to `until_us`, by default up to the last append; return the effects. Once."""
        end_us = self.appended_us if until_us is None else until_us
        effects: list[Effect] = []
        for driven in self._driven:
            for _ in range(_ROUNDS_MAX):
                come: dict[int, list[Subject]] = {}
                for one in driven.waiting.due(end_us + _MS_US, len(driven.waiting)):
                    come.setdefault(one.partition, []).append(one.subject)
                for partition in driven.unheard:
                    come.setdefault(partition, []).extend(driven.waiting.subjects(partition))
                driven.unheard.clear()
                if not come:
                    break
                for partition, subjects in sorted(come.items()):
                    everybody = list(dict.fromkeys(subjects))
                    for first in range(0, len(everybody), _EXPIRED_MAX):
                        effects += await self._expire(driven, partition, everybody[first : first + _EXPIRED_MAX], end_us)
        return effects

    async def _fold(self, driven: _Driven, part: Batch) -> Work:
        if driven.rebuilder is not None and driven.cutter.rebuild_of(part) is not None:
            return await driven.rebuilder.rebuild(part)
        taken = driven.engine.take(part)
        missing = driven.engine.missing(taken)
        return driven.engine.feed(taken, await self._store.load_states(driven.version, missing) if missing else {})

    async def _keep(self, driven: _Driven, work: Work) -> list[Effect]:
        """Write a work and remember what it says; return its effects."""
        engine = driven.engine
        await driven.tallies.add([work], engine.work_number)
        driven.note(work)
        await self._store.write(work.fan_out)
        await self._store.write(work.own)
        await self._store.save_checkpoints(driven.version, {work.partition: work.checkpoint})
        engine.acknowledge(engine.work_number)
        driven.tallies.acknowledge(engine.work_number)
        for result, n in work.results.items():
            self.results[result] = self.results.get(result, 0) + n
        return work.effects

    async def _expire(self, driven: _Driven, partition: int, subjects: Sequence[Subject], end_us: int) -> list[Effect]:
        """Expire the timers of those who have come. Who comes later is not waited for any more: this is the end."""
        _, others = driven.engine.armed(subjects)
        states = await self._store.load_states(driven.version, others) if others else {}
        return await self._keep(driven, driven.engine.expire(partition, subjects, states, end_us))
