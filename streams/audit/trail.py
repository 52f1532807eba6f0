"""The trail: notes who did what, and returns when the broker has it. What is audited happens after that, or not at all.

    head row (Cassandra)                                    audit topic (Kafka), the actor's partition
    ── read ─────────────────────────────────────────────────────────────────────────────────────────────
    not acknowledged? ───────────────── its entry ────────▶ appended again: two with the same bytes are one
    ── replaced by the own entry, if nobody was quicker ───▶ (else from the beginning)
                                        own entry ────────▶ appended
    ── marked as acknowledged

Whoever has just noted something goes on from its own entry without reading; the swap shows whether that is the last one still.
A writer may die between any two steps: the next one finds its entry in the head row and completes it. Whoever has replaced the head
appends at once or never: after `STALE_S` it asks again who is last, since by then others may have completed it and gone on.
Nobody appends before its predecessor is acknowledged, so first occurrences lie on the topic in the order of the chain.

Must not know what it is told about, nor which library appends.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import sha256
from typing import Final, Protocol
from uuid import uuid4

import msgspec
import structlog

from schemas.codec import Codec
from schemas.events import AuditEntry
from streams.audit.chain import linked
from streams.audit.heads import Head, Heads
from streams.audit.notes import Action, Note
from streams.store.port import Store
from streams.wall_clock import now_us
from touchline.errors import Misconfigured, Retryable

__all__ = ["STALE_S", "AuditTopic", "Notes", "Trail", "partition_of"]

log = structlog.get_logger(__name__)

STALE_S: Final = 10.0
"""Whoever could not append for so long after it replaced the head reads it again first."""

TRIES_MAX: Final = 60
"""So often a head is read and replaced in vain, because others are quicker, before the note fails."""

UNWELL_MAX: Final = 4
"""So often store or broker may be unwell within one note."""

_PAUSE_S: Final = 0.005
_PAUSE_MAX_S: Final = 0.5


class AuditTopic(Protocol):
    """The audit topic as writers need it. Trouble that may pass raises `Retryable`."""

    async def partitions(self) -> int:
        """Return how many partitions it has. Raises `Misconfigured` if there is none of that name."""
        ...

    async def append(self, partition: int, key: bytes, value: bytes) -> None:
        """Append to exactly this partition, and return when the broker has acknowledged it.

        After `Retryable` it may be there or not, and this call does not append it later on.
        """
        ...

    async def is_empty(self, partition: int) -> bool:
        """Tell whether nothing was ever appended to a partition."""
        ...


class Notes(Protocol):
    """What those who act need of the trail."""

    async def note(
        self,
        action: Action,
        *,
        tenant: str,
        customer: str | None = None,
        purpose: str | None = None,
        count: int = 0,
        reason: str = "",
        details: Mapping[str, str] | None = None,
    ) -> None:
        """Note it; on return it is on the audit topic. What it raises says that it may not be: then do not act."""
        ...


class Trail:
    """Notes for one actor, an id such as that of an operator; `roles` are those in which it acts. For one event loop.

    `clock_us` is the time of the entries, epoch µs; `pause` waits, by default with jitter.
    """

    def __init__(
        self,
        store: Store,
        topic: AuditTopic,
        codec: Codec,
        *,
        actor: str,
        roles: Sequence[str] = (),
        clock_us: Callable[[], int] = now_us,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._heads = Heads(store)
        self._topic = topic
        self._codec = codec
        self._actor = actor
        self._roles = tuple(roles)
        self._clock_us = clock_us
        self._pause = pause
        self._monotonic = monotonic
        self._one_by_one = asyncio.Lock()
        self._last: Head | None = None  # the own last one, which is on the topic: whether it is the head still, its replacement shows

    async def note(
        self,
        action: Action,
        *,
        tenant: str,
        customer: str | None = None,
        purpose: str | None = None,
        count: int = 0,
        reason: str = "",
        details: Mapping[str, str] | None = None,
    ) -> None:
        """Note what is about to happen; on return it is on the audit topic.

        Raises `Retryable` if it cannot be written now (it may be written all the same: what is noted did perhaps not happen, never the
        other way round), `Refused` for what does not belong into an entry, `Misconfigured` without a topic, or where the head is lost.
        """
        note = Note(action=action, tenant=tenant, customer=customer, purpose=purpose, count=count, reason=reason, details=details or {})
        note.check()
        async with self._one_by_one:
            try:
                await self._noted(note, str(uuid4()))
            except Retryable as error:
                raise Retryable(
                    f"The audit trail could not be written: {error.what}",
                    next_step="what cannot be audited does not happen. See `touchline status`, then run it again.",
                ) from error

    async def adopt(self, partition: int, was: Head | None, last: Head, *, tenant: str) -> bool:
        """Go on with a chain at its `last` entry, in place of the head that was read: with an entry that says so. False: somebody was quicker.

        Raises `Retryable`: then it may be done all the same.
        """
        details = {"partition": str(partition), "head": "none" if was is None else str(was.seq)}
        note = Note(action="chain_adopted", tenant=tenant, details=details)
        entry = linked(self._entry(note, str(uuid4())), partition, (last.seq, last.digest))
        head = Head.new(entry.seq, self._codec.encode(entry))
        return await self._heads.replace(partition, was, head) and await self._settle(partition, head, self._monotonic())

    async def _noted(self, note: Note, entry_id: str) -> None:
        partition = partition_of(self._actor, await self._topic.partitions())
        unwell = 0
        for attempt in range(TRIES_MAX):
            if attempt:
                await self._pause(random.uniform(0, min(_PAUSE_S * 2 ** min(attempt, 8), _PAUSE_MAX_S)))  # noqa: S311 - no secret
            try:
                if await self._tried(partition, note, entry_id):
                    return
            except Retryable:
                unwell += 1
                if unwell >= UNWELL_MAX:
                    raise
        raise Retryable(f"{TRIES_MAX} times others wrote to the audit topic first.", next_step="run it again.")

    async def _tried(self, partition: int, note: Note, entry_id: str) -> bool:
        """Try once; tell whether the entry is on the topic. After an error it may stand in the head: the next try completes it."""
        read_s = self._monotonic()
        head, self._last = self._last or await self._heads.read(partition), None
        if head is not None:
            if not await self._settle(partition, head, read_s):
                return False
            if self._id_of(head) == entry_id:
                return True
        elif not await self._topic.is_empty(partition):
            if await self._heads.read(partition) is not None:
                return False
            raise Misconfigured(
                f"partition {partition} of the audit topic has entries, but the head of its chain is not in the store.",
                next_step="was the store restored? `touchline audit verify` says how the chain stands, `touchline audit adopt` goes on with it.",
            )
        entry = linked(self._entry(note, entry_id), partition, None if head is None else (head.seq, head.digest))
        mine = Head.new(entry.seq, self._codec.encode(entry))
        replaced_s = self._monotonic()
        if not await self._heads.replace(partition, head, mine) or not await self._settle(partition, mine, replaced_s):
            return False
        self._last = msgspec.structs.replace(mine, acknowledged=True)
        return True

    async def _settle(self, partition: int, head: Head, since_s: float) -> bool:
        """See to it that a head's entry is on the topic; False if it was read or written, at `since_s`, too long ago to append it now.

        That it is marked as acknowledged only spares the next one an append: its failing is no failure.
        """
        if head.acknowledged:
            return True
        if self._monotonic() - since_s > STALE_S:
            return False
        entry = self._codec.decode(head.entry)
        if not isinstance(entry, AuditEntry) or sha256(head.entry).digest() != head.digest:
            raise Misconfigured(
                f"the head of the audit chain of partition {partition} is damaged.", next_step="`touchline audit verify` says how the chain stands."
            )
        await self._topic.append(partition, entry.actor.encode(), head.entry)
        try:
            await self._heads.acknowledge(partition, head)
        except Retryable as error:
            log.warning("audit_head_not_marked", partition=partition, reason=error.what)
        return True

    def _entry(self, note: Note, entry_id: str) -> AuditEntry:
        return AuditEntry(
            id=entry_id,
            partition=0,
            seq=0,
            previous=b"",
            at_us=self._clock_us(),
            tenant=note.tenant,
            actor=self._actor,
            roles=self._roles,
            action=note.action,
            customer=note.customer,
            purpose=note.purpose,
            count=note.count,
            reason=note.reason,
            details=dict(note.details),
        )

    def _id_of(self, head: Head) -> str | None:
        entry = self._codec.decode(head.entry)
        return entry.id if isinstance(entry, AuditEntry) else None


def partition_of(actor: str, partitions: int) -> int:
    """Return in which partition an actor's entries stand."""
    return int.from_bytes(sha256(actor.encode()).digest()[:8], "big") % partitions
