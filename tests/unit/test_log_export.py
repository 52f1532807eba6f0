"""The log into files: what is written is what was there, whole or not at all, and a run goes on where the last one was."""

import io
import json
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import Codec
from streams.dealing import deal
from streams.log.export import Job
from streams.log.files import Origin, SegmentWriter, origin_of, read_segment
from streams.log.manifest import load
from streams.records import RawRecord
from tests.support.clockwork import event, published, rules
from tests.support.small_cluster import Killed, SmallCluster, exported
from touchline.errors import Refused

CODEC = Codec()
anything = st.lists(st.tuples(st.integers(0, 1), st.none() | st.binary(max_size=40), st.binary(max_size=300), st.integers(0, 2**60)), max_size=40)


def cluster_of(found: list[tuple[int, bytes | None, bytes, int]]) -> SmallCluster:
    cluster = SmallCluster()
    for partition, key, value, appended_us in found:
        cluster.put("interaction", partition, key, value, appended_us)
    cluster.put("config", 0, b"rules", b"\x00\x00\x00\x00\x01", 5)
    return cluster


def filled(records: int = 23) -> SmallCluster:
    return cluster_of([(n % 2, b"c%d" % n, CODEC.encode(event("received", n, 100 + n)), 1_000_000 * n) for n in range(records)])


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file by name: of the manifest, what does not tell how often it was written."""
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    manifest = json.loads(files.pop("manifest.json"))
    del manifest["updated_at_us"]
    return {**files, "manifest.json": json.dumps(manifest).encode()}


@settings(max_examples=60, deadline=None)
@given(found=anything, records_max=st.integers(1, 50), bytes_max=st.integers(1, 2000))
def test_any_records_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, found: list[tuple[int, bytes | None, bytes, int]], records_max: int, bytes_max: int
) -> None:
    """Keys, values that are no events, and times, whatever the segments' size."""
    folder, cluster = tmp_path_factory.mktemp("log"), cluster_of(found)
    manifest = exported(cluster, folder, records_max=records_max, bytes_max=bytes_max)
    assert load(folder) == manifest
    assert manifest.is_complete
    for topic, part in manifest.parts:
        assert list(part.records(folder)) == cluster.log[topic.name][part.partition]
        assert list(part.records(folder, 3)) == cluster.log[topic.name][part.partition][3:]
        assert all(segment.records <= records_max for segment in part.segments)


@pytest.mark.parametrize("killed_after", range(6))
def test_a_killed_export_goes_on_after_its_last_whole_segment(tmp_path: Path, killed_after: int) -> None:
    """At every point: the same files, byte by byte, as those of a run that was not killed."""
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    straight.mkdir()
    killed.mkdir()
    exported(filled(), straight)
    with pytest.raises(Killed):
        exported(filled(), killed, segments_until_killed=killed_after)
    half = load(killed)
    assert half is not None
    assert not half.is_complete
    for path in killed.glob("*.avro"):  # a segment that is not named by the manifest may be anything
        if path.name not in {segment.file for _, part in half.parts for segment in part.segments}:
            path.write_bytes(b"half of it")
    (killed / "interaction-0001-00000000000000000000.avro.part").write_bytes(b"left over")
    exported(filled(), killed)
    assert {name: data for name, data in contents(killed).items() if not name.endswith(".part")} == contents(straight)


