"""Customers who are linked and unlinked, on a log of several partitions in memory, and workers of both groups who follow it.

The log takes what workers append: copies, and what goes with them. A worker reads as far as it is told, dies where it is told, and
begins again at its checkpoints.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from projections.digest import Difference, difference
from projections.kernel import Effect
from projections.registry import GROUPS, Group
from projections.rules import Config, LadderStep, Policy, Rulebook, UnansweredRule
from schemas.codec import Codec
from schemas.events import Handle, Header, IdentityLinked, IdentityUnlinked, MessageReceived, MessageSent, ProjectionRebuild, TimerWoke
from schemas.record import Event
from streams.customer_view import decoded
from streams.cutting import EVERY_VERSION, Cutter
from streams.effects import DESTINATIONS
from streams.engine import Engine
from streams.identity.copying import Copier
from streams.identity.undoing import Undoing
from streams.rebuild.history import History
from streams.rebuild.rebuilding import Rebuilder
from streams.records import Batch, RawRecord
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion
from streams.takeover import take_over
from streams.tallies import Tallies
from streams.work import Work
from tests.support.memory_log import Killed, Mortal

__all__ = ["BOOK", "CARE", "CODEC", "MINUTE", "NEXT", "PARTITIONS", "VIEW", "LinkedLog", "Worker", "differences", "quiet"]

CODEC = Codec()
VIEW, CARE = GROUPS["view"], GROUPS["care"]
NEXT = (Group("view", 2, VIEW.projections), Group("care", 2, CARE.projections))
"""The same code once more, as the versions after them."""

MINUTE = 60_000_000
PARTITIONS = 3
BEGINNING_US = 1_000 * MINUTE
BOOK = Rulebook(
    version=1,
    effective_at_us=0,
    policies=(Policy(id="all", targets={"first_response": 3600, "resolution_total": 9 * 3600}, answered_by="any_channel"),),
    unanswered=(
        UnansweredRule(id="mail", when='type == "message.received"', answer_within_s=1800, escalation=(LadderStep(after_s=0, to="a"),)),
        UnansweredRule(id="talk", when='type == "message.received"', answer_within_s=2400, recovered_by="conversation"),
    ),
)


class LinkedLog:
    """Partitions of records. The last digit of a customer's name says in which partition it lies. `lives`: appends before it dies."""

    def __init__(self) -> None:
        self.partitions: dict[int, list[RawRecord]] = {n: [] for n in range(PARTITIONS)}
        self.now_us = BEGINNING_US
        self.lives: int | None = None
        self.turns: dict[str, int] = {}

    # -- what workers append, and read

    def append(self, key: str, value: bytes) -> None:
        if self.lives is not None:
            if self.lives <= 0:
                raise Killed
            self.lives -= 1
        records = self.partitions[partition_of(key)]
        records.append(RawRecord(len(records), key.encode(), value, self.now_us))

    async def drain(self) -> None:
        return None

    def records(self, partition: int, offsets: Iterable[int]) -> Iterator[RawRecord]:
        return (self.partitions[partition][offset] for offset in sorted(offsets))

    def batches(self, partition: int, first: int, end: int, records_max: int = 20_000) -> Iterator[Batch]:
        for at in range(first, end, records_max):
            yield Batch(partition, self.partitions[partition][at : min(end, at + records_max)], topic="log")

    # -- what happens

    def put(self, event: Event, key: str) -> None:
        self.append(key, CODEC.encode(event))

    def said(self, id_: str, home: str, key: str, *, answer: bool = False, conversation: str = "", late_us: int = 0) -> None:
        """Append a message of a home, or an answer to it, under a key: its own, or that of whom it is linked to."""
        header = Header(
            id=id_,
            source="/test",
            tenant="acme",
            channel="email",
            direction="outbound" if answer else "inbound",
            actor_kind="agent" if answer else "customer",
            occurred_at_us=self.now_us - late_us,
            received_at_us=self.now_us,
            customer_id=key,
            home_customer_id=home,
            conversation_id=conversation or f"{home}/x",
            handles=(self.handle(home),),
        )
        self.put(MessageSent(header=header, visibility="public", author="human") if answer else MessageReceived(header=header), key)

    def link(self, of: str, to: str, *, via: str = "", again: bool = False) -> None:
        """Tell both that one is linked to the other, the one who stays first; `again`: by the same turn that unlinked it from somebody else."""
        turn = self.turns[of] - 1 if again else self._turn(of)
        for key in (to, of):
            header = self._header(f"linked-{of}-{turn}", key)
            self.put(IdentityLinked(header=header, handle=self.handle(of), from_=of, to=to, turn=turn, via=via), key)

    def unlink(self, of: str, to: str, *, back: str = "") -> None:
        """Tell the one who stays that the link is undone."""
        turn = self._turn(of)
        self.put(IdentityUnlinked(header=self._header(f"unlinked-{of}-{turn}", to), from_=of, to=to, turn=turn, back=back), to)

    def rebuild(self, customer: str, mode: str = "rebuild") -> None:
        """Ask that a customer be made anew in both groups."""
        for group in GROUPS:
            header = self._header(f"rebuild-{group}-{sum(map(len, self.partitions.values()))}", customer)
            event = ProjectionRebuild(header=header, group=group, version=EVERY_VERSION, customer=customer, mode=mode, reason="test")
            self.put(event, customer)

    def wake(self, customer: str) -> None:
        """Wake a customer."""
        self.put(TimerWoke(header=self._header(f"wake-{customer}-{self.now_us}", customer), timer="t", due_at_us=self.now_us), customer)

    @staticmethod
    def handle(of: str) -> Handle:
        """Return the handle that a customer is named by."""
        return Handle(kind="account", hash=of.encode().ljust(16, b"."), verified=True)

    def _turn(self, of: str) -> int:
        turn = self.turns.get(of, 0)
        self.turns[of] = turn + 1
        return turn

    def _header(self, id_: str, key: str) -> Header:
        return Header(
            id=id_, source="/test", tenant="acme", occurred_at_us=self.now_us, received_at_us=self.now_us, customer_id=key, home_customer_id=key
        )


