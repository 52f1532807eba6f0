"""The examples of docs/sla.md: every row of its calendar table is computed again, and every metric has its row."""

import re
from pathlib import Path
from typing import get_args

import pytest

from projections.rules import Metric
from projections.sla.calendar import Calendar
from tests.support.hours import hours, instant, wall

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sla.md").read_text(encoding="utf-8")


def rows(first_column: str) -> list[list[str]]:
    """Return the cells of the table whose first column has this title."""
    table = re.search(rf"^\| {first_column} \|.*?\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1].splitlines()]


@pytest.mark.parametrize("row", rows("zone"), ids=lambda row: f"{row[0]} {row[3]}")
def test_a_worked_example_of_the_page_is_what_the_calendar_says(row: list[str]) -> None:
    timezone, week, exceptions, start, target, due = row
    replaced = {}
    if exceptions != "–":
        dates, _, said = exceptions.rpartition(" ")
        replaced = dict.fromkeys(dates.split(", "), () if said == "closed" else (said,))
    calendar = Calendar(hours(timezone, replaced, **dict([week.split(" ", 1)])))
    found = wall(calendar.due(instant(start, timezone), int(target.removesuffix(" h")) * 3600), timezone)
    assert (found or "")[:16] == due


def test_every_metric_has_its_row() -> None:
    assert [row[0].strip("`") for row in rows("metric")] == list(get_args(Metric))


def test_the_service_levels_of_the_page_follow_from_their_formulas() -> None:
    values = {"A": 1000, "As": 860, "B": 60, "Bs": 20, "Bl": 40, "Bx": 10}
    for _, formula, example in rows("name"):
        above, below = (sum_of(part.strip("()"), values) for part in formula.split("/"))
        assert f"{100 * above / below:.2f} %" == example
    assert len(rows("name")) == 6


def sum_of(part: str, values: dict[str, int]) -> int:
    """Return the value of a sum of names; the page writes a real minus sign."""
    return sum(-values[name] if sign == "-" else values[name] for sign, name in re.findall(r"([+-]?)(\w+)", part.replace("\u2212", "-")))
