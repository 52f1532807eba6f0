"""The broadcaster's runner: what is published on config.v1 is told to every partition of interaction.v1.

So each partition knows at which point of its order the rules changed, live and in replay alike (log.md §6). Offsets are
committed only after every partition has acknowledged: a broadcaster that is killed in between tells it again, under the same
id and version, which the engine skips.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from connectors.producer import Producer
from projections.rules import rulebook_of
from projections.sla.matching import Matcher
from schemas.codec import Codec
from streams.kafka import PartitionsLost, Place
from streams.metrics import GroupMetrics
from streams.patience import Patience
from streams.published import Unreadable, announced
from streams.records import Batch, RawRecord
from touchline.errors import Misconfigured, Poison

__all__ = ["KEY", "BroadcasterRunner"]

log = structlog.get_logger(__name__)

KEY: Final = b"config:rules"
"""The key of `config.published` records on interaction.v1: they belong to no customer, and to every partition."""

Commit = Callable[[Mapping[Place, int]], None]


class BroadcasterRunner:
    """Runs over config.v1. `partitions` asks how many partitions the interaction topic has; it is called in a thread."""

    def __init__(self, producer: Producer, codec: Codec, *, topic: str, interaction: str, group_id: str, partitions: Callable[[], int]) -> None:
        self.name = "config"
        self.group_id = group_id
        self.topics: tuple[str, ...] = (topic,)
        self.metrics = GroupMetrics("config", 1)
        self.patience = Patience(self.name, self.metrics.retries.inc)
        self.commit: Commit | None = None
        self._producer = producer
        self._codec = codec
        self._interaction = interaction
        self._partitions = partitions
        self._turn = asyncio.Lock()

    async def assign(self, places: Sequence[Place]) -> dict[Place, int | None]:
        """Start at the group's committed offset: the broadcaster has no other memory."""
        return dict.fromkeys(places)

    async def run(self, batches: Sequence[Batch]) -> None:
        """Tell one poll to every partition, wait until all have acknowledged, then commit.

        If the broker has given the topic away meanwhile, whoever has it now tells it again.
        """
        try:
            async with self._turn:
                await self._run(batches)
        except PartitionsLost:
            log.warning("partitions_lost", part=self.name)

    async def _run(self, batches: Sequence[Batch]) -> None:
        partitions = await self.patience.run(lambda: asyncio.to_thread(self._count))
        offsets: dict[Place, int] = {}
        for batch in batches:
            for record in batch.records:
                self._tell(record, partitions)
            offsets[Place(batch.topic, batch.partition)] = batch.records[-1].offset + 1
        await self.patience.run(self._producer.drain)
        if self.commit is not None:
            commit = self.commit
            await self.patience.run(lambda: asyncio.to_thread(commit, offsets))
        self.metrics.lag_seconds.set(max(0.0, time.time() - batches[-1].records[-1].appended_us / 1e6))

    async def revoke(self, places: Sequence[Place]) -> None:
        """Let the poll under way end: its offsets are committed before the topic goes."""
        del places
        async with self._turn:
            pass

    async def drain(self) -> None:
        """Let the poll under way end."""
        async with self._turn:
            pass

    def progress(self) -> dict[Place, int]:
        """Return nothing: offsets are committed with each poll."""
        return {}

    def _count(self) -> int:
        partitions = self._partitions()
        if not partitions:
            raise Misconfigured(f"the topic {self._interaction} is missing.", next_step="run `touchline topics create`.")
        return partitions

    def _tell(self, record: RawRecord, partitions: int) -> None:
        """Append one publication to every partition. What cannot be read is left out: nobody could use it there either."""
        event = announced(record, self._codec)
        if not isinstance(event, Unreadable):
            try:
                Matcher(rulebook_of(event))
            except (Poison, ValueError, KeyError):
                event = Unreadable(record.offset, "no_rulebook")
        if isinstance(event, Unreadable):
            log.error("config_unreadable", offset=event.offset, reason=event.reason)
            self.metrics.records("unreadable", 1)
            return
        value = self._codec.encode(event)
        for partition in range(partitions):
            self._producer.produce(self._interaction, KEY, value, partition=partition)
        self.metrics.records("broadcast", 1)
        log.info("config_broadcast", version=event.version, partitions=partitions)