def test_an_export_that_is_complete_takes_what_came_since(tmp_path: Path) -> None:
    """Files that were there stay as they were."""
    exported(filled(10), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.avro")}
    manifest = exported(filled(23), tmp_path)
    assert before.items() <= {path.name: path.read_bytes() for path in tmp_path.glob("*.avro")}.items()
    assert manifest.records == 24
    again = exported(filled(23), tmp_path)
    assert again.records == 24
    assert again.export_id == manifest.export_id


def test_a_segment_says_what_it_is_and_every_schema_is_beside_it(tmp_path: Path) -> None:
    """Any Avro library reads it: the container, then each value by the schema of its id."""
    cluster = filled(5)
    cluster.put("config", 0, b"rules", CODEC.encode(published(rules(60, 1), 7.0)), 6)
    cluster.put("interaction", 0, None, b"\x00\x00\x0f\xff\xff of a later program", 7)
    manifest = exported(cluster, tmp_path)
    path = tmp_path / "interaction-0001-00000000000000000000.avro"
    assert origin_of(path) == Origin("e-1", "interaction", 1, 0)
    assert manifest.unknown_schemas == [0x0FFFFF]
    schemas = json.loads((tmp_path / "manifest.json").read_bytes())["schemas"]
    with path.open("rb") as file:
        for number, record in enumerate(fastavro.reader(file)):
            value = record["value"]  # type: ignore[index, call-overload]
            schema = fastavro.parse_schema(schemas[str(int.from_bytes(value[1:5], "big"))])
            said = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
            assert said["header"]["conversation_id"] == f"c{2 * number + 1}/a"  # type: ignore[index, call-overload]


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Let the system refuse to write more, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_stops_an_export_with_nothing_half_on_it(tmp_path: Path) -> None:
    """What was whole before stays, and the same command goes on when there is room."""
    cluster = filled(4)
    exported(cluster, tmp_path)
    for n in range(3000):
        cluster.put("interaction", 0, b"c", bytes(n % 251 for _ in range(5)) + f"{n * n}".encode() * 20, n)
    with files_no_larger_than(20_000), pytest.raises(Refused, match="could not be written") as refused:
        exported(cluster, tmp_path, records_max=1_000_000)
    assert refused.value.reason == "disk_full"
    assert "run the same command again" in refused.value.next_step
    assert not list(tmp_path.glob("*.part"))
    half = load(tmp_path)
    assert half is not None
    assert half.records == 5
    manifest = exported(cluster, tmp_path, records_max=1_000_000)
    assert [list(part.records(tmp_path)) for _, part in manifest.parts] == [*cluster.log["interaction"], *cluster.log["config"]]


def test_a_manifest_that_does_not_fit_leaves_the_old_one(tmp_path: Path) -> None:
    """It is replaced as a whole."""
    exported(filled(10), tmp_path)
    before = (tmp_path / "manifest.json").read_bytes()
    with files_no_larger_than(2_000), pytest.raises(Refused, match="could not be written"):
        exported(filled(23), tmp_path)
    assert (tmp_path / "manifest.json").read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


def other_first_record() -> SmallCluster:
    cluster = filled()
    cluster.log["interaction"][1][0] = cluster.log["interaction"][1][0]._replace(appended_us=77)
    return cluster


def wider() -> SmallCluster:
    cluster = filled()
    cluster.log["interaction"].append([])
    return cluster


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (filled(9), "partition 0 ends at 5, and the files go up to 12"),
        (other_first_record(), "partition 1 begins with another record"),
        (wider(), "2 partitions are in the files and 3 on the topic"),
    ],
)
def test_a_folder_of_another_log_is_refused(tmp_path: Path, other: SmallCluster, said: str) -> None:
    """Nothing is changed in it."""
    exported(filled(), tmp_path)
    before = contents(tmp_path)
    with pytest.raises(Refused, match=said) as refused:
        exported(other, tmp_path)
    assert refused.value.reason == "another_log"
    assert contents(tmp_path) == before


def test_a_log_whose_beginning_is_gone_is_refused_unless_it_was_exported_before(tmp_path: Path) -> None:
    """What is in the files need not be on the topic any more."""
    cluster = filled(10)
    cluster.begins["interaction", 0] = 3
    with pytest.raises(Refused, match="partition 0 begins at 3: the records from 0 on are gone") as refused:
        exported(cluster, tmp_path)
    assert refused.value.reason == "log_begins_later"
    cluster.begins.clear()
    exported(cluster, tmp_path)
    cluster.begins["interaction", 0] = 3
    cluster.put("interaction", 0, b"c", b"new", 9)
    assert exported(cluster, tmp_path).is_complete


