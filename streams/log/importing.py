"""The import of the log: every record of an export back to its partition and offset, then one `log.imported` per partition.

    files (checksums) ──> empty topics ──> append, each record with its append time ──> offsets equal? ──> read back, compare
                                                                                  ──> log.imported in every partition

Nothing is noted anywhere: how far an import has come is what the topics hold, compared with the files. So one that was killed goes
on, and a topic that holds anything else is refused. Must not know what a record means, but for its header's append time.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice, zip_longest
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID, uuid5

import msgspec

from schemas.codec import Codec
from schemas.events import Header, LogImported
from streams.log.compared import Comparison, Dating
from streams.log.files import sha256_of
from streams.log.manifest import Manifest, Part, Topic
from streams.records import Batch
from touchline.errors import Misconfigured, Refused, TouchlineError

__all__ = ["LOG", "Found", "LogImport", "Target"]

LOG: Final = "interaction"
"""The topic whose partitions are told that an import is complete."""

KEY: Final = b"log:import"
_SOURCE: Final = "/touchline/log"
_NAMESPACE: Final = UUID("0d5b1f0e-96a7-5f0f-8c39-3a1c1d8a2c55")
_TELL_EVERY: Final = 5_000
_ANEW: Final = "create the topics anew under a prefix of their own (TOUCHLINE_TOPIC_PREFIX), then import again."

Tell = Callable[[int], None]
"""Hears how many more records are done."""


class Target(Protocol):
    """The cluster that an import goes to, and the tests' one in memory. Topics by their short names."""

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has, 0 if it is not there."""
        ...

    def range_of(self, topic: str, partition: int) -> tuple[int, int]:
        """Return (first offset, offset after the last record)."""
        ...

    def read(self, topic: str, partition: int, first: int, end: int) -> Iterator[Batch]:
        """Yield the records in [first, end)."""
        ...

    def append(self, topic: str, partition: int, key: bytes | None, value: bytes) -> None:
        """Queue one record."""
        ...

    def flush(self) -> None:
        """Wait until all are written. Raises if one may not be: what is queued must never come later."""
        ...

    def members(self) -> Mapping[str, int]:
        """Return how many members each consumer group of the product has, those with none left out."""
        ...

    def commit_told(self, offset: int) -> None:
        """Let the broadcaster go on behind so many records of `config`."""
        ...


class Found(msgspec.Struct, frozen=True):
    """What a partition of the target holds: so many records of the export, and whether it was told that the import is complete.

    `beyond`: how many records came after that.
    """

    records: int
    is_marked: bool = False
    beyond: int = 0


class LogImport:
    """One import, in this order: `check`, `verify`, `compare`, `send`, `compare`, `finish`. Each raises `Refused` or `Misconfigured`."""

    def __init__(self, target: Target, folder: Path, manifest: Manifest, codec: Codec) -> None:
        self._target = target
        self._folder = folder
        self._manifest = manifest
        self._codec = codec
        self._compared = {(topic.name, part.partition): Comparison() for topic, part in manifest.parts}
        self.found: dict[tuple[str, int], Found] = {}
        """What the partitions hold, since `check`."""
        self.dating = Dating(codec)
        """What became of the records that were appended."""

    @property
    def is_finished(self) -> bool:
        """Whether all is there already, the marks too."""
        marked = [self.found[LOG, part.partition].is_marked for topic, part in self._manifest.parts if topic.name == LOG]
        return self.missing == 0 and bool(marked) and all(marked)

    @property
    def missing(self) -> int:
        """How many records of the export the topics do not hold."""
        return sum(part.next - self.found[topic.name, part.partition].records for topic, part in self._manifest.parts)

    def check(self) -> None:
        """Check that the export is complete and that the topics can take it: they are there, as wide, and hold nothing else; nobody reads them."""
        if not self._manifest.is_complete:
            raise Refused(
                f"{self._folder} is not complete: its partitions end at different times.",
                reason="export_incomplete",
                next_step=f"finish it with `touchline log export {self._folder}` on the system that it is of.",
            )
        for topic in self._manifest.topics:
            there = self._target.partitions(topic.name)
            if there == 0:
                raise Misconfigured(f"there is no topic for {topic.name}.", next_step="run `touchline topics create`.")
            if there != len(topic.partitions):
                raise Refused(
                    f"The topic for {topic.name} has {there} partitions, and the export {len(topic.partitions)}: no record could keep its place.",
                    reason="other_partitions",
                    next_step=f"set TOUCHLINE_PARTITIONS={len(topic.partitions)}, and {_ANEW}" if topic.name == LOG else _ANEW,
                )
        self.found = {(topic.name, part.partition): self._find(topic, part) for topic, part in self._manifest.parts}
        if self.is_finished:
            return
        if beyond := [name for name, found in self.found.items() if found.beyond]:
            raise _not_empty(*beyond[0], "records stand behind those of this export")
        if members := self._target.members():
            named = ", ".join(f"{group} ({n})" for group, n in sorted(members.items()))
            raise Refused(
                f"Workers are running: {named}.",
                reason="workers_running",
                next_step="stop them until the import is complete: they would act on half of the log, and append to it.",
            )

    def verify(self, tell: Tell) -> None:
        """Check every file against its checksum. `tell` hears of bytes."""
        for _, part in self._manifest.parts:
            for segment in part.segments:
                size, sha256 = sha256_of(self._folder / segment.file)
                if (size, sha256) != (segment.bytes, segment.sha256):
                    why = f"it has {size:,} bytes instead of {segment.bytes:,}" if size != segment.bytes else "its bytes were changed"
                    raise Refused(
                        f"{segment.file} (records {segment.first} to {segment.last}) is not what was exported: {why}. Nothing of it was appended.",
                        reason="checksum",
                        next_step="fetch the file again from where it was backed up.",
                    )
                tell(size)

    def compare(self, tell: Tell) -> None:
        """Compare what the topics hold with the files, record by record, from where that has come to."""
        for topic, part in self._manifest.parts:
            self._compare(topic, part, self.found[topic.name, part.partition].records, tell)

    def send(self, tell: Tell) -> None:
        """Append what is missing, and check after each segment that every record lies at its own offset."""
        for topic, part in self._manifest.parts:
            self._send(topic, part, tell)

    def finish(self, now_us: int) -> None:
        """Let the broadcaster go on behind what was told already; tell every partition of the log that the import is complete.

        Raises `TouchlineError` if it has not come to the end, `Refused` if something else stands behind what was imported.
        """
        if self.missing or any(self._compared[topic.name, part.partition].at != part.next for topic, part in self._manifest.parts):
            raise TouchlineError("The import is not at its end.", next_step="run it again.")
        for topic, part in self._manifest.parts:
            if not self.found[topic.name, part.partition].is_marked:
                self._settle(topic, part, part.next)
        if any(topic.name == "config" for topic in self._manifest.topics):
            self._target.commit_told(self._manifest.told)
        for topic, part in self._manifest.parts:
            if topic.name == LOG and not self.found[LOG, part.partition].is_marked:
                self._target.append(LOG, part.partition, KEY, self._codec.encode(self._mark(part, now_us)))
        self._target.flush()
        for topic, part in self._manifest.parts:
            if topic.name == LOG:
                self.found[LOG, part.partition] = Found(part.next, is_marked=True)

    def digests(self) -> tuple[str, str]:
        """Return the SHA-256 over all records, of the files (with their append times set) and of the topics, as far as they were compared."""
        files, topics = hashlib.sha256(), hashlib.sha256()
        for name in sorted(self._compared):
            files.update(self._compared[name].files.digest())
            topics.update(self._compared[name].topic.digest())
        return files.hexdigest(), topics.hexdigest()

    def _find(self, topic: Topic, part: Part) -> Found:
        """Return what a partition holds, counted; `compare` shows whether it is of this export."""
        low, high = self._target.range_of(topic.name, part.partition)
        if low:
            raise _not_empty(topic.name, part.partition, f"it begins at {low}: a topic whose records were deleted cannot hold offset 0 again")
        if high <= part.next:
            return Found(high)
        if topic.name == LOG:
            [mark] = [record for batch in self._target.read(topic.name, part.partition, part.next, part.next + 1) for record in batch.records]
            event = self._codec.decode(mark.value)
            if isinstance(event, LogImported) and event.export_id == self._manifest.export_id and event.header.appended_at_us is None:
                return Found(part.next, is_marked=True, beyond=high - part.next - 1)
        return Found(part.next, beyond=high - part.next)

    def _compare(self, topic: Topic, part: Part, end: int, tell: Tell) -> None:
        done = self._compared[topic.name, part.partition]
        if done.at >= end:
            return
        dating, count = Dating(self._codec), end - done.at
        wanted = islice(part.records(self._folder, done.at), count)
        there = (record for batch in self._target.read(topic.name, part.partition, done.at, end) for record in batch.records)
        for record, file in zip_longest(there, wanted):
            if not done.takes(record, file, dating):
                raise Refused(
                    f"{topic.name} partition {part.partition} holds another record at {done.at} than the export.",
                    reason="records_differ",
                    next_step=f"something else was appended there; {_ANEW}",
                )
            if not done.at % _TELL_EVERY:
                tell(_TELL_EVERY)

    def _send(self, topic: Topic, part: Part, tell: Tell) -> None:
        there = self.found[topic.name, part.partition].records
        ends = {segment.last + 1 for segment in part.segments}
        for record in part.records(self._folder, there):
            self._target.append(topic.name, part.partition, record.key, self.dating.value(record))
            there += 1
            if not there % _TELL_EVERY:
                tell(_TELL_EVERY)
            if there in ends:
                self._settle(topic, part, there)

    def _settle(self, topic: Topic, part: Part, there: int) -> None:
        """Wait for what was appended; then the partition must end where the files say."""
        self._target.flush()
        _, high = self._target.range_of(topic.name, part.partition)
        if high != there:
            raise Refused(
                f"{topic.name} partition {part.partition} ends at {high} instead of {there}: its offsets are no longer those of the export.",
                reason="offsets_differ",
                next_step=f"somebody else appended to it: stop all workers and importers; {_ANEW}",
            )
        self.found[topic.name, part.partition] = Found(there)

    def _mark(self, part: Part, now_us: int) -> LogImported:
        export_id = self._manifest.export_id
        header = Header(
            id=str(uuid5(_NAMESPACE, f"{export_id}\0{part.partition}\0{part.next}")),
            source=_SOURCE,
            tenant="",
            occurred_at_us=now_us,
            received_at_us=now_us,
        )
        return LogImported(header=header, export_id=export_id, records=part.next)


def _not_empty(topic: str, partition: int, why: str) -> Refused:
    return Refused(
        f"{topic} partition {partition} is not empty: {why}.",
        reason="topic_not_empty",
        next_step=f"an import needs empty topics; {_ANEW}",
    )
