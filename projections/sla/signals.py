"""What clocks and rules tell the projections that depend on them, in the same pass."""

from projections.kernel import Signal
from projections.rules import LadderStep, Severity

__all__ = ["CauseEnded", "CauseRaised", "Place"]


class Place(Signal, frozen=True):
    """Which conversation of whom, and who looks after it."""

    conversation_id: str
    home_customer_id: str
    case_id: str | None
    channel: str
    team: str
    queue: str | None
    assignee: str | None = None
    priority: str | None = None


class CauseRaised(Signal, frozen=True):
    """Something that people must hear of: a breached clock (`kind` breach), a contact that nobody answered (`unanswered`).

    `cause_id` names it for good: conversation, kind, metric or rule, instance; `turn` counts how often its verdict has changed.
    `at_us` is the due time, `noticed_us` when it was noticed. `silent`: too old for effects (log.md §6), rows only. `over`: it is
    over already when it is noticed, `CauseEnded` follows in the same pass, and no ladder begins. The ladder's
    steps and the hold are those of the policy or rule, its offsets in the time of `calendar`.
    """

    cause_id: str
    kind: str
    name: str
    instance: int
    turn: int
    at_us: int
    noticed_us: int
    place: Place
    severity: Severity
    rule_id: str
    calendar: str
    recipients: tuple[str, ...] = ()
    ladder: tuple[LadderStep, ...] = ()
    acknowledge_hold_s: int | None = None
    silent: bool = False
    over: bool = False


class CauseEnded(Signal, frozen=True):
    """A cause is over. `why`: answered, resolved, retracted (it never was one), cancelled, cleared, moved."""

    cause_id: str
    why: str
    at_us: int
    channel: str | None = None
    silent: bool = False
