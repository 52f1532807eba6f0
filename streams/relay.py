"""What the resolver and the broadcaster share: records of some topics lead to records of the log, and only then are they committed.

A relay keeps nothing between polls but its group's committed offsets: one that is killed between append and commit appends the same
records again, under the same ids, which the engine skips.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from connectors.producer import Producer
from schemas.codec import Codec
from streams.cluster import Place
from streams.kafka import PartitionsLost
from streams.metrics import GroupMetrics
from streams.patience import Patience
from streams.records import Batch

__all__ = ["Relay"]

log = structlog.get_logger(__name__)

Commit = Callable[[Mapping[Place, int]], None]


class Relay:
    """A runner (`streams.hosted.Runner`) without projections; `_pass_on` is its own. `commit` commits offsets and waits, in a thread."""

    def __init__(self, name: str, producer: Producer, codec: Codec, *, topics: Sequence[str], interaction: str, group_id: str) -> None:
        self.name = name
        self.group_id = group_id
        self.topics = tuple(topics)
        self.metrics = GroupMetrics(name, 1)
        self.patience = Patience(name, self.metrics.retries.inc)
        self.commit: Commit | None = None
        self._producer = producer
        self._codec = codec
        self._interaction = interaction
        self._turn = asyncio.Lock()

    async def assign(self, places: Sequence[Place]) -> dict[Place, int | None]:
        """Start at the group's committed offsets: a relay has no other memory."""
        return dict.fromkeys(places)

    async def run(self, batches: Sequence[Batch]) -> None:
        """Pass one poll on.

        If the broker has given the partitions away meanwhile, the rest is left to whoever has them now.
        """
        try:
            async with self._turn:
                await self._pass_on(batches)
                self.metrics.lag_seconds.set(max(0.0, time.time() - batches[-1].records[-1].appended_us / 1e6))
        except PartitionsLost:
            log.warning("partitions_lost", part=self.name)

    async def revoke(self, places: Sequence[Place]) -> None:
        """Let the poll under way end: its offsets are committed before the partitions go."""
        del places
        await self.drain()

    async def drain(self) -> None:
        """Let the poll under way end."""
        async with self._turn:
            pass

    def progress(self) -> dict[Place, int]:
        """Return nothing: offsets are committed with each poll, or part of one."""
        return {}

    async def _pass_on(self, batches: Sequence[Batch]) -> None:
        """Append what a poll leads to, and `_finish` its offsets."""
        raise NotImplementedError

    async def _finish(self, offsets: Mapping[Place, int]) -> None:
        """Wait until all that was appended is acknowledged, then commit."""
        if not offsets:
            return
        await self.patience.run(self._producer.drain)
        if self.commit is not None:
            commit = self.commit
            await self.patience.run(lambda: asyncio.to_thread(commit, offsets))
