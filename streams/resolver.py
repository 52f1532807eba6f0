"""The resolver's runner: channel topics in, the canonical log out, nothing kept between batches.

A batch ends at `SAME_SUBJECT_MAX` records of one subject, and each batch's offsets are committed, after its records are
acknowledged, before the next one begins. A resolver that is killed in between appends the same records again, and the
engine, which remembers the last 128 ids of each subject, skips them.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from uuid import NAMESPACE_URL, uuid5

import structlog

from connectors.producer import Producer
from schemas.codec import Codec
from schemas.events import Quarantined
from streams.kafka import PartitionsLost, Place
from streams.metrics import GroupMetrics
from streams.patience import Patience
from streams.records import Batch, RawRecord
from streams.resolving import Resolved, Resolver, Unresolvable

__all__ = ["SAME_SUBJECT_MAX", "ResolverRunner"]

log = structlog.get_logger(__name__)

SAME_SUBJECT_MAX = 64

Commit = Callable[[Mapping[Place, int]], None]


class ResolverRunner:
    """Runs the resolver over the channel topics. `commit` commits offsets and waits; it is called in a thread."""

    def __init__(
        self, resolver: Resolver, producer: Producer, codec: Codec, *, topics: Sequence[str], interaction: str, quarantine: str, group_id: str
    ) -> None:
        self.name = "resolver"
        self.group_id = group_id
        self.topics = tuple(topics)
        self.metrics = GroupMetrics("resolver", 1)
        self.patience = Patience(self.name, self.metrics.retries.inc)
        self.commit: Commit | None = None
        self._resolver = resolver
        self._producer = producer
        self._codec = codec
        self._interaction = interaction
        self._quarantine = quarantine
        self._turn = asyncio.Lock()

    async def assign(self, places: Sequence[Place]) -> dict[Place, int | None]:
        """Start at the group's committed offsets: the resolver has no other memory."""
        return dict.fromkeys(places)

    async def run(self, batches: Sequence[Batch]) -> None:
        """Resolve one poll, in parts that are appended, acknowledged and committed one after the other.

        If the broker has given the partitions away meanwhile, the rest is left to whoever has them now.
        """
        try:
            await self._run(batches)
        except PartitionsLost:
            log.warning("partitions_lost", part=self.name)

    async def _run(self, batches: Sequence[Batch]) -> None:
        async with self._turn:
            subjects: Counter[str] = Counter()
            offsets: dict[Place, int] = {}
            outcome: Counter[str] = Counter()
            for batch in batches:
                place = Place(batch.topic, batch.partition)
                for record in batch.records:
                    key = self._append(batch, record, outcome)
                    offsets[place] = record.offset + 1
                    subjects[key] += 1
                    if subjects[key] >= SAME_SUBJECT_MAX:
                        await self._finish(offsets)
                        subjects.clear()
                        offsets = {}
            await self._finish(offsets)
            for result, n in outcome.items():
                self.metrics.records(result, n)
            self.metrics.lag_seconds.set(max(0.0, time.time() - batches[-1].records[-1].appended_us / 1e6))

    async def revoke(self, places: Sequence[Place]) -> None:
        """Let the poll under way end: its offsets are committed before the partitions go."""
        del places
        async with self._turn:
            pass

    async def drain(self) -> None:
        """Let the poll under way end."""
        async with self._turn:
            pass

    def progress(self) -> dict[Place, int]:
        """Return nothing: offsets are committed with each batch."""
        return {}

    def _append(self, batch: Batch, record: RawRecord, outcome: Counter[str]) -> str:
        found = self._resolver.resolve(record.value, record.appended_us)
        if isinstance(found, Resolved):
            self._producer.produce(self._interaction, found.key.encode(), found.value)
            outcome["resolved"] += 1
            return found.key
        self._set_aside(batch, record, found)
        outcome["quarantined"] += 1
        return ""

    def _set_aside(self, batch: Batch, record: RawRecord, why: Unresolvable) -> None:
        """Say in the quarantine topic that a record could not be resolved, where it lies and why; ids repeat with the place."""
        log.warning("quarantined", reason=why.reason, topic=batch.topic, partition=batch.partition, offset=record.offset)
        source = why.source or batch.topic
        note = Quarantined(
            id=why.record_id or str(uuid5(NAMESPACE_URL, f"{batch.topic}/{batch.partition}/{record.offset}")),
            source=source,
            tenant=why.tenant,
            reason=why.reason,
            detail=why.detail,
            stage="resolver",
            topic=batch.topic,
            partition=batch.partition,
            offset=record.offset,
            at_us=record.appended_us,
        )
        self._producer.produce(self._quarantine, source.encode(), self._codec.encode(note))

    async def _finish(self, offsets: Mapping[Place, int]) -> None:
        if not offsets:
            return
        await self.patience.run(self._producer.drain)
        if self.commit is not None:
            commit = self.commit
            await self.patience.run(lambda: asyncio.to_thread(commit, offsets))
