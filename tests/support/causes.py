"""Where causes come from in tests of alerts and ladders: a message breaches at once, a reply ends it. In the place of the clocks."""

from typing import ClassVar

import msgspec

from projections.kernel import Moment, Step, Subject, Timer
from projections.rules import LadderStep
from projections.sla.signals import CauseEnded, CauseRaised, Place
from schemas import events
from schemas.record import Event

__all__ = ["Sla"]


class Nothing(msgspec.Struct):
    """It remembers nothing."""


class Sla:
    """Says the same of every cause, but for what an event's attributes say.

    Of a message: `turn`, `team`, `severity`, `calendar`, `silent`, `after` (the ladder's steps from there on), `no_ladder`; of a reply: `why`.
    """

    name: ClassVar[str] = "sla"
    version: ClassVar[int] = 1
    handles: ClassVar[frozenset[type[Event]]] = frozenset({events.MessageReceived, events.MessageSent})
    depends_on: ClassVar[tuple[str, ...]] = ()

    def __init__(self, calendar: str, *, recipients: tuple[str, ...] = (), ladder: tuple[LadderStep, ...] = (), hold_s: int | None = None) -> None:
        self._calendar = calendar
        self._recipients = recipients
        self._ladder = ladder
        self._hold_s = hold_s

    def initial(self, subject: Subject) -> Nothing:
        return Nothing()

    def expire(self, state: Nothing, timer: Timer, at: Moment) -> Step[Nothing]:
        return Step(state)

    def apply(self, state: Nothing, event: Event, at: Moment) -> Step[Nothing]:
        header, said = event.header, event.attributes
        cause_id = f"breach|{header.conversation_id}|{header.home_customer_id}|first_response|1"
        if isinstance(event, events.MessageSent):
            return Step(state, signals=(CauseEnded(cause_id=cause_id, why=said.get("why", "answered"), at_us=at.occurred_at_us),))
        place = Place(
            conversation_id=header.conversation_id or "",
            home_customer_id=header.home_customer_id,
            case_id=None,
            channel=header.channel,
            team=said.get("team", "mail"),
            queue=None,
        )
        raised = CauseRaised(
            cause_id=cause_id,
            kind="breach",
            name="first_response",
            instance=1,
            turn=int(said.get("turn", "0")),
            at_us=at.occurred_at_us,
            noticed_us=at.appended_at_us,
            place=place,
            severity=said.get("severity", "normal"),  # type: ignore[arg-type]
            rule_id="mail-high",
            calendar=said.get("calendar", self._calendar),
            recipients=self._recipients,
            ladder=() if "no_ladder" in said else tuple(step for step in self._ladder if step.after_s >= int(said.get("after", "0"))),
            acknowledge_hold_s=self._hold_s,
            silent="silent" in said,
        )
        return Step(state, signals=(raised,))
