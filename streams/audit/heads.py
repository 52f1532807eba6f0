"""The head of the chain of each partition of the audit topic: the last entry, whole. Over the store port only; knows no topic.

The head is changed by lightweight transactions, and before its entry is appended: so of two writers one comes after the other, and
an entry whose writer died before it was acknowledged is still here for whoever comes next.
"""

from hashlib import sha256
from typing import Final

import msgspec

from streams.store.columns import Row, blob, integer
from streams.store.port import Cells, Store

__all__ = ["Head", "Heads"]

_TABLE: Final = "audit_head"


class Head(msgspec.Struct, frozen=True):
    """The last entry of a partition's chain: `entry` are its bytes as they lie on the topic, `digest` is their SHA-256.

    `acknowledged`: it is known to be on the topic. If not, it may be there or not.
    """

    seq: int
    digest: bytes
    entry: bytes
    acknowledged: bool

    @classmethod
    def of(cls, row: Row) -> "Head":
        """Build it from a row of `audit_head`."""
        return cls(integer(row, "seq"), blob(row, "hash"), blob(row, "entry"), row["acknowledged"] is True)

    @classmethod
    def new(cls, seq: int, entry: bytes, *, acknowledged: bool = False) -> "Head":
        """Build that of an entry."""
        return cls(seq, sha256(entry).digest(), entry, acknowledged)

    def columns(self) -> Cells:
        """Return what its row holds."""
        return {"seq": self.seq, "hash": self.digest, "entry": self.entry, "acknowledged": self.acknowledged}


class Heads:
    """Reads and changes heads. Everything raises `Retryable` as the store does."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, partition: int) -> Head | None:
        """Return a partition's head; None before its first entry."""
        rows = await self._store.read(_TABLE, {"partition": partition})
        return Head.of(rows[0]) if rows else None

    async def replace(self, partition: int, was: Head | None, by: Head) -> bool:
        """Put another head in the place of the one that was read; tell whether nobody was quicker."""
        expected: Cells | None = None if was is None else {"seq": was.seq, "hash": was.digest}
        return await self._store.swap(_TABLE, (partition,), by.columns(), expected=expected)

    async def acknowledge(self, partition: int, head: Head) -> None:
        """Note that a head's entry is on the topic, unless it is the head no longer: then somebody else has seen to it."""
        await self._store.swap(_TABLE, (partition,), {"acknowledged": True}, expected={"seq": head.seq, "hash": head.digest})
