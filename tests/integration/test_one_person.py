"""One person on real servers: whoever comes by two handles is one customer, also when the handles are tied together only later.

A journey over four channels that is undone again; a promise kept by somebody else than whom it was asked of; two workers who are killed while
they link at once. Short by default; `TOUCHLINE_FULL=1` runs 10,000 events. `pytest -s` prints how long a link takes.
"""

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from deploy.local.testing import LiveStack
from projections.registry import GROUPS
from tests.support.harness import VIEW, Installation, differences, installed
from tests.support.identity_invariants import wrong_claims, wrong_records
from tests.support.one_person_live import (
    HOUR_S,
    Line,
    Promise,
    Written,
    appended,
    asked,
    at_rest,
    command,
    decide,
    ingested,
    latencies,
    line,
    misplaced,
    promises,
    provisional,
    publish,
    reject,
    shifted,
    story,
)
from tests.support.processes import Running, run, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

FULL = os.environ.get("TOUCHLINE_FULL") == "1"
EVENTS, KILLS, DECISIONS = (10_000, 12, 25) if FULL else (400, 3, 4)
TIMED = 40
CARE = GROUPS["care"]
JOURNEY = Path("docs/examples/journey.jsonl").resolve()
REPLY = {
    "specversion": "1.0",
    "id": "shop-4",
    "source": "/shop/till",
    "type": "store.service_given",
    "time": "2026-01-13T10:40:00Z",
    "data": {
        "channel": "store",
        "direction": "outbound",
        "conversation_id": "visit-3",
        "customer": [{"kind": "account", "value": "A-2001", "verified": True}],
        "actor": {"kind": "agent", "id": "ag-7", "team": "munich"},
    },
}
COOKIE: Written = ("cookie", "web-7f3a")
PHONE: Written = ("phone", "+49 151 2345 6789")
ACCOUNT: Written = ("account", "A-2001")
RULES = """
[[policy]]
id = "chat"
when = 'channel == "webchat"'
calendar = "always"
targets = { first_response = "3h" }
answered_by = "any_channel"
recipients = ["team:chat"]

[[unanswered]]
id = "missed-call"
when = 'type == "contact.abandoned"'
calendar = "always"
answer_within = "30m"
recovered_by = "any_channel"
recipients = ["team:recall"]
"""
PROMISE = """
[[policy]]
id = "mail"
when = 'channel == "email"'
calendar = "always"
targets = { first_response = "1h" }
answered_by = "any_channel"
recipients = ["team:mail"]
"""


# -- the journey


def step(here: Installation, worker: Running, lines: list[Line]) -> None:
    """Ingest events, and wait until everybody knows them."""
    ingested(here, lines)
    at_rest(here, worker)


def raised(here: Installation, times: int) -> bool:
    """Tell whether so many alerts were raised."""
    return len([one for one in appended(here, "alert") if one.event.TYPE == "alert.raised"]) >= times


def shown(here: Installation, written: Written) -> tuple[str, dict[str, str]]:
    """Return who a handle's customer is, and the home of each event of the timeline, as the commands show them."""
    found = asked(here, "customer", written)
    assert found["customer_id"] == asked(here, "identity", written)["customer_id"]
    return found["customer_id"], {one["event_id"]: one["home_customer_id"] for one in found["timeline"] if not one["hidden"]}


