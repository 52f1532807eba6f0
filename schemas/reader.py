"""The seam between the codec and what turns Avro bytes into values and back: fastavro here, our own functions in `schemas/compiled.py`.

Avro specification 1.12, "Binary encoding" and "Schema resolution". Knows nothing of framing and ids.
"""

from collections.abc import Callable
from io import BytesIO
from typing import Any, Protocol, cast

import fastavro
import msgspec

from schemas.avsc import Json, definitions
from schemas.compiled import Unsupported, compile_reader, compile_writer
from schemas.names import Classes, python_name

__all__ = ["FastavroReader", "FastavroWriter", "RecordReader", "RecordWriter", "reader_of", "writer_of"]

_Convert = Callable[[Any], Any]


class RecordReader(Protocol):
    """Reads one record of one writer schema as the class of one reader schema."""

    def __call__(self, raw: bytes, at: int, header: Any = None, /) -> tuple[Any, int]:  # noqa: ANN401 - the header's class belongs to the schema
        """Read the record that starts at byte `at`; return it and where it ends. An event takes `header` as it is. Bad bytes raise anything."""
        ...


class RecordWriter(Protocol):
    """Writes records of one schema."""

    def __call__(self, record: Any, head: bytes, /) -> bytes:  # noqa: ANN401 - the record's class belongs to the schema
        """Return `head` followed by the record's bytes. Raises anything for values that do not fit."""
        ...


def reader_of(writer: Json, reader: Json, classes: Classes) -> RecordReader:
    """Return the fastest reader there is for these two schemas."""
    try:
        return compile_reader(writer, reader, classes)
    except Unsupported:
        return FastavroReader(writer, reader, classes)


def writer_of(schema: Json, *, current: bool) -> RecordWriter:
    """Return the fastest writer there is. `current` False: the schema is an earlier one than the class."""
    try:
        return compile_writer(schema, current=current)
    except Unsupported:
        return FastavroWriter(schema)


class FastavroReader:
    """A `RecordReader` by fastavro: the oracle of the tests, and the way for schemas that are not compiled."""

    __slots__ = ("_changes", "_cls", "_reader", "_writer")

    def __init__(self, writer: Json, reader: Json, classes: Classes) -> None:
        self._writer = fastavro.parse_schema(writer)
        self._reader = None if writer == reader else fastavro.parse_schema(reader)
        self._cls = classes[reader["name"]]
        self._changes = _changes(reader, definitions([reader]), classes)

    def __call__(self, raw: bytes, at: int, header: Any = None) -> tuple[Any, int]:  # noqa: ANN401 - see RecordReader
        """Read one record; see `RecordReader`."""
        stream = BytesIO(raw)  # shares the bytes: nothing is copied
        stream.seek(at)
        fields = cast("dict[str, Any]", fastavro.schemaless_reader(stream, self._writer, self._reader))
        _changed(fields, self._changes)
        if header is not None:
            fields["header"] = header
        return self._cls(**fields), stream.tell()


class FastavroWriter:
    """A `RecordWriter` by fastavro."""

    __slots__ = ("_schema",)

    def __init__(self, schema: Json) -> None:
        self._schema = fastavro.parse_schema(schema)

    def __call__(self, record: Any, head: bytes) -> bytes:  # noqa: ANN401 - see RecordWriter
        """Write one record; see `RecordWriter`."""
        stream = BytesIO()
        stream.write(head)
        fastavro.schemaless_writer(stream, self._schema, msgspec.to_builtins(record, builtin_types=(bytes,)))
        return stream.getvalue()


def _changes(record: Json, known: dict[str, Json], classes: Classes) -> tuple[tuple[str, str, _Convert], ...]:
    found = []
    for field in record["fields"]:
        name, convert = field["name"], _converter(field["type"], known, classes)
        if convert is not None or python_name(name) != name:
            found.append((name, python_name(name), convert or _same))
    return tuple(found)


def _converter(schema: Json, known: dict[str, Json], classes: Classes) -> _Convert | None:
    """Return what makes a class's value of fastavro's, or None where they are the same."""
    if isinstance(schema, str):
        return _converter(known[schema], known, classes) if schema in known else None
    if isinstance(schema, list):
        inner = next((found for branch in schema if (found := _converter(branch, known, classes))), None)
        return inner and _optional(inner)
    if schema["type"] == "array":
        inner = _converter(schema["items"], known, classes) or _same
        return lambda value: tuple([inner(item) for item in value])
    if schema["type"] != "record":
        return None
    cls, changes = classes[schema["name"]], _changes(schema, known, classes)
    return lambda fields: cls(**_changed(fields, changes))


def _changed(fields: dict[str, Any], changes: tuple[tuple[str, str, _Convert], ...]) -> dict[str, Any]:
    for name, python, convert in changes:
        fields[python] = convert(fields.pop(name))
    return fields


def _optional(inner: _Convert) -> _Convert:
    return lambda value: None if value is None else inner(value)


def _same(value: Any) -> Any:  # noqa: ANN401 - whatever it is
    return value
