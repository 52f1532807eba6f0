"""The audit trail on real servers: what is shown is noted first, many write and some are killed, and what is altered is found."""

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from deploy.local.testing import LiveStack
from schemas.codec import Codec
from schemas.events import AuditEntry
from schemas.topics import topics
from streams.audit.heads import Heads
from streams.cluster import Cluster
from tests.support.harness import Installation, installed
from tests.support.processes import Running, ended, run, until
from tests.support.topics import Stored, stored

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CODEC = Codec()
WRITERS, NOTES, KILLED = (8, 150, 4) if os.environ.get("TOUCHLINE_FULL") == "1" else (4, 40, 2)
WRITING = f"""
import asyncio, sys
from touchline.auditing import audited
from touchline.settings import load_settings

async def write():
    async with audited(load_settings()) as trail:
        for n in range({NOTES}):
            await trail.note("opened", tenant="acme", customer=f"{{sys.argv[1]}}-{{n}}", purpose="contact", count=n)
            print(f"{{sys.argv[1]}}-{{n}}", flush=True)

asyncio.run(write())
"""
NAME = re.compile(r"^w\d-\d+$", re.MULTILINE)  # what a writer says of a note that is written; a busy store makes it say other things too
ANN = {"kind": "email", "value": "ann@example.org"}
MAIL = {
    "specversion": "1.0", "id": "m-1", "source": "/mail", "type": "message.received", "time": "2026-01-12T09:00:00Z",
    "data": {"channel": "email", "direction": "inbound", "conversation_id": "c-1", "customer": [ANN], "text": "Where is my parcel?"},
}  # fmt: skip


@pytest.fixture
def here(stack: LiveStack, tmp_path: Path) -> Iterator[Installation]:
    """Give an installation of its own."""
    with installed(stack, tmp_path, "audit") as found:
        yield found


def verify(here: Installation, *, code: int = 0, **settings: object) -> dict[str, Any]:
    """Return what `touchline audit verify` says."""
    done = run(["touchline", "audit", "verify", "--json"], here.environment(**settings), here.folder)
    assert done.returncode == code, (done.stdout, done.stderr)
    return dict(json.loads(done.stdout))


def listed(here: Installation, *options: str) -> list[dict[str, Any]]:
    """Return what `touchline audit list` says."""
    done = run(["touchline", "audit", "list", *options, "--json"], here.environment(), here.folder)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def lying(here: Installation) -> list[Stored]:
    """Return the records of the audit topic, read without the product."""
    return sorted(stored(here.settings.brokers, [here.settings.topic("audit")]), key=lambda one: (one.partition, one.offset))


def test_what_is_shown_was_noted_first_and_what_cannot_be_noted_is_not_shown(here: Installation) -> None:
    file = here.folder / "mail.jsonl"
    file.write_text(f"{json.dumps(MAIL)}\n")
    show = ["touchline", "customer", "show", "--handle", "email:ann@example.org"]
    timeline = ["touchline", "timeline", "--handle", "email:ann@example.org"]
    with here.worker("resolver", "view") as worker:
        worker.wait_for("consuming", part="resolver").wait_for("consuming", part="view.v1")
        here.ingest(file)
        here.wait_until_caught_up(worker)
        assert worker.stop() == 0, worker.last_words()
    assert verify(here)["entries"] == 0
    for command in (show, timeline, [*timeline, "--sealed"]):
        done = run(command, here.environment(operator="ann"), here.folder)
        assert done.returncode == 0, done.stderr
    entries = listed(here, "--actor", "ann")
    assert [(one["action"], one["purpose"], one["count"], one["tenant"]) for one in entries] == [
        ("opened", "contact", 1, "acme"),
        ("opened", "contact", 2, "acme"),
    ]
    assert len({one["customer"] for one in entries}) == 1
    assert (verify(here)["entries"], verify(here)["actors"]) == (2, 1)
    away = run(timeline, here.environment(brokers="127.0.0.1:9"), here.folder, within_s=120)
    assert (away.returncode, away.stdout) == (1, "")
    assert "The audit trail could not be written" in away.stderr
    assert "parcel" not in away.stderr
    assert not any(b"parcel" in one.value or b"ann@" in one.value for one in lying(here))


def test_many_write_and_some_are_killed_and_there_is_one_chain_and_nothing_is_lost(here: Installation) -> None:
    """All of them act for one operator, so that they write to one partition."""
    environment = here.environment()
    writers = [Running(f"writer-{n}", ["python", "-c", WRITING, f"w{n}"], environment, here.folder) for n in range(WRITERS)]
    with ended(*writers):
        for n, writer in enumerate(writers[:KILLED]):
            until(lambda one=writer, notes=3 + 7 * n: len(NAME.findall(one.said())) > notes, 120, f"writer {n} has written something")
            writer.kill()
        for writer in writers[KILLED:]:
            assert writer.exit_code(300) == 0, writer.last_words()
    said = {name for writer in writers for name in NAME.findall(writer.said())}
    noted = run(["python", "-c", WRITING, "last"], environment, here.folder, within_s=300)
    assert noted.returncode == 0, noted.stderr
    found = verify(here)
    assert found["whole"]
    assert sum(one["pending"] for one in found["partitions"]) == 0
    entries = [CODEC.decode(one.value) for one in lying(here)]
    assert said <= {one.customer for one in entries if isinstance(one, AuditEntry)}
    assert len(said) >= (WRITERS - KILLED) * NOTES
    alone = sorted(one.at_us for one in entries if isinstance(one, AuditEntry) and str(one.customer).startswith("last-"))
    repeated, note_ms = sum(one["repeats"] for one in found["partitions"]), (alone[-1] - alone[0]) / (NOTES - 1) / 1000
    sys.stdout.write(f"\n{found['entries']} entries of {WRITERS} writers, {repeated} repeated; {note_ms:.1f} ms per note of one writer alone\n")


def test_one_flipped_byte_a_removed_entry_and_a_tail_cut_off_are_found_on_the_topic(here: Installation) -> None:
    """The topic cannot be altered in place: what is altered is a copy of it under another prefix, beside the same store."""
    noted = run(["python", "-c", WRITING, "w"], here.environment(), here.folder, within_s=300)
    assert noted.returncode == 0, noted.stderr
    assert verify(here)["whole"]
    records = lying(here)
    [partition] = {one.partition for one in records}
    flipped = records[17]._replace(value=bytes([*records[17].value[:-3], records[17].value[-3] ^ 1, *records[17].value[-2:]]))
    copies = {
        "copied": (records, None),
        "flipped": ([*records[:17], flipped, *records[18:]], (17, "altered")),
        "removed": ([*records[:17], *records[18:]], (17, "missing")),
        "cut": (records[:-2], (len(records) - 3, "cut_off")),
    }
    for name, (copy, expected) in copies.items():
        prefix = f"{here.settings.topic_prefix}-{name}"
        [spec] = [one for one in topics(prefix, here.settings.partitions) if one.name == f"{prefix}.audit.v1"]
        Cluster(here.settings.brokers).create_topics([spec])
        producer = Producer({"bootstrap.servers": here.settings.brokers, "enable.idempotence": True})
        for one in copy:
            producer.produce(spec.name, one.value, one.key, partition=partition)
        assert producer.flush(30) == 0
        found = verify(here, code=0 if expected is None else 1, topic_prefix=prefix)
        broken = found["partitions"][partition]["broken"]
        assert (None if broken is None else (broken["offset"], broken["fault"])) == expected, name
    assert verify(here)["whole"]
    head = here.read(lambda store: Heads(store).read(partition))
    assert head is not None
    assert head.entry == records[-1].value
