"""`touchline config`, as a person and a script see it. The topic is in memory, the rest is real."""

import json
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from projections.registry import GROUPS
from projections.rules import Rulebook
from projections.sla.conditions import Context
from schemas.codec import Codec
from streams import wall_clock
from streams.plain import instant_us
from streams.published import Published, publication, published
from streams.records import Batch, RawRecord
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.store.port import RowWrite
from touchline import conversation_clocks, explaining, publishing
from touchline.commands import config
from touchline.errors import Misconfigured, Refused
from touchline.settings import Settings

NOW_US = instant_us("2026-01-12T10:00:00Z")
EXAMPLE = Path("docs/examples/policies.toml").resolve()
SMALL = '[[policy]]\nid = "mail"\nwhen = \'channel == "email"\'\ntargets = { first_response = "1h" }\n'

Run = Callable[..., Result]


class Topic:
    """config.v1 in memory: one partition, an hour between two records."""

    def __init__(self) -> None:
        self.records: list[RawRecord] = []
        self.codec = Codec()

    def publish(self, settings: Settings, tenant: str, book: Rulebook, effective_at_us: int | None) -> list[Published]:
        event = publication(book, tenant=tenant, record_id=f"r-{len(self.records)}", now_us=NOW_US, effective_at_us=effective_at_us)
        appended_us = NOW_US - (2 - len(self.records)) * 3_600_000_000
        self.records.append(RawRecord(len(self.records), b"rules", self.codec.encode(event), appended_us))
        return self.read(settings, tenant)

    def read(self, settings: Settings, tenant: str) -> list[Published]:
        assert settings.topic("config") == "touchline.config.v1"
        return published([Batch(0, self.records, topic="t")], self.codec, tenant)


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Topic:
    made = Topic()
    monkeypatch.setattr(publishing, "publish", made.publish)
    monkeypatch.setattr(publishing, "published_rules", made.read)
    monkeypatch.setattr(publishing, "now_us", lambda: NOW_US)
    monkeypatch.setattr(wall_clock, "now_us", lambda: NOW_US)
    monkeypatch.setattr(publishing, "await_told", lambda _settings, version, wait_s: version <= wait_s)
    return made