def test_a_journey_over_four_channels_is_one_customer_and_undone_as_if_it_had_never_been_one(stack: LiveStack, tmp_path: Path) -> None:
    """A chat by cookie, a call, the portal, the shop; then a person takes the cookie and the phone away again."""
    lines = shifted(JOURNEY, int(time.time()) - 60, REPLY)
    chat, call, portal, shop = lines[:1], lines[1:3], lines[3:5], lines[5:]
    with installed(stack, tmp_path, "journey", settle_s=1) as here, here.worker() as worker:
        publish(here, worker, RULES)
        cookie, phone, account = (provisional(here, one) for one in (COOKIE, PHONE, ACCOUNT))
        before = run(["touchline", "customer", "show", "--handle", ":".join(COOKIE)], here.environment(), here.folder)
        assert before.returncode == 1, "nobody is known yet"
        step(here, worker, chat)
        assert shown(here, COOKIE) == (cookie, {"w-1": cookie})
        step(here, worker, call)
        until(lambda: raised(here, 1), 120, "that nobody answered the call is told", pause_s=1)
        calls = {"call-9:initiated": phone, "call-9:abandoned": phone}
        assert shown(here, PHONE) == (phone, calls)
        assert shown(here, COOKIE) == (cookie, {"w-1": cookie})
        step(here, worker, portal[:1])
        assert shown(here, PHONE) == shown(here, ACCOUNT) == (account, {**calls, "p-5": account})
        assert shown(here, COOKIE) == (cookie, {"w-1": cookie})
        step(here, worker, portal[1:])
        journey = {**calls, "w-1": cookie, "p-5": account, "p-6": account}
        assert shown(here, PHONE) == shown(here, ACCOUNT) == shown(here, COOKIE) == (account, journey)
        step(here, worker, shop)
        journey |= {"shop-3": account, "shop-4": account}
        assert shown(here, PHONE) == shown(here, ACCOUNT) == shown(here, COOKIE) == (account, journey)
        person = asked(here, "identity", COOKIE)
        assert {one["home_customer_id"]: one["evidence"] for one in person["handles"]} == {account: None, phone: "p-5", cookie: "p-6"}
        care = asked(here, "customer", COOKIE)["care"]
        assert (care["clocks"], care["open_alerts"]) == ({"running": 0, "paused": 0, "breached": 0}, 0), "the shop has answered all of it"
        for gone in (phone, cookie):
            assert [move["to"] for move in command(here, "identity", "unmerge", gone)["moves"]] == [gone]
        at_rest(here, worker)
        assert shown(here, COOKIE) == (cookie, {"w-1": cookie})
        assert shown(here, PHONE) == (phone, calls)
        at_rest(here, worker)
        undone = {group.name: told_apart(here.rows(group)) for group in (VIEW, CARE)}
        assert [(row["customer_id"], row["state"]) for row in undone["care"]["clock"]] == [(cookie, "running")], "nobody has answered the chat"
        assert [(row["customer_id"], row["state"]) for row in undone["care"]["unanswered"]] == [(phone, "unanswered")]
        assert worker.stop() == 0, worker.last_words()
    with installed(stack, tmp_path, "never", settle_s=1, key_file=here.settings.key_file) as never, never.worker() as worker:
        publish(never, worker, RULES)
        for other in (PHONE, COOKIE):
            reject(never, ACCOUNT, other)
        for some in (chat, call, portal, shop):
            step(never, worker, some)
        until(lambda: raised(never, 1), 120, "that nobody answered the call is told", pause_s=1)
        at_rest(never, worker)
        for group in (VIEW, CARE):
            assert differences(undone[group.name], told_apart(never.rows(group)), group) == ""
        assert worker.stop() == 0, worker.last_words()


