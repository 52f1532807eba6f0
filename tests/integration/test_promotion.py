"""The next version of both groups is built, verified, promoted, rolled back and promoted again, while events flow and timers come due.

For every effect exactly one record by id, from the old version before a promotion and from the new one after it; nobody who reads sees
an older view after a newer one. Short by default; `TOUCHLINE_FULL=1` takes a million events and 5,000 due timers. `pytest -s` prints figures.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from deploy.local.testing import LiveStack
from schemas.events import SlaBreached
from streams.store.port import GroupVersion, Store
from streams.versions.versions import Versions
from tests.integration.test_care import MINUTES, publish
from tests.support import watching_reader
from tests.support.harness import VIEW, Installation, digest_of, installed
from tests.support.next_version import CARE_2, FACET, VIEW_2, without_the_facet
from tests.support.processes import Running, until
from tests.support.spoken import breached, effects, idle_partitions, of_one_version, turn_of
from tests.support.turns import CARE, TARGET_S, Flow, Story, mails

pytestmark = [pytest.mark.slow, pytest.mark.timeout(5400 if os.environ.get("TOUCHLINE_FULL") == "1" else 900)]

FULL = os.environ.get("TOUCHLINE_FULL") == "1"
EVENTS, DUE = (1_000_000, 5_000) if FULL else (20_000, 300)
DUE_AFTER_S, DUE_SPAN_S = (1500.0, 900.0) if FULL else (50.0, 150.0)
"""From when on, after the first import has begun, the timers of the first half come due, and for how long."""

TURNS_S = 240.0 if FULL else 60.0
"""How long the versions take turns: the second half comes due meanwhile, one part of it sent before and one while they do."""

AHEAD_S = 30.0
"""How long before the first promotion those come in who are not to come in later: their partitions have nothing but timers from then on."""

FLOW_PER_S = 100 if FULL else 25
PARTITIONS, FILE_EVENTS = 8, 100_000
CACHED = 300_000 if FULL else 50_000
"""All customers: they come in no order, and reading each one's state for each event would be most of the work."""

STALL_S = 3.5
"""Less than the session time-out of a worker (6 s), after which it would lose its partitions."""

SOAK_S = 6.0
"""How long each version speaks before the next promotion."""

DUE_IN_A_SOAK = DUE // 30
"""Timers that come due in each such time, however long the promotions between them take."""


@contextmanager
def watched(story: Story, customers: list[str]) -> Iterator[Running]:
    """Let somebody read these customers all the time."""
    file = story.here.folder / "customers.txt"
    file.write_text("\n".join(customers))
    with Running("reader", [*watching_reader.COMMAND, str(file)], story.environment(), story.here.folder, fed=True) as reader:
        yield reader


def customers_of(here: Installation) -> list[str]:
    """Return the customers who write all the time, and some of the others."""
    rows = here.read(lambda store: store.scan("conversation_v1"))
    found = sorted({str(row["customer_id"]) for row in rows})
    writing = {str(row["customer_id"]) for row in rows if str(row["conversation_id"]).startswith("f-")}
    return [*sorted(writing), *Random(3).sample(found, min(20, len(found)))]  # noqa: S311 - it must be repeatable


def killed_in_the_middle(story: Story, version: str) -> None:
    """Start a promotion and kill it as soon as it has claimed its right; whoever comes next is told who, and completes it."""
    name = version.partition("@")[0]
    before = story.standing(name).active
    promoting = story.starting("killed", "promote", version)

    async def claimed(store: Store) -> None:
        while promoting.is_running:
            standing = await Versions(store).read(name)
            if standing is not None and standing.promoting is not None:
                break
            await asyncio.sleep(0.002)

    with promoting:
        story.here.read(claimed)
    standing = story.standing(name)
    if standing.promoting is None:  # it was quicker than the look at it
        assert standing.active != before, promoting.last_words()
        story.said.append(f"{version}: done before the kill")
        return
    assert standing.active == before, "readers stay where they are"
    refused = story.touchline("promote", version, code=1)
    assert "operator is promoting" in refused.replace("\n", " "), refused
    done = story.touchline("promote", version, "--take-over")
    assert done["completes"]
    story.said.append(f"{version}: completed after a kill")


