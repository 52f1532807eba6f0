"""Files back onto a log: every record at its own offset with its own time, or nothing at all; and a run goes on where the last one was."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.kernel import Config
from schemas.codec import Codec, Head
from schemas.events import Header, LogImported, ProjectionPromoted
from streams.engine import Engine
from streams.log.importing import LogImport
from streams.log.manifest import load
from streams.published import publication, published
from streams.records import Batch, RawRecord
from streams.store.memory import MemoryStore
from tests.support.clockwork import GROUP, SECOND, event, rules, store, wake
from tests.support.folds import folded
from tests.support.small_cluster import Killed, SmallCluster, exported
from touchline.errors import Misconfigured, Refused, TouchlineError

CODEC = Codec()
NOW_US = 5_000_000_000_000


def filled(records: int = 23, partitions: int = 2) -> SmallCluster:
    """Return a log of events; some cannot be read, one has its append time already, one has no key."""
    cluster = SmallCluster(partitions)
    for n in range(records):
        of = event("received", n, 100 + n)
        if n == 6:
            of = msgspec.structs.replace(of, header=msgspec.structs.replace(of.header, appended_at_us=77))
        value = b"\x00\x00\x00no event" if n % 10 == 3 else CODEC.encode(of)
        cluster.put("interaction", n % partitions, None if n == 8 else b"c%d" % n, value, 1_000_000 * n)
    for version, at_s in ((1, 50.0), (2, 60.0)):
        book = publication(rules(60), tenant="acme", record_id=f"r-{version}", now_us=int(at_s * SECOND), effective_at_us=None)
        cluster.put("config", 0, b"rules", CODEC.encode(book), int(at_s * SECOND))
    return cluster


def importing(target: SmallCluster, folder: Path) -> LogImport:
    manifest = load(folder)
    assert manifest is not None
    return LogImport(target, folder, manifest, CODEC)


def imported(target: SmallCluster, folder: Path) -> LogImport:
    """Import, as the command does."""
    run = importing(target, folder)
    run.check()
    if run.is_finished:
        return run
    run.verify(lambda _: None)
    run.compare(lambda _: None)
    run.send(lambda _: None)
    run.compare(lambda _: None)
    run.finish(NOW_US)
    return run


def appended_us(record: RawRecord) -> int:
    head = CODEC.head(record.value)
    assert isinstance(head, Head)
    assert head.header.appended_at_us is not None
    return head.header.appended_at_us


def assert_equal(source: SmallCluster, target: SmallCluster) -> None:
    """Every record of the source lies in the target at its offset, with its time, and one mark behind it."""
    for topic, partitions in source.log.items():
        for there, made in zip(partitions, target.log[topic], strict=True):
            assert [(one.offset, one.key) for one in made[: len(there)]] == [(one.offset, one.key) for one in there]
            for old, new in zip(there, made, strict=False):
                before, after = CODEC.decode(old.value), CODEC.decode(new.value)
                if isinstance(CODEC.head(old.value), Head):
                    assert appended_us(new) == (77 if b"received-6-" in old.value else old.appended_us)
                    undated = msgspec.structs.replace(after.header, appended_at_us=before.header.appended_at_us)  # type: ignore[union-attr]
                    assert msgspec.structs.replace(after, header=undated) == before  # type: ignore[type-var]
                else:
                    assert new.value == old.value
            marks = [CODEC.decode(one.value) for one in made[len(there) :]]
            if topic == "interaction":
                [mark] = marks
                assert isinstance(mark, LogImported)
                assert (mark.export_id, mark.records, mark.header.appended_at_us) == ("e-1", len(there), None)
            else:
                assert not marks


def test_every_record_comes_to_its_own_place_with_its_own_time(tmp_path: Path) -> None:
    """What cannot be read goes as it is; the broadcaster goes on behind what was told."""
    source, target = filled(), SmallCluster()
    exported(source, tmp_path, told=1)
    run = imported(target, tmp_path)
    assert_equal(source, target)
    assert target.told == 1
    assert (run.dating.dated, run.dating.kept, run.dating.undated) == (23 - 2 - 1 + 2, 1, 2)
    files, topics = run.digests()
    assert files == topics


def test_the_digest_tells_logs_apart(tmp_path: Path) -> None:
    """One byte, one time or one place more is another log."""
    digests = set()
    changes: list[Callable[[SmallCluster], None]] = [
        lambda _: None,
        lambda it: it.put("interaction", 0, b"c", b"x", 99),
        lambda it: it.put("interaction", 1, b"c", b"x", 99),
        lambda it: it.put("interaction", 0, b"", b"cx", 99),
        lambda it: it.put("interaction", 0, b"c", b"x", 100),
    ]
    for number, change in enumerate(changes):
        folder, source = tmp_path / str(number), filled()
        folder.mkdir()
        change(source)
        exported(source, folder)
        digests.add(imported(SmallCluster(), folder).digests()[0])
    assert len(digests) == len(changes)


@settings(max_examples=40, deadline=None)
@given(lives=st.lists(st.integers(0, 30), max_size=4), records=st.integers(0, 23))
def test_a_killed_import_goes_on_where_the_topics_end(tmp_path_factory: pytest.TempPathFactory, lives: list[int], records: int) -> None:
    """Whenever it was killed, and however often: the same log, and one mark in each partition."""
    folder, source, target = tmp_path_factory.mktemp("log"), filled(records), SmallCluster()
    exported(source, folder)
    for target.lives in lives:
        try:
            imported(target, folder)
        except Killed:
            continue
    target.lives = None
    run = imported(target, folder)
    assert_equal(source, target)
    if not run.is_finished:
        assert run.digests()[0] == run.digests()[1]
    held = [list(partition) for partition in target.log["interaction"]]
    assert imported(target, folder).is_finished
    assert held == target.log["interaction"]


def test_an_import_that_was_finished_is_left_alone_when_life_has_gone_on(tmp_path: Path) -> None:
    """Workers run, new records came, new rules were published: importing again does nothing, and moves nobody back."""
    exported(filled(), tmp_path, told=2)
    target = SmallCluster()
    imported(target, tmp_path)
    target.put("interaction", 0, b"c", b"new", 1)
    target.put("config", 0, b"rules", b"new", 1)
    target.told, target.running = 3, {"t.view.v1": 1}
    held = [list(partition) for partition in target.log["interaction"]]
    assert imported(target, tmp_path).is_finished
    assert (held, target.told) == (target.log["interaction"], 3)


class There(NamedTuple):
    """An export, and where it is to go."""

    folder: Path
    target: SmallCluster


def flipped(there: There) -> None:
    path = there.folder / "interaction-0001-00000000000000000005.avro"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(there: There) -> None:
    path = there.folder / "interaction-0001-00000000000000000005.avro"
    path.write_bytes(path.read_bytes()[:-1])


def removed(there: There) -> None:
    (there.folder / "config-0000-00000000000000000000.avro").unlink()


def other_record(there: There) -> None:
    there.target.put("interaction", 1, b"c", b"somebody else's", 1)


def longer(there: There) -> None:
    for n in range(99):
        there.target.put("config", 0, b"rules", b"%d" % n, 1)


def cut_off(there: There) -> None:
    there.target.begins["interaction", 0] = 4
    there.target.log["interaction"][0] = [RawRecord(n, b"c", b"x", 1) for n in range(4)]


def working(there: There) -> None:
    there.target.running = {"t.view.v1": 2, "t.resolver": 1}


def wider(there: There) -> None:
    there.target.log["interaction"].append([])


def unfinished(there: There) -> None:
    path = there.folder / "manifest.json"
    found = json.loads(path.read_bytes())
    found["topics"][0]["partitions"][0]["until"] += 1
    path.write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("trouble", "reason", "said"),
    [
        (flipped, "checksum", r"interaction-0001-0+5.avro \(records 5 to 9\) is not what was exported: its bytes were changed"),
        (cut, "checksum", r"interaction-0001-0+5.avro .* it has [\d,]+ bytes instead of"),
        (removed, "unreadable", r"config-0000-0+.avro cannot be read: no such file"),
        (other_record, "records_differ", "interaction partition 1 holds another record at 0 than the export"),
        (longer, "topic_not_empty", "config partition 0 is not empty: records stand behind those of this export"),
        (cut_off, "topic_not_empty", "interaction partition 0 is not empty: it begins at 4"),
        (working, "workers_running", r"Workers are running: t.resolver \(1\), t.view.v1 \(2\)"),
        (wider, "other_partitions", "the topic for interaction has 3 partitions, and the export 2"),
        (unfinished, "export_incomplete", "is not complete"),
    ],
)
def test_an_import_that_cannot_be_right_appends_nothing(tmp_path: Path, trouble: Callable[[There], None], reason: str, said: str) -> None:
    """It says what and where, and what to do."""
    exported(filled(), tmp_path)
    target = SmallCluster()
    trouble(There(tmp_path, target))
    held = json.dumps([[len(partition) for partition in partitions] for partitions in target.log.values()])
    with pytest.raises(Refused, match=f"(?i){said}") as refused:
        imported(target, tmp_path)
    assert refused.value.reason == reason
    assert refused.value.next_step
    assert held == json.dumps([[len(partition) for partition in partitions] for partitions in target.log.values()])
    assert target.told is None


def test_without_its_topics_an_import_says_how_to_make_them(tmp_path: Path) -> None:
    exported(filled(), tmp_path)
    target = SmallCluster()
    target.log["config"] = []
    with pytest.raises(Misconfigured, match="touchline topics create"):
        imported(target, tmp_path)


def test_somebody_who_appends_meanwhile_is_found_out_at_once(tmp_path: Path) -> None:
    """After the segment in which it happened, with the offsets; no partition is told that the import is complete."""

    class Shared(SmallCluster):
        def flush(self) -> None:
            if len(self.log["interaction"][1]) == 5:
                self.put("interaction", 1, b"c", b"not ours", 1)

    exported(filled(), tmp_path)
    target = Shared()
    with pytest.raises(Refused, match="interaction partition 1 ends at 6 instead of 5") as refused:
        imported(target, tmp_path)
    assert refused.value.reason == "offsets_differ"
    assert not any(isinstance(CODEC.decode(one.value), LogImported) for partition in target.log["interaction"] for one in partition)


def test_no_partition_is_told_of_the_end_before_everything_is_there(tmp_path: Path) -> None:
    exported(filled(), tmp_path)
    target = SmallCluster()
    run = importing(target, tmp_path)
    run.check()
    with pytest.raises(TouchlineError, match="not at its end"):
        run.finish(NOW_US)
    assert target.told is None
    assert not any(target.log["interaction"])


@pytest.mark.parametrize("topic", ["interaction", "config"])
def test_what_somebody_appends_behind_a_partition_that_is_done_is_found_before_its_end_is_told(tmp_path: Path, topic: str) -> None:
    """Below the end of an import nobody is alerted, so what came in there would never be told."""
    exported(filled(), tmp_path)
    target = SmallCluster()
    run = importing(target, tmp_path)
    run.check()
    run.send(lambda _: None)
    run.compare(lambda _: None)
    target.put(topic, 0, b"c", b"not ours", 1)
    with pytest.raises(Refused, match=f"{topic} partition 0 ends at .* instead of") as refused:
        run.finish(NOW_US)
    assert refused.value.reason == "offsets_differ"
    assert target.told is None
    assert not any(isinstance(CODEC.decode(one.value), LogImported) for partition in target.log["interaction"] for one in partition)


def test_a_record_that_was_swapped_on_the_way_is_found_when_it_is_read_back(tmp_path: Path) -> None:
    """The broker's copy is what counts."""

    class Lossy(SmallCluster):
        def append(self, topic: str, partition: int, key: bytes | None, value: bytes) -> None:
            super().append(topic, partition, b"other" if key == b"c9" else key, value)

    exported(filled(), tmp_path)
    with pytest.raises(Refused, match="interaction partition 1 holds another record at 4 than the export"):
        imported(Lossy(), tmp_path)


