"""`touchline ingest` on real servers: the real files exactly, killed and resumed, interrupted, through a pipe, without a broker."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.local.testing import LiveStack
from projections.registry import GROUPS
from schemas.codec import Codec, Head
from schemas.topics import topics
from streams.cluster import Cluster, Place
from streams.kafka import Subscription
from streams.store.catalogue import KEYRING, MIGRATIONS
from streams.store.driver import Driver
from streams.store.migration_files import read_migrations
from streams.store.migrations import migrate
from touchline.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
CALLS, TWEETS = DATA / "bank_calls_1999-02-01_14.tsv", DATA / "support_tweets_2017_a.csv"
COMMAND = [sys.executable, "-c", "import touchline.cli as c; c._GROUPS = ('ingest', 'worker'); c.main()"]
PARTITIONS = 3
CODEC = Codec()


class Installation:
    """Topics and tables of one test, empty, and the command line over them."""

    def __init__(self, stack: LiveStack, prefix: str, folder: Path) -> None:
        names = {"topic_prefix": prefix, "keyspace": prefix, "keyring_keyspace": f"{prefix}_keys", "partitions": PARTITIONS}
        self.settings: Settings = stack.settings_with(**names)
        self.folder = folder
        found = self.settings
        more = {"brokers": found.brokers, "cassandra_hosts": found.cassandra_hosts, "cassandra_port": found.cassandra_port}
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TOUCHLINE_")},
            **{
                f"TOUCHLINE_{name.upper()}": str(value)
                for name, value in {**names, **more, "key_file": folder / "keys.json", "log_level": "warning"}.items()
            },
        }
        Cluster(found.brokers).create_topics(topics(prefix, PARTITIONS, 1))
        driver = Driver.open(found)
        try:
            tables = [table for group in GROUPS.values() for table in group.tables()]
            migrate(driver, found, read_migrations(MIGRATIONS), tables, {KEYRING: found.keyring_keyspace})
        finally:
            driver.close()

    def start(self, *arguments: str | Path, stdin: Any = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            cwd=ROOT,
            env=self.environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str | Path, code: int = 0) -> tuple[str, str]:
        process = self.start(*arguments)
        said, errors = process.communicate(timeout=240)
        assert process.returncode == code, (process.returncode, said, errors)
        return said, errors

    def ingest(self, *arguments: str | Path) -> dict[str, Any]:
        said, _ = self.run("ingest", *arguments, "--no-wait", "--json")
        found: dict[str, Any] = json.loads(said)
        return found

    def on(self, *channels: str) -> list[Head]:
        """Read everything on these channels' topics."""
        names = [f"{self.settings.topic_prefix}.channel.{channel}.v1" for channel in channels]
        left = {place: end for place, end in Cluster(self.settings.brokers).end_offsets(names).items() if end}
        group = f"test-{time.time_ns()}"
        reader = Subscription(self.settings.brokers, group, names, assigned=lambda places: dict.fromkeys(places, 0), revoked=lambda _: None)
        heads = []
        try:
            while left:
                for batch in reader.poll(5000, 1.0):
                    heads += [head for record in batch.records if isinstance(head := CODEC.head(record.value), Head)]
                    if batch.records[-1].offset + 1 >= left[Place(batch.topic, batch.partition)]:
                        del left[Place(batch.topic, batch.partition)]
        finally:
            reader.close()
        return heads

    def records(self, channel: str) -> int:
        return sum(Cluster(self.settings.brokers).end_offsets([f"{self.settings.topic_prefix}.channel.{channel}.v1"]).values())


@pytest.fixture
def installation(stack: LiveStack, tmp_path: Path, request: pytest.FixtureRequest) -> Installation:
    return Installation(stack, f"ing{abs(hash(request.node.name)) % 10**8}{time.time_ns() % 10**6}", tmp_path)


def counts(found: dict[str, Any]) -> tuple[int, ...]:
    return tuple(found[name] for name in ("received", "accepted", "duplicate", "quarantined", "refused"))


def public(path: Path, numbers: range) -> Path:
    def one(number: int) -> str:
        customer = [{"kind": "email", "value": f"c{number % 300}@example.org"}]
        data = {"channel": "email", "direction": "inbound", "customer": customer, "text": f"secret {number}"}
        time_ = f"2026-01-12T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}Z"
        return json.dumps({"specversion": "1.0", "id": f"m-{number}", "source": "/mail", "type": "message.received", "time": time_, "data": data})

    path.write_text("".join(f"{one(number)}\n" for number in numbers))
    return path