def partition_of(key: str) -> int:
    """Return the partition of a key."""
    return int(key[-1]) % PARTITIONS


class Worker:
    """Runs both groups over a store, the view before care. It speaks if `speaks`: else it neither copies nor gives back.

    `said` is (kind, key) of all that it said, `effects` are the same whole.
    """

    def __init__(self, log: LinkedLog, into: MemoryStore | None = None, *, groups: Sequence[Group] = (VIEW, CARE), speaks: bool = True) -> None:
        self.log = log
        self.into = into or MemoryStore([*known_tables(), *(table for group in NEXT for table in group.tables())])
        self.groups = groups
        self.speaks = speaks
        self.said: list[tuple[str, str]] = []
        self.effects: list[Effect] = []
        self._driven: dict[str, _Driven] = {}

    async def open(self, lives: int = 10**9) -> "Worker":
        """Begin at the checkpoints, as a new process that can write so many times."""
        self._driven = {}
        for group in self.groups:
            driven = _Driven(self, group, Mortal(self.into, lives))  # type: ignore[arg-type]  # what it does not say itself the store says
            await driven.open()
            self._driven[group.name] = driven
        return self

    async def run(self, group: str, partition: int, records: int) -> int:
        """Read so many records of a partition in a group; return how many there were."""
        return await self._driven[group].run(partition, records)

    async def follow(self, size: int = 1000) -> None:
        """Read everything, in both groups, until nothing more comes."""
        for _ in range(100):
            read = [await self.run(group.name, partition, size) for group in self.groups for partition in range(PARTITIONS)]
            if not any(read):
                return
        raise AssertionError("it does not come to rest")


class _Driven:
    def __init__(self, worker: Worker, group: Group, store: MemoryStore) -> None:
        self.worker, self.group, self.store = worker, group, store
        self.version = GroupVersion(group.name, group.version)
        self.engine = Engine(group, CODEC, tenant="acme", cached_subjects_max=100, config=Config((BOOK,)))
        self.tallies = Tallies(group, store)
        self.cutter = Cutter(CODEC, *self.version)
        history = History(store, worker.log)
        acts = worker.speaks and group.name == "view"
        self.copier = Copier(history, worker.log, CODEC, self.version) if acts else None
        undoing = Undoing(history, worker.log, CODEC) if acts else None
        self.rebuilder = Rebuilder(self.engine, store, history, codec=CODEC, undoing=undoing)
        self.read: dict[int, int] = {}

    async def open(self) -> None:
        found = await take_over(self.store, self.version, range(PARTITIONS))
        for partition, it in found.items():
            self.read[partition] = self.engine.open(partition, it.checkpoint, it.parked, books=it.books)

    async def run(self, partition: int, n: int) -> int:
        first = self.read[partition]
        if self.group.name != "view":  # it would wait for the view
            checkpoint = (await self.store.load_checkpoints(GroupVersion("view", VIEW.version))).get(partition)
            n = min(n, (checkpoint.next_offset if checkpoint else 0) - first)
        records = self.worker.log.partitions[partition][first : first + max(0, n)]
        for part in self.cutter.cut(Batch(partition, records, topic="log")) if records else ():
            await self._keep(await self._fold(part))
        self.read[partition] = first + len(records)
        return len(records)

    async def _fold(self, part: Batch) -> Work:
        if self.cutter.rebuild_of(part) is not None:
            return await self.rebuilder.rebuild(part)
        taken = self.engine.take(part)
        return self.engine.feed(taken, await self.store.load_states(self.version, self.engine.missing(taken)))

    async def _keep(self, work: Work) -> None:
        await self.tallies.add([work], self.engine.work_number)
        await self.store.write(work.fan_out)
        for effect in work.effects:
            self.worker.said.append((effect.kind, effect.key))
            self.worker.effects.append(effect)
            if DESTINATIONS[effect.kind].loop_back and self.worker.speaks:
                self.worker.log.append(effect.key, CODEC.encode(effect.payload))
        await self.store.write(work.own)
        if self.copier is not None:
            await self.copier.copy([work])
        await self.store.save_checkpoints(self.version, {work.partition: work.checkpoint})
        self.engine.acknowledge(self.engine.work_number)
        self.tallies.acknowledge(self.engine.work_number)


async def quiet(worker: Worker, customers: Sequence[str], size: int = 1000) -> Worker:
    """Read everything, then let all time pass for these customers."""
    await worker.follow(size)
    worker.log.now_us += 100_000 * MINUTE
    for customer in customers:
        worker.log.wake(customer)
    await worker.follow(size)
    return worker


def differences(one: MemoryStore, other: MemoryStore, group: Group, later: Group | None = None) -> list[Difference]:
    """Return how what readers see of a group differs; in the other store it may be of a later version."""
    rows: list[dict[str, Any]] = [
        {table.name: asyncio.run(store.scan(table.physical)) for table in of.reader_tables} for store, of in ((one, group), (other, later or group))
    ]
    return difference(group.tables(), rows[0], rows[1], decode=lambda schema_id, body: decoded(CODEC, body, schema_id))
