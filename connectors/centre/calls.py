"""Telephone: menu, queue, ringing, talk, hold, transfer, wrap-up; voicemail and callbacks. Must not know other channels."""

from collections.abc import Generator
from typing import Literal

from connectors.centre.clockwork import Process, Ticket
from connectors.centre.day import CUSTOMER, IN, INSIDE, OUT, SYSTEM, Day, Thread, instant
from connectors.centre.desks import HIGH, LATER, NORMAL, Agent, Desk
from connectors.centre.people import Person

__all__ = ["Outcome", "call", "call_back", "queue_of", "rank_of", "reach"]

Outcome = Literal["answered", "abandoned", "voicemail", "callback"]
Steps = Generator[int | Ticket, None, Agent | None]

_QUEUES = {"refund": "billing", "invoice": "billing", "password": "tech", "warranty": "tech"}
_OPTIONS = {"orders": "1", "billing": "2", "tech": "3", "service-zh": "8"}


def queue_of(person: Person) -> str:
    """Return the queue that serves what this person calls about."""
    return "service-zh" if person.chinese else _QUEUES.get(person.topic, "orders")


def rank_of(person: Person) -> int:
    """Return the rank that the person's plan buys."""
    return HIGH if person.plan == "gold" else NORMAL


def reach(thread: Thread, desk: Desk, queue: str, rank: int, patience_us: int) -> Steps:
    """From the queue to an agent. None where patience has ended (`thread.left`: hung up while it rang). Refused offers queue at the head."""
    day = thread.day
    while True:
        ticket = desk.ask(rank, patience_us)
        yield ticket
        agent = ticket.agent
        if agent is None:
            return None
        thread.say("contact.offered", INSIDE, SYSTEM, {"agent": agent.id})
        yield day.pause(1.5, 8)
        if day.chance(0.02):
            thread.hang_up("ringing")
            day.free(agent)
            return None
        if day.chance(0.965):
            thread.say("contact.offer_accepted", INSIDE, agent.actor)
            thread.say("contact.connected", INSIDE, agent.actor, {"agent": agent.id, "queue": queue})
            day.of_agent("agent.state_changed", agent, "busy", thread.channel)
            return agent
        thread.say("contact.offer_rejected" if day.chance(0.3) else "contact.offer_timed_out", INSIDE, agent.actor)
        day.of_agent("agent.state_changed", agent, "away", "missed_offer")
        day.clock.start(_come_back(day, agent))
        rank = HIGH


def _come_back(day: Day, agent: Agent) -> Process:
    yield day.pause(30, 120)
    day.free(agent)


def call(thread: Thread, *, again: bool = False) -> Generator[int | Ticket, None, Outcome]:
    """One inbound call, from the ring to the wrap-up or to giving up. `again`: a second try, with less patience."""
    day, person = thread.day, thread.person
    queue = queue_of(person)
    thread.begin("contact.initiated")
    yield day.pause(4, 14)
    if day.chance(0.02):
        thread.hang_up("menu")
        return "abandoned"
    thread.say("contact.menu_selected", IN, CUSTOMER, {"option": _OPTIONS[queue]})
    yield day.pause(1, 4)
    thread.say("contact.queued", INSIDE, SYSTEM, {"queue": queue, "priority": person.priority})
    desk = day.desk_for("voice", person)
    if not desk.staffed:
        return (yield from _after_hours(thread))
    agent = yield from reach(thread, desk, queue, rank_of(person), day.patience(person, 120 if again else 200))
    if agent is not None:
        yield from _talk(thread, agent, queue)
        return "answered"
    if thread.left:
        return "abandoned"
    return (yield from _leave(thread, desk, queue))


def _after_hours(thread: Thread) -> Generator[int | Ticket, None, Outcome]:
    day = thread.day
    yield day.pause(6, 25)
    if day.chance(0.45):
        thread.hang_up("queue")
        return "abandoned"
    return (yield from _voicemail(thread))


def _voicemail(thread: Thread) -> Generator[int | Ticket, None, Outcome]:
    day, person = thread.day, thread.person
    yield day.pause(10, 40)
    thread.say("contact.voicemail_left", IN, CUSTOMER, None, day.words(person, person.book.voicemail))
    thread.say("contact.disconnected", IN, CUSTOMER, {"by": "customer", "reason": "voicemail"})
    return "voicemail"


