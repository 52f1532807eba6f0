"""A worker of the product as people start it, in a process of its own: `touchline worker`, with its settings, and its log to read."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, Final

from touchline.errors import TouchlineError
from touchline.settings import Settings

__all__ = ["RunningWorker"]

_PROGRAM: Final = Path(sys.executable).with_name("touchline")
_POLL_S: Final = 0.1
_LINES_SHOWN: Final = 15
_NUMBERS: Final = count()


class RunningWorker:
    """One worker of these groups. `log_level` of the settings must be `info`, for what is waited for is read in its log."""

    def __init__(self, settings: Settings, groups: tuple[str, ...], folder: Path) -> None:
        work = folder / "work"  # Faust leaves a folder per process in the working folder
        work.mkdir(exist_ok=True)
        self._log = work / f"worker-{os.getpid()}-{next(_NUMBERS)}.log"
        given = {f"TOUCHLINE_{name.upper()}": str(value) for name, value in settings.model_dump().items() if value is not None}
        rest = {name: value for name, value in os.environ.items() if not name.startswith("TOUCHLINE_")}
        command = [str(_PROGRAM), "worker", *(word for group in groups for word in ("--group", group))]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, env=rest | given, cwd=work, stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # noqa: S603 - our own

    def kill(self) -> float:
        """End it by SIGKILL; return the moment, epoch s."""
        at = time.time()
        self._process.kill()
        self._process.wait()
        return at

    def logged(self, event: str, **fields: object) -> Iterator[tuple[float, dict[str, Any]]]:
        """Yield the lines of its log for an event with these fields, each with its time in epoch s."""
        for line in self._log.read_text(errors="replace").splitlines():
            if line.startswith("{") and line.endswith("}"):
                said = json.loads(line)
                if said.get("event") == event and fields.items() <= said.items():
                    yield datetime.fromisoformat(said["timestamp"]).timestamp(), said

    def wait_for(self, event: str, within_s: float, **fields: object) -> None:
        """Wait until it has logged an event. Raises `TouchlineError` with its last words if it ends, or does not in time."""
        deadline = time.monotonic() + within_s
        while not any(True for _ in self.logged(event, **fields)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                words = self._log.read_text(errors="replace").splitlines()[-_LINES_SHOWN:]
                raise TouchlineError(f"A worker has not logged {event} (exit {self._process.poll()}):\n" + "\n".join(words))
            time.sleep(_POLL_S)
