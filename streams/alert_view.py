"""Alerts as read: the row of one, the steps of its ladder, what became of a command. Plain values; times are epoch µs."""

from typing import Any

import msgspec

from streams.plain import utc
from streams.store.columns import Row, integer, integer_or_none, text, text_or_none

__all__ = ["AlertView", "CommandView", "StepView"]


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    """One alert. `raised_us` is the due time of its first cause; `silent`: too old to be told to anybody."""

    alert_id: str
    team: str
    day: str
    raised_us: int
    kind: str
    name: str
    instance: int
    rule: str
    severity: str
    state: str
    noticed_us: int
    deliver_us: int
    attempts: int
    customer_id: str
    home_customer_id: str
    conversation_id: str
    case_id: str | None
    channel: str
    queue: str | None
    priority: str | None
    assignee: str | None
    recipients: tuple[str, ...]
    acknowledged_by: str | None
    acknowledged_us: int | None
    held_until_us: int | None
    snoozed_by: str | None
    snoozed_until_us: int | None
    notes: int
    resolved_us: int | None
    resolved_by: str | None
    reason: str | None
    silent: bool

    @classmethod
    def of(cls, row: Row) -> "AlertView":
        """Build it from a row of `alert_vN`."""
        recipients = row["recipients"]
        return cls(
            alert_id=text(row, "alert_id"),
            team=text(row, "team"),
            day=text(row, "day"),
            raised_us=integer(row, "raised_at"),
            kind=text(row, "kind", ""),
            name=text(row, "name", ""),
            instance=integer(row, "instance", 0),
            rule=text(row, "rule", ""),
            severity=text(row, "severity", "normal"),
            state=text(row, "state", "open"),
            noticed_us=integer(row, "noticed_at", 0),
            deliver_us=integer(row, "deliver_at", 0),
            attempts=integer(row, "attempts", 1),
            customer_id=text(row, "customer_id", ""),
            home_customer_id=text(row, "home_customer_id", ""),
            conversation_id=text(row, "conversation_id", ""),
            case_id=text_or_none(row, "case_id"),
            channel=text(row, "channel", ""),
            queue=text_or_none(row, "queue"),
            priority=text_or_none(row, "priority"),
            assignee=text_or_none(row, "assignee"),
            recipients=recipients if isinstance(recipients, tuple) else (),
            acknowledged_by=text_or_none(row, "acknowledged_by"),
            acknowledged_us=integer_or_none(row, "acknowledged_at"),
            held_until_us=integer_or_none(row, "held_until"),
            snoozed_by=text_or_none(row, "snoozed_by"),
            snoozed_until_us=integer_or_none(row, "snoozed_until"),
            notes=integer(row, "notes", 0),
            resolved_us=integer_or_none(row, "resolved_at"),
            resolved_by=text_or_none(row, "resolved_by"),
            reason=text_or_none(row, "reason"),
            silent=row["silent"] is True,
        )

    def json(self) -> dict[str, Any]:
        """Return the public JSON form: times as `raised_at`, UTC with `Z`."""
        return {"kind": "alert", **_json(self, {"kind": "cause"})}


class StepView(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a ladder that was reached, and who was told. Step 0 is the ladder itself: `phase` and how it ended."""

    step: int
    at_us: int
    told: str | None
    after_s: int | None
    reason: str | None
    phase: str | None
    steps: int | None
    ended_us: int | None
    ended_by: str | None

    @classmethod
    def of(cls, row: Row) -> "StepView":
        """Build it from a row of `escalation_vN`."""
        return cls(
            step=integer(row, "step"),
            at_us=integer(row, "at", 0),
            told=text_or_none(row, "told"),
            after_s=integer_or_none(row, "after_s"),
            reason=text_or_none(row, "reason"),
            phase=text_or_none(row, "phase"),
            steps=integer_or_none(row, "steps"),
            ended_us=integer_or_none(row, "ended_at"),
            ended_by=text_or_none(row, "ended_by"),
        )

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        return _json(self, {})


class CommandView(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a command: `outcome` is done, unknown_alert, closed, past, no_ladder or ended."""

    event_id: str
    kind: str
    at_us: int
    actor: str | None
    reason: str | None
    outcome: str

    @classmethod
    def of(cls, row: Row) -> "CommandView":
        """Build it from a row of `alert_command_vN`."""
        return cls(
            event_id=text(row, "event_id"),
            kind=text(row, "kind", ""),
            at_us=integer(row, "at", 0),
            actor=text_or_none(row, "actor"),
            reason=text_or_none(row, "reason"),
            outcome=text(row, "outcome", ""),
        )

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        return _json(self, {})


def _json(view: msgspec.Struct, renamed: dict[str, str]) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for name in view.__struct_fields__:
        value = getattr(view, name)
        if name.endswith("_us"):
            key = name.removesuffix("_us")
            key = key if key == "at" or key.endswith("_until") else f"{key}_at"
            answer[key] = None if value is None else utc(value)
        else:
            answer[renamed.get(name, name)] = list(value) if isinstance(value, tuple) else value
    return answer
