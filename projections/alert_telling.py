"""What follows when an alert changes: its rows, its effects, its signals to the ladders. Pure values out of values."""

from typing import Any, Final

import msgspec

from projections.alert_calendar import SEVERITIES
from projections.alert_state import OPEN_MAX, Alert, AlertsState, Cell, day_of
from projections.effect_ids import effect_id
from projections.kernel import Delete, Effect, Moment, RowChange, Signal, Step, TimerChange, Upsert, Value
from schemas import events
from schemas.events import Header
from schemas.record import Event

__all__ = ["Telling", "command_row"]

SOURCE: Final = "/touchline/alerts"


class Telling(msgspec.Struct, gc=False):
    """Gathers what one signal, command or timer leads to for one customer. `quiet`: it was told of elsewhere."""

    state: AlertsState
    at: Moment
    rows: list[RowChange] = msgspec.field(default_factory=list)
    timers: list[TimerChange] = msgspec.field(default_factory=list)
    effects: list[Effect] = msgspec.field(default_factory=list)
    signals: list[Signal] = msgspec.field(default_factory=list)
    quiet: bool = False

    def step(self) -> Step[AlertsState]:
        """Return the step."""
        return Step(self.state, tuple(self.rows), tuple(self.timers), tuple(self.effects), tuple(self.signals))

    def open(self, alert: Alert) -> None:
        """Take in an alert that begins, or goes on, here."""
        state = self.state
        if len(state.open) >= OPEN_MAX:
            del state.open[next(iter(state.open))]
        state.open[alert.id] = alert
        self.new_row(alert)
        self.summary()

    def new_row(self, alert: Alert) -> None:
        """Write an alert's row whole, and where it is found."""
        state, day = self.state, day_of(alert.raised_us)
        self.rows += (
            Upsert("alert", self.key(alert), {name: _value(cell) for name, cell in alert.columns.items()}),
            Upsert("alert_team", (state.tenant, day, alert.team), {}),
            Upsert(
                "alert_by_id",
                (state.tenant, alert.id),
                {"team": alert.team, "day": day, "raised_at": alert.raised_us, "customer_id": state.customer_id},
            ),
        )

    def row(self, alert: Alert, **columns: Cell) -> None:
        """Write the columns of an alert's row that have changed."""
        alert.columns.update(columns)
        self.rows.append(Upsert("alert", self.key(alert), {name: _value(cell) for name, cell in columns.items()}))

    def move_row(self, alert: Alert, team: str) -> None:
        """Show an alert to another team: its row lies by team."""
        self.rows.append(Delete("alert", self.key(alert)))
        alert.team = team
        self.new_row(alert)

    def summary(self) -> None:
        """Write how many alerts are open, and the worst one's severity. Those that are told to nobody do not count."""
        state = self.state
        known = [str(alert.columns["severity"]) for alert in state.open.values() if not alert.silent]
        worst = max(known, key=SEVERITIES.__getitem__, default=None)
        self.rows.append(Upsert("care_summary", (state.tenant, state.customer_id), {"open_alerts": len(known), "worst_severity": worst}))

    def effect(self, told: type[Event], alert: Alert, occurred_at_us: int, because: str, /, **fields: Any) -> None:  # noqa: ANN401 - the event's own
        """Tell the outside about an alert. `because` names, beside the alert, what is told: one id for the same thing."""
        if self.quiet:
            return
        state, columns = self.state, alert.columns
        header = Header(
            id=effect_id("alerts", alert.id, told.TYPE, because),
            source=SOURCE,
            tenant=state.tenant,
            channel=columns["channel"],  # type: ignore[arg-type]  # it came out of a header
            occurred_at_us=occurred_at_us,
            received_at_us=self.at.appended_at_us,
            customer_id=state.customer_id,
            home_customer_id=alert.home,
            conversation_id=columns["conversation_id"],  # type: ignore[arg-type]  # a text
            case_id=columns["case_id"],  # type: ignore[arg-type]  # a text or nothing
            causation_id=because or None,
        )
        self.effects.append(Effect(told.TYPE, state.customer_id, told.of(header, {"alert_id": alert.id, **fields})))

    def key(self, alert: Alert) -> tuple[str | int, ...]:
        """Return where an alert's row lies."""
        return (self.state.tenant, alert.team, day_of(alert.raised_us), alert.raised_us, alert.id)


def command_row(event: Event, alert_id: str, customer_id: str, outcome: str) -> Upsert:
    """Return the row that says what became of a command."""
    header = event.header
    columns: dict[str, Value] = {
        "kind": type(event).TYPE,
        "at": header.occurred_at_us,
        "actor": header.actor_id,
        "reason": getattr(event, "reason", None),
        "outcome": outcome,
        "customer_id": customer_id,
    }
    if isinstance(event, events.AlertNoteAdded) and event.sealed is not None:
        columns |= {"sealed": event.sealed, "sealed_key": event.sealed_key}
    return Upsert("alert_command", (header.tenant, alert_id, header.id), columns)


def _value(cell: Cell) -> Value:
    return tuple(cell) if isinstance(cell, list) else cell
