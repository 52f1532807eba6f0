"""What the operator is shown: events, handles and customers, with what became of their sealed parts. Values only."""

from typing import Any, NamedTuple

from schemas.sealing import Opened, Opening, Unreadable, Withheld
from streams.care_view import CustomerCare
from streams.customer_view import CustomerView
from streams.plain import event_json, record_json, utc
from streams.timeline_row import TimelineRow
from touchline.purposes import WITHHELD, Flag

__all__ = ["ShownCustomer", "ShownEvent", "ShownHandle", "state_of"]


class ShownEvent(NamedTuple):
    """An event of the timeline and what became of its sealed part; `closed` where nobody tried to open it."""

    row: TimelineRow
    opening: Opening | None
    closed: bool = False

    def json(self) -> dict[str, Any]:
        """Return the public JSON form.

        `sealed` is `opened`, `erased`, `unreadable` or `withheld` (both with a `reason`), `none`, or `sealed`: left closed.
        """
        opening = self.opening
        state = "sealed" if self.closed and self.row.sealed is not None else state_of(opening)
        personal = opening.personal if isinstance(opening, Opened) else None
        return {
            "kind": "event",
            **event_json(self.row),
            "sealed": state,
            "reason": opening.reason if isinstance(opening, Unreadable | Withheld) else None,
            "subject": personal and personal.subject,
            "text": personal and personal.text,
            "attributes": personal.attributes if personal else {},
        }


class ShownHandle(NamedTuple):
    """A handle of a customer: its value if it could be opened, and in a word what became of it (as `ShownEvent.json` says)."""

    kind: str
    value: str | None
    state: str
    verified: bool
    first_seen_us: int


class ShownCustomer(NamedTuple):
    """A customer's view with its handles opened and the newest events; `next_cursor` leads to those before.

    `asked` is the customer who was asked for: another one, if that was merged into this one.
    `care` are the clocks and alerts; None where there never were any. `flag` says until when the customer needs special care, None if
    that is not so, and `Withheld` for whoever may not know.
    """

    view: CustomerView
    handles: list[ShownHandle]
    newest: list[ShownEvent]
    next_cursor: str | None
    asked: str
    care: CustomerCare | None = None
    flag: Flag | Withheld | None = None

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        view, as_of = self.view, self.view.as_of
        return {
            "customer_id": view.customer_id,
            "tenant": view.tenant,
            "asked_id": self.asked,
            "canonical_id": view.canonical_id,
            "erased_at": None if view.erased_at_us is None else utc(view.erased_at_us),
            "as_of": None if as_of is None else {"version": view.version, **record_json(as_of)},
            "handles": [
                {"kind": h.kind, "value": h.value, "sealed": h.state, "verified": h.verified, "first_seen": utc(h.first_seen_us)}
                for h in self.handles
            ],
            "open_conversations": record_json(view.open_conversations)["conversations"],
            "last_contacts": record_json(view.last_contacts)["contacts"],
            "preferences": record_json(view.preferences),
            "care": None if self.care is None else self.care.json(),
            "vulnerability": _flag_json(self.flag),
            "unreadable_facets": list(view.unreadable),
            "timeline": [event.json() for event in self.newest],
            "next_cursor": self.next_cursor,
        }


def state_of(opening: Opening | None) -> str:
    """Return in one word what became of a sealed part."""
    if opening is None:
        return "none"
    if isinstance(opening, Opened):
        return "opened"
    if isinstance(opening, Withheld):
        return WITHHELD
    return "unreadable" if isinstance(opening, Unreadable) else "erased"


def _flag_json(flag: Flag | Withheld | None) -> dict[str, str] | str | None:
    if flag is None:
        return None
    return WITHHELD if isinstance(flag, Withheld) else {"since": utc(flag.since_us), "until": utc(flag.until_us)}
