"""How far a version is behind a place of the log: in records, and by how long the first of them has waited. Decides nothing."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from streams.store.port import Checkpoint
from streams.versions.group_log import GroupLog

__all__ = ["Lag", "lags", "worst"]


class Lag(NamedTuple):
    """What one partition waits for: how many records, and how long the first of them has lain there, in seconds."""

    partition: int
    records: int
    seconds: float


async def lags(log: GroupLog, checkpoints: Mapping[int, Checkpoint], goals: Mapping[int, int], now_us: int) -> list[Lag]:
    """Return the partitions whose checkpoint lies before the offset in `goals`; a partition without a checkpoint is at the beginning."""
    at = {partition: checkpoints[partition].next_offset if partition in checkpoints else 0 for partition in goals}
    behind = {partition: offset for partition, offset in at.items() if offset < goals[partition]}
    appended = await log.appended_us(behind)
    return [
        Lag(partition, goals[partition] - offset, max(0, now_us - appended.get(partition, now_us)) / 1e6)
        for partition, offset in sorted(behind.items())
    ]


def worst(found: Sequence[Lag]) -> Lag | None:
    """Return the partition whose first record waits longest; None if nothing waits anywhere."""
    return max(found, key=lambda lag: (lag.seconds, lag.records), default=None)
