"""Histories of customers by mail and phone, and what the view makes of them per event, without log and store.

`python -m benchmarks.folding` prints the figures that the docstrings of the view's projections name.
"""

import random
import time
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec

from projections.kernel import Config, Moment, Subject
from projections.registry import GROUPS
from projections.testing import contact_completed, contact_connected, contact_initiated, contact_queued, handle, make, message_received, message_sent
from schemas import events
from schemas.record import Event

MAIL = (message_received, message_sent, message_received, message_sent)
CALL = (contact_initiated, contact_queued, contact_connected, contact_completed)
HOUR_US = 3_600_000_000
START_US = 1_768_208_400_000_000
_CONFIG = Config()


def histories(count: int) -> list[list[Event]]:
    """Return `count` events or a few more: customers with one to four conversations, by mail or phone, ids of 36 characters."""
    rng = random.Random(7)  # noqa: S311 - a benchmark repeats itself
    customers: list[list[Event]] = []
    while sum(map(len, customers)) < count:
        customer, at_us = _id(rng), START_US + rng.randrange(720) * HOUR_US
        history: list[Event] = []
        for _ in range(rng.randint(1, 4)):
            kinds, reached = (MAIL, handle("email", customer)) if rng.getrandbits(1) else (CALL, handle("phone", customer))
            common: dict[str, Any] = {"customer": customer, "conversation_id": _id(rng), "handles": (reached,)}
            for build in kinds:
                at_us += rng.randrange(HOUR_US)
                history.append(build(id=_id(rng), at=at_us, sealed=b"x" * 300, sealed_key="k/1", actor_team="mail", **common))
            if kinds is MAIL:
                history.append(make(events.ConversationResolved, id=_id(rng), at=at_us, actor_kind="agent", **common))
        customers.append(history)
    return customers


def fold(projections: Sequence[Any], customers: list[list[Event]]) -> tuple[float, list[list[Any]]]:
    """Return (CPU µs per event, the states of every customer)."""
    offset, ended = 0, []
    began = time.process_time()
    for history in customers:
        states = [p.initial(Subject("acme", "")) for p in projections]
        for event in history:
            at = Moment(event.header.occurred_at_us, event.header.occurred_at_us, 3, offset, _CONFIG)
            offset += 1
            for number, projection in enumerate(projections):
                states[number] = projection.apply(states[number], event, at).state
        ended.append(states)
    return (time.process_time() - began) / offset * 1e6, ended


def _id(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128)))


if __name__ == "__main__":
    everybody = histories(50_000)
    chosen = {p.name: (p,) for p in GROUPS["view"].projections} | {"both": GROUPS["view"].projections, "loop alone": ()}
    for name, projections in chosen.items():
        print(f"{name}: {min(fold(projections, everybody)[0] for _ in range(7)):.2f} µs per event")  # noqa: T201 - a script
    for number, projection in enumerate(GROUPS["view"].projections):
        sizes = sorted(len(msgspec.msgpack.encode(states[number])) for states in fold(GROUPS["view"].projections, everybody)[1])
        print(f"{projection.name} state: median {sizes[len(sizes) // 2]}, p95 {sizes[len(sizes) * 95 // 100]}, max {sizes[-1]} bytes")  # noqa: T201
