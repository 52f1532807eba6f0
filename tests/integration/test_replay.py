"""A build on real servers: SIGKILL at any point, and in the end it is the straight one, which is the live one; and nothing was told."""

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # ships no types
import pytest

from connectors.centre.generator import events, lines, scaled
from deploy.local.testing import LiveStack
from projections.registry import GROUPS, Group
from schemas.topics import topics
from streams.cluster import Cluster
from streams.store.port import GroupVersion
from streams.versions.versions import Standing, Versions
from tests.support.harness import VIEW, Installation, differences, digest_of, installed
from tests.support.next_version import CARE_2, COMMAND, VIEW_2, environment, without_the_facet
from tests.support.processes import Running, run, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

FULL = bool(os.environ.get("TOUCHLINE_FULL"))
EVENTS = 100_000 if FULL else 12_000
KILLS = 20 if FULL else 4
CACHED = 300_000 if FULL else 50_000
CARE = GROUPS["care"]
POLICIES = Path(__file__).resolve().parents[2] / "docs" / "examples" / "policies.toml"
QUIET_S = 6.0


@contextmanager
def lived(stack: LiveStack, folder: Path) -> Iterator[Installation]:
    """Give an installation in which a day has gone by live under v1, wake-ups and all; its worker has left."""
    with installed(stack, folder, "replay", settle_s=1, stop_budget_s=30, cached_subjects_max=CACHED) as here, ExitStack() as ends:
        worker = ends.enter_context(here.worker())
        worker.wait_for("consuming", part="care.v1")
        published = run(["touchline", "config", "publish", str(POLICIES), "--effective-at", "2026-01-01T00:00:00Z"], here.environment(), here.folder)
        assert published.returncode == 0, published.stderr
        size, file = scaled(EVENTS), here.folder / "day.jsonl"
        with file.open("wb") as out:
            lines(events(3, datetime(2026, 1, 12, tzinfo=UTC), size.customers, size.agents, "acme"), out)
        here.ingest(file)
        quiet(here, worker)
        assert worker.stop() == 0, worker.last_words()
        yield here


def quiet(here: Installation, worker: Running) -> None:
    """Wait until nothing waits, and nothing has come for a while: every timer that was overdue has been noticed."""
    last, since = -1, time.monotonic()

    def is_quiet() -> bool:
        nonlocal last, since
        end = sum(log_ends(here).values())
        if end != last:
            last, since = end, time.monotonic()
        return time.monotonic() - since > QUIET_S

    for group in (VIEW, CARE):
        here.wait_until_caught_up(worker, group=group, within_s=1800 if FULL else 240)
    until(is_quiet, 1800 if FULL else 120, "the log is quiet", pause_s=0.5)
    for group in (VIEW, CARE):
        here.wait_until_caught_up(worker, group=group)


def log_ends(here: Installation) -> dict[Any, int]:
    """Return the ends of the log's partitions."""
    return Cluster(here.settings.brokers).end_offsets([here.settings.topic("interaction")])


def all_ends(here: Installation) -> dict[Any, int]:
    """Return the ends of every topic there is, but Faust's own."""
    names = [spec.name for spec in topics(here.settings.topic_prefix) if ".control." not in spec.name]
    return Cluster(here.settings.brokers).end_offsets(names)


def building(here: Installation, group: Group, *options: str) -> Running:
    """Start a build of a version that only the next code has."""
    name = f"{group.name}@{group.version}"
    return Running("build", [*COMMAND, "projection", "build", name, "--json", *options], environment(here.environment()), here.folder)


def built(here: Installation, group: Group, *options: str) -> dict[str, Any]:
    """Build a version to the end and return what it says."""
    build = building(here, group, *options)
    try:
        assert build.exit_code(within_s=3000 if FULL else 300) == 0, build.last_words()
        found = json.loads(build.said())
    finally:
        build.kill()
    assert found["done"]["complete"]
    return found


def children(build: Running) -> list[psutil.Process]:
    """Return the processes of a build that replay."""
    try:
        found = psutil.Process(build.pid).children(recursive=True)
        return [child for child in found if "spawn_main" in " ".join(child.cmdline())]
    except psutil.NoSuchProcess:
        return []


def standing(here: Installation, group: Group) -> Standing:
    """Return how a group stands."""
    found = here.read(lambda store: Versions(store).read(group.name))
    assert found is not None
    return found


