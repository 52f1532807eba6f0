"""Whatever is killed, and whenever: the tables come out as if nothing had happened, as `simulate` says they must.

Short by default; `TOUCHLINE_FULL=1` runs 100,000 events and ten kills of each worker. `pytest -s` prints the figures.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from connectors.centre.generator import events, lines, scaled
from connectors.manifest import CHUNK_RECORDS
from deploy.local.testing import LiveStack
from tests.support.harness import Installation, differences, digest_of, installed
from tests.support.personal import opened
from tests.support.processes import until
from tests.support.storm import Storm
from tests.support.topics import ids_on

FULL = os.environ.get("TOUCHLINE_FULL") == "1"
EVENTS = 100_000 if FULL else 12_000
KILLS = 10 if FULL else 3


class Day(NamedTuple):
    """A file of generated events, without its quiet night: the first three in a hundred."""

    file: Path
    events: int


class Calm(NamedTuple):
    """The undisturbed run."""

    here: Installation
    digest: str
    rows: dict[str, list[dict[str, object]]]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    """Write the file."""
    size = scaled(round(EVENTS * 1.05))
    file = tmp_path_factory.mktemp("day") / "day.jsonl"
    with file.open("wb") as out:
        everything = events(20260112, datetime(2026, 1, 12, tzinfo=UTC), size.customers, size.agents, "acme")
        count = lines(islice(everything, EVENTS * 3 // 100, EVENTS * 103 // 100), out)
    return Day(file, count)


@pytest.fixture(scope="module")
def calm(stack: LiveStack, day: Day, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calm]:
    """Ingest and fold the file with nothing in the way."""
    with ExitStack() as ends:
        here = ends.enter_context(installed(stack, tmp_path_factory.mktemp("calm"), "calm"))
        worker = ends.enter_context(here.worker())
        worker.wait_for("consuming", part="resolver").wait_for("consuming", part="view.v1")
        counts = here.ingest(day.file)
        assert (counts["received"], counts["accepted"]) == (day.events, day.events), counts
        here.wait_until_caught_up(worker)
        assert worker.stop() == 0, worker.last_words()
        rows = here.rows()
        yield Calm(here, digest_of(rows), rows)


def test_simulate_comes_to_the_same_tables_as_the_live_workers(calm: Calm, day: Day) -> None:
    shown = [row for row in calm.rows["timeline"] if not row["hidden"]]
    assert len(shown) > day.events / 2, "a digest of next to nothing would prove nothing"
    assert calm.here.simulated_digest(day.file) == calm.digest


def test_the_digest_notices_a_single_event_that_is_missing(calm: Calm, day: Day, tmp_path: Path) -> None:
    """Else the same digest after a storm would prove nothing."""
    whole, short = day.file.read_bytes().splitlines(keepends=True), tmp_path / "short.jsonl"
    lost = next(number for number in range(len(whole) // 2, len(whole)) if b'"type":"message.sent"' in whole[number])
    short.write_bytes(b"".join(whole[:lost] + whole[lost + 1 :]))
    assert calm.here.simulated_digest(short) != calm.digest


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("static", [True, False], ids=["static-membership", "dynamic-membership"])
def test_a_storm_of_kills_during_an_import_changes_nothing(stack: LiveStack, calm: Calm, day: Day, tmp_path: Path, static: bool) -> None:  # noqa: FBT001
    """Resolvers, view workers, the importer, Kafka and Cassandra die by SIGKILL; then the same file comes again a day later."""
    with installed(stack, tmp_path, "storm", key_file=calm.here.settings.key_file) as here:
        storm = Storm(here, day.file, seed=17 + static, kills=KILLS, static=static)
        report = storm.rage()
        assert report.kills == {"resolver": KILLS, "view": KILLS, "kafka": 1, "cassandra": 1, "ingest": 1}

        assert report.counts["received"] == day.events == report.counts["accepted"] + report.counts["duplicate"], report.counts
        sent = ids_on(here.settings.brokers, here.channel_topics)
        assert len(sent) == day.events, "the importer lost something"
        sent_again = sent.total() - len(sent)
        assert sent_again <= 2 * CHUNK_RECORDS, "more than what was under way when the importer was killed"
        log = ids_on(here.settings.brokers, [here.settings.topic("interaction")])
        assert log.keys() == sent.keys(), "the resolver lost something"
        repeats = log.total() - len(log)

        rows = here.rows()
        assert here.read(lambda store: store.scan("parked_customer")) == []
        assert digest_of(rows) == calm.digest, differences(calm.rows, rows)
        sealed = [row for row in rows["timeline"] if row["sealed"] is not None]
        assert len(opened(here, sealed)) == len(sealed), "a key was lost"

        again_with_workers(here, day)
        assert here.digest() == calm.digest
        kind = "static" if static else "dynamic"
        sys.stdout.write(f"\n{kind}: {report}; {sent_again} sent again, {repeats} resolved again, {len(sealed)} sealed parts opened\n")


def again_with_workers(here: Installation, day: Day) -> None:
    """Ingest the same file by the clock of tomorrow: all of it is known, and nothing is appended."""
    with here.worker() as worker:
        before = here.appended()
        counts = here.ingest(day.file, a_day_later=True)
        assert (counts["accepted"], counts["duplicate"]) == (0, day.events), counts
        assert here.appended() == before
        here.wait_until_caught_up(worker)
        assert worker.stop() == 0


def test_an_import_that_is_killed_again_and_again_sends_each_record_once(stack: LiveStack, day: Day, tmp_path: Path) -> None:
    """At full speed, so that chunks are under way when it dies; nobody resolves meanwhile."""
    random = Random(5)  # noqa: S311 - it must be repeatable
    with installed(stack, tmp_path, "resumed") as here:
        killed_under_way = 0
        for share in sorted(random.uniform(0.02, 0.9) for _ in range(5)):
            enough = round(share * day.events)
            with here.ingesting(day.file, "--no-wait") as ingest:
                until(lambda: here.appended() >= enough or not ingest.is_running, 120, f"{enough} records are appended", pause_s=0.01)  # noqa: B023
                killed_under_way += ingest.is_running
                ingest.kill()
        assert killed_under_way >= 2, "it was too fast to be killed"
        counts = here.ingest(day.file, "--no-wait")
        assert counts["received"] == day.events == counts["accepted"] + counts["duplicate"], counts
        sent = ids_on(here.settings.brokers, here.channel_topics)
        assert (len(sent), sent.total()) == (day.events, day.events)
