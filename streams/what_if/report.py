"""What other rules would have made of the same history, beside what the rules before made of it. Values only; reads no log.

A clock counts by what it has come to at the end of the log: met, breached, cancelled, or still running (paused ones included). The
on-time share is met / (met + breached). A contact that asked for an answer was missed if none came in time. The service level is
SL-3 of docs/figures.md: answered within T / (answered + abandoned). Every share comes with what it is a share of.
"""

from collections.abc import Iterable
from typing import Any, Final, Literal, NamedTuple, get_args

import msgspec

from projections.sla.transitions import QUEUE_TOTAL
from streams.plain import utc
from streams.service_level import Ratio

__all__ = ["DIMENSIONS", "SERVICE_LEVEL", "Dimension", "Figures", "Line", "Place", "Report", "Side", "together"]

Dimension = Literal["queue", "team", "metric", "week"]
DIMENSIONS: Final[tuple[Dimension, ...]] = get_args(Dimension)

SERVICE_LEVEL: Final = "service_level"
"""The metric under which contacts in queues are counted for the service level."""


class Place(NamedTuple):
    """Where something counts: queue and team ("" where none is known), the metric (of a contact: its rule), the ISO week (`2026-W03`)."""

    queue: str
    team: str
    metric: str
    week: str


class Figures(msgspec.Struct, frozen=True):
    """What was counted in one place. `settled_late`: settled without an answer, and not before it was due; `settled` includes it.

    `queue_answered`, `queue_within` and `queue_abandoned` are A, As and B of the service level.
    """

    met: int = 0
    breached: int = 0
    cancelled: int = 0
    running: int = 0
    answered: int = 0
    recovered: int = 0
    unanswered: int = 0
    settled: int = 0
    settled_late: int = 0
    waiting: int = 0
    queue_answered: int = 0
    queue_within: int = 0
    queue_abandoned: int = 0

    @property
    def clocks(self) -> int:
        """How many clocks there are."""
        return self.met + self.breached + self.cancelled + self.running

    @property
    def on_time(self) -> Ratio:
        """Met / (met + breached)."""
        return Ratio.of(self.met, self.met + self.breached)

    @property
    def asked(self) -> int:
        """How many contacts asked for an answer, by the rules."""
        return self.answered + self.recovered + self.unanswered + self.settled + self.waiting

    @property
    def missed(self) -> int:
        """How many of them got none in time."""
        return self.unanswered + self.recovered + self.settled_late

    @property
    def service_level(self) -> Ratio:
        """As / (A + B)."""
        return Ratio.of(self.queue_within, self.queue_answered + self.queue_abandoned)

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        return {
            "clocks": self.clocks,
            "met": self.met,
            "breached": self.breached,
            "cancelled": self.cancelled,
            "running": self.running,
            "on_time": _ratio(self.on_time),
            "contacts": {
                "asked": self.asked,
                "answered": self.answered,
                "recovered": self.recovered,
                "unanswered": self.unanswered,
                "settled": self.settled,
                "waiting": self.waiting,
                "missed": self.missed,
            },
            "service_level": _ratio(self.service_level),
        }


class Line(msgspec.Struct, frozen=True):
    """One place of one dimension, before and after."""

    name: str
    before: Figures
    after: Figures

    @property
    def more_breached(self) -> int:
        """How many more clocks are breached than before."""
        return self.after.breached - self.before.breached

    @property
    def more_missed(self) -> int:
        """How many more contacts got no answer in time."""
        return self.after.missed - self.before.missed

    @property
    def on_time_change(self) -> float | None:
        """The on-time share after less that before; None where one of them has none."""
        return _less(self.after.on_time, self.before.on_time)

    @property
    def service_level_change(self) -> float | None:
        """The same of the service level."""
        return _less(self.after.service_level, self.before.service_level)

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        before, after = self.before, self.after
        difference = {
            "clocks": after.clocks - before.clocks,
            "met": after.met - before.met,
            "breached": self.more_breached,
            "cancelled": after.cancelled - before.cancelled,
            "running": after.running - before.running,
            "on_time": _rounded(self.on_time_change),
            "missed": self.more_missed,
            "service_level": _rounded(self.service_level_change),
        }
        return {"before": before.json(), "after": after.json(), "difference": difference}


