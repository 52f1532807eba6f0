"""The desk: who has which conversation, and what becomes of it when that agent goes offline. Knows agents; must not know clocks.

An agent's events lie under the agent's key, conversations under their customer's. So whoever gives an agent a conversation
tells the agent's side on the log (`work.assigned`), and that side gives it back to the customer's when the agent has been away
for the policy's time of the team's shifts (`conversation.returned_to_queue`). Both are loop-backs: no replay needs to guess.
"""

from bisect import insort
from typing import ClassVar, Final

from projections.desk_state import HELD_MAX, PRESENCES_MAX, WORKS_MAX, DeskState, Holding, Presence, Work
from projections.effect_ids import effect_id
from projections.kernel import Arm, Disarm, Effect, Moment, Step, Subject, Timer, TimerChange
from projections.order import Order, order_of
from projections.sla.calendar import Calendar, calendar_of
from projections.sla.matching import ALWAYS_OPEN, matcher_of
from schemas import events
from schemas.events import Header
from schemas.record import Event

__all__ = ["OFFLINE_STATES", "Desk"]

SOURCE: Final = "/touchline/desk"

OFFLINE_STATES: Final = frozenset({"offline", "logged_out"})
"""The states of `agent.state_changed` in which an agent is away."""

RETURN: Final = "return"
"""The name of the timer, and of no other, that an agent's state arms."""

_AGENT: Final = "agent:"
_SETTLED: Final = frozenset({"resolved", "closed"})
_GIVEN: Final[frozenset[type[Event]]] = frozenset(
    {events.ConversationAssigned, events.BotHandoffAccepted, events.ConversationUnassigned, events.ConversationReturnedToQueue}
)
_ENDED: Final[dict[type[Event], bool]] = {events.ConversationResolved: True, events.ConversationClosed: True, events.ConversationReopened: False}
_PRESENT: Final[dict[type[Event], bool | None]] = {events.AgentLoggedIn: False, events.AgentLoggedOut: True, events.AgentTeamChanged: None}
_LINKS: Final[frozenset[type[Event]]] = frozenset({events.IdentityLinked, events.IdentityCopied, events.IdentityUnlinked, events.PrivacyErased})


class Desk:
    """Folds ownership under customers, and presence and work under agents."""

    name: ClassVar[str] = "desk"
    version: ClassVar[int] = 1
    handles: ClassVar[frozenset[type[Event]]] = frozenset(
        {*_GIVEN, *_ENDED, *_PRESENT, events.ConversationStatusChanged, events.AgentStateChanged, events.WorkAssigned, *_LINKS}
    )
    depends_on: ClassVar[tuple[str, ...]] = ()
    loops_back: ClassVar[bool] = True

    def initial(self, subject: Subject) -> DeskState:
        """Return the state of a customer, or an agent, of whom nothing is known."""
        return DeskState(subject.tenant, subject.id)

    def apply(self, state: DeskState, event: Event, at: Moment) -> Step[DeskState]:
        """Take in who has what, or who is there."""
        if type(event) in _LINKS:
            return Step(state, effects=_follow(state, event, at))
        if not state.id.startswith(_AGENT):
            return Step(state, effects=_ownership(state, event, at))
        order = order_of(event)
        if isinstance(event, events.WorkAssigned):
            _work(state, event, order)
        else:
            away = event.state in OFFLINE_STATES if isinstance(event, events.AgentStateChanged) else _PRESENT.get(type(event))
            insort(state.presences, Presence(order, away, event.header.actor_team), key=lambda one: one.order)
            del state.presences[:-PRESENCES_MAX]
        return Step(state, timers=_rearmed(state, at))

    def expire(self, state: DeskState, timer: Timer, at: Moment) -> Step[DeskState]:
        """Return the work of an agent who has been away for too long."""
        state.armed_us = None
        effects = []
        for work in state.works.values():
            due_us = None if work.released else _due_us(state, work, at)
            if due_us is not None and due_us <= timer.due_at_us:
                work.released = True
                effects.append(Effect("conversation.returned_to_queue", work.customer_id, _returned(state, work, timer.due_at_us, at)))
        return Step(state, timers=_rearmed(state, at), effects=tuple(effects))


# -- under a customer: who has what


