"""What a version that was promoted away has still to say: what lies before its demotion, and nobody else says. Over the store port only.

Records below the promotion that it has not folded, and timers with an expiry moment before it that nobody has noticed yet (engine.md §5):
its worker was away, or the log is being imported. A version that is retired then takes that with it. Customers who are parked in it wait
for nothing that is ever said.
"""

from collections.abc import Iterable
from typing import Final

from projections.kernel import Subject
from projections.registry import VERSIONS
from streams.armed import next_of
from streams.store.parked import ParkedCustomers
from streams.store.port import Checkpoint, GroupVersion, Store
from streams.timer_index import PAGE_ROWS, TimerIndex
from streams.timers import hour_of
from streams.versions.promotions import TABLE, Promotions, promotions
from streams.versions.versions import Standing

__all__ = ["unsaid"]

_BEGINNING: Final = Checkpoint(0, 0, active=False, event_time_us=0)


async def unsaid(store: Store, group: GroupVersion, standing: Standing, partitions: Iterable[int]) -> list[int]:
    """Return the partitions in which a version that is not active has still to speak, or speaks as far as the log was read.

    Timers of a version that this code does not have are not asked. Raises `Retryable` as the store does.
    """
    checkpoints = await store.load_checkpoints(group)
    timers = _Timers(store, group, frozenset(one.customer for one in await ParkedCustomers(store).load(group)))
    found = []
    for partition in sorted(partitions):
        rows = await store.read(TABLE, {"name": group.group, "partition": partition})
        known = Promotions(standing.first, promotions(rows))
        if not known.spoke(group.version):
            continue
        demoted, checkpoint = known.ended(group.version), checkpoints.get(partition, _BEGINNING)
        if (
            demoted is None
            or checkpoint.next_offset < demoted.offset
            or await timers.any_before(demoted.appended_us, partition, checkpoint.oldest_timer_bucket)
        ):
            found.append(partition)
    return found


class _Timers:
    """What is armed for the subjects of a version, but for those who are parked."""

    def __init__(self, store: Store, group: GroupVersion, parked: frozenset[str]) -> None:
        self._store = store
        self._group = group
        self._parked = parked
        of = VERSIONS.get((group.group, group.version))
        self._index = TimerIndex(store, group) if of is not None and of.arms_timers else None

    async def any_before(self, moment_us: int, partition: int, oldest_hour: int) -> bool:
        """Tell whether a timer of a partition expires before this moment; the index says nothing is armed before `oldest_hour`."""
        if self._index is None:
            return False
        for hour in await self._index.hours(partition, oldest_hour):
            if hour > hour_of(moment_us):
                return False
            page = await self._index.page(partition, hour)
            while page:
                if await self._any_armed((subject for subject, expires_us in page if expires_us < moment_us), moment_us):
                    return True
                page = await self._index.page(partition, hour, page[-1]) if len(page) == PAGE_ROWS else []
        return False

    async def _any_armed(self, indexed: Iterable[Subject], moment_us: int) -> bool:
        """Tell whether a timer is armed as the index says: it keeps those that are no more."""
        rows = await self._store.load_states(self._group, {subject for subject in indexed if subject.id not in self._parked})
        return any(armed.expires_us < moment_us for armed in map(next_of, rows.values()) if armed is not None)
