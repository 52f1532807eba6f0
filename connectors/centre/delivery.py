"""When the centre's systems hand their events over: at once, but for those that a gateway, a till or a mailbox held back.

Late evidence is what a real centre has: the agent answered in time, and the clock could not know. Must not know clocks.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from hashlib import blake2b
from heapq import heappop, heappush
from typing import Any, Final

__all__ = ["LATE", "delay_s", "delivered", "late_lines"]

LATE: Final[dict[tuple[str, str], tuple[float, int, int]]] = {
    ("message.sent", "webchat"): (0.15, 25, 75),
    ("message.sent", "email"): (0.04, 120, 900),
    ("store.service_given", "store"): (0.5, 60, 600),
}
"""(type, channel) -> (share that comes late, by at least and at most so many seconds).

A chat gateway that reconnects, a mailbox that is polled again later, a till that sends in batches.
"""

_LOTS: Final = 1 << 32


def delay_s(event: dict[str, Any]) -> float:
    """Return by how many seconds an event comes late, mostly 0. It hangs on the event's id, so the same day is late alike."""
    share, low_s, high_s = LATE.get((event["type"], event["data"]["channel"]), (0.0, 0, 0))
    if not share:
        return 0.0
    lot = int.from_bytes(blake2b(event["id"].encode(), digest_size=8).digest())
    return low_s + (high_s - low_s) * (lot // _LOTS / _LOTS) if lot % _LOTS < share * _LOTS else 0.0


def delivered(events: Iterable[dict[str, Any]]) -> Iterator[tuple[datetime, dict[str, Any]]]:
    """Yield (when it is handed over, event) in that order, of events in order of their time."""
    held: list[tuple[datetime, int, dict[str, Any]]] = []
    for number, event in enumerate(events):
        at = datetime.fromisoformat(event["time"])
        while held and held[0][0] <= at:
            late = heappop(held)
            yield late[0], late[2]
        if delay := delay_s(event):
            heappush(held, (at + timedelta(seconds=delay), number, event))
        else:
            yield at, event
    while held:
        late = heappop(held)
        yield late[0], late[2]


def late_lines(events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield events in the order in which they are handed over; what comes late says when, in `appendedat`."""
    for at, event in delivered(events):
        yield event if at == datetime.fromisoformat(event["time"]) else {**event, "appendedat": at.isoformat().replace("+00:00", "Z")}
