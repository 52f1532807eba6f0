"""What is written and answered later: mail, posts, messaging. Must not know the website and the telephone."""

from collections.abc import Generator

from connectors.centre.chats import survey
from connectors.centre.clockwork import Process, Ticket
from connectors.centre.day import CUSTOMER, IN, INSIDE, OUT, SYSTEM, Day, Thread, instant
from connectors.centre.desks import LATER, NORMAL, Agent, Desk
from connectors.centre.people import Person

__all__ = ["mail", "message_thread", "post", "take_up"]


def take_up(thread: Thread, desk: Desk, rank: int) -> Generator[int | Ticket, None, Agent]:
    """Wait, however long, until an agent takes it up. Whoever never comes never resumes the process: unanswered."""
    day = thread.day
    ticket = desk.ask(rank, None)
    yield ticket
    while ticket.agent is None:
        yield day.hour_us
    day.of_agent("agent.state_changed", ticket.agent, "busy", thread.channel)
    return ticket.agent


def mail(day: Day, person: Person, thread: Thread, *, tried: str | None = None) -> Process:
    """Write one mail: automatic reply, queue, human reply, perhaps more of it, resolved; or nothing, where the desk never gets there.

    `tried` is the channel that the person tried before, in vain.
    """
    book = person.book
    opening = book.ask[person.topic] if tried is None else book.chase[tried]
    text = f"{day.words(person, book.greeting)}\n\n{day.words(person, opening)}\n\n{person.name}"
    thread.begin("message.received", {"subject": day.words(person, (book.subject[person.topic],))}, text)
    thread.say("conversation.opened", INSIDE, SYSTEM)
    yield day.pause(0.5, 4)
    if day.chance(0.7):
        thread.machine(SYSTEM, "auto", book.auto_reply)
    if person.plan == "gold":
        thread.say("conversation.priority_changed", INSIDE, SYSTEM, {"priority": "high"})
    thread.say("conversation.tagged", INSIDE, SYSTEM, {"tag": person.topic})
    desk = day.desk_for("mail", person)
    agent = yield from take_up(thread, desk, NORMAL if person.plan == "gold" else LATER)
    if person.withdrawn and tried is None:
        yield day.pause(10, 40)
        thread.say("message.no_reply_needed", INSIDE, agent.actor)
        thread.say("conversation.resolved", INSIDE, agent.actor)
        day.free(agent)
        return
    thread.say("conversation.assigned", INSIDE, agent.actor, {"team": agent.actor["team"], "agent": agent.id})
    if day.chance(0.06):
        yield from _put_back(thread, agent)
        agent = yield from take_up(thread, desk, NORMAL)
    yield from _answer(thread, agent)
    if day.chance(0.35):
        yield day.pause(240, 5_400)
        if thread.day.chance(0.4):
            thread.hear(book.thanks)
            thread.say("message.no_reply_needed", INSIDE, SYSTEM)
        else:
            thread.hear(book.follow_up)
            thread.status("pending", "open", SYSTEM)
            agent = yield from take_up(thread, desk, NORMAL)
            yield from _answer(thread, agent)
    yield from _wind_up(thread, desk)


def _put_back(thread: Thread, agent: Agent) -> Process:
    """Not for this agent, or not now: back to the queue, or aside for a while."""
    day = thread.day
    yield day.pause(15, 60)
    if day.chance(0.5):
        thread.say("conversation.unassigned", INSIDE, agent.actor)
        thread.say("conversation.returned_to_queue", INSIDE, agent.actor, {"reason": "needs_other_skill"})
        day.free(agent)
        return
    length_us = day.pause(900, 5_400)
    thread.tell(agent, thread.person.book.note, "internal")
    thread.say("conversation.snoozed", INSIDE, agent.actor, {"until": instant(day.clock.now_us + length_us)})
    day.free(agent)
    yield length_us


def _answer(thread: Thread, agent: Agent) -> Process:
    day, person = thread.day, thread.person
    yield day.effort(220)
    thread.tell(agent, person.book.answer[person.topic])
    thread.status("open", "pending", agent.actor)
    day.free(agent)
    yield day.pause(0.5, 5)
    if thread.channel == "email":
        if day.chance(0.02):
            thread.say("message.failed", OUT, SYSTEM, {"reason": "mailbox_full"})
        else:
            thread.say("message.delivered", OUT, SYSTEM)
    elif day.chance(0.8):
        thread.say("message.read", IN, CUSTOMER)


def _wind_up(thread: Thread, desk: Desk) -> Process:
    """Resolve, ask how it was, close; one in twenty is opened once more."""
    day, book = thread.day, thread.person.book
    yield day.pause(60, 1_200)
    thread.say("conversation.resolved", INSIDE, SYSTEM)
    thread.person.withdrawn = True
    yield day.pause(60, 1_800)
    if day.chance(0.05):
        thread.hear(book.follow_up)
        thread.say("conversation.reopened", IN, CUSTOMER, {"by": "customer"})
        agent = yield from take_up(thread, desk, NORMAL)
        yield from _answer(thread, agent)
        thread.say("conversation.resolved", INSIDE, agent.actor)
    yield from survey(thread)
    thread.say("conversation.closed", INSIDE, SYSTEM)


def message_thread(day: Day, person: Person, thread: Thread, *, tried: str | None = None) -> Process:
    """Write short messages to and fro with minutes between them; each answer is taken up anew by whoever is free."""
    book, desk = person.book, day.desk_for("chat", person)
    thread.begin("message.received", None, day.words(person, book.greeting))
    thread.say("conversation.opened", INSIDE, SYSTEM)
    yield day.pause(2, 15)
    thread.hear(book.ask[person.topic] if tried is None else book.chase[tried])
    if not desk.staffed or day.chance(0.3):
        thread.machine(SYSTEM, "auto", book.auto_reply)
    for turn in range(1 + int(day.rng.random() * 3)):
        agent = yield from take_up(thread, desk, NORMAL)
        if turn == 0:
            thread.say("conversation.assigned", INSIDE, agent.actor, {"team": agent.actor["team"], "agent": agent.id})
        yield day.effort(60)
        thread.tell(agent, book.welcome if turn == 0 and day.chance(0.4) else book.answer[person.topic])
        day.free(agent)
        yield day.pause(1, 5)
        thread.say("message.delivered", OUT, SYSTEM)
        yield day.pause(5, 600)
        if day.chance(0.8):
            thread.say("message.read", IN, CUSTOMER)
        if turn and day.chance(0.5):
            break
        thread.hear(book.more if turn == 0 else book.follow_up)
    else:
        agent = yield from take_up(thread, desk, NORMAL)
        yield from _answer(thread, agent)
    thread.hear(book.thanks)
    thread.say("message.no_reply_needed", INSIDE, SYSTEM)
    yield from _wind_up(thread, desk)


def post(day: Day, person: Person, thread: Thread) -> Process:
    """Post in public. The brand replies to four in five."""
    book, desk = person.book, day.desk_for("mail", person)
    thread.begin("message.received", None, day.words(person, book.public_post))
    thread.say("conversation.opened", INSIDE, SYSTEM)
    if day.chance(0.2):
        return
    agent = yield from take_up(thread, desk, NORMAL)
    yield day.effort(90)
    thread.tell(agent, book.brand_reply)
    day.free(agent)
    if day.chance(0.4):
        yield day.pause(60, 1_800)
        thread.hear(book.thanks if day.chance(0.5) else book.follow_up)
    yield from _wind_up(thread, desk)
