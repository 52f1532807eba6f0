"""Executes what asks for a rebuild: what a version of a group holds of one customer is made anew from the log (engine.md §6).

The owner of the partition does it when it reads the record, at offset n, so no two do it at once and every replay does the same:

    the customer's records below n ──┬─ fold as it was: with what was excluded before, up to where it was parked
                                     └─ fold as it is to be: without what is excluded, as if nothing had ever failed
    rows of the first go, rows of the second come, right below n's own write timestamp; states and timers are replaced;
    figures get the difference; then record n is folded like any other, and the customer waits no longer

A link that was undone (`identity.unlinked`) asks for one of both its customers, in every group and version: what it takes out of their records
(`streams/identity/apart.py`) is in the first fold and not in the second.

No effect of the two folds is sent: what the customer lived through was told then, or is past. What falls due from then on is told,
what stands on a compacted topic is published anew, and who goes back to another customer, or waited when it was linked to one, hands over
to that one what it could not before.
If the second fold fails too, the customer waits (on), and everything but the exclusions is as it was. All of it may be repeated after
a crash at any point: how the customer stood is noted before anything is changed, and figures know the offset up to which they count.
"""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

import msgspec
import structlog

from projections.kernel import Effect, Moment, Subject
from schemas.codec import Codec, Undecodable
from schemas.events import ClockMoved, IdentityUnlinked, ProjectionRebuild
from streams.cutting import Asking
from streams.engine import Engine
from streams.identity.apart import apart
from streams.identity.undoing import Undoing
from streams.parking import Failure, ParkedCustomer
from streams.rebuild.folds import Folds, Noticed, as_it_was, handed_over, noticed, refuse_another, settle
from streams.rebuild.history import VIEW, History, Place, PlacedRecord
from streams.rebuild.left_out import exclusions, identified, without
from streams.rebuild.lone import fold_alone
from streams.rebuild.rebuilt_rows import BEFORE_US, replaced, tally_differences
from streams.records import Batch, RawRecord, Taken
from streams.store.excluded import ExcludedRecords, Stood
from streams.store.parked import ParkedCustomers
from streams.store.port import GroupVersion, RowWrite, Store
from streams.subjects import SubjectEntry
from streams.work import Work
from touchline.errors import Misconfigured, Refused, Retryable

__all__ = ["Folds", "Rebuilder"]

log = structlog.get_logger(__name__)

VIEW_WAIT_S: Final = 2.0
"""How long the view group is waited for at a time: its timeline says where a customer's records lie. The caller tries again."""

WITHOUT_TIMELINE: Final = ("agent:", "plan:")
"""Subjects of whose records the view has no rows: their partition is read from its beginning."""

_POLL_S: Final = 0.05
_POLL_MAX_S: Final = 1.0


class _Asked(NamedTuple):
    """One record that asks for a rebuild: what it says, of whom, and where and when it came."""

    event: Asking
    subject: Subject
    place: Place
    appended_us: int
    ts_us: int
    record: RawRecord