class Side(msgspec.Struct, frozen=True):
    """What one set of rules made of the history. `parked` counts customers whose records could not be folded: they are not in it."""

    cells: dict[Place, Figures]
    parked: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The comparison. `before_rules` and `after_rules` name the rules; `zone` is that of the weeks.

    What started in [from_us, until_us) counts, each None: from the beginning, to the end. `as_of_us` is the end of the log, up to
    which timers expired; `folded_from_us` the append time of the first records that were read (None: all). Epoch µs.
    """

    tenant: str
    before_rules: str
    after_rules: str
    zone: str
    records: int
    as_of_us: int
    from_us: int | None = None
    until_us: int | None = None
    folded_from_us: int | None = None
    before: Side
    after: Side

    @property
    def total(self) -> Line:
        """Everything together, but waits over several queues: each is in the waits of its queues already."""
        none = Figures()
        return Line("all", _sums(self.before, None).get("", none), _sums(self.after, None).get("", none))

    def lines(self, by: Dimension) -> list[Line]:
        """Return a line per queue, team, metric or rule, or week: the worst change first, weeks in their order.

        The worst is the one with the most breaches added, then with the most contacts missed.
        """
        before, after, none = _sums(self.before, by), _sums(self.after, by), Figures()
        found = [Line(name, before.get(name, none), after.get(name, none)) for name in before.keys() | after.keys()]
        if by == "week":
            return sorted(found, key=lambda line: line.name)
        return sorted(found, key=lambda line: (-line.more_breached, -line.more_missed, -line.before.breached, line.name))

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        places = sorted(self.before.cells.keys() | self.after.cells.keys())
        none = Figures()
        cells = [Line("", self.before.cells.get(place, none), self.after.cells.get(place, none)) for place in places]
        return {
            "tenant": self.tenant,
            "from": _time(self.from_us),
            "to": _time(self.until_us),
            "as_of": utc(self.as_of_us),
            "folded_from": _time(self.folded_from_us),
            "zone": self.zone,
            "records": self.records,
            "rules": {"before": self.before_rules, "after": self.after_rules},
            "parked": {"before": self.before.parked, "after": self.after.parked},
            "total": self.total.json(),
            "by": {by: [{"name": line.name, **line.json()} for line in self.lines(by)] for by in DIMENSIONS},
            "cells": [{**place._asdict(), **cell.json()} for place, cell in zip(places, cells, strict=True)],
        }


def together(sides: Iterable[Side]) -> Side:
    """Add up what several shares of the log came to."""
    cells: dict[Place, Figures] = {}
    parked = 0
    for side in sides:
        parked += side.parked
        for place, figures in side.cells.items():
            cells[place] = _plus(cells[place], figures) if place in cells else figures
    return Side(cells, parked)


def _plus(one: Figures, other: Figures) -> Figures:
    return Figures(*map(sum, zip(msgspec.structs.astuple(one), msgspec.structs.astuple(other), strict=True)))


def _sums(side: Side, by: Dimension | None) -> dict[str, Figures]:
    """Add up by the names of a dimension; without one everything, under "". Once over the cells: there are many times more than names."""
    found: dict[str, Figures] = {}
    for place, figures in side.cells.items():
        if _counts(place, by):
            name = "" if by is None else _name(place, by)
            found[name] = _plus(found[name], figures) if name in found else figures
    return found


def _counts(place: Place, by: Dimension | None) -> bool:
    """Tell whether a place has part in a sum: waits over several queues only among metrics, service levels not by team or metric."""
    if place.metric == QUEUE_TOTAL:
        return by == "metric"
    return place.metric != SERVICE_LEVEL or by not in {"team", "metric"}


def _name(place: Place, by: Dimension) -> str:
    return str(getattr(place, by))


def _less(after: Ratio, before: Ratio) -> float | None:
    return None if after.value is None or before.value is None else after.value - before.value


def _ratio(one: Ratio) -> dict[str, Any]:
    return {"value": _rounded(one.value), "n": one.n}


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 6)


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else utc(at_us)
