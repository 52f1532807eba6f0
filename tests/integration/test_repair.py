"""Poison for 3 of 1,000 customers on real servers: they wait, all others flow on; mended and retried they are as if nothing had failed.

`TOUCHLINE_FULL=1` takes 10,000 customers. What it is compared with is the same log, folded in memory by code that never failed; the view
also with `touchline simulate` of the file.
"""

import asyncio
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.local.testing import LiveStack
from projections.digest import Rows, digests_by_customer
from projections.registry import GROUPS, Group
from schemas.codec import Codec, Head
from streams.customer_view import decoded
from streams.log.simulation import LogSimulation
from streams.records import Batch, RawRecord
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from tests.integration.test_care import publish
from tests.support.harness import VIEW, Installation, differences, digest_of, installed, scanned
from tests.support.next_version import environment
from tests.support.poisoned import COMMAND, MARK
from tests.support.processes import Running, run, until
from tests.support.topics import stored

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CUSTOMERS = 10_000 if os.environ.get("TOUCHLINE_FULL") == "1" else 1_000
POISONED = (17, CUSTOMERS // 2, CUSTOMERS - 1)
CARE = GROUPS["care"]
START = datetime(2026, 1, 12, 9, tzinfo=UTC)
CODEC = Codec()
POLICIES = """
[[policy]]
id = "mail"
when = 'channel == "email"'
targets = { first_response = "1h" }

[[unanswered]]
id = "missed-call"
when = 'type == "contact.abandoned"'
answer_within = "2h"
"""


def line(kind: str, id_: str, customer: int, at: datetime, **data: object) -> str:
    handle = {"kind": "account", "value": f"A-{customer:06d}", "verified": True}
    body = {"channel": "email", "direction": "inbound", "conversation_id": f"c-{customer}", "customer": [handle], **data}
    return json.dumps({"specversion": "1.0", "id": id_, "source": "/test", "type": kind, "time": at.isoformat(), "data": body})


def story() -> list[str]:
    """Return the events: a mail of each, an answer to every second one, a call that was given up by every third; the poison in the midst."""
    lines = []
    for n in range(CUSTOMERS):
        at = START + timedelta(seconds=n)
        lines.append(line("message.received", f"m-{n}", n, at, text="Where is my parcel?"))
        if n in POISONED:
            lines.append(line("message.received", f"{MARK}{n}", n, at + timedelta(minutes=1), text="Where is it now?", conversation_id=f"d-{n}"))
        if n % 2:
            lines.append(line("message.sent", f"s-{n}", n, at + timedelta(minutes=10), direction="outbound", actor={"kind": "agent", "id": "a-1"}))
        if n % 3 == 0 or n in POISONED:
            call = {"channel": "phone", "contact_id": f"k-{n}", "conversation_id": f"k-{n}", "queue": "parcels"}
            lines.append(line("contact.queued", f"q-{n}", n, at + timedelta(minutes=20), **call))
            lines.append(line("contact.abandoned", f"x-{n}", n, at + timedelta(minutes=21), stage="queue", **call))
    return lines


def touchline(here: Installation, *arguments: str, start: tuple[str, ...] = ("touchline",)) -> Any:
    """Run a command and return its exit code and what it printed as JSON."""
    done = run([*start, *arguments], environment(here.environment()), here.folder, within_s=300)
    assert done.stdout.startswith(("[", "{")), done.stderr + done.stdout
    assert "secret" not in done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)


def by_customer(rows: Rows, group: Group) -> dict[tuple[str, str], str]:
    return digests_by_customer(group.tables(), rows, decode=lambda schema_id, body: decoded(CODEC, body, schema_id))


def broken_worker(here: Installation) -> Running:
    return Running("broken", [*COMMAND, "worker"], environment(here.environment()), here.folder)


def settled(here: Installation, *workers: Running) -> None:
    """Wait until everything is folded, and nothing more comes due: what was overdue has been noticed."""
    here.wait_until_caught_up(*workers)
    here.wait_until_caught_up(*workers, group=CARE)
    last: list[str] = []

    def stands() -> bool:
        last.append(here.digest(CARE))
        return len(last) > 1 and last[-1] == last[-2]

    until(stands, 120, "nothing more comes due", pause_s=3.0)
    here.wait_until_caught_up(*workers, group=CARE)


