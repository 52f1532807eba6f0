"""What `touchline status` says of the product; the servers behind it are stand-ins, one of them silent."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import msgspec
import pytest

from projections.registry import GROUPS
from schemas.codec import Codec
from schemas.events import Quarantined
from streams.cluster import Place
from streams.parking import ParkedCustomer
from streams.records import Batch, RawRecord
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.store.port import Checkpoint, GroupVersion
from streams.versions.versions import Versions
from streams.wall_clock import now_us
from touchline import sections
from touchline.commands import stack
from touchline.erasures import Erasure, Erasures
from touchline.errors import Misconfigured, Retryable
from touchline.settings import Settings

SETTINGS = Settings(topic_prefix="touchline", brokers="nowhere:1")
VIEW = GroupVersion("view", GROUPS["view"].version)


class FakeCluster:
    """A broker's answers; `silent_s` is how long it takes."""

    ends: Mapping[Place, int] = {}
    starts: Mapping[Place, int] = {}
    committed_by: Mapping[str, Mapping[Place, int]] = {}
    silent_s = 0.0
    error: Exception | None = None
    asked = 0

    def __init__(self, brokers: str) -> None:
        assert brokers == SETTINGS.brokers
        FakeCluster.asked += 1
        time.sleep(self.silent_s)
        if self.error is not None:
            raise self.error

    def end_offsets(self, topics: Iterable[str]) -> dict[Place, int]:
        return {place: end for place, end in self.ends.items() if place.topic in set(topics)}

    def ranges(self, topics: Iterable[str]) -> dict[Place, tuple[int, int]]:
        return {place: (self.starts.get(place, 0), end) for place, end in self.end_offsets(topics).items()}

    def committed(self, group_id: str, topics: Iterable[str]) -> dict[Place, int]:
        del topics
        return dict(self.committed_by[group_id])


class FakeReader:
    """Hands out what lies in the quarantine topic in the ranges that are asked for."""

    records: Mapping[int, list[bytes]] = {}
    closed = 0

    def __init__(self, brokers: str, topic: str, **options: Any) -> None:
        del brokers, options
        self._topic = topic

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        type(self).closed += 1

    def batches(self, partition: int, first: int, end: int) -> Iterator[Batch]:
        found = [RawRecord(n, None, raw, 0) for n, raw in enumerate(self.records[partition]) if first <= n < end]
        if found:
            yield Batch(partition, found, 0, self._topic)


class FakeCassandra:
    """Gives out a store in memory, or fails."""

    store = MemoryStore(known_tables())
    error: Exception | None = None

    @classmethod
    async def connect(cls, settings: Settings) -> MemoryStore:
        del settings
        if cls.error is not None:
            raise cls.error
        return cls.store


@pytest.fixture(autouse=True)
def _world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "Cluster", FakeCluster)
    monkeypatch.setattr(sections, "LogReader", FakeReader)
    monkeypatch.setattr(sections, "CassandraStore", FakeCassandra)
    monkeypatch.setattr(sections, "_SILENT", set())
    monkeypatch.setattr(FakeCassandra, "store", MemoryStore(known_tables()))


def test_lag_is_the_end_less_what_was_committed_per_group(monkeypatch: pytest.MonkeyPatch) -> None:
    phone, email = Place("touchline.channel.phone.v1", 0), Place("touchline.channel.email.v1", 0)
    log = [Place("touchline.interaction.v1", n) for n in range(3)]
    monkeypatch.setattr(FakeCluster, "ends", {phone: 1000, email: 5, log[0]: 10, log[1]: 20, log[2]: 0})
    monkeypatch.setattr(
        FakeCluster,
        "committed_by",
        {
            "touchline.resolver": {phone: 400, email: 5},
            "touchline.view.v1": {log[0]: 10, log[1]: 25},
            "touchline.care.v1": {log[0]: 9, log[1]: 20},
            "touchline.config": {},
        },
    )
    section = sections.lag(SETTINGS)
    assert section is not None
    assert section.rows == (("touchline.resolver", "600", "1 of 2"), ("touchline.view.v1", "0", "0 of 3"), ("touchline.care.v1", "1", "1 of 3"))
    assert section.data["touchline.resolver"] == {"records": 600, "partitions": 2, "behind": 1}


