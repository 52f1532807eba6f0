"""Standing still: a version that is paused or retired stops folding until somebody has looked, or for good. Over the store port only.

What its row in `projection_version` says is read about every second, by every worker that runs it. A version in which too many
customers are parked at once pauses itself: that is a fault of the system, not of theirs (engine.md §7).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import structlog

from streams.store.port import GroupVersion, Store
from streams.versions.versions import VersionRow, Versions
from streams.work import Work
from touchline.errors import Retryable

__all__ = ["LOOK_EVERY_S", "NEWLY_PARKED_MAX", "WITHIN_S", "ParkingAlarm", "Standstill"]

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 1.0
"""How often a version's row is read."""

NEWLY_PARKED_MAX: Final = 100
"""So many customers may be parked anew within `WITHIN_S`, in one process and version; one more pauses the version."""

WITHIN_S: Final = 60.0

RETIRED: Final = "retired"


class ParkingAlarm:
    """Counts the customers who were parked lately."""

    def __init__(self) -> None:
        self._lately: deque[tuple[float, int]] = deque()
        self._n = 0

    def note(self, works: Iterable[Work], now_s: float) -> str:
        """Take in what was folded; return why the version must pause, empty while it need not. `now_s` only counts up."""
        found = [
            str(row.columns["reason"])
            for work in works
            if work.results.get("parked")
            for row in work.fan_out
            if row.table == "parked_customer" and row.columns and row.columns["n"] == 1
        ]
        if not found:
            return ""
        self._lately.append((now_s, len(found)))
        self._n += len(found)
        while self._lately[0][0] <= now_s - WITHIN_S:
            self._n -= self._lately.popleft()[1]
        if self._n <= NEWLY_PARKED_MAX:
            return ""
        return f"parked: {self._n} customers in a minute, the last reason {found[-1]}"

    def reset(self) -> None:
        """Forget what was: somebody has looked."""
        self._lately.clear()
        self._n = 0


class Standstill:
    """Whether one version stands still here. `shown` is told each change.

    `why` is empty while it goes; `is_final`: it never will again. `must_leave`: whoever folds stops, and gives its partitions back.
    """

    def __init__(self, store: Store, group: GroupVersion, *, shown: Callable[[bool], object] = lambda _: None) -> None:
        self._store = store
        self._group = group
        self._shown = shown
        self._changed = asyncio.Event()
        self.alarm = ParkingAlarm()
        self.is_known = False
        self.is_final = False
        self.must_leave = False
        self.why = ""

    @property
    def may_go(self) -> bool:
        """Whether the version may fold: its row was read, and says nothing against it."""
        return self.is_known and not self.why and not self.must_leave

    def left(self) -> None:
        """Note that nothing is under way any more: the version may begin anew, once it may go."""
        self.must_leave = False
        self._changed.set()

    async def look(self) -> None:
        """Read the version's row. A store that does not answer leaves everything as it is."""
        if self.is_final:
            return
        with suppress(Retryable):
            rows = await self._store.read("projection_version", {"name": self._group.group})
            found = next((row for row in map(VersionRow.of, rows) if row.version == self._group.version), None)
            retired = found is not None and found.stored == RETIRED and not await self._is_in_use()
            self.is_final = retired and self.why == RETIRED  # seen twice: a retirement yields to a promotion of the same moment
            self._take(RETIRED if retired else found.paused if found is not None else "")

    async def pause(self, why: str, now_us: int) -> None:
        """Let the version stand still, here at once, and wherever it runs. Raises `Retryable`; it may be called again."""
        await Versions(self._store).pause(self._group, why, now_us)
        self._take(self.why or why)

    async def change(self, within_s: float = LOOK_EVERY_S) -> None:
        """Wait until something changes, or for so long."""
        self._changed.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), within_s)

    async def _is_in_use(self) -> bool:
        """Tell whether readers see the version, or are about to, whatever its row says."""
        standing = await Versions(self._store).read(self._group.group)
        promoting = standing.promoting if standing is not None else None
        return standing is not None and self._group.version in {standing.active, promoting.version if promoting is not None else 0}

    def _take(self, why: str) -> None:
        was, self.why, known = self.why, why, self.is_known
        self.is_known = True
        self.must_leave = self.must_leave or bool(why)
        if bool(was) == bool(why) and known and RETIRED not in {was, why}:
            return
        told = {"group": self._group.part}
        if why and why != was:
            log.warning("stands_still", **told, why=why, next_step=self._next_step())
        elif was and not why:
            self.alarm.reset()
            log.info("goes_on", **told)
        self._shown(bool(why))
        self._changed.set()

    def _next_step(self) -> str:
        if self.why == RETIRED:
            return "none: start this worker without it."
        return f"see `touchline parked list`, then `touchline projection resume {self._group.group}@{self._group.version}`."
