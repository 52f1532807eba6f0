"""What alerts tell the ladders that depend on them, in the same pass."""

from projections.kernel import Signal
from projections.sla.signals import CauseRaised

__all__ = ["AlertAcknowledged", "AlertAssigned", "AlertClosed", "AlertOpened", "AlertTaken"]


class AlertOpened(Signal, frozen=True):
    """An alert was raised for a cause: its ladder begins. `taken`: it was raised under another customer, and `AlertTaken` follows."""

    alert_id: str
    cause: CauseRaised
    taken: bool = False


class AlertTaken(Signal, frozen=True):
    """An alert is here as it stood under another customer: what its ladder reached up to `until_us` was told there.

    `over`: its cause ends in this pass, and nobody further is told.
    """

    alert_id: str
    until_us: int
    over: bool


class AlertAcknowledged(Signal, frozen=True):
    """Somebody looks after it: its ladder waits until `held_until_us`. `silent`: that was told under another customer."""

    alert_id: str
    by: str | None
    at_us: int
    held_until_us: int
    silent: bool = False


class AlertAssigned(Signal, frozen=True):
    """Another team has it: from there the next step is told."""

    alert_id: str
    team: str


class AlertClosed(Signal, frozen=True):
    """It is over, by itself (`by` None) or by a person: its ladder ends. `why` as in `CauseEnded`, or a person's word.

    `moved` (another customer has it) and `erased` (the person was forgotten) are quiet.
    """

    alert_id: str
    why: str
    by: str | None
    at_us: int
