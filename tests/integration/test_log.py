"""The log into files and onto another installation: the same tables, nothing said twice, and life goes on. Killed, damaged, misdirected."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.producer import Producer
from deploy.local.testing import LiveStack
from projections.registry import GROUPS
from schemas.codec import Codec
from schemas.events import AlertRaised, CustomerSnapshot, SlaBreached
from schemas.record import Event, Record
from tests.support.clockwork import event
from tests.support.harness import VIEW, Installation, installed
from tests.support.identity_invariants import customer_of
from tests.support.processes import Running, run, until
from tests.support.simulating import asked, replied
from tests.support.topics import stored

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CARE = GROUPS["care"]
CODEC = Codec()
TARGET_S = 120
ANSWERED, OVERDUE, LATER = 900, 60, 40
RECORDS = 240_000
MAILS = f"""
[[policy]]
id = "mail"
when = 'channel == "email"'
targets = {{ first_response = "{TARGET_S}s" }}
recipients = ["team:mail"]
"""


def called(here: Installation, *words: str, within_s: float = 120) -> dict[str, Any]:
    """Run a command with `--json` to its end and return what it prints."""
    done = run(["touchline", *words, "--json"], here.environment(), here.folder, within_s=within_s)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def refused(here: Installation, *words: str) -> str:
    """Run a command that must fail with exit 1; return what it says."""
    done = run(["touchline", *words], here.environment(), here.folder)
    assert (done.returncode, done.stdout) == (1, ""), (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def said(here: Installation, kind: type[Event | Record]) -> list[Any]:
    """Return the effects of a kind on the output topics."""
    topics = [here.settings.topic(name) for name in ("sla", "alert", "customer")]
    return [found for one in stored(here.settings.brokers, topics) if isinstance(found := CODEC.decode(one.value), kind)]


def publish(here: Installation) -> int:
    file = here.folder / "policies.toml"
    file.write_text(MAILS)
    words = ["config", "publish", str(file), "--wait", "0", "--effective-at", "1970-01-01T00:00:00Z"]
    return int(called(here, *words)["version"])


def lived(here: Installation) -> float:
    """Let an installation live a little; return when its open clocks are due. Its workers have stopped then."""
    with here.worker(name="first") as worker:
        publish(here)
        worker.wait_for("config_broadcast", version=1)
        now = time.time()
        lines = []
        for n in range(ANSWERED + OVERDUE):  # each answer right behind its mail: who is overdue is told of after a second
            lines.append(asked(n, moment(now - 3600 + n)))
            if n < ANSWERED:
                lines.append(replied(n, moment(now - 3595 + n)))
        lines += [asked(n, moment(now)) for n in range(ANSWERED + OVERDUE, ANSWERED + OVERDUE + LATER)]
        file = here.folder / "mails.jsonl"
        file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        here.ingest(file)
        until(lambda: len({one.alert_id for one in said(here, AlertRaised)}) >= OVERDUE, 90, "who is overdue is told of", pause_s=1)
        here.wait_until_caught_up(worker, group=CARE)
        here.wait_until_caught_up(worker)
        assert worker.stop() == 0, worker.last_words()
    assert time.time() < now + TARGET_S, "this machine is too slow for this test: what was to be due later is due already"
    return now + TARGET_S


def test_a_log_that_was_moved_folds_to_the_same_tables_and_is_not_told_again(stack: LiveStack, tmp_path: Path) -> None:
    """Rules, clocks and alerts: equal digests; no effect of what was said before; what comes due later is said, once."""
    files = tmp_path / "files"
    with installed(stack, tmp_path, "moved", settle_s=1) as old:
        due = lived(old)
        digests = {group.name: old.digest(group) for group in (VIEW, CARE)}
        done = called(old, "log", "export", str(files), "--workers", "2")
        breached = {one.header.conversation_id for one in said(old, SlaBreached)}
        key_file = old.settings.key_file
        assert done["records"] == done["new_records"] > ANSWERED * 2
        assert called(old, "log", "export", str(files))["new_records"] == 0
        simulated = run(["touchline", "simulate", str(files), "--digest"], old.environment(brokers="nowhere.invalid:9"), old.folder)
        assert {line["group"]: line["digest"] for line in map(json.loads, simulated.stdout.splitlines())} == digests
    assert breached == {f"c-{n}" for n in range(ANSWERED, ANSWERED + OVERDUE)}
    with installed(stack, tmp_path, "moved", settle_s=1, key_file=key_file) as new:
        assert called(new, "log", "import", str(files), "--dry-run")["were_there"] == 0
        done = called(new, "log", "import", str(files))
        assert done["digest_files"] == done["digest_topics"]
        assert (done["appended"], done["undated"]) == (done["records"], 0)
        with new.worker(name="second") as worker:
            new.wait_until_caught_up(worker, group=CARE)
            new.wait_until_caught_up(worker)
            found = {group.name: new.digest(group) for group in (VIEW, CARE)}
            assert time.time() < due, "this machine is too slow for this test: the tables have changed since, rightly"
            assert found == digests
            later = {f"c-{n}" for n in range(ANSWERED + OVERDUE, ANSWERED + OVERDUE + LATER)}
            until(lambda: len(said(new, AlertRaised)) >= LATER, due - time.time() + 60, "who comes due later is told of", pause_s=1)
            new.wait_until_caught_up(worker, group=CARE)
            assert Counter(one.header.conversation_id for one in said(new, SlaBreached)) == Counter(later)
            assert len(said(new, AlertRaised)) == LATER
            assert not said(new, CustomerSnapshot)
            assert publish(new) == 2
            worker.wait_for("config_broadcast", version=2)
            assert not worker.has_logged("config_broadcast", version=1)
            assert called(new, "log", "import", str(files))["already_imported"]
            assert worker.stop() == 0, worker.last_words()


def came(here: Installation, name: str, *visits: tuple[str, list[tuple[str, str]]]) -> dict[str, str]:
    """Let people come by handles, each visit by its id; return under which customer each lies. The worker has stopped then."""
    now, file = time.time(), here.folder / f"{name}.jsonl"
    with file.open("w") as lines:
        for number, (id_, handles) in enumerate(visits):
            customer = [{"kind": kind, "value": value} for kind, value in handles]
            data = {"channel": "portal", "direction": "inbound", "customer": customer, "actor": {"kind": "customer"}, "article": "lamps"}
            line = {"specversion": "1.0", "id": id_, "source": "/portal", "type": "portal.article_viewed", "time": moment(now - 60 + number)}
            lines.write(f"{json.dumps({**line, 'data': data})}\n")
    with here.worker(name=name) as worker:
        here.ingest(file)
        here.wait_until_caught_up(worker)
        assert worker.stop() == 0, worker.last_words()
    ids = {id_ for id_, _ in visits}
    log = stored(here.settings.brokers, [here.settings.topic("interaction")])
    return {event.header.id: one.key.decode() for one in log if isinstance(event := CODEC.decode(one.value), Event) and event.header.id in ids}


def test_whoever_comes_to_a_moved_system_is_who_they_were_and_whoever_was_forgotten_is_new(stack: LiveStack, tmp_path: Path) -> None:
    """Neither the tables nor the keyring were moved: the files say whose a handle is, and the key file how it is found."""
    files, lamp, phone, gone = tmp_path / "files", ("account", "L-1"), ("phone", "+4915112345678"), ("email", "gone@example.org")
    with installed(stack, tmp_path, "people", settle_s=1) as old:
        before = came(old, "first", ("v-1", [lamp, phone]), ("v-2", [gone]))
        done = run(["touchline", "privacy", "erase", "--handle", ":".join(gone), "--reason", "asked", "--no-wait"], old.environment(), old.folder)
        assert done.returncode == 0, done.stderr
        called(old, "log", "export", str(files))
        claims = {(row["kind"], row["hash"]): row for row in old.read(lambda store: store.scan("identity"))}
        key_file = old.settings.key_file
    with installed(stack, tmp_path, "people", settle_s=1, key_file=key_file) as new:
        done_now = called(new, "log", "import", str(files))
        assert (done_now["claims"] >= len(claims), done_now["unnamed"]) == (True, 0)
        found = {(row["kind"], row["hash"]): row for row in new.read(lambda store: store.scan("identity"))}
        assert {key: (row["customer"], row["generation"], row["turn"]) for key, row in found.items()} == {
            key: (row["customer"], row["generation"], row["turn"]) for key, row in claims.items()
        }
        after = came(new, "second", ("v-3", [phone]), ("v-4", [gone]), ("v-5", [lamp]))
        assert before["v-1"] == after["v-3"] == after["v-5"]
        [again] = [customer_of(("acme", *key), 1) for key in claims if key[0] == "email"]
        assert before["v-2"] != after["v-4"] == again


def fill(here: Installation) -> None:
    """Append many small events to the log, and a rulebook's worth of nothing to the rules."""
    producer = Producer(here.settings.brokers)
    topic = here.settings.topic("interaction")
    values = [CODEC.encode(event("received", n, 1000.0 + n)) for n in range(500)]
    for n in range(RECORDS):
        producer.produce(topic, b"c%d" % (n % 500), values[n % 500], partition=n % here.settings.partitions)
    producer.produce(here.settings.topic("config"), b"rules", values[0])
    producer.flush(60)


