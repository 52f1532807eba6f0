"""Segments of the log as files: Avro object containers that any Avro library reads. Knows files; must not know Kafka or what a record means.

    interaction-0003-00000000000000100000.avro       topic, partition, first offset
        avro.schema     offset, key, value (as it lies on the topic), append time
        touchline.*     which export, topic, partition and first offset it is

A segment appears under its name only when all of it is on the disk (`fsync`, then a rename), and the same records make the same
bytes, so a segment that is written twice is the same file.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import fastavro
import msgspec
from fastavro.write import Writer

from streams.records import RawRecord
from touchline.errors import Refused, TouchlineError

__all__ = ["SEGMENT_BYTES_MAX", "SEGMENT_RECORDS_MAX", "Origin", "Segment", "SegmentWriter", "origin_of", "read_segment", "sha256_of", "unwritable"]

SEGMENT_RECORDS_MAX: Final = 100_000
SEGMENT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Keys and values of one segment, before compression."""

SCHEMA: Final[dict[str, Any]] = {
    "type": "record",
    "name": "touchline.log.Record",
    "doc": "One record of a topic as it lies there.",
    "fields": [
        {"name": "offset", "type": "long", "doc": "Its place in its partition."},
        {"name": "key", "type": ["null", "bytes"], "doc": "Whose it is; UTF-8."},
        {"name": "value", "type": "bytes", "doc": "A zero byte, the schema's id (4 bytes, big-endian), Avro binary; schemas by id: manifest.json."},
        {"name": "appended_at_us", "type": "long", "doc": "When the broker appended it, epoch µs UTC."},
    ],
}
_PARSED: Final = fastavro.parse_schema(SCHEMA)
_CODEC: Final = "deflate"
"""Every Avro library reads it; zstandard would need another dependency."""

_LEVEL: Final = 1
"""Records of 500 bytes, 300 of them sealed: 9 µs each and 68 % of the size; level 6 costs 11 µs and saves half a percent more."""

_BLOCK_BYTES: Final = 256 * 1024
_CHUNK_BYTES: Final = 1024 * 1024
_META: Final = "touchline.segment"
_PART: Final = ".part"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Origin(msgspec.Struct, frozen=True):
    """Which part of which log a segment is: the topic by its short name (`interaction`), its partition, the first offset."""

    export_id: str
    topic: str
    partition: int
    first: int

    @property
    def file(self) -> str:
        """The segment's name."""
        return f"{self.topic}-{self.partition:04d}-{self.first:020d}.avro"


class Segment(msgspec.Struct, frozen=True):
    """A segment that is whole: the offsets of its first and last record, the file's size and its SHA-256 in hex."""

    file: str
    first: int
    last: int
    records: int
    bytes: int
    sha256: str


class _Hashed(NamedTuple):
    """A file for writing that keeps the hash of what went in."""

    file: IO[bytes]
    sha256: "hashlib._Hash"

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()

    def seekable(self) -> bool:
        """Say no: else the library looks for what lies in it already."""
        return False


