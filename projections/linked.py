"""What a customer's projections keep of links to others (log.md §5): to whom it is linked, who is linked to it, and what those handed over.

Records of one customer and of another come in any order among each other. So what was handed over waits until all copies are there
that it speaks of, and whoever comes later finds both. Must not know clocks, contacts or alerts.
"""

from typing import Final, NamedTuple

import msgspec

from projections.effect_ids import effect_id
from projections.sla.signals import CauseHanded
from schemas import events
from schemas.events import Header
from schemas.record import Event

__all__ = ["HANDED_MAX", "LINKS", "UNANSWERED", "Handed", "Links", "Speaker", "handed_over", "is_copy"]

LINKS: Final[frozenset[type[Event]]] = frozenset(
    {events.IdentityLinked, events.IdentityCopied, events.IdentityUnlinked, events.ClockMoved, events.PrivacyErased}
)
"""The event types that say who is linked to whom, what was handed over, and that a person was forgotten."""

UNANSWERED: Final = "unanswered"
"""The metric of `clock.moved` for a contact that nobody answered."""

HANDED_MAX: Final = 512
"""What was handed over and waits for its copies: above it the oldest is given up; its alert is closed where it came from."""

_ORIGINS_MAX: Final = 128
"""Customers linked to one that are remembered: more than its handles may be (log.md §4)."""


class Handed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one `clock.moved` says. `key` is the conversation, of a contact nobody answered the contact; `thread` its conversation.

    `until_us`: up to when it was told of there, epoch µs; 0 while it is only being handed over.
    """

    origin: str
    home: str
    key: str
    metric: str
    rule: str
    instance: int
    announced: bool
    acknowledged: bool
    turn: int
    at_us: int
    alert: str
    thread: str
    channel: str
    case: str | None
    until_us: int = 0

    @classmethod
    def of(cls, event: events.ClockMoved) -> "Handed":
        """Read it from its record."""
        header = event.header
        return cls(
            event.origin,
            event.home,
            event.conversation,
            event.metric,
            event.rule,
            event.instance,
            event.announced,
            event.acknowledged,
            event.turn,
            event.at_us,
            event.alert,
            header.conversation_id or event.conversation,
            header.channel,
            header.case_id,
            header.received_at_us,
        )


class Links(msgspec.Struct, array_like=True, gc=False):
    """The links of one customer. `to`: whom it is linked to, "" nobody, as of `turn`; `link`: the id of the record that said so first.

    `since`: the customers linked to this one, and when (epoch µs, as the link's record says); `copied`: those of them whose
    copies were all there once; `waiting`: what was handed over and waits for them. `erased`: the person was forgotten.
    """

    to: str = ""
    link: str = ""
    since: dict[str, int] = {}
    copied: list[str] = []
    waiting: list[Handed] = []
    erased: bool = False
    turn: int = -1

    @property
    def quiet(self) -> bool:
        """Whether nothing is told under this customer any more: another one has it all, or nobody may."""
        return self.erased or bool(self.to)

    def leave(self, event: events.IdentityLinked) -> bool:
        """Take note that this customer was linked to another; tell whether it stood alone until then. What was said before is over."""
        if event.turn < self.turn:
            return False
        first = not self.to
        self.to, self.turn = event.to, event.turn
        self.link = self.link or event.header.id
        return first

    def come_back(self, event: events.IdentityUnlinked) -> bool:
        """Take note that the link was undone; tell whether it stood until then. Whoever went `back` to another one stays linked to that one."""
        if event.turn < self.turn or not self.to or event.back == self.to:
            return False
        self.to, self.link, self.turn = "", "", event.turn
        return True

    def gain(self, origin: str, at_us: int) -> None:
        """Take note that another customer was linked to this one."""
        self.since.setdefault(origin, at_us)
        while len(self.since) > _ORIGINS_MAX:
            del self.since[next(iter(self.since))]

    def lose(self, origin: str) -> None:
        """Take note that another customer stands alone again: what it handed over is its own."""
        self.since.pop(origin, None)
        self.copied = [one for one in self.copied if one != origin]
        self.waiting = [one for one in self.waiting if origin not in {one.origin, one.home}]

    def all_there(self, origin: str) -> None:
        """Take note that all copies from a customer are there."""
        if origin not in self.copied:
            self.copied = [*self.copied, origin][-_ORIGINS_MAX:]

    def expect(self, handed: Handed) -> None:
        """Keep what was handed over until its copies are there."""
        self.waiting = [*self.waiting, handed][-HANDED_MAX:]

    def ready(self, customer_id: str) -> list[Handed]:
        """Take out what waits no longer: the copies from whom it comes from are there, and those of its own home."""
        there = {customer_id, *self.copied}
        found = [one for one in self.waiting if one.origin in self.copied and one.home in {*there, one.origin}]
        if found:
            self.waiting = [one for one in self.waiting if one not in found]
        return sorted(found, key=_due)


def is_copy(header: Header) -> bool:
    """Tell whether a record is a copy of another customer's."""
    return header.origin_customer_id is not None


class Speaker(NamedTuple):
    """Who hands over, and when: the effects' source, the tenant, the customer who was linked away; event and append time, epoch µs."""

    source: str
    tenant: str
    customer_id: str
    occurred_us: int
    appended_us: int


def handed_over(links: Links, cause_id: str, handed: Handed, by: Speaker) -> CauseHanded:
    """Return what tells the other customer of a cause: a `clock.moved` without what only the alerts know.

    `cause_id` "": it had been handed over to this customer, who is linked on; a link points to a root, and so does what it brings.
    """
    parts = (handed.key, handed.home, "clock.moved", handed.metric, handed.rule, handed.instance, handed.turn, by.customer_id, links.link)
    header = Header(
        id=effect_id(by.source, *parts),
        source=by.source,
        tenant=by.tenant,
        channel=handed.channel or "other",  # type: ignore[arg-type]  # it came out of a header
        direction="internal",
        occurred_at_us=by.occurred_us,
        received_at_us=handed.until_us or by.appended_us,
        customer_id=links.to,
        home_customer_id=handed.home,
        contact_id=handed.key if handed.metric == UNANSWERED else None,
        conversation_id=handed.thread,
        case_id=handed.case,
        causation_id=links.link,
    )
    moved = events.ClockMoved(
        header=header,
        origin=by.customer_id,
        home=handed.home,
        conversation=handed.key,
        metric=handed.metric,
        rule=handed.rule,
        instance=handed.instance,
        announced=handed.announced,
        acknowledged=handed.acknowledged,
        turn=handed.turn,
        at_us=handed.at_us,
        alert=handed.alert,
    )
    return CauseHanded(cause_id=cause_id, moved=moved)


def _due(handed: Handed) -> tuple[int, str, str, int]:
    return (handed.at_us, handed.key, handed.metric, handed.instance)
