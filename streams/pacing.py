"""Wake-ups after a new rulebook, paced: a retarget shows soon, without loading every state at once (engine.md §2).

A subject is told of a rulebook before its next record; most have none for hours. So everybody whose timers are armed is woken, so
many a second. Whoever has heard of it already is woken in vain, and writes nothing.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

import structlog

from projections.kernel import Subject
from streams.books import Position
from streams.wakeups import Wake, Waker

__all__ = ["Pacing"]

log = structlog.get_logger(__name__)

NEWS_US: Final = 24 * 3_600_000_000
"""A rulebook that was appended longer ago than this wakes nobody when it is read: a worker that starts from far behind."""

AGAIN_US: Final = 3_600_000_000
"""For so long whoever takes a partition over wakes everybody once more: its former owner may have been in the middle of it."""

_TURNS_PER_S: Final = 20


class Subjects(Protocol):
    """Who is waiting for timers: `streams.waking.TimerService`."""

    def subjects(self, partition: int) -> list[Subject]:
        """Return everybody of a partition whose timers are in memory."""
        ...

    def is_open(self, partition: int) -> bool:
        """Tell whether a partition is ours."""
        ...

    async def later_subjects(self, partition: int) -> list[Subject]:
        """Return everybody of a partition whose timers are not in memory yet."""
        ...


class _Round(NamedTuple):
    """Everybody of one tenant in one partition, because of one rulebook."""

    partition: int
    position: Position


class Pacing:
    """Wakes at most `wakes_per_s` a second. Never does anything for a group of which no projection hears of rulebooks."""

    def __init__(self, subjects: Subjects, waker: Waker, wakes_per_s: int, *, is_needed: bool = True) -> None:
        self._subjects = subjects
        self._waker = waker
        self._per_turn = max(wakes_per_s // _TURNS_PER_S, 1)
        self._is_needed = is_needed
        self._rounds: deque[_Round] = deque()
        self._news = asyncio.Event()

    def learned(self, partition: int, books: Iterable[Position], now_us: int) -> None:
        """Note rulebooks that were just read."""
        self._add(partition, books, now_us - NEWS_US)

    def reopened(self, partition: int, books: Iterable[Position], now_us: int) -> None:
        """Note the rulebooks of a partition that was just taken over."""
        self._add(partition, books, now_us - AGAIN_US)

    def forget(self, partitions: Iterable[int]) -> None:
        """Wake nobody any more in partitions that were given away."""
        gone = frozenset(partitions)
        self._rounds = deque(one for one in self._rounds if one.partition not in gone)

    async def run(self) -> None:
        """Go round until cancelled."""
        while True:
            while self._rounds:
                await self._go(self._rounds.popleft())
            self._news.clear()
            await self._news.wait()

    async def _go(self, one: _Round) -> None:
        position = one.position
        later = await self._subjects.later_subjects(one.partition)  # first: what is read meanwhile is in memory then
        everybody = dict.fromkeys([*later, *self._subjects.subjects(one.partition)])
        mine = [subject for subject in everybody if subject.tenant == position.tenant]
        name = f"config:{position.id}:{position.book.version}"
        log.info("config_wakes", partition=one.partition, subjects=len(mine), version=position.book.version)
        for at in range(0, len(mine), self._per_turn):
            if not self._subjects.is_open(one.partition):
                return
            turn = mine[at : at + self._per_turn]
            await self._waker.append([Wake(one.partition, subject, name, position.appended_us, position.appended_us) for subject in turn])
            await asyncio.sleep(1 / _TURNS_PER_S)

    def _add(self, partition: int, books: Iterable[Position], since_us: int) -> None:
        """Add the newest rulebook of each tenant: whoever hears of it hears of those before it."""
        newest = {position.tenant: position for position in books} if self._is_needed else {}
        rounds = [_Round(partition, position) for position in newest.values() if position.appended_us >= since_us]
        if rounds:
            self._rounds.extend(rounds)
            self._news.set()
