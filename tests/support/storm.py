"""A storm: everything that runs is killed, again and again, while a file is ingested; each is started again at once.

Before each kill the importer is given some chunks more to do. The kill falls, by a seed, into a random moment after its victim
has begun on them: so it hits work under way, however fast or slow the machine is.
"""

import json
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from connectors.manifest import CHUNK_RECORDS
from tests.support.harness import Counts, Installation, sums_up
from tests.support.processes import READY_S, Running, until
from touchline.errors import Misconfigured, Retryable

__all__ = ["Report", "Storm"]

PROGRESS_S = 120.0
DELAY_MAX_S = 0.4
OUTAGE_MAX_S = 3.0
IMPORT_S = 300.0
REST_S = 900.0


@dataclass
class Report:
    """What was done: kills by victim, seconds that each step took, and the counts of the import that came to the end.

    `restarts` counts workers that a server's outage ended.
    """

    kills: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    steps: list[tuple[str, float]] = field(default_factory=list)
    counts: Counts = field(default_factory=dict)
    took_s: float = 0.0

    def __str__(self) -> str:
        steps = " ".join(f"{name}:{took_s:.1f}" for name, took_s in self.steps)
        counts = {name: self.counts.get(name) for name in ("received", "accepted", "duplicate", "quarantined", "refused")}
        return f"kills {dict(self.kills)}, {self.restarts} restarts in {self.took_s:.0f} s; import {counts}; steps (s): {steps}"


def was_fenced(worker: Running) -> bool:
    """Tell whether a worker ended because its broker knows its membership by another id."""
    return any(entry["event"] == "worker_ends" and "fenced" in entry["reason"] for entry in worker.log())


class Storm:
    """One storm over one import. With `static` membership a restarted worker takes over at once; without, two of each group share the work."""

    def __init__(self, here: Installation, file: Path, *, seed: int, kills: int, static: bool) -> None:
        self._here = here
        self._lines = file.read_bytes().splitlines(keepends=True)
        self._random = Random(seed)  # noqa: S311 - it must be repeatable
        self._static = static
        self._copies = 1 if static else 2
        self._plan = ["resolver", "view"] * kills + ["kafka", "cassandra", "ingest"]
        self._random.shuffle(self._plan)
        self._dose = CHUNK_RECORDS * max(1, len(self._lines) // CHUNK_RECORDS // (len(self._plan) + 1))
        self._given = 0
        self._workers: dict[str, list[Running]] = {}
        self._ingest: Running | None = None
        self._reached: dict[str, int] = {}
        self._outages = 0
        self._progress: dict[str, Callable[[], int]] = {"resolver": here.resolved, "view": here.folded, "ingest": here.appended}
        self._processes = ExitStack()
        self.report = Report()

    def rage(self) -> Report:
        """Do everything: start, kill, finish the import, wait until all is folded, stop. Workers must end well in the end."""
        began = time.monotonic()
        with self._processes:
            for group in ("resolver", "view"):
                self._workers[group] = [self._worker(group, number) for number in range(self._copies)]
            self._start_ingest()
            for step in self._plan:
                since = time.monotonic()
                self._do(step)
                self.report.kills[step] += 1
                self.report.steps.append((step, time.monotonic() - since))
            self._finish()
        self.report.took_s = time.monotonic() - began
        return self.report

    def _do(self, step: str) -> None:
        self._remember()
        self._give(self._given + self._dose)
        if step in {"kafka", "cassandra"}:
            self._pass(self._random.uniform(0, DELAY_MAX_S))
            self._outages += 1
            self._here.stack.kill(step)
            self._pass(self._random.uniform(0, OUTAGE_MAX_S))
            with suppress(Misconfigured):  # a server that was just spawned is at times taken for dead: repair finds it alive
                self._here.stack.restart(step)
            self._here.stack.repair()
            return
        self._wait_for_progress(step)
        if step == "ingest":
            assert self._ingest is not None
            assert self._ingest.is_running, self._ingest.last_words()
            self._ingest.kill()
            self._start_ingest()
        else:
            number = self._random.randrange(self._copies)
            self._workers[step][number].kill()
            self._workers[step][number] = self._worker(step, number)

    def _remember(self) -> None:
        for victim, progress in self._progress.items():
            with suppress(Retryable):
                self._reached[victim] = progress()

    def _wait_for_progress(self, victim: str) -> None:
        """Wait until the victim has done something since the step began, and then a random moment more."""

        def moved() -> bool:
            self._supervise()
            with suppress(Retryable):
                return self._progress[victim]() > self._reached.get(victim, 0)
            return False

        until(moved, PROGRESS_S, f"{victim} makes progress")
        self._pass(self._random.uniform(0, DELAY_MAX_S))

    def _supervise(self) -> None:
        """Do what a supervisor does: start again what a server's outage ended.

        That may be a worker that was only starting, or a static member that was fenced: when a broker dies while a member joins, the
        member may be known there by an id that it never got to know. Anything else fails.
        """
        for group, workers in self._workers.items():
            for number, worker in enumerate(workers):
                if not worker.is_running:
                    assert self._outages, worker.last_words()
                    assert was_fenced(worker) or not worker.has_logged("consuming"), f"it ended by itself: {worker.last_words()}"
                    workers[number] = self._worker(group, number)
                    self.report.restarts += 1

    def _finish(self) -> None:
        assert self._ingest is not None
        self._give(len(self._lines))
        self._ingest.no_more()
        until(lambda: self._supervise() or not self._ingest_runs(), IMPORT_S, "the import ends")
        assert self._ingest.exit_code() == 0, self._ingest.last_words()
        self.report.counts = sums_up(json.loads(self._ingest.said()))
        self._supervise()
        for worker in (worker for workers in self._workers.values() for worker in workers):
            until(lambda: worker.has_logged("consuming") or not worker.is_running, READY_S, f"{worker.name} works or has ended")  # noqa: B023
            assert worker.stop() == 0 or (self._outages and was_fenced(worker)), worker.last_words()
        with self._here.worker(name="last") as last:  # polls of the usual size: what is left goes faster
            self._here.wait_until_caught_up(last, within_s=REST_S)
            assert last.stop() == 0, last.last_words()

    def _ingest_runs(self) -> bool:
        return self._ingest is not None and self._ingest.is_running

    def _give(self, upto: int) -> None:
        assert self._ingest is not None
        self._ingest.feed(b"".join(self._lines[self._given : upto]))
        self._given = min(upto, len(self._lines))

    def _start_ingest(self) -> None:
        """Start the importer, from the first line again: it must find out by itself what has been sent."""
        self._ingest = self._processes.enter_context(self._here.ingesting(None, "--format", "events", "--no-wait"))
        given, self._given = self._given, 0
        self._give(given)

    def _worker(self, group: str, number: int) -> Running:
        """Start a worker. Small polls: more moments between two of them in which to die."""
        name = f"{group}{number}"
        instance = {"instance_id": f"storm-{name}"} if self._static else {}
        return self._processes.enter_context(self._here.worker(group, name=name, poll_records_max=50, **instance))

    @staticmethod
    def _pass(seconds: float) -> None:
        due = time.monotonic() + seconds
        until(lambda: time.monotonic() >= due, seconds + 1, "time passes", pause_s=0.01)
