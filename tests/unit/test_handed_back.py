"""Clocks, contacts and alerts of a customer who is taken from one customer and goes back to another: handed over to that one."""

import asyncio
from typing import Any

import pytest

from projections.kernel import Effect
from schemas import events
from schemas.events import Header
from tests.support.linked_log import MINUTE, LinkedLog, Worker, quiet
from tests.support.one_person import net

P, C, D = "p1", "c0", "q2"
ORDERS = pytest.mark.parametrize("given_first", [True, False])
"""Whether P hears of the link to D before it hears that the one to C is undone."""


async def gone_back(log: LinkedLog, worker: Worker, *, given_first: bool) -> Worker:
    """Let P, of whom something was told by now, be linked to C, and go back to D instead."""
    await worker.follow()
    log.link(P, C)
    await worker.follow()
    log.now_us += MINUTE
    log.unlink(P, C, back=D)
    if not given_first:
        await worker.follow()
    log.link(P, D, again=True)
    return await quiet(worker, (P, C, D))


def of(worker: Worker, table: str) -> list[dict[str, Any]]:
    """Return the rows of a table of the care group."""
    return asyncio.run(worker.into.scan(f"{table}_v1"))


def raised(worker: Worker) -> str:
    """Return the alert on the first answer to P's mail."""
    said: list[Any] = [effect.payload for effect in worker.effects if effect.kind == "alert.raised"]
    (found,) = {one.alert_id for one in said if (one.name, one.header.conversation_id) == ("first_response", f"{P}/x")}
    return str(found)


def told(worker: Worker, family: str) -> set[object]:
    """Return of which clocks, or alerts, people think that they are not over."""
    return {what[-1] if family == "alert" else what[1:] for what, n in net(worker.effects).items() if what[0] == family and n == 1}


@ORDERS
def test_what_was_told_of_whoever_goes_back_to_another_customer_is_taken_back_there(given_first: bool) -> None:  # noqa: FBT001
    """D's own thread had answered P in time."""

    async def run() -> Worker:
        log = LinkedLog()
        worker = await Worker(log).open()
        log.said("m", P, P)
        log.now_us += 20 * MINUTE
        log.said("r", D, D, answer=True, conversation="q2/y")
        log.now_us += 100 * MINUTE
        log.wake(P)
        return await gone_back(log, worker, given_first=given_first)

    worker = asyncio.run(run())
    clocks = of(worker, "clock")
    assert {(row["customer_id"], row["state"]) for row in clocks if row["metric"] == "first_response"} == {(D, "met")}
    alerts = {row["alert_id"]: row for row in of(worker, "alert")}
    assert (alerts[raised(worker)]["customer_id"], alerts[raised(worker)]["state"]) == (D, "resolved")
    breached = {(r["home_customer_id"], r["conversation_id"], r["metric"], r["instance"]) for r in clocks if r["state"] == "breached"}
    assert told(worker, "clock") == breached
    assert told(worker, "alert") == {id_ for id_, row in alerts.items() if row["state"] != "resolved"}


@ORDERS
def test_an_alert_that_somebody_has_in_hand_goes_along_and_is_told_once(given_first: bool) -> None:  # noqa: FBT001
    async def run() -> Worker:
        log = LinkedLog()
        worker = await Worker(log).open()
        log.said("m", P, P)
        log.said("d", D, D)
        log.now_us += 70 * MINUTE
        log.wake(P)
        await worker.follow()
        header = Header(id="ack", source="/t", tenant="acme", occurred_at_us=log.now_us, received_at_us=log.now_us, customer_id=P, home_customer_id=P)
        log.put(events.AlertAcknowledgeRequested(header=header, alert_id=raised(worker)), P)
        return await gone_back(log, worker, given_first=given_first)

    worker = asyncio.run(run())
    (row,) = [row for row in of(worker, "alert") if row["alert_id"] == raised(worker)]
    assert (row["customer_id"], row["state"]) == (D, "acknowledged")
    ids = [_id(effect) for effect in worker.effects if effect.kind in {"sla.breached", "alert.raised", "unanswered.detected"}]
    assert len(ids) == len(set(ids))


def _id(effect: Effect) -> str:
    payload: Any = effect.payload
    return str(payload.header.id)
