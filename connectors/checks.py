"""What no draft may be: from the future, or in contradiction to itself or to what was said before. Pure.

Only what is wrong for certain is quarantined here; what is merely strange goes on. Certain contradictions are:

- a received message that is outbound or written by an agent, a sent one that is inbound or written by the customer;
- a community reply said to be by staff whose actor is the customer;
- an event that corrects itself, or a case merged into itself or split from itself;
- a second record with the source and id of an earlier one, but another content (`Repeats`).

Special-category data is held for a time: a `vulnerability.flagged` or `.extended` says until when, which lies ahead and not too far.

The size limit is the codec's: whoever encodes quarantines what is too large.
"""

import re
from collections.abc import Callable
from typing import Final, Literal

from connectors.contract import Draft, Rejected

__all__ = ["REMEMBERED", "VULNERABILITY_DAYS_MAX", "Repeats", "check", "id_reused"]

REMEMBERED: Final = 200_000
"""How many records back a repeated id is recognised, at the most; half of that at the least. About 40 MB."""


VULNERABILITY_DAYS_MAX: Final = 730
"""For how long a customer may be flagged as vulnerable at once, where no setting says otherwise."""

_DAY_US: Final = 86_400_000_000
_WORD: Final = re.compile(r"[A-Za-z0-9._-]{0,64}", re.ASCII)


def check(
    draft: Draft, *, now_us: int, future_max_s: int, vulnerability_days_max: int = VULNERABILITY_DAYS_MAX, line: int | None = None
) -> Rejected | None:
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
    if draft.type.startswith("vulnerability."):
        return _special(draft, now_us, vulnerability_days_max, line)
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


def _special(draft: Draft, now_us: int, days_max: int, line: int | None) -> Rejected | None:
    """Look at an event of special-category data: what it says in clear must be a time or a word, and it must end."""
    outcome = draft.fields.get("outcome")
    if isinstance(outcome, str) and _WORD.fullmatch(outcome) is None:
        return _quarantined(draft, line, "not_a_word", "its `outcome` is no short word; a text belongs into `text`, which is sealed")
    if draft.type not in _EXPIRING:
        return None
    expires_at_us = draft.fields.get("expires_at_us")
    if not isinstance(expires_at_us, int):
        return _quarantined(draft, line, "expiry_missing", f"a {draft.type} must say when it ends (`expires_at`)")
    if expires_at_us <= max(now_us, draft.occurred_at_us):
        return _quarantined(draft, line, "expiry_past", "its `expires_at` is over already: what is no longer needed is not taken in")
    if expires_at_us - draft.occurred_at_us > days_max * _DAY_US:
        return _quarantined(draft, line, "expiry_too_far", f"its `expires_at` lies more than {days_max} days after it")
    return None


def _quarantined(draft: Draft, line: int | None, reason: str, what: str) -> Rejected:
    where = f"line {line}: " if line is not None else ""
    return Rejected("quarantined", reason, f"{where}{what}.", line, draft.source)


_EXPIRING: Final = frozenset({"vulnerability.flagged", "vulnerability.extended"})
_CONTRADICTIONS: Final[dict[str, Callable[[Draft], bool]]] = {
    "message.received": lambda draft: draft.direction == "outbound" or draft.actor.kind == "agent",
    "message.sent": lambda draft: draft.direction == "inbound" or draft.actor.kind == "customer",
    "thread.replied": lambda draft: draft.actor.kind == "customer" and draft.fields.get("by_staff") is True,
    "case.merged": lambda draft: draft.case_id is not None and draft.fields.get("into") == draft.case_id,
    "case.split": lambda draft: draft.case_id is not None and draft.fields.get("from") == draft.case_id,
}
