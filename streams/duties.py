"""What a runner has others do for it, between folding and the checkpoint: two ports."""

from collections.abc import Sequence
from typing import Protocol

from streams.records import Batch
from streams.work import Work

__all__ = ["Copying", "Rebuilding"]


class Rebuilding(Protocol):
    """Executes a rebuild that lies on the log (`streams/rebuild/rebuilding.py`)."""

    async def rebuild(self, batch: Batch) -> Work:
        """Return what a batch leads to that is one such record."""
        ...


class Copying(Protocol):
    """Appends the copies that works ask for (`streams/identity/copying.py`)."""

    async def copy(self, works: Sequence[Work]) -> int:
        """Append them, and return how many they were, once all are acknowledged. Raises `Retryable`: then all of it is asked for again."""
        ...
