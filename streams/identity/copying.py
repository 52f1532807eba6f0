"""Appends the copies that a fold asked for: log.md §5. Live only: a replay finds them in the log.

    records of P ──by the rows that say where they lie──▶ copies under C, in the order of P's log ──▶ identity.copied under C

It comes when the rows of the records are written, and before the checkpoint is: a crash repeats all of it, and C skips what it has had by
the offsets at the origin. Knows the log and where records lie; must not know who is linked to whom, nor who speaks.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, Protocol

import structlog

from projections.linked import is_copy
from schemas.codec import Codec, Head, Undecodable
from streams.copy_run import CopyRun, joined
from streams.identity import telling
from streams.identity.apart import apart
from streams.identity.appending import LogAppender
from streams.identity.copies import copied, home_of, is_machinery
from streams.rebuild.history import Place, PlacedRecord
from streams.store.excluded import Exclusion
from streams.store.port import GroupVersion
from streams.work import Work
from touchline.errors import Refused

__all__ = ["COPIES_MAX", "PLACES_MAX", "PORTION_RECORDS", "Copier", "Findable", "Propose", "copyable"]

log = structlog.get_logger(__name__)

COPIES_MAX: Final = 2_000
"""Records of one customer that a link copies. Above it none of them is: a shared number has such a history, not a person."""

PLACES_MAX: Final = 2 * COPIES_MAX
"""Rows that are read to find them: what is told of the customer itself, and is not copied, has rows too."""

PORTION_RECORDS: Final = 500
"""Copies that are appended before their acknowledgements are waited for."""

Propose = Callable[[CopyRun], Awaitable[bool]]
"""Has a person decide about a link whose history is too long to be copied; tells whether the link is undone until then."""


class Findable(Protocol):
    """Finds the records of a customer again: `History`, or a log that is kept (`streams/kept_log.py`)."""

    async def places(self, tenant: str, customer: str, upto: int, *, view: GroupVersion, places_max: int) -> list[Place]:
        """Return where they lie, below an offset, by the timeline of a version. Raises `Refused` above `places_max`."""
        ...

    async def records(self, places: Sequence[Place]) -> list[PlacedRecord]:
        """Return the records at these places, in order."""
        ...

    async def excluded(self, customer: str, group: GroupVersion) -> list[Exclusion]:
        """Return what rebuilds of a customer left out."""
        ...


async def _nobody(_: CopyRun) -> bool:
    """Ask nobody."""
    return False


class _Placed(NamedTuple):
    """A run, the work that asks for it, and where its records lie."""

    run: CopyRun
    work: Work
    places: list[Place]


class Copier:
    """Copies for the version of the view group whose timeline says where records lie."""

    def __init__(self, history: Findable, log: LogAppender, codec: Codec, view: GroupVersion, *, propose: Propose = _nobody) -> None:
        self._history = history
        self._log = log
        self._codec = codec
        self._view = view
        self._propose = propose

    async def copy(self, works: Sequence[Work]) -> int:
        """Append what these works ask for; return how many copies that were. May be called again after `Retryable`, from the beginning.

        Raises `Misconfigured` if the log no longer has a record, `Retryable` as log and store do.
        """
        waiting: list[_Placed] = []
        copies = 0
        for work in works:
            for run in joined(work.copies):
                places = await self._places(run, work.partition)
                if places is None:
                    continue
                if waiting and sum(len(one.places) for one in waiting) + len(places) > PLACES_MAX:
                    copies += await self._copy(waiting)
                    waiting = []
                waiting.append(_Placed(run, work, places))
        return copies + await self._copy(waiting)

    async def _copy(self, placed: Sequence[_Placed]) -> int:
        """Copy some runs together: what they need is read once, and acknowledgements are waited for once."""
        records = {one.place: one for one in await self._history.records(sorted({place for one in placed for place in one.places}))}
        ends: list[tuple[_Placed, int, int]] = []
        copies = 0
        for asked in placed:
            run, work, places = asked
            chosen = await self._chosen(run, work.partition, [records[place] for place in places if place in records])
            if chosen is None:
                continue
            for one, head in chosen:
                self._append(one, head, run)
                copies += 1
                if copies % PORTION_RECORDS == 0:
                    await self._log.drain()
            ends.append((asked, len(chosen), chosen[-1][0].record.offset if chosen else -1))
        await self._log.drain()  # what completes them stands behind them, also where a copy had to be sent twice
        for (run, work, _), _, last in ends:
            told = telling.copied(
                f"{run.below}\0{last}",
                run.subject,
                home=run.home,
                to=run.to,
                last_offset=last,
                at_us=run.at_us,
                write_ts_us=work.checkpoint.write_ts_us,
            )
            self._log.append(run.to, self._codec.encode(told))
        await self._log.drain()
        for (_, work, _), n, last in ends:
            log.info("copied", partition=work.partition, copies=n, last_offset=last)
        return copies

    async def _places(self, run: CopyRun, partition: int) -> list[Place] | None:
        """Return where the records lie that may have to be copied, and those that say what of them does not belong here any more.

        None if nothing is copied and nothing completed, the link being undone.
        """
        subject, offsets = run.subject, run.offsets
        found = set[Place]()
        if run.below:
            try:
                found.update(await self._history.places(subject.tenant, subject.id, run.below, view=self._view, places_max=PLACES_MAX))
            except Refused as refused:
                left = await self._left(run, partition, refused)
                if left is None:
                    return None
                offsets = left
        found.update(Place(partition, offset) for offset in offsets)
        return sorted(place for place in found if place.partition == partition)

    async def _chosen(self, run: CopyRun, partition: int, records: Sequence[PlacedRecord]) -> list[tuple[PlacedRecord, Head]] | None:
        """Return the records that are copied, in the order of the log; None as of `_places`."""
        excluded = await self._history.excluded(run.subject.id, self._view) if records else []
        chosen = copyable(self._codec, run, records, excluded)
        if sum(one.record.offset < run.below for one, _ in chosen) > COPIES_MAX:
            refused = Refused("The history is too long.", reason="too_many_copies", next_step="let a person decide.")
            left = await self._left(run, partition, refused)
            return None if left is None else [(one, head) for one, head in chosen if one.record.offset in left]
        return chosen

    async def _left(self, run: CopyRun, partition: int, refused: Refused) -> tuple[int, ...] | None:
        """Say that a history is too long; return the offsets that are copied all the same, None if the link is undone."""
        log.warning("not_copied", reason=refused.reason, partition=partition, offset=max(run.below, *run.offsets, 0))
        if run.below in run.offsets:  # linked long ago: what came before was copied then, or was not
            return run.offsets
        return None if await self._propose(run) else ()

    def _append(self, one: PlacedRecord, head: Head, run: CopyRun) -> None:
        try:
            value = copied(self._codec, head, one.record, origin=run.subject.id, to=run.to)
        except Refused as refused:  # a record at the limit of size, which its copy would pass
            log.warning("not_copied", reason=refused.reason, partition=one.partition, offset=one.record.offset)
            return
        self._log.append(run.to, value)


def copyable(codec: Codec, run: CopyRun, records: Sequence[PlacedRecord], excluded: Sequence[Exclusion]) -> list[tuple[PlacedRecord, Head]]:
    """Return which of these records a run copies: what no undone link takes out and no rebuild leaves out, each with its header."""
    heads = [codec.head(one.record.value) for one in records]
    out = apart(codec, run.subject.id, heads).out
    return [
        (one, head)
        for number, (one, head) in enumerate(zip(records, heads, strict=True))
        if not isinstance(head, Undecodable)
        and (number not in out or (run.home != run.subject.id and not is_copy(head.header)))  # given back, by who spoke then
        and _is_its_own(head, run)
        and not any(exclusion.names(*one.place, head.header.id) for exclusion in excluded)
    ]


def _is_its_own(head: Head, run: CopyRun) -> bool:
    """Tell whether a record is copied: one that is no copy itself, or a copy that came home; for somebody else only what is of their home."""
    header = head.header
    is_theirs = home_of(header, run.subject.id) == run.home
    return not is_machinery(head.type) and (is_theirs or (header.origin_customer_id is None and run.home == run.subject.id))
