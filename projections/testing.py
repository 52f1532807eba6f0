"""A small world for tests of projections: events in, rows and effects out. No engine, no store, no clock.

    (given(message_received(id="m-1", at="09:00", conversation_id="c-9"), of=[FirstResponse()])
        .at("09:30").when(message_sent(at="09:30", conversation_id="c-9"))
        .advance("90s")
        .then(rows={"clock": [{"conversation_id": "c-9", "state": "met"}]}, effects=["sla.fulfilled"]))

It keeps what the contract promises: timers expire in order before a later record (engine.md §3), signals go to dependents
in the same pass, every state survives being stored (MessagePack there and back after each step), and a row has only the
columns of its `.cql`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Self

import msgspec

from projections.kernel import Arm, Config, Effect, Moment, Projection, Signal, Step, Subject, Timer, Upsert
from projections.tables import Table, projection_tables
from projections.testing_events import (
    DAY,
    contact_abandoned,
    contact_completed,
    contact_connected,
    contact_initiated,
    contact_queued,
    handle,
    make,
    message_received,
    message_sent,
    time_us,
)
from schemas.record import Event

__all__ = [
    "DAY",
    "SETTLE_US",
    "Given",
    "World",
    "contact_abandoned",
    "contact_completed",
    "contact_connected",
    "contact_initiated",
    "contact_queued",
    "given",
    "handle",
    "make",
    "message_received",
    "message_sent",
    "time_us",
]

SETTLE_US: Final = 60_000_000
"""How long after its arming a timer waits that was armed past its due time (engine.md §3)."""

_UNITS_US: Final = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_Rows = dict[tuple[str | int, ...], dict[str, object]]


class _Armed(msgspec.Struct):
    due_at_us: int
    expires_at_us: int


class World:
    """Folds events by subject with some projections, given in the order of their dependencies. `now_us` is the append time."""

    def __init__(self, projections: Iterable[Projection[Any]], *, config: Config | None = None, version: int = 1) -> None:
        self.projections = tuple(projections)
        self.tables: dict[str, Table] = {table.name: table for table in projection_tables(self.projections, version)}
        self.now_us = 0
        self.effects: list[Effect] = []
        self.states: dict[tuple[Subject, str], msgspec.Struct] = {}
        self._config = config or Config()
        self._offset = -1
        self._rows: dict[str, _Rows] = {name: {} for name in self.tables}
        self._armed: dict[tuple[Subject, str, str], _Armed] = {}

    def append(self, event: Event, *, appended_us: int | None = None) -> None:
        """Append one event; by default at its event time, never before the last one. Timers that expire before it go first."""
        self.now_us = max(self.now_us, event.header.occurred_at_us if appended_us is None else appended_us)
        header = event.header
        subject = Subject(header.tenant, header.customer_id or f"{type(event).TYPE.partition('.')[0]}:{header.actor_id}")
        self._expire(self.now_us, subject=subject)
        self._offset += 1
        at = Moment(header.occurred_at_us, self.now_us, 0, self._offset, self._config)
        signals: dict[str, tuple[Signal, ...]] = {}
        for projection in self.projections:
            if type(event) in projection.handles:
                self._follow(subject, projection, projection.apply(self._state(subject, projection), event, at), at, signals)
            self._receive(subject, projection, at, signals)

    def advance_to(self, at_us: int) -> None:
        """Let time pass: everything with an expiry moment up to then expires."""
        self._expire(at_us + 1)
        self.now_us = max(self.now_us, at_us)

    def rows(self) -> dict[str, list[dict[str, object]]]:
        """Return all rows by table, each with its key, as a store reads them: static columns stand in every row of a partition."""
        return {name: _read(table, self._rows[name]) for name, table in self.tables.items()}

    def _state(self, subject: Subject, projection: Projection[Any]) -> msgspec.Struct:
        found = self.states.get((subject, projection.name))
        return projection.initial(subject) if found is None else found

    def _follow(self, subject: Subject, projection: Projection[Any], step: Step[Any], at: Moment, signals: dict[str, tuple[Signal, ...]]) -> None:
        self.states[subject, projection.name] = msgspec.msgpack.decode(msgspec.msgpack.encode(step.state), type=type(step.state))
        for change in step.rows:
            self._write(change.table, change.key, dict(change.columns) if isinstance(change, Upsert) else None)
        for timer in step.timers:
            place = (subject, projection.name, timer.name)
            if isinstance(timer, Arm):
                if (found := self._armed.get(place)) is None or found.due_at_us != timer.due_at_us:
                    in_time = at.appended_at_us < timer.due_at_us
                    self._armed[place] = _Armed(timer.due_at_us, timer.due_at_us + timer.grace_us if in_time else at.appended_at_us + SETTLE_US)
            else:
                self._armed.pop(place, None)
        self.effects.extend(step.effects)
        signals[projection.name] = (*signals.get(projection.name, ()), *step.signals)

    def _receive(self, subject: Subject, projection: Projection[Any], at: Moment, signals: dict[str, tuple[Signal, ...]]) -> None:
        receive = getattr(projection, "receive", None)
        if receive is None:
            return
        for signal in [s for name in projection.depends_on for s in signals.get(name, ())]:
            self._follow(subject, projection, receive(self._state(subject, projection), signal, at), at, signals)

    def _expire(self, before_us: int, *, subject: Subject | None = None) -> None:
        """Expire, in order of (expiry, due, name), what expires before this moment; a timer may arm another one."""
        while True:
            due = [(a.expires_at_us, a.due_at_us, place[2], place) for place, a in self._armed.items() if subject in (None, place[0])]
            if not due or min(due)[0] >= before_us:
                return
            expires_us, due_us, name, place = min(due)
            del self._armed[place]
            running = [p.name for p in self.projections].index(place[1])
            at = Moment(due_us, expires_us, 0, self._offset, self._config)
            signals: dict[str, tuple[Signal, ...]] = {}
            projection = self.projections[running]
            self._follow(place[0], projection, projection.expire(self._state(place[0], projection), Timer(name, due_us), at), at, signals)
            for dependent in self.projections[running + 1 :]:
                self._receive(place[0], dependent, at, signals)

    def _write(self, name: str, key: tuple[str | int, ...], columns: dict[str, Any] | None) -> None:
        table = self.tables.get(name)
        if table is None or len(key) not in {len(table.partition_key), len(table.primary_key)}:
            raise AssertionError(f"table {name} with a key of {len(key)} is in no .cql")
        if columns is None:
            self._rows[name].pop(key, None)
            return
        static = len(key) == len(table.partition_key) and bool(table.clustering)
        for column in columns:
            if column not in table.columns or column in table.primary_key or (column in table.static) != static:
                raise AssertionError(f"{name}.{column} is not a {'static ' if static else ''}column of the .cql")
        row = self._rows[name].setdefault(key, {})
        row.update(columns)


def _read(table: Table, rows: _Rows) -> list[dict[str, object]]:
    width = len(table.partition_key)
    shared = {key: cells for key, cells in rows.items() if table.clustering and len(key) == width}
    lonely = shared.keys() - {key[:width] for key in rows if len(key) > width}
    return [
        dict(zip(table.primary_key, key, strict=False)) | {c: v for c, v in {**shared.get(key[:width], {}), **cells}.items() if v is not None}
        for key, cells in rows.items()
        if key not in shared or key in lonely
    ]


# -- the sentence ---------------------------------------------------------------------------------------------------------


class Given:
    """A test as a sentence; see the module. Built by `given`."""

    def __init__(self, world: World) -> None:
        self.world = world

    def at(self, clock: str | int) -> Self:
        """Let it be this time: what expires until then has expired."""
        self.world.advance_to(time_us(clock))
        return self

    def advance(self, span: str) -> Self:
        """Let a span pass: '90s', '15m', '4h', '2d'."""
        self.world.advance_to(self.world.now_us + int(span[:-1]) * _UNITS_US[span[-1]])
        return self

    def when(self, *happening: Event) -> Self:
        """Append events now, in this order; an event of an earlier time is late."""
        for event in happening:
            self.world.append(event)
        return self

    def then(
        self,
        *,
        rows: Mapping[str, Sequence[Mapping[str, object]]] | None = None,
        effects: Sequence[str | tuple[str, Mapping[str, object]]] | None = None,
    ) -> Self:
        """Check, or raise `AssertionError`.

        Of each table named in `rows` every expected row must be there with at least these columns; an empty list means
        that the table is empty. `effects` are all that came since `given`, in order: a kind, or a kind and fields of it.
        """
        actual = self.world.rows()
        for table, expected in (rows or {}).items():
            found = actual[table]
            missing = [row for row in expected if not any(_holds(there.get, row) for there in found)]
            if missing or (found and not expected):
                raise AssertionError(f"{table}: {'missing' if missing else 'not empty;'} {missing or ''}\nthere are:\n" + "\n".join(map(repr, found)))
        if effects is not None:
            wanted = [(one, {}) if isinstance(one, str) else one for one in effects]
            came = self.world.effects
            if len(came) != len(wanted) or not all(
                e.kind == kind and _holds(_field(e), fields) for e, (kind, fields) in zip(came, wanted, strict=True)
            ):
                raise AssertionError(f"effects: wanted {list(effects)}\ncame:\n" + "\n".join(map(repr, came)))
        return self


def given(*before: Event, of: Iterable[Projection[Any]], config: Config | None = None) -> Given:
    """Start a test: these events have happened, each appended at its time; their effects are forgotten. `of` are the projections, in order."""
    world = World(of, config=config)
    for event in before:
        world.append(event)
    world.effects.clear()
    return Given(world)


def _holds(get: Any, expected: Mapping[str, object]) -> bool:  # noqa: ANN401 - a getter by name
    return all(get(name) == value for name, value in expected.items())


def _field(effect: Effect) -> Any:  # noqa: ANN401 - as above
    return lambda name: getattr(effect.payload, name, None)
