"""Going on with a chain whose head is lost or behind, after the store was restored: an entry is added after the end of the topic.

That is done by hand only: a head that set itself would vouch for whatever it found there.
"""

import asyncio

from schemas.codec import Codec
from schemas.events import AuditEntry
from streams.audit.chain import Chain, Verdict
from streams.audit.heads import Head, Heads
from streams.audit.trail import Trail
from streams.audit.verifying import AuditLog, read_range
from touchline.errors import Refused

__all__ = ["adopt"]

_MENDS = frozenset({"no_head", "beyond_head", "head_damaged"})


async def adopt(trail: Trail, heads: Heads, log: AuditLog, partition: int, codec: Codec, *, tenant: str) -> tuple[int | None, int]:
    """Let a chain go on after its last entry on the topic, with an entry that says so; return (the head's number before, the last entry's).

    Raises `Refused` if there is nothing to mend, if the topic itself is broken, or if somebody wrote meanwhile.
    """
    was = await heads.read(partition)
    first, end = await asyncio.to_thread(log.range_of, partition)
    chain = Chain(partition, first, codec)
    last: list[Head] = []

    def keep(value: bytes) -> None:
        entry = codec.decode(value)
        if isinstance(entry, AuditEntry) and (not last or entry.seq > last[0].seq):
            last[:] = [Head.new(entry.seq, value, acknowledged=True)]

    await asyncio.to_thread(read_range, log, chain, (partition, first, end), lambda _: None, keep)
    verdict = chain.end(was, was)
    _check(partition, verdict)
    if not last or not await trail.adopt(partition, was, last[0], tenant=tenant):
        raise Refused(f"The chain of partition {partition} has gone on meanwhile.", reason="chain_changed", next_step="see `touchline audit verify`.")
    return None if was is None else was.seq, last[0].seq


def _check(partition: int, verdict: Verdict) -> None:
    broken = verdict.broken
    if broken is None:
        raise Refused(
            f"The chain of partition {partition} holds, and its head is where it should be.", reason="nothing_to_adopt", next_step="none is needed."
        )
    if broken.fault not in _MENDS:
        where = "" if broken.offset is None else f" at offset {broken.offset}"
        raise Refused(
            f"The topic itself does not hold in partition {partition}{where} ({broken.fault}): no head could vouch for it.",
            reason="chain_broken",
            next_step="find out who changed it; `touchline audit verify` shows the place. Restore the topic from a copy that holds.",
        )
