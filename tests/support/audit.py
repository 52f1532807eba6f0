"""The audit topic in memory, as writers and readers of it see it; and an operator's trail over it."""

from collections.abc import Iterator

from schemas.codec import Codec
from schemas.events import AuditEntry
from streams.audit.heads import Heads
from streams.audit.trail import Trail
from streams.audit.verifying import Report, verify
from streams.records import Batch, RawRecord
from streams.store.catalogue import control_tables
from streams.store.memory import MemoryStore

__all__ = ["CODEC", "MemoryAuditTopic", "entries_of", "head_store", "trail_over", "verified"]

CODEC = Codec()


class MemoryAuditTopic:
    """Records (key, value) by partition. `first` is where a partition begins, after its retention took what was before."""

    def __init__(self, partitions: int = 1) -> None:
        self.records: list[list[tuple[bytes, bytes]]] = [[] for _ in range(partitions)]
        self.first = [0] * partitions

    async def partitions(self) -> int:
        return len(self.records)

    async def append(self, partition: int, key: bytes, value: bytes) -> None:
        self.records[partition].append((key, value))

    async def is_empty(self, partition: int) -> bool:
        return not self.records[partition]

    def range_of(self, partition: int) -> tuple[int, int]:
        return self.first[partition], len(self.records[partition])

    def batches(self, partition: int, first: int, end: int, records_max: int = 1000) -> Iterator[Batch]:
        found = [RawRecord(offset, *self.records[partition][offset], 0) for offset in range(first, end)]
        for at in range(0, len(found), records_max):
            yield Batch(partition, found[at : at + records_max], topic="audit")

    def offset_at(self, partition: int, appended_us: int) -> int:
        return self.first[partition]


def head_store() -> MemoryStore:
    """Return a store with nothing in it."""
    return MemoryStore(control_tables())


def trail_over(store: MemoryStore, topic: MemoryAuditTopic, actor: str = "op-1", clock_us: int = 1_768_208_400_000_000) -> Trail:
    """Return a trail at a time that stands still."""
    return Trail(store, topic, CODEC, actor=actor, roles=("agent",), clock_us=lambda: clock_us)


def entries_of(topic: MemoryAuditTopic) -> list[AuditEntry]:
    """Return every record of the topic, read."""
    found = [CODEC.decode(value) for partition in topic.records for _, value in partition]
    assert all(isinstance(one, AuditEntry) for one in found)
    return found  # type: ignore[return-value]


async def verified(store: MemoryStore, topic: MemoryAuditTopic) -> Report:
    """Check every chain."""
    return await verify(Heads(store), topic, list(range(len(topic.records))), CODEC, begin=lambda _: None, tell=lambda _: None)