class SegmentWriter:
    """Writes one segment, record after record; then `finish` it, or `abandon` it.

    Raises `Refused` (reason `disk_full`) when the disk is full, `unwritable` for other trouble with it.
    """

    def __init__(self, folder: Path, origin: Origin) -> None:
        self._path = folder / origin.file
        self._part = folder / (origin.file + _PART)
        self._origin = origin
        self._next = origin.first
        self.bytes = 0
        """Bytes of keys and values so far."""
        try:
            self._file = self._part.open("wb", buffering=_CHUNK_BYTES)
        except OSError as error:
            raise unwritable(self._part, error) from None
        self._hashed = _Hashed(self._file, hashlib.sha256())
        self._writer = Writer(
            self._hashed,  # type: ignore[arg-type] # what the writer asks of a file
            _PARSED,
            _CODEC,
            sync_interval=_BLOCK_BYTES,
            metadata={_META: json.dumps(msgspec.to_builtins(origin))},
            sync_marker=hashlib.sha256(f"{origin.export_id}/{origin.file}".encode()).digest()[:16],
            compression_level=_LEVEL,
        )

    def abandon(self) -> None:
        """Leave nothing of it behind; harmless when it is finished."""
        with suppress(OSError):  # what is still buffered may not fit either
            self._file.close()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)

    @property
    def records(self) -> int:
        """How many records it holds so far."""
        return self._next - self._origin.first

    def add(self, record: RawRecord) -> None:
        """Append the next record. Raises `Refused` if it does not follow the one before: the offsets of a log have no gaps."""
        if record.offset != self._next:
            raise Refused(
                f"{self._origin.topic} partition {self._origin.partition} has no record {self._next}: {record.offset} comes next.",
                reason="log_has_gaps",
                next_step="its offsets could not be kept by an import: this topic was compacted or written in transactions, and cannot be exported.",
            )
        try:
            self._writer.write({"offset": record.offset, "key": record.key, "value": record.value, "appended_at_us": record.appended_us})
        except OSError as error:
            raise unwritable(self._part, error) from None
        self._next += 1
        self.bytes += len(record.value) + len(record.key or b"")

    def finish(self) -> Segment:
        """Bring all of it onto the disk and give it its name; return what it is."""
        try:
            self._writer.flush()
            self._file.flush()
            os.fsync(self._file.fileno())
            size = self._file.tell()
            self._file.close()
            self._part.replace(self._path)
            sync_folder(self._path.parent)
        except OSError as error:
            raise unwritable(self._part, error) from None
        return Segment(self._path.name, self._origin.first, self._next - 1, self.records, size, self._hashed.sha256.hexdigest())


def read_segment(path: Path) -> Iterator[RawRecord]:
    """Yield the records of a segment in order. Raises `Refused` naming file and record where it cannot be read."""
    at = -1
    try:
        with path.open("rb", buffering=_CHUNK_BYTES) as file:
            found: Any
            for found in fastavro.reader(file, _PARSED):
                record = RawRecord(found["offset"], found["key"], found["value"], found["appended_at_us"])
                at = record.offset
                yield record
    except OSError as error:
        raise _unreadable(path, error) from None
    except Exception:  # noqa: BLE001 - bad bytes raise anything; it is all the same to us
        raise Refused(
            f"{path} is damaged behind record {at}." if at >= 0 else f"{path} is damaged at its beginning.",
            reason="segment_damaged",
            next_step="fetch the file again from where it was backed up; `touchline log import --dry-run` checks all of them.",
        ) from None


def origin_of(path: Path) -> Origin:
    """Return which part of which log a segment is. Raises `Refused` if it is none."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(fastavro.reader(file).metadata[_META], type=Origin)
    except OSError as error:
        raise _unreadable(path, error) from None
    except Exception:  # noqa: BLE001 - whatever else a file may be
        raise Refused(
            f"{path} is no segment of a log.", reason="no_segment", next_step="name a folder that `touchline log export` wrote, or .avro files of it."
        ) from None


def sha256_of(path: Path) -> tuple[int, str]:
    """Return (bytes, SHA-256 in hex) of a file. Raises `Refused` if it cannot be read."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
            return file.tell(), digest.hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from None


def sync_folder(folder: Path) -> None:
    """Bring a folder's list of names onto the disk: a rename is not safe before."""
    at = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(at)
    finally:
        os.close(at)


def unwritable(path: Path, error: OSError) -> TouchlineError:
    """Return our error for a file that cannot be written."""
    if error.errno in _FULL:
        return Refused(
            f"{path} could not be written: {(error.strerror or 'the disk is full').lower()}. What was whole before is kept.",
            reason="disk_full",
            next_step="make room, then run the same command again: it goes on where it was.",
        )
    why = (error.strerror or type(error).__name__).lower()
    return Refused(f"{path} cannot be written: {why}.", reason="unwritable", next_step="check the folder and its rights, then run it again.")


def _unreadable(path: Path, error: OSError) -> Refused:
    why = (error.strerror or type(error).__name__).lower()
    return Refused(f"{path} cannot be read: {why}.", reason="unreadable", next_step="check the path and its rights.")
