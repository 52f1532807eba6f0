"""A customer who waits in the care group when it is linked: what had been told of it goes along when it is retried."""

import asyncio
from typing import Any

import pytest

from projections.customer import Customer
from projections.kernel import Moment, Step
from projections.sla.clocks import Sla
from schemas.record import Event
from tests.support.linked_log import MINUTE, VIEW, LinkedLog, Worker, differences, quiet
from tests.support.one_person import net
from touchline.errors import Poison

P, C = "p1", "c0"

READ = ("alert_id", "customer_id", "name", "state", "acknowledged_by")


class Ticking(LinkedLog):
    """A log on which what is appended because of a record comes later than that, as on a broker."""

    def append(self, key: str, value: bytes) -> None:
        self.now_us += 1000
        super().append(key, value)


async def followed(monkeypatch: pytest.MonkeyPatch, *, waits: bool, late: bool, told: bool) -> Worker:
    """Let P, of whom something was `told` by now, be linked to C, who answers him. Maybe P waits then, and is retried before that or `late`."""
    log = Ticking()
    worker = await Worker(log).open()
    log.said("m", P, P)
    log.said("d", C, C)
    log.now_us += (70 if told else 10) * MINUTE
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
        log.now_us += (0 if told else 60) * MINUTE
        log.wake(P)
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
@pytest.mark.parametrize("told", [True, False])
def test_what_was_told_of_whoever_waited_when_he_was_linked_is_the_others_once_he_is_retried(
    monkeypatch: pytest.MonkeyPatch, *, late: bool, told: bool
) -> None:
    waited, flowed = (asyncio.run(followed(monkeypatch, waits=waits, late=late, told=told)) for waits in (True, False))
    assert net(waited.effects) == net(flowed.effects)
    if told:
        assert stood(waited) == stood(flowed)
    else:  # what came due while he waited, and was answered then, was told to nobody
        assert [row for row in stood(waited) if "resolved" not in row] == [row for row in stood(flowed) if "resolved" not in row]


def test_a_retry_in_a_version_that_does_not_speak_leaves_the_rows_of_whom_he_was_linked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """The version that speaks has copied his records long ago: what the other customer wrote of his conversations is not written again."""
    apply = Customer.apply

    def broken(self: Customer, state: Any, event: Event, at: Moment) -> Step[Any]:
        if event.header.id == "bad" and event.header.customer_id == P:
            raise Poison("poisoned")
        return apply(self, state, event, at)

    async def story() -> tuple[Worker, Worker]:
        log = Ticking()
        speaking, silent = await Worker(log).open(), await Worker(log, speaks=False).open()

        async def follow() -> None:
            for _ in range(4):  # what the one appends the other reads
                await speaking.follow()
                with monkeypatch.context() as fault:
                    fault.setattr(Customer, "apply", broken)
                    await silent.follow()

        log.said("m", P, P)
        log.said("bad", P, P, conversation="p1/y")
        await follow()
        log.link(P, C)
        await follow()
        log.said("r", P, C, answer=True, conversation="p1/x")
        await follow()
        assert [row["customer"] for row in await silent.into.scan("parked_customer") if row["name"] == "view"] == [P]
        log.rebuild(P, "retry")
        await speaking.follow()
        await silent.follow()
        assert await silent.into.scan("parked_customer") == []
        return speaking, silent

    speaking, silent = asyncio.run(story())
    assert differences(speaking.into, silent.into, VIEW) == []


def stood(worker: Worker) -> list[tuple[object, ...]]:
    """Return how alerts and clocks stand."""
    rows = asyncio.run(worker.into.scan("alert_v1")), asyncio.run(worker.into.scan("clock_v1"))
    alerts = [tuple(row[name] for name in READ) for row in rows[0]]
    clocks = [tuple(row[name] for name in ("customer_id", "conversation_id", "metric", "state", "due_at")) for row in rows[1]]
    return sorted([*alerts, *clocks], key=str)
