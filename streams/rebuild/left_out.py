"""Which records of a customer a rebuild leaves out: by their ids, or by their places where they have none that can be read. Values only."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from schemas.codec import Codec, Undecodable
from schemas.events import ProjectionRebuild
from streams.rebuild.history import Place, PlacedRecord
from streams.store.excluded import Exclusion
from streams.subjects import record_hash

__all__ = ["DROP", "Identified", "exclusions", "identified", "without"]

DROP: Final = "drop"
"""The mode in which the record that a customer waits for is left out, if none is named."""


class Identified(NamedTuple):
    """A record, its id (None: it cannot be read), and what its subject remembers it by."""

    placed: PlacedRecord
    event_id: str | None
    hashed: bytes

    @property
    def name(self) -> str:
        """By what it is left out."""
        return self.event_id or f"@{self.placed.partition}:{self.placed.record.offset}"

    def is_among(self, left_out: Iterable[Exclusion]) -> bool:
        """Tell whether it is left out."""
        return any(one.names(self.placed.partition, self.placed.record.offset, self.event_id) for one in left_out)


def identified(codec: Codec, records: Iterable[PlacedRecord]) -> list[Identified]:
    """Return records with their ids; only headers are read."""
    found = []
    for one in records:
        head = codec.head(one.record.value)
        known = (None, b"") if isinstance(head, Undecodable) else (head.header.id, record_hash(head.header.source, head.header.id))
        found.append(Identified(one, *known))
    return found


def exclusions(event: ProjectionRebuild, records: Sequence[Identified], place: Place, parked_at: int | None) -> list[Exclusion]:
    """Return what a rebuild at a place newly leaves out: one for each id that is among the records, with the place of the first of that id."""
    wanted = list(event.exclude_ids)
    if event.mode == DROP and not wanted:
        wanted += [one.name for one in records if one.placed.record.offset == parked_at]
    found: dict[str, Exclusion] = {}
    for id_ in wanted:
        exclusion = Exclusion(id_, event.reason, -1, -1, place.offset)
        at = next((one.placed.place for one in records if one.is_among([exclusion])), None)
        if at is not None:
            found[id_] = exclusion._replace(partition=at.partition, offset=at.offset)
    return list(found.values())


def without(records: Sequence[Identified], left_out: Sequence[Exclusion]) -> list[Identified]:
    """Return the records that are not left out."""
    return [one for one in records if not one.is_among(left_out)] if left_out else list(records)
