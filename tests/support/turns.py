"""A story of two versions on real servers: an installation with a worker for each, events that flow, and who promotes."""

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any, Final
from urllib.request import urlopen

from projections.registry import GROUPS
from streams.versions.versions import Standing, Versions
from tests.support import next_version
from tests.support.harness import VIEW, Installation
from tests.support.next_version import CARE_2, VIEW_2
from tests.support.processes import Running, run
from tests.support.simulating import asked, replied

__all__ = ["CARE", "TARGET_S", "Flow", "Story", "mails"]

CARE: Final = GROUPS["care"]
TARGET_S: Final = 7200

LEAD_S: Final = 6.0
"""How long before it is due a mail of the flow comes in."""

OLD: Final = 1_000_000
"""The number of the first customer whose mails were answered long ago."""

FLOW: Final = range(10_000_000, 10_000_006)
"""Customers who write all the time: few, so that most partitions are idle but for their timers."""


def moment(at: float) -> str:
    """Return epoch seconds as RFC 3339."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Story:
    """An installation, its two workers, and the commands of the one who promotes."""

    def __init__(self, here: Installation) -> None:
        self.here = here
        self.ports = {1: free_port(), 2: free_port()}
        self.said: list[str] = []

    # -- commands

    def touchline(self, *arguments: str, code: int = 0, within_s: float = 300.0) -> Any:
        """Run `touchline projection ...` by the code of tomorrow and return what it printed as JSON (of a refusal: what it said)."""
        done = run(self._command(*arguments), self.environment(), self.here.folder, within_s=within_s)
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        if code:
            return done.stdout + done.stderr
        return json.loads(done.stdout)

    def starting(self, name: str, *arguments: str) -> Running:
        """Start the same and let it run."""
        return Running(name, self._command(*arguments), self.environment(), self.here.folder)

    def old_worker(self) -> Running:
        """Start the worker of today: everything, in version 1."""
        return self.here.worker(name="today", metrics_port=self.ports[1])

    def new_worker(self) -> Running:
        """Start a worker of tomorrow's versions alone."""
        command = [*next_version.COMMAND, "worker", "--group", "view@2", "--group", "care@2"]
        return Running("tomorrow", command, self.environment(metrics_port=self.ports[2]), self.here.folder)

    def standing(self, name: str = "care") -> Standing:
        """Return how a group stands."""
        found = self.here.read(lambda store: Versions(store).read(name))
        assert found is not None
        return found

    def sent(self, version: int) -> int:
        """Return how many effects of care a version has sent, as its worker counts them."""
        with urlopen(f"http://127.0.0.1:{self.ports[version]}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        mine = f'touchline_effects_total{{group="care",result="sent",version="{version}"}} '
        return round(sum(float(line.removeprefix(mine)) for line in lines if line.startswith(mine)))

    def is_level(self, version: int) -> bool:
        """Tell whether both groups of a version are at the end of the log."""
        groups = (VIEW, CARE) if version == 1 else (VIEW_2, CARE_2)
        return all(self.here.is_caught_up(group) for group in groups)

    def _command(self, *arguments: str) -> list[str]:
        return [*next_version.COMMAND, "projection", *arguments, "--json"]

    def environment(self, **settings: object) -> dict[str, str]:
        """Return the environment of a process with the code of tomorrow."""
        return next_version.environment(self.here.environment(**settings))


class Flow:
    """Feeds an importer in a thread of its own: customers who write and are answered all the time, and mails that come due soon."""

    def __init__(self, here: Installation, per_s: float) -> None:
        self._ingest = here.ingesting(None, "--format", "events", "--no-wait")
        self._due: list[tuple[int, float]] = []
        self._lock = threading.Lock()
        self._per_s = per_s
        self._stop = threading.Event()
        self.sent = 0
        self.failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def expect(self, due: Mapping[int, float]) -> None:
        """Let these mails come in too, each shortly before it is due (epoch seconds)."""
        with self._lock:
            self._due = sorted([*self._due, *due.items()], key=lambda one: one[1])

    def end(self) -> None:
        """Stop, and wait until what was fed is in the log's hands."""
        self._stop.set()
        self._thread.join(60)
        assert self.failed is None, self.failed
        assert not self._due, "all timers that were to come in came in"
        assert self._ingest.exit_code(120) == 0, self._ingest.last_words()

    def kill(self) -> None:
        """End it, whatever happened."""
        self._stop.set()
        self._ingest.kill()

    def _run(self) -> None:
        try:
            began = time.monotonic()
            while not self._stop.is_set():
                lines = []
                with self._lock:
                    while self._due and self._due[0][1] - LEAD_S < time.time():
                        number, at = self._due.pop(0)
                        lines.append(in_conversation(asked(FLOW[number % len(FLOW)], moment(at - TARGET_S)), f"c-{number}"))
                while self.sent < (time.monotonic() - began) * self._per_s:
                    lines.append(written(self.sent))
                    self.sent += 1
                if lines:
                    self._ingest.feed("".join(f"{json.dumps(line)}\n" for line in lines).encode())
                time.sleep(0.05)
            self._ingest.no_more()
        except BaseException as error:  # noqa: BLE001 - asserted where the flow ends
            self.failed = error


def written(number: int) -> dict[str, Any]:
    """Return the event `number` of the flow: a customer writes, and is answered by the next of theirs."""
    customer = FLOW[number // 2 % len(FLOW)]
    line = (asked if number % 2 == 0 else replied)(customer, moment(time.time() - 60 + number % 2))
    return in_conversation(line, f"f-{number // 2}")


def mails(random: Random, events: int, due: Mapping[int, float], from_s: float) -> Iterator[dict[str, Any]]:
    """Yield those that nobody answers with when they are due, and mails that were answered at once: `events` in all."""
    yield from (asked(number, moment(at - TARGET_S)) for number, at in due.items())
    pairs = (events - len(due)) // 2
    customers = max(pairs // 5, 1)
    for number in range(pairs):
        at = from_s - 5400 + random.random() * 3600
        pair = asked(OLD + number % customers, moment(at)), replied(OLD + number % customers, moment(at + 10))
        yield from (in_conversation(line, f"old-{number}") for line in pair)


def in_conversation(line: dict[str, Any], conversation: str) -> dict[str, Any]:
    """Return an event as one of another conversation."""
    return {**line, "id": f"{line['type']}-{conversation}", "data": {**line["data"], "conversation_id": conversation}}
