"""Trailing: a demoted version stays behind the one that speaks, so that no reader who comes back to it sees an older row after a newer one.

Where a version has spoken in a partition and another one does now, it folds a record there only when that one's checkpoint is beyond
it. While a promotion of this version is under way (a rollback, perhaps from a version whose workers are dead) it goes on alone. A
version that never spoke need not trail: nobody has read it. Over the store port only.
"""

import asyncio
import time
from bisect import bisect_left
from collections.abc import Iterable
from operator import attrgetter
from typing import Final

import structlog

from streams.patience import DEGRADED_AFTER_S, Patience
from streams.records import Batch
from streams.store.port import GroupVersion, Store
from streams.versions.promotions import Promotions
from streams.versions.versions import Versions

__all__ = ["Trailing"]

log = structlog.get_logger(__name__)

_PAUSE_MIN_S: Final = 0.05
_PAUSE_MAX_S: Final = 1.0
_STANDING_S: Final = 1.0
"""For how long it is taken as known whether this version is being promoted."""

_offset = attrgetter("offset")


class Trailing:
    """How far one version may go in the partitions that it owns. `split` decides by what is known, `look` finds out more."""

    def __init__(self, store: Store, group: GroupVersion, patience: Patience) -> None:
        self._store = store
        self._versions = Versions(store)
        self._group = group
        self._patience = patience
        self._passed: dict[int, tuple[int, int]] = {}
        """(speaker, the next offset of its checkpoint) by partition."""
        self._waiting: dict[int, int] = {}
        """The speaker that a partition waits for."""
        self._asked_s = float("-inf")
        self._is_promoted = False
        self._pause_s = 0.0
        self._since_s: float | None = None

    def forget(self, partitions: Iterable[int]) -> None:
        """Forget partitions that were given away."""
        for partition in partitions:
            self._passed.pop(partition, None)
            self._waiting.pop(partition, None)

    def split(self, part: Batch, promotions: Promotions | None) -> tuple[Batch | None, Batch | None]:
        """Return (what may be folded now, what must wait) of records that lie below the next promotion; None for nothing."""
        partition = part.partition
        self._waiting.pop(partition, None)
        if not self._trails(promotions) or self._goes_alone():
            return part, None
        speaker = promotions.speaker  # type: ignore[union-attr]  # it trails, so there are some
        of, passed = self._passed.get(partition, (speaker, 0))
        n = bisect_left(part.records, passed, key=_offset) if of == speaker else 0
        if n == len(part.records):
            self._pause_s, self._since_s = 0.0, None
            return part, None
        self._waiting[partition] = speaker
        if n == 0:
            return None, part
        first, rest = part.records[:n], part.records[n:]
        return Batch(partition, first, part.epoch, part.topic), Batch(partition, rest, part.epoch, part.topic)

    async def look(self) -> None:
        """Look how far the speakers are, after a pause that grows while they do not move."""
        if self._pause_s:
            await asyncio.sleep(self._pause_s)
        if time.monotonic() - self._asked_s >= _STANDING_S:
            standing = await self._patience.run(lambda: self._versions.read(self._group.group))
            promoting = standing.promoting if standing is not None else None
            self._is_promoted = promoting is not None and promoting.version == self._group.version
            self._asked_s = time.monotonic()
        moved = False
        waiting = dict(self._waiting)
        for speaker in sorted(set(waiting.values())):
            of = GroupVersion(self._group.group, speaker)
            checkpoints = await self._patience.run(lambda: self._store.load_checkpoints(of))  # noqa: B023 - called before it changes
            for partition in [one for one, for_whom in waiting.items() if for_whom == speaker and one in checkpoints]:
                found = speaker, checkpoints[partition].next_offset
                moved = moved or self._passed.get(partition) != found
                self._passed[partition] = found
        self._pause_s = _PAUSE_MIN_S if moved else min(max(2 * self._pause_s, _PAUSE_MIN_S), _PAUSE_MAX_S)
        self._say(waiting, moved=moved)

    def _trails(self, promotions: Promotions | None) -> bool:
        version = self._group.version
        return promotions is not None and promotions.speaker != version and promotions.spoke(version)

    def _goes_alone(self) -> bool:
        return self._is_promoted and time.monotonic() - self._asked_s < _STANDING_S

    def _say(self, waiting: dict[int, int], *, moved: bool) -> None:
        """Say it in the log when nothing has moved for long: the speaker's workers are behind, or none is there."""
        now_s = time.monotonic()
        if not waiting:  # something else is waited for
            self._since_s = None
        elif moved or self._since_s is None:
            self._since_s = now_s
        elif now_s - self._since_s > DEGRADED_AFTER_S:
            self._since_s = now_s
            speakers = sorted(set(waiting.values()))
            log.warning("waits_for_speaker", group=self._group.part, speakers=speakers, partitions=sorted(waiting))
