"""What the log hands over: raw records by partition as they were polled, and the same by subject with their headers read. Values only."""

from typing import NamedTuple

import msgspec

from projections.kernel import Subject
from schemas.codec import Codec, Head, Undecodable

__all__ = ["Arrived", "Batch", "RawRecord", "Taken", "first_appended_us"]


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


class Arrived(msgspec.Struct, gc=False):
    """One record on its way through a batch: what was read of it, and its write timestamp.

    `hashed` is what its subject remembers it by, empty for records that may repeat. `imported`: it was appended, and spoken of,
    elsewhere; its append time is that of then. `tying`: it is a copy, or says who is linked to whom.
    """

    record: RawRecord
    head: Head | Undecodable
    appended_us: int
    ts_us: int
    hashed: bytes
    imported: bool = False
    tying: bool = False


class Taken(msgspec.Struct):
    """A batch whose headers are decoded, grouped by subject in the order in which the log names them.

    `of_all` are the records that are of no subject: published rules, promotions, the end of an import. `write_ts_us` is the last
    record's. `woke` counts wake-ups that a group without timers leaves out. `importing`: an import is under way after the last one.
    """

    batch: Batch
    by_subject: dict[Subject, list[Arrived]]
    event_time_us: int
    write_ts_us: int
    of_all: list[Arrived]
    woke: int
    importing: bool = False


def first_appended_us(record: RawRecord, codec: Codec) -> int:
    """Return when a record was appended, epoch µs; of one that was imported when it first was."""
    head = codec.head(record.value)
    if isinstance(head, Undecodable) or head.header.appended_at_us is None:
        return record.appended_us
    return head.header.appended_at_us
