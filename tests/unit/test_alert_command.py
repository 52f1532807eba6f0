"""`touchline alerts`, `alert` and `escalation`, as people and scripts see them. Log, workers and store are in memory, the rest is real."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from projections.registry import GROUPS, Group
from projections.rules import LadderStep, Rulebook, UnansweredRule
from projections.testing import contact_abandoned, handle, make, message_sent, time_us
from projections.unanswered import Unanswered
from schemas import events
from schemas.codec import Codec
from schemas.events import Personal
from schemas.record import Event
from schemas.sealing import Opened, Sealed, SealedItem
from streams import alert_following
from streams.alert_following import reframed
from streams.alert_reading import AlertReader
from streams.simulation import Simulation
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion, Store
from touchline import alert_commands, tables
from touchline.alert_commands import Desk, sealed_note
from touchline.alert_lines import SAYS, line, span
from touchline.commands import alert, alerts, escalation
from touchline.commands.alert import until_us
from touchline.errors import Refused, Retryable
from touchline.keyring.keyfile import KeyFile
from touchline.keyring.keyring import Keyring
from touchline.keyring.memory import MemoryKeyStore
from touchline.settings import Settings

RULE = UnansweredRule(
    id="missed-call",
    when='type == "contact.abandoned"',
    answer_within_s=3600,
    severity="high",
    escalation=(LadderStep(after_s=0, to="role:team_lead"), LadderStep(after_s=1800, to="role:head_of_service")),
)
CARE = Group("care", GROUPS["care"].version, [p for p in GROUPS["care"].projections if p.name != "service_levels"])
DAY = "2026-01-12"

Run = Callable[..., Result]


class World:
    """A service centre in memory: what is appended is folded at once, as by a worker that is never late; `asleep`: by none."""

    def __init__(self) -> None:
        self.store = MemoryStore(known_tables([CARE]))
        book = Rulebook(version=1, effective_at_us=0, unanswered=(RULE,))
        limits = {"future_max_s": 300, "cached_subjects_max": 100}
        self.simulation = Simulation([CARE], self.store, Codec(), tenant="acme", books=(book,), **limits)
        self.effects: list[Event] = []
        self.appended: list[Event] = []
        self.now_us = time_us("10:40")
        self.asleep = False

    def happen(self, *happening: Event) -> None:
        asyncio.run(self._feed(*happening))

    async def append(self, key: str, event: Event) -> None:
        assert key == event.header.customer_id
        self.appended.append(event)
        if not self.asleep:
            await self._feed(event)

    async def _feed(self, *happening: Event) -> None:
        came = await self.simulation.feed((event, event.header.occurred_at_us) for event in happening)
        self.effects += [effect.payload for effect in came if isinstance(effect.payload, Event)]

    def reader(self) -> AlertReader:
        return AlertReader(self.store, GroupVersion("care", CARE.version))

    @asynccontextmanager
    async def desk(self, settings: Settings, *, tenant: str, actor: str, wait_s: float) -> AsyncIterator[Desk]:
        async def seal(_: events.Header, note: str) -> Sealed:
            return Sealed(f"sealed:{len(note)}".encode(), "contact:00:k")

        actor = alert_commands.code("actor", actor)
        yield Desk(self.reader(), self.append, seal, tenant=tenant, actor=actor, wait_s=wait_s, clock_us=lambda: self.now_us)

    @asynccontextmanager
    async def connected(self, settings: Settings) -> AsyncIterator[Store]:
        yield self.store


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Two customers were missed: cu-1 in the morning, cu-2 twice; the time is 10:40."""
    made = World()
    made.happen(
        make(events.ConversationAssigned, at="08:00", conversation_id="k-1", team="calls"),
        contact_abandoned(id="a", at="09:00", contact_id="k-1"),
        contact_abandoned(id="b", at="09:05", contact_id="k-2", customer="cu-2"),
        contact_abandoned(id="c", at="09:20", contact_id="k-3", customer="cu-2"),
        make(events.MessageRead, id="d", at="10:30"),
        make(events.MessageRead, id="e", at="10:30", customer="cu-2"),
    )
    monkeypatch.setenv("TOUCHLINE_TENANT", "acme")
    monkeypatch.setattr(alert_commands, "alert_desk", made.desk)
    monkeypatch.setattr(tables, "connected", made.connected)
    return made


@pytest.fixture
def run() -> Run:
    app = typer.Typer()
    for group in (alerts, alert, escalation):
        group.register(app)

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "170", "NO_COLOR": "1", "TZ": "UTC"})

    return call


def listed(run: Run, *arguments: str) -> list[dict[str, Any]]:
    result = run("alerts", "--day", DAY, "--json", *arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(text) for text in result.stdout.splitlines()]


