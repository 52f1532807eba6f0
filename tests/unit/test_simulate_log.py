"""`simulate --format log`: an exported log, each partition apart, comes to the rows and effects of the log that was exported."""

import asyncio
import io
import json
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from projections.kernel import Effect, Subject
from projections.registry import GROUPS
from projections.sla.policy import read_policies
from schemas.codec import Codec
from schemas.events import EVENT_TYPES, Header, ProjectionPromoted, ProjectionRebuild, TimerWoke
from schemas.record import Event
from streams.digesting import store_digest
from streams.effects import DESTINATIONS
from streams.engine import Engine
from streams.log import simulation
from streams.log.compared import Dating
from streams.published import announced, publication
from streams.records import RawRecord
from streams.simulation import Simulation
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.work import Work
from tests.support.small_cluster import SmallCluster, exported
from touchline.emitting import SortedLines
from touchline.errors import Refused
from touchline.settings import Settings
from touchline.simulating_log import SimulatedLog

GOLDEN = Path(__file__).parents[1] / "golden"
CODEC = Codec()
PARTITIONS = 3
DAYS_US = 2 * 86_400_000_000
SOME_WAIT = 0.68
"""This part of the day's log ends while clocks are running."""


class Keeping(Simulation):
    """Keeps its log."""

    kept: list[RawRecord]

    def _put(self, key: str, value: bytes) -> None:
        self.kept.append(RawRecord(len(self.kept), key.encode(), value, self._appended_us))
        super()._put(key, value)


def history() -> list[tuple[Event, int]]:
    """Return the golden day of the care group, its rules first."""
    lines = [json.loads(line) for line in (GOLDEN / "care.history.jsonl").read_text().splitlines()]
    events = [(msgspec.convert(line["event"], EVENT_TYPES[line["type"]], builtin_types=()), line["appended_us"]) for line in lines]
    book = read_policies((GOLDEN / "care.policies.toml").read_text(), "p", years=range(2025, 2028))
    first_us = events[0][1] - 1_000_000
    rules = publication(book, tenant="acme", record_id="r-1", now_us=first_us, effective_at_us=0)
    told = announced(RawRecord(0, b"rules", CODEC.encode(rules), first_us), CODEC)
    assert isinstance(told, Event)
    return [(told, first_us), *events]


@pytest.fixture(scope="module")
def day() -> tuple[list[RawRecord], list[Effect], dict[str, str]]:
    """Return the log of the day, what was said, and the digest of each group."""
    store = MemoryStore(known_tables())
    run = Keeping(GROUPS.values(), store, CODEC, tenant="acme", future_max_s=300, cached_subjects_max=1000)
    run.kept = []

    async def simulate() -> list[Effect]:
        return [*await run.feed(history()), *await run.finish(history()[-1][1] + DAYS_US)]

    effects = asyncio.run(simulate())
    assert run.parked_customers == 0
    return run.kept, effects, {group.name: asyncio.run(store_digest(store, group)) for group in GROUPS.values()}


def cluster_of(log: Sequence[RawRecord]) -> SmallCluster:
    """Return the log over some partitions: who is in one stays in it, and rules are told to each."""
    cluster = SmallCluster(PARTITIONS)
    for record in log:
        key = record.key or b""
        everywhere = range(PARTITIONS) if key.startswith(b"config:") else [zlib.crc32(key) % PARTITIONS]
        for partition in everywhere:
            cluster.put("interaction", partition, key, record.value, record.appended_us)
    return cluster


def simulated(paths: Sequence[Path], *wanted: str, until_us: int | None = None) -> tuple[list[dict[str, Any]], SimulatedLog]:
    out = io.BytesIO()
    with SortedLines() as lines:
        run = SimulatedLog(Settings(tenant="acme"), lines, frozenset(wanted), paths, until_us=until_us)
        asyncio.run(run.feed())
        asyncio.run(run.print(out))
    run.tell()
    return [json.loads(line) for line in out.getvalue().splitlines()], run


def digests(lines: Sequence[dict[str, Any]]) -> dict[str, str]:
    return {line["group"]: line["digest"] for line in lines if line["kind"] == "digest"}