def test_a_log_with_gaps_is_refused(tmp_path: Path) -> None:
    """An import could not give its records their offsets."""
    cluster = filled(10)
    cluster.log["interaction"][0][2] = cluster.log["interaction"][0][2]._replace(offset=9)
    with pytest.raises(Refused, match="has no record 2: 9 comes next"):
        exported(cluster, tmp_path)
    assert not list(tmp_path.glob("*.part"))


def test_a_file_that_is_no_segment_is_named(tmp_path: Path) -> None:
    """Whatever it is."""
    path = tmp_path / "notes.avro"
    path.write_bytes(b"Obj\x01 but no more")
    with pytest.raises(Refused, match=r"notes.avro is no segment of a log"):
        origin_of(path)


def test_a_damaged_file_is_named_with_the_last_record_that_could_be_read(tmp_path: Path) -> None:
    """The records before the damage come; it is found in the file's last block."""
    writer = SegmentWriter(tmp_path, Origin("e-1", "interaction", 0, 0))
    random = Random(5)  # noqa: S311 - it must be repeatable
    for offset in range(3000):
        writer.add(RawRecord(offset, b"c", random.randbytes(300), offset))
    path = tmp_path / writer.finish().file
    data = bytearray(path.read_bytes())
    data[-1000] ^= 0xFF
    path.write_bytes(data[:-40])
    came: list[RawRecord] = []
    with pytest.raises(Refused, match=r"00.avro is damaged behind record \d+") as refused:
        came.extend(read_segment(path))
    assert f"behind record {came[-1].offset}." in refused.value.what
    assert 1000 < len(came) < 3000


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda it: it.update(format=2), "it has format 2, and this program reads 1"),
        (lambda it: it["topics"][0]["partitions"][0]["segments"].pop(1), "interaction partition 0 do not follow each other"),
        (lambda it: it["topics"][0]["partitions"][0].update(next=99), "interaction partition 0 do not follow each other"),
        (lambda it: it["topics"][0]["partitions"][0]["segments"][0].update(file="../x.avro"), "lies elsewhere"),
        (lambda it: it.pop("topics"), "missing required field `topics`"),
    ],
)
def test_a_manifest_that_cannot_be_right_is_refused(tmp_path: Path, change: object, said: str) -> None:
    """Before anything is done by it."""
    exported(filled(), tmp_path)
    found = json.loads((tmp_path / "manifest.json").read_bytes())
    change(found)  # type: ignore[operator]
    (tmp_path / "manifest.json").write_text(json.dumps(found))
    with pytest.raises(Refused, match=said):
        load(tmp_path)


def test_a_file_that_is_shorter_than_the_manifest_says_is_named(tmp_path: Path) -> None:
    """A segment of the same name with fewer records."""
    manifest = exported(filled(), tmp_path)
    writer = SegmentWriter(tmp_path, Origin("e-1", "interaction", 0, 5))
    writer.add(RawRecord(5, None, b"x", 1))
    writer.finish()
    with pytest.raises(Refused, match=r"interaction-0000-0+5.avro: it ends before 6 instead of at 9"):
        list(manifest.topics[0].partitions[0].records(tmp_path))


def test_partitions_are_dealt_by_size() -> None:
    """Nobody waits for one process that has the two largest."""
    todo = [Job("e", "interaction", "t", n, 0, size) for n, size in enumerate([100, 10, 90, 20, 5])]

    def dealt(todo: list[Job], shares: int) -> list[list[Job]]:
        return deal(todo, lambda job: job.until - job.first, shares)

    shares = dealt(todo, 2)
    assert sorted(sum(job.until for job in share) for share in shares) == [110, 115]
    assert len(dealt(todo, 99)) == 5
    assert dealt(todo[:1], 4) == [todo[:1]]