def never_failed(here: Installation, *, without: str = "") -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return the rows, by group, to which the log comes by code without a fault, for which rebuilds are records of nothing."""
    parts: dict[int, list[RawRecord]] = {}
    for one in stored(here.settings.brokers, [here.settings.topic("interaction")]):
        head = CODEC.head(one.value)
        assert isinstance(head, Head)
        if head.header.id != without:
            parts.setdefault(one.partition, []).append(RawRecord(one.offset, one.key, one.value, one.timestamp_ms * 1000))

    async def fold() -> dict[str, dict[str, list[dict[str, Any]]]]:
        into = MemoryStore(known_tables())
        run = LogSimulation([VIEW, CARE], into, CODEC, tenant=here.settings.tenant, cached_subjects_max=100_000, settle_s=here.settings.settle_s)
        for partition, records in sorted(parts.items()):
            records.sort(key=lambda record: record.offset)
            await run.feed(Batch(partition, records))
        await run.finish()
        return {group.name: await scanned(into, group) for group in (VIEW, CARE)}

    return asyncio.run(fold())


def same(here: Installation, expected: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    """Fail unless both groups show what is expected."""
    for group in (VIEW, CARE):
        rows = here.rows(group)
        assert digest_of(rows, group) == digest_of(expected[group.name], group), differences(expected[group.name], rows, group)


@pytest.fixture
def here(stack: LiveStack, tmp_path: Path) -> Iterator[Installation]:
    with installed(stack, tmp_path, "repair", settle_s=1) as found:
        yield found


def test_three_customers_wait_all_others_flow_on_and_a_retry_makes_them_as_if_nothing_had_failed(here: Installation, tmp_path: Path) -> None:
    file, without = tmp_path / "story.jsonl", tmp_path / "without.jsonl"
    file.write_text("\n".join(story()) + "\n")
    with broken_worker(here) as broken:
        broken.wait_for("consuming", part="view.v1")
        publish(here, POLICIES, "--effective-at", "2026-01-01T00:00:00Z")
        here.ingest(file)
        settled(here, broken)
        customers = parked(here)
        whole = never_failed(here)
        for group in (VIEW, CARE):
            others = {one: digest for one, digest in by_customer(whole[group.name], group).items() if one[1] not in {"", *customers}}
            assert len(others) >= CUSTOMERS - len(POISONED)
            assert others.items() <= by_customer(here.rows(group), group).items()
        poison = why(here, customers[0])
        code, outcome = touchline(here, "parked", "retry", "view", customers[0], "--json")  # the workers have the fault still
        assert (code, outcome[0]["folded"], outcome[0]["reason"]) == (1, False, "raised:KeyError")
        assert broken.stop() == 0, broken.last_words()

    with here.worker() as worker:
        worker.wait_for("consuming", part="view.v1")
        for name in ("care", "view"):  # in either order
            code, outcome = touchline(here, "parked", "retry", name, "--all", "--json")
            assert (code, [one["folded"] for one in outcome]) == (0, [True] * len(POISONED)), outcome
        assert touchline(here, "parked", "list", "--json")[1] == []
        settled(here, worker)
        same(here, never_failed(here))
        assert here.digest() == here.simulated_digest(file)
        leave_out(here, customers[0], poison)
        settled(here, worker)
        same(here, never_failed(here, without=poison))
        without.write_text("\n".join(one for one in story() if f'"{poison}"' not in one) + "\n")
        assert here.digest() == here.simulated_digest(without)
        assert worker.stop() == 0, worker.last_words()


def parked(here: Installation) -> list[str]:
    """Return who is parked, after looking at how and why."""
    _, found = touchline(here, "parked", "list", "--json")
    customers = sorted({one["customer"] for one in found})
    assert (len(found), len(customers)) == (2 * len(POISONED), len(POISONED))
    assert {one["reason"] for one in found} == {"raised:KeyError"}
    return customers


def why(here: Installation, customer: str) -> str:
    """Return the id of the event that fails, after looking at what is shown of it, by the code with the fault and by that without."""
    [said] = touchline(here, "parked", "show", "care", customer, "--json", start=COMMAND)[1]
    assert said["reason_now"] == "raised:KeyError"
    assert said["traceback"][-1].startswith("support/poisoned.py:")
    assert said["record"]["sealed"] == "(sealed)"
    [mended] = touchline(here, "parked", "show", "care", customer, "--json")[1]
    assert mended["folds_now"]
    return str(said["record"]["header"]["id"])


def leave_out(here: Installation, customer: str, event: str) -> None:
    """Leave an event out of everything, and rebuild once more without naming it; a dry run has said before what would change."""
    code, told = touchline(here, "rebuild-customer", customer, "--exclude", event, "--reason", "test", "--dry-run", "--json")
    assert (code, {tuple(one["leaves_out"]) for one in told}) == (0, {(event,)})
    assert any(event in change for one in told for change in one["changes"])
    code, outcome = touchline(here, "rebuild-customer", customer, "--exclude", event, "--reason", "test", "--json")
    assert (code, {one["group"] for one in outcome}) == (0, {"view.v1", "care.v1"})
    code, _ = touchline(here, "rebuild-customer", customer, "--reason", "again", "--json")
    assert code == 0
