"""What alerts tell the ladders that depend on them, in the same pass."""

from projections.kernel import Signal
from projections.sla.signals import CauseRaised

__all__ = ["AlertAcknowledged", "AlertAssigned", "AlertClosed", "AlertOpened"]


class AlertOpened(Signal, frozen=True):
    """An alert was raised for a cause: its ladder begins."""

    alert_id: str
    cause: CauseRaised


class AlertAcknowledged(Signal, frozen=True):
    """Somebody looks after it: its ladder waits until `held_until_us`."""

    alert_id: str
    by: str | None
    at_us: int
    held_until_us: int


class AlertAssigned(Signal, frozen=True):
    """Another team has it: from there the next step is told."""

    alert_id: str
    team: str


class AlertClosed(Signal, frozen=True):
    """It is over, by itself (`by` None) or by a person: its ladder ends. `why` as in `CauseEnded`, or a person's word; `moved` is quiet."""

    alert_id: str
    why: str
    by: str | None
    at_us: int
