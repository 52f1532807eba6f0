"""Snapshots again: a version that begins to speak in a partition publishes there what stands on the compacted topics, from its own states.

    promotion read, or found unpublished on assignment ──> state table, page by page ──> `publish` of the projections ──> topic
                                                                       all sent ──> `published_at` on the promotion's row

In the background, so many a second. A page of subjects is published in the runner's turn, when nothing is under way: so no older
snapshot of this version ever comes behind a newer one. The version that spoke before may still be sending those of records below the
promotion: it is waited for a little, and where it comes later, all is published once more behind it. Whoever takes the partition over
before the end begins again. Over the store port only.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import structlog

from projections.kernel import Config, Effect, Moment, Subject
from streams.effects import EffectPort
from streams.engine import Engine
from streams.metrics import GroupMetrics
from streams.patience import Patience
from streams.store.columns import integer, text
from streams.store.control import state_table_name
from streams.store.port import GroupVersion, RowWrite, Store
from streams.versions.promotions import TABLE, Promotion
from streams.versions.versions import Versions
from streams.wall_clock import now_us
from touchline.errors import Retryable

__all__ = ["Snapshots"]

log = structlog.get_logger(__name__)

CHUNK_SUBJECTS: Final = 100
"""Subjects that are published in one turn of the runner: the others wait so long for their next poll."""

_CONFIG: Final = Config()
_AGAIN_S: Final = 1.0
BEHIND_S: Final = 10.0
"""How long a version that spoke before may be behind the promotion until the first publishing begins without it."""

_Place = tuple[int, Subject]


class Snapshots:
    """Publishes again for one group version. `turn` is the runner's, and `drain` finishes what is under way in it.

    `per_s` is how many subjects a second at most. `note` and `close` are called in the runner's turn.
    """

    def __init__(
        self,
        engine: Engine,
        store: Store,
        effects: EffectPort,
        *,
        turn: asyncio.Lock,
        drain: Callable[[], Awaitable[None]],
        patience: Patience,
        metrics: GroupMetrics,
        per_s: int,
    ) -> None:
        self._engine = engine
        self._store = store
        self._effects = effects
        self._turn = turn
        self._drain = drain
        self._patience = patience
        self._metrics = metrics
        self._per_s = per_s
        self._group = GroupVersion(engine.group.name, engine.group.version)
        self._publishers: list[tuple[int, Any]] = [(n, p.publish) for n, p in enumerate(engine.group.projections) if hasattr(p, "publish")]
        self._due: dict[int, Promotion] = {}
        self._noted_s: dict[int, float] = {}
        self._told: set[int] = set()
        """The partitions in which it was done once, and is done again when no other version can be behind it any more."""
        self._versions = Versions(store)
        self._news = asyncio.Event()

    @property
    def due(self) -> dict[int, Promotion]:
        """The partitions in which it is to be done, or under way, and since which promotion."""
        return dict(self._due)

    def note(self, partition: int, promotion: Promotion) -> None:
        """Take in that a promotion of whichever version is the newest of a partition, and that nothing was published since."""
        self.close([partition])
        if self._publishers and promotion.version == self._group.version:
            self._due[partition] = promotion
            self._noted_s[partition] = time.monotonic()
            self._news.set()

    def close(self, partitions: Iterable[int]) -> None:
        """Forget partitions that were given away: their next owner goes on."""
        for partition in partitions:
            self._due.pop(partition, None)
            self._noted_s.pop(partition, None)
            self._told.discard(partition)

    async def run(self) -> None:
        """Do it until cancelled. What it raises must end the process."""
        while True:
            await self._news.wait()
            self._news.clear()
            asked = self.due
            try:
                behind = await self._behind(asked)
                due = {partition: promotion for partition, promotion in asked.items() if self._is_time(partition, promotion, behind)}
                if due:
                    await self._publish_all(due, behind)
            except Retryable as error:
                log.warning("waiting", part=f"{self._group.part}.snapshots", reason=error.what)
            if self._due:  # an import is under way, another version is behind, or the store was not there
                await asyncio.sleep(_AGAIN_S)
                self._news.set()

    async def _behind(self, partitions: Iterable[int]) -> frozenset[int]:
        """Return those of these partitions in which a version that spoke before has not passed its last record yet, and may still do so."""
        standing = await self._versions.read(self._group.group)
        behind: set[int] = set()
        for version in standing.running if standing else ():
            if version != self._group.version:
                checkpoints = await self._store.load_checkpoints(GroupVersion(self._group.group, version))
                for partition in partitions:
                    promotions = self._engine.promotions(partition)
                    ended = promotions.ended(version) if promotions else None
                    if ended is not None and (partition not in checkpoints or checkpoints[partition].next_offset < ended.offset):
                        behind.add(partition)
        return frozenset(behind)

    def _is_time(self, partition: int, promotion: Promotion, behind: frozenset[int]) -> bool:
        """Tell whether a partition is to be published now, if it still is at all."""
        if self._due.get(partition) != promotion:
            return False
        is_late = partition not in self._told and time.monotonic() - self._noted_s[partition] >= BEHIND_S
        return not self._engine.is_importing(partition) and (partition not in behind or is_late)

    async def _publish_all(self, due: dict[int, Promotion], behind: frozenset[int]) -> None:
        """Publish every subject of these partitions, and note each that is done, but for those that are done again."""
        group, since_s, n = self._group.part, time.monotonic(), 0
        log.info("snapshots_published_again", group=group, partitions=sorted(due))
        async with self._turn:
            await self._drain()  # whoever was new right before the promotion is in the table then
        async for chunk in self._chunks(frozenset(due)):
            async with self._turn:
                n += await self._publish([subject for partition, subject in chunk if self._is_due(partition, due)])
            await asyncio.sleep(len(chunk) / self._per_s)
        for partition, promotion in due.items():
            if self._is_due(partition, due) and partition in behind:
                self._told.add(partition)
            elif self._is_due(partition, due):
                done: dict[str, Any] = {"published_at": now_us()}
                row = RowWrite(TABLE, (self._group.group, partition, promotion.offset), done, promotion.appended_us + 2)
                await self._patience.run(lambda: self._store.write([row]))  # noqa: B023 - called before it changes
                if self._is_due(partition, due):
                    self.close([partition])
        log.info("snapshots_done", group=group, partitions=sorted(due), snapshots=n, seconds=round(time.monotonic() - since_s, 3))

    async def _chunks(self, partitions: frozenset[int]) -> AsyncIterator[Sequence[_Place]]:
        """Yield the subjects of these partitions by the state table, some at a time."""
        chunk: list[_Place] = []
        last: Subject | None = None
        async for page in self._store.pages(state_table_name(self._group)):
            for row in page:
                partition, subject = integer(row, "applied_partition", -1), Subject(text(row, "tenant"), text(row, "subject"))
                if subject == last or partition not in partitions:
                    continue
                last = subject
                chunk.append((partition, subject))
                if len(chunk) == CHUNK_SUBJECTS:
                    yield chunk
                    chunk = []
        if chunk:
            yield chunk

    def _is_due(self, partition: int, due: dict[int, Promotion]) -> bool:
        """Tell whether a partition is still ours, and this version still speaks in it since that promotion."""
        promotions = self._engine.promotions(partition)
        return promotions is not None and promotions.speaker == self._group.version and self._due.get(partition) == due[partition]

    async def _publish(self, subjects: list[Subject]) -> int:
        """Publish subjects as they are known now; only in the runner's turn. Return how many snapshots that were."""
        await self._drain()  # what is on its way is older
        others = [subject for subject in subjects if self._engine.peek(subject, None) is None]
        rows = await self._patience.run(lambda: self._store.load_states(self._group, others)) if others else {}
        effects: list[Effect] = []
        for subject in subjects:
            entry = self._engine.peek(subject, rows.get(subject))
            if entry is not None:
                at = Moment(entry.appended_us, entry.appended_us, entry.applied_partition, entry.applied_offset, _CONFIG)
                for number, publish in self._publishers:
                    if (state := entry.states[number]) is not None:
                        effects += publish(state, subject, at)
        await self._patience.run(lambda: self._effects.send(effects))
        self._metrics.effects("published", len(effects))
        return len(effects)
