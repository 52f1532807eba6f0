"""The simulated day itself: its clock, its chance, its desks, and `publish`, the one place where an event gets its form.

Knows the public JSON form (CloudEvents). Must not know Avro, sealing or who the customer turns out to be.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

from connectors.centre.clockwork import Clockwork
from connectors.centre.desks import Agent, Desk
from connectors.centre.people import HandleValue, People, Person

__all__ = ["BOT", "CUSTOMER", "IN", "INSIDE", "OUT", "SYSTEM", "Day", "Thread", "instant"]

IN, OUT, INSIDE = "inbound", "outbound", "internal"
_SECOND_US = 1_000_000

CUSTOMER: dict[str, Any] = {"kind": "customer", "id": None, "team": None}
SYSTEM: dict[str, Any] = {"kind": "system", "id": None, "team": None}
BOT: dict[str, Any] = {"kind": "bot", "id": "bot-assistant", "team": None}

_SOURCES = {
    "phone": "/phone/pbx-1",
    "email": "/mail/inbox-1",
    "webchat": "/chat/site",
    "social": "/social/brand",
    "messaging": "/messaging/number-1",
    "store": "/store/till",
    "portal": "/portal/help",
    "community": "/community/forum",
    "bot": "/bot/assistant",
    "backoffice": "/erp/orders",
}


def instant(at_us: int) -> str:
    """Write epoch µs as RFC 3339 in UTC."""
    second, fraction = divmod(at_us, _SECOND_US)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:06d}Z"


class Day:
    """What all journeys of a day share. Hot: the whole generator takes 5 to 6 µs per event, a third of it in `say` and `publish`."""

    __slots__ = ("_conversations", "_last_us", "_made", "_second", "_stamp", "clock", "desks", "hour_us", "mark", "out", "people", "rng", "tenant")

    def __init__(self, rng: Random, mark: str, tenant: str, start_us: int, hour_us: int) -> None:
        self.rng = rng
        self.mark = mark
        self.tenant = tenant
        self.clock = Clockwork(start_us)
        self.people = People(rng, mark)
        self.out: list[dict[str, Any]] = []
        self.desks: dict[str, Desk] = {}
        self.hour_us = hour_us
        self._last_us = start_us - 1
        self._second = -1
        self._stamp = ""
        self._made = 0
        self._conversations = 0

    def publish(self, kind: str, source: str, data: dict[str, Any]) -> None:
        """Say it now. Times are made strictly rising: what happens in one microsecond is a microsecond apart."""
        at_us = self.clock.now_us
        if at_us <= self._last_us:
            at_us = self._last_us + 1
        self._last_us = at_us
        second, fraction = divmod(at_us, _SECOND_US)
        if second != self._second:
            self._second = second
            self._stamp = instant(at_us)[:19]
        self._made += 1
        self.out.append(
            {
                "specversion": "1.0",
                "id": f"{self.mark}-{self._made:x}",
                "source": source,
                "type": kind,
                "time": f"{self._stamp}.{fraction:06d}Z",
                "tenant": self.tenant,
                "data": data,
            }
        )

    def new_id(self, letter: str) -> str:
        """Return an opaque id for a conversation (`c`), a contact (`k`) or a case (`i`)."""
        self._conversations += 1
        return f"{letter}-{self.mark}-{self._conversations:x}"

    def chance(self, share: float) -> bool:
        """Whether something happens that happens in `share` of the cases."""
        return self.rng.random() < share

    def fate(self, *shares: tuple[float, str]) -> str:
        """Draw one of several ends by their shares; the last one takes what is left of 1."""
        lot = self.rng.random()
        for share, end in shares:
            if lot < share:
                return end
            lot -= share
        return shares[-1][1]

    def pause(self, low_s: float, high_s: float) -> int:
        """Return microseconds between two bounds in seconds."""
        return int((low_s + (high_s - low_s) * self.rng.random()) * _SECOND_US)

    def effort(self, median_s: float) -> int:
        """Return microseconds of work or talk: log-normal, never above 25 minutes."""
        return int(min(1_500.0, median_s * self.rng.lognormvariate(0.0, 0.55)) * _SECOND_US)

    def patience(self, person: Person, mean_s: float) -> int:
        """Return microseconds that a person waits for somebody: exponential over at least five seconds."""
        return int((5.0 + self.rng.expovariate(1.0) * mean_s * person.patience) * _SECOND_US)

    def words(self, person: Person, templates: Sequence[str], agent: Agent | None = None) -> str:
        """Fill one of `templates`."""
        slots = person.slots
        if agent is not None:
            slots["agent"] = agent.name
        return templates[int(self.rng.random() * len(templates))].format_map(slots)

    def desk_for(self, name: str, person: Person) -> Desk:
        """Return the desk of that name, or the Chinese team's for whoever writes Chinese."""
        return self.desks["china" if person.chinese and name != "store" else name]

    def of_agent(self, kind: str, agent: Agent, state: str | None = None, reason: str = "") -> None:
        """Publish an event of an agent: no customer, so the resolver keys it by `agent:<actor id>`."""
        data: dict[str, Any] = {"channel": "backoffice", "direction": INSIDE, "customer": [], "actor": agent.actor.copy()}
        if state is not None:
            data["state"] = state
            data["reason"] = reason
        self.publish(kind, "/workforce/acd-1", data)

    def free(self, agent: Agent) -> None:
        """Let an agent go back to the desk."""
        self.of_agent("agent.state_changed", agent, "available")
        agent.desk.release(agent)


