"""`manifest.json`: what an export holds, which files it consists of, and the schemas to read them with. Knows files; must not know Kafka.

It is replaced as a whole after each segment, so what it names is whole. `until` is where a partition ended when the export began; as
long as `next` is not there, the export is not complete.
"""

import os
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec

from schemas.ids import Ids
from streams.log.files import Segment, read_segment, sync_folder, unwritable
from streams.records import RawRecord
from touchline.errors import Refused

__all__ = ["FORMAT", "MANIFEST", "Manifest", "Part", "Topic", "load", "save"]

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"


class Part(msgspec.Struct, kw_only=True):
    """One partition: `next` is the offset after the last segment, `until` the log's end when the export began.

    `beginning`: the SHA-256 of its first record, by which the log is known again; empty while it has none.
    """

    partition: int
    next: int = 0
    until: int = 0
    beginning: str = ""
    segments: list[Segment] = msgspec.field(default_factory=list)

    def records(self, folder: Path, first: int = 0) -> Iterator[RawRecord]:
        """Yield the records from an offset on. Raises `Refused` where a file is not what the manifest says."""
        for segment in self.segments:
            if segment.last < first:
                continue
            at = segment.first
            for record in read_segment(folder / segment.file):
                if record.offset != at:
                    raise _odd(folder / segment.file, f"record {record.offset} stands where {at} should")
                at += 1
                if record.offset >= first:
                    yield record
            if at != segment.last + 1:
                raise _odd(folder / segment.file, f"it ends before {at} instead of at {segment.last}")


class Topic(msgspec.Struct, kw_only=True):
    """One topic: its short name (`interaction`), its full one where it was exported, its partitions in order."""

    name: str
    topic: str
    partitions: list[Part]

    @property
    def records(self) -> int:
        """How many records are in the files."""
        return sum(part.next for part in self.partitions)


class Manifest(msgspec.Struct, kw_only=True):
    """An export. Times are epoch µs. `schemas` are whole Avro schemas by the id that stands in front of a record's value.

    `told`: how many records of `config` had been told to every partition of `interaction` before `until` was taken.
    `unknown_schemas` are ids that occur and that the exporting program did not know.
    """

    format: int
    export_id: str
    created_at_us: int
    updated_at_us: int
    topics: list[Topic]
    told: int = 0
    schemas: dict[str, Any] = msgspec.field(default_factory=dict)
    unknown_schemas: list[int] = msgspec.field(default_factory=list)

    @property
    def parts(self) -> list[tuple[Topic, Part]]:
        """Every partition of every topic."""
        return [(topic, part) for topic in self.topics for part in topic.partitions]

    @property
    def records(self) -> int:
        """How many records are in the files."""
        return sum(topic.records for topic in self.topics)

    @property
    def bytes(self) -> int:
        """How large the segments are."""
        return sum(segment.bytes for _, part in self.parts for segment in part.segments)

    @property
    def is_complete(self) -> bool:
        """Whether all is there that the last run set out for."""
        return all(part.next == part.until for _, part in self.parts)

    def note_schemas(self, ids: Iterable[int]) -> None:
        """Take the schemas with these ids in."""
        new = {schema_id for schema_id in ids if str(schema_id) not in self.schemas and schema_id not in self.unknown_schemas}
        if new:
            known = {entry.id: entry for entry in Ids.load().entries}
            self.schemas |= {str(schema_id): known[schema_id].full() for schema_id in sorted(new & known.keys())}
            self.unknown_schemas = sorted({*self.unknown_schemas, *(new - known.keys())})


def load(folder: Path) -> Manifest | None:
    """Return the manifest of a folder; None if there is none. Raises `Refused` for one that cannot be right."""
    path = folder / MANIFEST
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise Refused(f"{path} cannot be read: {why}.", reason="unreadable", next_step="check the folder and its rights.") from None
    except msgspec.MsgspecError as error:
        raise _odd(path, str(error)) from None
    if found.format != FORMAT:
        raise _odd(path, f"it has format {found.format}, and this program reads {FORMAT}")
    for topic, part in found.parts:
        _check(path, topic, part)
    return found


def save(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest: at every moment the old one or the new one is there. Raises `Refused` if the disk does not take it."""
    path, draft = folder / MANIFEST, folder / f"{MANIFEST}.part"
    try:
        with draft.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(folder)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise unwritable(path, error) from None


def _check(path: Path, topic: Topic, part: Part) -> None:
    """Check that the segments of a partition follow each other from offset 0 to its end."""
    edges = [-1, *(edge for segment in part.segments for edge in (segment.first, segment.last)), part.next]
    joints = list(pairwise(edges))
    if any(after != before + 1 for before, after in joints[::2]) or any(last < first for first, last in joints[1::2]):
        raise _odd(path, f"the segments of {topic.name} partition {part.partition} do not follow each other")
    if any(Path(segment.file).name != segment.file for segment in part.segments):
        raise _odd(path, f"a segment of {topic.name} partition {part.partition} lies elsewhere")


def _odd(path: Path, why: str) -> Refused:
    return Refused(f"{path}: {why}.", reason="export_damaged", next_step="fetch the export again from where it was backed up, or export anew.")
