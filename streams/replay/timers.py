"""Whose timers a replay has to look after: no wake-ups come for what is armed anew, so it expires them itself as the log's time goes by.

After each chunk whatever would have been noticed before the next record expires: the law that wake-ups carry no truth makes that the
same as if the subject's next record had done it. So only those wait in memory who wait at that time of the log, as in a live worker.
What is still armed at the end goes into the index of timers, whence a live worker takes it over. Over the store port only.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from projections.kernel import Subject
from streams.armed import Due, next_of
from streams.engine import Engine
from streams.store.columns import blob, integer, text
from streams.store.control import state_table_name
from streams.store.port import GroupVersion, RowWrite, StateRow, Store
from streams.timer_index import PAGE_ROWS, TimerIndex
from streams.timers import TimerWheel, hour_of
from streams.work import Work

__all__ = ["ReplayTimers"]

_INDEXED_TOGETHER: Final = 5000
_TICK_LATE_US: Final = 1000
"""A subject stands in the wheel at the millisecond after its expiry moment, by which it is indexed."""


class ReplayTimers:
    """Who waits, in the partitions that a replay has opened."""

    def __init__(self, engine: Engine, store: Store, version: GroupVersion) -> None:
        self._engine = engine
        self._store = store
        self._version = version
        self._index = TimerIndex(store, version) if engine.group.arms_timers else None
        self._wheels: dict[int, TimerWheel] = {}
        self._changed: dict[int, set[Subject] | None] = {}
        """By partition who was armed anew since the index was written; None: it never was."""

    def __len__(self) -> int:
        return sum(map(len, self._wheels.values()))

    async def open(self, partition: int, *, fresh: bool, indexed: bool) -> None:
        """Take a partition over: of a `fresh` one nobody waits; else who does stands in the index, or in the states of all subjects."""
        self._changed[partition] = set() if indexed else None
        wheel = self._wheels[partition] = TimerWheel()
        if fresh or self._index is None:
            return
        found = self._indexed(self._index, partition) if indexed else self._armed(partition)
        async for subject, expires_us in found:
            wheel.arm(partition, *subject, expires_us)

    def note(self, work: Work) -> None:
        """Take in whose earliest timer a work has changed."""
        partition = work.partition
        wheel, changed = self._wheels[partition], self._changed[partition]
        for due in work.timers:
            if due.was_us >= 0:
                wheel.cancel(partition, due.tenant, due.subject, due.was_us)
            if due.next is not None:
                wheel.arm(partition, due.tenant, due.subject, due.next.expires_us)
                if changed is not None:
                    changed.add(Subject(due.tenant, due.subject))

    def due(self, partition: int, before_us: int) -> list[Subject]:
        """Take out whose timers expire before this moment."""
        wheel = self._wheels[partition]
        return [one.subject for one in wheel.due(before_us, len(wheel))] if len(wheel) else []

    def waiting(self, partition: int) -> list[Subject]:
        """Return everybody in a partition who waits."""
        return list(self._wheels[partition].subjects(partition))

    async def index(self, partition: int, ts_us: int, now_us: int) -> tuple[int, int]:
        """Write the index of who is still waiting, at this timestamp; return (rows, an hour before which nobody is, nor will be, to be woken).

        It may be called again after `Retryable`. The hour is none behind the last record's: what is armed next may come sooner than all there is.
        """
        if self._index is None:
            return 0, 0
        self._index.forget(partition)  # which buckets were said: what says so may have been refused
        wheel, changed, written = self._wheels[partition], self._changed[partition], 0
        waiting = list(wheel.subjects(partition) if changed is None else changed)
        for at in range(0, len(waiting), _INDEXED_TOGETHER):
            rows = await self._rows(self._index, partition, waiting[at : at + _INDEXED_TOGETHER], ts_us, now_us)
            await self._store.write(rows)
            written += len(rows)
        self._changed[partition] = set()
        oldest_us = wheel.oldest_us(partition)
        return written, hour_of(min(now_us, ts_us, ts_us if oldest_us is None else oldest_us - _TICK_LATE_US))

    async def _rows(self, index: TimerIndex, partition: int, subjects: Sequence[Subject], ts_us: int, now_us: int) -> list[RowWrite]:
        armed, others = self._engine.armed(subjects)
        states = await self._store.load_states(self._version, others) if others else {}
        found = armed | {subject: next_of(states.get(subject)) for subject in others}
        told = [Due(*subject, -1, expiry, False, ts_us) for subject, expiry in found.items() if expiry is not None]  # noqa: FBT003 - a tuple
        return index.rows(partition, told, now_us)

    async def _indexed(self, index: TimerIndex, partition: int) -> AsyncIterator[tuple[Subject, int]]:
        for hour in await index.hours(partition, 0):
            after: tuple[Subject, int] | None = None
            while page := await index.page(partition, hour, after):
                for found in page:
                    yield found
                if len(page) < PAGE_ROWS:
                    break
                after = page[-1]

    async def _armed(self, partition: int) -> AsyncIterator[tuple[Subject, int]]:
        """Look at every subject there is: dear, and needed only where a replay was cut off in the middle of a partition."""
        async for rows in self._store.pages(state_table_name(self._version)):
            for row in rows:
                timers = blob(row, "timers", b"")
                if timers and row["applied_partition"] == partition:
                    expiry = next_of(StateRow({}, b"", partition, integer(row, "applied_offset", -1), 0, timers, blob(row, "ties", b"")))
                    if expiry is not None:
                        yield Subject(text(row, "tenant"), text(row, "subject")), expiry.expires_us