class Thread:
    """One conversation as one channel tells it: what stays the same from event to event."""

    __slots__ = ("answered", "case_id", "channel", "contact_id", "conversation_id", "day", "handles", "left", "person", "source")

    def __init__(self, day: Day, channel: str, person: Person, conversation_id: str | None = None) -> None:
        self.day = day
        self.person = person
        self.conversation_id = conversation_id or day.new_id("c")
        self.case_id = person.case_id
        self.answered = False
        self.left = False
        self.go_to(channel)

    def go_to(self, channel: str) -> None:
        """Go on in `channel` as a new contact of the same conversation."""
        self.channel = channel
        self.source = _SOURCES[channel]
        self.contact_id = self.day.new_id("k")
        self.handles: list[HandleValue] = self.person.handles(channel) or [("contact", self.contact_id, False)]

    def say(
        self,
        kind: str,
        direction: str,
        actor: dict[str, Any],
        extra: dict[str, Any] | None = None,
        text: str | None = None,
    ) -> None:
        """Publish an event of this conversation."""
        data: dict[str, Any] = {
            "channel": self.channel,
            "direction": direction,
            "conversation_id": self.conversation_id,
            "case_id": self.case_id,
            "contact_id": self.contact_id,
            "customer": [{"kind": handle, "value": value, "verified": verified} for handle, value, verified in self.handles],
            "actor": actor.copy(),
        }
        if extra is not None:
            data.update(extra)
        if text is not None:
            data["text"] = text
        self.day.publish(kind, self.source, data)

    def begin(self, kind: str, extra: dict[str, Any] | None = None, text: str | None = None) -> None:
        """Publish what the customer begins with. It carries what the source knows: the plan as attributes, here and there the name."""
        person, more = self.person, dict(extra or {})
        if person.plan is not None:
            more["attributes"] = {"priority": person.priority, "plan": person.plan}
        if self.day.chance(0.06):
            more["display_name"] = person.name
        self.say(kind, IN, CUSTOMER, more, text)

    def hang_up(self, stage: str) -> None:
        """Publish that the customer left before being answered."""
        self.left = True
        self.say("contact.abandoned", IN, CUSTOMER, {"stage": stage})

    def hear(self, templates: Sequence[str]) -> None:
        """Publish a customer's message."""
        self.say("message.received", IN, CUSTOMER, None, self.day.words(self.person, templates))

    def tell(self, agent: Agent, templates: Sequence[str], visibility: str = "public") -> None:
        """Publish an agent's message, public or an internal note."""
        words = self.day.words(self.person, templates, agent)
        public = visibility == "public"
        self.say("message.sent", OUT if public else INSIDE, agent.actor, {"visibility": visibility, "author": "human"}, words)
        self.answered |= public

    def machine(self, actor: dict[str, Any], author: str, templates: Sequence[str]) -> None:
        """Publish a message of the bot (`author` bot) or an automatic reply (`auto`)."""
        self.say("message.sent", OUT, actor, {"visibility": "public", "author": author}, self.day.words(self.person, templates))

    def status(self, before: str, after: str, actor: dict[str, Any]) -> None:
        """Publish a change of the conversation's status."""
        self.say("conversation.status_changed", INSIDE, actor, {"from": before, "to": after})
