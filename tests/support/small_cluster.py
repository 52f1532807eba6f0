"""A cluster in memory for exports and imports of the log: topics by short names, a clock of its own, and what may go wrong."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from streams.log.export import LogSource, begin, jobs, note, segments
from streams.log.manifest import Manifest, load, save
from streams.records import Batch, RawRecord

__all__ = ["Killed", "SmallCluster", "exported"]

TOPICS = {"interaction": "t.interaction.v1", "config": "t.config.v1"}


class Killed(BaseException):
    """What a SIGKILL would do: nobody catches it."""


class _Source:
    """One topic of it, as an export reads it."""

    def __init__(self, cluster: "SmallCluster", name: str) -> None:
        self.topic = TOPICS[name]
        self._cluster, self._name = cluster, name

    def range_of(self, partition: int) -> tuple[int, int]:
        return self._cluster.range_of(self._name, partition)

    def batches(self, partition: int, first: int, end: int, records_max: int = 7) -> Iterator[Batch]:
        records = self._cluster.log[self._name][partition][first:end]
        for at in range(0, len(records), min(records_max, 7)):
            yield Batch(partition, records[at : at + min(records_max, 7)], topic=self.topic)


class SmallCluster:
    """`interaction` has as many partitions as it is given, `config` one. It is a `Target`. `lives`: appends until it is killed."""

    def __init__(self, partitions: int = 2, *, now_us: int = 9_000_000_000_000) -> None:
        self.log: dict[str, list[list[RawRecord]]] = {"interaction": [[] for _ in range(partitions)], "config": [[]]}
        self.now_us = now_us
        self.running: dict[str, int] = {}
        self.told: int | None = None
        self.lives: int | None = None
        self.begins: dict[tuple[str, int], int] = {}

    def put(self, topic: str, partition: int, key: bytes | None, value: bytes, appended_us: int) -> None:
        """Append a record at a time."""
        records = self.log[topic][partition]
        records.append(RawRecord(len(records), key, value, appended_us))

    def sources(self) -> dict[str, LogSource]:
        """Return what an export reads."""
        return {name: _Source(self, name) for name in TOPICS}

    def partitions(self, topic: str) -> int:
        return len(self.log.get(topic, ()))

    def range_of(self, topic: str, partition: int) -> tuple[int, int]:
        return self.begins.get((topic, partition), 0), len(self.log[topic][partition])

    def read(self, topic: str, partition: int, first: int, end: int) -> Iterator[Batch]:
        return _Source(self, topic).batches(partition, first, end)

    def append(self, topic: str, partition: int, key: bytes | None, value: bytes) -> None:
        if self.lives is not None:
            if self.lives == 0:
                raise Killed
            self.lives -= 1
        self.now_us += 1000
        self.put(topic, partition, key, value, self.now_us)

    def flush(self) -> None:
        """Everything lies there at once."""

    def members(self) -> Mapping[str, int]:
        return self.running

    def commit_told(self, offset: int) -> None:
        self.told = offset


def exported(
    cluster: SmallCluster,
    folder: Path,
    *,
    records_max: int = 5,
    bytes_max: int = 1 << 30,
    segments_until_killed: int | None = None,
    told: int = 0,
    export_id: str = "e-1",
) -> Manifest:
    """Export a cluster into a folder, as the command does; killed after so many segments, if that is given."""
    partitions = {name: cluster.partitions(name) for name in TOPICS}
    manifest = begin(load(folder), TOPICS, cluster.sources(), partitions, export_id=export_id, now_us=1)
    manifest.told = told
    save(folder, manifest)
    left = segments_until_killed
    for job in jobs(manifest):
        for one in segments(cluster.sources()[job.topic], folder, job, records_max=records_max, bytes_max=bytes_max):
            if left == 0:
                raise Killed
            note(manifest, one, 2)
            save(folder, manifest)
            left = None if left is None else left - 1
    return manifest
