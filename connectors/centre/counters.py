"""Shop, community and back office: visits, threads of customers among themselves, the life of an order. Must not know queues but the shop's."""

from itertools import pairwise

from connectors.centre.clockwork import Process
from connectors.centre.day import CUSTOMER, IN, INSIDE, OUT, SYSTEM, Day, Thread
from connectors.centre.desks import LATER, NORMAL
from connectors.centre.letters import take_up
from connectors.centre.people import Person

__all__ = ["community_thread", "order", "parcel_is_late", "store_visit"]


def store_visit(day: Day, person: Person) -> Process:
    """Walk in, wait at the counter, be served or leave; some leave a form, which is answered in writing."""
    thread = Thread(day, "store", person)
    thread.begin("store.visit")
    yield day.pause(20, 120)
    desk = day.desks["store"]
    ticket = desk.ask(NORMAL, day.patience(person, 240))
    yield ticket
    agent = ticket.agent
    if agent is not None:
        day.of_agent("agent.state_changed", agent, "busy", "counter")
        yield day.effort(200)
        thread.say("store.service_given", INSIDE, agent.actor)
        person.withdrawn = True
        day.free(agent)
        if not day.chance(0.1):
            return
    elif not day.chance(0.5):
        return
    thread.say("store.form_left", IN, CUSTOMER, None, day.words(person, person.book.store_form))
    if person.email is None:
        return
    reader = yield from take_up(thread, day.desk_for("mail", person), LATER)
    yield day.effort(90)
    thread.go_to("email")
    thread.tell(reader, person.book.answer[person.topic])
    day.free(reader)


def community_thread(day: Day, person: Person) -> Process:
    """Ask everybody: other customers reply, staff where nobody knows, the asker marks the answer."""
    thread, book = Thread(day, "community", person), person.book
    thread.begin("thread.posted", None, day.words(person, book.thread_post))
    helped = False
    for _ in range(int(day.rng.random() * 4)):
        yield day.pause(300, 5_400)
        peer = {"kind": "partner", "id": f"member-{int(day.rng.random() * 900) + 100}", "team": None}
        thread.say("thread.replied", INSIDE, peer, {"by_staff": False}, day.words(person, book.thread_reply))
        helped = helped or day.chance(0.35)
    if not helped:
        yield day.pause(1_800, 7_200)
        thread.say("thread.escalated", INSIDE, SYSTEM)
        agent = yield from take_up(thread, day.desk_for("mail", person), LATER)
        yield day.effort(90)
        thread.say("thread.replied", OUT, agent.actor, {"by_staff": True}, day.words(person, book.thread_reply, agent))
        day.free(agent)
    if day.chance(0.6):
        yield day.pause(120, 3_600)
        thread.say("thread.marked_answered", IN, CUSTOMER)


def order(day: Day, person: Person) -> Process:
    """Live an order's day in the back office, with notices to the customer."""
    thread, book = Thread(day, "backoffice", person), person.book
    thread.begin("order.created")
    states = ("created", "paid", "packed", "shipped")
    for before, after in pairwise(states):
        yield day.pause(300, 7_200)
        thread.say("order.status_changed", INSIDE, SYSTEM, {"from": before, "to": after})
        if before == "created" and day.chance(0.06):
            yield day.pause(300, 3_600)
            thread.say("order.status_changed", INSIDE, SYSTEM, {"from": after, "to": "cancelled"})
            thread.say("order.refunded", INSIDE, SYSTEM)
            return
    thread.say("notification.planned", OUT, SYSTEM, {"campaign": "order-updates"})
    yield day.pause(5, 300)
    if day.chance(0.04):
        thread.say("notification.failed", OUT, SYSTEM)
    else:
        thread.say("notification.sent", OUT, SYSTEM, None, day.words(person, book.notice))
        if day.chance(0.25):
            yield day.pause(60, 3_600)
            thread.say("notification.acted_on", IN, CUSTOMER)
    if day.chance(0.4):
        yield day.pause(3_600, 14_400)
        thread.say("order.delivered", INSIDE, SYSTEM)


def parcel_is_late(day: Day, person: Person) -> Process:
    """Let the back office notice before the customer does, and tell some."""
    thread = Thread(day, "backoffice", person)
    thread.begin("order.status_changed", {"from": "shipped", "to": "delayed"})
    yield day.pause(60, 600)
    if day.chance(0.5):
        thread.say("notification.planned", OUT, SYSTEM, {"campaign": "delays"})
        yield day.pause(1, 30)
        thread.say("notification.sent", OUT, SYSTEM, None, day.words(person, person.book.notice[-1:]))
