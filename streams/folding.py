"""The fold of one subject: its records through a group's projections, in the order of time. No I/O, no clock.

Before a record come the rulebooks that its partition has read since the subject's last one, each at its own append time, and
the timers with an expiry moment before it: engine.md §2 and §3. In each such step signals go to the projections that depend
on the one that gave them, so an escalation follows its breach on every run alike. Hot path throughout.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from projections.kernel import Arm, Config, Moment, Projection, Step, Subject, Timer
from projections.registry import Group
from schemas.codec import Codec, Undecodable
from schemas.events import TimerWoke
from schemas.record import Event
from streams.armed import EXPIRIES_MAX
from streams.effects import DESTINATIONS
from streams.parking import Failure
from streams.records import Arrived
from streams.routes import Stop, route
from streams.taking import END_OF_INPUT
from streams.tying import Tying
from streams.work import Fold, Tallied
from touchline.errors import Misconfigured, Poison

__all__ = ["STATE_BYTES_MAX", "Folding"]

STATE_BYTES_MAX: Final = 256 * 1024
"""A greater state parks its customer: a projection that lets it grow has no limit of its own."""


class Folding:
    """Folds one subject at a time for one version of a group. `config` is in force where a tenant has published nothing."""

    def __init__(self, group: Group, codec: Codec, *, config: Config, settle_us: int) -> None:
        self._group = group
        self._codec = codec
        self._config = config
        self._settle_us = settle_us
        self.tying = Tying(codec, group.version)
        self._projections: tuple[Projection[Any], ...] = group.projections
        self._version = group.version
        self._suffix = f"_v{group.version}"
        tables = group.tables()
        self._own_tables = frozenset(t.name for t in tables if len(t.partition_key) == len(Subject._fields))
        self._figures = {t.name: len(t.primary_key) - 1 for t in tables if {"sums", "applied_offset"} <= t.columns.keys()}
        self._encoder = msgspec.msgpack.Encoder()
        self._decoders: dict[str, Callable[[bytes], msgspec.Struct]] = {
            p.name: msgspec.msgpack.Decoder(type(p.initial(Subject("", "")))).decode for p in self._projections
        }
        handled = frozenset[type[Event]]().union(*(p.handles for p in self._projections))
        numbers = range(len(self._projections))
        self._routes = {kind: route(self._projections, [n for n in numbers if kind in self._projections[n].handles]) for kind in handled}
        self._expiring = {self._projections[n].name: route(self._projections, [n]) for n in numbers}
        self._configuring = route(self._projections, [n for n in numbers if hasattr(self._projections[n], "configure")])

    @property
    def is_configured(self) -> bool:
        """Whether any projection wants to hear of rulebooks."""
        return bool(self._configuring)

    def decoded(self, blobs: Mapping[str, bytes]) -> list[msgspec.Struct | None]:
        """Decode the states of a subject; a projection that has none begins at its initial state when it is first needed."""
        try:
            return [self._decoders[p.name](blobs[p.name]) if p.name in blobs else None for p in self._projections]
        except msgspec.MsgspecError as error:
            raise Misconfigured(
                f"a stored state of group {self._group.name} version {self._group.version} does not fit this code ({type(error).__name__}).",
                next_step="a projection's state has changed: raise the group's version, or run the code that wrote it.",
            ) from None

    def fold(self, fold: Fold, records: list[Arrived]) -> Fold:  # noqa: C901 - one decision per record, in one place
        """Fold records in order until one fails. States, timers and position of the entry move along."""
        entry = fold.entry
        try:
            for arrived in records:
                if arrived.hashed and entry.seen(arrived.hashed):
                    fold.repeats += 1
                elif arrived.head.__class__ is not Undecodable and arrived.head.type is TimerWoke:  # type: ignore[union-attr]
                    self._wake(fold, arrived)
                    fold.woke += 1
                elif not (is_tied := arrived.tying or entry.ties is not None) or self.tying.takes(fold, arrived):
                    self._apply(fold, arrived)
                    fold.ran += 1
                    fold.ts_us = arrived.ts_us
                    entry.move_to(fold.partition, arrived.record.offset, arrived.hashed)
                    if is_tied:
                        self.tying.follow(fold, arrived)
                fold.done += 1
        except Poison as poison:
            fold.failure = Failure.poisoned(poison)
        except Exception as error:  # noqa: BLE001 - whatever a projection raises parks this customer and nobody else
            fold.failure = Failure.raised(error)
        if fold.failure is None and fold.ran:
            try:
                fold.fan_out, fold.own = fold.merger.writes(self._suffix, fold.subject, self._own_tables, self._codec)
                self._encode(fold)
            except Poison as poison:
                fold.failure, fold.done = Failure.poisoned(poison), 0
            except Exception as error:  # noqa: BLE001 - what cannot be encoded: which record it was of is not known
                fold.failure, fold.done = Failure.raised(error), 0
        return fold

    # -- one record ---------------------------------------------------------------------------------------------------

    def _apply(self, fold: Fold, arrived: Arrived) -> None:
        """Run one record through the projections that want it, after what time has brought."""
        head, entry, books = arrived.head, fold.entry, fold.books
        if isinstance(head, Undecodable):
            raise Poison(f"undecodable:{head.reason}")
        now_us = max(arrived.appended_us, entry.appended_us)
        if entry.timers.next_us < now_us or (books is not None and entry.books < len(books.offsets)):
            self._catch_up(fold, arrived)
        else:
            entry.appended_us = now_us
        route = self._routes.get(head.type)
        if route is None:
            return
        event = self._codec.body(head)
        if isinstance(event, Undecodable):
            raise Poison(f"undecodable:{event.reason}")
        at = Moment(head.header.occurred_at_us, now_us, fold.partition, arrived.record.offset, self._config_of(fold))
        states, told, fold.record_ts_us = entry.states, fold.told, arrived.ts_us
        fold.speaks = not arrived.imported and (fold.promotions is None or fold.promotions.of_record(at.offset) == self._version)
        for stop in route:
            if stop.called:
                number, projection = stop.number, stop.projection
                self._follow(fold, number, projection.apply(states[number] or projection.initial(fold.subject), event, at), at)
            if told and stop.hears:
                self._hear(fold, stop, at)
        if told:
            told.clear()

    def _wake(self, fold: Fold, arrived: Arrived) -> None:
        """Let time do what it does; where that is nothing, the wake-up leaves no trace at all."""
        entry = fold.entry
        before = entry.appended_us, entry.books
        if self._catch_up(fold, arrived):
            fold.ran += 1
            fold.ts_us = arrived.ts_us
            entry.move_to(fold.partition, fold.books.reached(entry.books, arrived.record.offset) if fold.books else arrived.record.offset, b"")
        else:
            entry.appended_us, entry.books = before
        fold.in_vain = fold.in_vain or entry.timers.next_us < arrived.appended_us

    def _catch_up(self, fold: Fold, arrived: Arrived) -> bool:
        """Apply the rulebooks before a record and expire the timers before it, in the order of time; tell whether anything ran."""
        entry, books, offset = fold.entry, fold.books, arrived.record.offset
        timers, ran = entry.timers, False
        if books is not None:
            if entry.books < 0:
                entry.books = books.heard(entry, fold.partition, offset)
            while entry.books < len(books.offsets) and books.offsets[entry.books] < offset:
                read_us = max(entry.appended_us, books.appended_us[entry.books])
                if entry.expires_before(read_us):
                    ran = True
                    self._expire(fold, arrived, read_us)
                entry.appended_us = read_us
                if arrived.head is END_OF_INPUT and not timers:
                    return ran  # a live worker would not have woken it any more: it hears of the rest with its next record
                entry.books += 1
                ran = self._configure(fold, arrived, books.offsets[entry.books - 1]) or ran
        until_us = max(entry.appended_us, arrived.appended_us)
        if entry.expires_before(until_us):
            ran = True
            self._expire(fold, arrived, until_us)
        entry.appended_us = until_us
        return ran

    def _expire(self, fold: Fold, arrived: Arrived, before_us: int) -> None:
        """Expire what expires before this moment, in order; each is applied at its due time, noticed at its expiry moment."""
        entry, timers, offset, version = fold.entry, fold.entry.timers, arrived.record.offset, self._version
        fold.record_ts_us = arrived.ts_us
        for _ in range(EXPIRIES_MAX):
            if timers.next_us >= before_us:
                return
            found = timers.earliest()
            if found is None:  # pragma: no cover - then there is no next
                raise AssertionError
            timers.disarm(found.projection, found.name)
            fold.speaks = not arrived.imported and (fold.promotions is None or fold.promotions.of_timer(found.expires_us, offset) == version)
            at = Moment(found.due_us, found.expires_us, fold.partition, offset, self._config_of(fold))
            timer = Timer(found.name, found.due_us)
            for stop in self._expiring.get(found.projection, ()):
                if stop.called:
                    state = entry.states[stop.number] or stop.projection.initial(fold.subject)
                    self._follow(fold, stop.number, stop.projection.expire(state, timer, at), at)
                if fold.told and stop.hears:
                    self._hear(fold, stop, at)
            fold.told.clear()
        raise Poison("timers_without_end")

    def _configure(self, fold: Fold, arrived: Arrived, read_at: int) -> bool:
        """Tell the projections that have a state of the rulebook at that offset; tell whether any wanted to know."""
        entry, ran = fold.entry, False
        fold.speaks = not arrived.imported and (fold.promotions is None or fold.promotions.of_record(read_at) == self._version)
        fold.record_ts_us = arrived.ts_us
        at = Moment(entry.appended_us, entry.appended_us, fold.partition, arrived.record.offset, self._config_of(fold))
        for stop in self._configuring:
            state = entry.states[stop.number]
            if stop.called and state is not None:
                ran = True
                self._follow(fold, stop.number, stop.projection.configure(state, at), at)  # type: ignore[attr-defined]  # see `_configuring`
            if fold.told and stop.hears:
                self._hear(fold, stop, at)
        fold.told.clear()
        return ran

    # -- one step -----------------------------------------------------------------------------------------------------

    def _follow(self, fold: Fold, number: int, step: Step[Any], at: Moment) -> None:
        """Take in what follows from one step of a projection."""
        entry = fold.entry
        entry.states[number] = step.state
        fold.touched |= 1 << number
        if step.rows:
            add, ts_us = fold.merger.add, fold.record_ts_us
            for change in step.rows:
                add(change, ts_us)
        if step.timers:
            name, timers = self._projections[number].name, entry.timers
            for timer in step.timers:
                if isinstance(timer, Arm):
                    timers.arm(name, timer.name, timer.due_at_us, timer.expires_at_us(at.appended_at_us, self._settle_us))
                else:
                    timers.disarm(name, timer.name)
        if step.effects or step.tallies:
            self._say(fold, number, step, at.offset)
        if step.signals:
            fold.told.extend([(number, signal) for signal in step.signals])

    def _say(self, fold: Fold, number: int, step: Step[Any], offset: int) -> None:
        """Take in what a step says beyond its subject. Raises `Poison` for what there is no place for."""
        for effect in step.effects:
            if effect.kind not in DESTINATIONS:
                raise Poison(f"unknown_effect:{self._projections[number].name}")
            if fold.speaks:
                fold.effects.append(effect)
            else:
                fold.withheld += 1
        for tally in step.tallies:
            if self._figures.get(tally.table) != len(tally.key):
                raise Poison(f"unknown_figure:{self._projections[number].name}")
            fold.tallies.append(Tallied(tally, offset, fold.record_ts_us))

    def _hear(self, fold: Fold, stop: Stop, at: Moment) -> None:
        """Give a projection the signals of those that it depends on, in the order in which they came."""
        for source, signal in tuple(fold.told):
            if source in stop.hears:
                state = fold.entry.states[stop.number] or stop.projection.initial(fold.subject)
                self._follow(fold, stop.number, stop.receive(state, signal, at), at)

    def _config_of(self, fold: Fold) -> Config:
        return self._config if fold.books is None else fold.books.config(fold.entry.books)

    def _encode(self, fold: Fold) -> None:
        """Encode what changed. Raises `Poison` for a state that has outgrown what a row may hold.

        What several records changed there and back is written too: a former owner may have written what it was in between, and does
        so once more when it comes back to life.
        """
        entry = fold.entry
        touched, number = fold.touched, 0
        while touched:
            if touched & 1:
                name = self._projections[number].name
                blob = self._encoder.encode(entry.states[number])
                if len(blob) > STATE_BYTES_MAX:
                    raise Poison(f"state_too_large:{name}")
                if fold.ran > 1 or entry.blobs.get(name) != blob:
                    fold.blobs[name] = blob
            touched >>= 1
            number += 1
        if entry.timers.changed:
            fold.timers_blob = _changed("timers", entry.timers.blob, entry.timers.encode(), fold)
        if fold.tied and entry.ties is not None:
            fold.ties_blob = _changed("ties", entry.ties_blob, entry.ties.encoded(), fold)


def _changed(what: str, was: bytes, blob: bytes, fold: Fold) -> bytes | None:
    """Return what is to be stored; None: what is there already."""
    if len(blob) > STATE_BYTES_MAX:
        raise Poison(f"state_too_large:{what}")
    return blob if fold.ran > 1 or blob != was else None