def first(run: Run) -> str:
    return str(next(one["alert_id"] for one in listed(run) if one["customer_id"] == "cu-1"))


# -- the list


@pytest.mark.usefixtures("world")
def test_the_alerts_of_a_day_are_listed_for_all_teams_or_one_the_newest_first(run: Run) -> None:
    found = listed(run)
    assert [(one["customer_id"], one["team"], one["raised_at"], one["attempts"], one["state"], one["severity"]) for one in found] == [
        ("cu-2", "", "2026-01-12T10:05:00Z", 2, "open", "high"),
        ("cu-1", "calls", "2026-01-12T10:00:00Z", 1, "open", "high"),
    ]
    assert {"kind", "cause", "name", "conversation_id", "deliver_at", "snoozed_until", "held_until", "silent"} <= found[0].keys()
    assert [one["customer_id"] for one in listed(run, "--team", "calls")] == ["cu-1"]
    assert listed(run, "--team", "nobody") == []


@pytest.mark.usefixtures("world")
def test_the_table_shows_whole_ids_and_says_when_there_is_nothing(run: Run) -> None:
    shown = run("alerts", "--day", DAY).stdout
    assert first(run) in shown
    assert "unanswered missed-call" in shown
    assert "There are 2; these are the first 1" in run("alerts", "--day", DAY, "-n", "1").stdout
    assert "No alert." in run("alerts", "--day", "2026-01-13").stdout


@pytest.mark.usefixtures("world")
def test_states_filter_and_unknown_ones_are_wrong_use(run: Run) -> None:
    run("alert", "ack", first(run))
    assert [one["customer_id"] for one in listed(run, "--state", "acknowledged")] == ["cu-1"]
    assert run("alerts", "--state", "unknown").exit_code == 2
    assert run("alerts", "--day", "yesterday").exit_code == 2


def test_what_was_told_to_nobody_is_listed_only_with_all(world: World, run: Run) -> None:
    old = contact_abandoned(id="old", at="2026-01-01T09:00:00Z", contact_id="k-9", customer="cu-9")
    world.happen(old)
    asyncio.run(world.simulation.finish(time_us("11:30")))
    quiet = ["alerts", "--day", "2026-01-01", "--json"]
    assert run(*quiet).stdout == ""
    assert json.loads(run(*quiet, "--all").stdout)["silent"] is True


# -- commands


def test_acknowledging_prints_the_alert_as_everybody_sees_it_and_the_log_says_who_and_why(world: World, run: Run) -> None:
    result = run("alert", "ack", first(run), "--reason", "calling", "--as", "sup-7")
    assert result.exit_code == 0, result.output
    assert "acknowledged by sup-7 at 2026-01-12 10:40:00, until 2026-01-12 11:10:00" in result.stdout
    (event,) = world.appended
    header = event.header
    assert isinstance(event, events.AlertAcknowledgeRequested)
    assert (header.source, header.actor_kind, header.actor_id, header.actor_role, event.reason) == (
        "/touchline/operator",
        "agent",
        "sup-7",
        "supervisor",
        "calling",
    )
    assert (header.customer_id, header.home_customer_id, header.conversation_id, header.tenant) == ("cu-1", "cu-1", "k-1", "acme")
    told = [effect for effect in world.effects if isinstance(effect, events.AlertAcknowledged)]
    assert [(effect.by, effect.header.causation_id) for effect in told] == [("sup-7", header.id)]


