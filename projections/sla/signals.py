"""What clocks and rules tell the projections that depend on them, in the same pass."""

from projections.kernel import Signal
from projections.rules import LadderStep, Severity
from schemas.events import ClockMoved

__all__ = ["CauseEnded", "CauseHanded", "CauseRaised", "CauseTaken", "Place"]


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


class CauseHanded(Signal, frozen=True):
    """Its customer was linked to another one, who is to hear of it: `moved` lacks what only the alerts know.

    `cause_id` is "" for what had come from elsewhere and is handed on as it is.
    """

    cause_id: str
    moved: ClockMoved


class CauseTaken(Signal, frozen=True):
    """A cause that was told of under another customer, who was linked to this one: its alert `alert_id` goes on here, without a word.

    `acknowledged`: somebody had it in hand; `until_us`: what was asked of it up to then was carried out there.
    """

    cause: CauseRaised
    alert_id: str
    acknowledged: bool
    until_us: int
