"""Runs an export: one process or several, one at a time per folder. Knows processes and locks; what is written stands in `export.py`."""

import fcntl
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

import structlog

from streams.carried import Carried
from streams.dealing import deal
from streams.log.export import Job, Written, segments
from streams.log.files import unwritable
from streams.log.reader import LogReader
from touchline.errors import Refused, TouchlineError

__all__ = ["await_orphans", "exclusively", "export"]

log = structlog.get_logger(__name__)

ORPHANS_S: Final = 60.0
"""How long a run waits for the processes of one that was killed: they end with the segment that they are at."""

_POLL_S: Final = 0.2
_WRITERS: Final = ".writers"
"""The file that every process of an export holds while it writes."""

_QUEUED_KBYTES: Final = 32_768


@contextmanager
def exclusively(folder: Path) -> Iterator[None]:
    """Have a folder alone, as far as its file system has locks. Raises `Refused` if another run has it."""
    at = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(at, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"{folder} is in use by another run.", reason="folder_in_use", next_step="wait until it has ended.") from None
        except OSError:  # a file system that has no locks, or none for whom may only read
            log.warning("folder_not_locked", folder=str(folder))
        yield
    finally:
        os.close(at)


def await_orphans(folder: Path) -> None:
    """Wait for what a run that was killed has left running, as far as the file system has locks. Raises `Refused` if it does not end."""
    give_up_s = time.monotonic() + ORPHANS_S
    try:
        held = (folder / _WRITERS).open("wb")
    except OSError as error:
        raise unwritable(folder / _WRITERS, error) from None
    with held as writers:
        while not _locked(writers.fileno()):
            if time.monotonic() > give_up_s:
                raise Refused(
                    f"Processes of an export that was killed still write to {folder}.",
                    reason="folder_in_use",
                    next_step="end them, then run it again.",
                )
            time.sleep(_POLL_S)


def export(brokers: str, folder: Path, todo: Sequence[Job], workers: int, *, written: Callable[[Written], None], tell: Callable[[int], None]) -> None:
    """Export every job, in at most `workers` processes. `written` hears of each segment that is whole, `tell` of records on their way.

    Raises what the first job raises that cannot go on; the others are ended then. What `written` has heard of stays.
    """
    await_orphans(folder)
    shares = deal(todo, lambda job: job.until - job.first, workers)
    if len(shares) == 1:
        for one in _exported(brokers, folder, shares[0], tell):
            written(one)
        return
    context = multiprocessing.get_context("spawn")  # librdkafka's threads do not survive a fork
    running: dict[Connection, BaseProcess] = {}
    process: BaseProcess
    try:
        for share in shares:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(theirs, brokers, folder, share), daemon=True)
            process.start()
            theirs.close()
            running[ours] = process
        while running:
            for ready in wait(list(running)):
                _hear(ready, running, written, tell)  # type: ignore[arg-type] # they are the connections that were given
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.join()


def _hear(ready: Connection, running: dict[Connection, BaseProcess], written: Callable[[Written], None], tell: Callable[[int], None]) -> None:
    try:
        said = ready.recv()
    except EOFError:
        process = running.pop(ready)
        process.join()
        raise TouchlineError(
            f"A process of the export ended by itself (exit {process.exitcode}).", next_step="run the same command again: it goes on where it was."
        ) from None
    if said is None:
        running.pop(ready).join()
    elif isinstance(said, int):
        tell(said)
    elif isinstance(said, Written):
        written(said)
    elif isinstance(said, Carried):
        raise said.error()


def _work(parent: Connection, brokers: str, folder: Path, share: Sequence[Job]) -> None:
    """Be one process: export a share and tell the parent. Ends with the segment that it is at when nobody listens any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to understand
    try:
        with (folder / _WRITERS).open("wb") as writers:
            with suppress(OSError):  # as `exclusively` does without locks
                fcntl.flock(writers, fcntl.LOCK_SH)
            for one in _exported(brokers, folder, share, parent.send):
                parent.send(one)
        parent.send(None)
    except BrokenPipeError:
        os._exit(1)
    except TouchlineError as error:
        parent.send(Carried.of(error))
    except OSError as error:
        parent.send(Carried.of(unwritable(folder, error)))


def _exported(brokers: str, folder: Path, share: Sequence[Job], tell: Callable[[int], None]) -> Iterator[Written]:
    for job in share:
        with LogReader(brokers, job.full, queued_kbytes=_QUEUED_KBYTES) as source:
            yield from segments(source, folder, job, tell=tell)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system that has no locks: `exclusively` has said so
        return True
    return True
