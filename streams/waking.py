"""Waking: the owner of a partition appends a wake-up when a timer comes, and again until the log's own clock says that it came after.

    wheel ──come──> is it armed? ──yes──> timer.woke onto the log ──append time > expiry moment──> done; the engine reads it back
      ^  ^             │ no: left out           │ not yet: again after the difference
      │  └─────────────┴ another moment ────────┘
    engine's work (what changed) · index (what was there when the partition was taken over)

Nothing here changes a state: that happens when the log is read back, on every run alike. So a wake-up too many does nothing, and one
that is lost is made up for by whoever takes the partition over (engine.md §3).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

import structlog

from projections.kernel import Subject
from streams.armed import next_of
from streams.books import Position
from streams.engine import Engine
from streams.metrics import GroupMetrics
from streams.pacing import Pacing
from streams.patience import Patience
from streams.store.port import GroupVersion, RowWrite, Store
from streams.timer_index import PAGE_ROWS, TimerIndex
from streams.timers import HOUR_US, TimerWheel, Waiting, hour_of
from streams.together import together
from streams.wakeups import Wake, Waker
from streams.work import Work

__all__ = ["AHEAD_HOURS", "TimerService"]

log = structlog.get_logger(__name__)

AHEAD_HOURS: Final = 2
"""Hours of the index that are read ahead; later ones are read when they come near."""

IN_FLIGHT_MAX: Final = 1000
"""Wake-ups on their way at once."""

WOKEN_MAX: Final = 100_000
"""Wake-ups that are remembered until they are read back; forgetting them costs some that are appended twice."""

_PAUSE_S: Final = 0.05
"""The longest pause between two looks at the wheel: a timer that was armed meanwhile is noticed after it."""

_BOUND_EVERY_US: Final = 10_000_000
_NOT_EVEN_WHICH: Final = -1
"""In place of the hours of the index that are still to be read: it is not known which there are."""

_Place = tuple[int, Subject]


class TimerService:
    """The timers of one group in the partitions that this worker owns. `now_us` is the worker's clock, epoch µs.

    `wakes_per_s` paces the wake-ups after a new rulebook. `run` must be running; everything else is called between its awaits.
    """

    def __init__(
        self,
        engine: Engine,
        store: Store,
        waker: Waker,
        *,
        metrics: GroupMetrics,
        patience: Patience,
        now_us: Callable[[], int],
        wakes_per_s: int = 2000,
    ) -> None:
        self._engine = engine
        self._store = store
        self._waker = waker
        self._metrics = metrics
        self._patience = patience
        self._now_us = now_us
        self._group = GroupVersion(engine.group.name, engine.group.version)
        self._index = TimerIndex(store, self._group)
        self._wheel = TimerWheel()
        self._pacing = Pacing(self, waker, wakes_per_s, is_needed=engine.is_configured)
        self._unread: dict[int, list[int]] = {}
        """The hours of the index that are still to be read, by open partition."""
        self._oldest: dict[int, int] = {}
        self._bounds: dict[int, tuple[int, int]] = {}
        self._flying: dict[_Place, int] = {}
        self._woken: dict[_Place, int] = {}
        """For which expiry moment a wake-up is on the log, or on its way there, until it is read back."""
        self._held: dict[int, list[Waiting]] = {}
        """Who has come in partitions into which the log is being imported: what follows may disarm them, so they wait for its end."""
        self._news = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many subjects wait for a timer, as far as their hours are read."""
        return len(self._wheel)

    # -- what the runner tells ------------------------------------------------------------------------------------------

    def open(self, partition: int, oldest_hour: int, books: Iterable[Position] = ()) -> None:
        """Take a partition over; its timers from `oldest_hour` (the checkpoint's) on are read behind the scenes."""
        self._unread[partition] = [_NOT_EVEN_WHICH]
        self._oldest[partition] = oldest_hour
        self._pacing.reopened(partition, books, self._now_us())
        self._news.set()

    def close(self, partitions: Iterable[int]) -> None:
        """Forget partitions that were given away."""
        gone = frozenset(partitions)
        for partition in gone:
            for kept in (self._unread, self._oldest, self._bounds, self._held):
                kept.pop(partition, None)
            self._index.forget(partition)
        self._wheel.forget(gone)
        self._woken = {place: at for place, at in self._woken.items() if place[0] not in gone}
        self._pacing.forget(gone)

    def note(self, work: Work) -> list[RowWrite]:
        """Take in what a work changed, before it is written; return the rows of the index that belong to its fan-out."""
        partition, wheel = work.partition, self._wheel
        for due in work.timers:
            place = (partition, Subject(due.tenant, due.subject))
            if due.was_us >= 0:
                wheel.cancel(partition, due.tenant, due.subject, due.was_us)
            if due.next is None:
                self._woken.pop(place, None)
            elif self._woken.get(place) != due.next.expires_us:
                self._woken.pop(place, None)
                self._arm(partition, place[1], due.next.expires_us)
        self._pacing.learned(partition, work.books, self._now_us())
        return self._index.rows(partition, work.timers, self._now_us())

    def oldest_hour(self, partition: int) -> int:
        """Return a bucket of the index before which nothing is pending: what the next owner starts to read from."""
        unread = self._unread.get(partition, [])
        if unread == [_NOT_EVEN_WHICH]:
            return self._oldest.get(partition, 0)
        now_us = self._now_us()
        made_us, bound_us = self._bounds.get(partition, (0, 0))
        if now_us - made_us > _BOUND_EVERY_US:
            found = self._wheel.oldest_us(partition)
            flying = [at for place, at in self._flying.items() if place[0] == partition]
            flying += [(one.at_ms - 1) * 1000 for one in self._held.get(partition, ())]
            bound_us = min([now_us if found is None else min(found, now_us), *flying])
            self._bounds[partition] = (now_us, bound_us)
        return min([hour_of(bound_us), *unread[:1]])

    def subjects(self, partition: int) -> list[Subject]:
        """Return everybody of a partition whose timers are in memory."""
        return list(self._wheel.subjects(partition))

    def is_open(self, partition: int) -> bool:
        """Tell whether a partition is ours."""
        return partition in self._unread

    async def later_subjects(self, partition: int) -> list[Subject]:
        """Return everybody of a partition whose timers lie in hours of the index that were not read yet."""
        while self._unread.get(partition) == [_NOT_EVEN_WHICH]:  # noqa: ASYNC110 - for some milliseconds after a take-over
            await asyncio.sleep(_PAUSE_S)
        found: dict[Subject, None] = {}
        for hour in list(self._unread.get(partition, [])):
            async for page in self._pages(partition, hour):
                found.update(dict.fromkeys(subject for subject, _ in page))
        return list(found)

    # -- what goes on beside the polls ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Do it until cancelled. What it raises must end the process."""
        await together(self._tick(), self._read_index(), self._pacing.run())

    async def _tick(self) -> None:
        while True:
            now_us = self._now_us()
            self._let_go()
            come = [one for one in self._wheel.due(now_us, IN_FLIGHT_MAX) if one.partition in self._unread and not self._hold(one)]
            if come:
                await self._wake(come)
                continue
            next_us = self._wheel.next_us()
            pause_s = _PAUSE_S if next_us is None else min(max(next_us - now_us, 1000) / 1e6, _PAUSE_S)
            await asyncio.sleep(pause_s)

    def _hold(self, one: Waiting) -> bool:
        """Keep back who comes in the middle of an import; tell whether it is."""
        if not self._engine.is_importing(one.partition):
            return False
        self._held.setdefault(one.partition, []).append(one)
        self._bounds.pop(one.partition, None)
        return True

    def _let_go(self) -> None:
        """Let those come up whose import has ended."""
        for partition in [held for held in self._held if not self._engine.is_importing(held)]:
            for one in self._held.pop(partition):
                self._arm(partition, one.subject, (one.at_ms - 1) * 1000)

    async def _wake(self, come: list[Waiting]) -> None:
        """Wake those of them whose timer is armed and has come; the others are left out, or come up again when theirs does."""
        partitions = {one.subject: one.partition for one in come}
        for one in come:  # until it is on the log, the bound of the checkpoint stays below it
            self._flying[one.partition, one.subject] = (one.at_ms - 1) * 1000
        try:
            armed, others = self._engine.armed(partitions)
            if others:
                states = await self._patience.run(lambda: self._store.load_states(self._group, others))
                known, others = self._engine.armed(others)  # some were folded while their states were read
                armed |= known | {subject: next_of(states.get(subject)) for subject in others}
            now_us = self._now_us()
            wakes = []
            for subject, expiry in armed.items():
                partition = partitions[subject]
                if expiry is None or partition not in self._unread or self._woken.get((partition, subject)) == expiry.expires_us:
                    continue
                if expiry.expires_us < now_us:
                    wakes.append(Wake(partition, subject, expiry.name, expiry.due_us, expiry.expires_us))
                else:
                    self._arm(partition, subject, expiry.expires_us)
            if wakes:
                await self._append(wakes)
        finally:
            for one in come:
                self._flying.pop((one.partition, one.subject), None)

    async def _append(self, wakes: list[Wake]) -> None:
        if len(self._woken) > WOKEN_MAX:
            self._woken.clear()
        for wake in wakes:  # before it is there: it may be read back before its report has come
            self._woken[wake.partition, wake.subject] = wake.expires_us
        appended_us = await self._waker.append(wakes)
        for wake, at_us in zip(wakes, appended_us, strict=True):
            place = (wake.partition, wake.subject)
            if at_us > wake.expires_us:
                self._metrics.timer_lateness_seconds.observe((at_us - wake.expires_us) / 1e6)
            elif self._woken.get(place) == wake.expires_us:  # the broker's clock is behind ours: again after the difference
                del self._woken[place]
                self._arm(*place, self._now_us() + wake.expires_us - at_us)
        self._metrics.wakes("appended", len(wakes))

    def _arm(self, partition: int, subject: Subject, expires_us: int) -> None:
        self._wheel.arm(partition, *subject, expires_us)
        made_us, bound_us = self._bounds.get(partition, (0, 0))
        if expires_us < bound_us:
            self._bounds[partition] = (made_us, expires_us)

    async def _read_index(self) -> None:
        """Read what is overdue and near, for partitions just taken over; later hours when they come near."""
        while True:
            self._news.clear()
            for partition in list(self._unread):
                await self._read_hours(partition)
            try:
                await asyncio.wait_for(self._news.wait(), HOUR_US / 1e6 / 60)
            except TimeoutError:
                continue

    async def _read_hours(self, partition: int) -> None:
        unread = self._unread.get(partition)
        if unread == [_NOT_EVEN_WHICH]:
            found = await self._patience.run(lambda: self._index.hours(partition, self._oldest.get(partition, 0)))
            if self._unread.get(partition) is not unread:
                return  # given away meanwhile, perhaps even taken over again
            unread = self._unread[partition] = found
            log.info("timers_indexed", group=self._group.group, version=self._group.version, partition=partition, hours=len(found))
        while unread and unread[0] <= hour_of(self._now_us()) + AHEAD_HOURS:
            async for page in self._pages(partition, unread[0]):
                if self._unread.get(partition) is not unread:
                    return
                for subject, expires_us in page:
                    if self._woken.get((partition, subject)) != expires_us:
                        self._arm(partition, subject, expires_us)
            if self._unread.get(partition) is unread:
                del unread[0]

    async def _pages(self, partition: int, hour: int) -> AsyncIterator[list[tuple[Subject, int]]]:
        """Yield what an hour of the index says, some thousand at a time."""
        last: tuple[Subject, int] | None = None
        while True:
            after = last
            page = await self._patience.run(lambda: self._index.page(partition, hour, after))  # noqa: B023 - called before it changes
            if page:
                yield page
                last = page[-1]
            if len(page) < PAGE_ROWS:
                return