def test_two_versions_take_turns_and_nothing_is_missed_doubled_or_read_backwards(stack: LiveStack, tmp_path: Path) -> None:
    random = Random(41)  # noqa: S311 - it must be repeatable
    with installed(stack, tmp_path, "promotion", settle_s=1, partitions=PARTITIONS, cached_subjects_max=CACHED) as here:
        story = Story(here)
        with story.old_worker() as old:
            publish(here, MINUTES.format(target=f"{TARGET_S // 3600}h"), "--effective-at", "1970-01-01T00:00:00Z")
            old.wait_for("config_broadcast", version=1)
            began_s = time.time()
            due = {number: began_s + DUE_AFTER_S + random.random() * DUE_SPAN_S for number in range(DUE // 2)}
            _import(here, mails(random, EVENTS, due, began_s))
            flow = Flow(here, FLOW_PER_S)
            try:
                _take_turns(story, old, flow, due)
            finally:
                flow.kill()
                sys.stdout.write(f"\n{'; '.join(story.said)}\n")


def _import(here: Installation, lines: Iterator[dict[str, Any]]) -> None:
    """Import events, some in a file."""
    for number, some in enumerate(iter(lambda: list(islice(lines, FILE_EVENTS)), [])):
        file = here.folder / f"mails{number}.jsonl"
        file.write_text("".join(f"{json.dumps(line)}\n" for line in some))
        here.ingest(file)


def _take_turns(story: Story, old: Running, flow: Flow, due: dict[int, float]) -> None:
    here = story.here
    until(lambda: here.folded(CARE) and story.is_level(1), 2400, "version 1 is level with the log", pause_s=1)
    assert "active" in story.touchline("promote", "care@1", code=1)
    for name in ("view", "care"):
        story.touchline("build", f"{name}@2", within_s=1200)
    assert "never verified" in story.touchline("promote", "care@2", "--dry-run", code=1)
    with story.new_worker() as new:
        for part in ("view.v2", "care.v2"):
            new.wait_for("consuming", part=part)
        until(lambda: story.is_level(2), 300, "version 2 is level with the log", pause_s=0.5)
        story.touchline("verify", "view@2", "--expect", f"customer.facet={FACET}", within_s=600)
        story.touchline("verify", "care@2", within_s=600)
        with watched(story, customers_of(here)) as reader:
            _promote_and_back(story, new, flow, due)
            reader.no_more()
            assert reader.exit_code(60) == 0, reader.last_words()
        watch = json.loads(reader.said())
        story.said.append(f"reader: {watch}")
        assert not watch["went_back"], watch
        assert watch["turns"] == [1, 2, 1, 2]
        assert old.is_running, old.last_words()
        assert new.is_running, new.last_words()
        _retire(story, old)
        assert new.stop() == 0, new.last_words()
    assert old.stop() == 0, old.last_words()


def _promote_and_back(story: Story, new: Running, flow: Flow, due: dict[int, float]) -> None:
    """Promote both groups, roll both back, promote both again; then let what is due come due, and count."""
    here = story.here
    assert (story.sent(1) > 0, story.sent(2)) == (True, 0), "only version 1 has spoken"
    random = Random(42)  # noqa: S311 - it must be repeatable
    before = {number: time.time() + AHEAD_S + random.random() * TURNS_S for number in range(DUE // 2, DUE * 3 // 4)}
    due |= before
    _import(here, mails(random, len(before), before, time.time()))
    until(lambda: story.is_level(1) and story.is_level(2), 120, "both versions are level with the log", pause_s=0.2)
    since_ms = int(time.time() * 1000)
    soon = {number: time.time() + 2 + random.random() * TURNS_S for number in range(DUE * 3 // 4, DUE)}
    due |= soon
    flow.expect(soon)
    _soak(story, 1, flow, due)
    took = [story.touchline("promote", "view@2")["took_s"]]
    _stall(new)
    began_s = time.time()
    killed_in_the_middle(story, "care@2")
    turns = [(began_s, time.time())]
    _soak(story, 2, flow, due)
    assert "already" in story.touchline("promote", "care@2", code=1)
    assert "active version" in story.touchline("retire", "care@2", code=1)
    for command, name, speaker in (("rollback", "care", 1), ("rollback", "view", 1), ("promote", "view@2", 2), ("promote", "care@2", 2)):
        began_s = time.time()
        took.append(story.touchline(command, name)["took_s"])
        turns += [(began_s, time.time())] if name.startswith("care") else []
        if name in {"view", "care@2"}:
            _soak(story, speaker, flow, due)
    until(lambda: time.time() > max(due.values()) + 2, DUE_AFTER_S + DUE_SPAN_S + 60, "everything has come due", pause_s=1)
    flow.end()
    until(lambda: story.is_level(2) and story.is_level(1), 120, "both versions are level with the log", pause_s=0.5)
    expected = {f"c-{number}" for number in due}
    until(lambda: breached(here, 2) >= expected, 240, "every timer has expired", pause_s=2)
    until(lambda: story.is_level(2) and story.is_level(1), 120, "both versions are level with the log", pause_s=0.5)
    _count(story, due, since_ms, turns)
    story.said.append(f"promotions took {', '.join(f'{seconds:.1f}' for seconds in took)} s; {flow.sent} events flowed meanwhile")


def _stall(speaker: Running) -> None:
    """Let the worker of the version that speaks hang for a moment: readers who do not know yet read the other one, which must not run ahead."""
    os.kill(speaker.pid, signal.SIGSTOP)
    time.sleep(STALL_S)
    os.kill(speaker.pid, signal.SIGCONT)


def _soak(story: Story, speaker: int, flow: Flow, due: dict[int, float]) -> None:
    """Let a version speak for a while; the other one is silent. Some timers come due in its first half."""
    other = 3 - speaker
    until(lambda: story.is_level(1) and story.is_level(2), 120, "both versions are level with the log", pause_s=0.2)
    spoke, silent = story.sent(speaker), story.sent(other)
    soon = {len(due) + number: time.time() + 1 + SOAK_S / 3 * number / DUE_IN_A_SOAK for number in range(DUE_IN_A_SOAK)}
    due |= soon
    flow.expect(soon)
    time.sleep(SOAK_S)
    until(lambda: story.sent(speaker) > spoke, 60, f"version {speaker} speaks")
    assert story.sent(other) == silent, f"version {other} is silent while {speaker} speaks"


def _count(story: Story, due: dict[int, float], since_ms: int, turns: list[tuple[float, float]]) -> None:
    """Compare what lies on the output topics with what one version alone would have said, and with the clocks."""
    here = story.here
    ids: Counter[str] = Counter()
    breaches: Counter[str] = Counter()
    early = []
    in_turn: Counter[int | None] = Counter()
    for event, at_ms in effects(here):
        ids[event.header.id] += 1
        if isinstance(event, SlaBreached):
            breaches[str(event.header.conversation_id)] += 1
            in_turn[turn_of(at_ms / 1000, turns)] += 1
            early += [event.header.conversation_id] if at_ms * 1000 < (event.due_at_us or 0) - 1000 else []
    assert not early
    assert in_turn.keys() >= {0, 1, 2, 3}, "timers came due in every turn of each version"
    assert breaches == Counter({f"c-{number}": 1 for number in due}), "for every expiry moment one breach"
    alone = of_one_version(here)
    assert not alone - ids.keys(), "nothing is missing"
    assert not ids.keys() - alone, "nothing is said that one version would not have said"
    assert set(ids.values()) == {1}, "nothing is said twice"
    assert [breached(here, version) for version in (1, 2)] == [set(breaches), set(breaches)]
    assert story.touchline("verify", "care@1", within_s=1200)["equal"], "both versions hold the same"
    assert story.touchline("verify", "view@1", "--expect", f"customer.facet={FACET}", within_s=1200)["equal"]
    if not FULL:  # these hold all rows in memory
        assert here.digest(CARE) == digest_of(here.rows(CARE_2), CARE_2)
        assert digest_of(without_the_facet(here.rows(VIEW_2)), VIEW_2) == here.digest(VIEW)
    idle = idle_partitions(here, since_ms)
    assert idle, "some partitions had nothing but their timers"
    by = {version: story.sent(version) for version in (1, 2)}
    by_turn = [in_turn[turn] for turn in range(4)]
    story.said.append(f"{sum(ids.values())} effects, by version {by}; {len(breaches)} breaches, by turn {by_turn}, while it turned {in_turn[None]}")
    story.said.append(f"partitions with nothing but timers: {sorted(idle)} of {PARTITIONS}")


def _retire(story: Story, old: Running) -> None:
    """End version 1 for good: its worker leaves it by itself, and goes on with what else it runs."""
    assert "no way back" in story.touchline("retire", "care@1", code=1)
    done = story.touchline("retire", "care@1", "--confirm", "care@1")
    assert done["done"]
    assert "care_v1_state" in done["tables"]
    [group] = story.touchline("status", "care")["groups"]
    assert [(one["version"], one["state"], one["workers"] > 0) for one in group["versions"]] == [(1, "retired", False), (2, "active", True)]
    assert old.is_running, old.last_words()
    checkpoints = story.here.read(lambda store: store.load_checkpoints(GroupVersion("care", 1)))
    assert {checkpoint.next_offset for checkpoint in checkpoints.values()} == {0}
    again = story.touchline("retire", "care@1")
    assert (again["was"], again["tables"]) == ("retired", [])
    assert "it is retired" in story.touchline("rollback", "care", code=1)
