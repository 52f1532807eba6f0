"""Exports as they are read: a folder with its manifest, or single segments of one. Partitions of one topic, in order, or one record again."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from schemas.events import IdentityUnlinked, ProjectionRebuild
from streams.log.files import Origin, origin_of, read_segment
from streams.log.importing import LOG
from streams.log.manifest import load
from streams.records import Batch, RawRecord
from touchline.errors import Refused

__all__ = ["LogFolder"]

_BATCH_RECORDS: Final = 10_000
_SUFFIX: Final = "*.avro"
_REBUILDS: Final = frozenset({IdentityUnlinked.FULL_NAME, ProjectionRebuild.FULL_NAME})


class _Named(NamedTuple):
    """One file: which part of the log it is, and its last record, where a manifest says it: a file that was cut short may still be read."""

    path: Path
    origin: Origin
    last: int | None


class LogFolder:
    """The log in some files. A `RecordReader`. Raises `Refused` if they are no log, or not one, or parts are missing in between."""

    def __init__(self, paths: Sequence[Path]) -> None:
        found = [_Named(path, origin_of(path), last) for path, last in _segments(paths)]
        found = [one for one in found if one.origin.topic == LOG]
        if not found:
            raise Refused(f"{paths[0]} holds no segment of {LOG}.", reason="no_segment", next_step="name a folder that `touchline log export` wrote.")
        if len({one.origin.export_id for one in found}) > 1:
            raise Refused("These files are of several exports.", reason="several_exports", next_step="name one folder, or files of one.")
        self.may_have_rebuilds = any(map(_may_have_rebuilds, paths))
        """Whether a record may ask for a rebuild, or undo a link; only a manifest can rule it out."""
        self._parts: dict[int, list[_Named]] = {}
        for one in sorted(found, key=lambda one: (one.origin.partition, one.origin.first)):
            self._parts.setdefault(one.origin.partition, []).append(one)

    @property
    def partitions(self) -> list[int]:
        """Which partitions there are."""
        return list(self._parts)

    def batches(self, partition: int) -> Iterator[Batch]:
        """Yield the records of a partition from offset 0 on, some thousand at a time."""
        at, kept = 0, list[RawRecord]()
        for path, origin, last in self._parts[partition]:
            if origin.first != at:
                raise Refused(
                    f"{path} begins with record {origin.first}, and those from {at} on are in no file.",
                    reason="segment_missing",
                    next_step="name all files of the partition, or their folder.",
                )
            for record in read_segment(path):
                kept.append(record)
                at = record.offset + 1
                if len(kept) >= _BATCH_RECORDS:
                    yield Batch(partition, kept, topic=LOG)
                    kept = []
            if last is not None and at != last + 1:
                raise Refused(
                    f"{path} ends before {at} instead of at {last}.",
                    reason="segment_damaged",
                    next_step="fetch the file again from where it was backed up; `touchline log import --dry-run` checks all of them.",
                )
        if kept:
            yield Batch(partition, kept, topic=LOG)

    def records(self, partition: int, offsets: Iterable[int]) -> Iterator[RawRecord]:
        """Yield the records at these offsets, in order of offset; every file that holds one is read up to it."""
        parts = self._parts.get(partition, [])
        wanted = sorted(set(offsets))
        for number, (path, origin, _) in enumerate(parts):
            end = parts[number + 1].origin.first if number + 1 < len(parts) else None
            here = {offset for offset in wanted if offset >= origin.first and (end is None or offset < end)}
            for record in read_segment(path) if here else ():
                if record.offset in here:
                    yield record
                    here.discard(record.offset)
                    if not here:
                        break


def _segments(paths: Sequence[Path]) -> Iterator[tuple[Path, int | None]]:
    """Yield the files, and which record is their last one: of a folder those that its manifest names, or all where it has none."""
    for path in paths:
        if not path.is_dir():
            yield path, None
        elif manifest := load(path):
            yield from ((path / segment.file, segment.last) for _, part in manifest.parts for segment in part.segments)
        else:
            yield from ((file, None) for file in sorted(path.glob(_SUFFIX)))


def _may_have_rebuilds(path: Path) -> bool:
    manifest = load(path) if path.is_dir() else None
    return manifest is None or bool(manifest.unknown_schemas) or any(one["name"] in _REBUILDS for one in manifest.schemas.values())
