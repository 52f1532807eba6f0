"""The export of the log: whole partitions into segments, in one or several processes, resumable. Must not know what a record means.

    manifest.until = the log's ends as of now ──> one share of partitions per process ──> segments ──> manifest, after each

Only the parent writes the manifest. What a killed run left is either whole, and named by the manifest, or written again.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

import msgspec

from streams.log.files import SEGMENT_BYTES_MAX, SEGMENT_RECORDS_MAX, Origin, Segment, SegmentWriter
from streams.log.manifest import Manifest, Part, Topic
from streams.records import Batch, RawRecord
from touchline.errors import Refused

__all__ = ["Job", "LogSource", "Written", "begin", "beginning_of", "jobs", "note", "segments"]

_BATCH_RECORDS: Final = 5_000
_FRAME: Final = 5
_NONE: Final = -1


class LogSource(Protocol):
    """One topic, read in ranges (`streams/log/reader.py`)."""

    topic: str

    def range_of(self, partition: int) -> tuple[int, int]:
        """Return (first offset, offset after the last record)."""
        ...

    def batches(self, partition: int, first: int, end: int, records_max: int = ...) -> Iterator[Batch]:
        """Yield the records in [first, end) in order."""
        ...


class Job(msgspec.Struct, frozen=True):
    """One partition to export from `first` up to `until`. `topic` is the short name, `full` the topic's own."""

    export_id: str
    topic: str
    full: str
    partition: int
    first: int
    until: int


class Written(msgspec.Struct, frozen=True):
    """A segment that is whole, and what the manifest has to know of it: which schemas occur, and where the partition begins."""

    topic: str
    partition: int
    segment: Segment
    schema_ids: tuple[int, ...]
    beginning: str


def begin(
    manifest: Manifest | None, topics: dict[str, str], sources: dict[str, LogSource], partitions: dict[str, int], *, export_id: str, now_us: int
) -> Manifest:
    """Return the manifest of a run that goes up to the log's ends as of now: of a new export, or of one that goes on.

    `topics` are short names with full ones, in the order in which their ends are taken. Raises `Refused` if the folder holds another
    log, `log_begins_later` if records that are wanted are gone.
    """
    ends = {(name, partition): sources[name].range_of(partition) for name in topics for partition in range(partitions[name])}
    if manifest is None:
        made = [Topic(name=name, topic=full, partitions=[Part(partition=n) for n in range(partitions[name])]) for name, full in topics.items()]
        manifest = Manifest(format=1, export_id=export_id, created_at_us=now_us, updated_at_us=now_us, topics=made)
    for topic in manifest.topics:
        if len(topic.partitions) != partitions[topic.name]:
            raise _another(topic, f"{len(topic.partitions)} partitions are in the files and {partitions[topic.name]} on the topic")
        for part in topic.partitions:
            low, high = ends[topic.name, part.partition]
            _check_same(topic, part, sources[topic.name], low, high)
            part.until = high
    manifest.updated_at_us = now_us
    return manifest


def jobs(manifest: Manifest) -> list[Job]:
    """Return what there is to do."""
    return [
        Job(manifest.export_id, topic.name, topic.topic, part.partition, part.next, part.until)
        for topic, part in manifest.parts
        if part.next < part.until
    ]


def segments(
    source: LogSource,
    folder: Path,
    job: Job,
    *,
    records_max: int = SEGMENT_RECORDS_MAX,
    bytes_max: int = SEGMENT_BYTES_MAX,
    tell: Callable[[int], None] = lambda _: None,
) -> Iterator[Written]:
    """Write a partition's segments, one after the other, and yield each when it is whole. `tell` hears of records as they are written.

    Raises `Refused` where the disk or the log does not allow it; what was yielded before stays.
    """
    writer: SegmentWriter | None = None
    ids: set[int] = set()
    beginning = ""
    try:
        for batch in source.batches(job.partition, job.first, job.until, _BATCH_RECORDS):
            for record in batch.records:
                if writer is None:
                    writer, ids = SegmentWriter(folder, Origin(job.export_id, job.topic, job.partition, record.offset)), set()
                if record.offset == 0:
                    beginning = beginning_of(record)
                writer.add(record)
                ids.add(_schema_id(record.value))
                if writer.records >= records_max or writer.bytes >= bytes_max or record.offset + 1 == job.until:
                    done, writer = writer.finish(), None
                    yield Written(job.topic, job.partition, done, tuple(sorted(ids - {_NONE})), beginning)
            tell(len(batch.records))
    finally:
        if writer is not None:
            writer.abandon()


def note(manifest: Manifest, written: Written, now_us: int) -> None:
    """Take a segment into the manifest."""
    [topic] = [topic for topic in manifest.topics if topic.name == written.topic]
    part = topic.partitions[written.partition]
    part.segments.append(written.segment)
    part.next = written.segment.last + 1
    part.beginning = part.beginning or written.beginning
    manifest.note_schemas(written.schema_ids)
    manifest.updated_at_us = now_us


def beginning_of(record: RawRecord) -> str:
    """Return the SHA-256 of a record, its append time included: no two logs begin with the same one."""
    key = record.key or b""
    return hashlib.sha256(struct.pack(">qqi", record.offset, record.appended_us, len(key)) + key + record.value).hexdigest()


def _check_same(topic: Topic, part: Part, source: LogSource, low: int, high: int) -> None:
    """Check that a partition is the one that the files are of, and that nothing of what is wanted is gone."""
    if low > part.next:
        raise Refused(
            f"{source.topic} partition {part.partition} begins at {low}: the records from {part.next} on are gone.",
            reason="log_begins_later",
            next_step="a log without its beginning cannot be exported, since an import could not keep its offsets; `retention.ms` must be -1.",
        )
    if high < part.next:
        raise _another(topic, f"partition {part.partition} ends at {high}, and the files go up to {part.next}")
    if part.beginning and low == 0:
        [first] = [record for batch in source.batches(part.partition, 0, 1, 1) for record in batch.records]
        if beginning_of(first) != part.beginning:
            raise _another(topic, f"partition {part.partition} begins with another record")


def _another(topic: Topic, why: str) -> Refused:
    return Refused(
        f"The folder holds an export of another log: {topic.name}: {why}.", reason="another_log", next_step="export into a folder of its own."
    )


def _schema_id(value: bytes) -> int:
    return int.from_bytes(value[1:_FRAME], "big") if len(value) >= _FRAME and value[0] == 0 else _NONE
