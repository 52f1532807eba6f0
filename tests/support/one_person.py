"""Two customers who turn out to be one, for tests of projections: their records, the link, the copies, and what is handed over.

What lies under the one customer's key and under the other's comes in any order among each other, so whoever tests says what comes
next. The world has no hold of its own and feeds nothing back: a test appends what `moved` gives, and what `copies` gives.
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from projections.alerts import Alerts
from projections.desk import Desk
from projections.escalation import Escalation
from projections.kernel import Config, Effect, Projection
from projections.rules import LadderStep, Policy, Rulebook, UnansweredRule
from projections.service_levels import ServiceLevels
from projections.sla.clocks import Sla
from projections.testing import World, contact_abandoned, handle, make, message_received, message_sent, time_us
from projections.unanswered import Unanswered
from schemas import events
from schemas.record import Event

__all__ = ["RULES", "C", "OnePerson", "P", "care", "clocks", "kinds", "linked", "mail", "mingled", "missed", "net", "open_alerts", "shop", "under"]

P: Final = "cu-p"
"""The customer who is linked."""

C: Final = "cu-c"
"""The customer who stays."""

RULES: Final = Rulebook(
    version=1,
    effective_at_us=0,
    policies=(
        Policy(
            id="mail",
            when='channel == "email"',
            targets={"first_response": 3600},
            answered_by="any_channel",
            escalation=(LadderStep(after_s=0, to="role:lead"), LadderStep(after_s=1800, to="role:head")),
        ),
    ),
    unanswered=(UnansweredRule(id="missed", when='type == "contact.abandoned"', answer_within_s=3600),),
)
"""Mail is promised an answer within an hour, from anybody; a missed call is one that nobody answered within the hour."""


def care() -> tuple[Projection[Any], ...]:
    """Return the projections of the care group."""
    return (Sla(), Unanswered(), Alerts(), Escalation(), Desk(), ServiceLevels())


def under(event: Event, customer_id: str, home: str | None = None, **header: object) -> Event:
    """Return an event as it lies under a customer's key."""
    changed = msgspec.structs.replace(event.header, customer_id=customer_id, home_customer_id=home or customer_id, **header)
    return msgspec.structs.replace(event, header=changed)


class OnePerson:
    """A world, and what must be copied from P to C."""

    def __init__(self, book: Rulebook, of: Iterable[Projection[Any]] | None = None) -> None:
        self.world = World(care() if of is None else of, config=Config((book,)))
        self._of_p: list[tuple[Event, int]] = []
        self._copied = 0
        self._moved = 0

    def happen(self, *happening: Event) -> "OnePerson":
        """Append events, each at its time or now if that is over."""
        for event in happening:
            self.world.append(event, appended_us=max(self.world.now_us, event.header.occurred_at_us))
            if event.header.customer_id == P and not isinstance(event, events.IdentityLinked):
                self._of_p.append((event, self.world.now_us))
        return self

    def link(self, key: str, at: str | int) -> Event:
        """Return the link as it lies under a customer's key."""
        return make(events.IdentityLinked, id=f"link-{at}", at=at, customer=key, handle=handle("email", "ann"), from_=P, to=C, evidence="login")

    def copies(self) -> list[Event]:
        """Return the next run of copies: all of P's records that are not copied yet, and the record that ends the run."""
        run = [
            under(event, C, event.header.home_customer_id, origin_customer_id=P, origin_offset=self._copied + number, appended_at_us=appended_us)
            for number, (event, appended_us) in enumerate(self._of_p[self._copied :])
        ]
        self._copied += len(run)
        now_us = self.world.now_us
        end = make(
            events.IdentityCopied, id=f"copied-{self._copied}", at=now_us, customer=C, from_=P, home=P, to=C, last_offset=self._copied, write_ts_us=0
        )
        return [*run, end]

    def moved(self) -> list[Event]:
        """Return what has been handed over since it was asked last."""
        new, self._moved = self.world.effects[self._moved :], len(self.world.effects)
        return [effect.payload for effect in new if isinstance(effect.payload, events.ClockMoved)]

    def said(self, kind: str) -> list[tuple[str, Any]]:
        """Return under whom something was told, and the event, for each time."""
        return [(effect.key, effect.payload) for effect in self.world.effects if effect.kind == kind]


def mingled(rng: random.Random, streams: Sequence[Sequence[Event]]) -> list[Event]:
    """Mix streams, each of which keeps its order."""
    waiting = [list(stream) for stream in streams if stream]
    found = []
    while waiting:
        stream = rng.choice(waiting)
        found.append(stream.pop(0))
        waiting = [one for one in waiting if one]
    return found


_TELLS: Final = {"sla.breached": 1, "sla.breach_retracted": -1, "unanswered.detected": 1, "alert.raised": 1, "alert.resolved": -1}


def net(effects: Iterable[Effect]) -> dict[tuple[object, ...], int]:
    """Return what people think by now, for each clock, contact and alert: told less taken back. What was told under both counts once."""
    said: dict[str, tuple[tuple[object, ...], int]] = {}
    for effect in effects:
        payload: Any = effect.payload
        sign = _TELLS.get(effect.kind, 0)
        if effect.kind == "unanswered.cleared" and payload.turn % 2:
            sign = -1
        if not sign:
            continue
        header = payload.header
        what: tuple[object, ...]
        match effect.kind.partition(".")[0]:
            case "sla":
                what = ("clock", header.home_customer_id, header.conversation_id, payload.metric, payload.instance)
            case "unanswered":
                what = ("contact", header.home_customer_id, header.contact_id, payload.rule)
            case _:
                what = ("alert", payload.alert_id)
        said[header.id] = (what, sign)
    total: Counter[tuple[object, ...]] = Counter()
    for what, sign in said.values():
        total[what] += sign
    return {what: count for what, count in total.items() if count}


# -- one day of theirs


def mail(customer: str, at: str = "09:00", **fields: Any) -> Event:
    """Let a customer write a mail."""
    return message_received(id=f"m-{at}", at=at, customer=customer, conversation_id="c-9", **fields)


def shop(customer: str, at: str = "09:30", **fields: Any) -> Event:
    """Let the shop answer a customer."""
    return message_sent(id=f"r-{at}", at=at, customer=customer, conversation_id="s-1", channel="store", actor_team="shop", **fields)


def kinds(person: OnePerson, *families: str) -> list[tuple[str, str]]:
    """Return (kind, under whom) of what was told, of some families."""
    return [(e.kind, e.key) for e in person.world.effects if e.kind.split(".")[0] in families]


def clocks(person: OnePerson) -> list[tuple[object, ...]]:
    """Return the clocks: whose, of which conversation, as they stand."""
    rows = person.world.rows()["clock"]
    return [(row["customer_id"], row["conversation_id"], row["state"], row["consumed_us"]) for row in rows]


def open_alerts(person: OnePerson) -> list[dict[str, Any]]:
    """Return the alerts that somebody still has to look after."""
    return [row for row in person.world.rows()["alert"] if row["state"] not in {"resolved", "moved"}]


def linked(person: OnePerson, at: str) -> list[list[Any]]:
    """Link P, and return what then comes under C: the link, the copies, what was handed over."""
    person.world.advance_to(time_us(at))
    person.happen(person.link(P, at))
    return [[person.link(C, at)], person.copies(), person.moved()]


def missed(customer: str, at: str = "09:00", contact: str = "k-1") -> Event:
    """Let a customer give a call up."""
    return contact_abandoned(id=f"{contact}-{at}", at=at, customer=customer, contact_id=contact)