def told_apart(rows: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Return rows without the times at which somebody happened to notice: those are of the run, not of what happened."""
    return {table: [{name: it for name, it in row.items() if name not in {"noticed_at", "deliver_at"}} for row in of] for table, of in rows.items()}


# -- the promise


def told(here: Installation) -> dict[str, Counter[str]]:
    """Return how often each kind of verdict was told of each conversation."""
    found: dict[str, Counter[str]] = {}
    for one in appended(here, "sla", "alert"):
        found.setdefault(one.event.header.conversation_id, Counter())[one.event.TYPE] += 1
    return found


def all_told(here: Installation, kind: str, of: list[Promise]) -> bool:
    """Tell whether something was told of each."""
    found = told(here)
    return all(found.get(f"c-{promise.name}", Counter())[kind] for promise in of)


def test_a_promise_kept_in_the_shop_under_another_handle_is_kept_whenever_both_are_tied_together(stack: LiveStack, tmp_path: Path) -> None:
    """Linked after it was announced as broken: taken back once. Linked before: nobody ever hears of it. Whichever of the two customers stays."""
    with installed(stack, tmp_path, "promise", settle_s=1) as here, here.worker() as worker:
        publish(here, worker, PROMISE)
        worker.wait_for("consuming", part="care.v1")
        begun = int(time.time())
        late, soon = promises("late", begun + 25, 3), promises("soon", begun + 75, 3)
        nobody = [Promise(f"nobody-{n}", ("email", f"nobody.{n}@example.org"), None, begun + 75) for n in range(8)]
        ingested(here, [one for promise in (*soon, *nobody, *late) for one in promise.asked])
        ingested(here, [promise.linked() for promise in soon])
        until(lambda: all_told(here, "alert.raised", late), 120, "late ones are told", pause_s=1)
        assert time.time() >= late[0].due_s
        ingested(here, [promise.linked() for promise in late])
        until(lambda: all_told(here, "alert.raised", nobody), 180, "nobody's are told", pause_s=1)
        until(lambda: all_told(here, "alert.resolved", late), 120, "it is taken back", pause_s=1)
        at_rest(here, worker)
        verdicts, rows = told(here), here.rows(CARE)
        once = {"sla.breached": 1, "sla.breach_retracted": 1, "alert.raised": 1, "alert.resolved": 1}
        assert {promise.name: {kind: verdicts[f"c-{promise.name}"][kind] for kind in once} for promise in late} == {one.name: once for one in late}
        heard = {promise.name: [kind for kind in verdicts.get(f"c-{promise.name}", ()) if kind in once] for promise in soon}
        assert heard == {promise.name: [] for promise in soon}
        kept = {promise.name: [(promise.root(here), "met", HOUR_S // 2 * 1_000_000, HOUR_S)] for promise in (*late, *soon)}
        columns = ("customer_id", "state", "consumed_us", "target_s")
        clocks = {name: [tuple(row[one] for one in columns) for row in rows["clock"] if row["conversation_id"] == f"c-{name}"] for name in kept}
        assert clocks == kept
        over = {f"c-{name}" for name in kept}
        assert not [row for row in rows["open_clock"] if row["conversation_id"] in over and row["state"] not in {"moved", "closed"}]
        assert {row["state"] for row in rows["alert"] if row["conversation_id"] in over} <= {"resolved", "moved"}
        assert worker.stop() == 0, worker.last_words()


# -- two who link at once


def test_two_workers_killed_while_they_link_lose_nothing_and_show_nobody_twice(stack: LiveStack, tmp_path: Path) -> None:
    """Handles of people in any order and company, while others join and part them; then how long it takes, one after the other."""
    rng = Random(61)  # noqa: S311 - it must be repeatable
    lines, handles = story(rng, EVENTS, max(10, EVENTS // 40), time.time() - 5)
    decided = Counter[str]()
    with installed(stack, tmp_path, "both") as here:
        file = here.folder / "events.jsonl"
        file.write_text("".join(f"{json.dumps(one)}\n" for one in lines))
        workers = [here.worker(name=f"w{n}").wait_for("consuming", part="resolver") for n in range(2)]
        try:
            with here.ingesting(file, "--no-wait") as ingest:  # one kill after the other lets nobody read for longer than it would wait
                for kill in range(KILLS):
                    time.sleep(rng.uniform(0.2, 4.0))  # any moment is as good as another
                    dies = rng.randrange(2)
                    workers[dies].kill()
                    decided += decide(here, rng, handles, DECISIONS)
                    workers[dies] = here.worker(name=f"w{dies}-{kill}").wait_for("consuming", part="resolver")
                assert ingest.exit_code(400) == 0, ingest.last_words()
            at_rest(here, *workers, within_s=600)
            decided += decide(here, rng, handles, DECISIONS)
            at_rest(here, *workers, within_s=600)
            claims, back = (here.read(lambda store, name=name: store.scan(name)) for name in ("identity", "identities_by_customer"))  # type: ignore[misc]
            log = [(one.key, one.event) for one in appended(here, "interaction")]
            assert wrong_claims(claims, back, per_kind_max=10, by_people=True) == []
            assert wrong_records(claims, log) == []
            assert misplaced(claims, here.rows(), [one["id"] for one in lines]) == []
            timed(here, workers)
            sys.stdout.write(f"{EVENTS} events, {KILLS} kills; decided: {dict(sorted(decided.items()))}\n")
            assert [worker.stop() for worker in workers] == [0, 0]
        finally:
            for worker in workers:
                worker.kill()


def timed(here: Installation, workers: list[Running]) -> None:
    """Print how long links take that come one after the other, while the workers have nothing else to do."""
    people: list[list[Written]] = [[("email", f"timed.{n}@example.org"), ("account", f"timed-{n}")] for n in range(TIMED)]
    now = time.time()
    ingested(here, [line(f"tm-{n}", "message.received", now, one[:1], channel="email", conversation_id=f"t-{n}") for n, one in enumerate(people)])
    at_rest(here, *workers)
    links = [line(f"tl-{n}", "portal.article_viewed", now + n * 0.3, one, channel="portal", article="lamps") for n, one in enumerate(people)]
    ingested(here, links, "--speed", "1")
    at_rest(here, *workers)
    took = latencies(here, [f"tl-{n}" for n in range(TIMED)])
    assert len(took) == TIMED
    sys.stdout.write(
        f"\nfrom a linking event to its copies: p50 {took[TIMED // 2]:.2f} s, p99 {took[TIMED * 99 // 100]:.2f} s, max {took[-1]:.2f} s\n"
    )
