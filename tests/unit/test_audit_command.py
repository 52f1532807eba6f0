"""`touchline audit list | verify | adopt` over a topic and a store in memory."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from streams.store.port import RowWrite
from tests.support.audit import CODEC, MemoryAuditTopic, head_store, trail_over
from tests.support.commands import runner
from touchline.commands import audit
from touchline.errors import Refused

HOUR = 3_600_000_000
NOON = 1_768_219_200_000_000


class Reading:
    """Stands for `LogReader`: the topic, as a context."""

    def __init__(self, topic: MemoryAuditTopic) -> None:
        self._topic = topic

    def __enter__(self) -> MemoryAuditTopic:
        return self._topic

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""


class Desk:
    """Notes, and runs the commands."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.store, self.topic = head_store(), MemoryAuditTopic(3)
        patch.setenv("TOUCHLINE_OPERATOR", "root")
        patch.setattr("touchline.auditing.KafkaAuditTopic", lambda *_: self.topic)
        patch.setattr("touchline.auditing.partitions_of", lambda _: len(self.topic.records))
        patch.setattr("streams.log.reader.LogReader", lambda *_: Reading(self.topic))
        self._run = runner("audit", audit.register, self.store, patch, folder)

    def __call__(self, *arguments: str) -> Result:
        return self._run(*arguments)

    def lines(self, *arguments: str) -> list[dict[str, Any]]:
        """Return what `audit list` prints as JSON."""
        done = self("list", *arguments, "--json")
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]

    def note(self, actor: str, action: str, at_us: int, **fields: Any) -> None:
        trail = trail_over(self.store, self.topic, actor, at_us)
        asyncio.run(trail.note(action, tenant=fields.pop("tenant", "acme"), **fields))  # type: ignore[arg-type]


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Desk:
    """Return a desk on whose trail there are four entries."""
    made = Desk(monkeypatch, tmp_path)
    made.note("ann", "opened", NOON, customer="c-1", purpose="contact", count=12, details={"command": "timeline"})
    made.note("bob", "merged", NOON + HOUR, customer="c-1", reason="same_person", details={"other": "c-2"})
    made.note("ann", "opened", NOON + 2 * HOUR, customer="c-3", purpose="contact", count=1)
    made.note("zoe", "exported", NOON + 3 * HOUR, tenant="other", details={"topics": "interaction,config"})
    return made


def test_the_list_shows_who_did_what_newest_first(desk: Desk) -> None:
    shown = desk("list").stdout
    lines = [line for line in shown.splitlines() if line.startswith("2026")]
    assert [line.split()[2] for line in lines] == ["zoe", "ann", "bob", "ann"]
    assert "2026-01-12 14:00:00  ann (agent)" in shown
    assert "topics interaction,config" in shown


def test_the_list_answers_by_actor_customer_action_time_and_tenant(desk: Desk) -> None:
    def seen(*arguments: str) -> list[str]:
        return [f"{one['actor']} {one['action']} {one['customer'] or '-'}" for one in desk.lines(*arguments)]

    assert seen("--actor", "ann") == ["ann opened c-3", "ann opened c-1"]
    assert seen("--customer", "c-2") == ["bob merged c-1"]
    assert seen("--action", "merged", "--action", "exported") == ["zoe exported -", "bob merged c-1"]
    assert seen("--since", "2026-01-12T14:00:00Z") == ["zoe exported -", "ann opened c-3"]
    assert seen("--tenant", "other") == ["zoe exported -"]
    assert seen("-n", "1") == ["zoe exported -"]
    assert "There may be more" in desk("list", "-n", "1").stdout
    assert "There is no such entry" in desk("list", "--actor", "nobody").stdout


def test_an_entry_as_json_has_all_of_it(desk: Desk) -> None:
    [found] = desk.lines("--customer", "c-1", "--action", "opened")
    assert found | {"id": "", "offset": 0, "partition": 0, "seq": 0, "previous": ""} == {
        "kind": "audit", "id": "", "partition": 0, "seq": 0, "previous": "", "at": "2026-01-12T12:00:00Z", "tenant": "acme", "actor": "ann",
        "roles": ["agent"], "action": "opened", "customer": "c-1", "purpose": "contact", "count": 12, "reason": "",
        "details": {"command": "timeline"}, "offset": 0,
    }  # fmt: skip