@pytest.mark.skipif(not CALLS.exists(), reason=f"the real calls are not on this machine ({CALLS})")
def test_the_real_calls_lie_on_the_log_exactly_once_however_often_they_are_ingested(installation: Installation) -> None:
    first = installation.ingest(CALLS)
    assert first["rows"]["rows"] == first["rows"]["mapped"] + first["rows"]["phantom"] + first["rows"]["quarantined"] == 17_456
    assert counts(first) == (65_193, 65_193, 0, 0, 0)
    assert counts(installation.ingest(CALLS)) == (65_193, 0, 65_193, 0, 0)
    heads = installation.on("phone")
    assert len({head.header.id for head in heads}) == len(heads) == 65_193
    assert Counter(head.type.TYPE for head in heads)["contact.initiated"] == 17_313


@pytest.mark.skipif(not TWEETS.exists(), reason=f"the real messages are not on this machine ({TWEETS})")
def test_the_real_messages_lie_on_the_log_sealed(installation: Installation) -> None:
    assert counts(installation.ingest(TWEETS, "--tenant", "shop")) == (2411, 2411, 0, 0, 0)
    heads = installation.on("social")
    assert len({head.header.id for head in heads}) == 2411
    assert {head.header.tenant for head in heads} == {"shop"}
    raw = b"".join(head.raw for head in heads)
    assert b"https://" not in raw, "text lies open on the log"


def test_an_import_that_is_killed_goes_on_where_the_log_ends(installation: Installation, tmp_path: Path) -> None:
    """SIGKILL, several times, at whatever moment: in the end every event is there once."""
    file = public(tmp_path / "events.jsonl", range(60_000))
    done = 0
    for _ in range(4):
        process = installation.start("ingest", file, "--no-wait", "--json")
        until = time.monotonic() + 60
        while (now := installation.records("email")) < done + 4000 and time.monotonic() < until and process.poll() is None:
            time.sleep(0.02)
        process.kill()
        process.communicate()
        done = now
    found = installation.ingest(file)
    ids = [head.header.id for head in installation.on("email")]
    assert len(ids) == len(set(ids)) == 60_000
    assert found["received"] == found["accepted"] + found["duplicate"] == 60_000
    assert found["duplicate"] >= done


def test_ctrl_c_ends_cleanly_with_code_130_and_the_next_run_goes_on(installation: Installation, tmp_path: Path) -> None:
    file = public(tmp_path / "events.jsonl", range(60_000))
    process = installation.start("ingest", file, "--no-wait", "--json")
    while not installation.records("email"):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    first = json.loads(said)
    assert first["interrupted"]
    assert 0 < first["accepted"] < 60_000
    second = installation.ingest(file)
    assert counts(second) == (60_000, 60_000 - first["accepted"], first["accepted"], 0, 0)
    assert installation.records("email") == 60_000


def test_a_pipe_is_read_as_it_comes_and_errors_are_told_by_line(installation: Installation, tmp_path: Path) -> None:
    file = public(tmp_path / "events.jsonl", range(10))
    file.write_bytes(file.read_bytes() + b"{\n")
    with file.open() as piped:
        process = installation.start("ingest", "-", "--no-wait", stdin=piped)
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "received 11 = accepted 10 + duplicate 0 + quarantined 0 + refused 1" in said
    assert "refused (not_json) line 11: it is not JSON." in errors
    assert installation.run("ingest", file, "--strict", "--no-wait", code=1)[1].rstrip().endswith("line 11: it is not JSON.")


def test_while_the_broker_is_away_the_import_waits_and_then_goes_on(installation: Installation, stack: LiveStack, tmp_path: Path) -> None:
    file = public(tmp_path / "events.jsonl", range(40_000))
    process = installation.start("ingest", file, "--no-wait", "--json")
    while not installation.records("email"):
        time.sleep(0.02)
    stack.kill("kafka")
    time.sleep(1)
    assert process.poll() is None, process.communicate()
    stack.restart("kafka")
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert counts(json.loads(said)) == (40_000, 40_000, 0, 0, 0)
    ids = [head.header.id for head in installation.on("email")]
    assert len(ids) == len(set(ids)) == 40_000


@contextmanager
def worker(installation: Installation) -> Iterator[None]:
    process = installation.start("worker", "--group", "resolver")
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_the_import_waits_for_the_resolver_and_says_what_to_start_where_none_runs(installation: Installation, tmp_path: Path) -> None:
    first, second = public(tmp_path / "first.jsonl", range(100)), public(tmp_path / "second.jsonl", range(500, 600))
    said, errors = installation.run("ingest", first, code=1)
    assert "accepted 100" in said
    assert "start `touchline worker`" in errors
    with worker(installation):
        assert "accepted 100" in installation.run("ingest", second)[0]
    assert sum(Cluster(installation.settings.brokers).end_offsets([installation.settings.topic("interaction")]).values()) == 200


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere.jsonl"], 78, "cannot be opened"),
        (["x", "--speed", "fast"], 2, "--speed"),
        (["x", "--format", "xml"], 2, "--format"),
        (["-", "--shift-to-now"], 2, "--shift-to-now"),
    ],
)
def test_wrong_use_is_told_by_name_and_code(arguments: list[str], code: int, said: str) -> None:
    done = subprocess.run([*COMMAND, "ingest", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
