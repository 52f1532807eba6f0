"""Cuts batches at the records that a driver must not fold together with what comes behind them: engine.md §5 and §6.

A promotion ends its part: what comes behind it may have to wait (`streams/versions/trailing.py`). A rebuild stands alone: the owner executes
it (`streams/rebuild/rebuilding.py`). So does a link that was undone, which makes its customer anew in every group and version. Cheap: only the
schema id of each record is looked at.
"""

from itertools import pairwise
from typing import Final

from schemas.codec import Codec, Undecodable
from schemas.events import IdentityUnlinked, ProjectionPromoted, ProjectionRebuild
from schemas.ids import Ids
from schemas.record import Event
from streams.records import Batch, RawRecord

__all__ = ["EVERY_VERSION", "FRAME", "Asking", "Cutter", "frames_of"]

EVERY_VERSION = 0
"""As the version of a `projection.rebuild`: it is executed by every version of the group, also by those that are built later."""

Asking = ProjectionRebuild | IdentityUnlinked
"""What asks that a customer be made anew: a rebuild, or a link that was undone."""

FRAME: Final = 5
"""Bytes at the beginning of a record that tell its schema."""


def frames_of(*kinds: type[Event]) -> frozenset[bytes]:
    """Return the beginnings of records of these types, under every schema id that was ever theirs."""
    names = {kind.FULL_NAME for kind in kinds}
    return frozenset(b"\x00" + entry.id.to_bytes(4, "big") for entry in Ids.load().entries if entry.name in names)


class Cutter:
    """Cuts for one version of one group."""

    def __init__(self, codec: Codec, group: str, version: int) -> None:
        self._codec = codec
        self._group = group
        self._version = version
        self._frames = frames_of(IdentityUnlinked, ProjectionPromoted, ProjectionRebuild)

    def cut(self, batch: Batch) -> list[Batch]:
        """Return a batch in parts, in order; usually there is one, the batch itself."""
        frames = self._frames
        marks = [n for n, record in enumerate(batch.records) if record.value[:FRAME] in frames]
        if not marks:
            return [batch]
        cuts = {0, len(batch.records)}
        for n in marks:
            event = self._event(batch.records[n])
            if isinstance(event, ProjectionPromoted) and event.group == self._group:
                cuts.add(n + 1)
            elif self._is_ours(event):
                cuts |= {n, n + 1}
        at = sorted(cuts)
        return [Batch(batch.partition, batch.records[first:end], batch.epoch, batch.topic) for first, end in pairwise(at) if first < end]

    def rebuild_of(self, batch: Batch) -> Asking | None:
        """Return what a part of `cut` consists of, if that asks for a rebuild; None if it is of ordinary records."""
        if len(batch.records) != 1 or batch.records[0].value[:FRAME] not in self._frames:
            return None
        event = self._event(batch.records[0])
        return event if isinstance(event, ProjectionRebuild | IdentityUnlinked) and self._is_ours(event) else None

    def _is_ours(self, event: object) -> bool:
        if isinstance(event, IdentityUnlinked):
            return True
        return isinstance(event, ProjectionRebuild) and event.group == self._group and event.version in {EVERY_VERSION, self._version}

    def _event(self, record: RawRecord) -> object:
        event = self._codec.decode(record.value)
        return None if isinstance(event, Undecodable) else event
