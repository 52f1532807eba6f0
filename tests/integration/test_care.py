"""Clocks on real servers: real calls, rules that change in the middle, a worker that is killed again and again beside due timers.

Short by default; `TOUCHLINE_FULL=1` runs 100,000 events with 5,000 due timers and twenty kills. `pytest -s` prints the lateness.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from deploy.local.testing import LiveStack
from projections.registry import GROUPS
from schemas.codec import Codec
from schemas.events import AlertRaised, SlaBreached
from schemas.record import Event
from streams.engine import Engine
from streams.plain import instant_us
from streams.records import Batch, RawRecord
from streams.service_level import ServiceLevel, Targets, counts_of
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion
from streams.tallies import Tallies
from tests.integration.test_real_clocks import BANK, CALLS, simulated
from tests.support import by_hand
from tests.support.harness import Installation, installed, scanned
from tests.support.processes import Running, run, until
from tests.support.simulating import asked, replied
from tests.support.topics import stored

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

FULL = os.environ.get("TOUCHLINE_FULL") == "1"
EVENTS, DUE, KILLS = (100_000, 5_000, 20) if FULL else (8_000, 400, 4)
CARE = GROUPS["care"]
CODEC = Codec()
MINUTES = """
[[policy]]
id = "mail"
when = 'channel == "email"'
targets = {{ first_response = "{target}" }}
apply_to_open = true
recipients = ["team:mail"]
"""


def publish(here: Installation, policies: str, *options: str) -> None:
    file = here.folder / "policies.toml"
    file.write_text(policies)
    done = run(["touchline", "config", "publish", str(file), "--wait", "0", *options], here.environment(), here.folder)
    assert done.returncode == 0, done.stderr


def moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def effects(here: Installation, kind: type[Event]) -> Iterator[tuple[Any, int]]:
    """Yield the effects of a kind on the output topics, with the time in ms at which each was appended."""
    for one in stored(here.settings.brokers, [here.settings.topic("sla"), here.settings.topic("alert")]):
        found = CODEC.decode(one.value)
        if isinstance(found, kind):
            yield found, one.timestamp_ms


def clocks(rows: dict[str, list[dict[str, Any]]]) -> Counter[str]:
    return Counter(str(sorted(row.items(), key=lambda cell: cell[0])) for row in rows["clock"])


def verdict(clock: dict[str, Any]) -> tuple[object, ...]:
    """Return what a clock says, from a row (epoch µs) or from a line of `simulate` (RFC 3339)."""
    times = (instant_us(at) if isinstance(at := clock[name], str) else at for name in ("started_at", "due_at", "stopped_at"))
    return (clock["state"], clock["target_s"], clock["policy"], clock["calendar"], *times)


@pytest.mark.skipif(not CALLS.exists(), reason="../shared/data with the real calls is not here")
def test_real_calls_come_to_the_clocks_that_are_counted_by_hand(stack: LiveStack, tmp_path: Path) -> None:
    """Old data: rows as ever, and nothing is said of them. `figures` shows the service levels of a day."""
    found = by_hand.calls(CALLS)
    with installed(stack, tmp_path, "bank", settle_s=1) as here, here.worker() as worker:
        publish(here, BANK, "--effective-at", "1970-01-01T00:00:00Z")
        worker.wait_for("config_broadcast", version=1)
        here.ingest(CALLS, "--format", "bank-calls")
        here.wait_until_caught_up(worker, group=CARE)
        expected = by_hand.missed(found, 2 * 3600, 30 * 86_400)
        until(lambda: Counter(row["state"] for row in here.rows(CARE)["unanswered"]) == expected, 120, "every timer has expired", pause_s=2)
        here.wait_until_caught_up(worker, group=CARE)
        rows = here.rows(CARE)
        assert Counter(row["state"] for row in rows["clock"] if not row["end_to_end"]) == by_hand.waits(found, 20, 90)
        told = simulated(tmp_path, CALLS, BANK, "--emit", "clocks", "--until", "1999-04-01T00:00:00Z")
        assert {(row["conversation_id"], row["metric"], row["instance"]): verdict(row) for row in rows["clock"]} == {
            (line["conversation_id"], line["metric"], line["instance"]): verdict(line) for line in told
        }
        sums: dict[str, list[dict[str, int]]] = {}
        for row in rows["figure"]:
            sums.setdefault(row["day"], []).append(row["sums"])
        of_day = {day: ServiceLevel.of(counts_of(parts), Targets(20, 5)) for day, parts in sums.items()}
        expected_levels = by_hand.levels(found, 20, 5)
        assert {day: (it.counts.answered, it.answered_within) for day, it in of_day.items()} == {
            day: (it["A"], it["As"]) for day, it in expected_levels.items()
        }
        shown = run(["touchline", "figures", "--day", "1999-02-01", "--json"], here.environment(), here.folder)
        assert shown.returncode == 0, shown.stderr
        assert json.loads(shown.stdout)["total"]["answered"] == expected_levels["1999-02-01"]["A"]
        assert not list(effects(here, Event))
        assert worker.stop() == 0, worker.last_words()


def folded_by_a_plain_consumer(here: Installation) -> dict[str, list[dict[str, Any]]]:
    """Read the log's partitions with a bare consumer into the engine and the in-memory store; return the rows of the care group."""

    async def fold() -> dict[str, list[dict[str, Any]]]:
        store = MemoryStore(known_tables())
        engine = Engine(CARE, CODEC, tenant=here.settings.tenant, cached_subjects_max=10_000, settle_s=here.settings.settle_s)
        tallies = Tallies(CARE, store, fresh=True)
        parts: dict[int, list[RawRecord]] = {}
        for one in sorted(stored(here.settings.brokers, [here.settings.topic("interaction")]), key=lambda one: (one.partition, one.offset)):
            parts.setdefault(one.partition, []).append(RawRecord(one.offset, one.key, one.value, one.timestamp_ms * 1000))
        for partition, records in parts.items():
            engine.open(partition, None)
            for start in range(0, len(records), 37):
                taken = engine.take(Batch(partition, records[start : start + 37]))
                missing = engine.missing(taken)
                work = engine.feed(taken, await store.load_states(GroupVersion(CARE.name, CARE.version), missing) if missing else {})
                await tallies.add([work], engine.work_number)
                await store.write(work.fan_out)
                await store.write(work.own)
                engine.acknowledge(engine.work_number)
                tallies.acknowledge(engine.work_number)
        return await scanned(store, CARE)

    return asyncio.run(fold())


