"""What commands print for people: one console, one kind of table, short times. Must not know what is shown.

In a terminal a table fits: columns that do not fit stand below their row, by name. Without one (a pipe, a file) a row is a line, as
wide as it needs. Nothing is cut either way.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from datetime import tzinfo
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from schemas.record import instant
from streams.excerpts import clean

__all__ = ["WIDTH_MAX", "console", "draw_table", "fits", "moment"]

WIDTH_MAX: Final = 10_000
"""Cells of a line where no terminal sets a limit."""

_GAP: Final = "  "
_INDENT: Final = "  "


def console() -> Console:
    """Return the console of standard output: as wide as its terminal; without one unlimited. `COLUMNS` in the environment wins over both.

    rich alone would take the width of whatever terminal standard input or errors have, else 80, and cut what is piped.
    """
    limited = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return Console(highlight=False, width=None if limited else WIDTH_MAX)


def fits(on: Console) -> bool:
    """Tell whether lines have to fit a width."""
    return on.width < WIDTH_MAX


def draw_table(
    on: Console, columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", heads: int = 0, styles: Sequence[str] = ()
) -> None:
    """Draw rows under the names of their columns, the most important first; those that start with `>` stand right. `styles`: one per row.

    What is too wide goes below its row, from the last column on. With `heads` the first ones go above it instead, where the others
    then fit: for numbers that are to stand below each other. Cells are cleaned, and never read as markup.
    """
    names, right = [name.removeprefix(">") for name in columns], [name.startswith(">") for name in columns]
    cells = [[clean(cell, WIDTH_MAX) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(names, *cells, strict=True)]
    first, last = _on_the_line(widths, on.width, heads)
    indent = _INDENT if first else ""

    def line(row: Sequence[str]) -> str:
        each = zip(row, widths, right, strict=True)
        padded = [" " * (width - cell_len(cell)) + cell if to_right else set_cell_size(cell, width) for cell, width, to_right in each]
        return indent + _GAP.join(padded[first:last]).rstrip()

    if title:
        on.print(Text(title, style="bold"))
    if first:
        on.print(Text(_GAP.join(filter(None, names[:first])), style="bold"))
    on.print(Text(line(names), style="bold"))
    on.print(Text("─" * min(on.width, len(indent) + _width(widths[first:last])), style="dim"))
    for n, row in enumerate(cells):
        style = styles[n] if styles else ""
        if first:
            on.print(Text(_GAP.join(filter(None, row[:first])), style=style))
        on.print(Text(line(row), style=style))
        _draw_below(on, [f"{name} {cell}".strip() for name, cell in zip(names[last:], row[last:], strict=True) if cell])


def moment(at_us: int, beside_us: int, zone: tzinfo | None, *, seconds: bool = False) -> str:
    """Return a time in a zone (None: local) without what it has in common with another one: `09:31`, `01-12 09:31`, `2025-01-12 09:31`."""
    at, beside = instant(at_us).astimezone(zone), instant(beside_us).astimezone(zone)
    day = "" if at.date() == beside.date() else "%m-%d " if at.year == beside.year else "%Y-%m-%d "
    return at.strftime(f"{day}%H:%M:%S" if seconds else f"{day}%H:%M")


def _width(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _on_the_line(widths: Sequence[int], width: int, heads: int) -> tuple[int, int]:
    """Return (first, after the last) of the columns that stand on a row's line: as many as fit, one at least."""
    if heads and _width(widths) > width and len(_INDENT) + _width(widths[heads:]) <= width:
        return heads, len(widths)
    last = len(widths)
    while last > 1 and _width(widths[:last]) > width:
        last -= 1
    return 0, last


def _draw_below(on: Console, parts: Iterable[str]) -> None:
    """Print parts, as many on a line as fit whole; one that is longer than a line is wrapped."""
    width = max(1, on.width - len(_INDENT))
    lines: list[str] = []
    for part in parts:
        together = f"{lines[-1]} · {part}" if lines else part
        if lines and cell_len(together) <= width:
            lines[-1] = together
        else:
            lines.append(part)
    for each in lines:
        for wrapped in Text(each).wrap(on, width):
            on.print(Text(f"{_INDENT}{wrapped.plain.rstrip()}", style="dim"))
