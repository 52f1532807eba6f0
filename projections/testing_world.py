"""The world in which projections are tested: `projections.testing` hands it on, import it from there.

It keeps what the contract promises (`projections/kernel.py`) and the engine's rules of time (engine.md §2, §3), in the plainest
code that does: what it and `streams/engine.py` say of the same events must agree. No engine, no store, no clock.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from projections.kernel import Arm, Config, Effect, Moment, Projection, Signal, Step, Subject, Tally, Timer, Upsert
from projections.rules import Rulebook
from projections.tables import Table, projection_tables
from schemas.record import Event

__all__ = ["EXPIRIES_MAX", "SETTLE_US", "World"]

SETTLE_US: Final = 60_000_000
"""How long after its arming a timer waits that was armed past its due time (engine.md §3)."""

EXPIRIES_MAX: Final = 10_000
"""More timers of one subject than this never expire before one record: a projection that arms for ever is wrong."""

_NEWLY: Final = Rulebook().effective_at_us
_Key = tuple[str | int, ...]
_Rows = dict[_Key, dict[str, object]]
_Call = Callable[[Projection[Any]], Step[Any] | None]


class _Armed(msgspec.Struct):
    due_at_us: int
    expires_at_us: int


class World:
    """Folds events by subject with some projections, given in the order of their dependencies. `now_us` is the append time.

    `effects` are all that came, in order; `sums` what was tallied, by table and key.
    """

    def __init__(self, projections: Iterable[Projection[Any]], *, config: Config | None = None, version: int = 1) -> None:
        self.projections = tuple(projections)
        self.tables: dict[str, Table] = {table.name: table for table in projection_tables(self.projections, version)}
        self.now_us = 0
        self.effects: list[Effect] = []
        self.sums: dict[tuple[str, _Key], dict[str, int]] = {}
        self.states: dict[tuple[Subject, str], msgspec.Struct] = {}
        self._config = config or Config()
        self._offset = -1
        self._rows: dict[str, _Rows] = {name: {} for name in self.tables}
        self._gone_us: dict[tuple[str, _Key], int] = {}
        self._armed: dict[tuple[Subject, str, str], _Armed] = {}

    def append(self, event: Event, *, appended_us: int | None = None) -> None:
        """Append one event; by default at its event time, never before the last one. Timers that expire before it go first."""
        header = event.header
        self.now_us = max(self.now_us, header.occurred_at_us if appended_us is None else appended_us)
        subject = Subject(header.tenant, header.customer_id or f"{type(event).TYPE.partition('.')[0]}:{header.actor_id}")
        self._expire(self.now_us, subject=subject)
        self._offset += 1
        at = self._moment(header.occurred_at_us, self.now_us)

        def applied(projection: Projection[Any]) -> Step[Any] | None:
            return projection.apply(self._state(subject, projection), event, at) if type(event) in projection.handles else None

        self._pass(subject, at, applied)

    def configure(self, book: Rulebook, *, at_us: int | None = None) -> Rulebook:
        """Publish a rulebook at this append time (default: now), to every tenant; return it as it was read.

        As `config publish` does, a book without `effective_at_us` is in force from its append time, one without a version gets the
        next. Timers that expire before it go first; then every projection with `configure` that has a state hears of it.
        """
        self.now_us = max(self.now_us, self.now_us if at_us is None else at_us)
        self._expire(self.now_us)
        self._offset += 1
        version = book.version or self._config.newest.version + 1
        effective_us = self.now_us if book.effective_at_us == _NEWLY else book.effective_at_us
        book = msgspec.structs.replace(book, version=version, effective_at_us=effective_us)
        self._config = self._config.with_book(book)
        at = self._moment(self.now_us, self.now_us)
        for subject in dict.fromkeys(subject for subject, _ in self.states):

            def configured(projection: Projection[Any], subject: Subject = subject) -> Step[Any] | None:
                hook = getattr(projection, "configure", None)
                return hook(self._state(subject, projection), at) if hook and (subject, projection.name) in self.states else None

            self._pass(subject, at, configured)
        return book

    def advance_to(self, at_us: int) -> None:
        """Let time pass: everything with an expiry moment up to then expires."""
        self._expire(at_us + 1)
        self.now_us = max(self.now_us, at_us)

    def rows(self) -> dict[str, list[dict[str, object]]]:
        """Return all rows by table, each with its key, as a store reads them: static columns stand in every row of a partition."""
        for table, key in [place for place, gone_us in self._gone_us.items() if gone_us <= self.now_us]:
            self._rows[table].pop(key, None)
        return {name: _read(table, self._rows[name]) for name, table in self.tables.items()}

    def _moment(self, occurred_us: int, appended_us: int) -> Moment:
        return Moment(occurred_us, appended_us, 0, self._offset, self._config)

    def _state(self, subject: Subject, projection: Projection[Any]) -> msgspec.Struct:
        found = self.states.get((subject, projection.name))
        return projection.initial(subject) if found is None else found

    def _pass(self, subject: Subject, at: Moment, call: _Call) -> None:
        """Go once through the projections in order: what `call` gives of each, then the signals that came to it in this pass."""
        told: list[tuple[str, Signal]] = []
        for projection in self.projections:
            if (step := call(projection)) is not None:
                self._follow(subject, projection, step, at, told)
            receive = getattr(projection, "receive", None)
            if receive is not None:
                for _, signal in [one for one in told if one[0] in projection.depends_on]:
                    self._follow(subject, projection, receive(self._state(subject, projection), signal, at), at, told)

    def _follow(self, subject: Subject, projection: Projection[Any], step: Step[Any], at: Moment, told: list[tuple[str, Signal]]) -> None:
        self.states[subject, projection.name] = msgspec.msgpack.decode(msgspec.msgpack.encode(step.state), type=type(step.state))
        for change in step.rows:
            if isinstance(change, Upsert):
                self._write(change.table, change.key, dict(change.columns), change.ttl_s)
            else:
                self._write(change.table, change.key, None)
        for timer in step.timers:
            place = (subject, projection.name, timer.name)
            if isinstance(timer, Arm):
                if (found := self._armed.get(place)) is None or found.due_at_us != timer.due_at_us:
                    self._armed[place] = _Armed(timer.due_at_us, timer.expires_at_us(at.appended_at_us, SETTLE_US))
            else:
                self._armed.pop(place, None)
        for tally in step.tallies:
            self._tally(tally)
        self.effects.extend(step.effects)
        told.extend((projection.name, signal) for signal in step.signals)

    def _tally(self, tally: Tally) -> None:
        sums = self.sums.setdefault((tally.table, tally.key), {})
        for name, n in tally.adds.items():
            sums[name] = sums.get(name, 0) + n
            if not sums[name]:
                del sums[name]
        self._write(tally.table, (*tally.key, 0), {"sums": dict(sums), "applied_offset": self._offset})

    def _expire(self, before_us: int, *, subject: Subject | None = None) -> None:
        """Expire, in order of (expiry, due, name), what expires before this moment; a timer may arm another one."""
        for _ in range(EXPIRIES_MAX):
            due = [(a.expires_at_us, a.due_at_us, place[2], place) for place, a in self._armed.items() if subject in (None, place[0])]
            if not due or min(due)[0] >= before_us:
                return
            self._expire_one(min(due)[3])
        raise AssertionError(f"more than {EXPIRIES_MAX} timers expired at once: a projection arms for ever")

    def _expire_one(self, place: tuple[Subject, str, str]) -> None:
        subject, owner, name = place
        armed = self._armed.pop(place)
        timer, at = Timer(name, armed.due_at_us), self._moment(armed.due_at_us, armed.expires_at_us)

        def expired(projection: Projection[Any]) -> Step[Any] | None:
            return projection.expire(self._state(subject, projection), timer, at) if projection.name == owner else None

        self._pass(subject, at, expired)

    def _write(self, name: str, key: _Key, columns: dict[str, Any] | None, ttl_s: int | None = None) -> None:
        table = self.tables.get(name)
        if table is None or len(key) not in {len(table.partition_key), len(table.primary_key)}:
            raise AssertionError(f"table {name} with a key of {len(key)} is in no .cql")
        self._gone_us.pop((name, key), None)
        if columns is None:
            self._rows[name].pop(key, None)
            return
        static = len(key) == len(table.partition_key) and bool(table.clustering)
        for column in columns:
            if column not in table.columns or column in table.primary_key or (column in table.static) != static:
                raise AssertionError(f"{name}.{column} is not a {'static ' if static else ''}column of the .cql")
        row = self._rows[name].setdefault(key, {})
        row.update(columns)
        if ttl_s:
            self._gone_us[name, key] = self.now_us + ttl_s * 1_000_000


def _read(table: Table, rows: _Rows) -> list[dict[str, object]]:
    width = len(table.partition_key)
    shared = {key: cells for key, cells in rows.items() if table.clustering and len(key) == width}
    lonely = shared.keys() - {key[:width] for key in rows if len(key) > width}
    return [
        dict(zip(table.primary_key, key, strict=False)) | {c: v for c, v in {**shared.get(key[:width], {}), **cells}.items() if v is not None}
        for key, cells in rows.items()
        if key not in shared or key in lonely
    ]