def test_rules_that_the_log_has_not_been_told_are_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeCluster, "ends", {Place("touchline.config.v1", 0): 3})
    told = {"touchline.config": {Place("touchline.config.v1", 0): 1}, "touchline.resolver": {}, "touchline.view.v1": {}, "touchline.care.v1": {}}
    monkeypatch.setattr(FakeCluster, "committed_by", told)
    section = sections.lag(SETTINGS)
    assert section is not None
    assert section.data == {"touchline.config": {"records": 2, "partitions": 1, "behind": 1}}


def test_a_group_that_never_committed_has_everything_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeCluster, "ends", {Place("touchline.interaction.v1", 0): 7})
    monkeypatch.setattr(
        FakeCluster, "committed_by", {"touchline.resolver": {}, "touchline.view.v1": {}, "touchline.care.v1": {}, "touchline.config": {}}
    )
    section = sections.lag(SETTINGS)
    assert section is not None
    assert section.data == {f"touchline.{group}.v1": {"records": 7, "partitions": 1, "behind": 1} for group in ("view", "care")}


def test_parked_customers_are_a_trouble_and_name_no_more_than_ten() -> None:
    waiting = [ParkedCustomer(f"cu-{n:02d}", 0, n, 0, n + 2, 3, "raised:ValueError", "abc", "projections/customer.py:7:apply") for n in range(12)]
    asyncio.run(FakeCassandra.store.write([row for one in waiting for row in one.writes(*VIEW, one.first_offset, 1)]))
    section = sections.parked(SETTINGS)
    assert section is not None
    assert section.rows[0] == ("view", "cu-00", "3", "raised:ValueError", "projections/customer.py:7:apply")
    assert section.rows[-1][1] == "... and 2 more"
    assert len(section.data) == 12
    assert section.troubles == ("Customers parked: 12; records of theirs that wait: 36.",)


def test_versions_sum_up_the_checkpoints() -> None:
    for partition, checkpoint in enumerate([Checkpoint(10, 1, True, 1), Checkpoint(2_000, 1, True, 1)]):  # noqa: FBT003 - its third value
        asyncio.run(FakeCassandra.store.save_checkpoints(VIEW, {partition: checkpoint}))
    section = sections.versions(SETTINGS)
    assert section is not None
    assert section.rows == (("view", "v1", "active", "2", "2,010"),)


def test_versions_are_shown_with_what_they_are_and_one_that_stands_still_is_a_trouble() -> None:
    async def story() -> None:
        versions = Versions(FakeCassandra.store)
        await versions.begin(VIEW, 1)
        for number in (2, 3, 4):
            await versions.add(GroupVersion("view", number), 1)
        await versions.move(GroupVersion("view", 2), "building", "shadow", 2)
        await versions.move(GroupVersion("view", 3), "building", "retired", 2)
        await versions.pause(GroupVersion("view", 2), "parked: 101 customers in a minute, the last reason raised:ValueError", 3)
        await FakeCassandra.store.save_checkpoints(GroupVersion("view", 2), {0: Checkpoint(7, 1, False, 1)})  # noqa: FBT003 - its third value

    asyncio.run(story())
    section = sections.versions(SETTINGS)
    assert section is not None
    assert [row[:3] for row in section.rows] == [
        ("view", "v1", "active"),
        ("view", "v2", "paused"),
        ("view", "v3", "retired"),
        ("view", "v4", "building"),
    ]
    assert section.rows[1][3:] == ("1", "7")
    assert section.troubles == ("view v2 stands still: parked: 101 customers in a minute, the last reason raised:ValueError.",)


def test_lag_is_that_of_every_version_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        versions = Versions(FakeCassandra.store)
        await versions.begin(VIEW, 1)
        for number in (2, 3):
            await versions.add(GroupVersion("view", number), 1)
        await versions.move(GroupVersion("view", 2), "building", "shadow", 2)

    asyncio.run(story())
    place = Place("touchline.interaction.v1", 0)
    monkeypatch.setattr(FakeCluster, "ends", {place: 7})
    told = {
        "touchline.config": {},
        "touchline.resolver": {},
        "touchline.view.v1": {place: 7},
        "touchline.view.v2": {place: 3},
        "touchline.care.v1": {},
    }
    monkeypatch.setattr(FakeCluster, "committed_by", told)
    section = sections.lag(SETTINGS)
    assert section is not None
    assert {name: it["records"] for name, it in section.data.items()} == {"touchline.view.v1": 0, "touchline.view.v2": 4, "touchline.care.v1": 7}


