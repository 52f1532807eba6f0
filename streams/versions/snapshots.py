"""Snapshots again: a version that begins to speak in a partition publishes there what stands on the compacted topics, from its own states.

    promotion read, or found unpublished on assignment ──> state table, page by page ──> `publish` of the projections ──> topic
                                                                       all sent ──> `published_at` on the promotion's row

In the background, so many a second. A page of subjects is published in the runner's turn, when nothing is under way: so no older
snapshot ever comes behind a newer one. Whoever takes the partition over before the end begins again. Over the store port only.
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
from touchline.errors import Retryable

__all__ = ["Snapshots"]

log = structlog.get_logger(__name__)

CHUNK_SUBJECTS: Final = 100
"""Subjects that are published in one turn of the runner: the others wait so long for their next poll."""

_CONFIG: Final = Config()
_AGAIN_S: Final = 1.0
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
        self._news = asyncio.Event()

    @property
    def due(self) -> dict[int, Promotion]:
        """The partitions in which it is to be done, or under way, and since which promotion."""
        return dict(self._due)

    def note(self, partition: int, promotion: Promotion) -> None:
        """Take in that a promotion of whichever version is the newest of a partition, and that nothing was published since."""
        self._due.pop(partition, None)
        if self._publishers and promotion.version == self._group.version:
            self._due[partition] = promotion
            self._news.set()

    def close(self, partitions: Iterable[int]) -> None:
        """Forget partitions that were given away: their next owner goes on."""
        for partition in partitions:
            self._due.pop(partition, None)

    async def run(self) -> None:
        """Do it until cancelled. What it raises must end the process."""
        while True:
            await self._news.wait()
            self._news.clear()
            due = {partition: promotion for partition, promotion in self._due.items() if not self._engine.is_importing(partition)}
            try:
                if due:
                    await self._publish_all(due)
            except Retryable as error:
                log.warning("waiting", part=f"{self._group.group}.v{self._group.version}.snapshots", reason=error.what)
            if self._due:  # an import is under way, or the store was not there
                await asyncio.sleep(_AGAIN_S)
                self._news.set()

    async def _publish_all(self, due: dict[int, Promotion]) -> None:
        """Publish every subject of these partitions, and note each that is done."""
        group, since_s, n = f"{self._group.group}.v{self._group.version}", time.monotonic(), 0
        log.info("snapshots_published_again", group=group, partitions=sorted(due))
        async with self._turn:
            await self._drain()  # whoever was new right before the promotion is in the table then
        async for chunk in self._chunks(frozenset(due)):
            async with self._turn:
                n += await self._publish([subject for partition, subject in chunk if self._is_due(partition, due)])
            await asyncio.sleep(len(chunk) / self._per_s)
        for partition, promotion in due.items():
            if self._is_due(partition, due):
                done: dict[str, Any] = {"published_at": time.time_ns() // 1000}
                row = RowWrite(TABLE, (self._group.group, partition, promotion.offset), done, promotion.appended_us + 2)
                await self._patience.run(lambda: self._store.write([row]))  # noqa: B023 - called before it changes
                if self._is_due(partition, due):
                    del self._due[partition]
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
