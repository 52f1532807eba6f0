"""What of a source has been imported: a keyed hash per chunk of 1,000 records in sending order. Pure, but for the store port.

A record that is offered again is recognised by its chunk, so a file ingested twice sends nothing, and a file that has grown
or was mended sends only what is new. A chunk is known in one of three ways:

    whole           its hash is in the manifest, wherever it stands
    has grown       the last chunk of an earlier run had n < 1,000 records: the hash of the first n is in the manifest
    was mended      some records of it were refused or quarantined (`left_out`): the hash of the others is in the manifest

The hash is keyed (HMAC-SHA256 under the tenant's index key), since content is personal and short texts could be guessed.
"""

import hmac
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from connectors.contract import Draft

__all__ = ["CHUNK_RECORDS", "KnownChunk", "Manifest", "ManifestStore", "MemoryManifests", "Note", "canonical"]

CHUNK_RECORDS: Final = 1000
"""How many records of a file make a chunk. Never change it: files that were imported before would not be recognised."""

_HASH_BYTES: Final = 16
_encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode


class KnownChunk(msgspec.Struct, frozen=True):
    """A chunk that was accepted. `position` counts chunks of the file from 0, `records` what it held, the left-out ones included.

    `left_out` are the places in it, from 0, of records that were not accepted; `chunk_hash` is of all others.
    """

    chunk_hash: bytes
    position: int
    records: int
    left_out: tuple[int, ...] = ()


class Note(msgspec.Struct, frozen=True):
    """An import under way: every record of it that may lack a manifest row lies behind these offsets of the channel topics.

    `shift_us` is what is added to its event times, so that a resumed import adds the same.
    """

    offsets: Mapping[str, Mapping[int, int]]
    shift_us: int = 0


class ManifestStore(Protocol):
    """The tables behind it. Transient trouble raises `touchline.errors.Retryable`; every write is acknowledged on return.

    `run` names a file by the keyed hash of its first record, so that imports of several files do not disturb each other.
    """

    async def load(self, tenant: str, source: str) -> Sequence[KnownChunk]:
        """Read every chunk that is known of a source."""
        ...

    async def add(self, tenant: str, source: str, chunk: KnownChunk) -> None:
        """Write one chunk; repeating it changes nothing."""
        ...

    async def noted(self, tenant: str, source: str, run: bytes) -> Note | None:
        """Read the note that an interrupted import has left, if there is one."""
        ...

    async def note(self, tenant: str, source: str, run: bytes, note: Note) -> None:
        """Write the note, replacing an older one."""
        ...

    async def clear(self, tenant: str, source: str, run: bytes) -> None:
        """Remove the note: the import has ended."""
        ...


class Manifest:
    """What is known of one source, and the hashing. `key` is the tenant's index key."""

    __slots__ = ("_hashes", "_incomplete", "_key")

    def __init__(self, key: bytes, known: Iterable[KnownChunk] = ()) -> None:
        self._key = key
        self._hashes: set[bytes] = set()
        self._incomplete: dict[int, list[KnownChunk]] = {}
        for chunk in known:
            self.remember(chunk)

    def remember(self, chunk: KnownChunk) -> None:
        """Take in a chunk that was accepted just now."""
        self._hashes.add(chunk.chunk_hash)
        if chunk.records < CHUNK_RECORDS or chunk.left_out:
            self._incomplete.setdefault(chunk.position, []).append(chunk)

    def known(self, position: int, contents: Sequence[bytes | None]) -> frozenset[int]:
        """Return the places in the chunk of records that were accepted before. `contents` has None where there is no record."""
        places = [at for at, content in enumerate(contents) if content is not None]
        if not places:
            return frozenset()
        if self.hash_of(contents) in self._hashes:
            return frozenset(places)
        best: list[int] = []
        for chunk in self._incomplete.get(position, ()):
            left_out = set(chunk.left_out)
            part = [at for at in places if at < chunk.records and at not in left_out]
            if len(part) > len(best) and self.hash_of([contents[at] for at in part]) == chunk.chunk_hash:
                best = part
        return frozenset(best)

    def hash_of(self, contents: Iterable[bytes | None]) -> bytes:
        """Return the keyed hash of the records that are there, each after its length. 0.3 µs per record."""
        parts = []
        for content in contents:
            if content is not None:
                parts.append(len(content).to_bytes(4, "big"))
                parts.append(content)
        return hmac.digest(self._key, b"ingest-manifest\0" + b"".join(parts), "sha256")[:_HASH_BYTES]


def canonical(draft: Draft) -> bytes:
    """Return the bytes that stand for a draft in a chunk's hash: its ids and content in a fixed order. 2 µs.

    An attribute that `Draft` gains later may only be added behind, and only where it is set: else nothing that was imported
    before would be recognised.
    """
    return _encode(
        (
            draft.tenant,
            draft.source,
            draft.id,
            draft.type,
            draft.occurred_at_us,
            draft.channel,
            draft.direction,
            draft.customer,
            draft.actor.kind,
            draft.actor.id,
            draft.actor.team,
            draft.actor.role,
            draft.contact_id,
            draft.conversation_id,
            draft.case_id,
            draft.source_seq,
            draft.causation_id,
            draft.correlation_id,
            draft.corrects,
            draft.fields,
            draft.text,
            draft.subject,
            draft.attributes,
            draft.unknown,
            draft.original_ids,
        )
    )


class MemoryManifests:
    """A `ManifestStore` in memory, for tests and for runs without a store."""

    def __init__(self) -> None:
        self.chunks: dict[tuple[str, str], dict[bytes, KnownChunk]] = {}
        self.notes: dict[tuple[str, str, bytes], Note] = {}

    async def load(self, tenant: str, source: str) -> Sequence[KnownChunk]:
        """Read every chunk that is known of a source."""
        return list(self.chunks.get((tenant, source), {}).values())

    async def add(self, tenant: str, source: str, chunk: KnownChunk) -> None:
        """Write one chunk."""
        self.chunks.setdefault((tenant, source), {})[chunk.chunk_hash] = chunk

    async def noted(self, tenant: str, source: str, run: bytes) -> Note | None:
        """Read a note."""
        return self.notes.get((tenant, source, run))

    async def note(self, tenant: str, source: str, run: bytes, note: Note) -> None:
        """Write a note."""
        self.notes[tenant, source, run] = note

    async def clear(self, tenant: str, source: str, run: bytes) -> None:
        """Remove a note."""
        self.notes.pop((tenant, source, run), None)
