"""One clock: what it measures, its running segments, and its verdict. Knows calendars; must not know turns or the log.

Consumed is the open time in the running segments, due the instant at which it reaches the target if nothing changes. Met when
the stop's time is at most the due time; breached just after it, once and for good. Times are epoch µs, UTC.
"""

from typing import Final

import msgspec

from projections.rules import Metric, Policy
from projections.sla.terms import Terms
from projections.sla.transitions import CANCELLED, METRICS, PAUSED, RUNNING, STOPPED

__all__ = ["SEGMENTS_MAX", "Clock", "Told"]

SEGMENTS_MAX: Final = 32
"""Running segments that a clock keeps; above it the earliest ones are measured for good."""

_SECOND_US: Final = 1_000_000


class Told(msgspec.Struct, array_like=True, gc=False):
    """What has been published of a clock: what the next comparison is with.

    `verdict`: "" none yet, met, breached, cancelled. `turn` counts how often the verdict has changed, `moves` the pauses, resumptions
    and retargets. `armed_us`, `warn_armed_us`: what its timers are armed for, 0 = not. `open_due_us`, `open_team`: the key of its
    row among the open clocks, 0 = none. `ended`: dependents know that its breach is over. `silent`: the breach was told to nobody.

    `spoken`: it is told of here, and not only copied from another customer; `muted`: its verdict was found while copies came. `loud`: the turn
    of the last breach, or of its being taken back, that was told to people.
    """

    state: int = -1
    due_us: int | None = None
    policy: str = ""
    calendar: str = ""
    calendar_book: int = 0
    target_s: int = 0
    verdict: str = ""
    turn: int = 0
    moves: int = 0
    armed_us: int = 0
    warn_armed_us: int = 0
    warned_us: int = 0
    open_due_us: int = 0
    open_team: str = ""
    ended: bool = False
    silent: bool = False
    spoken: bool = False
    muted: bool = False
    loud: int = -1