@pytest.mark.parametrize("wrong", [("list", "--action", "peeked"), ("list", "--since", "noon"), ("verify", "--partition", "3"), ("adopt",)])
def test_wrong_use_ends_with_2(desk: Desk, wrong: tuple[str, ...]) -> None:
    assert desk(*wrong).exit_code == 2


def test_verify_says_how_many_since_when_and_that_all_is_whole(desk: Desk) -> None:
    done = desk("verify")
    assert done.exit_code == 0, done.output
    assert "4 entries of 3 actors, since 2026-01-12 12:00:00 UTC: every chain is whole." in done.stdout
    found = json.loads(desk("verify", "--json").stdout)
    assert (found["whole"], found["entries"], found["actors"], found["since"]) == (True, 4, 3, "2026-01-12T12:00:00Z")
    assert [one["partition"] for one in found["partitions"]] == [0, 1, 2]
    assert all(one["broken"] is None for one in found["partitions"])


def test_verify_speaks_of_one_as_of_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    desk = Desk(monkeypatch, tmp_path)
    desk.note("ann", "opened", NOON, customer="c-1", purpose="contact", count=1)
    assert "1 entry of 1 actor, since 2026-01-12 12:00:00 UTC: every chain is whole." in desk("verify").stdout


def place_of(desk: Desk, customer: str) -> tuple[int, int]:
    """Return where the entry about a customer lies."""
    return next((p, o) for p, records in enumerate(desk.topic.records) for o, (_, value) in enumerate(records) if customer.encode() in value)


def test_verify_names_the_one_entry_of_which_a_byte_was_flipped(desk: Desk) -> None:
    partition, offset = place_of(desk, "c-3")
    key, value = desk.topic.records[partition][offset]
    altered = value.replace(b"\x06c-3", b"\x06c-4")  # the customer with its length: an id may have these letters, too
    desk.topic.records[partition][offset] = (key, altered)
    entry = CODEC.decode(value)
    done = desk("verify")
    assert done.exit_code == 1
    assert f"Partition {partition}, offset {offset}, seq {offset}, entry {entry.id}: its bytes are not those" in done.stdout  # type: ignore[union-attr]
    assert "NOT every chain is whole" in done.stdout
    as_json = desk("verify", "--partition", str(partition), "--json")
    [found] = json.loads(as_json.stdout)["partitions"]
    assert as_json.exit_code == 1
    assert (found["broken"]["offset"], found["broken"]["fault"]) == (offset, "altered")
    others = [n for n in range(3) if n != partition]
    assert all(desk("verify", "--partition", str(n)).exit_code == 0 for n in others)


def test_verify_finds_a_tail_that_was_cut_off(desk: Desk) -> None:
    partition, _ = place_of(desk, "c-3")
    desk.topic.records[partition].pop()
    done = desk("verify")
    assert done.exit_code == 1
    assert "entries after it are missing: the chain went on" in done.stdout


def test_verify_says_from_which_entry_on_it_can_speak(desk: Desk) -> None:
    partition, offset = place_of(desk, "c-3")
    desk.topic.first[partition] = offset
    done = desk("verify")
    assert done.exit_code == 0, done.output
    assert f"Partition {partition} has lost its beginning to the topic's retention: it is vouched for from entry {offset} on." in done.stdout


def test_where_nothing_was_noted_verify_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "Nothing was ever noted" in Desk(monkeypatch, tmp_path)("verify").stdout


def test_a_chain_whose_head_was_lost_is_adopted(desk: Desk) -> None:
    partition, _ = place_of(desk, "c-3")
    desk.store.apply([RowWrite("audit_head", (partition,), None, 8)])  # swaps count from 1: two per note so far
    assert desk("verify").exit_code == 1
    others = desk("adopt", "--partition", str((partition + 1) % 3))
    assert isinstance(others.exception, Refused)
    last = len(desk.topic.records[partition]) - 1
    done = desk("adopt", "--partition", str(partition))
    assert f"the store had no head; the chain goes on after entry {last}, with an entry chain_adopted" in done.stdout, done.exception
    assert desk("verify").exit_code == 0
    [entry] = desk.lines("--action", "chain_adopted")
    assert (entry["actor"], entry["details"]) == ("root", {"partition": str(partition), "head": "none"})
    assert isinstance(desk("adopt", "--partition", str(partition)).exception, Refused)
