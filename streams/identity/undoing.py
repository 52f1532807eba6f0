"""Gives back what lies under a customer because of a link that was undone: log.md §5. Live only: a replay finds it in the log already.

    under C, at identity.unlinked{P, C}    what came to C directly with home P ──> copies under P, identity.copied, identity.unlinked ──> under P
    under C, if C was linked on by then    D has copies of that ──> identity.unlinked{P, D} under D
    under P, at the same, if P is its own  a link of P to another one before this is undone too ──> identity.unlinked{P, X} under X

It comes before the rebuild of the customer, and may be repeated after a crash at any point: copies have their offsets, the other two
their ids. Knows the log and where records lie; must not know who speaks here, nor how anybody is rebuilt.
"""

from collections.abc import Sequence
from uuid import NAMESPACE_OID, uuid5

import msgspec

from projections.kernel import Subject
from projections.linked import is_copy
from schemas.codec import Codec, Head, Undecodable
from schemas.events import IdentityLinked, IdentityUnlinked
from streams.identity import telling
from streams.identity.apart import apart
from streams.identity.appending import LogAppender
from streams.identity.copies import copied, home_of, is_machinery
from streams.identity.copying import PORTION_RECORDS
from streams.rebuild.history import History, PlacedRecord
from streams.records import RawRecord
from streams.store.excluded import Exclusion
from streams.store.port import GroupVersion

__all__ = ["Undoing"]


class Undoing:
    """Does it for the active version of the view group, whose timeline says where records lie."""

    def __init__(self, history: History, log: LogAppender, codec: Codec) -> None:
        self._history = history
        self._log = log
        self._codec = codec

    async def give_back(self, event: IdentityUnlinked, subject: Subject, record: PlacedRecord, write_ts_us: int, view: GroupVersion) -> int:
        """Do what the record that undoes a link asks for under its key; return how many records were given back.

        `write_ts_us` is its write timestamp, which those of the other customer must exceed from there on. Raises `Refused` if the history is
        too long, `Misconfigured` if the log no longer has it, `Retryable` as log and store do.
        """
        partition, at = record.place
        places = await self._history.places(subject.tenant, subject.id, at, view=view)
        records = await self._history.records([place for place in places if place.partition == partition])
        heads = [self._codec.head(one.record.value) for one in records]
        before = apart(self._codec, subject.id, heads)
        now = apart(self._codec, subject.id, [*heads, self._codec.head(record.record.value)])
        if len(heads) in now.stale:
            return 0
        new = sorted(now.out - before.out)
        if event.to != subject.id:
            await self._tell_others(event, self._targets([heads[number] for number in new], event.from_))
            return 0
        excluded = await self._history.excluded(subject.id, view)
        chosen = [(records[n], head) for n in new if (head := self._given(heads[n], records[n], event.from_, subject.id, excluded)) is not None]
        for number, (one, head) in enumerate(chosen, 1):
            self._log.append(event.from_, copied(self._codec, head, one.record, origin=subject.id, to=event.from_))
            if number % PORTION_RECORDS == 0:
                await self._log.drain()
        await self._log.drain()
        last = chosen[-1][0].record.offset if chosen else -1
        await self._tell(event, subject, record.record, last, write_ts_us)
        if chosen:
            await self._tell_others(event, self._targets(heads, subject.id))
        return len(chosen)

    def _given(self, head: Head | Undecodable, one: PlacedRecord, home: str, key: str, excluded: Sequence[Exclusion]) -> Head | None:
        """Return the header of a record that is given back: of this home, and no copy, which somebody else has."""
        if isinstance(head, Undecodable) or is_machinery(head.type) or is_copy(head.header) or home_of(head.header, key) != home:
            return None
        return None if any(exclusion.names(*one.place, head.header.id) for exclusion in excluded) else head

    async def _tell(self, event: IdentityUnlinked, subject: Subject, record: RawRecord, last: int, write_ts_us: int) -> None:
        """Say under the other customer's key that all of it is there, and then that the link is undone."""
        home, at_us = event.from_, record.appended_us
        told = telling.copied(event.header.id, subject, home=home, to=home, last_offset=last, at_us=at_us, write_ts_us=write_ts_us)
        undone = msgspec.structs.replace(
            event, header=msgspec.structs.replace(event.header, customer_id=home, home_customer_id=home, appended_at_us=None)
        )
        self._log.append(home, self._codec.encode(told))
        await self._log.drain()  # in this order
        self._log.append(home, self._codec.encode(undone))
        await self._log.drain()

    def _targets(self, heads: Sequence[Head | Undecodable], customer: str) -> set[str]:
        """Return to whom a customer was linked, as these records say."""
        bodies = [self._codec.body(head) for head in heads if isinstance(head, Head) and head.type is IdentityLinked]
        return {body.to for body in bodies if isinstance(body, IdentityLinked) and body.from_ == customer}

    async def _tell_others(self, event: IdentityUnlinked, targets: set[str]) -> None:
        """Say to others that the customer is its own again: to whom it was linked before it came along, or who have copies of what was its own."""
        others = targets - {event.to, event.from_}
        for other in sorted(others):
            header = msgspec.structs.replace(
                event.header,
                id=str(uuid5(NAMESPACE_OID, f"unlinked\0{event.header.id}\0{other}")),
                customer_id=other,
                home_customer_id=other,
                appended_at_us=None,
            )
            also = msgspec.structs.replace(event, header=header, to=other)
            self._log.append(other, self._codec.encode(also))
        if others:
            await self._log.drain()