def _leave(thread: Thread, desk: Desk, queue: str) -> Generator[int | Ticket, None, Outcome]:
    """Patience has ended in the queue: most hang up, some leave a message, some take the offer of a callback."""
    day = thread.day
    taste = day.fate((0.1, "voicemail"), (0.15, "callback"), (0.75, "hangs_up"))
    if taste == "voicemail":
        return (yield from _voicemail(thread))
    if taste == "hangs_up" or thread.handles[-1][0] != "phone":
        thread.hang_up("queue")
        return "abandoned"
    due_us = day.clock.now_us + day.pause(900, 3_600)
    thread.say("contact.callback_requested", IN, CUSTOMER, {"at": instant(due_us)})
    thread.say("contact.dequeued", INSIDE, SYSTEM, {"queue": queue, "reason": "callback"})
    thread.say("contact.disconnected", IN, CUSTOMER, {"by": "customer", "reason": "callback"})
    yield due_us - day.clock.now_us
    reached = yield from call_back(thread, desk)
    return "answered" if reached else "callback"


def call_back(thread: Thread, desk: Desk, rank: int = LATER) -> Generator[int | Ticket, None, bool]:
    """Ring the customer when somebody has time, twice at most. Each attempt is a contact of its own."""
    day = thread.day
    for _ in range(2):
        ticket = desk.ask(rank, None)
        yield ticket
        agent = ticket.agent
        if agent is None:
            break
        day.of_agent("agent.state_changed", agent, "busy", "callback")
        thread.go_to("phone")
        thread.say("contact.initiated", OUT, agent.actor)
        yield day.pause(8, 30)
        reached = day.chance(0.75)
        thread.say("contact.callback_attempted", OUT, agent.actor, {"reached": reached})
        if reached:
            queue = queue_of(thread.person)
            thread.say("contact.connected", OUT, agent.actor, {"agent": agent.id, "queue": queue})
            yield from _talk(thread, agent, queue)
            return True
        thread.say("contact.completed", INSIDE, SYSTEM)
        day.free(agent)
        yield day.pause(900, 1_800)
    return False


def _talk(thread: Thread, agent: Agent, queue: str) -> Process:
    """From connected to completed."""
    day, person = thread.day, thread.person
    yield day.effort(190)
    if day.chance(0.24):
        thread.say("contact.held", INSIDE, agent.actor)
        yield day.pause(12, 110)
        thread.say("contact.resumed", INSIDE, agent.actor)
        yield day.effort(50)
    fate = day.fate((0.05, "warm"), (0.04, "cold"), (0.91, "stays"))
    if fate == "warm":
        agent = yield from _warm(thread, agent, queue)
    elif fate == "cold":
        second = yield from _cold(thread, agent)
        if second is None:
            return
        agent = second
    by = "customer" if day.chance(0.7) else "agent"
    thread.say("contact.disconnected", IN if by == "customer" else OUT, CUSTOMER if by == "customer" else agent.actor, {"by": by, "reason": "hangup"})
    person.withdrawn = True
    yield day.pause(0.2, 1)
    thread.say("contact.wrapup_started", INSIDE, agent.actor)
    day.of_agent("agent.state_changed", agent, "wrapup", "phone")
    yield day.effort(40)
    solved = day.chance(0.8)
    codes = {"code": person.topic, "disposition": "solved" if solved else "follow_up", "reason": person.topic}
    thread.say("contact.wrapup_ended", INSIDE, agent.actor, codes)
    thread.say("contact.completed", INSIDE, SYSTEM)
    day.free(agent)


def _warm(thread: Thread, first: Agent, queue: str) -> Generator[int | Ticket, None, Agent]:
    """Ask a colleague while the customer holds, then hand over. Nobody free within a minute: go on alone."""
    day = thread.day
    thread.say("contact.held", INSIDE, first.actor)
    ticket = first.desk.ask(HIGH, day.pause(30, 60))
    yield ticket
    second = ticket.agent
    if second is None:
        thread.say("contact.resumed", INSIDE, first.actor)
        yield day.effort(60)
        return first
    thread.say("contact.consulted", INSIDE, first.actor, {"agent": second.id})
    day.of_agent("agent.state_changed", second, "busy", "consultation")
    yield day.pause(20, 70)
    thread.say("contact.resumed", INSIDE, first.actor)
    thread.say("contact.transferred", INSIDE, first.actor, {"kind": "warm", "to": second.id})
    thread.say("contact.connected", INSIDE, second.actor, {"agent": second.id, "queue": queue})
    day.free(first)
    yield day.effort(110)
    return second


def _cold(thread: Thread, first: Agent) -> Steps:
    """Send the caller on into another queue, where they wait once more and may hang up."""
    day, person = thread.day, thread.person
    queue = "second-line"
    thread.say("contact.transferred", INSIDE, first.actor, {"kind": "cold", "to": queue})
    day.free(first)
    yield day.pause(0.5, 2)
    thread.say("contact.queued", INSIDE, SYSTEM, {"queue": queue, "priority": person.priority})
    second = yield from reach(thread, first.desk, queue, HIGH, day.patience(person, 240))
    if second is None:
        if not thread.left:
            thread.hang_up("queue")
        return None
    yield day.effort(140)
    return second
