"""What importers have sent, in the tables `ingest_manifest` and `ingest_note`: the store behind `connectors/manifest.py`.

Streams may not import connectors, so the two value classes come in: `Manifests(store, KnownChunk, Note)` is a `ManifestStore`.
"""

from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

from streams.store.columns import blob, integer, text, text_map
from streams.store.port import CellValue, RowWrite, Store
from streams.store.ticks import Ticks

__all__ = ["Chunk", "Manifests", "Note"]


class Chunk(Protocol):
    """A chunk of a file that was accepted: its keyed hash, which chunk of the file, its records, the places left out."""

    @property
    def chunk_hash(self) -> bytes: ...  # noqa: D102 - see the class
    @property
    def position(self) -> int: ...  # noqa: D102
    @property
    def records(self) -> int: ...  # noqa: D102
    @property
    def left_out(self) -> tuple[int, ...]: ...  # noqa: D102


class Note(Protocol):
    """An import under way: offsets by topic and partition, and what is added to its event times, in µs."""

    @property
    def offsets(self) -> Mapping[str, Mapping[int, int]]: ...  # noqa: D102 - see the class
    @property
    def shift_us(self) -> int: ...  # noqa: D102


C = TypeVar("C", bound=Chunk)
N = TypeVar("N", bound=Note)


class Manifests(Generic[C, N]):
    """The manifest of every source. `now_us` is the clock of the write timestamps; within a process they never go backwards."""

    def __init__(
        self,
        store: Store,
        chunk: Callable[[bytes, int, int, tuple[int, ...]], C],
        note: Callable[[Mapping[str, Mapping[int, int]], int], N],
        now_us: Callable[[], int],
    ) -> None:
        self._store = store
        self._chunk = chunk
        self._note = note
        self._ticks = Ticks(now_us)

    async def load(self, tenant: str, source: str) -> list[C]:
        """Read every chunk that is known of a source, in order of position."""
        rows = await self._store.read("ingest_manifest", {"tenant": tenant, "source": source})
        found = [
            self._chunk(
                bytes.fromhex(text(row, "chunk_hash")), integer(row, "position"), integer(row, "records"), _places(blob(row, "left_out", b""))
            )
            for row in rows
        ]
        return sorted(found, key=lambda chunk: (chunk.position, chunk.chunk_hash))

    async def add(self, tenant: str, source: str, chunk: C) -> None:
        """Write one chunk; repeating it changes nothing."""
        at_us = self._ticks.next_us()
        left_out = b"".join(place.to_bytes(2, "big") for place in chunk.left_out)
        key = (tenant, source, chunk.chunk_hash.hex())
        columns: dict[str, CellValue] = {"position": chunk.position, "records": chunk.records, "left_out": left_out, "added_at": at_us}
        await self._store.write([RowWrite("ingest_manifest", key, columns, at_us)])

    async def noted(self, tenant: str, source: str, run: bytes) -> N | None:
        """Read the note that an interrupted import of this file has left, if there is one."""
        rows = await self._store.read("ingest_note", {"tenant": tenant, "source": source}, upto=(run.hex(),))
        found = next((row for row in rows if row["run"] == run.hex()), None)
        return None if found is None else self._note(_offsets(text_map(found, "offsets")), integer(found, "shift_us", 0))

    async def note(self, tenant: str, source: str, run: bytes, note: N) -> None:
        """Write the note, replacing an older one."""
        at_us = self._ticks.next_us()
        offsets = {f"{topic}/{partition}": str(offset) for topic, of in note.offsets.items() for partition, offset in of.items()}
        columns: dict[str, CellValue] = {"offsets": offsets, "shift_us": note.shift_us, "noted_at": at_us}
        await self._store.write([RowWrite("ingest_note", (tenant, source, run.hex()), columns, at_us)])

    async def clear(self, tenant: str, source: str, run: bytes) -> None:
        """Remove the note: the import has ended."""
        await self._store.write([RowWrite("ingest_note", (tenant, source, run.hex()), None, self._ticks.next_us())])


def _places(packed: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(packed[at : at + 2], "big") for at in range(0, len(packed), 2))


def _offsets(found: Mapping[str, str]) -> dict[str, dict[int, int]]:
    offsets: dict[str, dict[int, int]] = {}
    for place, offset in found.items():
        topic, _, partition = place.rpartition("/")
        offsets.setdefault(topic, {})[int(partition)] = int(offset)
    return offsets
