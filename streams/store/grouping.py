"""Which rows travel together: the partitions of one replica set, each whole, in requests of a bounded size. Values only."""

from collections.abc import Callable, Hashable, Iterable, Mapping

import msgspec

from streams.store.encoding import TableEncoder
from streams.store.port import RowWrite
from touchline.errors import Poison

__all__ = ["BATCH_BYTES_MAX", "BATCH_ROWS_MAX", "PARTITION_BYTES_MAX", "Chunk", "Part", "chunks", "parts"]

BATCH_ROWS_MAX = 30
"""Rows per request. Beyond 30 a row's share of the request's fixed cost is below 10 %."""

BATCH_BYTES_MAX = 32 * 1024
"""Bytes per request; above 50 KiB an unconfigured server refuses a batch of several partitions."""

PARTITION_BYTES_MAX = 480 * 1024
"""Bytes that the rows of one partition may have in one request.

What is more (a backlog of long mails of one customer) is cut into several requests and is then not atomic; a single row
above it cannot be written.
"""


class Part(msgspec.Struct):
    """The rows of one partition in one write, encoded: what must be written atomically."""

    routing_key: bytes
    table: str
    rows: list[bytes]
    size_bytes: int = 0


class Chunk(msgspec.Struct):
    """One request: whole parts of one replica set. `routing_key` is the first part's and leads to a replica that owns all."""

    routing_key: bytes
    table: str
    rows: list[bytes]
    size_bytes: int


def parts(rows: Iterable[RowWrite], encoders: Mapping[str, TableEncoder]) -> list[Part]:
    """Encode rows and gather those of one partition key, whatever their tables: in one keyspace they are one mutation."""
    found: dict[bytes, Part] = {}
    for row in rows:
        routing_key, encoded = encoders[row.table].encode(row)
        part = found.get(routing_key)
        if part is None:
            part = found[routing_key] = Part(routing_key, row.table, [])
        part.rows.append(encoded)
        part.size_bytes += len(encoded)
    return list(found.values())


def chunks(parts: Iterable[Part], owners: Callable[[bytes], Hashable]) -> list[Chunk]:
    """Group parts by `owners(routing_key)` and cut the groups into requests.

    Raises `Poison` for a row that no request can hold, before anything is sent.
    """
    done: list[Chunk] = []
    open_chunks: dict[Hashable, Chunk] = {}
    for part in parts:
        if part.size_bytes > PARTITION_BYTES_MAX:
            done.extend(_cut(part))
            continue
        owner = owners(part.routing_key)
        chunk = open_chunks.get(owner)
        if chunk is not None and (len(chunk.rows) + len(part.rows) > BATCH_ROWS_MAX or chunk.size_bytes + part.size_bytes > BATCH_BYTES_MAX):
            done.append(chunk)
            chunk = None
        if chunk is None:
            open_chunks[owner] = Chunk(part.routing_key, part.table, part.rows, part.size_bytes)
        else:
            chunk.rows += part.rows
            chunk.size_bytes += part.size_bytes
    done.extend(open_chunks.values())
    return done


def _cut(part: Part) -> list[Chunk]:
    """Cut a part that is too large into requests of whole rows, in order."""
    cut = [Chunk(part.routing_key, part.table, [], 0)]
    for row in part.rows:
        if len(row) > PARTITION_BYTES_MAX:
            raise Poison(
                f"table {part.table}: a row has {len(row)} bytes; at most {PARTITION_BYTES_MAX} can be written.",
                next_step="look at what the projection keeps in its state or rows.",
            )
        if cut[-1].size_bytes + len(row) > PARTITION_BYTES_MAX:
            cut.append(Chunk(part.routing_key, part.table, [], 0))
        cut[-1].rows.append(row)
        cut[-1].size_bytes += len(row)
    return cut
