"""The broadcaster's runner: what is published on config.v1 is told to every partition of interaction.v1.

So each partition knows at which point of its order the rules changed, live and in replay alike (log.md §6). Offsets are
committed only after every partition has acknowledged: a broadcaster that is killed in between tells it again, under the same
id and version, which the engine skips.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from connectors.producer import Producer
from projections.rules import rulebook_of
from projections.sla.matching import Matcher
from schemas.codec import Codec
from streams.cluster import Place
from streams.published import Unreadable, announced
from streams.records import Batch, RawRecord
from streams.relay import Relay
from touchline.errors import Misconfigured, Poison

__all__ = ["KEY", "BroadcasterRunner"]

log = structlog.get_logger(__name__)

KEY: Final = b"config:rules"
"""The key of `config.published` records on interaction.v1: they belong to no customer, and to every partition."""


class BroadcasterRunner(Relay):
    """Runs over config.v1. `partitions` asks how many partitions the interaction topic has; it is called in a thread."""

    def __init__(self, producer: Producer, codec: Codec, *, topic: str, interaction: str, group_id: str, partitions: Callable[[], int]) -> None:
        super().__init__("config", producer, codec, topics=(topic,), interaction=interaction, group_id=group_id)
        self._partitions = partitions

    async def _pass_on(self, batches: Sequence[Batch]) -> None:
        """Tell one poll to every partition."""
        partitions = await self.patience.run(lambda: asyncio.to_thread(self._count))
        offsets: dict[Place, int] = {}
        for batch in batches:
            for record in batch.records:
                self._tell(record, partitions)
            offsets[Place(batch.topic, batch.partition)] = batch.records[-1].offset + 1
        await self._finish(offsets)

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