def test_quarantined_counts_all_and_reads_the_newest_thousand_for_their_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Codec()

    def note(reason: str) -> bytes:
        return codec.encode(Quarantined(id="q", source="/x", tenant="t", reason=reason, detail="", stage="connector", at_us=1))

    topic = "touchline.quarantine.v1"
    lying = {0: [note("old")] * 1500 + [note("future_dated")] * 500, 1: [note("wrong_type")] * 2 + [b"junk"], 2: []}
    monkeypatch.setattr(FakeReader, "records", lying)
    monkeypatch.setattr(FakeCluster, "ends", {Place(topic, n): len(found) for n, found in lying.items()})
    before = FakeReader.closed
    section = sections.quarantined(SETTINGS)
    assert section is not None
    assert section.title == "Quarantined: 2,003 in 90 days; reasons of the newest 503"
    assert section.data["reasons"] == {"future_dated": 500, "wrong_type": 2, "unreadable": 1}
    assert FakeReader.closed == before + 1


def test_before_anything_has_run_there_is_nothing_to_show(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [ask(SETTINGS) for ask in (sections.lag, sections.parked, sections.quarantined, sections.versions)] == [None] * 4
    monkeypatch.setattr(FakeCassandra.store, "load_checkpoints", _no_tables)
    assert sections.versions(SETTINGS) is None


async def _no_tables(group: GroupVersion) -> dict[int, Checkpoint]:
    raise Misconfigured(f"no tables of {group.group}")


def test_a_silent_broker_is_said_in_words_within_the_wait_and_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "WAIT_S", 0.2)
    monkeypatch.setattr(FakeCluster, "silent_s", 3.0)
    began, before = time.monotonic(), FakeCluster.asked
    for ask in (sections.lag, sections.quarantined):
        with pytest.raises(Retryable, match="Kafka did not answer within"):
            ask(SETTINGS)
    assert time.monotonic() - began < 2.0
    assert FakeCluster.asked == before + 1


def test_a_node_that_refuses_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeCassandra, "error", Retryable("connecting failed."))
    with pytest.raises(Retryable, match="connecting failed"):
        sections.parked(SETTINGS)
    monkeypatch.setattr(FakeCluster, "error", OSError("boom"))
    with pytest.raises(Retryable, match=r"Kafka could not be asked \(OSError\)"):
        sections.lag(SETTINGS)


def test_status_shows_the_rest_when_one_server_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "WAIT_S", 0.2)
    monkeypatch.setattr(FakeCluster, "silent_s", 3.0)
    asyncio.run(FakeCassandra.store.save_checkpoints(VIEW, {0: Checkpoint(10, 1, True, 1)}))  # noqa: FBT003 - its third value
    found, troubles = stack._sections(SETTINGS)
    assert [section.name for section in found] == ["versions"]
    assert len(troubles) == 1, "two questions to one silent broker are one trouble"
    assert "Kafka did not answer" in troubles[0]


def test_an_erasure_that_was_cut_off_is_named_until_it_is_completed() -> None:
    assert sections.erasures(SETTINGS) is None
    at_us = now_us()
    left = Erasure(
        tenant="acme",
        id="er-1",
        customer="cu-1",
        customers=frozenset({"cu-1"}),
        handles=frozenset(),
        reason="asked",
        actor="op-1",
        begun_at_us=at_us - 600_000_000,
        step="told",
    )
    table = Erasures(FakeCassandra.store, now_us)
    asyncio.run(table.save(left))
    asyncio.run(table.save(msgspec.structs.replace(left, id="er-2", begun_at_us=at_us)))
    section = sections.erasures(SETTINGS)
    assert section is not None
    assert [row[:3] for row in section.rows] == [("er-1", "cu-1", "told")], "one that has just begun is not cut off"
    assert section.troubles == ("Erasures that are not done: 1. Next: `touchline privacy erase --resume`.",)
    asyncio.run(table.save(msgspec.structs.replace(left, step="done")))
    assert sections.erasures(SETTINGS) is None
