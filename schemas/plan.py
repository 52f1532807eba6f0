"""How records of one committed id are read and written: made once per id, so that nothing is looked up or parsed per record."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from schemas.avsc import HEADER, Json, definitions
from schemas.generator import python_name
from schemas.ids import Committed
from schemas.reader import FastavroReader, FastavroWriter, RecordReader
from schemas.record import Event, Record

__all__ = ["Classes", "Plan"]

Classes = Mapping[str, type[Event] | type[Record]]
"""Generated classes by the full names of their Avro records, the nested ones too."""

_Convert = Callable[[Any], Any]


class Plan:
    """One id: `cls` is today's class, `frame` the five bytes before a record, `header` None for records without one.

    The readers return fields by Python names, as the classes take them, and where the record ends; they raise anything for bad bytes.
    """

    __slots__ = ("_body", "_body_changes", "_header", "_header_changes", "_header_class", "_header_writer", "_writer", "cls", "frame", "id", "name")

    def __init__(self, entry: Committed, current: Committed, classes: Classes) -> None:
        self.id = entry.id
        self.name = entry.name
        self.cls = classes[entry.name]
        self.frame = b"\x00" + entry.id.to_bytes(4, "big")
        known = definitions([current.tail])
        self._body: RecordReader = FastavroReader(entry.tail, current.tail)
        self._body_changes = _changes(current.tail, known, classes)
        self._writer = FastavroWriter(entry.full())
        self._header: RecordReader | None = None
        if entry.header is not None:
            self._header = FastavroReader(entry.header, current.header)
            self._header_changes = _changes(current.header, definitions([current.header]), classes)
            self._header_class = classes[HEADER]
            self._header_writer = FastavroWriter(entry.header)

    @property
    def has_header(self) -> bool:
        """Whether the record is an event."""
        return self._header is not None

    def read_header(self, raw: bytes, at: int) -> tuple[Any, int]:
        """Read the header that starts at byte `at`."""
        fields, end = self._header.read(raw, at)  # type: ignore[union-attr] # asked for events only
        for name, python, convert in self._header_changes:
            fields[python] = convert(fields.pop(name))
        return self._header_class(**fields), end

    def read_body(self, raw: bytes, at: int) -> tuple[dict[str, Any], int]:
        """Read what lies behind the header (the whole record where there is none)."""
        fields, end = self._body.read(raw, at)
        for name, python, convert in self._body_changes:
            fields[python] = convert(fields.pop(name))
        return fields, end

    def write(self, record: Event | Record, frame: bytes) -> bytes:
        """Return `frame` and the record's bytes."""
        return self._writer.write(msgspec.to_builtins(record, builtin_types=(bytes,)), frame)

    def write_header(self, header: Record) -> bytes:
        """Return this id's frame and the header's bytes, in the version of the header that this id has."""
        return self._header_writer.write(msgspec.to_builtins(header, builtin_types=(bytes,)), self.frame)


def _changes(record: Json, known: dict[str, Json], classes: Classes) -> tuple[tuple[str, str, _Convert], ...]:
    found = []
    for field in record["fields"]:
        name, convert = field["name"], _convert(field["type"], known, classes)
        if convert is not None or python_name(name) != name:
            found.append((name, python_name(name), convert or _same))
    return tuple(found)


def _convert(schema: Json, known: dict[str, Json], classes: Classes) -> _Convert | None:
    """Return what makes a class's value of fastavro's, or None where they are the same."""
    if isinstance(schema, str):
        return _convert(known[schema], known, classes) if schema in known else None
    if isinstance(schema, list):
        inner = next((found for branch in schema if (found := _convert(branch, known, classes))), None)
        return (lambda value: None if value is None else inner(value)) if inner else None
    if schema["type"] == "array":
        inner = _convert(schema["items"], known, classes)
        return (lambda value: tuple([inner(item) for item in value])) if inner else tuple
    if schema["type"] != "record":
        return None
    return _building(classes[schema["name"]], _changes(schema, known, classes))


def _building(cls: type[Event] | type[Record], changes: tuple[tuple[str, str, _Convert], ...]) -> _Convert:
    if not changes:
        return lambda fields: cls(**fields)

    def build(fields: dict[str, Any]) -> Event | Record:
        for name, python, convert in changes:
            fields[python] = convert(fields.pop(name))
        return cls(**fields)

    return build


def _same(value: Any) -> Any:  # noqa: ANN401 - whatever it is
    return value