def test_rules_that_change_in_the_middle_retarget_open_clocks_once_wherever_they_are_folded(stack: LiveStack, tmp_path: Path) -> None:
    now = time.time()
    with installed(stack, tmp_path, "rules") as here:
        with here.worker(name="before") as worker:
            publish(here, MINUTES.format(target="4h"), "--effective-at", "1970-01-01T00:00:00Z")
            worker.wait_for("config_broadcast", version=1)
            lines = [asked(number, moment(now - 60 + number / 100)) for number in range(300)]
            lines += [replied(number, moment(now - 30 + number / 100)) for number in range(0, 300, 3)]
            file = tmp_path / "mails.jsonl"
            file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
            here.ingest(file)
            here.wait_until_caught_up(worker, group=CARE)
            publish(here, MINUTES.format(target="2h"))
            worker.wait_for("config_broadcast", version=2)
            worker.kill()
        with here.worker(name="after") as worker:
            late = [asked(number, moment(time.time())) for number in range(300, 330)]  # by event time too after the new rules
            file.write_text("".join(f"{json.dumps(line)}\n" for line in late))
            here.ingest(file)
            open_ones = {f"c-{number}" for number in range(300) if number % 3}
            until(
                lambda: {row["conversation_id"] for row in here.rows(CARE)["clock"] if row["target_s"] == 7200} >= open_ones,
                90,
                "open clocks have the new target",
                pause_s=1,
            )
            here.wait_until_caught_up(worker, group=CARE)
            assert worker.stop() == 0, worker.last_words()
        rows = here.rows(CARE)
        by_target = {row["conversation_id"]: (row["target_s"], row["state"]) for row in rows["clock"]}
        assert {by_target[f"c-{number}"] for number in range(300) if number % 3 == 0} == {(4 * 3600, "met")}
        assert {by_target[f"c-{number}"] for number in range(330) if number % 3 or number >= 300} == {(2 * 3600, "running")}
        sent = {event.header.id: event for event, _ in effects(here, Event)}  # whoever was killed between sending and noting it sends it again
        told = Counter((event.header.conversation_id, type(event).TYPE) for event in sent.values() if type(event).TYPE == "sla.retargeted")
        assert told == Counter({(name, "sla.retargeted"): 1 for name in open_ones}), "once each"
        assert clocks(folded_by_a_plain_consumer(here)) == clocks(rows)


