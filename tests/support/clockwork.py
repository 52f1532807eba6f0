"""A small group for tests of timers, signals, rulebooks and figures: a bell that rings unless it is answered, and an ear that hears it.

`World` of projections/testing_world.py folds it too: the plainest code there is, against which the engine is compared.
"""

from typing import ClassVar

import msgspec

from projections.kernel import Arm, Disarm, Effect, Moment, Signal, Step, Subject, Tally, Timer, Upsert
from projections.registry import Group
from projections.rules import Config, Defaults, Rulebook
from projections.tables import Table, parse_tables, state_table, timer_tables
from projections.testing_world import World
from schemas.codec import Codec
from schemas.events import ConfigPublished, ConversationTagged, CustomerContact, Header, MessageReceived, MessageSent, TimerWoke
from schemas.record import Event
from streams.records import Batch, RawRecord
from streams.store.catalogue import control_tables
from streams.store.memory import MemoryStore
from touchline.errors import Poison

CQL = """
CREATE TABLE ring_vN (tenant text, customer_id text, conversation text, n int, rang_at bigint, noticed_at bigint, rules int,
    PRIMARY KEY ((tenant, customer_id), conversation));
CREATE TABLE heard_vN (tenant text, day text, customer_id text, n int, told frozen<list<text>>, PRIMARY KEY ((tenant, day), customer_id));
CREATE TABLE tone_vN (tenant text, tone text, src_partition int, sums frozen<map<text,bigint>>, applied_offset bigint,
    PRIMARY KEY ((tenant), tone, src_partition));
"""
CODEC = Codec()
SECOND = 1_000_000
RINGS_MAX = 3


class Rang(Signal, frozen=True):
    """The bell has rung."""

    conversation: str
    at_us: int


class Waiting(msgspec.Struct):
    """Since when each conversation waits, and how often the bell has rung for it."""

    since_us: dict[str, int] = msgspec.field(default_factory=dict)
    rings: dict[str, int] = msgspec.field(default_factory=dict)


class Bell:
    """Rings `reopen_window_s` after a message, by the rules at its event time, at most three times, until it is answered.

    In the channel `email` it is noticed 5 s late. Told of new rules it moves what it has armed to their span, where that is shorter.
    A conversation tagged `poison` cannot be folded, one tagged `bomb` fails when its timer expires.
    """

    name: ClassVar[str] = "bell"
    version: ClassVar[int] = 1
    handles: ClassVar[frozenset[type[Event]]] = frozenset({MessageReceived, MessageSent, ConversationTagged})
    depends_on: ClassVar[tuple[str, ...]] = ()

    def initial(self, subject: Subject) -> Waiting:
        return Waiting()

    def apply(self, state: Waiting, event: Event, at: Moment) -> Step[Waiting]:
        header = event.header
        conversation = header.conversation_id or ""
        if isinstance(event, ConversationTagged):
            if event.tag == "poison":
                state.since_us.clear()  # changed before it fails: the engine must undo it
                raise Poison("poisoned")
            return Step(state, timers=(Arm(f"bomb:{conversation}", at.occurred_at_us),))
        if isinstance(event, MessageSent):
            state.since_us.pop(conversation, None)
            return Step(state, timers=(Disarm(conversation),))
        if conversation in state.since_us:
            return Step(state)
        state.since_us[conversation] = at.occurred_at_us
        state.rings[conversation] = 0
        due_us = at.occurred_at_us + at.config.at(at.occurred_at_us).defaults.reopen_window_s * SECOND
        return Step(state, timers=(Arm(conversation, due_us, 5 * SECOND if header.channel == "email" else 0),))

    def expire(self, state: Waiting, timer: Timer, at: Moment) -> Step[Waiting]:
        conversation = timer.name
        if conversation.startswith("bomb:"):
            raise Poison("exploded")
        rings = state.rings[conversation] = state.rings.get(conversation, 0) + 1
        columns = {"n": rings, "rang_at": at.occurred_at_us, "noticed_at": at.appended_at_us, "rules": at.config.newest.version}
        again = (Arm(conversation, timer.due_at_us + 7 * SECOND),) if rings < RINGS_MAX else ()
        effect = Effect("alert.raised", conversation, CustomerContact())
        return Step(
            state,
            (Upsert("ring", ("acme", conversation.split("/")[0], conversation), columns),),
            again,
            (effect,),
            (Rang(conversation, timer.due_at_us),),
        )

    def configure(self, state: Waiting, at: Moment) -> Step[Waiting]:
        span_us = at.config.newest.defaults.reopen_window_s * SECOND
        moved = [Arm(c, since + span_us) for c, since in state.since_us.items() if state.rings[c] == 0 and span_us < 60 * SECOND]
        return Step(state, timers=tuple(moved))


class Hearing(msgspec.Struct):
    """How often it rang, and which rules were told."""

    n: int = 0
    told: list[str] = msgspec.field(default_factory=list)


