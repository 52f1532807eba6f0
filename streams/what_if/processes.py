"""A what-if over several processes: each folds a share of the partitions, tells how far it is, and hands its figures back.

Children leave Ctrl-C to the parent, which ends them; one whose parent is gone ends with its next word. Must not know what is folded.
"""

import gc
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Final

from streams.carried import Carried
from streams.what_if.report import Side, together
from streams.what_if.what_if import LogSource, Part, Plan, Question, answered
from touchline.errors import TouchlineError

__all__ = ["Opened", "folded"]

Opened = Callable[[], AbstractContextManager[LogSource]]
"""Opens the log; called once per process, so it must be picklable."""

_ENDS_S: Final = 10.0

_Word = int | tuple[Side, Side] | Carried
"""What a process says: so many records more, its figures, or why there are none."""


def folded(plan: Plan, question: Question, opened: Opened, workers: int, told: Callable[[int], None]) -> tuple[Side, Side]:
    """Answer a question by at most so many processes; return (before, after). `told` hears of records as they are read.

    Raises what `answered` raises, `TouchlineError` if a process dies. Whatever happens, none is left behind.
    """
    shares = plan.shares(workers)
    if len(shares) <= 1:
        with opened() as source, _Uncollected():
            return answered(question, plan.as_of_us, shares[0] if shares else (), source, told)
    children: dict[Connection, SpawnProcess] = {}
    try:
        with _uninterrupted():
            for share in shares:
                mine, child = _started(question, plan.as_of_us, share, opened)
                children[mine] = child
        found = _heard(children, told)
    finally:
        for child in children.values():
            child.terminate()
        for child in children.values():
            child.join(_ENDS_S)
    return together(side for side, _ in found), together(side for _, side in found)


def _started(question: Question, as_of_us: int, share: tuple[Part, ...], opened: Opened) -> tuple[Connection, SpawnProcess]:
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_fold_share, args=(theirs, question, as_of_us, share, opened), daemon=True)
    child.start()
    theirs.close()
    return mine, child


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait: a process that is started half would be left behind. Processes that are started meanwhile never hear of it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _heard(children: dict[Connection, SpawnProcess], told: Callable[[int], None]) -> list[tuple[Side, Side]]:
    """Listen to the processes until each has handed over its figures."""
    found: list[tuple[Side, Side]] = []
    waiting = set(children)
    while waiting:
        for end in wait(list(waiting)):
            if not isinstance(end, Connection):
                continue
            try:
                word: _Word = end.recv()
            except EOFError:
                children[end].join(_ENDS_S)
                raise TouchlineError(
                    f"a process of the what-if died (exit {children[end].exitcode}).",
                    next_step="nothing was changed; if memory is short, run it again with fewer --workers.",
                ) from None
            if isinstance(word, int):
                told(word)
            elif isinstance(word, Carried):
                raise word.error()
            else:
                found.append(word)
                waiting.remove(end)
    return found


def _fold_share(said: Connection, question: Question, as_of_us: int, share: tuple[Part, ...], opened: Opened) -> None:
    """Fold a share, in a process of its own."""
    try:
        with opened() as source, _Uncollected():
            said.send(answered(question, as_of_us, share, source, said.send))
    except TouchlineError as error:
        said.send(Carried.of(error))
    except BrokenPipeError:  # nobody is there to hear it
        return


class _Uncollected:
    """Without looking for cycles: what a fold builds stays and forms none; looking took an eighth of the time."""

    def __enter__(self) -> None:
        gc.disable()

    def __exit__(self, *error: object) -> None:
        gc.enable()