def _ownership(state: DeskState, event: Event, at: Moment) -> tuple[Effect, ...]:
    """Take in who has a conversation, and whether it is over; tell the agents' side what has changed for them."""
    header = event.header
    conversation_id = header.conversation_id or header.contact_id
    if not conversation_id or state.links.erased:
        return ()
    holding = state.held.pop(conversation_id, None)
    if holding is None:
        holding = _holding(state, header)
    state.held[conversation_id] = holding  # at the end: the one touched last
    if len(state.held) > HELD_MAX:
        del state.held[next((key for key, one in state.held.items() if not one.told), next(iter(state.held)))]
    _fold(holding, event)
    if header.origin_customer_id is not None:
        _copy(state, conversation_id, holding, event)
    if state.links.quiet or holding.copying:
        return ()
    return _told(state, conversation_id, holding, header, at)


def _holding(state: DeskState, header: Header) -> Holding:
    return Holding("" if header.home_customer_id == state.id else header.home_customer_id, header.case_id, header.channel)


def _fold(holding: Holding, event: Event) -> None:
    order = order_of(event)
    if type(event) in _GIVEN:
        if holding.given is None or order > holding.given:
            holding.given = order
            holding.agent = (event.agent or "") if isinstance(event, events.ConversationAssigned | events.BotHandoffAccepted) else ""
            holding.team = event.team if isinstance(event, events.ConversationAssigned) else holding.team
    elif holding.ended is None or order > holding.ended:
        holding.ended = order
        over = _ENDED.get(type(event))
        holding.over = event.to in _SETTLED if isinstance(event, events.ConversationStatusChanged) else bool(over)


def _told(state: DeskState, conversation_id: str, holding: Holding, cause: Header, at: Moment) -> tuple[Effect, ...]:
    """Tell the agents' side who has a conversation now, if that is news."""
    owner = holding.owner
    if owner == holding.told:
        return ()
    before, holding.told = holding.told, owner
    return tuple(
        _assigned(state, conversation_id, holding, cause, at, agent=agent, released=released)
        for agent, released in ((before, True), (owner, False))
        if agent
    )


# -- under a customer: links to others (log.md §5)


def _copy(state: DeskState, conversation_id: str, holding: Holding, event: Event) -> None:
    """Take in a copy: what was told where it comes from follows from the copies alone, and is told no more."""
    origin = event.header.origin_customer_id or ""
    holding.copying = origin
    if origin in state.links.copied:
        return  # it came there when nothing was told there any more
    theirs = state.theirs.setdefault(conversation_id, _holding(state, event.header))
    _fold(theirs, event)
    while len(state.theirs) > HELD_MAX:
        del state.theirs[next(iter(state.theirs))]


def _follow(state: DeskState, event: Event, at: Moment) -> tuple[Effect, ...]:
    """Follow a link to another customer or its end, a copy's end, an erasure."""
    links = state.links
    match event:
        case _ if links.erased:
            pass
        case events.IdentityLinked() if event.from_ == state.id:
            links.leave(event)
        case events.IdentityLinked():
            links.gain(event.from_, event.header.received_at_us)
        case events.IdentityCopied() if event.to == state.id:
            return _copied(state, event, at)
        case events.IdentityUnlinked() if event.from_ == state.id:
            if not links.come_back(event):
                return ()
            return tuple(one for key, holding in state.held.items() for one in _told(state, key, holding, event.header, at))
        case events.PrivacyErased():
            return _forgotten(state, event.header, at)
        case _:
            pass
    return ()


def _forgotten(state: DeskState, cause: Header, at: Moment) -> tuple[Effect, ...]:
    """Give back quietly what agents have of a person who was forgotten; nothing is folded any more."""
    effects: list[Effect] = []
    for conversation_id, holding in state.held.items() if not state.links.quiet else ():
        holding.over = True
        effects += _told(state, conversation_id, holding, cause, at)
    state.held.clear()
    state.theirs.clear()
    state.links.erased = True
    return tuple(effects)


