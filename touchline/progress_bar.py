"""How far long work on the log or on a file has come, on standard error: done, rate, time left. Silent where that is no terminal."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

__all__ = ["ProgressBar"]


class ProgressBar:
    """One bar, for one step after the other; a context manager."""

    def __init__(self, *, shown: bool) -> None:
        on = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[said]}"), TimeRemainingColumn())
        self._progress = Progress(*columns, console=on, disable=not (shown and on.is_terminal), transient=True)
        self._task: TaskID | None = None
        self._unit = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def step(self, name: str, total: int | None, unit: str = "records") -> None:
        """Begin a step of so many units (`records`, `bytes`, or `s`: waiting, which has no rate); None: nobody knows how many."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._unit = unit
        self._task = self._progress.add_task(name, total=total, said="")

    def tell(self, done: int) -> None:
        """Hear that so many more are done."""
        if self._task is None:
            return
        task = self._progress.tasks[0]
        per_s = (task.completed + done) / max(task.elapsed or 0.0, 0.1)
        rate = f"{per_s / 1e6:,.0f} MB/s" if self._unit == "bytes" else f"{per_s:,.0f} {self._unit}/s"
        self._progress.update(self._task, advance=done, said="" if self._unit == "s" else rate)
