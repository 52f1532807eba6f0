"""A log in memory as a replay reads it, and a store that dies in the middle of a write."""

from collections.abc import Iterator, Mapping, Sequence

from streams.records import Batch, RawRecord
from streams.store.memory import MemoryStore
from streams.store.port import Checkpoint, GroupVersion, RowWrite

__all__ = ["Killed", "MemoryLog", "Mortal"]


class MemoryLog:
    """Partitions of records; `read` counts what was handed out."""

    def __init__(self, partitions: Mapping[int, Sequence[RawRecord]]) -> None:
        self.partitions = partitions
        self.read = 0

    def batches(self, partition: int, first: int, end: int, records_max: int = 1000) -> Iterator[Batch]:
        """Yield what `LogReader.batches` would."""
        found = [record for record in self.partitions[partition] if first <= record.offset < end]
        for at in range(0, len(found), records_max):
            self.read += len(found[at : at + records_max])
            yield Batch(partition, found[at : at + records_max], topic="log")


class Killed(Exception):
    """The process is gone."""


class Mortal:
    """A store through which a process writes `lives` times; with the next write half of the partitions come through, each whole, and it dies."""

    def __init__(self, inner: MemoryStore, lives: int) -> None:
        self._inner = inner
        self.lives = lives

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def write(self, rows: Sequence[RowWrite]) -> None:
        """Write, or die."""
        if not rows:
            return
        if self.lives <= 0:
            owners = list(dict.fromkeys(row.key[:2] for row in rows))
            through = set(owners[: len(owners) // 2])
            await self._inner.write([row for row in rows if row.key[:2] in through])
            raise Killed
        self.lives -= 1
        await self._inner.write(rows)

    async def save_checkpoints(self, group: GroupVersion, checkpoints: Mapping[int, Checkpoint]) -> None:
        """Write, or die."""
        if self.lives <= 0:
            raise Killed
        self.lives -= 1
        await self._inner.save_checkpoints(group, checkpoints)
