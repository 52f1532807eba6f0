"""What the rules say, for clocks: books by version, policies, calendars and allowances. Must not know turns or states.

Every answer is kept: a fold asks for the same few over and over.
"""

from typing import Final

from projections.rules import Config, Metric, Policy, Rulebook, WeeklyHours
from projections.sla.calendar import Calendar, calendar_of
from projections.sla.facts import Facts
from projections.sla.matching import ALWAYS_OPEN, Matcher, matcher_of

__all__ = ["Terms", "terms_of"]

_EMPTY: Final = Rulebook()
_TERMS_MAX: Final = 64
_PLACED_MAX: Final = 4_096
_SECOND_US: Final = 1_000_000


class Terms:
    """The rules that a partition has read so far. Get it with `terms_of`; its answers never change.

    `anywhere` tells whether any policy takes answers in any channel, `last_effective_us` when the last of the books comes into force.
    """

    __slots__ = (
        "_books",
        "_calendars",
        "_grace",
        "_last",
        "_lateness",
        "_matchers",
        "_placed",
        "_policies",
        "anywhere",
        "config",
        "last_effective_us",
    )

    def __init__(self, config: Config) -> None:
        self.config = config
        self._books = {book.version: book for book in config.read}
        self._matchers: dict[int, Matcher] = {}
        self._policies = {(book.version, policy.id): policy for book in config.read for policy in book.policies}
        self._calendars: dict[tuple[int, str], Calendar] = {}
        self._grace: dict[tuple[int, str], int] = {}
        self._lateness: dict[tuple[int, str], int] = {}
        self._placed: dict[tuple[int | str | None, ...], str] = {}
        self.anywhere = any(policy.answered_by == "any_channel" for policy in self._policies.values())
        self.last_effective_us = max((book.effective_at_us for book in config.read), default=0)
        self._last = config.at(self.last_effective_us).version

    def version_at(self, event_us: int) -> int:
        """Return the version of the book in force at an event time. Hot path: mostly the last one."""
        return self._last if event_us >= self.last_effective_us else self.config.at(event_us).version

    def book(self, version: int) -> Rulebook:
        """Return a book by its version; the empty one if it was never read."""
        return self._books.get(version, _EMPTY)

    def matcher(self, version: int) -> Matcher:
        """Return the matcher of a book."""
        found = self._matchers.get(version)
        if found is None:
            found = self._matchers[version] = matcher_of(self.book(version))
        return found

    def policy(self, version: int, policy_id: str | None) -> Policy | None:
        """Return a policy by its id."""
        return self._policies.get((version, policy_id or ""))

    def hours(self, version: int, calendar: str) -> WeeklyHours:
        """Return a calendar of a book; around the clock if the book has none of that id."""
        try:
            return self.matcher(version).hours(calendar)
        except KeyError:
            return ALWAYS_OPEN

    def calendar(self, version: int, calendar: str) -> Calendar:
        """Return the same, ready to measure."""
        key = (version, calendar)
        found = self._calendars.get(key)
        if found is None:
            found = self._calendars[key] = calendar_of(self.hours(version, calendar))
        return found

    def calendar_id(self, version: int, facts: Facts, policy: Policy, metric: Metric) -> str:
        """Return the calendar of a clock: sla.md §3; ownership counts in its team's shifts unless the policy says otherwise."""
        own = policy.calendars.get(metric)
        if own is not None:
            return own
        matcher = self.matcher(version)
        if metric == "ownership" and facts.team:
            shifts = matcher.team(facts.team).calendar
            if shifts is not None:
                return shifts
        if policy.calendar is not None:
            return policy.calendar
        # below the policy only these name one
        key = (version, facts.queue, facts.channel, *facts.segments)
        found = self._placed.get(key)
        if found is None:
            if len(self._placed) >= _PLACED_MAX:
                self._placed.clear()
            found = self._placed[key] = matcher.calendar(facts.context(), policy, metric).id
        return found

    def grace_us(self, version: int, channel: str) -> int:
        """Return how long alarms wait in a channel."""
        key = (version, channel)
        found = self._grace.get(key)
        if found is None:
            found = self._grace[key] = self.matcher(version).channel(channel).grace_s * _SECOND_US
        return found

    def lateness_us(self, at_us: int, channel: str) -> int:
        """Return how late an event of a channel may come and still be told of."""
        key = (self.version_at(at_us), channel)
        found = self._lateness.get(key)
        if found is None:
            found = self._lateness[key] = self.matcher(key[0]).channel(channel).allowed_lateness_s * _SECOND_US
        return found

    def reopen_us(self, version: int) -> int:
        """Return R, the re-open window."""
        return self.book(version).defaults.reopen_window_s * _SECOND_US


_known: Final[dict[int, Terms]] = {}
"""By the configuration's identity: the terms hold it, so that no other can take its place."""


def terms_of(config: Config) -> Terms:
    """Return the terms of a configuration, made at the first question. Hot path: 0.1 µs."""
    found = _known.get(id(config))
    if found is None:
        found = Terms(config)
        if len(_known) >= _TERMS_MAX:
            del _known[next(iter(_known))]
        _known[id(config)] = found
    return found
