"""The worker process of the demonstration: started, watched, restarted if it dies, stopped."""

import subprocess
import sys
import time
from pathlib import Path

from touchline.errors import TouchlineError

__all__ = ["WorkerProcess"]

STOP_S = 25.0
RESTARTS_MAX = 5


class WorkerProcess:
    """`touchline worker` as a child process; its log goes to a file."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.restarts = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            command = [sys.executable, "-m", "touchline", "worker"]
            self._process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)  # noqa: S603 - our own command

    def watch(self) -> None:
        """Start it again if it died; raises `TouchlineError` after `RESTARTS_MAX` times."""
        if self._process is None or self._process.poll() is None:
            return
        self.restarts += 1
        if self.restarts > RESTARTS_MAX:
            raise TouchlineError(f"the worker died {self.restarts} times.", next_step=f"read the end of {self.log}.")
        self.start()

    def stop(self) -> None:
        """Ask it to finish and wait for it; kill it if it does not."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        deadline = time.monotonic() + STOP_S
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        if process.poll() is None:
            process.kill()
            process.wait()
