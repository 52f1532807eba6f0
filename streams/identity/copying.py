"""Appends the copies that a fold asked for: log.md §5. Live only: a replay finds them in the log.

    records of P ──by the rows that say where they lie──▶ copies under C, in the order of P's log ──▶ identity.copied under C

It comes when the rows of the records are written, and before the checkpoint is: a crash repeats all of it, and C skips what it has had by
the offsets at the origin. Knows the log and where records lie; must not know who is linked to whom, nor who speaks.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol
from uuid import UUID, uuid5

import structlog

from projections.kernel import Subject
from schemas.codec import Codec, Head, Undecodable
from schemas.events import Header, IdentityCopied
from streams.copy_run import CopyRun, joined
from streams.identity.apart import apart
from streams.identity.appending import LogAppender
from streams.identity.copies import copied, home_of, is_machinery
from streams.rebuild.history import Place, PlacedRecord
from streams.store.excluded import Exclusion
from streams.store.port import GroupVersion
from streams.work import Work
from touchline.errors import Refused

__all__ = ["COPIES_MAX", "Copier", "Findable", "Propose"]

log = structlog.get_logger(__name__)

COPIES_MAX: Final = 2_000
"""Records of one customer that a link copies. Above it none of them is: a shared number has such a history, not a person."""

PLACES_MAX: Final = 2 * COPIES_MAX
"""Rows that are read to find them: what is told of the customer itself, and is not copied, has rows too."""

PORTION_RECORDS: Final = 500
"""Copies that are appended before their acknowledgements are waited for."""

SOURCE: Final = "/touchline/identity"

_NAMESPACE: Final = UUID("3c1e4c0a-5d9e-5b63-8a53-2f4f1f0c9d27")

Propose = Callable[[CopyRun], Awaitable[None]]
"""Has a person decide about a link whose history is too long to be copied."""


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


async def _nobody(_: CopyRun) -> None:
    """Ask nobody."""


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
        return sum([await self._run(run, work) for work in works for run in joined(work.copies)])

    async def _run(self, run: CopyRun, work: Work) -> int:
        subject, partition = run.subject, work.partition
        chosen: list[tuple[PlacedRecord, Head]] = []
        try:
            places = await self._places(run, partition)
            chosen = await self._chosen(run, places)
        except Refused as refused:
            log.warning("not_copied", reason=refused.reason, partition=partition, offset=max(run.below, *run.offsets, 0))
            await self._propose(run)
        for number, (one, head) in enumerate(chosen, 1):
            self._append(one, head, run)
            if number % PORTION_RECORDS == 0:
                await self._log.drain()
        await self._log.drain()  # what completes them stands behind them, also where a copy had to be sent twice
        last = chosen[-1][0].record.offset if chosen else -1
        self._log.append(run.to, self._codec.encode(_complete(run, subject, last, work.checkpoint.write_ts_us)))
        await self._log.drain()
        log.info("copied", partition=partition, copies=len(chosen), last_offset=last)
        return len(chosen)

    async def _places(self, run: CopyRun, partition: int) -> list[Place]:
        """Return where the records lie that may have to be copied, and those that say what of them does not belong here any more."""
        subject = run.subject
        found = set[Place]()
        if run.below:
            found.update(await self._history.places(subject.tenant, subject.id, run.below, view=self._view, places_max=PLACES_MAX))
        found.update(Place(partition, offset) for offset in run.offsets)
        return sorted(place for place in found if place.partition == partition)

    async def _chosen(self, run: CopyRun, places: Sequence[Place]) -> list[tuple[PlacedRecord, Head]]:
        """Read the records and return those that are copied, in the order of the log. Raises `Refused` if they are too many."""
        subject = run.subject
        records = await self._history.records(places)
        excluded = await self._history.excluded(subject.id, self._view)
        heads = [self._codec.head(one.record.value) for one in records]
        out = apart(self._codec, subject.id, heads).out
        chosen = [
            (one, head)
            for number, (one, head) in enumerate(zip(records, heads, strict=True))
            if number not in out
            and not isinstance(head, Undecodable)
            and _is_its_own(head, run)
            and not any(exclusion.names(*one.place, head.header.id) for exclusion in excluded)
        ]
        if run.below and len(chosen) > COPIES_MAX:
            raise Refused("The history is too long.", reason="too_many_copies", next_step="let a person decide.")
        return chosen

    def _append(self, one: PlacedRecord, head: Head, run: CopyRun) -> None:
        try:
            value = copied(self._codec, head, one.record, origin=run.subject.id, to=run.to)
        except Refused as refused:  # a record at the limit of size, which its copy would pass
            log.warning("not_copied", reason=refused.reason, partition=one.partition, offset=one.record.offset)
            return
        self._log.append(run.to, value)


def _is_its_own(head: Head, run: CopyRun) -> bool:
    """Tell whether a record is copied: one that is no copy itself, or a copy that came home."""
    header = head.header
    return not is_machinery(head.type) and (header.origin_customer_id is None or home_of(header, run.subject.id) == run.home)


def _complete(run: CopyRun, subject: Subject, last: int, write_ts_us: int) -> IdentityCopied:
    """Return what says that a run is complete: the same for the same run, whoever appends it and when."""
    name = f"copied\0{subject.tenant}\0{subject.id}\0{run.home}\0{run.to}\0{run.below}\0{last}"
    header = Header(
        id=str(uuid5(_NAMESPACE, name)),
        source=SOURCE,
        tenant=subject.tenant,
        occurred_at_us=run.at_us,
        received_at_us=run.at_us,
        customer_id=run.to,
        home_customer_id=run.to,
        actor_kind="system",
    )
    return IdentityCopied(header=header, from_=subject.id, home=run.home, to=run.to, last_offset=last, write_ts_us=write_ts_us)
