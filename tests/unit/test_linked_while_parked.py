"""A customer who waits in the care group when it is linked: what had been told of it goes along when it is retried."""

import asyncio
from typing import Any

import pytest

from projections.kernel import Moment, Step
from projections.sla.clocks import Sla
from schemas.record import Event
from tests.support.linked_log import MINUTE, LinkedLog, Worker, quiet
from tests.support.one_person import net
from touchline.errors import Poison

P, C = "p1", "c0"

READ = ("alert_id", "customer_id", "name", "state", "acknowledged_by")


class Ticking(LinkedLog):
    """A log on which what is appended because of a record comes later than that, as on a broker."""

    def append(self, key: str, value: bytes) -> None:
        self.now_us += 1000
        super().append(key, value)


async def followed(monkeypatch: pytest.MonkeyPatch, *, waits: bool, late: bool) -> Worker:
    """Let P, of whom something was told by now, be linked to C, who answers him. Maybe P waits then, and is retried before that or `late`."""
    log = Ticking()
    worker = await Worker(log).open()
    log.said("m", P, P)
    log.said("d", C, C)
    log.now_us += 70 * MINUTE
    log.wake(P)
    await worker.follow()
    apply = Sla.apply

    def broken(self: Sla, state: Any, event: Event, at: Moment) -> Step[Any]:
        if event.header.id == "bad" and event.header.customer_id == P:
            raise Poison("poisoned")
        return apply(self, state, event, at)

    with monkeypatch.context() as fault:
        if waits:
            fault.setattr(Sla, "apply", broken)
        log.said("bad", P, P, conversation="p1/y")
        await worker.follow()
        log.link(P, C)
        await worker.follow()
    assert len(await worker.into.scan("parked_customer")) == waits
    log.now_us += 10 * MINUTE
    if late:
        log.said("r", C, C, answer=True, conversation="p1/x")
        await worker.follow()
    log.rebuild(P, "retry")
    await worker.follow()
    if not late:
        log.said("r", C, C, answer=True, conversation="p1/x")
    assert await worker.into.scan("parked_customer") == []
    return await quiet(worker, (P, C))


@pytest.mark.parametrize("late", [False, True])
def test_what_was_told_of_whoever_waited_when_he_was_linked_is_the_others_once_he_is_retried(monkeypatch: pytest.MonkeyPatch, late: bool) -> None:  # noqa: FBT001
    waited, flowed = (asyncio.run(followed(monkeypatch, waits=waits, late=late)) for waits in (True, False))
    assert net(waited.effects) == net(flowed.effects)
    assert stood(waited) == stood(flowed)


def stood(worker: Worker) -> list[tuple[object, ...]]:
    """Return how alerts and clocks stand."""
    rows = asyncio.run(worker.into.scan("alert_v1")), asyncio.run(worker.into.scan("clock_v1"))
    alerts = [tuple(row[name] for name in READ) for row in rows[0]]
    clocks = [tuple(row[name] for name in ("customer_id", "conversation_id", "metric", "state", "due_at")) for row in rows[1]]
    return sorted([*alerts, *clocks], key=str)
