"""The public JSON form of what readers and `simulate` hand out: stable names, times UTC with `Z`, bytes as hex. Values only.

A field or column that holds epoch microseconds loses the `_us` of its name: `at_us` 1768208400000000 is `at`
"2026-01-12T09:00:00Z". A span keeps its unit: `consumed_us` 1500000 is `consumed_s` 1.5.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import msgspec

from projections.tables import Table
from schemas.codec import Codec
from schemas.record import Event, Record
from streams.customer_view import AsOf, decoded
from streams.store.columns import Row
from streams.store.port import CellValue
from streams.timeline_row import ConversationRow, TimelineRow

__all__ = ["RowForm", "conversation_json", "event_json", "instant_us", "is_time", "plain_json", "record_json", "summary_json", "utc"]

Json = Any
"""What `msgspec.json` and `json` write as it is."""

_SPANS: Final = frozenset({"consumed_us"})
"""Fields that hold microseconds and are no time."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
_SECOND_US: Final = 1_000_000
_FIRST_US: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _US
_LAST_US: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _US
_SECONDS_CACHED_MAX: Final = 8192


def utc(at_us: int) -> str:
    """Return epoch µs as RFC 3339 in UTC with `Z`; times outside the calendar count as its ends. 0.2 µs for a second seen lately."""
    seconds, rest = divmod(min(max(at_us, _FIRST_US), _LAST_US), _SECOND_US)
    return f"{_second(seconds)}.{rest:06d}Z" if rest else f"{_second(seconds)}Z"


def instant_us(text: str) -> int:
    """Return the epoch µs of an ISO 8601 time with an offset, or of a day (its beginning, UTC). Raises `ValueError` otherwise."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        at = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)  # only a day may be without an offset
    return (at - _EPOCH) // _US


def is_time(column: str, kind: str) -> bool:
    """Tell whether a column holds epoch µs: a bigint named `…_at`, or the `slot` of a figure."""
    return kind == "bigint" and (column.endswith("_at") or column == "slot")


def event_json(row: TimelineRow) -> dict[str, Json]:
    """Return a row of a timeline, without its sealed part."""
    return {
        "at": utc(row.occurred_at_us),
        "event_id": row.event_id,
        "type": row.type,
        "channel": row.channel,
        "direction": row.direction,
        "actor": {"kind": row.actor_kind, "id": row.actor_id},
        "conversation_id": row.conversation_id,
        "contact_id": row.contact_id,
        "case_id": row.case_id,
        "customer_id": row.customer_id,
        "home_customer_id": row.home_customer_id,
        "hidden": row.hidden,
        "summary": row.summary,
    }


def conversation_json(row: ConversationRow) -> dict[str, Json]:
    """Return a conversation."""
    return _struct(row)


def record_json(record: Record | Event | AsOf) -> dict[str, Json]:
    """Return a record, by its Avro names where it has some, without what is sealed."""
    return _struct(record)


def summary_json(summary: Mapping[str, str]) -> dict[str, str]:
    """Return the summary of a row of a timeline as people read it: its times and spans like those of a record."""
    return dict(_summarised(name, value) for name, value in summary.items())


class RowForm:
    """The JSON form of the rows of one table. Columns named `sealed…` are left out, `body` is decoded, `as_of` is typed.

    Columns for which `is_time` holds are times; what is not known is null.
    """

    __slots__ = ("_codec", "_columns", "_key", "_times", "_times_in_key")

    def __init__(self, table: Table, codec: Codec) -> None:
        self._codec = codec
        self._key = table.primary_key
        self._columns = tuple(name for name in table.columns if name not in table.primary_key and not name.startswith("sealed"))
        self._times = frozenset(name for name, kind in table.columns.items() if is_time(name, kind))
        self._times_in_key = [name for name in table.primary_key if name in self._times]

    def of(self, row: Row) -> tuple[dict[str, Json], dict[str, Json]]:
        """Return (key, columns) of a row. Hot path of `simulate`, once per row: 5 µs for a row of the timeline."""
        times = self._times
        key: dict[str, Json] = {name: row[name] for name in self._key}
        for name in self._times_in_key:
            key[name] = _time(row[name])
        columns: dict[str, Json] = {}
        for name in self._columns:
            value = row[name]
            kind = type(value)
            if value is None or kind is str or kind is bool:
                columns[name] = value
            elif kind is int:
                columns[name] = _time(value) if name in times else value
            elif name == "body":
                found = decoded(self._codec, value, row["schema_id"])
                columns[name] = plain_json(value) if found is None else _struct(found)
            elif name == "as_of" and isinstance(value, dict):
                columns[name] = _as_of(value)
            else:
                columns[name] = plain_json(value)
        return key, columns


@lru_cache(maxsize=_SECONDS_CACHED_MAX)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]


def _time(value: CellValue) -> Json:
    return utc(value) if isinstance(value, int) else value


def _seconds(span_us: int | None) -> Json:
    return None if span_us is None else span_us / _SECOND_US


def _as_of(cells: dict[str, Any]) -> Json:
    found = AsOf.of(cells)
    return dict(cells) if found is None else _struct(found)


@lru_cache(maxsize=1024)
def _fields(kind: type[msgspec.Struct]) -> tuple[tuple[str, str, Callable[[Any], Json]], ...]:
    """Return (attribute, name in JSON, what makes JSON of it) of a class; sealed parts are left out."""
    found: list[tuple[str, str, Callable[[Any], Json]]] = []
    for field in msgspec.structs.fields(kind):
        name = field.encode_name
        if name in _SPANS:
            found.append((field.name, f"{name.removesuffix('_us')}_s", _seconds))
        elif not name.startswith("sealed"):
            found.append((field.name, name.removesuffix("_us"), _time if name.endswith("_us") else plain_json))
    return tuple(found)


def _summarised(name: str, value: str) -> tuple[str, str]:
    if not name.endswith("_us") or not value.removeprefix("-").isdecimal():
        return name, value
    bare = name.removesuffix("_us")
    return (f"{bare}_s", str(int(value) / _SECOND_US)) if name in _SPANS else (bare, utc(int(value)))


def _struct(value: msgspec.Struct) -> dict[str, Json]:
    return {name: form(getattr(value, attribute)) for attribute, name, form in _fields(type(value))}


def plain_json(value: Any) -> Json:  # noqa: ANN401 - whatever a record or a column may hold
    """Return any value of a column or a field; records lose what is sealed in them."""
    if isinstance(value, msgspec.Struct):
        return _struct(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple | list):
        return [plain_json(item) for item in value]
    if isinstance(value, dict):
        return {name: plain_json(item) for name, item in value.items()}
    return value
