"""The resolver's runner: channel topics in, the canonical log out. Between batches it keeps nothing but whose handles are (`Roots`).

A batch ends at `SAME_SUBJECT_MAX` records of one subject, and each batch's offsets are committed, after its records are
acknowledged, before the next one begins. A resolver that is killed in between appends the same records again, and the
engine, which remembers the last 128 ids of each subject, skips them.

Links are made before anything of a poll is appended, those of handles that have nothing to do with each other side by side: whoever
resolved a record again after a link would put it elsewhere the second time. A poll with many links is taken in parts, and a batch ends
too before a record whose handles turn out later to be linkable.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Final
from uuid import NAMESPACE_URL, uuid5

import structlog

from connectors.producer import Producer
from schemas.codec import Codec, Head
from schemas.events import KeysDestroyed, Quarantined
from streams.cluster import Place
from streams.control_topic import handles_of
from streams.identity.claim import Name
from streams.identity.linker import Linker
from streams.identity.linking_rules import connected
from streams.records import Batch, RawRecord
from streams.relay import Relay
from streams.resolving import Linkable, Resolved, Resolver, Unresolvable
from streams.together import all_of
from touchline.errors import TouchlineError

__all__ = ["SAME_SUBJECT_MAX", "ResolverRunner"]

log = structlog.get_logger(__name__)

SAME_SUBJECT_MAX = 64

LINKS_AT_ONCE: Final = 16
"""Links that are made side by side: each waits for a dozen answers, one after the other."""

LINKS_MAX: Final = 256
"""Records to be linked after which what came before is appended and committed: a few seconds, so that it is seen to go on, however long the poll."""

_LOOKS_MAX: Final = 8
"""So often the handles of one record are looked at before it is clear whose they are; once is enough, unless memory is far too small."""

_Read = tuple[Batch, RawRecord, Head | Unresolvable]
"""A record, the batch that it came in, and what its header says."""


class ResolverRunner(Relay):
    """Runs the resolver over the channel topics. `linker` shares its memory of whose handles are with the resolver, if that has one."""

    def __init__(
        self,
        resolver: Resolver,
        producer: Producer,
        codec: Codec,
        *,
        topics: Sequence[str],
        interaction: str,
        quarantine: str,
        group_id: str,
        linker: Linker | None = None,
    ) -> None:
        super().__init__("resolver", producer, codec, topics=topics, interaction=interaction, group_id=group_id)
        self._resolver = resolver
        self._linker = linker
        self._quarantine = quarantine
        if linker is not None:
            linker.tell = self.metrics.links

    def hear(self, said: KeysDestroyed) -> None:
        """Forget whose the handles were of somebody who was forgotten: whoever returns with one is new."""
        if self._resolver.roots is not None:
            self._resolver.roots.forget(Name(said.tenant, *handle) for handle in handles_of(said.handles))

    async def _pass_on(self, batches: Sequence[Batch]) -> None:
        """Resolve one poll, in parts that are appended, acknowledged and committed one after the other."""
        read = [(batch, record, self._resolver.read(record.value, record.appended_us)) for batch in batches for record in batch.records]
        await self._look([head for _, _, head in read if isinstance(head, Head)])
        outcome: Counter[str] = Counter()
        linkable = [n for n, (_, _, head) in enumerate(read) if isinstance(head, Head) and isinstance(self._resolver.place(head), Linkable)]
        for begin, end in pairwise([0, *linkable[LINKS_MAX::LINKS_MAX], len(read)]):
            part = read[begin:end]
            if linkable:
                await self._link([head for _, _, head in part if isinstance(head, Head)])
            await self._append_all(part, outcome)
        for result, n in outcome.items():
            self.metrics.records(result, n)

    async def _append_all(self, read: Sequence[_Read], outcome: Counter[str]) -> None:
        """Append what is linked, in parts that are acknowledged and committed one after the other."""
        subjects: Counter[str] = Counter()
        offsets: dict[Place, int] = {}
        for batch, record, head in read:
            placed = self._resolver.place(head) if isinstance(head, Head) else head
            if isinstance(head, Head) and isinstance(placed, Linkable):
                await self._finish(offsets)
                subjects.clear()
                offsets = {}
                found: Resolved | Unresolvable = await self._settled(head, placed)
            else:
                found = placed  # type: ignore[assignment] # what is linkable has a header
            key = self._append(batch, record, found, outcome)
            offsets[Place(batch.topic, batch.partition)] = record.offset + 1
            subjects[key] += 1
            if subjects[key] >= SAME_SUBJECT_MAX:
                await self._finish(offsets)
                subjects.clear()
                offsets = {}
        await self._finish(offsets)

    async def _look(self, heads: Sequence[Head]) -> None:
        """Learn at once whose all the handles of a poll are, of which it is not known."""
        roots, linker, names = self._resolver.roots, self._linker, self._resolver.names
        if roots is None or linker is None:
            return
        unknown = roots.stale([name for head in heads for name in names(head)])
        if unknown:
            await self.patience.run(lambda: linker.look(unknown))

    async def _link(self, heads: Sequence[Head]) -> None:
        """Link what records say to be one, before any of them is appended; what has a handle in common one after the other, as it came."""
        asked = [placed for head in heads if isinstance(placed := self._resolver.place(head), Linkable)]
        if not asked or self._linker is None:
            return
        room = asyncio.Semaphore(LINKS_AT_ONCE)

        async def settle(together: Sequence[Linkable]) -> None:
            async with room:
                for one in together:
                    await self._settle(one)

        await all_of(settle(together) for together in connected(asked))

    async def _settle(self, asked: Linkable) -> None:
        if self._linker is not None:
            linker = self._linker
            await self.patience.run(lambda: linker.settle(asked))

    async def _settled(self, head: Head, asked: Linkable) -> Resolved:
        """Have done for one record's handles what is to be done, and resolve it then."""
        for _ in range(_LOOKS_MAX if self._linker is not None else 0):
            await self._settle(asked)
            found = self._resolver.place(head)
            if isinstance(found, Resolved):
                return found
            asked = found
        raise TouchlineError("whose the handles of a record are could not be found out.", next_step="see `touchline identity show`; report it.")

    def _append(self, batch: Batch, record: RawRecord, found: Resolved | Unresolvable, outcome: Counter[str]) -> str:
        if isinstance(found, Resolved):
            self._producer.produce(self._interaction, found.key.encode(), found.value)
            outcome["resolved"] += 1
            return found.key
        self._set_aside(batch, record, found)
        outcome["quarantined"] += 1
        return ""

    def _set_aside(self, batch: Batch, record: RawRecord, why: Unresolvable) -> None:
        """Say in the quarantine topic that a record could not be resolved, where it lies and why; ids repeat with the place."""
        log.warning("quarantined", reason=why.reason, topic=batch.topic, partition=batch.partition, offset=record.offset)
        source = why.source or batch.topic
        note = Quarantined(
            id=why.record_id or str(uuid5(NAMESPACE_URL, f"{batch.topic}/{batch.partition}/{record.offset}")),
            source=source,
            tenant=why.tenant,
            reason=why.reason,
            detail=why.detail,
            stage="resolver",
            topic=batch.topic,
            partition=batch.partition,
            offset=record.offset,
            at_us=record.appended_us,
        )
        self._producer.produce(self._quarantine, source.encode(), self._codec.encode(note))
