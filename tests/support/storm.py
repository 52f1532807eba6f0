"""A storm: everything that runs is killed, again and again, while a file is ingested; each is started again at once.

When to kill is drawn from a seed: after a victim has made progress since its last start, plus a random part of a second. So
every kill hits work under way, however fast or slow the machine is; a storm that finds nothing left to disturb fails.
"""

import json
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.support.harness import Counts, Installation, sums_up
from tests.support.processes import Running, until
from touchline.errors import Misconfigured, Retryable

__all__ = ["Report", "Storm"]

PROGRESS_S = 90.0
DELAY_MAX_S = 0.8
OUTAGE_MAX_S = 3.0


@dataclass
class Report:
    """What was done: kills by victim, seconds that each step took, and the counts of the import that came to the end.

    `restarts` counts workers that a server's outage met while they started.
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


class Storm:
    """One storm over one import. `copies` workers of each group run at a time; with `static` membership a restart takes over at once."""

    def __init__(self, here: Installation, file: Path, *, seed: int, kills: int, speed: float, static: bool) -> None:
        self._here = here
        self._file = file
        self._random = Random(seed)  # noqa: S311 - it must be repeatable
        self._kills = kills
        self._speed = speed
        self._static = static
        self._copies = 1 if static else 2
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
            for step in self._plan():
                since = time.monotonic()
                self._do(step)
                self.report.kills[step] += 1
                self.report.steps.append((step, time.monotonic() - since))
            self._finish()
            self._supervise()
            everybody = [worker for group in self._workers.values() for worker in group]
            self._here.wait_until_caught_up(*everybody)
            for worker in everybody:
                code = worker.stop()
                assert code == 0, worker.last_words()
        self.report.took_s = time.monotonic() - began
        return self.report

    def _plan(self) -> list[str]:
        steps = ["resolver", "view"] * self._kills + ["kafka", "cassandra"]
        self._random.shuffle(steps)
        steps.insert(self._random.randrange(len(steps) // 2, len(steps)), "ingest")
        return steps

    def _do(self, step: str) -> None:
        if step in self._workers:
            self._wait_for_progress(step)
            number = self._random.randrange(self._copies)
            self._workers[step][number].kill()
            self._workers[step][number] = self._worker(step, number)
        elif step == "ingest":
            self._wait_for_progress(step)
            assert self._ingest is not None
            assert self._ingest.is_running, self._ingest.last_words()
            self._ingest.kill()
            self._start_ingest()
        else:
            self._pass(self._random.uniform(0, DELAY_MAX_S))
            self._outages += 1
            self._here.stack.kill(step)
            self._pass(self._random.uniform(0, OUTAGE_MAX_S))
            with suppress(Misconfigured):  # a server that was just spawned is at times taken for dead: repair finds it alive
                self._here.stack.restart(step)
            self._here.stack.repair()
        self._remember()

    def _wait_for_progress(self, victim: str) -> None:
        """Wait until the victim has done something since the last step, and then a random moment more."""

        def moved() -> bool:
            self._supervise()
            with suppress(Retryable):
                return self._progress[victim]() > self._reached.get(victim, 0)
            return False

        until(moved, PROGRESS_S, f"{victim} makes progress; is there anything left to disturb?")
        self._pass(self._random.uniform(0, DELAY_MAX_S))

    def _remember(self) -> None:
        for victim, progress in self._progress.items():
            with suppress(Retryable):
                self._reached[victim] = progress()

    def _finish(self) -> None:
        """End the slow import by Ctrl-C, which may take place after its end, and run it once more, as fast as it goes."""
        assert self._ingest is not None
        code = self._ingest.stop() if self._ingest.is_running else self._ingest.exit_code()
        assert code in {0, 130}, self._ingest.last_words()
        last = self._processes.enter_context(self._here.ingesting(self._file))
        assert last.exit_code(240) == 0, last.last_words()
        self.report.counts = sums_up(json.loads(last.said()))

    def _start_ingest(self) -> None:
        self._ingest = self._processes.enter_context(self._here.ingesting(self._file, "--speed", f"{self._speed:.1f}"))

    def _worker(self, group: str, number: int) -> Running:
        """Start a worker. Small polls: more moments between two of them in which to die."""
        name = f"{group}{number}"
        instance = {"instance_id": f"storm-{name}"} if self._static else {}
        return self._processes.enter_context(self._here.worker(group, name=name, poll_records_max=100, **instance))

    def _supervise(self) -> None:
        """Start again what ended while it started, since a server was away just then; a worker that has begun must never end."""
        for group, workers in self._workers.items():
            for number, worker in enumerate(workers):
                if not worker.is_running:
                    assert self._outages, worker.last_words()
                    assert not worker.has_logged("consuming"), f"it ended by itself: {worker.last_words()}"
                    workers[number] = self._worker(group, number)
                    self.report.restarts += 1

    @staticmethod
    def _pass(seconds: float) -> None:
        due = time.monotonic() + seconds
        until(lambda: time.monotonic() >= due, seconds + 1, "time passes", pause_s=0.01)