@pytest.fixture
def run(topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    assert not topic.records
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    app = typer.Typer()
    config.register(app)
    app.callback()(lambda: None)
    return lambda *words: CliRunner().invoke(app, ["config", *map(str, words)])


@pytest.fixture
def small(tmp_path: Path) -> Path:
    file = tmp_path / "small.toml"
    file.write_text(SMALL)
    return file


def printed(done: Result) -> Any:
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


# -- lint ----------------------------------------------------------------------------------------------------------------------


def test_a_good_file_is_told_to_be_good_without_any_server(run: Run) -> None:
    done = run("lint", EXAMPLE)
    assert (done.exit_code, done.stdout) == (0, f"{EXAMPLE} is good: 4 calendars, 5 policies, 2 unanswered rules, 2 queues.\n")
    assert printed(run("lint", EXAMPLE, "--json"))["faults"] == []


def test_a_file_with_faults_ends_with_78_and_scripts_get_them_as_json(run: Run, small: Path) -> None:
    small.write_text(SMALL.replace("1h", "1").replace("channel", "chanel"))
    done = run("lint", small)
    assert isinstance(done.exception, Misconfigured)
    assert str(done.exception).startswith(f"{small} has 2 faults; nothing of it is in force.\n{small}:3: ")
    listed = run("lint", small, "--json")
    assert listed.exit_code == 78
    assert [fault["line"] for fault in json.loads(listed.stdout)["faults"]] == [3, 4]


def test_a_file_that_cannot_be_read_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xff")
    for name in ("none", "latin"):
        assert "cannot be read" in str(run("lint", name).exception)


# -- publish and show ----------------------------------------------------------------------------------------------------------


def test_publishing_tells_the_version_and_what_is_in_force(run: Run, topic: Topic, small: Path) -> None:
    assert printed(run("publish", small, "--json")) == {
        "version": 1,
        "effective_at": "2026-01-12T08:00:00Z",
        "published_at": "2026-01-12T08:00:00Z",
        "in_force": 1,
        "told": True,
        "calendars": 0,
        "policies": 1,
        "unanswered": 0,
        "queues": 0,
    }
    later = run("publish", small, "--effective-at", "2026-02-01T00:00:00Z").stdout
    assert later == (
        "Published version 2, in force from 2026-02-01T00:00:00Z: 0 calendars, 1 policies, 0 unanswered rules, 0 queues.\n"
        "Until then version 1 is in force.\n"
    )
    assert len(topic.records) == 2
    alone = run("publish", small, "--wait", "0").stdout
    assert "The log has not been told yet: a worker does it" in alone
    assert len(topic.records) == 3, "it is published all the same"


def test_a_file_with_a_fault_publishes_nothing(run: Run, topic: Topic, small: Path) -> None:
    small.write_text(SMALL + "colour = 1")
    assert isinstance(run("publish", small).exception, Misconfigured)
    assert topic.records == []


def test_rules_for_old_data_hold_from_1970_on_with_the_holidays_of_those_years(run: Run) -> None:
    """1970 is zero in epoch time, and yet it is not "from now on"."""
    found = printed(run("publish", EXAMPLE, "--effective-at", "1970-01-01T00:00:00Z", "--json"))
    assert found["effective_at"] == "1970-01-01T00:00:00Z"
    shown = printed(run("show", "--as-of", "1999-01-06", "--json"))
    assert (shown["version"], shown["effective_at"], shown["published_at"]) == (1, "1970-01-01T00:00:00Z", "2026-01-12T08:00:00Z")
    assert shown["calendars"][0]["exceptions"]["1999-01-06"] == []


def test_what_is_shown_is_what_was_in_force_then(run: Run, small: Path) -> None:
    assert printed(run("show", "--json")) == {"version": 0}
    assert "No rules are in force then" in run("show").stdout
    run("publish", small)
    run("publish", EXAMPLE, "--effective-at", "2026-03-01T00:00:00Z")
    versions = [printed(run("show", "--as-of", at, "--json"))["version"] for at in ("2026-01-01", "2026-02-01", "2026-03-01")]
    assert versions == [0, 1, 2]
    assert printed(run("show", "--json"))["version"] == 1


def test_the_table_shows_calendars_policies_and_every_version(run: Run) -> None:
    run("publish", EXAMPLE)
    said = run("show").stdout
    for text in (
        "Version 1, in force from 2026-01-12T08:00:00Z",
        "Attributes that stay clear: priority, plan",
        "mon-thu 09:00-17:00, fri 09:00-15:00",
        "mon-thu 22:00-06:00",
        "first_response 1h, next_response 2h, resolution_total 16h",
        "0s role:team_lead, 30m role:head_of_service",
        "answered within 45s, short abandon 5s",
        'stage in ["queue", "ringing"]',
        "segment vip",
        "work returns after 15m",
    ):
        assert text in said


def test_another_tenant_has_rules_of_its_own(run: Run, small: Path) -> None:
    run("publish", small, "--tenant", "acme")
    assert printed(run("show", "--json"))["version"] == 0
    assert printed(run("show", "--json", "--tenant", "acme"))["version"] == 1


@pytest.mark.parametrize("words", [("show", "--as-of", "yesterday"), ("publish", "x", "--effective-at", "2026-01-12T10:00"), ("explain",)])
def test_wrong_use_ends_with_2(run: Run, words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2


# -- explain -------------------------------------------------------------------------------------------------------------------


def test_a_file_explains_policy_calendar_level_and_due_time_without_any_server(run: Run) -> None:
    """V3 of sla.md in our own words: warned before, due on the next morning."""
    found = printed(run("explain", EXAMPLE, "--with", "channel=email priority=high queue=billing", "--at", "2026-01-12T15:30:00Z", "--json"))
    assert (found["policy"], found["passed"], found["started_at"]) == ("mail-high", ["chinese"], "2026-01-12T15:30:00Z")
    assert found["clocks"][0] == {
        "metric": "first_response",
        "target_s": 3600,
        "calendar": "office",
        "level": "defaults",
        "by": None,
        "warn_at": "2026-01-13T08:15:00Z",
        "due_at": "2026-01-13T08:30:00Z",
    }


@pytest.mark.parametrize(
    ("words", "policy", "level", "by"),
    [
        ("channel=email segments=vip,new", "mail-high", "customer", "vip"),
        ("channel=email attributes.plan=gold", "mail-high", "defaults", None),
        ("channel=webchat", "live", "channel", "webchat"),
        ("channel=phone queue=shop-floor", "live", "queue", "shop-floor"),
        ("language=zh", "chinese", "policy", "chinese"),
        ("channel=portal", "everything-else", "defaults", None),
    ],
)
def test_the_first_clocks_calendar_is_explained_by_its_level(run: Run, words: str, policy: str, level: str, by: str | None) -> None:
    found = printed(run("explain", EXAMPLE, "--with", words, "--json"))
    assert (found["policy"], found["clocks"][0]["level"], found["clocks"][0]["by"]) == (policy, level, by)


def test_the_table_names_what_did_not_match_and_why_it_is_this_calendar(run: Run) -> None:
    said = run("explain", EXAMPLE, "--with", "channel=phone type=contact.abandoned stage=queue", "--at", "2026-01-12T16:30:00Z").stdout
    for text in ("no: mail, channel", "Policy live:", "named for the metric", "the default", "missed-call", "the rule's own", "2026-01-13T10:00:00Z"):
        assert text in said
    warned = run("explain", EXAMPLE, "--with", "channel=email").stdout
    assert "Warned before: first_response at" in warned


def test_without_a_policy_no_clock_starts(run: Run, small: Path) -> None:
    assert "No policy applies: no clock starts." in run("explain", small, "--with", "channel=phone").stdout
    assert printed(run("explain", small, "--with", "channel=phone", "--json"))["clocks"] == []


@pytest.mark.parametrize("words", ["channel", "channel=emial", "direction=sideways", "colour=red", "attributes.=x", 'channel="x'])
def test_words_that_say_nothing_are_refused(run: Run, small: Path, words: str) -> None:
    assert run("explain", small, "--with", words).exit_code == 2


def test_words_make_a_context() -> None:
    known = Context(channel="phone", attributes=frozenset({("plan", "gold"), ("x", "1")}))
    found = explaining.context_of("type=a stage=b tags=x,y, segment=vip conversation.attributes.plan=silver team='night shift'", known)
    assert (found.channel, found.type, found.stage, found.team) == ("phone", "a", "b", "night shift")
    assert (found.tags, found.segments) == (frozenset({"x", "y"}), frozenset({"vip"}))
    assert found.attributes == frozenset({("plan", "silver"), ("x", "1")})


def test_a_conversation_is_explained_by_what_the_tables_know_of_it(run: Run, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its channel, team and priority; more can be said with --with."""
    store = MemoryStore(known_tables())
    opened_us = instant_us("2026-01-12T09:00:00Z")
    version = GROUPS["view"].version

    @asynccontextmanager
    async def connected(settings: Settings) -> Any:
        assert settings.tenant == "default"
        columns = {
            "customer_id": "k",
            "channels": frozenset({"email", "phone"}),
            "last_channel": "email",
            "opened_at": opened_us,
            "last_at": opened_us,
        }
        write = RowWrite(f"conversation_v{version}", ("default", "c-9", "k"), {**columns, "status": "open", "priority": "high"}, 10)
        clock = {"state": "running", "started_at": opened_us, "due_at": opened_us + 3_600_000_000, "policy": "mail", "calendar": "office"}
        table = f"clock_v{GROUPS['care'].version}"
        keys = [("default", "k", conversation, metric, 1) for conversation, metric in (("c-9", "first_response"), ("c-8", "first_response"))]
        await store.write([write, *(RowWrite(table, key, dict(clock), 10) for key in keys)])
        yield store

    monkeypatch.setattr(conversation_clocks, "connected", connected)
    run("publish", EXAMPLE, "--effective-at", "2026-01-01T00:00:00Z")
    found = printed(run("explain", "--conversation", "c-9", "--json"))
    assert (found["policy"], found["version"], found["started_at"]) == ("mail-high", 1, "2026-01-12T09:00:00Z")
    assert found["context"] == {"channel": "email", "priority": "high", "attributes": {}}
    assert found["running"] == [
        {"metric": "first_response", "instance": 1, "state": "running", "policy": "mail", "calendar": "office", "due_at": "2026-01-12T10:00:00Z"}
    ]
    assert "As they stand" in run("explain", "--conversation", "c-9").stdout
    assert printed(run("explain", small, "--conversation", "c-9", "--json"))["policy"] == "mail"
    assert printed(run("explain", "--conversation", "c-9", "--with", "language=zh", "--json"))["policy"] == "chinese"
    unknown = run("explain", "--conversation", "c-0")
    assert isinstance(unknown.exception, Refused)
    assert "There is no conversation c-0" in str(unknown.exception)
