"""Marker strings planted where personal data lies, to prove that none of it is ever readable. Works on any public-form events.

A marker goes into a text, a subject, a search, a name, an unknown field (plain or nested), an attribute, or becomes a mail
address, a social id, a cookie or a telephone number. Ids are left alone: by contract they are not personal.
"""

import re
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from typing import Any, NamedTuple

from connectors.centre.numbers import canary
from touchline.errors import Refused

__all__ = ["Planting", "check", "plant"]

Data = dict[str, Any]
_MARKER = re.compile(r"[A-Za-z0-9_-]{4,64}")


class Planting(NamedTuple):
    """Where a marker went. `written` is what to search for: the marker, in lower case for `email`; for `phone` a number."""

    marker: str
    place: str
    written: str
    event_id: str
    type: str


def check(markers: Sequence[str], room: int) -> None:
    """Refuse markers that are not plain, not unique, or more than `room`."""
    if any(_MARKER.fullmatch(marker) is None for marker in markers) or len(set(markers)) != len(markers):
        raise Refused("A marker is not plain or not unique.", reason="marker", next_step="Use 4 to 64 letters, digits, '_' or '-', each marker once.")
    if len(markers) > room:
        raise Refused(f"{len(markers)} markers do not fit: there is room for {room}.", reason="markers", next_step="Simulate more customers.")


def plant(events: Iterable[Data], markers: Sequence[str], planted: MutableMapping[str, Planting], stride: int) -> Iterator[Data]:
    """Pass `events` on, planting a marker in about every `stride`-th event of a customer; `planted` fills by marker as they go by."""
    waiting = {place: list(range(index, len(markers), len(_PLACES)))[::-1] for index, place in enumerate(_PLACES)}
    seen, left = 0, len(markers)
    for event in events:
        if left and event["data"]["customer"]:
            seen += 1
            place = _place(event["data"], waiting, is_turn=seen % stride == 0)
            if place is not None:
                number = (waiting[place] or waiting["subject"]).pop()
                marker = markers[number]
                written = canary(number) if place == "phone" else marker.lower() if place == "email" else marker
                _PLACES[place](event["data"], written)
                planted[marker] = Planting(marker, place, written, event["id"], event["type"])
                left -= 1
        yield event


def _place(data: Data, waiting: dict[str, list[int]], *, is_turn: bool) -> str | None:
    """Choose where in this event the next marker goes. Subjects are rare, so each is taken; what is left of theirs goes elsewhere."""
    if waiting["subject"] and "subject" in data:
        return "subject"
    if not is_turn:
        return None
    fullest = sorted((place for place in waiting if waiting[place] and place != "subject"), key=lambda place: -len(waiting[place]))
    if not fullest:
        return "unknown_field"
    return next((place for place in fullest if place != "text" or "text" in data), None)


def _handle(data: Data, kind: str, value: str) -> None:
    data["customer"].append({"kind": kind, "value": value, "verified": False})


def _text(data: Data, marker: str) -> None:
    data["text"] = f"{data['text']} {marker}"


def _subject(data: Data, marker: str) -> None:
    data["subject"] = f"{data['subject']} {marker}"


def _attribute(data: Data, marker: str) -> None:
    data["attributes"] = {**data.get("attributes", {}), "account_manager": marker}


_PLACES: dict[str, Callable[[Data, str], None]] = {
    "text": _text,
    "email": lambda data, marker: _handle(data, "email", f"{marker}@example.org"),
    "unknown_field": lambda data, marker: data.__setitem__("delivery_hint", marker),
    "attribute": _attribute,
    "phone": lambda data, number: _handle(data, "phone", number),
    "name": lambda data, marker: data.__setitem__("display_name", f"Ann {marker}"),
    "unknown_nested": lambda data, marker: data.__setitem__("form", {"answers": [{"question": 1, "answer": marker}]}),
    "social": lambda data, marker: _handle(data, "social", f"@{marker}"),
    "subject": _subject,
    "cookie": lambda data, marker: _handle(data, "cookie", f"ck-{marker}"),
}
