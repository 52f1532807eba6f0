"""`touchline projection status | resume | retire | promote | rollback` over a store in memory and a log that is a stand-in."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from streams.store import driver, dropping
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion
from streams.versions import group_log
from streams.versions.versions import Promoting, Versions
from tests.support.audit import MemoryAuditTopic, entries_of
from tests.support.commands import runner
from tests.support.fake_log import FakeLog
from touchline.commands import projection_promote, projection_versions
from touchline.errors import Refused

V1, V2 = GroupVersion("care", 1), GroupVersion("care", 2)


class Keyspace:
    """All tables are there until they are dropped."""

    def __init__(self) -> None:
        self.dropped: list[str] = []

    def existing(self, names: Any) -> list[str]:
        return sorted(set(names) - set(self.dropped))

    def drop(self, name: str) -> None:
        self.dropped.append(name)

    def close(self) -> None:
        """Nothing is open."""


class Desk:
    """Runs the commands."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.store = MemoryStore(known_tables())
        self.log = FakeLog(self.store)
        self.keyspace = Keyspace()
        self.audit = MemoryAuditTopic()
        self._patch, self._folder = patch, folder
        patch.setattr(group_log, "KafkaGroupLog", lambda *_: self.log)
        patch.setattr(driver.Driver, "open", lambda _: self.keyspace)
        patch.setattr(dropping, "CassandraTables", lambda *_: self.keyspace)
        patch.setattr("touchline.auditing.KafkaAuditTopic", lambda *_: self.audit)
        patch.setattr("streams.versions.promoting.now_us", lambda: self.log.now_us)
        patch.setenv("TOUCHLINE_OPERATOR", "ann")

    def __call__(self, command: str, *arguments: str) -> Result:
        module = projection_promote if command in {"promote", "rollback"} else projection_versions
        return runner(command, module.register, self.store, self._patch, self._folder)(*arguments)

    def json(self, *arguments: str) -> Any:
        """Return what a command prints as JSON."""
        done = self(*arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    async def begin(self, *, verified: bool = True) -> None:
        """Let v1 be active and v2 be in shadow, both level with the log."""
        versions = Versions(self.store)
        self.log.now_us = time.time_ns() // 1000
        await versions.begin(V1, self.log.now_us - 9_000_000)
        await versions.add(V2, self.log.now_us - 8_000_000)
        await versions.move(V2, "building", "shadow", self.log.now_us - 7_000_000)
        if verified:
            await self.verify()
        self.log.running |= {V1, V2}
        self.log.grow(5)
        self.log.follow()

    async def verify(self) -> None:
        """Note that v2 is equal to v1."""
        result = {"equal": True, "customers": 7, "different": 0, "expected": [], "against": 1}
        await Versions(self.store).note_verified(V2, json.dumps(result), self.log.now_us - 6_000_000)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Desk:
    """Return a desk whose store and log are empty."""
    return Desk(monkeypatch, tmp_path)


def test_where_nothing_ran_the_status_says_so(desk: Desk) -> None:
    assert "No version of any group has run here" in desk("status").stdout
    assert desk.json("status") == {"groups": []}
    assert isinstance(desk("status", "care").exception, Refused)


def test_the_status_shows_every_version_and_what_waits_for_it(desk: Desk) -> None:
    asyncio.run(desk.begin())
    desk.log.grow(3, partition=2, appended_us=desk.log.now_us - 4_000_000)
    asyncio.run(Versions(desk.store).pause(V2, "parked: 101 customers in a minute", desk.log.now_us))
    [group] = desk.json("status", "care")["groups"]
    first, second = group["versions"]
    assert (group["active"], group["promoting"]) == (1, None)
    assert (first["state"], first["workers"], first["lag"]["records"], first["lag"]["partitions"]) == ("active", 1, 3, [2])
    assert 4.0 <= first["lag"]["seconds"] < 60.0
    assert (second["state"], second["paused"], second["verified"]["equal"]) == ("shadow", "parked: 101 customers in a minute", True)
    shown = desk("status").stdout
    assert "care: v1 is active" in shown
    assert "shadow, paused" in shown
    assert "parked: 101 customers in a minute" in shown


def test_the_status_names_who_promotes_and_what_completes_a_cut_off_one(desk: Desk) -> None:
    asyncio.run(desk.begin())
    asyncio.run(Versions(desk.store).begin_promotion("care", Promoting(2, "p", "bob", desk.log.now_us)))
    assert "bob is promoting v2, last seen" in desk("status").stdout
    claim = Promoting(2, "p", "bob", desk.log.now_us)
    asyncio.run(Versions(desk.store).begin_promotion("care", Promoting(2, "p", "bob", 0), instead_of=claim))
    assert "bob was cut off while promoting v2; `touchline projection promote care@2` completes it." in desk("status").stdout


def test_a_version_that_is_resumed_says_why_it_stood_still(desk: Desk) -> None:
    asyncio.run(desk.begin())
    assert isinstance(desk("resume", "care").exception, Refused)
    asyncio.run(Versions(desk.store).pause(V2, "parked: 101 customers", desk.log.now_us))
    assert desk("resume", "care").stdout == "care v2 goes on; it was paused (parked: 101 customers).\n"
    assert desk.json("status", "care")["groups"][0]["versions"][1]["paused"] is None
    assert isinstance(desk("resume", "care@2").exception, Refused)


def test_a_dry_run_draws_every_question_and_its_exit_code_is_the_answer(desk: Desk) -> None:
    asyncio.run(desk.begin(verified=False))
    done = desk("promote", "care@2", "--dry-run")
    assert done.exit_code == 1
    assert "it was never verified" in done.stdout
    assert "It would be refused. Nothing was changed." in done.stdout
    asyncio.run(desk.verify())
    done = desk("promote", "care@2", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "A record in each of 3 partitions lets v2 speak from there on, and v1 falls silent" in done.stdout
    assert desk.json("status")["groups"][0]["active"] == 1


def test_promote_and_rollback_say_what_is_active_now(desk: Desk) -> None:
    asyncio.run(desk.begin())
    done = desk("promote", "care")
    assert done.exit_code == 0, done.output
    assert "care v2 is active: a record in each of 3 partitions" in done.stdout
    assert "the new version has passed it in 3 of 3 partitions, the old one in 3" in done.stderr
    found = desk.json("rollback", "care")
    assert (found["version"], found["demoted"], found["rollback"], found["done"], found["partitions"]) == (1, 2, True, True, 3)


def test_promotions_stand_on_the_audit_trail_and_dry_runs_do_not(desk: Desk) -> None:
    asyncio.run(desk.begin())
    for command in (("promote", "care", "--dry-run"), ("promote", "care"), ("rollback", "care", "--dry-run"), ("rollback", "care")):
        assert desk(*command).exit_code == 0
    noted = [(one.actor, one.action, one.details) for one in entries_of(desk.audit)]
    assert noted == [("ann", "promoted", {"group": "care", "version": "2"}), ("ann", "rolled_back", {"group": "care", "version": "1"})]


def test_where_nobody_runs_the_old_version_it_is_said_what_that_means(desk: Desk) -> None:
    asyncio.run(desk.begin())
    desk.log.running -= {V1}
    assert "No worker runs v1: what it had still to say" in desk("promote", "care@2").stdout


def test_retiring_the_version_that_a_rollback_leads_to_takes_its_name_twice(desk: Desk) -> None:
    asyncio.run(desk.begin())
    desk("promote", "care@2")
    desk.log.running -= {V1}
    plan = desk.json("retire", "care@1", "--dry-run")
    assert (plan["rollback_needs_it"], plan["done"], plan["was"]) == (True, False, "shadow")
    assert "would be retired. Nothing was changed." in desk("retire", "care@1", "--dry-run").stdout
    refused = desk("retire", "care@1")
    assert isinstance(refused.exception, Refused)
    assert refused.exception.next_step == "if that is wanted, add --confirm care@1."
    assert not desk.keyspace.dropped
    done = desk("retire", "care@1", "--confirm", "care@1")
    assert "care v1 is retired" in done.stdout
    assert sorted(desk.keyspace.dropped) == plan["tables"]
    assert desk.json("status")["groups"][0]["versions"][0]["state"] == "retired"


def test_a_version_that_has_still_something_to_say_is_retired_only_when_that_is_said(desk: Desk) -> None:
    asyncio.run(desk.begin())
    desk.log.grow(4)
    desk.log.running -= {V1}
    desk.log.follow()
    desk("promote", "care@2")
    assert desk.json("retire", "care@1", "--dry-run")["unsaid_in_partitions"] == [0]
    assert "It takes --leave-unsaid: effects of records or timers before" in " ".join(desk("retire", "care@1", "--dry-run").stdout.split())
    refused = desk("retire", "care@1", "--confirm", "care@1")
    assert isinstance(refused.exception, Refused)
    assert "still its to send in partition 0, and nobody else's" in str(refused.exception)
    assert not desk.keyspace.dropped
    assert "care v1 is retired" in desk("retire", "care@1", "--confirm", "care@1", "--leave-unsaid").stdout


def test_names_that_are_none_are_refused_before_anything_is_asked(desk: Desk) -> None:
    for name in ("care@", "care@x", "Care@1", "care@0", "care 1"):
        assert isinstance(desk("promote", name).exception, Refused), name
    assert desk("retire", "care").exit_code == 2
    assert desk("rollback", "care@1").exit_code == 2
