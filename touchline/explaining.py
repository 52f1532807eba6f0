"""Says which policy and which calendar apply to a contact, why, and when its clocks would be due. For `touchline config explain`."""

import shlex
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, get_args

from projections.rules import Metric, Policy, Rulebook
from projections.sla.calendar import calendar_of
from projections.sla.conditions import Condition, Context, variables_of
from projections.sla.matching import Placed, matcher_of
from schemas.events import Channel, Direction
from streams.plain import utc

__all__ = ["Clock", "Explained", "context_of", "explain"]

_TEXTS: Final = ("type", "stage", "channel", "queue", "team", "priority", "language", "direction")
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {"channel": get_args(Channel), "direction": get_args(Direction)}
_SETS: Final = {"tags": "tags", "tag": "tags", "segments": "segments", "segment": "segments"}
_ATTRIBUTES: Final = ("conversation.attributes.", "attributes.")

_LEVELS: Final = {
    "metric": "named for the metric",
    "policy": "the policy's own",
    "rule": "the rule's own",
    "customer": "segment {}",
    "queue": "queue {}",
    "channel": "channel {}",
    "defaults": "the default",
    "built in": "nothing names one",
}


class Clock(NamedTuple):
    """A clock that would start: what it measures, its target and warning in seconds, its calendar with the reason, its times (epoch µs)."""

    name: str
    target_s: int
    placed: Placed
    due_us: int | None
    warn_us: int | None = None

    @property
    def why(self) -> str:
        """Return in words why it is this calendar."""
        return _LEVELS[self.placed.level].format(self.placed.by)

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        return {
            "metric": self.name,
            "target_s": self.target_s,
            "calendar": self.placed.hours.id,
            "level": self.placed.level,
            "by": self.placed.by or None,
            "warn_at": None if self.warn_us is None else utc(self.warn_us),
            "due_at": None if self.due_us is None else utc(self.due_us),
        }


class Explained(NamedTuple):
    """What a rulebook says about a context, for clocks that start at `start_us`. `passed` are the policies before, none of which match."""

    book: Rulebook
    context: Context
    start_us: int
    policy: Policy | None
    passed: tuple[Policy, ...]
    clocks: tuple[Clock, ...]
    unanswered: tuple[Clock, ...]

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        known = {name: sorted(value) if isinstance(value, frozenset) else value for name, value in self.context._asdict().items() if value}
        return {
            "version": self.book.version,
            "context": {**known, "attributes": dict(sorted(self.context.attributes))},
            "started_at": utc(self.start_us),
            "policy": None if self.policy is None else self.policy.id,
            "when": None if self.policy is None else self.policy.when,
            "passed": [policy.id for policy in self.passed],
            "clocks": [clock.json() for clock in self.clocks],
            "unanswered": [{("rule" if key == "metric" else key): value for key, value in rule.json().items()} for rule in self.unanswered],
        }


def explain(book: Rulebook, context: Context, start_us: int) -> Explained:
    """Explain what a rulebook says about a context."""
    matcher = matcher_of(book)
    policy = matcher.policy(context)
    variables = variables_of(context)
    passed = []
    for other in book.policies:
        if Condition(other.when).holds(variables):
            break
        passed.append(other)
    clocks = [] if policy is None else [_clock(policy, metric, matcher.placed(context, policy, metric), start_us) for metric in policy.targets]
    rules = [_timed(rule.id, rule.answer_within_s, matcher.rule_placed(context, rule), start_us) for rule in matcher.unanswered(context)]
    return Explained(book, context, start_us, policy, tuple(passed), tuple(clocks), tuple(rules))


def _clock(policy: Policy, metric: Metric, placed: Placed, start_us: int) -> Clock:
    clock = _timed(metric, policy.targets[metric], placed, start_us)
    before_s = policy.warn.get(metric)
    if before_s is None:
        return clock
    return clock._replace(warn_us=calendar_of(placed.hours).due(start_us, clock.target_s - before_s))


def _timed(name: str, target_s: int, placed: Placed, start_us: int) -> Clock:
    return Clock(name, target_s, placed, calendar_of(placed.hours).due(start_us, target_s))


def context_of(given: str, known: Context | None = None) -> Context:
    """Return a context from `channel=email priority=high tags=a,b attributes.plan=gold`, over what is known already.

    Raises `ValueError` naming what cannot be read.
    """
    context = known or Context()
    for word in shlex.split(given):
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r} has no value: write {word}=...")
        context = _with(context, key, value)
    return context


def _with(context: Context, key: str, value: str) -> Context:
    changes: Mapping[str, Any]
    prefix = next((prefix for prefix in _ATTRIBUTES if key.startswith(prefix)), None)
    if value not in _CHOICES.get(key, (value,)):
        raise ValueError(f"there is no {key} {value!r}: choose from {', '.join(_CHOICES[key])}")
    if key in _TEXTS:
        changes = {key: value}
    elif key in _SETS:
        changes = {_SETS[key]: frozenset(filter(None, value.split(",")))}
    elif prefix is not None and len(key) > len(prefix):
        kept = {pair for pair in context.attributes if pair[0] != key[len(prefix) :]}
        changes = {"attributes": frozenset({*kept, (key[len(prefix) :], value)})}
    else:
        raise ValueError(f"there is no {key!r}: choose from {', '.join([*_TEXTS, 'tags', 'segments', 'attributes.NAME'])}")
    return context._replace(**changes)
