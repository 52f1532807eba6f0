"""Differences between two versions that are wanted: `customer.facet=satisfaction` says that rows of this facet may differ. Values only.

Three forms: `table` (all of its rows), `table.column` (that column), `table.column=value` (rows in which that column, of the key or
not, has this value).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from projections.tables import Table
from streams.plain import plain_json
from touchline.errors import Refused

__all__ = ["Expectation", "Expectations", "parse_expectation"]

_EXAMPLE: Final = "write `table`, `table.column` or `table.column=value`, for example customer.facet=satisfaction."


class Expectation(msgspec.Struct, frozen=True):
    """One wanted difference. `column` None: the whole table; `value` None: whatever the column holds."""

    text: str
    table: str
    column: str | None = None
    value: str | None = None

    def takes(self, cells: Mapping[str, Any]) -> bool:
        """Tell whether a row of the table may differ as a whole."""
        return self.column is None or (self.value is not None and _text(cells.get(self.column)) == self.value)


class Expectations:
    """All that may differ, by table."""

    def __init__(self, expected: Iterable[Expectation] = ()) -> None:
        self.all = tuple(expected)
        self._rows: dict[str, list[Expectation]] = {}
        self._columns: dict[str, list[Expectation]] = {}
        for one in self.all:
            by_table = self._columns if one.column is not None and one.value is None else self._rows
            by_table.setdefault(one.table, []).append(one)

    def concern(self, table: str) -> bool:
        """Tell whether anything of this table (logical name) may differ."""
        return table in self._rows or table in self._columns

    def of_row(self, table: str, cells: Mapping[str, Any]) -> list[Expectation]:
        """Return those by which this row may differ as a whole."""
        return [one for one in self._rows.get(table, ()) if one.takes(cells)]

    def of_columns(self, table: str, cells: Mapping[str, Any]) -> list[Expectation]:
        """Return those by which a column may differ that this row has."""
        return [one for one in self._columns.get(table, ()) if one.column in cells]

    def covers_table(self, table: str) -> bool:
        """Tell whether all of a table may differ."""
        return any(one.column is None for one in self._rows.get(table, ()))


def parse_expectation(text: str, tables: Mapping[str, Table]) -> Expectation:
    """Read one of the three forms. `tables` are those of both versions, by logical name. Raises `Refused` for what is not in them."""
    place, equals, value = text.partition("=")
    name, dot, column = (part.strip() for part in place.partition("."))
    found = tables.get(name)
    if found is None:
        known = ", ".join(sorted(tables))
        raise Refused(f"--expect {text}: neither version has a table {name} for readers.", reason="expect_form", next_step=f"they have {known}.")
    if not dot and not equals:
        return Expectation(text, name)
    if column not in found.columns:
        known = ", ".join(found.columns)
        raise Refused(f"--expect {text}: the table {name} has no column {column}.", reason="expect_form", next_step=f"it has {known}.")
    if equals and not value.strip():
        raise Refused(f"--expect {text}: there is nothing behind the `=`.", reason="expect_form", next_step=_EXAMPLE)
    return Expectation(text, name, column, value.strip() if equals else None)


def _text(value: object) -> str | None:
    """Return a cell as it is written behind the `=`: texts as they are, anything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(plain_json(value)).decode()
