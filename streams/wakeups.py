"""Wake-ups onto the log: `timer.woke` records under their subjects' keys. They carry no truth, only the reason to look (engine.md §3)."""

from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple, Protocol
from uuid import UUID, uuid5

from connectors.producer import Producer
from projections.kernel import Subject
from schemas.codec import Codec
from schemas.events import Header, TimerWoke
from streams.patience import Patience

__all__ = ["KafkaWaker", "Wake", "Waker"]

_NAMESPACE: Final = UUID("5f0c0e6e-1c55-5f0a-9a5b-6a4d7f1f2d11")


class Wake(NamedTuple):
    """One wake-up: whom, in which partition, for which timer, due when, expiring when (epoch µs)."""

    partition: int
    subject: Subject
    timer: str
    due_us: int
    expires_us: int

    def event(self, group: str) -> TimerWoke:
        """Return the record. Its id follows from group, subject, timer and expiry moment: whoever notices says the same."""
        tenant, subject = self.subject
        customer = "" if ":" in subject else subject
        header = Header(
            id=str(uuid5(_NAMESPACE, f"{group}\0{tenant}\0{subject}\0{self.timer}\0{self.expires_us}")),
            source=f"/touchline/{group}",
            tenant=tenant,
            occurred_at_us=self.expires_us,
            received_at_us=self.expires_us,
            customer_id=customer,
            home_customer_id=customer,
        )
        return TimerWoke(header=header, timer=self.timer, due_at_us=self.due_us)


class Waker(Protocol):
    """Appends wake-ups, each to its own partition."""

    async def append(self, wakes: Sequence[Wake]) -> list[int]:
        """Return the append time of each, epoch µs, once all are acknowledged; waits out a broker that is unwell."""
        ...


class KafkaWaker:
    """Appends to `topic` for a group. Its producer must `report`, and should have no other records to wait for."""

    def __init__(self, producer: Producer, codec: Codec, *, topic: str, group: str, patience: Patience) -> None:
        self._producer = producer
        self._codec = codec
        self._topic = topic
        self._group = group
        self._patience = patience

    async def append(self, wakes: Sequence[Wake]) -> list[int]:
        """Append all, wait for the broker's reports; see `Waker`."""
        appended_us = [0] * len(wakes)
        for number, wake in enumerate(wakes):
            key, value = wake.subject.id.encode(), self._codec.encode(wake.event(self._group))
            told = partial(appended_us.__setitem__, number)
            self._producer.produce(self._topic, key, value, partition=wake.partition, on_append=told)
        await self._patience.run(self._producer.drain)
        return appended_us