def fed_while_it_dies(here: Installation, worker: Running, lines: list[dict[str, Any]], span_s: float, random: Random) -> Running:
    """Send the lines over a span, each when its time has come, and kill the worker again and again; return the one that lives."""
    begun, sent, kills = time.time(), 0, 0
    with here.ingesting(None, "--format", "events", "--no-wait") as ingest:
        while sent < len(lines) or kills < KILLS:
            share = min(1.0, (time.time() - begun) / span_s)
            upto = sent
            while upto < share * len(lines) and datetime.fromisoformat(lines[upto]["time"]).timestamp() < time.time():
                upto += 1
            ingest.feed("".join(f"{json.dumps(line)}\n" for line in lines[sent:upto]).encode())
            sent = upto
            if kills < KILLS and share >= kills / KILLS:
                worker.kill()
                worker = here.worker(name=f"life{kills}", poll_records_max=200, instance_id="due")  # as a supervisor restarts it
                kills += 1
                time.sleep(random.random() * 3)
            time.sleep(0.05)
        ingest.no_more()
        assert ingest.exit_code(120) == 0, ingest.last_words()
    return worker


def mails(random: Random, from_s: float, span_s: float, target_s: int) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Return mails in the order of sending, and when those that nobody answers are due: spread over the span."""
    due = {number: from_s + random.random() * span_s for number in range(DUE)}
    lines = [(at - target_s, asked(number, moment(at - target_s))) for number, at in due.items()]
    for number in range(DUE, DUE + (EVENTS - DUE) // 2):
        at = from_s - 7200 + random.random() * 3600
        sending = from_s - target_s + random.random() * span_s
        lines += [(sending, asked(number, moment(at))), (sending, replied(number, moment(at + 10)))]
    return [line for _, line in sorted(lines, key=lambda one: one[0])], {f"c-{number}": at for number, at in due.items()}


def test_due_alerts_come_once_and_never_early_whatever_is_killed(stack: LiveStack, tmp_path: Path) -> None:
    """The worker dies by SIGKILL beside due timers; every conversation that stays unanswered is told of exactly once, by id."""
    random = Random(23)  # noqa: S311 - it must be repeatable
    span_s, target_s = (240.0 if FULL else 40.0), 20
    with installed(stack, tmp_path, "due") as here:
        first = here.worker(name="first", instance_id="due")
        publish(here, MINUTES.format(target=f"{target_s}s"), "--effective-at", "1970-01-01T00:00:00Z")
        first.wait_for("config_broadcast", version=1)
        lines, due = mails(random, time.time() + target_s, span_s, target_s)
        worker = fed_while_it_dies(here, first, lines, span_s, random)
        with worker.wait_for("consuming", part="care.v1"):
            here.wait_until_caught_up(worker, group=CARE)
            until(lambda: len({event.header.id for event, _ in effects(here, SlaBreached)}) >= DUE, 180, "all have breached", pause_s=3)
            here.wait_until_caught_up(worker, group=CARE)
            assert worker.stop() == 0, worker.last_words()
        breaches: dict[str, tuple[str, int]] = {}
        lateness: list[float] = []
        for event, at_ms in effects(here, SlaBreached):
            said = (event.header.id, event.due_at_us)
            assert breaches.setdefault(event.header.conversation_id, said) == said, "one breach, one id"
            assert at_ms * 1000 >= event.due_at_us - 1000, "early"
            lateness.append(at_ms / 1000 - event.due_at_us / 1e6)
        assert {name: at_us / 1e6 for name, (_, at_us) in breaches.items()} == {name: pytest.approx(at, abs=1e-5) for name, at in due.items()}
        alerts = {event.alert_id: event.header.conversation_id for event, _ in effects(here, AlertRaised)}
        assert Counter(alerts.values()) == Counter(breaches.keys())
        lateness.sort()
        sys.stdout.write(
            f"\n{DUE} due of {len(lines)} events, {KILLS} kills: lateness p50 {lateness[len(lateness) // 2]:.2f} s,"
            f" p99 {lateness[len(lateness) * 99 // 100]:.2f} s, max {lateness[-1]:.2f} s; {len(lateness) - len(breaches)} sent again\n"
        )
