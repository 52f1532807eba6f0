"""Retires a version of a group: its workers leave, its tables go, its consumer group goes. Over store, log and the keyspace's tables.

Its number stays known. Its checkpoints are set back to the beginning of the log rather than deleted, with the write timestamp that they
had come to: were the same number built again, what was left of it would hide rows of an older timestamp (store.md §1.1).
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from streams.cluster import Member
from streams.replay.lease import Lease, this_process
from streams.store.dropping import Tables, tables_of
from streams.store.excluded import ExcludedRecords
from streams.store.parked import ParkedCustomers
from streams.store.port import Checkpoint, GroupVersion, RowWrite, Store
from streams.versions.group_log import GroupLog
from streams.versions.promotable import Promotable
from streams.versions.unsaid import unsaid
from streams.versions.versions import Standing, State, Versions
from streams.wall_clock import now_us
from touchline.errors import Refused, Retryable

__all__ = ["WAIT_S", "Retired", "Retirement", "Retiring"]

WAIT_S: Final = 60.0
"""How long the workers of a version may take to leave it."""

_BUILD: Final = "projection_build"
_POLL_S: Final = 0.5
_SHOWN_MAX: Final = 5
_TS_STEP_US: Final = 10


class Retirement(NamedTuple):
    """What retiring a version would do. `was` is its state; `needed`: the active version would be rolled back to it.

    `unsaid` are the partitions in which effects are still its to send (`unsaid.py`).
    """

    group: GroupVersion
    was: str
    needed: bool
    unsaid: list[int]
    members: list[Member]
    tables: list[str]
    parked: int


class Retired(NamedTuple):
    """What was done."""

    group: GroupVersion
    tables: list[str]
    parked: int
    consumer_group: bool


class Retiring:
    """One operator's retirements. `tell` hears of each step; `at_us` is the clock, `wait_s` as in `WAIT_S`."""

    def __init__(
        self,
        store: Store,
        log: GroupLog,
        tables: Tables,
        *,
        tell: Callable[[str], None] = lambda _: None,
        at_us: Callable[[], int] = now_us,
        wait_s: float = WAIT_S,
    ) -> None:
        self._store = store
        self._log = log
        self._tables = tables
        self._tell = tell
        self._at_us = at_us
        self._wait_s = wait_s
        self._versions = Versions(store)

    async def plan(self, group: GroupVersion) -> Retirement:
        """Return what would be done, changing nothing. Raises `Refused` if it may not be retired, `Misconfigured` if its tables are unknown."""
        standing = await self._versions.read(group.group)
        if standing is None or group.version not in standing.versions:
            there = ", ".join(f"v{one}" for one in sorted(standing.versions)) if standing else "none"
            raise Refused(f"There is no {group} (there are: {there}).", reason="no_version", next_step="look at `touchline projection status`.")
        _refuse_in_use(standing, group)
        await self._refuse_building(group)
        spoke = await Promotable(self._store, self._log).spoke(standing)
        before = [one for one in spoke if 0 < one < standing.active and standing.state(one) == "shadow"]
        names = await asyncio.to_thread(self._tables.existing, [table.physical for table in tables_of(group)])
        return Retirement(
            group,
            str(standing.state(group.version)),
            needed=bool(before) and before[-1] == group.version,
            unsaid=await unsaid(self._store, group, standing, await self._log.ends()) if standing.state(group.version) == "shadow" else [],
            members=await self._log.members(group),
            tables=names,
            parked=len(await ParkedCustomers(self._store).load(group)),
        )

    async def run(self, plan: Retirement) -> Retired:
        """Do it; what was begun is completed by running it again. Raises `Refused` if it came into use meanwhile, `Retryable` if workers stay.

        Meanwhile nobody builds it: the right to do so is held until its tables are gone.
        """
        lease = Lease(self._store, plan.group, this_process())
        await lease.take(self._at_us())
        keeping = asyncio.create_task(lease.keep(self._at_us))
        try:
            return await self._retire(plan)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            with suppress(Retryable):
                await lease.give_back(self._at_us())

    async def _retire(self, plan: Retirement) -> Retired:
        group = plan.group
        await self._mark(plan)
        await self._until_left(group)
        for name in plan.tables:
            self._tell(f"dropping {name}")
            await asyncio.to_thread(self._tables.drop, name)
        parked = await self._clear(group)
        self._tell("deleting the consumer group")
        return Retired(group, plan.tables, parked, await self._log.forget(group))

    async def _refuse_building(self, group: GroupVersion) -> None:
        builder = await Lease(self._store, group, "").holder(self._at_us())
        if builder:
            raise Refused(
                f"{group} is being built by {builder} (machine:process).",
                reason="build_under_way",
                next_step="end it there with Ctrl-C, then run this again.",
            )

    async def _mark(self, plan: Retirement) -> None:
        """Set the version retired; if a promotion of it has begun at the same moment, take that back."""
        group = plan.group
        standing = await self._standing(group)
        was = standing.versions[group.version].stored
        if was == "retired":
            return
        await self._versions.move(group, _stored(was), "retired", self._at_us(), reason="retired by the operator")
        try:
            _refuse_in_use(await self._standing(group), group)
        except Refused:
            await self._versions.move(group, "retired", _stored(was), self._at_us())
            raise
        self._tell(f"{group} is retired: its workers leave it")

    async def _until_left(self, group: GroupVersion) -> None:
        until_s = time.monotonic() + self._wait_s
        told = -1
        while members := await self._log.members(group):
            if len(members) != told:
                told = len(members)
                self._tell(f"{told} consumer{'s' if told > 1 else ''} still run{'' if told > 1 else 's'} it")
            if time.monotonic() > until_s:
                raise Retryable(
                    f"after {self._wait_s:.0f} s {group} is still run by {_who(members)}; its tables are untouched.",
                    next_step="stop these workers (they leave a retired version by themselves unless they hang), then run the same command again.",
                )
            await asyncio.sleep(_POLL_S)

    async def _clear(self, group: GroupVersion) -> int:
        """Set the checkpoints back, forget who was parked, what was left out and how it was built; return how many were parked."""
        checkpoints = await self._store.load_checkpoints(group)
        ts_us = max((one.write_ts_us for one in checkpoints.values()), default=0) + _TS_STEP_US
        parked = await ParkedCustomers(self._store).load(group)
        for one in parked:
            await ParkedCustomers(self._store).remove(group, one.customer, ts_us)
        await ExcludedRecords(self._store).forget(group, ts_us)
        await self._store.write([RowWrite(_BUILD, tuple(group), None, self._at_us())])
        if any(one.next_offset for one in checkpoints.values()):  # last: until then no build of the number begins
            began = Checkpoint(0, ts_us, active=False, event_time_us=0)
            await self._store.save_checkpoints(group, dict.fromkeys(checkpoints, began))
        return len(parked)

    async def _standing(self, group: GroupVersion) -> Standing:
        standing = await self._versions.read(group.group)
        if standing is None or group.version not in standing.versions:
            raise Refused(f"{group} is gone.", reason="no_version", next_step="look at `touchline projection status`.")
        return standing


def _refuse_in_use(standing: Standing, group: GroupVersion) -> None:
    if standing.active == group.version:
        raise Refused(
            f"{group} is the active version: readers use its tables.",
            reason="active",
            next_step=f"promote another one first: `touchline projection promote {group.group}`.",
        )
    if standing.promoting is not None and standing.promoting.version == group.version:
        raise Refused(
            f"{standing.promoting.by} is promoting {group}.",
            reason="promotion_in_progress",
            next_step="look at `touchline projection status`, then decide anew.",
        )


def _stored(state: str) -> State:
    return "building" if state == "building" else "retired" if state == "retired" else "shadow"


def _who(members: Sequence[Member]) -> str:
    shown = ", ".join(f"{member.client_id} at {member.host}" for member in members[:_SHOWN_MAX])
    return f"{shown} and {len(members) - _SHOWN_MAX} more" if len(members) > _SHOWN_MAX else shown