def test_rules_are_what_they_were_where_they_were_published(tmp_path: Path) -> None:
    """Versions, times of publication and of coming into force: those of the first installation."""
    source, target = filled(), SmallCluster()
    exported(source, tmp_path)
    imported(target, tmp_path)
    before, after = (published([Batch(0, it.log["config"][0])], CODEC, "acme") for it in (source, target))
    assert [one.published_us for one in before] == [50 * SECOND, 60 * SECOND]
    assert before == after


def test_an_imported_log_folds_to_the_same_rows_and_says_nothing_again(tmp_path: Path) -> None:
    """Until its end; the timer that comes due later is said, once. An imported promotion does not move who speaks here."""
    source = SmallCluster(1)
    head = Header(id="p", source="/touchline", tenant="acme", occurred_at_us=0, received_at_us=0)
    log = [(event("received", 1, 1000), 1000), (event("received", 2, 1000), 1000), (wake(1, 1061), 1061), (event("received", 3, 1070), 1070)]
    for of, at_s in log:
        source.put("interaction", 0, of.header.customer_id.encode(), CODEC.encode(of), at_s * SECOND)
    promoted = ProjectionPromoted(header=head, group="clockwork", version=7)
    source.put("interaction", 0, b"projection:clockwork", CODEC.encode(promoted), 1071 * SECOND)
    exported(source, tmp_path)
    target = SmallCluster(1, now_us=5000 * SECOND)
    imported(target, tmp_path)
    for customer in (2, 3):
        target.append("interaction", 0, b"c%d" % customer, CODEC.encode(wake(customer, 5001)))

    def fold(records: list[RawRecord]) -> tuple[MemoryStore, list[str]]:
        into, engine = store(), Engine(GROUP, CODEC, tenant="acme", cached_subjects_max=100, config=Config((rules(60),)))
        engine.open(0, None)
        work = folded(engine, Batch(0, records), into)
        return into, [effect.key for effect in work.effects]

    def rows(into: MemoryStore) -> object:
        found = into._kind("ring_v1").partitions
        return {key: {name: cell.value for name, cell in row.cells.items()} for one in found.values() for key, row in one.rows.items()}

    assert isinstance(CODEC.decode(target.log["interaction"][0][5].value), LogImported)
    before, said_before = fold(source.log["interaction"][0])
    again, said_again = fold(target.log["interaction"][0][:6])
    assert rows(before) == rows(again)
    assert (set(said_before), said_again) == ({"c1/a"}, [])
    _, said = fold(target.log["interaction"][0])
    assert set(said) == {"c2/a", "c3/a"}
