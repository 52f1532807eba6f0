"""What a person, or a script, sees of the findings."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure, Grid, Section

__all__ = ["WIDTH", "as_json", "show"]

WIDTH = 130
"""Columns that the widest table takes."""

_MANY = 100


def show(section: Section, console: Console) -> None:
    """Print one section: figures with their targets, then tables, then notes."""
    console.print(f"\n[bold]{section.title}[/]")
    if section.figures:
        table = _table(("figure", "median", "unit", "of runs", "target", ""))
        for figure in section.figures:
            table.add_row(*_row(figure))
        console.print(table)
    for grid in section.grids:
        console.print(_grid(grid))
    for note in section.notes:
        console.print(note, style="dim", soft_wrap=True)


def as_json(sections: Sequence[Section], circumstances: dict[str, object]) -> dict[str, object]:
    """Return everything for `--json`; `missed` names the figures that did not keep to their targets."""
    missed = [f"{section.name}: {figure.name}" for section in sections for figure in section.figures if figure.met is False]
    return {**circumstances, "sections": [section.json() for section in sections], "missed": missed}


def _row(figure: Figure) -> tuple[str, ...]:
    target = f"≤ {figure.at_most:g}" if figure.at_most is not None else f"≥ {figure.at_least:,g}" if figure.at_least is not None else ""
    verdict = {None: "", True: "[green]met[/]", False: "[red]missed[/]"}[figure.met]
    runs = len(figure.values)
    spread = f"{_number(min(figure.values))} to {_number(max(figure.values))} ({runs})" if runs > 1 else ""
    return (figure.name, _number(figure.median), figure.unit, spread, target, verdict)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= _MANY else f"{value:,.2f}"


def _grid(grid: Grid) -> Table:
    table = _table(grid.columns)
    for row in grid.rows:
        table.add_row(*row)
    return table


def _table(columns: Sequence[str]) -> Table:
    """Return an empty table: names to the left, numbers to the right."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table