def test_whoever_acts_without_saying_who_is_the_settings_operator(world: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHLINE_OPERATOR", "desk-3")
    run("alert", "ack", first(run))
    assert world.appended[0].header.actor_id == "desk-3"


def test_snooze_assign_note_and_resolve_are_carried_out_and_shown(world: World, run: Run) -> None:
    alert_id = first(run)
    snoozed = json.loads(run("alert", "snooze", alert_id, "--until", "2026-01-12T12:00:00Z", "--json").stdout)
    assert (snoozed["state"], snoozed["snoozed_until"]) == ("snoozed", "2026-01-12T12:00:00Z")
    given = json.loads(run("alert", "assign", alert_id, "--team", "billing", "--agent", "ag-7", "--json").stdout)
    assert (given["team"], given["assignee"]) == ("billing", "ag-7")
    assert json.loads(run("alert", "note", alert_id, "She was polite.", "--json").stdout)["notes"] == 1
    closed = json.loads(run("alert", "resolve", alert_id, "--reason", "called_back", "--json").stdout)
    assert (closed["state"], closed["reason"], closed["resolved_by"]) == ("resolved", "called_back", "operator")
    assert "She was polite" not in repr(world.appended)
    shown = run("alert", "show", alert_id).stdout
    for said in (
        "ladder of 2 steps: ended",
        "step 1 at 2026-01-12 10:00:00: told role:team_lead",
        "alert.note_added by operator (done)",
        "called_back",
    ):
        assert said in shown


@pytest.mark.usefixtures("world")
def test_standing_down_ends_the_ladder_and_leaves_the_alert(run: Run) -> None:
    alert_id = first(run)
    result = run("escalation", "stand-down", alert_id, "--reason", "known_outage", "--json")
    assert json.loads(result.stdout)["state"] == "open"
    shown = json.loads(run("alert", "show", alert_id, "--json").stdout)
    assert (shown["ladder"][0]["phase"], shown["ladder"][0]["reason"], shown["ladder"][0]["ended_by"]) == ("ended", "known_outage", "operator")
    assert [one["outcome"] for one in shown["commands"]] == ["done"]


@pytest.mark.usefixtures("world")
def test_a_command_that_came_too_late_fails_and_says_why(run: Run) -> None:
    alert_id = first(run)
    run("alert", "resolve", alert_id, "--reason", "done")
    failed = run("alert", "ack", alert_id)
    assert isinstance(failed.exception, Refused)
    assert failed.exception.reason == "closed"
    assert "it is over already" in str(failed.exception)
    again = run("escalation", "stand-down", alert_id, "--reason", "x")
    assert isinstance(again.exception, Refused)
    assert again.exception.reason == "ended"


def test_an_unknown_alert_is_refused_before_anything_is_appended(world: World, run: Run) -> None:
    for arguments in (("alert", "ack", "no-such"), ("alert", "show", "no-such")):
        failed = run(*arguments)
        assert isinstance(failed.exception, Refused)
        assert failed.exception.reason == "unknown_alert"
    assert world.appended == []


def test_without_a_worker_the_command_is_on_the_log_and_says_so(world: World, run: Run) -> None:
    world.asleep = True
    failed = run("alert", "ack", first(run), "--wait", "0")
    assert isinstance(failed.exception, Retryable)
    assert "do not send it again" in str(failed.exception)
    assert len(world.appended) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("alert", "ack", "{}", "--reason", "Ann Smith called"),
        ("alert", "ack", "{}", "--as", "ann@example.org"),
        ("alert", "resolve", "{}", "--reason", "x" * 65),
        ("escalation", "stand-down", "{}", "--reason", "see mail"),
    ],
)
def test_texts_and_names_are_refused_where_nothing_is_sealed_and_never_repeated(world: World, run: Run, arguments: tuple[str, ...]) -> None:
    alert_id = first(run)
    failed = run(*(one.format(alert_id) for one in arguments))
    assert isinstance(failed.exception, Refused)
    assert "Ann" not in str(failed.exception)
    assert "example.org" not in str(failed.exception)
    assert world.appended == []


@pytest.mark.usefixtures("world")
def test_snooze_wants_one_span_or_one_time_and_assign_somebody(run: Run) -> None:
    alert_id = first(run)
    for arguments in (
        ("snooze", alert_id),
        ("snooze", alert_id, "--for", "30m", "--until", "2026-01-12T12:00:00Z"),
        ("snooze", alert_id, "--for", "half an hour"),
        ("snooze", alert_id, "--until", "2026-01-12T12:00:00"),
        ("assign", alert_id),
    ):
        assert run("alert", *arguments).exit_code == 2
    now = datetime(2026, 1, 12, 10, 0, tzinfo=UTC)
    assert [until_us(one, None, now) for one in ("90s", "30m", "2h", "1d")] == [
        time_us("10:01:30"),
        time_us("10:30"),
        time_us("12:00"),
        time_us("2026-01-13T10:00:00Z"),
    ]


# -- a note's text


def test_a_note_is_sealed_under_the_customers_strongest_handle_and_opens_as_written(tmp_path: Any) -> None:
    store, codec = MemoryKeyStore(), Codec()
    keyring = Keyring(store, KeyFile.load_or_create(tmp_path / "keys.json").wrapper, codec)
    mail, account = handle("email", "ann@example.org", verified=True), handle("account", "4711")
    header = make(events.AlertNoteAdded, id="op-1", alert_id="a", handles=(mail, account)).header

    async def there_and_back() -> Any:
        sealed = await sealed_note(keyring, codec, header, "She asked to be called after five.")
        assert account.hash.hex() in sealed.sealed_key
        (opened,) = await keyring.open_many([SealedItem("acme", "op-1", sealed.sealed, sealed.sealed_key)])
        return opened

    opened = asyncio.run(there_and_back())
    assert isinstance(opened, Opened)
    assert opened.personal == Personal(text="She asked to be called after five.")


def test_a_note_on_a_customer_without_handles_is_refused(tmp_path: Any) -> None:
    keyring = Keyring(MemoryKeyStore(), KeyFile.load_or_create(tmp_path / "keys.json").wrapper, Codec())
    with pytest.raises(Refused, match="nothing to be sealed under"):
        asyncio.run(sealed_note(keyring, Codec(), make(events.AlertNoteAdded, alert_id="a").header, "x"))


