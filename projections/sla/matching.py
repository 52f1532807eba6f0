"""Which policy, rule and calendar apply. Knows a rulebook and contexts; must not know events, clocks or the log.

A `Matcher` answers for one rulebook. Its conditions are compiled once, and its answers are kept by context: contexts repeat
(a centre has few combinations of channel, queue, team and priority), so most questions cost one look into a dictionary.
"""

from typing import Final, Literal, NamedTuple

from projections.rules import (
    ALWAYS,
    ChannelRules,
    ContactRules,
    Metric,
    Policy,
    QueueRules,
    Rulebook,
    TeamRules,
    UnansweredRule,
    WeeklyHours,
)
from projections.sla.conditions import Condition, Context, Variables, variables_of

__all__ = ["ALWAYS_OPEN", "Context", "Level", "Matcher", "Placed", "matcher_of"]

_DAY_S: Final = 86_400
_CONTEXTS_MAX: Final = 4_096
_BOOKS_MAX: Final = 1_024

ALWAYS_OPEN: Final = WeeklyHours(id=ALWAYS, timezone="UTC", week=(((0, _DAY_S),),) * 7)
"""The built-in calendar."""

Level = Literal["metric", "policy", "rule", "customer", "queue", "channel", "defaults", "built in"]
"""Which rule named a calendar, strongest first (sla.md §3); `rule` is an unanswered rule's own, in the policy's place."""


class Placed(NamedTuple):
    """A calendar, and why it is this one: the level, and the name of what named it ("" for the defaults and the built-in one)."""

    hours: WeeklyHours
    level: Level
    by: str


class _Answer(NamedTuple):
    policy: Policy | None
    unanswered: tuple[UnansweredRule, ...]


class Matcher:
    """What one rulebook says about a context. Get it with `matcher_of`; its answers never change."""

    __slots__ = ("_answers", "_calendars", "_channels", "_customers", "_policies", "_queues", "_teams", "_unanswered", "book")

    def __init__(self, book: Rulebook) -> None:
        """Compile the book's conditions. Raises `ValueError` if one is no condition; a published book has none such."""
        self.book = book
        self._policies = [(Condition(policy.when), policy) for policy in book.policies]
        self._unanswered = [(Condition(rule.when), rule) for rule in book.unanswered]
        self._calendars = {ALWAYS: ALWAYS_OPEN} | {hours.id: hours for hours in book.calendars}
        self._queues = {queue.id: queue for queue in book.queues}
        self._channels = {channel.id: channel for channel in book.channels}
        self._teams = {team.id: team for team in book.teams}
        self._customers = book.customer_calendars
        self._answers: dict[Context, _Answer] = {}

    def policy(self, context: Context) -> Policy | None:
        """Return the first policy in file order that matches, None if there is none. Hot path: 0.5 µs for a known context."""
        return (self._answers.get(context) or self._answer(context)).policy

    def unanswered(self, context: Context) -> tuple[UnansweredRule, ...]:
        """Return every unanswered rule that matches, in file order. Hot path: 0.5 µs for a known context."""
        return (self._answers.get(context) or self._answer(context)).unanswered

    def hours(self, calendar: str) -> WeeklyHours:
        """Return a calendar by its id. Raises `KeyError` for one that the book does not have; a published book names none such."""
        return self._calendars[calendar]

    def calendar(self, context: Context, policy: Policy | None, metric: Metric) -> WeeklyHours:
        """Return the calendar of a clock: metric > policy > customer > queue > channel > defaults > always (sla.md §3)."""
        return self.placed(context, policy, metric).hours

    def placed(self, context: Context, policy: Policy | None, metric: Metric) -> Placed:
        """Return the calendar of a clock with the reason."""
        if policy is not None:
            if (own := policy.calendars.get(metric)) is not None:
                return Placed(self._calendars[own], "metric", metric)
            if policy.calendar is not None:
                return Placed(self._calendars[policy.calendar], "policy", policy.id)
        return self._placed(context)

    def rule_calendar(self, context: Context, rule: UnansweredRule) -> WeeklyHours:
        """Return the calendar of an unanswered rule: its own > customer > queue > channel > defaults > always."""
        return self.rule_placed(context, rule).hours

    def rule_placed(self, context: Context, rule: UnansweredRule) -> Placed:
        """Return the calendar of an unanswered rule with the reason."""
        return self._placed(context) if rule.calendar is None else Placed(self._calendars[rule.calendar], "rule", rule.id)

    def queue_rules(self, queue: str | None) -> tuple[int, int]:
        """Return (T, S) of a queue's service level in seconds: answered within, and below which an abandon is a short one."""
        default: ContactRules = self.book.defaults.queue
        own = self._queues.get(queue or "")
        if own is None:
            return default.answer_within_s, default.short_abandon_s
        answer_s = default.answer_within_s if own.answer_within_s is None else own.answer_within_s
        return answer_s, default.short_abandon_s if own.short_abandon_s is None else own.short_abandon_s

    def channel(self, channel: str) -> ChannelRules:
        """Return what holds for a channel: its own rules, or the defaults of one that the book does not name."""
        return self._channels.get(channel) or ChannelRules(id=channel)

    def team(self, team: str) -> TeamRules:
        """Return what holds for a team; what it leaves open is the tenant's default (`return_after_s`), or is None."""
        own = self._teams.get(team) or TeamRules(id=team)
        if own.return_after_s is None and self.book.defaults.return_after_s is not None:
            return TeamRules(id=own.id, calendar=own.calendar, return_after_s=self.book.defaults.return_after_s)
        return own

    def _placed(self, context: Context) -> Placed:
        """Go down the levels below a policy."""
        if self._customers and context.segments:
            for customer in self._customers:
                if customer.segment in context.segments:
                    return Placed(self._calendars[customer.calendar], "customer", customer.segment)
        queue: QueueRules | None = self._queues.get(context.queue or "")
        if queue is not None and queue.calendar is not None:
            return Placed(self._calendars[queue.calendar], "queue", queue.id)
        channel = self._channels.get(context.channel)
        if channel is not None and channel.calendar is not None:
            return Placed(self._calendars[channel.calendar], "channel", channel.id)
        if self.book.defaults.calendar is not None:
            return Placed(self._calendars[self.book.defaults.calendar], "defaults", "")
        return Placed(ALWAYS_OPEN, "built in", "")

    def _answer(self, context: Context) -> _Answer:
        """Evaluate the conditions, and keep the answer; a full cache starts anew, which changes no answer."""
        variables: Variables = variables_of(context)
        policy = next((policy for condition, policy in self._policies if condition.holds(variables)), None)
        answer = _Answer(policy, tuple(rule for condition, rule in self._unanswered if condition.holds(variables)))
        if len(self._answers) >= _CONTEXTS_MAX:
            self._answers.clear()
        self._answers[context] = answer
        return answer


_matchers: dict[int, tuple[Rulebook, Matcher]] = {}
"""By the book's identity: the book is held, so that no other can take its place. Equal books (each partition of the log reads
its own) have one matcher."""


def matcher_of(book: Rulebook) -> Matcher:
    """Return the matcher of a book, made at the first question. Hot path: 0.1 µs."""
    found = _matchers.get(id(book))
    if found is None:
        equal = next((matcher for known, matcher in _matchers.values() if known == book), None)
        if len(_matchers) >= _BOOKS_MAX:
            del _matchers[next(iter(_matchers))]
        found = _matchers[id(book)] = (book, equal or Matcher(book))
    return found[1]
