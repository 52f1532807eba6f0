"""Versions on real servers: which ones a worker runs, and what becomes of it when one of them is paused or retired."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from connectors.centre.generator import events, lines, scaled
from deploy.local.testing import LiveStack
from streams.store.cassandra import CassandraStore
from streams.store.port import GroupVersion
from streams.versions.versions import Promoting, Standing, Versions
from tests.support.harness import Installation, installed
from tests.support.processes import run, until

EVENTS = 300
VIEW_1, VIEW_2 = GroupVersion("view", 1), GroupVersion("view", 2)


@pytest.fixture(scope="module")
def here(stack: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(stack, tmp_path_factory.mktemp("versions"), "ver") as found:
        yield found


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write two files of generated events."""
    size, files = scaled(EVENTS * 4), []
    day = events(20260114, datetime(2026, 1, 14, tzinfo=UTC), size.customers, size.agents, "acme")
    for number in range(2):
        file = tmp_path_factory.mktemp("days") / f"day-{number}.jsonl"
        with file.open("wb") as out:
            assert lines(islice(day, EVENTS), out) == EVENTS
        files.append(file)
    return files


def changed(here: Installation, change: str, *given: Any) -> Standing:
    """Change a version as an operator's command does; return how the group stands then."""

    async def done(store: CassandraStore) -> Standing:
        versions = Versions(store)
        await getattr(versions, change)(*given)
        standing = await versions.read("view")
        assert standing is not None
        return standing

    return here.read(done)


def said(lines: list[dict[str, Any]], event: str, **fields: object) -> int:
    """Count the log lines of an event with these fields."""
    return sum(line["event"] == event and all(line.get(name) == value for name, value in fields.items()) for line in lines)


def test_a_paused_version_stands_still_while_the_worker_goes_on_and_joins_again_when_it_is_resumed(here: Installation, days: list[Path]) -> None:
    with here.worker("resolver", "view") as worker:
        here.ingest(days[0])
        here.wait_until_caught_up(worker)
        standing = here.read(lambda store: Versions(store).read("view"))
        assert standing is not None
        assert (standing.first, standing.active, standing.running) == (1, 1, [1])
        changed(here, "pause", VIEW_1, "somebody looks", 5)
        until(lambda: said(worker.log(), "stands_still", group="view.v1") == 1, 20, "it stands still")
        before = here.folded()
        here.ingest(days[1])
        here.wait_until_caught_up(worker, group=None)
        assert here.folded() == before, "the resolver goes on, the view does not"
        changed(here, "resume", VIEW_1, 6)
        here.wait_until_caught_up(worker)
        assert said(worker.log(), "goes_on", group="view.v1") == 1
        assert here.digest() == here.simulated_digest(*days)
        worker.interrupt()
        assert worker.exit_code() == 0


def test_a_version_that_is_not_in_the_code_is_refused_and_one_that_is_retired_under_a_worker_lets_it_go_on(here: Installation) -> None:
    for words, why in ((["view@2"], "this code has no version 2"), (["resolver", "view@0"], "TOUCHLINE_GROUPS")):
        with here.worker(*words, name="refused") as worker:
            assert worker.exit_code() == 78
            assert why in worker.last_words()
    with here.worker("resolver", "view", name="second") as worker:
        until(lambda: said(worker.log(), "partition_opened", group="view.v1") > 0, 60, "it has partitions")
        read_by(here, 2)  # what is read is never retired
        changed(here, "move", VIEW_1, "shadow", "retired", 9)
        until(lambda: said(worker.log(), "stands_still", group="view.v1", why="retired") == 1, 20, "it stands still")
        assert worker.is_running
        worker.interrupt()
        assert worker.exit_code() == 0
    read_by(here, 1)


def read_by(here: Installation, version: int) -> None:
    """Let readers see another version, as a promotion does in the end."""
    promoting = Promoting(version, f"to-{version}", "ann", 8)
    for change in ("begin_promotion", "end_promotion"):
        changed(here, change, "view", promoting)


def test_migrate_makes_the_tables_of_what_runs_and_nothing_twice(here: Installation) -> None:
    changed(here, "add", VIEW_2, 10)
    done = run(["touchline", "store", "migrate", "--json"], here.environment(), here.folder, within_s=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changed"] is False, "what there is belongs there, and of the version that is new there is no code"
