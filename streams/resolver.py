"""The resolver's runner: channel topics in, the canonical log out, nothing kept between batches.

A batch ends at `SAME_SUBJECT_MAX` records of one subject, and each batch's offsets are committed, after its records are
acknowledged, before the next one begins. A resolver that is killed in between appends the same records again, and the
engine, which remembers the last 128 ids of each subject, skips them.
"""

from collections import Counter
from collections.abc import Sequence
from uuid import NAMESPACE_URL, uuid5

import structlog

from connectors.producer import Producer
from schemas.codec import Codec
from schemas.events import Quarantined
from streams.cluster import Place
from streams.records import Batch, RawRecord
from streams.relay import Relay
from streams.resolving import Resolved, Resolver, Unresolvable

__all__ = ["SAME_SUBJECT_MAX", "ResolverRunner"]

log = structlog.get_logger(__name__)

SAME_SUBJECT_MAX = 64


class ResolverRunner(Relay):
    """Runs the resolver over the channel topics."""

    def __init__(
        self, resolver: Resolver, producer: Producer, codec: Codec, *, topics: Sequence[str], interaction: str, quarantine: str, group_id: str
    ) -> None:
        super().__init__("resolver", producer, codec, topics=topics, interaction=interaction, group_id=group_id)
        self._resolver = resolver
        self._quarantine = quarantine

    async def _pass_on(self, batches: Sequence[Batch]) -> None:
        """Resolve one poll, in parts that are appended, acknowledged and committed one after the other."""
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