# -- following


def followed(monkeypatch: pytest.MonkeyPatch, *came: Event) -> list[list[str]]:
    """Let these events come, then Ctrl-C; return where the topics that are read will be."""
    read: list[list[str]] = []

    def follow(_: str, topics: list[str], *__: object) -> Iterator[Event]:
        read.append(topics)
        yield from came
        raise KeyboardInterrupt

    monkeypatch.setattr(alert_following, "followed", follow)
    return read


def test_following_prints_a_line_for_each_event_and_ends_cleanly_with_ctrl_c(world: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    world.happen(message_sent(at="10:50", conversation_id="c-x"))
    read = followed(monkeypatch, *world.effects)
    result = run("alerts", "--follow")
    assert result.exit_code == 0
    assert read == [["touchline.alert.v1", "touchline.escalation.v1"]]
    shown = result.stdout
    for said in (
        "HIGH · calls · unanswered missed-call in k-1 · due now",
        "AGAIN · - · unanswered missed-call · attempt 2, due 10:20:00 · conversation k-3",
        "STEP 1 → role:team_lead · unanswered missed-call · ",
        "ANSWERED · missed-call · by message.sent (email), 1 h 50 min after it was asked",
        "STOOD DOWN · answered, by itself",
        f"RESOLVED · answered, by itself · {first(run)}",
    ):
        assert said in shown
    assert run("alerts", "--follow", "--team", "billing").stdout.count("HIGH") == 1  # of the one that no team has


def test_warnings_are_followed_on_request_and_nothing_else_of_the_clocks(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    common = {"metric": "first_response", "instance": 1, "turn": 0, "policy": "p", "calendar": "always", "rules_version": 1, "target_s": 60}
    told = {**common, "started_at_us": 0, "due_at_us": time_us("10:00"), "consumed_us": 0, "team": "mail"}
    warned = make(events.SlaWarned, conversation_id="c-1", **told)
    breached = make(events.SlaBreached, conversation_id="c-1", cause="due", detected_late=False, **told)
    read = followed(monkeypatch, warned, breached)
    monkeypatch.setenv("TOUCHLINE_TENANT", "acme")
    shown = run("alerts", "--follow", "--warnings").stdout
    assert read == [["touchline.alert.v1", "touchline.escalation.v1", "touchline.sla.v1"]]
    assert "WARNING · mail · first_response · due 10:00:00 · conversation c-1" in shown
    assert len(shown.splitlines()) == 1


def test_followed_as_json_each_event_is_an_object_of_a_line(world: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    followed(monkeypatch, *world.effects)
    found = [json.loads(text) for text in run("alerts", "--follow", "--json").stdout.splitlines()]
    assert [one["type"] for one in found][:3] == ["unanswered.detected", "alert.raised", "escalation.step_reached"]
    assert found[1]["due_at"] == "2026-01-12T10:00:00Z"


def test_other_tenants_events_are_not_shown(world: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    followed(monkeypatch, *world.effects)
    assert run("alerts", "--follow", "--tenant", "other").stdout == ""


def test_every_event_of_alerts_and_ladders_has_a_line_and_escape_codes_are_taken_out() -> None:
    families = ("alert", "escalation", "unanswered")
    asked = ("_requested", "note_added")
    effects = {kind for name, kind in events.EVENT_TYPES.items() if name.partition(".")[0] in families and not name.endswith(asked)}
    assert set(SAYS) == effects | {events.SlaWarned}
    evil = make(events.AlertResolved, alert_id="a", reason="\x1b[2Jdone", by=None, conversation_id="c\n1")
    said = line(evil, UTC)
    assert said is not None
    assert "\x1b" not in said
    assert "\n" not in said


def test_spans_are_short_and_never_negative() -> None:
    assert [span(s) for s in (-5, 0, 12, 1800, 184, 7500, 273_600)] == ["0 s", "0 s", "12 s", "30 min", "3 min 4 s", "2 h 5 min", "3 d 4 h"]


def test_a_record_under_a_registrys_id_is_read_as_our_own() -> None:
    codec = Codec()
    event = make(events.AlertResolved, alert_id="a", reason="answered", by=None)
    own = codec.encode(event)
    registered = codec.encode_as(event, 4_711)
    assert codec.decode(reframed(registered, {4_711: int.from_bytes(own[1:5], "big")})) == event
    assert reframed(own, {4_711: 1}) == own


def test_the_group_of_this_test_has_what_the_commands_read() -> None:
    assert {p.name for p in CARE.projections} >= {"sla", Unanswered.name, "alerts", "escalation"}
