"""The two versions that are compared, and which of their tables stand opposite each other. Values only."""

from typing import NamedTuple

from projections.digest import Decode
from projections.registry import Group
from projections.tables import Table, readers_use
from schemas.codec import Codec
from streams.customer_view import decoded
from streams.store.port import GroupVersion

__all__ = ["Pair", "Sides", "decoder"]


class Pair(NamedTuple):
    """One table in both versions."""

    active: Table
    candidate: Table

    @property
    def name(self) -> str:
        """Its logical name."""
        return self.active.name

    @property
    def is_figures(self) -> bool:
        """Whether its rows are partial values of Kafka partitions, which readers add up."""
        return "sums" in self.active.columns or "sums" in self.candidate.columns


class Sides:
    """The active version and the candidate. `pairs` are the reader tables that both have; `added` and `missing` what one alone has."""

    def __init__(self, active: Group, candidate: Group) -> None:
        self.active = active
        self.candidate = candidate
        ours = {table.name: table for table in active.tables() if readers_use(table)}
        theirs = {table.name: table for table in candidate.tables() if readers_use(table)}
        self.pairs = tuple(Pair(table, theirs[name]) for name, table in ours.items() if name in theirs)
        self.added = tuple(table for name, table in theirs.items() if name not in ours)
        self.missing = tuple(table for name, table in ours.items() if name not in theirs)
        self.tables = ours | theirs

    @property
    def versions(self) -> tuple[GroupVersion, GroupVersion]:
        """The active version's and the candidate's names."""
        return GroupVersion(self.active.name, self.active.version), GroupVersion(self.candidate.name, self.candidate.version)


def decoder(codec: Codec) -> Decode:
    """Return what decodes stored bodies for digests."""
    return lambda schema_id, body: decoded(codec, body, schema_id)