class Ear:
    """Hears the bell; counts, and has an echo of its own. It is told of rules once it has heard something."""

    name: ClassVar[str] = "ear"
    version: ClassVar[int] = 1
    handles: ClassVar[frozenset[type[Event]]] = frozenset()
    depends_on: ClassVar[tuple[str, ...]] = ("bell",)

    def initial(self, subject: Subject) -> Hearing:
        return Hearing()

    def apply(self, state: Hearing, event: Event, at: Moment) -> Step[Hearing]:
        raise NotImplementedError

    def receive(self, state: Hearing, signal: Rang, at: Moment) -> Step[Hearing]:
        state.n += 1
        customer = signal.conversation.split("/")[0]
        row = Upsert("heard", ("acme", str(state.n % 2), customer), {"n": state.n, "told": tuple(state.told)})
        tone = Tally("tone", ("acme", str(signal.at_us // SECOND % 3)), {"rang": 1, customer: 1})
        return Step(state, (row,), (Arm("echo", signal.at_us + 3 * SECOND),), tallies=(tone,))

    def expire(self, state: Hearing, timer: Timer, at: Moment) -> Step[Hearing]:
        return Step(state, tallies=(Tally("tone", ("acme", "echo"), {"n": 1, f"at{timer.due_at_us // SECOND % 5}": 1}),))

    def configure(self, state: Hearing, at: Moment) -> Step[Hearing]:
        state.told.append(f"{at.config.newest.version}@{at.occurred_at_us}")
        return Step(state, tallies=(Tally("tone", ("acme", "rules"), {"told": 1}),))


class ClockworkGroup(Group):
    """The group; its tables come from `CQL` above."""

    def tables(self) -> tuple[Table, ...]:
        return (*parse_tables(CQL, self.version), state_table(self.name, self.version), *timer_tables(self.name, self.version))


GROUP = ClockworkGroup("clockwork", 1, (Bell(), Ear()))


def store() -> MemoryStore:
    """Return an empty store that has the group's tables and the control tables."""
    return MemoryStore([*GROUP.tables(), *control_tables()])


def rules(span_s: int, version: int = 0) -> Rulebook:
    """Return rules under which the bell rings after `span_s` seconds."""
    return Rulebook(version=version, defaults=Defaults(reopen_window_s=span_s))


def event(kind: str, customer: int, at_s: float, *, id: str = "", conversation: str = "a", channel: str = "phone") -> Event:  # noqa: A002
    """Return an event: `received`, `sent`, or a tag of that name."""
    at_us = round(at_s * SECOND)
    header = Header(
        id=id or f"{kind}-{customer}-{conversation}-{at_us}",
        source="/test",
        tenant="acme",
        channel=channel,  # type: ignore[arg-type]
        occurred_at_us=at_us,
        received_at_us=at_us,
        customer_id=f"c{customer}",
        home_customer_id=f"c{customer}",
        conversation_id=f"c{customer}/{conversation}",
    )
    if kind == "received":
        return MessageReceived(header=header)
    if kind == "sent":
        return MessageSent(header=header, visibility="public", author="human")
    return ConversationTagged(header=header, tag=kind)


def published(book: Rulebook, at_s: float, *, body: str | None = None, tenant: str = "acme") -> ConfigPublished:
    """Return the record that carries a rulebook, in force from `at_s` on."""
    at_us = round(at_s * SECOND)
    header = Header(id=f"rules:{book.version}", source="/touchline/config", tenant=tenant, occurred_at_us=at_us, received_at_us=at_us)
    text = msgspec.json.encode(book).decode() if body is None else body
    return ConfigPublished(header=header, kind="rules", id="rules", version=book.version, effective_at_us=at_us, body=text)


def wake(customer: int, at_s: float) -> TimerWoke:
    """Return a wake-up."""
    at_us = round(at_s * SECOND)
    header = Header(id=f"wake-{customer}-{at_us}", source="/touchline/clockwork", tenant="acme", occurred_at_us=at_us, received_at_us=at_us)
    return TimerWoke(header=msgspec.structs.replace(header, customer_id=f"c{customer}"), timer="t", due_at_us=at_us)


def record(offset: int, of: Event, appended_s: float) -> RawRecord:
    """Return a record of the log."""
    key = f"config:{of.id}" if isinstance(of, ConfigPublished) else of.header.customer_id
    return RawRecord(offset, key.encode(), CODEC.encode(of), round(appended_s * SECOND))


def batch(records: list[RawRecord], partition: int = 0) -> Batch:
    """Return a batch of one partition."""
    return Batch(partition, records)


def world() -> World:
    """Return the plain world with the same projections and tables."""
    plain = World(GROUP.projections, config=Config((rules(60),)))
    plain.tables = {table.name: table for table in parse_tables(CQL, 1)}
    plain._rows = {name: {} for name in plain.tables}
    return plain