def test_a_log_comes_to_the_rows_and_effects_that_it_came_to_before(
    tmp_path: Path, day: tuple[list[RawRecord], list[Effect], dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Over several partitions, states on disk; every effect once, whichever version spoke then."""
    log, effects, digest = day
    cluster = cluster_of(log)
    for partition, records in enumerate(cluster.log["interaction"]):  # another version spoke for the rest of that day
        at = len(records) // 2
        header = Header(id=f"p-{partition}", source="/touchline", tenant="acme", occurred_at_us=0, received_at_us=0)
        promoted = CODEC.encode(ProjectionPromoted(header=header, group="care", version=7))
        records.insert(at, RawRecord(at, b"projection:care", promoted, records[at].appended_us))
        records[at + 1 :] = [record._replace(offset=record.offset + 1) for record in records[at + 1 :]]
    exported(cluster, tmp_path, records_max=50)
    lines, _ = simulated([tmp_path], "digest", "effects", "clocks")
    assert digests(lines) == digest
    said = Counter(line["id"] for line in lines if line["kind"] == "effect" and line["type"] != "customer.snapshot")
    assert said == Counter(effect.payload.header.id for effect in effects if not DESTINATIONS[effect.kind].compacted)  # type: ignore[attr-defined]
    assert len(said) > 100
    assert any(line["kind"] == "clock" and line["state"] == "breached" for line in lines)
    assert f"of {PARTITIONS} partitions; parked customers 0" in capsys.readouterr().err


def test_who_is_due_at_the_end_of_the_log_expires(tmp_path: Path, day: tuple[list[RawRecord], list[Effect], dict[str, str]]) -> None:
    """The morning alone, without its wake-ups: time is what the log or the caller says."""
    log = day[0]
    morning = [record for record in log[: round(len(log) * SOME_WAIT)] if getattr(CODEC.head(record.value), "type", None) is not TimerWoke]
    exported(cluster_of(morning), tmp_path)
    found = []
    for until_us in (morning[-1].appended_us, morning[-1].appended_us + DAYS_US):
        out = io.BytesIO()
        with SortedLines() as lines:
            run = SimulatedLog(Settings(tenant="acme"), lines, frozenset({"digest", "clocks"}), [tmp_path], until_us=until_us)
            asyncio.run(run.feed())
            asyncio.run(run.print(out))
        found.append([json.loads(line) for line in out.getvalue().splitlines()])
    by_the_log, later = found
    assert digests(simulated([tmp_path], "digest")[0]) == digests(by_the_log) != digests(later)
    states = [Counter(line["state"] for line in lines if line["kind"] == "clock") for lines in found]
    assert states[0]["running"] > states[1]["running"]
    assert states[0]["breached"] < states[1]["breached"]


def test_nothing_is_read_that_was_appended_later_than_asked(
    tmp_path: Path, day: tuple[list[RawRecord], list[Effect], dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a log that was imported since then, by when its records were appended first."""
    log, dating = day[0], Dating(CODEC)
    until_us = log[len(log) // 2].appended_us
    morning = [record for record in log if record.appended_us <= until_us]
    imported = [record._replace(value=dating.value(record), appended_us=record.appended_us + 10 * DAYS_US) for record in log]
    found = []
    for name, records in (("morning", morning), ("whole", log), ("imported", imported)):
        (tmp_path / name).mkdir()
        exported(cluster_of(records), tmp_path / name, records_max=50)
        found.append((digests(simulated([tmp_path / name], "digest", until_us=until_us)[0]), capsys.readouterr().err.partition(" of")[0]))
    assert len(morning) < len(log)
    assert found[0] == found[1] == found[2]


def test_in_the_end_some_are_looked_at_after_the_others(
    tmp_path: Path, day: tuple[list[RawRecord], list[Effect], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many wait, their states are not all in memory at once; who goes first makes no difference."""
    log = day[0]
    morning = [record for record in log[: round(len(log) * SOME_WAIT)] if getattr(CODEC.head(record.value), "type", None) is not TimerWoke]
    exported(cluster_of(morning), tmp_path)
    until_us, together, expire = morning[-1].appended_us + DAYS_US, [0], Engine.expire

    def counted(engine: Engine, partition: int, subjects: Sequence[Subject], *rest: Any) -> Work:
        together.append(len(subjects))
        return expire(engine, partition, subjects, *rest)

    monkeypatch.setattr(Engine, "expire", counted)
    found = []
    for at_once in (simulation._EXPIRED_MAX, 1):
        monkeypatch.setattr(simulation, "_EXPIRED_MAX", at_once)
        found.append((simulated([tmp_path], "digest", "clocks", "effects", until_us=until_us)[0], max(together)))
        together[:] = [0]
    (whole, most), (one_by_one, one) = found
    assert whole == one_by_one
    assert most > one == 1


def test_a_file_that_was_cut_short_between_two_blocks_is_named(tmp_path: Path, day: tuple[list[RawRecord], list[Effect], dict[str, str]]) -> None:
    """It can be read to its end; that it has too few records stands in the manifest."""
    manifest = exported(cluster_of(day[0]), tmp_path)
    last = manifest.topics[0].partitions[0].segments[-1]
    file = tmp_path / last.file
    data = file.read_bytes()
    marker = data[-16:]  # it stands behind the header and behind each block
    file.write_bytes(data[: data.index(marker) + len(marker)])
    with pytest.raises(Refused, match=rf"{last.file} ends before {last.first} instead of at {last.last}"):
        simulated([tmp_path], "digest")


def test_a_log_with_rebuilds_comes_to_the_same_rows(tmp_path: Path, day: tuple[list[RawRecord], list[Effect], dict[str, str]]) -> None:
    """Rebuilding who never failed changes nothing, and is done: a record that it excludes is gone."""
    log, _, digest = day
    customers = sorted({record.key.decode() for record in log if record.key and b":" not in record.key})[:5]
    last_us = log[-1].appended_us

    def rebuild(group: str, customer: str, n: int, *exclude: str) -> RawRecord:
        header = Header(id=f"rebuild-{n}", source="/touchline", tenant="acme", occurred_at_us=last_us, received_at_us=last_us, customer_id=customer)
        event = ProjectionRebuild(header=header, group=group, version=GROUPS[group].version, customer=customer, mode="rebuild", exclude_ids=exclude)
        return RawRecord(0, customer.encode(), CODEC.encode(event), last_us)

    same, other = tmp_path / "same", tmp_path / "other"
    for folder in (same, other):
        folder.mkdir()
    exported(cluster_of([*log, *(rebuild(group, customer, n) for n, customer in enumerate(customers) for group in GROUPS)]), same)
    lines, _ = simulated([same], "digest", "clocks")
    assert digests(lines) == digest
    victim = next(record for record in log if record.key == customers[0].encode())
    excluded = CODEC.head(victim.value).header.id  # type: ignore[union-attr]
    exported(cluster_of([*log, rebuild("view", customers[0], 1, excluded)]), other)
    rows, _ = simulated([other], "rows")
    assert excluded not in {row["key"]["event_id"] for row in rows if row["table"] == "timeline"}


def test_single_files_of_a_log_can_be_named(tmp_path: Path, day: tuple[list[RawRecord], list[Effect], dict[str, str]]) -> None:
    """All of some partitions; what is missing in between, or of another export, is refused."""
    log, _, digest = day
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    exported(cluster_of(log), one, records_max=50)
    exported(cluster_of(log), two, records_max=50, export_id="e-2")
    files = sorted(one.glob("interaction-*.avro"))
    lines, _ = simulated(files, "digest")
    assert digests(lines) == digest
    with pytest.raises(Refused, match=r"begins with record 50, and those from 0 on are in no file"):
        simulated(files[1:], "digest")
    with pytest.raises(Refused, match="of several exports"):
        simulated([one, *two.glob("interaction-*.avro")], "digest")
    with pytest.raises(Refused, match="holds no segment of interaction"):
        simulated(sorted(one.glob("config-*.avro")) or [tmp_path], "digest")
