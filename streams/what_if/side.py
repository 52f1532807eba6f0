"""One side of a comparison: a share of the log under one set of rules, partition by partition. Over the engine and a scratch store.

Two sides read the same records. The one that goes by the log's rules learns them where they stand in the log; the one that goes by a
file has that from the beginning of time and passes over what the log says. No effect leaves here: there is no port to hand it to.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from projections.kernel import Config
from projections.registry import Group
from projections.rules import Rulebook
from projections.sla.matching import matcher_of
from projections.sla.transitions import QUEUE_TOTAL
from schemas.codec import Codec
from streams.books import Position
from streams.engine import Engine
from streams.records import Batch, RawRecord, Taken
from streams.service_level import ServiceLevel, Targets, counts_of
from streams.store.port import Checkpoint
from streams.wakeups import Wake
from streams.what_if.group import WhatIfGroup
from streams.what_if.report import SERVICE_LEVEL, Figures, Place, Side, together
from streams.what_if.scratch import SLOT_US, Counted, Scratch
from streams.work import Work

__all__ = ["FoldedSide", "Levels", "Span"]

CACHED_SUBJECTS_MAX: Final = 5_000
"""Customers whose states a side holds decoded; the others' lie on disk. Four times as many took 240 MB more and no less time."""

_RUNNING: Final = frozenset({"running", "paused"})
_ELSEWHERE: Final = "moved"
_END: Final = "end"

Levels = list[tuple[int, str, dict[str, int]]]
"""(slot, queue, sums): what was counted for service levels, which any T and S can be asked of."""


class Span(msgspec.Struct, frozen=True):
    """What counts: what started in [from_us, until_us), epoch µs. `week_of` names the week of a quarter hour since 1970."""

    from_us: int
    until_us: int
    week_of: Callable[[int], str]


class FoldedSide:
    """One side. `book` None: the log's own rules. `levels`: whether it counts for the service levels. A partition at a time."""

    def __init__(self, care: Group, codec: Codec, *, tenant: str, book: Rulebook | None, settle_s: float, levels: bool) -> None:
        self._group = WhatIfGroup(care, levels=levels)
        self._codec = codec
        self._tenant = tenant
        self._book = book
        config = Config() if book is None else Config((book,))
        self._engine = Engine(self._group, codec, tenant=tenant, cached_subjects_max=CACHED_SUBJECTS_MAX, config=config, settle_s=settle_s)
        self._scratch: Scratch | None = None
        self._partition = -1
        self._config = config

    def open(self, partition: int, first: int, books: tuple[Position, ...]) -> None:
        """Begin a partition at an offset; `books` are the log's rulebooks that lie below it."""
        self.close()
        known = books if self._book is None else ()
        self._engine.open(partition, Checkpoint(first, 0, active=True, event_time_us=0), books=known)
        self._partition, self._scratch = partition, Scratch(self._group)
        if self._book is None:
            self._config = Config(tuple(position.book for position in known))

    def close(self) -> None:
        """Let the partition go; harmless when repeated."""
        if self._scratch is not None:
            self._engine.close(self._partition)
            self._scratch.close()
            self._scratch = None

    def take(self, batch: Batch) -> Taken:
        """Decode the headers of the next records of the partition; those of other tenants are left out.

        Every side that is where this one is may be fed with it: reading headers is a sixth of a fold.
        """
        taken = self._engine.take(batch)
        taken.by_subject = {subject: records for subject, records in taken.by_subject.items() if subject.tenant == self._tenant}
        return taken

    def feed(self, taken: Taken) -> None:
        """Fold the next records of the partition."""
        engine, scratch = self._engine, self._opened
        if self._book is not None:
            taken = msgspec.structs.replace(taken, of_all=[])
        missing = engine.missing(taken)
        self._keep(engine.feed(taken, scratch.states(missing) if missing else {}))

    def finish(self, as_of_us: int) -> None:
        """Let time pass to the end of the log: expire what expires up to then, as if a wake-up of everybody stood behind the last record.

        Those hear of rules that are the log's last word, too: the partition is never read on from here.
        """
        for subjects in self._opened.armed():
            wakes = [Wake(self._partition, subject, _END, as_of_us, as_of_us).event(self._group.name) for subject in subjects]
            first = self._engine.next_offset(self._partition) or 0
            records = [
                RawRecord(first + number, subjects[number].id.encode(), self._codec.encode(wake), as_of_us + 1) for number, wake in enumerate(wakes)
            ]
            self.feed(self.take(Batch(self._partition, records)))

    def levels(self, span: Span) -> Levels:
        """Return what was counted for service levels in the open partition."""
        return list(self._opened.figures(span.from_us, span.until_us))

    def counted(self, span: Span, levels: Levels) -> Side:
        """Return what the open partition came to, its service levels by this side's T and S."""
        scratch = self._opened
        cells: list[tuple[Place, Figures]] = []
        for one in scratch.clocks(span.from_us, span.until_us):
            state = "running" if one.state in _RUNNING else one.state
            cells.append((_place(one, QUEUE_TOTAL if one.flag else one.what, span), Figures(**{state: one.n})))
        for one in scratch.contacts(span.from_us, span.until_us):
            if one.state != _ELSEWHERE:
                late = one.n if one.flag and one.state == "settled" else 0
                cells.append((_place(one, one.what, span), Figures(**{one.state: one.n}, settled_late=late)))
        for slot, queue, sums in levels:
            level = ServiceLevel.of(counts_of([sums]), Targets(*matcher_of(self._config.at(slot * SLOT_US)).queue_rules(queue)))
            told = Figures(queue_answered=level.counts.answered, queue_within=level.answered_within, queue_abandoned=level.counts.abandoned)
            cells.append((Place(queue, "", SERVICE_LEVEL, span.week_of(slot)), told))
        return together([*(Side({place: figures}) for place, figures in cells), Side({}, self._engine.parked_customers)])

    def _keep(self, work: Work) -> None:
        for position in work.books:
            if position.tenant == self._tenant:
                self._config = self._config.with_book(position.book)
        scratch = self._opened
        scratch.write(work.fan_out)
        scratch.write(work.own)
        scratch.count([one.tally for one in work.tallies])
        self._engine.acknowledge(self._engine.work_number)

    @property
    def _opened(self) -> Scratch:
        if self._scratch is None:
            raise RuntimeError("no partition is open")
        return self._scratch


def _place(one: Counted, metric: str, span: Span) -> Place:
    return Place(one.queue, one.team, metric, span.week_of(one.slot))
