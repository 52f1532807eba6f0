"""The note of one run of an import: from which offsets on its records may lie, until the run has ended.

A run that is killed leaves its note. The next run of the same file finds it by the hash of the file's first record, takes over the shift of
its event times, and reads from the topics what is there already. Must not know what a chunk is made of, nor how it is sent.
"""

from typing import Final

import structlog

from connectors.manifest import ManifestStore, Note
from connectors.patience import patiently
from connectors.ports import ChannelLog, Place

__all__ = ["RunNote"]

log = structlog.get_logger(__name__)

_EVERY_CHUNKS: Final = 100


class RunNote:
    """The note of the run `run` of a source. What waits for the store or the topics raises `Retryable` if they stay away."""

    def __init__(self, manifests: ManifestStore, channels: ChannelLog, *, tenant: str, source: str, run: bytes) -> None:
        self._manifests, self._channels = manifests, channels
        self._tenant, self._source, self._run = tenant, source, run
        self._written_at: int | None = None

    async def recall(self) -> tuple[Note, set[tuple[str, str]]] | None:
        """Return what an interrupted run has left, and (source, id) of every event that lies behind it; None if there was none."""
        note = await patiently(lambda: self._manifests.noted(self._tenant, self._source, self._run))
        if note is None:
            return None
        self._written_at = 0
        offsets = {Place(topic, partition): end for topic, ends in note.offsets.items() for partition, end in ends.items()}
        found = await patiently(lambda: self._channels.ids_from(offsets))
        log.info("import_resumed", source=self._source, found=len(found))
        return note, found

    async def write(self, position: int, shift_us: int) -> None:
        """Say, before chunk `position` is sent, from where on it may lie. Written now and then: a resumed run has little to read then."""
        if self._written_at is not None and position < self._written_at + _EVERY_CHUNKS:
            return
        offsets: dict[str, dict[int, int]] = {}
        for place, end in (await patiently(self._channels.ends)).items():
            offsets.setdefault(place.topic, {})[place.partition] = end
        note = Note(offsets, shift_us)
        await patiently(lambda: self._manifests.note(self._tenant, self._source, self._run, note))
        self._written_at = position

    async def clear(self) -> None:
        """Take the note back: the run has ended, and all that it sent is known."""
        if self._written_at is not None:
            await patiently(lambda: self._manifests.clear(self._tenant, self._source, self._run))
