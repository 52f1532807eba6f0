"""The seam between the codec and whatever turns Avro bytes into values. Today that is fastavro; a compiled decoder may come.

Avro specification 1.12, "Binary encoding" and "Schema resolution". Knows nothing of framing, ids or our classes.
"""

from io import BytesIO
from typing import Any, Protocol, cast

import fastavro

from schemas.avsc import Json

__all__ = ["FastavroReader", "FastavroWriter", "RecordReader", "RecordWriter"]


class RecordReader(Protocol):
    """Reads one record of one writer schema, resolved to one reader schema."""

    def read(self, raw: bytes, at: int) -> tuple[dict[str, Any], int]:
        """Read the record that starts at byte `at`; return its fields and where it ends. Raises anything for bad bytes."""
        ...


class RecordWriter(Protocol):
    """Writes one record of one schema."""

    def write(self, fields: dict[str, Any], head: bytes = b"") -> bytes:
        """Return `head` followed by the record's bytes. Raises anything for fields that do not fit."""
        ...


class FastavroReader:
    """A `RecordReader` by fastavro. Where writer and reader schema are the same nothing is resolved."""

    __slots__ = ("_reader", "_writer")

    def __init__(self, writer: Json, reader: Json) -> None:
        self._writer = fastavro.parse_schema(writer)
        self._reader = None if writer == reader else fastavro.parse_schema(reader)

    def read(self, raw: bytes, at: int) -> tuple[dict[str, Any], int]:
        """Read one record; see `RecordReader`."""
        stream = BytesIO(raw)  # shares the bytes: nothing is copied
        stream.seek(at)
        fields = fastavro.schemaless_reader(stream, self._writer, self._reader)
        return cast("dict[str, Any]", fields), stream.tell()


class FastavroWriter:
    """A `RecordWriter` by fastavro."""

    __slots__ = ("_schema",)

    def __init__(self, schema: Json) -> None:
        self._schema = fastavro.parse_schema(schema)

    def write(self, fields: dict[str, Any], head: bytes = b"") -> bytes:
        """Write one record; see `RecordWriter`."""
        stream = BytesIO()
        stream.write(head)
        fastavro.schemaless_writer(stream, self._schema, fields)
        return stream.getvalue()
