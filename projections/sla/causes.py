"""A clock as a cause for alerts: what names a breach, where its conversation stands, who is to hear of it. Must not know effects."""

from projections.rules import Policy
from projections.sla.clock import Clock
from projections.sla.course import Course
from projections.sla.signals import CauseRaised, Place
from projections.sla.transitions import METRICS

__all__ = ["cause_id", "cause_of", "place_of"]


def cause_id(conversation_id: str, home: str, clock: Clock) -> str:
    """Return what names a breach for good."""
    return f"breach|{conversation_id}|{home}|{METRICS[clock.metric]}|{clock.instance}"


def place_of(conversation_id: str, home: str, course: Course) -> Place:
    """Return where the conversation stands, for people."""
    facts = course.machine.facts
    return Place(
        conversation_id=conversation_id,
        home_customer_id=home,
        case_id=course.case,
        channel=course.channel,
        team=facts.team or "",
        queue=facts.queue,
        assignee=facts.assignee,
        priority=facts.priority,
    )


def cause_of(  # noqa: PLR0917 - a clock and all that it stands for
    clock: Clock, policy: Policy, place: Place, turn: int, at_us: int, noticed_us: int, *, silent: bool, over: bool
) -> CauseRaised:
    """Return the cause that a breach at `at_us` is, noticed at `noticed_us`; both epoch µs."""
    return CauseRaised(
        cause_id=cause_id(place.conversation_id, place.home_customer_id, clock),
        kind="breach",
        name=METRICS[clock.metric],
        instance=clock.instance,
        turn=turn,
        at_us=at_us,
        noticed_us=noticed_us,
        place=place,
        severity=policy.severity,
        rule_id=policy.id,
        calendar=clock.calendar,
        recipients=policy.recipients,
        ladder=policy.escalation,
        acknowledge_hold_s=policy.acknowledge_hold_s,
        silent=silent,
        over=over,
    )