def test_a_build_that_is_killed_again_and_again_comes_to_what_was_lived(stack: LiveStack, tmp_path: Path) -> None:
    with lived(stack, tmp_path) as here:
        live = {group.name: here.rows(group) for group in (VIEW, CARE)}
        digests = {name: digest_of(rows, GROUPS[name]) for name, rows in live.items()}
        assert here.checkpoints(CARE)
        before = all_ends(here)

        killed_again_and_again(here, CARE_2, random.Random(5))  # noqa: S311 - repeatable
        assert_same(here, CARE_2, live["care"], digests["care"])
        found = built(here, VIEW_2, "--workers", "2")
        assert found["done"]["withheld"] > 0, "the view publishes snapshots: a build has counted what it did not send"
        assert digest_of(without_the_facet(here.rows(VIEW_2)), VIEW_2) == digests["view"]
        assert any(row["facet"] == "reach" for row in here.rows(VIEW_2)["customer"])
        assert all_ends(here) == before, "a build appends nothing anywhere"
        for group in (VIEW_2, CARE_2):
            assert (standing(here, group).state(2), standing(here, group).active) == ("shadow", 1)

        refused = run([*COMMAND, "projection", "build", "care@2"], environment(here.environment()), here.folder)
        assert (refused.returncode, "shadow" in refused.stderr) == (1, True)
        straight_in_empty_tables(here, digests["care"], before)


def killed_again_and_again(here: Installation, group: Group, rng: random.Random) -> None:
    """Kill a build, whole or one of its processes, at random points; then let it come to its end."""
    slowly = ("--workers", "2", "--max-rate", str(EVENTS / (120 if FULL else 20)))
    for number in range(KILLS):
        build = building(here, group, *slowly)
        try:
            until(lambda: len(children(build)) == 2 or not build.is_running, 60, "its processes run")  # noqa: B023 - called at once
            time.sleep(rng.uniform(0.5, 4.0))
            victims = children(build)
            if number % 2 and victims:
                rng.choice(victims).send_signal(signal.SIGKILL)
                code = build.exit_code()
                assert code in {0, 1}, build.last_words()
                assert code == 0 or "ended with -9" in build.last_words()
            build.kill()
            gone = [victim for victim in victims if victim.is_running()]
            psutil.wait_procs(gone, timeout=10)
            assert not any(victim.is_running() for victim in gone), "a process has outlived its parent"
        finally:
            build.kill()
        if standing(here, group).state(group.version) == "shadow":
            raise AssertionError("it was never killed in time: kill it earlier")
    interrupted = building(here, group, *slowly)
    try:
        until(lambda: len(children(interrupted)) == 2, 60, "its processes run")
        time.sleep(2)
        assert interrupted.stop() == 130, interrupted.last_words()
    finally:
        interrupted.kill()
    built(here, group, "--workers", "2")


def straight_in_empty_tables(here: Installation, digest: str, before: dict[Any, int]) -> None:
    """Build the same version of a group that never ran here, without any interruption: the same again, and nobody is active."""
    beside = replace(here, settings=here.settings.model_copy(update={"keyspace": f"{here.settings.keyspace}_b"}))
    beside.create()
    try:
        planned = run([*COMMAND, "projection", "plan", "care@2", "--json"], environment(beside.environment()), beside.folder)
        assert json.loads(planned.stdout)["records"] == sum(log_ends(here).values())
        assert beside.read(lambda store: Versions(store).read("care")) is None, "a plan changes nothing"
        built(beside, CARE_2, "--workers", "1")
        assert digest_of(beside.rows(CARE_2), CARE_2) == digest
        found = standing(beside, CARE_2)
        assert (found.first, found.active, found.state(2)) == (0, 0, "shadow")
        waiting = beside.read(lambda store: store.scan("care_v2_timer"))
        assert all(row["expires_at"] > 0 for row in waiting)
        assert all_ends(here) == before
    finally:
        beside.remove_keyspace()


def assert_same(here: Installation, group: Group, rows: dict[str, Any], digest: str) -> None:
    """Compare a version with what was lived."""
    found = here.rows(group)
    assert digest_of(found, group) == digest, differences(rows, found, group)
    checkpoints = here.read(lambda store: store.load_checkpoints(GroupVersion(group.name, group.version)))
    assert not any(checkpoint.active for checkpoint in checkpoints.values())
