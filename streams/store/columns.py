"""Typed access to the columns of a row that was read: `integer(row, "n")` is an int, or a `Poison` that names the column.

A cell that was never written reads as None; where a default is given it stands for that.
"""

from collections.abc import Mapping

from streams.store.port import CellValue
from touchline.errors import Poison

__all__ = ["Row", "blob", "count_map", "integer", "integer_or_none", "text", "text_map", "text_or_none"]

Row = Mapping[str, CellValue]


def integer(row: Row, column: str, default: int | None = None) -> int:
    """Return an `int` or `bigint` column."""
    value = row[column]
    if value is None and default is not None:
        return default
    if not isinstance(value, int):
        raise _unexpected(column)
    return int(value)


def text(row: Row, column: str, default: str | None = None) -> str:
    """Return a `text` column."""
    value = row[column]
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise _unexpected(column)
    return value


def integer_or_none(row: Row, column: str) -> int | None:
    """Return an `int` or `bigint` column that may be empty."""
    return None if row[column] is None else integer(row, column)


def text_or_none(row: Row, column: str) -> str | None:
    """Return a `text` column that may be empty."""
    return None if row[column] is None else text(row, column)


def blob(row: Row, column: str, default: bytes | None = None) -> bytes:
    """Return a `blob` column."""
    value = row[column]
    if value is None and default is not None:
        return default
    if not isinstance(value, bytes):
        raise _unexpected(column)
    return value


def text_map(row: Row, column: str) -> dict[str, str]:
    """Return a `frozen<map<text,text>>` column; an absent one is empty."""
    value = row[column]
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _unexpected(column)
    return {key: item for key, item in value.items() if isinstance(item, str)}


def count_map(row: Row, column: str) -> dict[str, int]:
    """Return a `frozen<map<text,bigint>>` column; an absent one is empty."""
    value = row[column]
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _unexpected(column)
    return {key: item for key, item in value.items() if isinstance(item, int)}


def _unexpected(column: str) -> Poison:
    return Poison(f"a stored row has nothing usable in its column {column}.", next_step="look at the row; it was not written by this product.")
