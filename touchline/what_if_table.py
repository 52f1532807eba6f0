"""A comparison of rules as people read it in a terminal, and as cells for a spreadsheet. Must not know how it was counted."""

import csv
import io
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from rich.console import Console

from streams.plain import utc
from streams.what_if.report import Dimension, Figures, Line, Place, Report
from touchline.terminal import draw_table

__all__ = ["FACTS", "LINES_MAX", "Fact", "caption", "cells", "draw_report", "lines_of", "shown_name"]

LINES_MAX: Final = 20
"""Lines of a table; `--json` and the page have all."""

_NOBODY: Final = "(none)"


class Fact(NamedTuple):
    """One line of the totals: its name, its value, and whether that is a share (of 1)."""

    name: str
    of: Callable[[Figures], float | None]
    is_share: bool = False

    def cells(self, line: Line) -> tuple[str, str, str]:
        """Return (before, after, difference) in words."""
        before, after = self.of(line.before), self.of(line.after)
        change = None if before is None or after is None else after - before
        return _said(before, share=self.is_share), _said(after, share=self.is_share), _said(change, share=self.is_share, signed=True)


FACTS: Final = (
    Fact("clocks", lambda of: of.clocks),
    Fact("met", lambda of: of.met),
    Fact("breached", lambda of: of.breached),
    Fact("cancelled", lambda of: of.cancelled),
    Fact("still running", lambda of: of.running),
    Fact("on time, % of met and breached", lambda of: of.on_time.value, is_share=True),
    Fact("contacts that asked for an answer", lambda of: of.asked),
    Fact("of these answered in time", lambda of: of.answered),
    Fact("recovered: answered too late", lambda of: of.recovered),
    Fact("unanswered", lambda of: of.unanswered),
    Fact("settled without an answer", lambda of: of.settled),
    Fact("still waiting", lambda of: of.waiting),
    Fact("missed: no answer in time", lambda of: of.missed),
    Fact("service level SL-3, %", lambda of: of.service_level.value, is_share=True),
)
"""The totals, in their order."""

_COLUMNS: Final = (
    ("clocks", Fact("", lambda of: of.clocks)),
    ("breached", Fact("", lambda of: of.breached)),
    ("on time %", Fact("", lambda of: of.on_time.value, is_share=True)),
    ("missed", Fact("", lambda of: of.missed)),
    ("SL-3 %", Fact("", lambda of: of.service_level.value, is_share=True)),
)


def draw_report(on: Console, report: Report, by: Dimension) -> None:
    """Draw the totals, then a table of one dimension: the worst change first, weeks in their order."""
    for line in caption(report):
        on.print(line, markup=False)
    on.print()
    total = [(fact.name, *fact.cells(report.total)) for fact in FACTS]
    draw_table(on, ("in all", ">before", ">after", ">difference"), total, heads=1)
    lines = report.lines(by)
    if not lines:
        return
    rows = lines_of(lines if by != "week" else lines[-LINES_MAX:])[:LINES_MAX]
    columns = [name for said, _ in _COLUMNS for name in (f">{said}", ">after", ">±")]
    on.print()
    draw_table(on, (by, *columns), rows, title=f"By {by}{'' if by == 'week' else ', the worst change first'}", heads=1)
    if len(lines) > len(rows):
        on.print(f"... and {len(lines) - len(rows):,} more: --json and --html have all.", style="dim", markup=False)


def caption(report: Report) -> list[str]:
    """Return what was compared, in three lines."""
    since = "the beginning" if report.from_us is None else utc(report.from_us)
    until = "the end" if report.until_us is None else utc(report.until_us)
    return [
        f"Before: {report.before_rules}. After: {report.after_rules}.",
        f"Tenant {report.tenant}: what started from {since} to {until}, as of {utc(report.as_of_us)}; {report.records:,} records were folded twice.",
        f"ISO weeks of {report.zone}. Waits over several queues stand among the metrics only: the wait in each queue is counted already.",
    ]


def lines_of(lines: list[Line]) -> list[tuple[str, ...]]:
    """Return the cells of lines: the name, then before, after and difference of each column."""
    return [(shown_name(line.name), *(cell for _, fact in _COLUMNS for cell in fact.cells(line))) for line in lines]


def shown_name(name: str) -> str:
    """Return a name for people."""
    return name or _NOBODY


def cells(report: Report) -> str:
    """Return every cell as CSV: queue, team, metric, week, then each count before and after."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([*Place._fields, *(f"{name}_{side}" for name in Figures.__struct_fields__ for side in ("before", "after"))])
    none = Figures()
    for place in sorted(report.before.cells.keys() | report.after.cells.keys()):
        before, after = report.before.cells.get(place, none), report.after.cells.get(place, none)
        writer.writerow([*map(_harmless, place), *_counts(before, after)])
    return out.getvalue()


def _counts(before: Figures, after: Figures) -> Iterator[int]:
    for name in Figures.__struct_fields__:
        yield getattr(before, name)
        yield getattr(after, name)


def _harmless(name: str) -> str:
    """Keep a spreadsheet from reading a name as a formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def _said(value: float | None, *, share: bool, signed: bool = False) -> str:
    if value is None:
        return "-"
    sign = "+" if signed and value else ""
    return f"{100 * value:{sign}.1f}" if share else f"{value:{sign},}"
