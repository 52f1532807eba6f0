"""Reads the policies and unanswered rules of a policy file: conditions, targets, ladders. Knows calendars by their names only."""

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, cast, get_args

from projections.rules import LadderStep, Metric, Policy, Severity, UnansweredRule
from projections.sla.policy_calendars import Calendars
from projections.sla.policy_conditions import condition_faults
from projections.sla.policy_table import Table, choice

__all__ = ["Promises"]

_METRICS: Final[tuple[Metric, ...]] = get_args(Metric)
_SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)


class Promises:
    """Reads with what the rest of the file says: its calendars, those that apply where a policy names none, its clear attributes."""

    def __init__(self, calendars: Calendars, implied: Collection[str], clear_attributes: Collection[str]) -> None:
        self._calendars = calendars
        self._implied = implied
        self._clear = clear_attributes

    def policies(self, root: Table) -> tuple[Policy, ...]:
        """Read every policy, in file order."""
        seen: dict[str, int] = {}
        return tuple(self._policy(table, seen) for table in root.tables("policy", named_by="id"))

    def unanswered(self, root: Table) -> tuple[UnansweredRule, ...]:
        """Read every rule about contacts nobody answered, in file order."""
        seen: dict[str, int] = {}
        return tuple(self._rule(table, seen) for table in root.tables("unanswered", named_by="id"))

    def _policy(self, table: Table, seen: dict[str, int]) -> Policy:
        name = table.required("id")
        table.once("id", name, seen)
        calendar = self._calendars.named(table, "calendar")
        calendars = self._by_metric(table, "calendars", self._calendars.named)

        def measured_in(metric: Metric) -> Collection[str]:
            return [calendars.get(metric) or calendar] if calendars.get(metric) or calendar else self._implied  # type: ignore[list-item]

        targets = self._by_metric(table, "targets", lambda sub, key: self._open_s(sub, key, measured_in(cast(Metric, key))))
        warn = self._by_metric(table, "warn", lambda sub, key: self._open_s(sub, key, measured_in(cast(Metric, key))))
        _check_warnings(table, targets, warn)
        everywhere = {name for metric in targets for name in measured_in(metric)}
        defaults = Policy(id=name)
        policy = Policy(
            id=name,
            when=self._condition(table) or defaults.when,
            calendar=calendar,
            targets=targets,
            warn=warn,
            calendars=calendars,
            pause_states=_given(table.texts("pause_states"), defaults.pause_states),
            on_change=cast(Any, table.one_of("on_change", ("recompute", "carry_seconds")) or defaults.on_change),
            apply_to_open=table.flag("apply_to_open") or False,
            answered_by=cast(Any, table.one_of("answered_by", ("conversation", "case", "any_channel")) or defaults.answered_by),
            pause_responses=bool(table.texts("pause_states")),
            snooze_pauses=table.flag("snooze_pauses") or False,
            severity=cast(Severity, table.one_of("severity", _SEVERITIES) or defaults.severity),
            acknowledge_hold_s=table.seconds("acknowledge_hold"),
            recipients=table.list_of_texts("recipients"),
            escalation=self._ladder(table, everywhere),
        )
        table.close()
        return policy

    def _rule(self, table: Table, seen: dict[str, int]) -> UnansweredRule:
        name = table.required("id")
        table.once("id", name, seen)
        calendar = self._calendars.named(table, "calendar")
        measured_in = [calendar] if calendar else self._implied
        if not table.has("when"):
            table.faults.add(table.path, f"{table.label} has no when.", """Add when = 'type == "contact.abandoned"', or 'true' for every contact.""")
        if not table.has("answer_within"):
            table.faults.add(table.path, f"{table.label} has no answer_within.", 'Add answer_within = "2h".')
        defaults = UnansweredRule(id=name, when="true", answer_within_s=0)
        rule = UnansweredRule(
            id=name,
            when=self._condition(table) or defaults.when,
            answer_within_s=self._open_s(table, "answer_within", measured_in) or 0,
            calendar=calendar,
            recovered_by=cast(Any, table.one_of("recovered_by", ("any_channel", "same_channel", "conversation")) or defaults.recovered_by),
            severity=cast(Severity, table.one_of("severity", _SEVERITIES) or defaults.severity),
            acknowledge_hold_s=table.seconds("acknowledge_hold"),
            recipients=table.list_of_texts("recipients"),
            escalation=self._ladder(table, measured_in),
        )
        table.close()
        return rule

    def _condition(self, table: Table) -> str | None:
        """Read a condition. Everything that would keep it from matching is noted."""
        text = table.text("when")
        if text is not None:
            for what, next_step in condition_faults(text, self._clear):
                table.fault("when", what, next_step)
        return text

    def _open_s(self, table: Table, key: str, measured_in: Iterable[str]) -> int | None:
        """Read a span of open time. Days say something only where the calendar is always open."""
        span = table.span(key)
        if span is None:
            return None
        closing = self._calendars.closing(measured_in) if span.days else None
        if closing is not None:
            table.fault(key, f'{key} is in days, but calendar "{closing}" is not always open.', "Say hours of open time.")
        return span.seconds

    def _by_metric(self, table: Table, key: str, read: Callable[[Table, str], Any]) -> dict[Metric, Any]:
        """Read a table with metrics as keys."""
        found = table.table(key)
        if found is None:
            return {}
        values: dict[Metric, Any] = {}
        for name in found.keys():  # noqa: SIM118 - a method of ours: asking makes the keys known
            if name not in _METRICS:
                found.fault(name, f'there is no metric "{name}".', choice(name, _METRICS))
                continue
            value = read(found, name)
            if value is not None:
                values[name] = value
        return values

    def _ladder(self, table: Table, measured_in: Iterable[str]) -> tuple[LadderStep, ...]:
        """Read the steps of a ladder, which must rise."""
        steps: list[LadderStep] = []
        for step in table.tables("escalation", named_by="to"):
            to = step.required("to")
            if not step.has("after"):
                step.faults.add(step.path, f"{step.label} has no after.", 'Add after = "30m".')
            after_s = self._open_s(step, "after", measured_in)
            if after_s is not None:
                if steps and after_s <= steps[-1].after_s:
                    step.fault("after", f"after is not later than the step before, {steps[-1].after_s} s.", "Put the steps in order of time.")
                steps.append(LadderStep(after_s=after_s, to=to))
            step.close()
        return tuple(steps)


def _check_warnings(table: Table, targets: dict[Metric, int], warn: dict[Metric, int]) -> None:
    """Note warnings without a target, and those that come before the clock starts. A target that is wrong itself counts as one."""
    found, promised = table.table("warn"), table.table("targets")
    if found is None or (promised is None and table.has("targets")):
        return
    for metric, before_s in warn.items():
        if promised is None or not promised.has(metric):
            found.fault(metric, f"{metric} has a warning but no target.", f'Add {metric} = "..." to targets.')
        elif before_s >= targets.get(metric, before_s + 1):
            found.fault(metric, f"{metric} warns {before_s} s before a due time {targets[metric]} s after the start.", "Warn later than that.")


def _given(value: tuple[str, ...] | None, default: tuple[str, ...]) -> tuple[str, ...]:
    return default if value is None else value
