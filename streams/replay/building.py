"""Builds a version of a group: its row, its tables, and history in rounds until it has caught up; then it stands in the shadow.

    building ── round: snapshot of the log's ends, kept with the build; processes replay up to there ──┐
        ^──────────────────────── not caught up: again, to the new end ────────────────────────────────┤
                                                                      shadow <── caught up ────────────┘

A build that is cut off goes on where it was: its row, its tables, the ends of its round and its checkpoints are all in the store.
Must not know the command line.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

import msgspec

from projections.registry import Group
from streams.cluster import Place
from streams.dealing import deal
from streams.replay.crew import Crew
from streams.replay.governor import LOOK_EVERY_S, Governor
from streams.replay.lease import Lease, this_process
from streams.replay.messages import OnError, Progress, Share
from streams.replay.planning import BuildPlan, planned, stored_build
from streams.replay.replay import CHUNK_RECORDS
from streams.replay.waiting import Waiting
from streams.replay.writing import TABLE
from streams.store.port import CellValue, GroupVersion, RowWrite, Store
from streams.versions.versions import Versions
from streams.wall_clock import now_us
from touchline.errors import Refused, Retryable, TouchlineError
from touchline.settings import Settings

__all__ = ["ROUNDS_MAX", "Build", "BuildSettings", "Built", "Status"]

ROUNDS_MAX: Final = 20
"""Rounds after which a build that has not caught up says so and stops."""

CHUNK_RECORDS_MIN: Final = 200
_CHUNK_S: Final = 2.0
"""Where the operator limits the rate a chunk is what it allows in this time, so that the work comes in small portions."""


class BuildSettings(msgspec.Struct, frozen=True):
    """How to go about it. `until_lag_s`: caught up is who is not further behind than this."""

    workers: int = 1
    rate_max: float | None = None
    on_error: OnError = "stop"
    until_lag_s: float = 5.0


class Status(msgspec.Struct, frozen=True):
    """How far a build is. `rate_limit`: what it keeps to (None: nothing); `yielding`: the live version needs the room.

    In round 0 its partitions are being opened. `waiting`: of what processes wait for, that which has been waited for longest.
    """

    round: int
    records: int
    total: int
    per_s: float
    rate_limit: float | None
    yielding: bool
    live_lag: int | None
    waiting: Waiting | None
    processes: list[Progress]


class Built(msgspec.Struct, frozen=True):
    """What a build came to. Not `complete`: it was stopped, and can be taken up again."""

    complete: bool
    rounds: int
    records: int
    rows: int
    withheld: int
    expired: int
    parked: int
    seconds: float
    lag_s: float


class Build:
    """One build, by one operator.

    `ranges` asks the log for (first offset, end) by place, `live_lag` how many records the active version is behind it (None: nobody
    runs one); `make_tables` creates what is missing. `say` hears every two seconds how far it is.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        group: Group,
        how: BuildSettings,
        *,
        ranges: Callable[[], Awaitable[Mapping[Place, tuple[int, int]]]],
        live_lag: Callable[[], Awaitable[int | None]],
        make_tables: Callable[[], Awaitable[object]],
        say: Callable[[Status], None] = lambda _: None,
        now_us: Callable[[], int] = now_us,
    ) -> None:
        self._settings = settings
        self._store = store
        self._group = group
        self._version = GroupVersion(group.name, group.version)
        self._how = how
        self._ranges = ranges
        self._live_lag = live_lag
        self._make_tables = make_tables
        self._say = say
        self._now_us = now_us
        self._lease = Lease(store, self._version, this_process())
        self._governor = Governor(how.rate_max)
        self._crew: Crew | None = None
        self._stopping = False
        self._round = 0
        self._total = 0
        self._lag: int | None = None
        self._per_s = 0.0

    async def plan(self) -> BuildPlan:
        """Look at what would be done; raises as `planned` does."""
        return await planned(self._store, self._group, await self._ranges(), self._now_us(), here=this_process())

    async def run(self) -> Built:
        """Do it. Raises what planning, any process, or whoever else builds it raises; all that is written stays."""
        plan = await self.plan()
        await self._lease.take(self._now_us())
        began_s = time.monotonic()
        keeping = asyncio.create_task(self._lease.keep(self._now_us))
        building = asyncio.create_task(self._build(plan, began_s))
        try:
            await asyncio.wait([keeping, building], return_when=asyncio.FIRST_COMPLETED)
            if keeping.done() and not building.done():
                keeping.result()  # the lease is lost
            return await building
        finally:
            keeping.cancel()
            building.cancel()
            await asyncio.gather(keeping, building, return_exceptions=True)
            if self._crew is not None:
                await self._crew.close()
            with suppress(Retryable):
                await self._lease.give_back(self._now_us())

    def stop(self) -> None:
        """Let every process finish its chunk; said twice they end at once."""
        if self._crew is not None:
            (self._crew.kill if self._stopping else self._crew.stop)()
        self._stopping = True

    # -- rounds

    async def _build(self, plan: BuildPlan, began_s: float) -> Built:
        await Versions(self._store).add(self._version, self._now_us())
        await self._make_tables()
        stored = await stored_build(self._store, self._version)
        chunk = stored.chunk_records if stored and stored.chunk_records else self._chunk()
        ends = stored.ends if stored else {}
        standing = await Versions(self._store).read(self._version.group)
        first = standing.first if standing else 0
        shares = self._shares(plan, first, chunk)
        crew = self._crew = Crew(shares)
        if self._stopping:
            return self._built(complete=False, began_s=began_s, lag_s=-1.0)
        watching = asyncio.create_task(self._watch(crew))
        try:
            await crew.start()
            snapshot_s = began_s
            while self._round < ROUNDS_MAX:
                self._round += 1
                asked_s = time.monotonic()
                ends, is_new = await self._ends(ends, chunk)
                snapshot_s = asked_s if is_new else began_s - self._how.until_lag_s
                at = {partition: offset for one in crew.progress for partition, offset in one.offsets.items()}
                self._total = sum(one.records for one in crew.progress) + sum(max(0, end - at.get(p, 0)) for p, end in ends.items())
                self._govern(crew)
                done = await crew.run(ends)
                if watching.done():
                    watching.result()  # nobody looked whether the live version keeps up
                if not done or self._stopping:
                    return self._built(complete=False, began_s=began_s, lag_s=-1.0)
                await self._note_rate(began_s)
                if (lag_s := time.monotonic() - snapshot_s) < self._how.until_lag_s:
                    await Versions(self._store).move(self._version, "building", "shadow", self._now_us())
                    return self._built(complete=True, began_s=began_s, lag_s=lag_s)
                ends = {}
        finally:
            watching.cancel()
        raise Refused(
            f"{self._version} does not catch up: after {ROUNDS_MAX} rounds it is {time.monotonic() - snapshot_s:.0f} s behind.",
            reason="never_catches_up",
            next_step="run the same command again with more --workers, a higher --max-rate, or a greater --until-lag: it goes on where it is.",
        )

    async def _ends(self, ends: Mapping[int, int], chunk: int) -> tuple[dict[int, int], bool]:
        """Return up to where this round goes: where the one that was cut off went, else the log's ends as of now (then True), which are noted."""
        now = {place.partition: end for place, (_, end) in (await self._ranges()).items()}
        if ends.keys() >= now.keys():
            checkpoints = await self._store.load_checkpoints(self._version)
            if any(partition not in checkpoints or checkpoints[partition].next_offset < end for partition, end in ends.items() if end):
                return {partition: ends[partition] for partition in now}, False
        common: dict[str, CellValue] = {"began_at": self._now_us(), "chunk_records": chunk}
        await self._store.write(
            [RowWrite(TABLE, (*self._version, partition), {"end_offset": end, **common}, self._now_us()) for partition, end in now.items()]
        )
        return now, True

    def _shares(self, plan: BuildPlan, first: int, chunk: int) -> list[Share]:
        dealt = deal(plan.parts, lambda part: part.records, self._how.workers)
        hands = [tuple(part.partition for part in hand) for hand in dealt]
        return [Share(self._settings, self._group.name, self._group.version, first, hand, chunk, self._how.on_error) for hand in hands]

    def _chunk(self) -> int:
        if self._how.rate_max is None:
            return CHUNK_RECORDS
        return min(CHUNK_RECORDS, max(CHUNK_RECORDS_MIN, round(self._how.rate_max * _CHUNK_S / self._how.workers)))

    async def _note_rate(self, began_s: float) -> None:
        """Keep what was reached, for the next plan: of builds that were long enough to tell, and as fast as they could be."""
        done, seconds = sum(one.records for one in self._crew.progress) if self._crew else 0, time.monotonic() - began_s
        if self._round == 1 and done > CHUNK_RECORDS and self._how.rate_max is None:
            columns: dict[str, CellValue] = {"records_per_s": round(done / seconds)}
            await self._store.write([RowWrite(TABLE, tuple(self._version), columns, self._now_us())])

    def _built(self, *, complete: bool, began_s: float, lag_s: float) -> Built:
        done = self._crew.progress if self._crew else []
        return Built(
            complete=complete,
            rounds=self._round,
            records=sum(one.records for one in done),
            rows=sum(one.rows for one in done),
            withheld=sum(one.withheld for one in done),
            expired=sum(one.expired for one in done),
            parked=sum(one.parked for one in done),
            seconds=time.monotonic() - began_s,
            lag_s=lag_s,
        )

    # -- beside them

    async def _watch(self, crew: Crew) -> None:
        """Look at the live version and at the processes, set the rate, and say how far it is."""
        was, was_s = 0, time.monotonic()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            with suppress(TouchlineError):  # the last one that is known counts
                self._lag = await self._live_lag()
            done, now_s = sum(one.records for one in crew.progress), time.monotonic()
            self._per_s = (done - was) / (now_s - was_s)
            was, was_s = done, now_s
            if self._round:
                self._govern(crew)
            self._say(
                Status(
                    round=self._round,
                    records=done,
                    total=max(self._total, done),
                    per_s=self._per_s,
                    rate_limit=self._governor.rate,
                    yielding=self._governor.yielding,
                    live_lag=self._lag,
                    waiting=max((one.waiting for one in crew.progress if one.waiting), key=lambda one: one.seconds, default=None),
                    processes=crew.progress,
                )
            )

    def _govern(self, crew: Crew) -> None:
        crew.set_rate(self._governor.look(self._lag, self._per_s))
