"""What one customer does in a day: channels one after another, since people who get no answer try another way.

Knows every channel's module; they do not know this one.
"""

from collections.abc import Callable

from connectors.centre.calls import call, call_back
from connectors.centre.chats import bot_session, portal_visit, survey, web_chat
from connectors.centre.clockwork import Process
from connectors.centre.counters import community_thread, order, parcel_is_late, store_visit
from connectors.centre.day import INSIDE, SYSTEM, Day, Thread
from connectors.centre.desks import NORMAL
from connectors.centre.letters import mail, message_thread, post
from connectors.centre.people import Person

__all__ = ["journey"]


def journey(day: Day, person: Person) -> Process:
    """Choose what this person does. Who lacks the handle for a channel takes the website."""
    lot = day.rng.random()
    for upto, means, what in _MIX:
        if lot < upto:
            return (what if means is None or getattr(person, means) is not None else _website)(day, person)
    return _website(day, person)


def _website(day: Day, person: Person) -> Process:
    """Read help pages; half go on to the bot, many of them to the chat, and, unheard, to another channel."""
    if person.topic == "parcel" and (person.account or person.email):
        yield from parcel_is_late(day, person)
        yield day.pause(120, 3_600)
    yield from portal_visit(day, person)
    if day.chance(0.45):
        return
    yield day.pause(5, 60)
    thread = Thread(day, "bot", person)
    end = yield from bot_session(day, person, thread)
    if end == "wants_human":
        served = yield from web_chat(day, person, thread)
        if not served:
            yield from _insist(day, person, thread)
    elif end == "gone" and day.chance(0.3):
        yield from _insist(day, person, thread)


def _phone(day: Day, person: Person) -> Process:
    """Call; unanswered, most people try again."""
    if day.chance(0.3):
        yield from portal_visit(day, person)
        yield day.pause(20, 600)
    thread = Thread(day, "phone", person)
    outcome = yield from call(thread)
    if outcome == "voicemail" and day.chance(0.7) and person.phone is not None:
        yield from call_back(thread, day.desk_for("voice", person))
    elif outcome == "abandoned" and day.chance(0.6):
        yield from _insist(day, person, thread)
    elif outcome == "abandoned" and person.phone is not None:
        yield day.pause(60, 240)  # the list of missed calls
        yield from call_back(thread, day.desk_for("voice", person), NORMAL)
    elif outcome == "answered":
        yield from survey(thread)


def _mail(day: Day, person: Person) -> Process:
    thread = Thread(day, "email", person)
    if day.chance(0.4):
        day.clock.start(_lose_patience(day, person, thread), day.pause(5_400, 21_600))
    yield from mail(day, person, thread)


def _message(day: Day, person: Person) -> Process:
    yield from message_thread(day, person, Thread(day, "messaging", person))


def _post(day: Day, person: Person) -> Process:
    yield from post(day, person, Thread(day, "social", person))


def _store(day: Day, person: Person) -> Process:
    """Look up the shop first, or walk in."""
    if day.chance(0.3):
        yield from portal_visit(day, person)
        yield day.pause(1_200, 7_200)
    yield from store_visit(day, person)


def _lose_patience(day: Day, person: Person, thread: Thread) -> Process:
    """Hours after a mail that nobody answered."""
    if not thread.answered and not person.withdrawn:
        yield from _insist(day, person, thread)


def _insist(day: Day, person: Person, first: Thread) -> Process:
    """Try another way, and make it a case, which knows both ways' handles and links the second conversation with the first."""
    yield day.pause(120, 2_400)
    channel = _another_way(day, person, first.channel)
    if channel is None:
        return
    case = person.case_id = day.new_id("i")
    second = Thread(day, channel, person)
    own = second.handles
    second.handles = [*own, *(handle for handle in first.handles if handle not in own and handle[0] != "contact")]
    second.say("case.opened", INSIDE, SYSTEM)
    second.say("case.linked", INSIDE, SYSTEM, {"conversation": first.conversation_id})
    second.say("case.linked", INSIDE, SYSTEM, {"conversation": second.conversation_id})
    second.handles = own
    if channel == "phone":
        outcome = yield from call(second, again=True)
        if outcome != "answered":
            return
    elif channel == "email":
        yield from mail(day, person, second, tried=first.channel)
    else:
        yield from message_thread(day, person, second, tried=first.channel)
    second.case_id = case
    second.say("case.resolved", INSIDE, SYSTEM)


def _another_way(day: Day, person: Person, tried: str) -> str | None:
    ways = [
        way
        for way, has in (("phone", person.phone), ("email", person.email), ("messaging", person.chinese or None))
        if has is not None and (way != tried or way == "phone")
    ]
    return ways[int(day.rng.random() * len(ways))] if ways else None


_MIX: tuple[tuple[float, str | None, Callable[[Day, Person], Process]], ...] = (
    (0.28, None, _website),
    (0.52, "phone", _phone),
    (0.65, "email", _mail),
    (0.74, "social", _message),
    (0.78, "social", _post),
    (0.83, None, _store),
    (0.86, None, community_thread),
    (0.96, "email", order),
)
"""Up to which lot, the handle it needs, the journey."""
