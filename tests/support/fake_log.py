"""A log in memory as promoting and retiring see it: versions that run follow it at once, others stand where they are."""

from collections.abc import Mapping

from schemas.events import ProjectionPromoted
from streams.cluster import Member
from streams.store.control import checkpoint_row
from streams.store.memory import MemoryStore
from streams.store.port import Checkpoint, GroupVersion
from streams.versions.promotions import Promotion

__all__ = ["FakeLog"]


class FakeLog:
    """`running` are the versions that workers run; their checkpoints follow the log's end, and what is promoted is read by them."""

    def __init__(self, store: MemoryStore, partitions: int = 3) -> None:
        self.records: list[list[ProjectionPromoted | None]] = [[] for _ in range(partitions)]
        self.at_us: list[list[int]] = [[] for _ in range(partitions)]
        self.running: set[GroupVersion] = set()
        self.forgotten: list[GroupVersion] = []
        self.now_us = 1_000_000_000
        self._store = store

    def grow(self, n: int, partition: int = 0, appended_us: int | None = None) -> None:
        """Append ordinary records that nobody folds before `follow`."""
        self.records[partition] += [None] * n
        self.at_us[partition] += [self.now_us if appended_us is None else appended_us] * n

    def follow(self) -> None:
        """Let every version that runs fold what there is."""
        for group in self.running:
            for partition, records in enumerate(self.records):
                checkpoint = Checkpoint(len(records), self.now_us + len(records), active=False, event_time_us=self.now_us)
                self._store.apply([checkpoint_row(group, partition, checkpoint)])
                for offset, record in enumerate(records):
                    if record is not None and record.group == group.group:
                        read = Promotion(offset, self.at_us[partition][offset], record.version)
                        self._store.apply([read.row(group.group, partition, self.now_us + offset)])

    async def ends(self) -> dict[int, int]:
        """Return the ends."""
        return {partition: len(records) for partition, records in enumerate(self.records)}

    async def appended_us(self, offsets: Mapping[int, int]) -> dict[int, int]:
        """Return when these were appended."""
        return {partition: self.at_us[partition][offset] for partition, offset in offsets.items()}

    async def members(self, group: GroupVersion) -> list[Member]:
        """Return one consumer of a version that runs."""
        return [Member("worker-1", "10.0.0.1")] if group in self.running else []

    async def append(self, records: Mapping[int, ProjectionPromoted]) -> None:
        """Append, and let who runs follow."""
        for partition, record in records.items():
            self.records[partition].append(record)
            self.at_us[partition].append(self.now_us)
        self.follow()

    async def forget(self, group: GroupVersion) -> bool:
        """Note that a consumer group was deleted."""
        known = group not in self.forgotten
        self.forgotten.append(group)
        return known
