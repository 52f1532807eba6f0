"""The resolver's benchmark: what is measured is the product's resolver over its claims, after everybody was linked. Nothing here is timed."""

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from rich.console import Console

from benchmarks import resolver as bench
from benchmarks import worker
from benchmarks.child import Specification
from benchmarks.figures import Usage
from benchmarks.material import channel_log
from benchmarks.resolver import PEOPLE, ResolverPlan, measured
from benchmarks.show import WIDTH, as_json, show
from benchmarks.worker import Found
from schemas.codec import Codec, Head
from schemas.events import IdentityLinked
from schemas.handles import customer_id
from streams import assembly
from streams.identity.roots import Roots
from streams.records import Batch, RawRecord
from streams.relay import Relay
from streams.store.cassandra import CassandraStore
from streams.store.catalogue import control_tables
from streams.store.memory import MemoryStore
from touchline.settings import Settings, load_settings

CODEC = Codec()
SOME = 20
WARM, EVENTS, POLL = 6 * SOME, 10 * SOME, 30


class Store(MemoryStore):
    """A store in memory that sends its bulk reads through a driver, where requests are counted."""

    def __init__(self) -> None:
        super().__init__(control_tables())
        self.driver = SimpleNamespace(send=lambda *_: None)

    async def read_many(self, table: str, partitions: Any) -> Any:
        self.driver.send(table)
        return await super().read_many(table, partitions)


class Log:
    """The log, its producer and its appender in one: (key, head) of every record."""

    def __init__(self) -> None:
        self.records: list[tuple[str, Head]] = []

    def produce(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        head = CODEC.head(value or b"")
        assert isinstance(head, Head), topic
        self.records.append(((key or b"").decode(), head))

    def append(self, key: str, value: bytes) -> None:
        self.produce("link", key.encode(), value)

    async def drain(self) -> None:
        return


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """Return where the measured worker writes: its servers are in memory, its clock stands still, and its end is not this process's."""

    async def connect(*_: Any, **__: Any) -> Store:
        return Store()

    log = Log()
    monkeypatch.setattr(CassandraStore, "connect", connect)
    monkeypatch.setattr(worker, "Producer", lambda *_, **__: log)
    monkeypatch.setattr(assembly, "KafkaLog", lambda *_, **__: log)
    monkeypatch.setattr(worker, "Roots", lambda clock_s=lambda: 0.0: Roots(clock_s=clock_s))
    monkeypatch.setattr("os.kill", lambda *_: None)
    return log


def resolved(folder: Path, **options: Any) -> Found:
    """Have a measured resolver read a channel's log, poll by poll, and return what it reports."""
    out = folder / "found.json"
    spec = Specification({}, {}, EVENTS, str(out), {"group": "resolver", "warm": WARM, **options})

    async def run() -> None:
        [runner], release = await worker._built(spec, load_settings(tenant="acme", topic_prefix="t"))
        assert isinstance(runner, Relay)
        records = [RawRecord(offset, key, value, 2 * 10**15) for offset, (key, value) in enumerate(channel_log(EVENTS, SOME, WARM))]
        await runner.assign([])
        for first in range(0, EVENTS, POLL):
            await runner.run([Batch(0, records[first : first + POLL], topic="t.channel.email.v1")])
        await release()

    asyncio.run(run())
    return msgspec.json.decode(out.read_bytes(), type=Found)


def test_what_is_measured_links_everybody_before_the_clock_starts_and_asks_for_nobody_afterwards(log: Log, tmp_path: Path) -> None:
    found = resolved(tmp_path)
    assert found.usage.events == EVENTS - WARM
    assert (len(found.links_ms), found.usage.requests) == (SOME, 0)
    links = [head for _, head in log.records if head.type is IdentityLinked]
    assert len(links) == 2 * SOME
    mails = [(key, head.header) for key, head in log.records if head.type is not IdentityLinked]
    accounts = {customer_id("acme", one.kind, one.hash) for _, header in mails for one in header.handles if one.kind == "account"}
    assert len(mails) == EVENTS
    assert {key for key, _ in mails} == accounts


def test_one_that_forgets_asks_for_the_handles_of_every_poll(log: Log, tmp_path: Path) -> None:
    found = resolved(tmp_path, forgets=True)
    polls = -(-(EVENTS - WARM) // POLL)
    assert found.usage.requests >= polls
    assert log.records


class Stage:
    """A stage without servers."""

    def __init__(self) -> None:
        self.pids: dict[str, int] = {}
        self.folder = Path()

    def settings(self, name: str) -> Settings:
        return load_settings(tenant="acme", topic_prefix=name)

    def make_topics(self, settings: Settings) -> None:
        pass

    def make_tables(self, settings: Settings, tables: Any) -> None:
        pass

    def append(self, settings: Settings, log: Iterator[Any], name: str) -> None:
        assert (name, sum(1 for _ in log)) == ("channel.email", 6 * PEOPLE + 2000)


@pytest.fixture
def findings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Return what was run, in order: the resolver takes 50 µs, one that forgets 200 µs, the bare loop 20 µs."""
    asked: list[tuple[str, dict[str, Any]]] = []
    turns = count(1)

    def found(module: str, _settings: Settings, _pids: Any, events: int, kind: Callable[..., Any], *, folder: Path, **options: Any) -> Any:
        del folder
        asked.append((module, options))
        us = 20 if kind is Usage else 200 if options.get("forgets") else 50
        usage = Usage(events=events - options["warm"], wall_s=1.0, client_cpu_s=(events - options["warm"]) * us / 1e6)
        return usage if kind is Usage else Found(usage, links_ms=[float(next(turns))])

    monkeypatch.setattr(bench, "findings", found)
    return asked


def test_the_figure_of_a_core_stands_beside_its_target_and_the_bare_loop_of_the_same_run(findings: list[tuple[str, dict[str, Any]]]) -> None:
    [section] = measured(Stage(), ResolverPlan(events=2000, repeat=2), lambda _: None)  # type: ignore[arg-type] # a stage without servers
    figures = {figure["name"]: figure for figure in json.loads(json.dumps(as_json([section], {})))["sections"][0]["figures"]}
    core = figures["events per second and core, handles known"]
    assert (core["median"], core["at_least"], core["met"]) == (pytest.approx(20_000), 5000, True)
    assert figures["CPU per event, × the bare loop"]["median"] == pytest.approx(2.5)
    assert figures["CPU per event, every poll asks the store"]["median"] == pytest.approx(200)
    console = Console(width=WIDTH, file=io.StringIO(), record=True)
    show(section, console)
    assert "≥ 5,000" in console.export_text()
    assert [module for module, _ in findings] == ["worker", *["peers.loop", "worker", "worker"] * 2]
    assert all(options["host"] == "faust" for module, options in findings if module == "worker")