class Rebuilder:
    """Rebuilds customers for one engine. What was fed before must be written before `rebuild` is called, and its work after it as any other.

    `history` is read by this one alone while it rebuilds. `undoing` gives back what was a linked customer's, for the version that speaks.
    """

    def __init__(self, engine: Engine, store: Store, history: History, *, codec: Codec | None = None, undoing: Undoing | None = None) -> None:
        self._undoing = undoing
        self._engine = engine
        self._store = store
        self._history = history
        self._codec = codec or Codec()
        self._group = GroupVersion(engine.group.name, engine.group.version)
        self._own_view = self._group if self._group.group == VIEW else None
        """A version of the view finds its records by its own rows: another one may be waiting for it."""

        self._state_table = f"{self._group.group}_v{self._group.version}_state"
        self._parked = ParkedCustomers(store)
        self._excluded = ExcludedRecords(store)

    async def rebuild(self, batch: Batch) -> Work:
        """Execute the one record of a batch, which asks for a rebuild in this group; return the work that makes it true.

        Waits until the view group is beyond the record, unless this is of the view itself. Raises `Retryable` if it is not within
        `VIEW_WAIT_S`, or as the store and the log do; nothing is changed then but the exclusions and what was given back, and it may be
        called again.
        """
        taken = self._engine.take(batch)
        asked = self._asked(taken)
        if asked is None:
            log.warning("rebuild_refused", **self._said(Place(batch.partition, batch.records[0].offset)), reason="not under its customer's key")
            return self._engine.feed(taken, await self._store.load_states(self._group, self._engine.missing(taken)))
        await self._wait_for_view(asked.place)
        states = await self._store.load_states(self._group, [asked.subject])
        stood = await self._excluded.stood(self._group, asked.subject.id, asked.place.offset) or await self._stands(asked)
        try:
            await self._give_back(asked)
            folds = await self.folds(asked.event, asked.subject, asked.place, asked.appended_us, stood, record=asked.record)
        except (Refused, Misconfigured) as refused:  # its history is too long, or no longer there: nothing to rebuild from
            log.warning("rebuild_refused", **self._said(asked.place), reason=refused.what)
            return self._engine.feed(taken, states)
        begun = {"rebuild_offset": asked.place.offset, "ts_us": asked.ts_us}  # noted first: the rows that say so are about to change
        await self._excluded.add(self._group, asked.subject.id, stood, folds.excluded, folds.apart, **begun)
        if (failure := folds.after.failure) is not None:
            log.warning("rebuild_failed", **self._said(asked.place), reason=failure.reason)
            self._engine.replace(asked.place.partition, asked.subject, None, await self._still_parked(asked, failure))
            return self._engine.feed(taken, states)
        self._engine.replace(asked.place.partition, asked.subject, folds.after.entry, None)
        work = self._engine.feed(taken, {})
        self._add(work, asked, folds, stood)
        if (isinstance(asked.event, ProjectionRebuild) or stood.parked_at is not None) and self._speaks(asked.place):
            work.copies[:0] = folds.after.runs  # a customer who waited was not copied; of one who was, nothing is taken twice
        mode = "unlinked" if isinstance(asked.event, IdentityUnlinked) else asked.event.mode
        log.info("rebuilt", **self._said(asked.place), mode=mode, records=folds.after.done, excluded=len(folds.excluded), apart=len(folds.apart))
        return work

    async def stood(self, subject: Subject, partition: int) -> Stood:
        """Return how a customer stands now."""
        parked = await self._waiting(subject)
        state = (await self._store.load_states(self._group, [subject])).get(subject)
        applied = (-1, 0) if state is None or state.applied_partition != partition else (state.applied_offset, state.appended_us)
        return Stood(None, *applied) if parked is None else Stood(parked.first_offset, *applied, parked.below_us)

    async def _stands(self, asked: _Asked) -> Stood:
        """Return how a customer stands now, and below which timestamp its rows lie: if it waits, below what it waits for."""
        stood = await self.stood(asked.subject, asked.place.partition)
        return stood if stood.below_us else stood._replace(below_us=asked.ts_us - BEFORE_US)

    async def folds(self, event: Asking, subject: Subject, place: Place, appended_us: int, stood: Stood, *, record: RawRecord | None = None) -> Folds:
        """Fold a customer twice, as if `event` stood at a place of the log and was appended then; `stood` is how it does. Writes nothing.

        A link that was undone needs the `record` that says so: the second fold knows of it without folding it.

        Raises `Refused` if the history is too long, `Misconfigured` if the log no longer has it, `Retryable` as the store does.
        """
        if subject.id.startswith(WITHOUT_TIMELINE):
            records = await self._history.keyed(place.partition, subject.id, place.offset)
        else:
            places = await self._history.places(subject.tenant, subject.id, place.offset, group=self._group, view=self._own_view)
            records = await self._history.records([one for one in places if one.partition == place.partition])
        if stood.parked_at is not None:
            refuse_another(self._codec, subject, [one for one in records if one.record.offset == stood.parked_at])
        named = identified(self._codec, records)
        held = [one for one in await self._excluded.load(self._group, subject.id) if one.rebuild_offset < place.offset]
        new = exclusions(event, named, place, stood.parked_at) if isinstance(event, ProjectionRebuild) else []
        books = await self._history.books(subject.tenant, place.partition, self._engine.config)
        fold = partial(
            fold_alone,
            self._engine.group,
            self._codec,
            subject,
            books={place.partition: books} if books else {},
            config=self._engine.config,
            settle_s=self._engine.settle_s,
        )
        passed = noticed(stood, place)
        until = place.offset if stood.parked_at is None else stood.parked_at
        in_force = [one for one in held if one.rebuild_offset < until]  # a rebuild that failed since then has changed nothing
        was = [one.placed for one in without(named, in_force) if one.placed.record.offset < until]
        before = as_it_was(was, lambda chosen: fold(chosen, stop_at=passed.stop_at, until_us=passed.until_us, noticed_at=passed.at))
        remaining = [one.placed for one in without(named, [*held, *new])]
        handed: tuple[ClockMoved, ...] = ()
        if stood.parked_at is not None:  # what came due while it waited is past
            passed = Noticed(place, appended_us - 1, place)
            handed = handed_over(self._codec, before, was, [one for one in remaining if one.record.offset >= until], stood.appended_us, fold=fold)
        taken_out: tuple[Place, ...] = ()
        if record is not None and isinstance(event, IdentityUnlinked):
            remaining.append(PlacedRecord(place.partition, record))
            taken_out = self._taken_out(subject, remaining)
        after = fold(remaining, stop_at=passed.stop_at, until_us=passed.until_us, noticed_at=passed.at)
        settle(after, [one for one in named if one.is_among([*held, *new])], place)
        return Folds(before, after, tuple(new), taken_out, handed)

    def _asked(self, taken: Taken) -> _Asked | None:
        """Return what a batch asks for; None for a record that is no rebuild of the customer of its key."""
        found = [(subject, arrived) for subject, records in taken.by_subject.items() for arrived in records]
        if len(found) != 1 or isinstance(head := found[0][1].head, Undecodable):
            return None
        [(subject, arrived)] = found
        event = self._codec.body(head)
        if not isinstance(event, ProjectionRebuild | IdentityUnlinked) or subject.id not in _customers_of(event):
            return None
        return _Asked(event, subject, Place(taken.batch.partition, arrived.record.offset), arrived.appended_us, arrived.ts_us, arrived.record)

    async def _give_back(self, asked: _Asked) -> None:
        """Give back what was a linked customer's, if this version speaks here."""
        if self._undoing is not None and isinstance(asked.event, IdentityUnlinked) and self._speaks(asked.place):
            record = PlacedRecord(asked.place.partition, asked.record)
            n = await self._undoing.give_back(asked.event, asked.subject, record, asked.ts_us, self._group)
            log.info("given_back", **self._said(asked.place), records=n)

    def _speaks(self, place: Place) -> bool:
        promotions = self._engine.promotions(place.partition)
        speaks = promotions is not None and promotions.of_record(place.offset) == self._group.version
        return speaks and not self._engine.is_importing(place.partition)

    def _taken_out(self, subject: Subject, records: Sequence[PlacedRecord]) -> tuple[Place, ...]:
        """Return where the records lie that undone links take out: who folds them once more needs them as it was."""
        out = apart(self._codec, subject.id, [self._codec.head(one.record.value) for one in records]).out
        return tuple(one.place for number, one in enumerate(records) if number in out)

    async def _wait_for_view(self, place: Place) -> None:
        view = self._own_view or await self._history.view()
        if view == self._group:
            return
        pause_s, give_up_s = _POLL_S, time.monotonic() + VIEW_WAIT_S
        while True:
            checkpoint = (await self._store.load_checkpoints(view)).get(place.partition)
            if checkpoint is not None and checkpoint.next_offset > place.offset:
                return
            if time.monotonic() > give_up_s:
                raise Retryable(
                    f"{view} has not come to {place.offset} of partition {place.partition}, where a rebuild waits for it.",
                    next_step=f"see that a worker runs it: `touchline worker --group {view.group}`.",
                )
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _POLL_MAX_S)

    async def _waiting(self, subject: Subject) -> ParkedCustomer | None:
        return next((one for one in await self._parked.load(self._group) if one.customer == subject.id), None)

    async def _still_parked(self, asked: _Asked, failure: Failure) -> ParkedCustomer:
        """Return the customer as it waits from now on: since when it waited, or for the rebuild itself, which failed."""
        found = await self._waiting(asked.subject)
        partition, offset = asked.place
        waiting = found or ParkedCustomer(asked.subject.id, partition, offset, partition, -1, 0, "", "", below_us=asked.ts_us - BEFORE_US)
        return msgspec.structs.replace(waiting, reason=failure.reason, traceback_digest=failure.digest, failed_at=failure.where)

    def _add(self, work: Work, asked: _Asked, folds: Folds, stood: Stood) -> None:
        """Put the rebuild before what its own record led to."""
        subject, after, ts_us = asked.subject, folds.after, asked.ts_us - BEFORE_US
        was_away, is_away = (fold.entry.ties is not None and bool(fold.entry.ties.to) for fold in (folds.before, after))
        linked = stood.parked_at is not None and is_away  # whoever has its rows now has written them since it waits
        fan_out, own = replaced(
            self._engine.group.tables(),
            subject,
            folds.before.rows,
            after.rows,
            ts_us,
            gone_us=stood.below_us,
            put_us=stood.below_us if linked else ts_us,
            away=was_away and is_away,
        )
        own.append(RowWrite(self._state_table, tuple(subject), None, ts_us))
        ties = after.entry.ties_blob or None
        if after.states or ties:
            own += after.entry.state_rows(self._state_table, subject, after.states, after.timers or None, ts_us + 1, ties=ties)
        waiting = (*self._group, subject.id)  # it waits until all else is there: what it waits for says how its figures stand
        own += [RowWrite("parked_customer", waiting, None, ts_us), RowWrite("parked_record", waiting, None, ts_us)]
        work.fan_out[:0], work.own[:0] = fan_out, own
        work.tallies += tally_differences(folds.before.tallies, after.tallies, asked.place.offset, asked.ts_us)
        work.effects += self._snapshots(asked, after.entry)
        if self._speaks(asked.place):
            known, handed = {moved.header.id for moved in folds.before.handed}, folds.handed
            if isinstance(asked.event, IdentityUnlinked) and asked.event.from_ == subject.id:
                handed = tuple(moved for moved in after.handed if moved.header.id not in known)
            work.effects += [Effect(moved.TYPE, moved.header.customer_id, moved) for moved in handed]

    def _snapshots(self, asked: _Asked, entry: SubjectEntry) -> list[Effect]:
        """Return what now stands on compacted topics: it says how things are, not that something happened, so it is told again."""
        partition, offset = asked.place
        if not self._speaks(asked.place):
            return []
        at = Moment(entry.appended_us, entry.appended_us, partition, offset, self._engine.config)
        with_states = zip(self._engine.group.projections, entry.states, strict=True)
        publishers = [(p.publish, state) for p, state in with_states if state is not None and hasattr(p, "publish")]
        return [effect for publish, state in publishers for effect in publish(state, asked.subject, at)]

    def _said(self, place: Place) -> dict[str, object]:
        return {"group": self._group.group, "version": self._group.version, **place._asdict()}


def _customers_of(event: Asking) -> tuple[str, ...]:
    """Return under whose keys a record that asks for a rebuild may lie."""
    return (event.customer,) if isinstance(event, ProjectionRebuild) else (event.from_, event.to)
