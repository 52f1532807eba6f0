"""How a replay makes its work true: one part of a chunk at a time, in the order fan-out, own, checkpoint, while the next is folded.

A store that refuses (overload, a full disk) is waited for, and said; after `WAIT_MAX_S` the replay stops and can be taken up again. So is
the view that a rebuild waits for.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Final, TypeVar

from streams.patience import Patience
from streams.replay.waiting import Waiting
from streams.store.columns import integer
from streams.store.port import Checkpoint, GroupVersion, RowWrite, Store
from streams.work import Work
from touchline.errors import Retryable

__all__ = ["TABLE", "WAIT_MAX_S", "ReplayWriter"]

TABLE: Final = "projection_build"

WAIT_MAX_S: Final = 600.0
"""How long a store that refuses is waited for."""

T = TypeVar("T")


class ReplayWriter:
    """Writes the works of one replay, one after the other."""

    def __init__(self, store: Store, version: GroupVersion, patience: Patience, *, wait_max_s: float = WAIT_MAX_S) -> None:
        self._store = store
        self._version = version
        self._patience = patience
        self._wait_max_s = wait_max_s
        self._waits_for, self._reason = "", ""
        self._writing: asyncio.Task[None] | None = None
        self._number = 0

    @property
    def waiting(self) -> Waiting | None:
        """What is waited for, because it refused; None while all is well."""
        since_s = self._patience.waiting_since
        return None if since_s is None else Waiting(self._waits_for, time.monotonic() - since_s, self._reason)

    def start(self, work: Work, number: int, then: Callable[[Work], None]) -> None:
        """Start writing a work; nothing else may be under way. `then` is called in the end."""
        self._number = number
        self._writing = asyncio.create_task(self._write(work, then))

    async def drain(self) -> int:
        """Wait for what is under way; return the number of the work that was written, 0 if there was none. Raises what that raised."""
        if self._writing is None:
            return 0
        writing, self._writing = self._writing, None
        await writing
        return self._number

    async def waited(self, call: Callable[[], Awaitable[T]], what: str = "the store") -> T:
        """Return what `call()` returns, trying again while `what` it asks is unwell. Raises `Retryable`, saying the last reason, if it stays so."""
        last = Retryable("the store does not answer.", next_step="look at the nodes' logs and disks.")

        async def tried() -> T:
            nonlocal last
            try:
                return await call()
            except Retryable as error:
                last = error
                self._waits_for, self._reason = what, error.what
                raise

        try:
            return await asyncio.wait_for(self._patience.run(tried), self._wait_max_s)
        except TimeoutError:
            raise Retryable(
                f"{self._version} has waited for {self._wait_max_s:.0f} s in vain: {last.what}",
                next_step=f"{last.next_step} Then run the same command again: it goes on from its last checkpoint.".lstrip(),
            ) from None

    async def indexed(self, partitions: Collection[int]) -> dict[int, int]:
        """Return up to which offset the index of timers is whole, by partition; those where it never was are absent."""
        rows = await self._store.read(TABLE, {"name": self._version.group, "version": self._version.version})
        return {
            integer(row, "partition"): integer(row, "indexed_offset")
            for row in rows
            if row["partition"] in partitions and row["indexed_offset"] is not None
        }

    async def finish(self, partition: int, checkpoint: Checkpoint, now_us: int) -> None:
        """Note that everything of a partition is written up to a checkpoint, the index of its timers too."""
        await self._store.save_checkpoints(self._version, {partition: checkpoint})
        columns = {"indexed_offset": checkpoint.next_offset}
        await self._store.write([RowWrite(TABLE, (*self._version, partition), dict(columns), now_us)])

    async def _write(self, work: Work, then: Callable[[Work], None]) -> None:
        await self.waited(lambda: self._store.write(work.fan_out))
        await self.waited(lambda: self._store.write(work.own))
        await self.waited(lambda: self._store.save_checkpoints(self._version, {work.partition: work.checkpoint}))
        then(work)