class Clock(msgspec.Struct, array_like=True, gc=False, eq=False):
    """One instance of a metric. `metric` is its number in `METRICS`; `state` one of `transitions`.

    `segments` is flat: from, to, from, to; of odd length while it runs. `book` is the version that its policy is pinned to,
    `calendar_book` the version of its calendar, and `eras` (flat: until, version) what that was before. `carried_us` was consumed
    under terms that no longer count, `closed_us` is that and what was consumed in the segments that have ended. `due_us` stays what
    it last was while the clock is paused or over; None: the calendar never opens long enough. `late_us` is the moment of the breach.
    `team` looked after the conversation while the clock was open, `priority` was its priority then.
    """

    metric: int
    instance: int
    started_us: int
    policy: str
    book: int
    calendar: str
    calendar_book: int
    target_s: int
    segments: list[int]
    state: int = RUNNING
    due_us: int | None = None
    late_us: int | None = None
    stopped_us: int | None = None
    first_stopped_us: int | None = None
    cancelled_us: int | None = None
    warn_us: int | None = None
    carried_us: int = 0
    closed_us: int = 0
    eras: list[int] = []
    cause: str = ""
    by: str | None = None
    why: str = ""
    channel: str = ""
    team: str | None = None
    priority: str | None = None
    told: Told = msgspec.field(default_factory=Told)

    @property
    def key(self) -> tuple[Metric, int]:
        """The metric and the instance."""
        return (METRICS[self.metric], self.instance)

    @property
    def name(self) -> str:
        """The same as a text, short."""
        return f"{self.metric}|{self.instance}"

    @property
    def label(self) -> str:
        """The state as rows show it: running, paused, met, breached, cancelled."""
        if self.late_us is not None:
            return "breached"
        if self.state == RUNNING:
            return "running"
        if self.state == PAUSED:
            return "paused"
        return "met" if self.state == STOPPED else "cancelled"

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.state == RUNNING

    @property
    def open(self) -> bool:
        """Whether it runs or is paused."""
        return self.state == RUNNING or self.state == PAUSED  # noqa: PLR1714 - three times as quick as a set

    def consumed_us(self, terms: Terms, until_us: int) -> int:
        """Return the open time in the segments; the one that runs counts up to `until_us`."""
        segments = self.segments
        if len(segments) % 2:
            return self.closed_us + self._open_us(terms, segments[-1], until_us)
        return self.closed_us

    def known_us(self, terms: Terms) -> int:
        """Return what is for certain: without the segment that runs; of a breach at least up to its moment."""
        if self.late_us is not None and self.state == RUNNING:
            return self.consumed_us(terms, max(self.late_us, self.segments[-1]))
        return self.closed_us

    def measure(self, terms: Terms) -> None:
        """Measure the segments that have ended anew."""
        segments, total_us = self.segments, self.carried_us
        for at in range(0, len(segments) - 1, 2):
            total_us += self._open_us(terms, segments[at], segments[at + 1])
        self.closed_us = total_us

    def aim(self, terms: Terms, policy: Policy | None) -> None:
        """Find the due time and the warning's, from the segment that runs."""
        from_us = self.segments[-1]
        calendar = terms.calendar(self.calendar_book, self.calendar)
        rest_us = self.target_s * _SECOND_US - self.closed_us
        self.due_us = calendar.due_us(from_us, rest_us)
        warn_s = policy.warn.get(METRICS[self.metric]) if policy is not None and policy.warn else None
        self.warn_us = None if warn_s is None else calendar.due_us(from_us, rest_us - warn_s * _SECOND_US)

    def pause(self, terms: Terms, at_us: int) -> None:
        """End the running segment."""
        self._end_segment(terms, at_us)
        self.state = PAUSED

    def resume(self, terms: Terms, policy: Policy | None, at_us: int) -> None:
        """Begin a segment; the start is never shifted (sla.md §4)."""
        self.state = RUNNING
        if len(self.segments) >= 2 * SEGMENTS_MAX:
            early, self.segments = self.segments[:SEGMENTS_MAX], self.segments[SEGMENTS_MAX:]
            self.carried_us += sum(self._open_us(terms, early[at], early[at + 1]) for at in range(0, SEGMENTS_MAX, 2))
        self.segments = [*self.segments, at_us]
        self.stopped_us = self.cancelled_us = None
        if self.late_us is None:
            self.aim(terms, policy)

    def stop(self, terms: Terms, at_us: int, channel: str) -> None:
        """Stop it: met, unless it is late already."""
        self._end_segment(terms, at_us)
        self.state, self.stopped_us, self.channel = STOPPED, at_us, channel
        if self.first_stopped_us is None:
            self.first_stopped_us = at_us

    def cancel(self, terms: Terms, at_us: int, why: str) -> None:
        """End it without a verdict; a breach that was before stays."""
        self._end_segment(terms, at_us)
        self.state, self.cancelled_us, self.why = CANCELLED, at_us, why

    def stay_late(self, now_us: int) -> None:
        """Stay a breach that was told, while the due time, as it is known now, is past."""
        if self.state == RUNNING and self.due_us is not None and self.due_us <= now_us:
            self.late_us = self.due_us

    def restart(self, terms: Terms, policy: Policy | None, at_us: int) -> None:
        """Let the same instance count from here: a person was asked for (CW#8477)."""
        self.started_us, self.segments, self.carried_us, self.closed_us = at_us, [at_us], 0, 0
        self.state = RUNNING
        self.aim(terms, policy)

    def carry(self, consumed_us: int, at_us: int) -> None:
        """Keep what was consumed as it is, and count on from here."""
        self.carried_us = consumed_us
        self.segments = [at_us] if self.state == RUNNING else []

    def take_terms(self, other: "Clock") -> None:
        """Take over policy, target, calendar and what they make of the segments."""
        self.policy, self.book, self.target_s = other.policy, other.book, other.target_s
        self.calendar, self.calendar_book, self.eras = other.calendar, other.calendar_book, other.eras
        self.segments, self.carried_us, self.closed_us = other.segments, other.carried_us, other.closed_us

    def _open_us(self, terms: Terms, from_us: int, until_us: int) -> int:
        total_us, eras = 0, self.eras
        for at in range(0, len(eras), 2):
            if from_us < eras[at]:
                total_us += terms.calendar(eras[at + 1], self.calendar).open_us(from_us, min(eras[at], until_us))
                from_us = eras[at]
        return total_us + terms.calendar(self.calendar_book, self.calendar).open_us(from_us, until_us)

    def _end_segment(self, terms: Terms, at_us: int) -> None:
        if len(self.segments) % 2:
            from_us = self.segments[-1]
            at_us = max(at_us, from_us)
            self.closed_us += self._open_us(terms, from_us, at_us)
            self.segments = [*self.segments, at_us]
