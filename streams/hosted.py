"""What the live driver asks of what it hosts: a runner per group version, the resolver, the broadcaster. Protocols only."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from schemas.events import KeysDestroyed
from streams.cluster import Place
from streams.patience import Patience
from streams.records import Batch
from streams.versions.standing import Standstill

__all__ = ["Halting", "Hearing", "Runner", "Tended"]


class Runner(Protocol):
    """What the live driver hosts: one per group version, and the resolver."""

    name: str
    group_id: str
    topics: tuple[str, ...]
    patience: Patience

    async def assign(self, places: Sequence[Place]) -> dict[Place, int | None]:
        """Take partitions over; answer where each is to be read from (None = the group's committed offset)."""
        ...

    async def run(self, batches: Sequence[Batch]) -> None:
        """Process one poll. What it raises ends the process."""
        ...

    async def revoke(self, places: Sequence[Place]) -> None:
        """Finish what is under way, then forget these partitions."""
        ...

    async def drain(self) -> None:
        """Finish what is under way."""
        ...

    def progress(self) -> dict[Place, int]:
        """Return the offsets to commit for lag displays (or for real, by the resolver)."""
        ...


@runtime_checkable
class Tended(Protocol):
    """A runner that has something to do beside the polls."""

    async def tend(self) -> None:
        """Do it until cancelled, or return if there is nothing. What it raises ends the process."""
        ...


@runtime_checkable
class Halting(Protocol):
    """A runner that stands still at times: it leaves its group then, and joins it again."""

    still: Standstill

    async def release(self) -> None:
        """Forget whatever is still held after the group was left."""
        ...


@runtime_checkable
class Hearing(Protocol):
    """A runner that keeps something of people in memory, of which it must let go when they are forgotten."""

    def hear(self, said: KeysDestroyed) -> None:
        """Let go of what is held of these handles. Must not fail, nor wait."""
        ...
