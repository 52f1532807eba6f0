"""Events of customers in a log in memory, rebuilds among them, folded by both groups and written at once."""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

from projections.digest import digest
from projections.kernel import Effect
from projections.registry import GROUPS, Group
from schemas.codec import Codec
from schemas.events import Handle, Header, MessageReceived, MessageSent, ProjectionRebuild
from schemas.record import Event
from streams.log.simulation import LogSimulation
from streams.records import Batch, RawRecord
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from touchline.errors import Misconfigured

__all__ = ["CARE", "CODEC", "MINUTE", "VIEW", "Here", "Log", "answered", "asked", "header", "never_failed", "rebuild"]

CODEC = Codec()
VIEW, CARE = GROUPS["view"], GROUPS["care"]
MINUTE = 60_000_000


class Log:
    """One partition in a list; it reads itself."""

    def __init__(self) -> None:
        self.kept: list[RawRecord] = []
        self.gone = 0

    def put(self, event: Event, key: str = "c1", value: bytes | None = None) -> int:
        offset = len(self.kept)
        self.kept.append(RawRecord(offset, key.encode(), value or CODEC.encode(event), (offset + 1) * MINUTE))
        return offset

    def records(self, partition: int, offsets: Iterable[int]) -> Iterator[RawRecord]:
        assert partition == 0
        for offset in sorted(offsets):
            if offset < self.gone:
                raise Misconfigured("the log begins later.", next_step="restore it.")
            yield self.kept[offset]

    def batches(self, partition: int, first: int, end: int, records_max: int = 20_000) -> Iterator[Batch]:
        assert partition == 0
        for at in range(first, end, records_max):
            yield Batch(0, self.kept[at : min(end, at + records_max)])


def header(id_: str, at_us: int, customer: str = "c1", **fields: Any) -> Header:
    handle = Handle(kind="account", hash=customer.encode() * 16, verified=True)
    return Header(
        id=id_,
        source="/test",
        tenant="acme",
        channel="email",
        occurred_at_us=at_us,
        received_at_us=at_us,
        customer_id=customer,
        home_customer_id=customer,
        conversation_id=f"{customer}/a",
        handles=(handle,),
        **fields,
    )


def asked(log: Log, id_: str, customer: str = "c1") -> int:
    return log.put(MessageReceived(header=header(id_, (len(log.kept) + 1) * MINUTE, customer, direction="inbound")), customer)


def answered(log: Log, id_: str, customer: str = "c1") -> int:
    of = header(id_, (len(log.kept) + 1) * MINUTE, customer, direction="outbound", actor_kind="agent")
    return log.put(MessageSent(header=of, visibility="public", author="human"), customer)


def rebuild(log: Log, group: str, mode: str = "retry", *exclude: str, customer: str = "c1", version: int = 1, key: str = "") -> int:
    at_us = (len(log.kept) + 1) * MINUTE
    of = Header(id=f"op-{len(log.kept)}", source="/test", tenant="acme", occurred_at_us=at_us, received_at_us=at_us, customer_id=customer)
    event = ProjectionRebuild(header=of, group=group, version=version, customer=customer, mode=mode, exclude_ids=exclude, reason="test")
    return log.put(event, key or customer)


class Here:
    """Both groups over one store; what is fed is written at once."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.into = MemoryStore(known_tables())
        self.run = LogSimulation([VIEW, CARE], self.into, CODEC, tenant="acme", cached_subjects_max=100, reader=log)  # type: ignore[arg-type]
        self.read = 0

    def feed(self) -> list[Effect]:
        """Fold what is new, record by record."""
        effects = []
        for record in self.log.kept[self.read :]:
            effects += asyncio.run(self.run.feed(Batch(0, [record], topic="log")))
        self.read = len(self.log.kept)
        return effects

    def table(self, name: str) -> list[dict[str, Any]]:
        return asyncio.run(self.into.scan(name))

    def parked(self) -> list[tuple[str, str, str]]:
        return sorted((str(row["name"]), str(row["customer"]), str(row["reason"])) for row in self.table("parked_customer"))

    def digest(self, group: Group) -> str:
        return digest(group.tables(), {table.name: self.table(table.physical) for table in group.reader_tables})


def never_failed(log: Log) -> Here:
    """Return what the same log comes to by code without a fault, its rebuilds being of nothing."""
    here = Here(log)
    here.run = LogSimulation([VIEW, CARE], here.into, CODEC, tenant="acme", cached_subjects_max=100)
    here.feed()
    return here
