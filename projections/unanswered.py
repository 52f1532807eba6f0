"""Contacts nobody answered. Knows events and rules; must not know Kafka, Cassandra or the time of day.

A rule's condition says what asks for an answer; `unanswered_answers` says what is one. A contact is a call, a chat, a visit,
or a single message, post or form. The first moment at which it asked under a rule counts, and the rule of that moment, with
what was then known of the conversation. Verdicts follow from times of events, never from arrival: what comes late is put in
its place, and a verdict that turns is told again with its `turn` raised.
"""

from bisect import insort
from typing import ClassVar, Final

from projections.kernel import Config, Moment, Step, Subject, Timer
from projections.linked import LINKS, is_copy
from projections.order import Order, order_of
from projections.sla.matching import matcher_of
from projections.unanswered_answers import ANSWERS, answer_of
from projections.unanswered_facts import PROFILE, SAYS, note
from projections.unanswered_handing import follow, rename
from projections.unanswered_state import NEXT, Ask, Contact, Found, UnansweredState, WaitState, pending
from projections.unanswered_telling import Telling, timer_name
from projections.unanswered_types import asking_types
from projections.unanswered_verdicts import answered, file, judge
from schemas import events
from schemas.record import Event

__all__ = ["ASKS_MAX", "THREADS_MAX", "Unanswered"]

ASKS_MAX: Final = 8
"""Moments kept at which one contact asked: the first ones."""

THREADS_MAX: Final = 64
"""Conversations of which facts are kept: those touched last."""

_ASK_BY_CONTACT: Final[frozenset[type[Event]]] = frozenset(
    {
        events.BotHandoffRequested,
        events.ContactAbandoned,
        events.ContactCallbackRequested,
        events.ContactDisconnected,
        events.ContactInitiated,
        events.ContactOfferTimedOut,
        events.ContactQueued,
        events.ContactVoicemailLeft,
        events.StoreVisit,
    }
)
_ASK_BY_THEMSELVES: Final[frozenset[type[Event]]] = frozenset(
    {
        events.ComplaintRaised,
        events.MessageReceived,
        events.PortalTaskAbandoned,
        events.StoreFormLeft,
        events.ThreadEscalated,
        events.ThreadPosted,
    }
)
_ASKS: Final = _ASK_BY_CONTACT | _ASK_BY_THEMSELVES
_FACTS: Final[frozenset[type[Event]]] = frozenset({*SAYS, events.ConversationUnassigned, events.ConversationReturnedToQueue})
_NOT_CUSTOMERS: Final = ("agent:", "plan:")
_SECOND_US: Final = 1_000_000


class Unanswered:
    """Folds one customer's contacts and answers. Hot path: `touchline bench clocks --only fold` shows it."""

    name: ClassVar[str] = "unanswered"
    version: ClassVar[int] = 1
    handles: ClassVar[frozenset[type[Event]]] = frozenset({*_ASKS, *ANSWERS, *_FACTS, *LINKS})
    depends_on: ClassVar[tuple[str, ...]] = ()

    def initial(self, subject: Subject) -> UnansweredState:
        """Return the state of a customer of whom nothing is known."""
        return UnansweredState(subject.tenant, subject.id)

    def apply(self, state: UnansweredState, event: Event, at: Moment) -> Step[UnansweredState]:
        """Take in a question, an answer or a fact, and tell what it changes."""
        if type(event) in LINKS:
            telling = Telling(state.tenant, state.customer_id, at)
            follow(state, telling, event)
            return telling.step(state)
        if not _ruled(at.config) or state.links.quiet or state.customer_id.startswith(_NOT_CUSTOMERS):
            return Step(state)
        telling = Telling(state.tenant, state.customer_id, at)
        self._take(state, telling, event)
        return telling.step(state)

    def expire(self, state: UnansweredState, timer: Timer, at: Moment) -> Step[UnansweredState]:
        """Find that a contact was not answered in time: not at all, or too late."""
        if state.links.quiet:
            return Step(state)
        for contact in state.open.values():
            for wait in contact.waits:
                if pending(wait) and wait.due_us == timer.due_at_us and timer_name(contact, wait) == timer.name:
                    telling = Telling(state.tenant, state.customer_id, at)
                    if wait.state == WaitState.WAITING:
                        wait.state = NEXT[WaitState.WAITING][Found.DUE]
                    telling.tell(state, contact, wait, expired=True)
                    telling.row(contact, wait)
                    file(state, telling, contact)
                    return telling.step(state)
        return Step(state)

    def _take(self, state: UnansweredState, telling: Telling, event: Event) -> None:
        kind, header, order = type(event), event.header, order_of(event)
        thread = header.conversation_id or header.contact_id or header.id
        said, of_customer = note(state.facts, thread, event, order)
        if len(state.facts) > THREADS_MAX:
            del state.facts[next(name for name in state.facts if name != PROFILE)]
        if kind in _ASKS:
            types = asking_types(telling.at.config.at(order[0]))
            if (types is None or kind.TYPE in types) and header.direction != "outbound":
                self._asked(state, telling, event, order)
        elif kind in ANSWERS and (answer := answer_of(event, order)) is not None:
            telling.silent = _too_old(event, telling.at)
            answered(state, telling, answer)
        if said and state.asked is not None and order < state.asked:
            for contact in [*state.open.values(), *state.closed.values()]:
                if (of_customer or contact.thread == thread) and order < contact.asks[-1].order:
                    judge(state, telling, contact)

    @staticmethod
    def _asked(state: UnansweredState, telling: Telling, event: Event, order: Order) -> None:
        header, kind = event.header, type(event)
        contact_id = (header.contact_id if kind in _ASK_BY_CONTACT else None) or header.id
        contact = state.open.get(contact_id) or state.closed.get(contact_id)
        home = "" if header.home_customer_id == header.customer_id else header.home_customer_id
        if contact is None:
            thread = header.conversation_id or header.contact_id or header.id
            contact = Contact(contact_id, thread, home, header.case_id)
        elif home != contact.home and order < contact.asks[0].order:
            rename(telling, contact, home)
        if header.origin_customer_id is not None and header.origin_customer_id not in contact.copying:
            contact.copying = [*contact.copying, header.origin_customer_id]
        stage = event.stage if isinstance(event, events.ContactAbandoned) else None
        telling.silent = _too_old(event, telling.at)
        version = telling.at.config.at(order[0]).version
        ask = Ask(order, kind.TYPE, stage, header.channel, header.direction, version, telling.silent)
        insort(contact.asks, ask, key=lambda one: one.order)
        del contact.asks[ASKS_MAX:]
        state.asked = order if state.asked is None else max(state.asked, order)
        judge(state, telling, contact)


def _too_old(event: Event, at: Moment) -> bool:
    """Tell whether an event came so late that nobody is to be told (log.md §6)."""
    header = event.header
    lateness_s = matcher_of(at.config.at(header.occurred_at_us)).channel(header.channel).allowed_lateness_s
    appended_us = header.appended_at_us if is_copy(header) else None
    return (at.appended_at_us if appended_us is None else appended_us) - header.occurred_at_us > lateness_s * _SECOND_US


def _ruled(config: Config) -> bool:
    """Tell whether there is any rule; most of the work is spared where there is none."""
    return bool(config.newest.unanswered) or any(book.unanswered for book in config.read)
