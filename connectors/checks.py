"""What no draft may be: from the future, or in contradiction to itself or to what was said before. Pure.

Only what is wrong for certain is quarantined here; what is merely strange goes on. Certain contradictions are:

- a received message that is outbound or written by an agent, a sent one that is inbound or written by the customer;
- a community reply said to be by staff whose actor is the customer;
- an event that corrects itself, or a case merged into itself or split from itself;
- a second record with the source and id of an earlier one, but another content (`Repeats`).

The size limit is the codec's: whoever encodes quarantines what is too large.
"""

from collections.abc import Callable
from typing import Final, Literal

from connectors.contract import Draft, Rejected

__all__ = ["REMEMBERED", "Repeats", "check", "id_reused"]

REMEMBERED: Final = 200_000
"""How many records back a repeated id is recognised, at the most; half of that at the least. About 40 MB."""


def check(draft: Draft, *, now_us: int, future_max_s: int, line: int | None = None) -> Rejected | None:
    """Return why a draft is quarantined, or None if it may go on. `now_us` is the time of receipt, epoch µs.

    Hot path: 0.3 µs.
    """
    if draft.occurred_at_us > now_us + future_max_s * 1_000_000:
        return _quarantined(draft, line, "future_dated", f"its event time lies more than {future_max_s} s ahead")
    found = _CONTRADICTIONS.get(draft.type)
    if found is not None and found(draft):
        return _quarantined(draft, line, "contradictory", f"a {draft.type} cannot have this direction, actor or target")
    if draft.corrects is not None and draft.corrects == draft.id:
        return _quarantined(draft, line, "contradictory", "it corrects itself")
    return None


class Repeats:
    """Remembers what was seen in this run: a repeat with the same content is harmless, one with another is not.

    Holds 64-bit hashes of the last records in two generations, so that it stays small over a file of any length.
    """

    __slots__ = ("_new", "_old", "_size")

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._size = max(1, remembered // 2)
        self._new: dict[int, int] = {}
        self._old: dict[int, int] = {}

    def look(self, draft: Draft, content: bytes) -> Literal["new", "repeat", "other"]:
        """Take a record in: `new`, a `repeat` of an earlier one, or the id of an earlier one with `other` content. 0.5 µs."""
        name, body = hash((draft.tenant, draft.source, draft.id)), hash(content)
        known = self._new.get(name)
        if known is None:
            known = self._old.get(name)
        if known is None:
            if len(self._new) >= self._size:
                self._old, self._new = self._new, {}
            self._new[name] = body
            return "new"
        return "repeat" if known == body else "other"


def id_reused(draft: Draft, line: int | None) -> Rejected:
    """Return the rejection of a record whose id an earlier one of the same source has with other content."""
    return _quarantined(draft, line, "id_reused", "an earlier record of this source has the same id and another content")


def _quarantined(draft: Draft, line: int | None, reason: str, what: str) -> Rejected:
    where = f"line {line}: " if line is not None else ""
    return Rejected("quarantined", reason, f"{where}{what}.", line, draft.source)


_CONTRADICTIONS: Final[dict[str, Callable[[Draft], bool]]] = {
    "message.received": lambda draft: draft.direction == "outbound" or draft.actor.kind == "agent",
    "message.sent": lambda draft: draft.direction == "inbound" or draft.actor.kind == "customer",
    "thread.replied": lambda draft: draft.actor.kind == "customer" and draft.fields.get("by_staff") is True,
    "case.merged": lambda draft: draft.case_id is not None and draft.fields.get("into") == draft.case_id,
    "case.split": lambda draft: draft.case_id is not None and draft.fields.get("from") == draft.case_id,
}
