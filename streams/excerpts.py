"""An event in one line of text, and a conversation's way through the channels: for terminals and for the 360° page. Values only."""

from collections.abc import Iterable, Sequence
from typing import Final

from schemas.sealing import Erased, Opened, Opening, Unreadable, Withheld
from streams.plain import summary_json
from streams.timeline_row import TimelineRow

__all__ = ["clean", "counted", "excerpt", "journey", "journeys"]

_JOINERS: Final = "\u200c\u200d"
"""Zero-width (non-)joiners: format characters that some scripts and emoji need."""


def clean(text: str, chars_max: int = 400) -> str:
    """Return a text of others in one line, safe for a terminal: no control or direction characters, white space folded."""
    head = text[: chars_max * 4]
    line = " ".join("".join(c if c.isprintable() or c in _JOINERS else " " for c in head).split())
    return line if len(line) <= chars_max and len(text) == len(head) else line[:chars_max] + "…"


def counted(n: int, one: str, many: str = "") -> str:
    """Return how many there are of something: `1 entry`, `2,000 entries`. `many` where that is not `one` with an s."""
    return f"{n:,} {one if n == 1 else many or f'{one}s'}"


def excerpt(row: TimelineRow, opening: Opening | None, *, closed: bool = False) -> str:
    """Return what an event says: its text, else its own clear fields; with a word on a sealed part that is not open.

    `closed`: nobody tried to open it.
    """
    parts: list[str] = []
    if isinstance(opening, Opened):
        parts = [clean(part) for part in (opening.personal.subject, opening.personal.text) if part]
        if parts:
            return " — ".join(parts)
    elif isinstance(opening, Erased):
        parts = ["(erased)"]
    elif isinstance(opening, Unreadable):
        parts = [f"(unreadable: {opening.reason})"]
    elif isinstance(opening, Withheld):
        parts = ["(withheld)"]
    elif closed and row.sealed is not None:
        parts = ["(sealed)"]
    fields = ", ".join(f"{name.removeprefix('attributes.')} {clean(value)}" for name, value in summary_json(row.summary).items())
    return " ".join([*parts, fields]).strip()


def journey(channels: Sequence[str]) -> str:
    """Return the way of a conversation: `started in phone, continued in email`; channels in order of first use."""
    if not channels:
        return ""
    first, *others = channels
    return f"started in {first}, continued in {', '.join(others)}" if others else f"in {first}"


def journeys(rows: Iterable[TimelineRow]) -> dict[str, tuple[str, ...]]:
    """Return, by conversation, the channels of those that use several, in order of first use; `rows` are newest first."""
    seen: dict[str, dict[str, None]] = {}
    for row in reversed(list(rows)):
        if row.conversation_id and not row.hidden:
            seen.setdefault(row.conversation_id, {})[row.channel] = None
    return {conversation: tuple(channels) for conversation, channels in seen.items() if len(channels) > 1}