@contextmanager
def started(here: Installation, *words: str) -> Iterator[Running]:
    with Running(words[1], ["touchline", *words], here.environment(), here.folder) as process:
        yield process


def killed_when(process: Running, reached: Any) -> bool:
    """Kill a process as soon as something is so; False if it ended before."""
    until(lambda: reached() or not process.is_running, 120, "it gets that far", pause_s=0.002)
    was_running = process.is_running
    process.kill()
    return was_running


def export_killed(here: Installation, files: Path) -> None:
    """Export, killed again and again."""
    kills = 0
    for count, workers in ((1, "1"), (2, "2"), (3, "1"), (4, "2")):
        with started(here, "log", "export", str(files), "--workers", workers) as process:
            kills += killed_when(process, lambda: len(list(files.glob("*.avro"))) >= count)  # noqa: B023 - called at once
    done = called(here, "log", "export", str(files))
    assert kills >= 2
    assert done["records"] == RECORDS + 1
    assert not list(files.glob("*.part"))


def import_killed(here: Installation, files: Path) -> None:
    """Import, killed again and again."""
    cluster, topic, kills = here._cluster(), here.settings.topic("interaction"), 0
    assert not sum(cluster.end_offsets([topic]).values())
    for records in (1, RECORDS // 3, RECORDS * 2 // 3):
        with started(here, "log", "import", str(files)) as process:
            kills += killed_when(process, lambda: sum(cluster.end_offsets([topic]).values()) >= records)  # noqa: B023 - called at once
    assert kills >= 2
    began = time.monotonic()
    done = called(here, "log", "import", str(files), within_s=300)
    sys.stdout.write(f"\nimport of the last {done['appended']:,} records, and comparing all: {time.monotonic() - began:.1f} s with its start\n")
    assert done["were_there"] > 0
    assert done["appended"] == RECORDS + 1 - done["were_there"]
    assert done["digest_files"] == done["digest_topics"]


def test_killed_exports_and_imports_go_on_where_they_were(stack: LiveStack, tmp_path: Path) -> None:
    """SIGKILL after each file and in the middle of the topics; in the end every record lies at its own offset. Damage is found and named.

    `pytest -s` prints how long it takes.
    """
    files = tmp_path / "files"
    with installed(stack, tmp_path, "killed") as old:
        fill(old)
        export_killed(old, files)
        for workers in ("1", "2"):
            began = time.monotonic()
            called(old, "log", "export", str(tmp_path / workers), "--workers", workers)
            sys.stdout.write(f"\nexport of {RECORDS:,} records, {workers} processes: {time.monotonic() - began:.1f} s with its start")
        there = {(one.partition, one.offset): one for one in stored(old.settings.brokers, [old.settings.topic("interaction")])}
        here_again = refused(old, "log", "import", str(files))
        assert "holds another record at 0 than the export" in here_again
    with installed(stack, tmp_path, "narrow", partitions=3) as narrow:
        assert "has 3 partitions, and the export 4" in refused(narrow, "log", "import", str(files))
        assert "an export of another log: interaction: 4 partitions are in the files and 3" in refused(narrow, "log", "export", str(files))
    with installed(stack, tmp_path, "killed") as new:
        damaged = files / "interaction-0002-00000000000000000000.avro"
        data = damaged.read_bytes()
        damaged.write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
        assert f"{damaged.name} (records 0 to {RECORDS // 4 - 1}) is not what was exported" in refused(new, "log", "import", str(files))
        damaged.write_bytes(data)
        with new.worker("view") as worker:
            worker.wait_for("consuming")
            assert "Workers are running" in refused(new, "log", "import", str(files))
            assert worker.stop() == 0, worker.last_words()
        import_killed(new, files)
        marks = 0
        for one in stored(new.settings.brokers, [new.settings.topic("interaction")]):
            was = there.pop((one.partition, one.offset), None)
            if was is None:
                marks += 1
                assert one.key == b"log:import"
                continue
            head = CODEC.head(one.value)
            assert one.key == was.key
            assert head.header.appended_at_us == was.timestamp_ms * 1000  # type: ignore[union-attr]
        assert (len(there), marks) == (0, 4)
