"""What a fold asks for: a run of copies from one customer to another (log.md §5). Values only; `streams/identity/copying.py` carries it out."""

from collections.abc import Iterable
from typing import NamedTuple

from projections.kernel import Subject

__all__ = ["CopyRun", "joined"]


class CopyRun(NamedTuple):
    """Records that lie under `subject` and are to be copied to the key `to`; they are of customer `home`.

    All records below the offset `below` (0: none of them), as far as they are to be copied, and those at `offsets` beside them.
    `at_us` is the append time of the record that asks for it, or of the last one (epoch µs).
    """

    subject: Subject
    to: str
    home: str
    below: int
    offsets: tuple[int, ...]
    at_us: int


def joined(runs: Iterable[CopyRun]) -> list[CopyRun]:
    """Return one run for each pair of customers and home, in the order in which they were first asked for; offsets in order."""
    found: dict[tuple[Subject, str, str], CopyRun] = {}
    for run in runs:
        at = (run.subject, run.to, run.home)
        old = found.get(at)
        if old is None:
            found[at] = run
        else:
            offsets = tuple(sorted({*old.offsets, *run.offsets}))
            found[at] = CopyRun(*at, max(old.below, run.below), offsets, max(old.at_us, run.at_us))
    return list(found.values())
