"""What the log hands over: raw records, grouped by partition as they were polled. Values only."""

from typing import NamedTuple

import msgspec

__all__ = ["Batch", "RawRecord"]


class RawRecord(NamedTuple):
    """One record as the broker gave it. `appended_us` is the broker's append time in epoch µs (its clock ticks in ms)."""

    offset: int
    key: bytes | None
    value: bytes
    appended_us: int


class Batch(msgspec.Struct, frozen=True):
    """Consecutive records of one partition.

    `epoch` tells the assignment under which it was read: a batch of an older one is dropped, since the partition has been
    given away meanwhile.
    """

    partition: int
    records: list[RawRecord]
    epoch: int = 0
    topic: str = ""
