"""The clockwork's group with a fault that somebody mends, and an owner that executes rebuilds: batches cut, folded, written in steps."""

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from projections.kernel import Disarm, Moment, Step, Upsert
from projections.registry import Group
from projections.rules import Config
from schemas.codec import Head
from schemas.events import ConversationTagged, Header, ProjectionRebuild, TimerWoke
from schemas.record import Event
from streams.books import positions
from streams.cutting import Cutter
from streams.engine import Engine
from streams.parking import ParkedCustomer
from streams.rebuild.history import History, Place
from streams.rebuild.rebuilding import Rebuilder
from streams.records import Batch, RawRecord
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion, RowWrite
from streams.tallies import Tallies
from streams.timer_index import TimerIndex
from streams.work import Work
from tests.support.clockwork import CODEC, GROUP, SECOND, Bell, ClockworkGroup, Ear, Waiting, rules

__all__ = ["ALL_STEPS", "BROKEN", "MENDED", "VERSION", "Listed", "Owner", "rebuild", "written"]

VERSION = GroupVersion("clockwork", 1)
ALL_STEPS = 6


class MendedBell(Bell):
    """The bell by the code that mends it: a conversation that is tagged `poison` needs no answer, and has a row that says so."""

    version: ClassVar[int] = 1

    def apply(self, state: Waiting, event: Event, at: Moment) -> Step[Waiting]:
        if isinstance(event, ConversationTagged) and event.tag == "poison":
            conversation = event.header.conversation_id or ""
            state.since_us.pop(conversation, None)
            row = Upsert("ring", ("acme", conversation.split("/")[0], conversation), {"n": -1})
            return Step(state, (row,), (Disarm(conversation),))
        return super().apply(state, event, at)


BROKEN = GROUP
MENDED = ClockworkGroup("clockwork", 1, (MendedBell(), Ear()))


class Listed(History):
    """A log in a list as a history: every record of a customer but wake-ups has its place in it, as if the view had a row of each."""

    def __init__(self, store: MemoryStore, log: Sequence[RawRecord]) -> None:
        super().__init__(store, self)
        self.log = log
        self._table = store

    async def view(self) -> GroupVersion:
        return VERSION

    async def places(
        self, tenant: str, customer: str, upto: int | None = None, *, group: GroupVersion | None = None, view: GroupVersion | None = None
    ) -> list[Place]:
        found = {Place(0, one.offset) for one in self.log if one.key == customer.encode() and not _is_wake_up(one)}
        waiting = await self._table.read("parked_record", {"name": "clockwork", "version": 1, "customer": customer})
        found |= {Place(0, int(row["src_offset"])) for row in waiting}  # type: ignore[arg-type]
        return sorted(place for place in found if upto is None or place.offset < upto)

    def records(self, partition: int | Sequence[Place], offsets: Iterable[int] = ()) -> Iterator[RawRecord]:  # type: ignore[override]
        if isinstance(partition, int):
            return (self.log[offset] for offset in sorted(offsets))
        return super().records(partition)  # type: ignore[return-value]


def _is_wake_up(record: RawRecord) -> bool:
    head = CODEC.head(record.value)
    return isinstance(head, Head) and head.type is TimerWoke


def rebuild(offset: int, customer: int, appended_s: float, *exclude: str, mode: str = "rebuild", name: str = "clockwork") -> RawRecord:
    """Return a rebuild record."""
    at_us = round(appended_s * SECOND)
    header = Header(
        id=f"rebuild-{offset}", source="/touchline/operator", tenant="acme", occurred_at_us=at_us, received_at_us=at_us, customer_id=f"c{customer}"
    )
    event = ProjectionRebuild(header=header, group=name, version=1, customer=f"c{customer}", mode=mode, exclude_ids=exclude, reason="test")
    return RawRecord(offset, f"c{customer}".encode(), CODEC.encode(event), at_us)


class Owner:
    """One process that owns the partition: engine, figures and rebuilder as they are after a start."""

    def __init__(self, into: MemoryStore, log: Sequence[RawRecord], group: Group = MENDED, *, cached: int = 1000) -> None:
        self.into = into
        self.engine = Engine(group, CODEC, tenant="acme", cached_subjects_max=cached, config=Config((rules(60),)))
        self.tallies = Tallies(group, into, cached_rows_max=cached)
        self.index = TimerIndex(into, VERSION)
        self.rebuilder = Rebuilder(self.engine, into, Listed(into, log), codec=CODEC)
        self.start = 0

    async def opened(self) -> "Owner":
        """Take the partition over at the store's checkpoint."""
        checkpoint = (await self.into.load_checkpoints(VERSION)).get(0)
        parked = [ParkedCustomer.from_row(row) for row in await self.into.read("parked_customer", {"name": "clockwork", "version": 1})]
        self.start = self.engine.open(0, checkpoint, parked, books=positions(await self.into.read("config_position", {"partition": 0})))
        return self

    def cut(self, records: Sequence[RawRecord]) -> list[Batch]:
        """Return the parts of a poll."""
        return Cutter(CODEC, "clockwork", 1).cut(Batch(0, list(records))) if records else []

    async def fold(self, part: Batch) -> Work:
        """Fold one part of `cut`; nothing is written."""
        if Cutter(CODEC, "clockwork", 1).rebuild_of(part) is not None:
            work = await self.rebuilder.rebuild(part)
        else:
            taken = self.engine.take(part)
            work = self.engine.feed(taken, await self.into.load_states(VERSION, self.engine.missing(taken)))
        await self.tallies.add([work], self.engine.work_number)
        work.fan_out.extend(self.index.rows(0, work.timers, 0))
        return work

    async def run(self, records: Sequence[RawRecord]) -> list[Work]:
        """Fold and write records, part by part."""
        works = []
        for part in self.cut(records):
            works.append(await self.fold(part))
            await written(self.into, works[-1])
            self.engine.acknowledge(self.engine.work_number)
            self.tallies.acknowledge(self.engine.work_number)
        return works


async def written(into: MemoryStore, work: Work, steps: int = ALL_STEPS, *, torn: bool = False) -> None:
    """Write part of a work: half of the fan-out (1), all of it (2), and half of the own rows (3) or the other half (4), all (5), the checkpoint.

    Halves are of whole partitions, which are written atomically; `torn` cuts through them, as where one is too large for a request.
    """
    owners: list[object] = list(range(len(work.own))) if torn else [_owner(row) for row in work.own]
    known = list(dict.fromkeys(owners))
    first = set(known[: len(known) // 2])
    chosen = {3: lambda owner: owner in first, 4: lambda owner: owner not in first}.get(steps, lambda _: True)
    if steps > 0:
        await into.write(work.fan_out[: len(work.fan_out) // 2] if steps == 1 else work.fan_out)
    if steps > 2:
        await into.write([row for row, owner in zip(work.own, owners, strict=True) if chosen(owner)])
    if steps >= ALL_STEPS:
        await into.save_checkpoints(VERSION, {0: work.checkpoint})


def _owner(row: RowWrite) -> object:
    """Return whose partition a row is in: of one subject all tables are one, but for the two that say who waits."""
    return (row.table, row.key[:3]) if row.table.startswith("parked") else row.key[:2]
