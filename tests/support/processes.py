"""Processes of the product in tests: started, watched by their logs, killed, and never left behind. Knows no settings."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

__all__ = ["READY_S", "Running", "ended", "run", "until"]

READY_S = 90.0
"""How long a worker may take until it consumes: three seconds, unless the machine is very busy."""

_STOP_S = 60.0
_POLL_S = 0.05
_LAST_CHARACTERS = 4000


def until(condition: Callable[[], object], within_s: float, what: str, *, pause_s: float = _POLL_S) -> None:
    """Wait until a condition holds; fail the test with `what` if it does not within `within_s`."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(pause_s)


def run(command: Sequence[str], environment: Mapping[str, str], folder: Path, *, within_s: float = 60.0) -> "subprocess.CompletedProcess[str]":
    """Run a command of the installed product to its end."""
    return subprocess.run(_installed(command), env=dict(environment), cwd=folder, capture_output=True, text=True, timeout=within_s, check=False)


class Running:
    """One process. What it says is appended to `<name>.out` and `<name>.err`, so that all of one name share their logs."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path, *, fed: bool = False) -> None:
        """Start it. With `fed` it reads what is given to `feed`, else nothing."""
        self.name = name
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self._out_from, self._err_from = out.tell(), err.tell()
            self._process = subprocess.Popen(
                _installed(command), env=dict(environment), cwd=folder, stdin=subprocess.PIPE if fed else subprocess.DEVNULL, stdout=out, stderr=err
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def feed(self, data: bytes) -> None:
        """Write to its standard input; waits while it does not read. Fails if it has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise AssertionError(self.last_words()) from None

    def no_more(self) -> None:
        """Close its standard input."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    def kill(self) -> None:
        """End it by SIGKILL; harmless when it has ended."""
        self._process.kill()
        self._process.wait(_STOP_S)
        self.no_more()

    def interrupt(self) -> None:
        """Send SIGINT, as Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def exit_code(self, within_s: float = _STOP_S) -> int:
        """Wait until it has ended and return its exit code."""
        return self._process.wait(within_s)

    def stop(self, within_s: float = _STOP_S) -> int:
        """Interrupt it and return its exit code."""
        self.interrupt()
        return self.exit_code(within_s)

    def said(self) -> str:
        """Return what it has written to standard output."""
        return _read(self.out, self._out_from)

    def log(self) -> list[dict[str, Any]]:
        """Return its structured log so far."""
        lines = _read(self.err, self._err_from).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def last_words(self) -> str:
        """Return the end of what it wrote to standard error."""
        return f"{self.name} (exit {self._process.poll()}): {_read(self.err, self._err_from)[-_LAST_CHARACTERS:]}"

    def has_logged(self, event: str, **fields: object) -> bool:
        """Tell whether it has logged an event with these fields."""
        return any(entry["event"] == event and fields.items() <= entry.items() for entry in self.log())

    def wait_for(self, event: str, within_s: float = READY_S, **fields: object) -> Self:
        """Wait until it has logged an event; ending before that fails the test with its last words."""

        def logged() -> bool:
            if self.has_logged(event, **fields):
                return True
            assert self.is_running, self.last_words()
            return False

        until(logged, within_s, f"{self.name} logs {event}")
        return self


@contextmanager
def ended(*processes: Running) -> Iterator[tuple[Running, ...]]:
    """Make sure that processes are gone in the end, whatever happens."""
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()


def _installed(command: Sequence[str]) -> list[str]:
    """Return the command with its program beside this Python: the installed product, whatever the path says."""
    return [str(Path(sys.executable).with_name(command[0])), *command[1:]]


def _read(path: Path, start: int) -> str:
    with path.open("rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")
