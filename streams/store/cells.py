"""Values as Cassandra's bytes, and back to Python's own types. Shared by both stores; knows neither.

A serialiser takes a value that is not None and returns its bytes, or raises `TypeError`, `ValueError`, `struct.error` or
`AttributeError` for one that the column cannot hold. Maps and sets are written in the order of their keys (of
code points, which is that of UTF-8), so that the same value is always the same bytes.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from projections.tables import Table
from streams.store.port import CellValue
from touchline.errors import Poison

__all__ = [
    "BAD_VALUE",
    "KEY_BYTES_MAX",
    "LENGTHS",
    "SERIALISERS",
    "Serialise",
    "bad_value",
    "key_bytes",
    "routing_key",
    "value_bytes",
    "value_readers",
]

Serialise = Callable[..., bytes]

BAD_VALUE = (TypeError, ValueError, AttributeError, struct.error, OverflowError)
"""What serialisers raise for values that a column cannot hold. Their texts may hold the value: never pass them on."""

KEY_BYTES_MAX = 65_000
"""Largest sum of the values of a primary key; the server's limit is 65,535 with its own framing."""

_INT = struct.Struct(">i")
_BIGINT = struct.Struct(">q")
_DOUBLE = struct.Struct(">d")
_PART = struct.Struct(">H")
_pack_int = _INT.pack

LENGTHS = [_pack_int(length) for length in range(256)]
"""Lengths as the protocol writes them, ready made: half of a short text's cost."""


def _text(value: str) -> bytes:
    return value.encode()


def _blob(value: bytes) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError
    return value


def _boolean(value: bool) -> bytes:  # noqa: FBT001 - a value, not a flag
    if not isinstance(value, bool):
        raise TypeError
    return b"\x01" if value else b"\x00"


def _list(values: Iterable[str]) -> bytes:
    if not isinstance(values, (list, tuple)):
        raise TypeError
    return _counted([value.encode() for value in values], len(values))


def _set(values: Iterable[str]) -> bytes:
    if not isinstance(values, (set, frozenset)):
        raise TypeError
    return _counted([value.encode() for value in sorted(values)], len(values))


def _text_map(values: dict[str, str]) -> bytes:
    parts = []
    for key, value in sorted(values.items()) if len(values) > 1 else values.items():
        parts.append(key.encode())
        parts.append(value.encode())
    return _counted(parts, len(values))


def _blob_map(values: dict[str, bytes]) -> bytes:
    parts = []
    for key, value in sorted(values.items()):
        parts.append(key.encode())
        parts.append(_blob(value))
    return _counted(parts, len(values))


def _count_map(values: dict[str, int]) -> bytes:
    parts = []
    for key, value in sorted(values.items()):
        parts.append(key.encode())
        parts.append(_BIGINT.pack(value))
    return _counted(parts, len(values))


def _counted(parts: list[bytes], count: int) -> bytes:
    pieces = [_pack_int(count)]
    for part in parts:
        length = len(part)
        pieces.append(LENGTHS[length] if length < 256 else _pack_int(length))  # noqa: PLR2004 - the size of the list
        pieces.append(part)
    return b"".join(pieces)


SERIALISERS: dict[str, Serialise] = {
    "text": _text,
    "int": _INT.pack,
    "bigint": _BIGINT.pack,
    "double": _DOUBLE.pack,
    "boolean": _boolean,
    "blob": _blob,
    "frozen<list<text>>": _list,
    "frozen<set<text>>": _set,
    "frozen<map<text,text>>": _text_map,
    "frozen<map<text,blob>>": _blob_map,
    "frozen<map<text,bigint>>": _count_map,
}
"""By column type. `struct`'s own packers check type and range at C speed; so does `str.encode`."""

_READERS: dict[str, Callable[[Any], CellValue]] = {
    "frozen<list<text>>": tuple,
    "frozen<set<text>>": frozenset,
    "frozen<map<text,text>>": lambda found: dict(found.items()),
    "frozen<map<text,blob>>": lambda found: dict(found.items()),
    "frozen<map<text,bigint>>": lambda found: dict(found.items()),
}
"""What the driver's collections become; every other type is passed as it is."""


def bad_value(table: Table, column: str) -> Poison:
    """Return the error for a value that its column cannot hold; the value itself may be personal and is left out."""
    return Poison(
        f"table {table.physical}: a value for column {column} is not a {table.columns.get(column, 'known type')}.",
        next_step="correct the projection or importer that writes it.",
    )


def key_bytes(table: Table, key: tuple[str | int, ...]) -> list[bytes]:
    """Serialise the values of a key or of its beginning. Raises `Poison` for one that its column cannot hold.

    Cassandra takes at most 65,535 bytes, and no empty partition key of one column.
    """
    packed = [value_bytes(table, column, value) for column, value in zip(table.primary_key, key, strict=False)]
    if sum(map(len, packed)) > KEY_BYTES_MAX or (len(table.partition_key) == 1 and not packed[0]):
        raise Poison(
            f"table {table.physical}: a key is empty or larger than {KEY_BYTES_MAX} bytes.", next_step="look at the ids of the record that wrote it."
        )
    return packed


def routing_key(parts: list[bytes]) -> bytes:
    """Return the bytes by which Cassandra knows a partition: the key's only part, or each with its length and a zero byte."""
    if len(parts) == 1:
        return parts[0]
    return b"".join([piece for part in parts for piece in (_PART.pack(len(part)), part, b"\x00")])


def value_bytes(table: Table, column: str, value: CellValue) -> bytes:
    """Serialise one value of a key. Raises `Poison` for one that its column cannot hold."""
    try:
        return SERIALISERS[table.columns[column]](value)
    except BAD_VALUE:
        raise bad_value(table, column) from None


def cell_bytes(table: Table, column: str, value: CellValue) -> bytes | None:
    """Serialise one cell beyond the key; None stays None. Raises `Poison` for a value that its column cannot hold."""
    return None if value is None else value_bytes(table, column, value)


def value_readers(table: Table) -> Callable[[Sequence[Any]], dict[str, CellValue]]:
    """Return what turns a driver's row (all columns of the table, in order) into a dictionary of our own types."""
    columns = list(table.columns)
    special = [(column, _READERS[kind]) for column, kind in table.columns.items() if kind in _READERS]

    def read(row: Sequence[Any]) -> dict[str, CellValue]:
        answer: dict[str, CellValue] = dict(zip(columns, row, strict=True))
        for column, convert in special:
            value = answer[column]
            if value is not None:
                answer[column] = convert(value)
        return answer

    return read
