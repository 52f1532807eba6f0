"""The website: help articles, search, the bot, and the chat that a bot hands over to. Must not know letters and calls, but for the queue."""

from collections.abc import Generator
from typing import Literal

from connectors.centre.calls import rank_of, reach
from connectors.centre.clockwork import Process, Ticket
from connectors.centre.day import BOT, CUSTOMER, IN, INSIDE, OUT, SYSTEM, Day, Thread
from connectors.centre.people import Person

__all__ = ["Contained", "bot_session", "portal_visit", "web_chat"]

Contained = Literal["contained", "wants_human", "gone"]
_UNDERSTOOD = 0.5
_ARTICLES = {
    "parcel": "delivery-late",
    "damaged": "damaged-on-arrival",
    "wrong_item": "exchange",
    "refund": "refund-times",
    "invoice": "invoices",
    "password": "sign-in",
    "return": "returns",
    "stock": "availability",
    "warranty": "warranty",
    "cancel": "cancel-an-order",
}


def portal_visit(day: Day, person: Person) -> Process:
    """Look for an answer alone: articles and searches; here and there a form given up half-way."""
    thread = Thread(day, "portal", person)
    article = _ARTICLES[person.topic]
    thread.begin("portal.article_viewed", {"article": article})
    yield day.pause(15, 90)
    while True:
        words = day.words(person, person.book.search[person.topic])
        thread.say("portal.search", IN, CUSTOMER, {"hits": int(day.rng.random() * 12)}, words)
        yield day.pause(8, 60)
        if day.chance(0.65):
            thread.say("portal.article_viewed", IN, CUSTOMER, {"article": article if day.chance(0.4) else "contact-us"})
            yield day.pause(10, 120)
        if day.chance(0.6):
            break
    if day.chance(0.12):
        thread.say("portal.task_abandoned", IN, CUSTOMER, {"task": "return-label" if person.topic == "return" else "contact-form"})


def bot_session(day: Day, person: Person, thread: Thread) -> Generator[int | Ticket, None, Contained]:
    """Talk to the bot: contained, handed to a human, or left without a word."""
    book = person.book
    thread.say("bot.started", IN, BOT)
    thread.say("conversation.opened", INSIDE, SYSTEM)
    thread.machine(BOT, "bot", book.bot_welcome)
    yield day.pause(4, 25)
    thread.begin("message.received", None, day.words(person, book.ask[person.topic]))
    for _ in range(3):
        sure = round(0.35 + 0.64 * day.rng.random(), 3)
        understood = sure > _UNDERSTOOD
        thread.say("bot.intent", INSIDE, BOT, {"name": person.topic if understood else "fallback", "confidence": sure})
        yield day.pause(0.4, 2)
        thread.machine(BOT, "bot", book.bot_answer)
        yield day.pause(6, 40)
        fate = day.fate((0.38, "wants_human"), (0.3, "contained"), (0.06, "gone"), (0.26, "goes_on"))
        if fate == "wants_human":
            thread.hear(book.want_human)
            thread.say("bot.handoff_requested", IN, CUSTOMER, {"reason": "asked_for_human" if understood else "not_understood"})
            return "wants_human"
        if fate == "contained":
            thread.hear(book.thanks)
            thread.say("bot.contained", INSIDE, BOT)
            thread.say("bot.ended", INSIDE, BOT)
            thread.say("conversation.resolved", INSIDE, BOT)
            return "contained"
        if fate == "gone":
            thread.say("bot.ended", INSIDE, BOT)
            return "gone"
        thread.hear(book.follow_up)
    thread.say("bot.ended", INSIDE, BOT)
    return "gone"


def web_chat(day: Day, person: Person, thread: Thread) -> Generator[int | Ticket, None, bool]:
    """From the bot's hand-over into the queue and, if patience lasts, through a chat. Returns whether an agent came."""
    yield day.pause(0.5, 2)
    thread.go_to("webchat")
    queue = "chat-zh" if person.chinese else "chat"
    thread.say("contact.initiated", IN, CUSTOMER, {"queue": queue})
    thread.say("contact.queued", INSIDE, SYSTEM, {"queue": queue, "priority": person.priority})
    agent = yield from reach(thread, day.desk_for("chat", person), queue, rank_of(person), day.patience(person, 150))
    if agent is None:
        if not thread.left:
            thread.hang_up("queue")
        return False
    book = person.book
    thread.say("bot.handoff_accepted", INSIDE, agent.actor, {"agent": agent.id})
    thread.say("conversation.assigned", INSIDE, SYSTEM, {"team": agent.actor["team"], "agent": agent.id})
    yield day.pause(4, 20)
    thread.tell(agent, book.welcome)
    for turn in range(1 + int(day.rng.random() * 3)):
        yield day.pause(8, 60)
        thread.hear(book.more if turn == 0 else book.follow_up)
        yield day.pause(4, 26)
        thread.tell(agent, book.answer[person.topic])
        if day.chance(0.15):
            thread.tell(agent, book.note, "internal")
    yield day.pause(5, 30)
    if day.chance(0.7):
        thread.hear(book.thanks)
        yield day.pause(3, 12)
        thread.tell(agent, book.closing)
    thread.say("conversation.tagged", INSIDE, agent.actor, {"tag": person.topic})
    person.withdrawn = True
    thread.say("conversation.resolved", INSIDE, agent.actor)
    thread.say("contact.disconnected", IN, CUSTOMER, {"by": "customer", "reason": "closed"})
    thread.say("contact.wrapup_started", INSIDE, agent.actor)
    yield day.effort(25)
    thread.say("contact.wrapup_ended", INSIDE, agent.actor, {"code": person.topic, "disposition": "solved", "reason": person.topic})
    thread.say("contact.completed", INSIDE, SYSTEM)
    day.free(agent)
    day.clock.start(survey(thread))
    return True


def survey(thread: Thread) -> Process:
    """Ask how it was; a third answers."""
    day, person = thread.day, thread.person
    if not day.chance(0.5):
        return
    yield day.pause(20, 120)
    thread.say("feedback.survey_offered", OUT, SYSTEM)
    yield day.pause(20, 1_200)
    fate = day.fate((0.35, "responds"), (0.15, "skips"), (0.5, "ignores"))
    if fate == "responds":
        score = 1.0 + int(5 * day.rng.random() ** 0.6)
        remark = day.words(person, person.book.survey) if day.chance(0.4) else None
        thread.say("feedback.responded", IN, CUSTOMER, {"score": score, "scale": "1-5"}, remark)
    elif fate == "skips":
        thread.say("feedback.skipped", IN, CUSTOMER, {"reason": "closed_window"})
