"""Processes that outlive the command that started them, each with a pid file.

A pid alone proves nothing: the system reuses it. Each of our processes therefore carries a mark in its command line (the server's name and
the stack's folder); a pid counts only if its command line has the mark. The same mark finds a process whose pid file was lost.
"""

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types

__all__ = [
    "Life",
    "argument",
    "find",
    "is_alive",
    "is_dying",
    "last_words",
    "life_of",
    "listens",
    "read_pid",
    "signal_and_wait",
    "spawn",
    "wait_while_dying",
    "write_pid",
]

_POLL_S = 0.05
_SHOWN_S = 10.0
_TAIL_BYTES = 64 * 1024
_ALTERS_JAVA = frozenset({"CLASSPATH", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"})
"""Variables that would change the servers behind our back."""


@dataclass(frozen=True, slots=True)
class Life:
    """What the system says about a living process. `started_at` is in Unix seconds."""

    pid: int
    started_at: float
    rss_bytes: int


def spawn(command: Sequence[str], log: Path) -> int:
    """Start a process in a session of its own, so that Ctrl-C here does not reach it, and return its pid. Its output goes to `log`."""
    if log.exists():
        log.replace(log.with_suffix(".log.1"))  # the last run's words, kept once
    environment = {name: value for name, value in os.environ.items() if name not in _ALTERS_JAVA}
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # posix_spawn and not subprocess: a Popen that is dropped while its process lives on warns about it.
    pid = os.posix_spawn(
        command[0],
        list(command),
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    _wait_for_command_line(pid)
    return pid


def _wait_for_command_line(pid: int) -> None:
    """Wait until the system shows the new process's command line: for a moment after exec it is empty, longer on a busy machine.

    Asked in that moment, a server that was just started would count as ended.
    """
    deadline = time.monotonic() + _SHOWN_S
    while time.monotonic() < deadline:
        try:
            found = psutil.Process(pid)
            if found.cmdline() or found.status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.Error:
            return
        time.sleep(0.001)


def is_alive(pid: int, mark: str) -> bool:
    """Tell whether `pid` is a living process of ours that carries `mark`."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # if it is our own child and dead, let the system forget it
    try:
        return mark in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False


def listens(pid: int, port: int) -> bool:
    """Tell whether this very process listens on a TCP port of this machine."""
    try:
        found = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return False
    return any(connection.status == psutil.CONN_LISTEN and connection.laddr.port == port for connection in found)


def is_dying(pid: int) -> bool:
    """Tell whether `pid` has lost its command line but not yet its sockets: a killed JVM needs some tenths of a second for that."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return bool(process.num_threads() > 1)  # with one thread it has closed everything and waits for its parent to look
        return not process.cmdline()
    except psutil.ZombieProcess:
        return True  # it turned between the two questions: look again
    except psutil.Error:
        return False


def wait_while_dying(pid: int, wait_s: float) -> None:
    """Wait until a dying process has let go of its ports."""
    deadline = time.monotonic() + wait_s
    while is_dying(pid) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def find(mark: str) -> list[int]:
    """Return the pids of all processes whose command line has `mark`."""
    return [process.pid for process in psutil.process_iter(["cmdline"]) if mark in (process.info["cmdline"] or ())]


def argument(pid: int, prefix: str) -> str | None:
    """Return what follows `prefix` in the process's command line, or None."""
    try:
        return next((word.removeprefix(prefix) for word in psutil.Process(pid).cmdline() if word.startswith(prefix)), None)
    except psutil.Error:
        return None


def life_of(pid: int) -> Life | None:
    """Return start and memory of a process, or None if it is gone."""
    try:
        process = psutil.Process(pid)
        return Life(pid, process.create_time(), process.memory_info().rss)
    except psutil.Error:
        return None


def signal_and_wait(pid: int, mark: str, sent: signal.Signals, wait_s: float) -> bool:
    """Send a signal and wait until the process is gone. False if it still lives after `wait_s`."""
    if is_alive(pid, mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sent)
    deadline = time.monotonic() + wait_s
    while is_alive(pid, mark):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    wait_while_dying(pid, max(0.0, deadline - time.monotonic()))
    return True


def write_pid(file: Path, pid: int) -> None:
    """Write a pid file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{pid}\n")


def read_pid(file: Path) -> int | None:
    """Read a pid file; None if there is none or it is not a number."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def last_words(log: Path) -> str:
    """Return what of a log best says why its process ended: the last line that names an error and the one after it, else the last at all."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return "(no log)"
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(("\t", "    at "))]
    telling = [number for number, line in enumerate(lines) if any(word in line for word in ("ERROR", "FATAL", "Exception", "Error"))]
    words = lines[telling[-1] : telling[-1] + 2] if telling else lines[-1:]
    return " ".join(words)[:400] or "(nothing)"
