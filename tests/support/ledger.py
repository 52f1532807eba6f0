"""A small group for tests of the engine: it counts, writes, deletes and, when told so, fails."""

from typing import ClassVar

import msgspec

from projections.kernel import Delete, Moment, Step, Subject, Timer, Upsert
from projections.registry import Group
from projections.tables import Table, parse_tables, state_table
from schemas.codec import Codec
from schemas.events import ConversationOpened, ConversationTagged, Handle, Header, MessageReceived, MessageSent
from schemas.record import Event
from streams.records import Batch, RawRecord
from streams.store.catalogue import control_tables
from streams.store.memory import MemoryStore
from touchline.errors import Poison

CQL = """
CREATE TABLE entry_vN (tenant text, customer_id text, day text, event_id text, seen int, kind text,
    PRIMARY KEY ((tenant, customer_id, day), event_id));
CREATE TABLE total_vN (tenant text, customer_id text, name text, n int, last text, PRIMARY KEY ((tenant, customer_id), name));
CREATE TABLE mark_vN (tenant text, customer_id text, a text, b text, PRIMARY KEY ((tenant, customer_id)));
"""
CODEC = Codec()


class Tally(msgspec.Struct):
    """How many events there were, and whether the mark stands."""

    n: int = 0
    marked: bool = False


class Ledger:
    """Per event an entry row; a total; a mark that `message.sent` deletes. A conversation tagged `poison` cannot be folded."""

    name: ClassVar[str] = "ledger"
    version: ClassVar[int] = 1
    handles: ClassVar[frozenset[type[Event]]] = frozenset({MessageReceived, MessageSent, ConversationTagged})
    depends_on: ClassVar[tuple[str, ...]] = ()
    broken: ClassVar[bool] = True

    def initial(self, subject: Subject) -> Tally:
        return Tally()

    def apply(self, state: Tally, event: Event, at: Moment) -> Step[Tally]:
        header = event.header
        state.n += 1  # changed before it may fail: the engine must undo it
        if self.broken and isinstance(event, ConversationTagged) and event.tag == "poison":
            raise Poison("poisoned")
        key = (header.tenant, header.customer_id)
        rows: list[Upsert | Delete] = [
            Upsert("entry", (*key, str(header.occurred_at_us % 3), header.id), {"seen": state.n, "kind": event.TYPE}),
            Upsert("total", (*key, "all"), {"n": state.n, "last": header.id}),
        ]
        if isinstance(event, MessageSent) and state.marked:
            rows.append(Delete("mark", key))
            state.marked = False
        elif isinstance(event, MessageReceived):
            rows.append(Upsert("mark", key, {"a" if header.occurred_at_us % 2 else "b": header.id}))
            state.marked = True
        return Step(state, tuple(rows))

    def expire(self, state: Tally, timer: Timer, at: Moment) -> Step[Tally]:
        raise NotImplementedError


class LedgerGroup(Group):
    """The group of the ledger; its tables come from `CQL` above."""

    def tables(self) -> tuple[Table, ...]:
        return (*parse_tables(CQL, self.version), state_table(self.name, self.version))


GROUP = LedgerGroup("ledger", 1, (Ledger(),))


def store() -> MemoryStore:
    """Return an empty store that has the ledger's tables and the control tables."""
    return MemoryStore([*GROUP.tables(), *control_tables()])


def record(offset: int, customer: int, event_id: str, kind: str = "received", at_us: int = 0, appended_us: int | None = None) -> RawRecord:
    """Return one record of the canonical log."""
    types: dict[str, type[Event]] = {"received": MessageReceived, "sent": MessageSent, "opened": ConversationOpened, "poison": ConversationTagged}
    cls = types[kind]
    header = Header(
        id=event_id,
        source="/test",
        tenant="acme",
        channel="email",
        direction="inbound" if kind == "received" else "outbound",
        occurred_at_us=at_us,
        received_at_us=at_us,
        customer_id=f"c{customer}",
        home_customer_id=f"c{customer}",
        handles=(Handle(kind="account", hash=bytes([customer]) * 32, verified=True),),
    )
    fields = {"tag": "poison"} if kind == "poison" else {"visibility": "public", "author": "human"} if kind == "sent" else {}
    event = cls.of(header, fields)
    return RawRecord(offset, f"c{customer}".encode(), CODEC.encode(event), offset * 1000 if appended_us is None else appended_us)


def batch(records: list[RawRecord], partition: int = 0) -> Batch:
    """Return a batch of one partition."""
    return Batch(partition, records)