def _copied(state: DeskState, event: events.IdentityCopied, at: Moment) -> tuple[Effect, ...]:
    """Tell the agents' side in what the conversations differ from what was told of them where they were copied from."""
    state.links.all_there(event.from_)
    effects: list[Effect] = []
    for conversation_id, holding in state.held.items():
        if holding.copying == event.from_:
            holding.copying = ""
            theirs = state.theirs.pop(conversation_id, None)
            before = theirs.owner if theirs is not None and event.from_ in state.links.since else ""
            if theirs is not None and before and (theirs.home != holding.home or holding.told):
                effects.append(_assigned(state, conversation_id, theirs, event.header, at, agent=before, released=True))
            else:
                holding.told = holding.told or before
            effects += _told(state, conversation_id, holding, event.header, at)
    return () if state.links.quiet else tuple(effects)


def _assigned(state: DeskState, conversation_id: str, holding: Holding, cause: Header, at: Moment, *, agent: str, released: bool) -> Effect:
    home = holding.home or state.id
    header = Header(
        id=effect_id("desk", conversation_id, home, agent, "released" if released else "assigned", cause.id),
        source=SOURCE,
        tenant=state.tenant,
        channel=holding.channel,  # type: ignore[arg-type]  # it came out of a header
        occurred_at_us=cause.occurred_at_us,
        received_at_us=at.appended_at_us,
        home_customer_id=home,
        conversation_id=conversation_id,
        case_id=holding.case_id,
        actor_id=agent,
        causation_id=cause.id,
    )
    event_ = events.WorkAssigned(header=header, agent=agent, customer=state.id, team=holding.team, released=released)
    return Effect("work.assigned", f"{_AGENT}{agent}", event_)


# -- under an agent: what they have, and whether they are there


def _work(state: DeskState, event: events.WorkAssigned, order: Order) -> None:
    header = event.header
    key = f"{header.conversation_id}|{header.home_customer_id}"  # the same under the customer to whom its own one is linked
    known = state.works.get(key)
    if known is not None and order < known.order:
        return
    state.works.pop(key, None)
    conversation_id, home = header.conversation_id or "", header.home_customer_id
    state.works[key] = Work(order, event.customer, conversation_id, home, header.case_id, header.channel, event.released)
    if len(state.works) > WORKS_MAX:
        del state.works[next((name for name, one in state.works.items() if one.released), next(iter(state.works)))]


def _away_since_us(state: DeskState) -> int | None:
    """Return when the agent went away, None for one who is there: the first going after the last coming."""
    since: int | None = None
    for presence in reversed(state.presences):
        if presence.away is False:
            break
        if presence.away:
            since = presence.order[0]
    return since


def _due_us(state: DeskState, work: Work, at: Moment) -> int | None:
    """Return when a work goes back to its queue, unless the agent returns; None for never."""
    away_us = _away_since_us(state)
    if away_us is None:
        return None
    team = next((presence.team for presence in reversed(state.presences) if presence.team), "")
    matcher = matcher_of(at.config.at(away_us))
    rules = matcher.team(team)
    if rules.return_after_s is None:
        return None
    shifts: Calendar = calendar_of(ALWAYS_OPEN if rules.calendar is None else matcher.hours(rules.calendar))
    return shifts.due(max(away_us, work.order[0]), rules.return_after_s)


def _rearmed(state: DeskState, at: Moment) -> tuple[TimerChange, ...]:
    """Arm the timer for the first work that goes back, or none."""
    first_us: int | None = None
    if _away_since_us(state) is not None:
        due = [due_us for work in state.works.values() if not work.released and (due_us := _due_us(state, work, at)) is not None]
        first_us = min(due, default=None)
    if first_us == state.armed_us:
        return ()
    state.armed_us = first_us
    return (Disarm(RETURN),) if first_us is None else (Arm(RETURN, first_us),)


def _returned(state: DeskState, work: Work, due_us: int, at: Moment) -> events.ConversationReturnedToQueue:
    header = Header(
        id=effect_id("desk", work.conversation_id, work.home, state.id, "returned", work.order[3]),
        source=SOURCE,
        tenant=state.tenant,
        channel=work.channel,  # type: ignore[arg-type]  # it came out of a header
        occurred_at_us=due_us,
        received_at_us=at.appended_at_us,
        customer_id=work.customer_id,
        home_customer_id=work.home,
        conversation_id=work.conversation_id,
        case_id=work.case_id,
        actor_id=state.id.removeprefix(_AGENT),
        causation_id=work.order[3],
    )
    return events.ConversationReturnedToQueue(header=header, reason="agent_offline")
