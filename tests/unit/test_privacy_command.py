"""`touchline privacy erase` and `report`, as a person and a script see them. Servers are in memory, sealing and folding are real."""

import asyncio
import io
import json
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from typer.testing import CliRunner, Result

from connectors.contract import Actor, Draft, RawHandle
from connectors.sealer import Sealer
from projections.registry import GROUPS
from schemas.codec import Codec
from schemas.events import Header, IdentityCopied, KeysDestroyed, PrivacyErased, VulnerabilityFlagged
from schemas.handles import customer_id, strongest
from schemas.record import Event
from streams.control_topic import KnownBy
from streams.engine import Engine
from streams.identity.claim import Name
from streams.identity.claims import Claims
from streams.plain import instant_us
from streams.reading import ActiveVersions, CustomerReader
from streams.records import Batch, RawRecord
from streams.store.catalogue import keyring_tables, known_tables
from streams.store.data_keys import CassandraDataKeys
from streams.store.memory import MemoryStore
from streams.versions.choosing import Wanted, running_groups
from tests.support.folds import folded
from touchline import erasing_said
from touchline.commands import privacy
from touchline.erasing import Erasing, Parts, Tell
from touchline.erasing_keys import AGAIN_S, Shredder
from touchline.erasing_person import People
from touchline.erasing_places import Places
from touchline.erasures import Erasure, Erasures
from touchline.errors import Misconfigured, Refused, Retryable
from touchline.handle_names import handle_named
from touchline.keyring.keyfile import KeyFile
from touchline.keyring.keyring import Keyring
from touchline.settings import Settings, load_settings

MAIL, PHONE, BOB = "ann@example.org", "+4915112345678", "bob@example.org"
ASKED = "Where is my <b>parcel</b>?"
Run = Callable[..., Result]


class World:
    """Ann, known by mail and phone, and Bob; with an engine per group that folds what is appended to the log."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.codec = Codec()
        self.store, self.keyring = MemoryStore(known_tables()), MemoryStore(keyring_tables())
        self.now_us = instant_us("2026-01-12T12:00:00Z")
        self.keys = CassandraDataKeys(self.keyring, self.clock)
        self.notes: list[tuple[str, str | None, str | None, int]] = []
        self.told: list[KeysDestroyed] = []
        self.waited_s: list[float] = []
        self.is_silent, self.operator, self.silent_for = False, "", "nobody@example.org"
        file = KeyFile.load_or_create(settings.key_file)
        self.sealer = Sealer(Keyring(self.keys, file.wrapper, self.codec), self.codec, file.index_key, "DE")
        self.engines = [Engine(group, self.codec, tenant="default", cached_subjects_max=100) for group in GROUPS.values()]
        for engine in self.engines:
            engine.open(0, None)
        self.end = 0
        asyncio.run(running_groups(self.store, [Wanted(name, None) for name in GROUPS], self.now_us))

    def clock(self) -> int:
        return self.now_us

    def happen(self, *drafts: Draft) -> None:
        async def seal() -> list[Event]:
            await self.sealer.prepare(drafts, self.now_us)
            return [self.sealer.event(draft, self.now_us) for draft in drafts]

        self.append([placed(event) for event in asyncio.run(seal())])

    def append(self, events: Sequence[Event]) -> None:
        records = [
            RawRecord(self.end + n, event.header.customer_id.encode(), self.codec.encode(event), self.now_us + n) for n, event in enumerate(events)
        ]
        self.end += len(records)
        for engine in self.engines:
            folded(engine, Batch(0, records), self.store)

    @asynccontextmanager
    async def office(self, settings: Settings, *, tell: Tell | None = None, pause: Any = None) -> AsyncIterator[erasing_said.Office]:
        self.operator = settings.operator
        assert pause is not None
        view = CustomerReader(self.store, self.codec, await ActiveVersions(self.store).of("view"))
        people, places = People(Claims(self.store, self.clock), view, self.keys), Places(self.store, self.clock)
        erasures = Erasures(self.store, self.clock)
        parts = Parts(erasures, people, Claims(self.store, self.clock), Shredder(self.keys, self.clock), places, self, self)
        erasing = Erasing(parts, self.clock, pause=self._pause, tell=tell)
        yield erasing_said.Office(self.store, self.codec, people, self.keys, places, erasures, view, self, erasing)

    async def _pause(self, wait_s: float) -> None:
        self.waited_s.append(wait_s)
        self.now_us += round(wait_s * 1e6)

    async def to_the_log(self, events: Sequence[PrivacyErased]) -> None:
        await asyncio.to_thread(self.append, events)  # which has a loop of its own

    async def to_everybody(self, said: KeysDestroyed) -> None:
        if self.is_silent or self.handle(f"email:{self.silent_for}").name in said.handles:
            raise Retryable("Kafka did not answer.")
        self.told.append(said)

    async def note(self, action: str, *, customer: str | None = None, purpose: str | None = None, count: int = 0, **_: Any) -> None:
        self.notes.append((action, customer, purpose, count))

    def handle(self, written: str) -> KnownBy:
        return handle_named(self.settings, "default", written)

    def customer(self, written: str, generation: int = 0) -> str:
        return customer_id("default", *self.handle(written), generation)


def placed(event: Event) -> Event:
    """Return the event as the resolver appends it for somebody who is linked to nobody."""
    handle = strongest(event.header.handles)
    own = customer_id(event.header.tenant, handle.kind, handle.hash)
    return msgspec.structs.replace(event, header=msgspec.structs.replace(event.header, customer_id=own, home_customer_id=own))


def draft(number: int, at: str, **fields: Any) -> Draft:
    told: dict[str, Any] = {
        "type": "message.received",
        "id": f"m-{number}",
        "source": "/test",
        "tenant": "default",
        "channel": "email",
        "direction": "inbound",
        "occurred_at_us": instant_us(f"2026-01-{at}Z"),
        "customer": (RawHandle("email", MAIL, verified=True),),
        "actor": Actor("customer"),
        "conversation_id": f"c-{number}",
    }
    return Draft(**{**told, **fields})


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOUCHLINE_KEY_FILE", str(tmp_path / "keys.json"))
    made = World(load_settings())
    made.happen(
        draft(1, "10T09:00:00", text=ASKED, subject="Parcel\x1b[2J", attributes={"vip": "yes"}, unknown={"hint": "ring twice"}),
        draft(2, "11T08:00:00", text="Second", customer=(RawHandle("email", MAIL, verified=True), RawHandle("phone", PHONE))),
        draft(3, "11T09:00:00", text="Of Bob", customer=(RawHandle("email", BOB),)),
    )
    monkeypatch.setattr(erasing_said, "office", made.office)
    return made


@pytest.fixture
def run() -> Run:
    app = typer.Typer()
    privacy.register(app)

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["privacy", *arguments], env={"COLUMNS": "160", "NO_COLOR": "1"})

    return call


def opened(run: Run, handle: str) -> list[dict[str, Any]]:
    result = run("report", "--handle", handle, "--json")
    assert result.exit_code == 0, result.output
    return [event for event in json.loads(result.stdout)["events"] if event["sealed"] != "none"]


# -- erase


def test_a_dry_run_says_what_would_be_destroyed_and_changes_nothing(world: World, run: Run) -> None:
    before = [asyncio.run(one.scan(table)) for one, table in ((world.keyring, "data_key"), (world.store, "erasure"), (world.store, "identity"))]
    result = run("erase", "--handle", f"phone:{PHONE}", "--dry-run", "--json")
    assert result.exit_code == 1, "the phone by itself names nobody here"
    result = run("erase", "--handle", f"email:{MAIL}", "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    assert plan["customers"] == [world.customer(f"email:{MAIL}")]
    assert {(one["kind"], one["keys"]["contact"]) for one in plan["handles"]} == {("email", 1), ("phone", 0)}
    shown = run("erase", "--handle", f"email:{MAIL}", "--dry-run")
    assert "Nothing was changed." in shown.stdout
    assert MAIL not in shown.stdout
    after = [asyncio.run(one.scan(table)) for one, table in ((world.keyring, "data_key"), (world.store, "erasure"), (world.store, "identity"))]
    assert after == before
    assert (world.notes, world.told, world.end) == ([], [], 3)


def test_an_erased_person_cannot_be_read_any_more_and_everybody_else_can(world: World, run: Run) -> None:
    assert [event["content"]["text"] for event in opened(run, f"email:{MAIL}")] == ["Second", ASKED]
    result = run("erase", "--handle", f"email:{MAIL}", "--reason", "asked", "--by", "dpo-3", "--json")
    assert result.exit_code == 0, result.output
    assert world.operator == "dpo-3"
    done = json.loads(result.stdout)
    assert (done["done"], done["customers"]) == (True, [world.customer(f"email:{MAIL}")])
    assert world.waited_s == [AGAIN_S]
    assert world.notes[-1][:2] == ("erased", world.customer(f"email:{MAIL}"))
    assert [set(said.handles) for said in world.told] == [{world.handle(f"email:{MAIL}").name, world.handle(f"phone:{PHONE}").name}]
    again = run("report", "--handle", f"email:{MAIL}")
    assert again.exit_code == 0
    assert "Was forgotten at" in again.stdout
    assert [event["content"]["text"] for event in opened(run, f"email:{BOB}")] == ["Of Bob"]
    [row] = asyncio.run(world.store.read("customer_v1", {"tenant": "default", "customer_id": world.customer(f"email:{MAIL}")}, limit=1))
    assert row["erased_at"] is not None


def test_erasing_twice_says_when_it_was_by_handle_and_by_customer(world: World, run: Run) -> None:
    run("erase", "--handle", f"email:{MAIL}", "--reason", "asked")
    for name in (("--handle", f"email:{MAIL}"), ("--handle", f"phone:{PHONE}"), ("--customer", world.customer(f"email:{MAIL}"))):
        result = run("erase", *name, "--reason", "asked")
        assert result.exit_code == 0, result.output
        assert "Was forgotten at 2026-01-12T12:00:00" in result.stdout
    assert len(world.told) == 1


def test_who_was_forgotten_before_the_view_had_a_row_of_them_is_known_to_have_been(world: World, run: Run) -> None:
    """Their first record was parked, for instance."""
    at_us, both = instant_us("2026-01-11T12:00:00Z"), frozenset({"c-1", "c-2"})
    unseen = Erasure(
        tenant="default", id="er-1", customer="c-1", customers=both, handles=frozenset(), reason="asked", actor="op", begun_at_us=at_us, step="done"
    )
    asyncio.run(Erasures(world.store, world.clock).save(unseen))
    for command in (("report",), ("erase", "--reason", "asked")):
        told = run(*command, "--customer", "c-2")
        assert told.exit_code == 0, told.exception
        assert "Was forgotten at 2026-01-11T12:00:00" in told.stdout


def test_a_person_who_returns_is_new_and_can_be_read_and_erased(world: World, run: Run) -> None:
    run("erase", "--handle", f"email:{MAIL}", "--reason", "asked")
    claim = asyncio.run(Claims(world.store).one(Name("default", *world.handle(f"email:{MAIL}"))))
    assert claim.own == world.customer(f"email:{MAIL}", 1)
    result = run("erase", "--customer", claim.own, "--reason", "asked")
    assert isinstance(result.exception, Refused)
    assert result.exception.reason == "unknown_person"


def test_of_nobody_it_says_so_without_repeating_the_handle(world: World, run: Run) -> None:
    del world
    for arguments in (("erase", "--reason", "asked"), ("report",)):
        result = run(*arguments, "--handle", "email:nobody@example.org")
        assert isinstance(result.exception, Refused)
        assert result.exception.reason == "unknown_person"
        assert "nobody@" not in str(result.exception)


def test_without_waiting_the_last_step_is_left_and_can_be_resumed(world: World, run: Run) -> None:
    result = run("erase", "--handle", f"email:{MAIL}", "--reason", "asked", "--no-wait")
    assert "--resume" in result.stdout
    assert world.waited_s == []
    told = run("erase", "--handle", f"email:{MAIL}", "--reason", "asked")
    assert "not complete yet" in told.stdout
    [line] = run("erase", "--resume", "--json").stdout.splitlines()
    assert json.loads(line)["done"]
    assert run("erase", "--resume").stdout == "No erasure is left to be completed.\n"


def test_what_a_silent_server_cuts_off_is_completed_by_resume(world: World, run: Run) -> None:
    world.is_silent = True
    assert isinstance(run("erase", "--handle", f"email:{MAIL}", "--reason", "asked").exception, Retryable)
    assert json.loads(run("erase", "--resume", "--dry-run", "--json").stdout)["step"] == "searched"
    world.is_silent = False
    assert json.loads(run("erase", "--resume", "--json").stdout)["done"]
    assert len(world.told) == 1


def test_one_that_cannot_be_completed_does_not_keep_the_others_waiting(world: World, run: Run) -> None:
    world.is_silent = True
    for handle in (MAIL, BOB):
        assert isinstance(run("erase", "--handle", f"email:{handle}", "--reason", "asked").exception, Retryable)
    world.is_silent, world.silent_for = False, MAIL
    result = run("erase", "--resume", "--json")
    assert isinstance(result.exception, Retryable)
    assert [json.loads(line)["customer"] for line in result.stdout.splitlines()] == [world.customer(f"email:{BOB}")]
    world.silent_for = "nobody@example.org"
    assert [json.loads(line)["done"] for line in run("erase", "--resume", "--json").stdout.splitlines()] == [True]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--reason", "asked"), "one of both"),
        (("--handle", f"email:{MAIL}", "--customer", "cu-1", "--reason", "asked"), "one of both"),
        (("--handle", f"email:{MAIL}"), "say why"),
        (("--resume", "--reason", "asked"), "names nobody anew"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_asked(world: World, run: Run, arguments: tuple[str, ...], says: str) -> None:
    result = run("erase", *arguments)
    assert result.exit_code == 2
    assert says in result.output
    assert world.told == []


def test_a_reason_that_is_a_text_and_a_handle_that_is_none_are_refused(world: World, run: Run) -> None:
    del world
    assert isinstance(run("erase", "--handle", f"email:{MAIL}", "--reason", "she asked us to").exception, Refused)
    result = run("erase", "--handle", MAIL, "--reason", "asked")
    assert isinstance(result.exception, Refused)
    assert MAIL not in str(result.exception)


def test_without_a_key_file_no_handle_can_be_found(world: World, run: Run) -> None:
    world.settings.key_file.unlink()
    assert isinstance(run("erase", "--handle", f"email:{MAIL}", "--reason", "asked").exception, Misconfigured)
    assert not world.settings.key_file.exists()


# -- report


def test_a_report_tells_who_where_for_how_long_under_which_keys_and_everything_that_was_said(world: World, run: Run) -> None:
    result = run("report", "--handle", f"email:{MAIL}", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["customer"] == world.customer(f"email:{MAIL}")
    assert {(one["kind"], one["value"]) for one in told["handles"]} == {("email", MAIL), ("phone", PHONE)}
    assert [(one["purpose"], one["year"], one["state"]) for one in told["keys"]] == [("contact", 2026, "active")]
    places = {one["name"]: one for one in told["places"]}
    assert places["touchline.interaction.v1"]["records"] == places["timeline_v1"]["records"] == 2
    assert places["touchline.channel.email.v1"]["kept"] == "30 days"
    assert places["touchline.sla.v1"]["records"] is None
    assert places["keyring.data_key"]["records"] == 1
    assert places["conversation_v1"]["records"] == 2
    newest, first = told["events"]
    content = first["content"]
    assert (content["text"], content["attributes"], content["unknown"]) == (ASKED, {"vip": "yes"}, {"hint": "ring twice"})
    assert newest["key"].startswith("contact:")
    assert not told["events_left_out"]
    assert [note[0] for note in world.notes] == ["reported", "opened"]


def test_a_report_as_a_page_stands_alone_is_well_formed_and_shows_texts_as_texts(world: World, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "ann.html"
    result = run("report", "--handle", f"email:{MAIL}", "--html", str(file))
    assert result.exit_code == 0, result.output
    assert MAIL in result.stdout
    text = file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    tree = ET.fromstring(re.sub(r"<!doctype html>\n", "", text))  # noqa: S314 - the page that we just made
    said = " ".join(tree.itertext())
    for shown in (ASKED, MAIL, PHONE, "ring twice", world.customer(f"email:{MAIL}"), "timeline_v1"):
        assert shown in said
    assert "\x1b" not in text
    assert "<b>parcel" not in text
    assert not re.findall(r"(?:src|href)=|<script|url\(", text)


def test_a_report_tells_people_what_happened_and_leaves_the_machinery_to_programs(
    world: World, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOUCHLINE_ROLES", "privacy,vulnerability")
    root = world.customer(f"email:{MAIL}")

    def header(id_: str) -> Header:
        return Header(
            id=id_, source="/test", tenant="default", occurred_at_us=world.now_us, received_at_us=0, customer_id=root, home_customer_id=root
        )

    copied = IdentityCopied(header=header("copied-1"), from_="cu-p", home="cu-p", to=root, last_offset=4711, write_ts_us=world.now_us)
    world.append([copied, VulnerabilityFlagged(header=header("v-1"), expires_at_us=world.now_us + 1_000_000)])
    file = tmp_path / "ann.html"
    shown = run("report", "--handle", f"email:{MAIL}", "--html", str(file)).stdout
    for text in (shown, file.read_text()):
        assert not re.search(r"4711|identity.copied|_us\b", text)
        assert "1 technical record (links, copies, alerts) left out" in text
        assert "2026-01-12T12:00:01Z" in text, "the flag's end"
    told = json.loads(run("report", "--handle", f"email:{MAIL}", "--json").stdout)
    assert "identity.copied" in {event["type"] for event in told["events"]}


def test_a_page_is_at_no_moment_readable_for_others(world: World, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del world
    file = tmp_path / "ann.html"
    file.write_text("an older one")
    file.chmod(0o644)
    modes = []
    write = io.TextIOWrapper.write

    class Watched(io.TextIOWrapper):
        def write(self, text: str) -> int:
            modes.append(file.stat().st_mode & 0o077)
            return write(self, text)

    monkeypatch.setattr(os, "fdopen", lambda descriptor, *_, **__: Watched(io.FileIO(descriptor, "w"), encoding="utf-8"))
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: modes.append(-1))
    assert run("report", "--handle", f"email:{MAIL}", "--html", str(file)).exit_code == 0
    assert modes == [0]


def test_two_events_of_one_id_are_both_told_where_their_sources_differ(world: World, run: Run) -> None:
    world.happen(draft(1, "11T10:00:00", source="/other", text="Of another source"))
    assert {event["content"]["text"] for event in opened(run, f"email:{MAIL}")} == {"Second", ASKED, "Of another source"}


def test_a_report_that_cannot_be_written_says_so(world: World, run: Run, tmp_path: Path) -> None:
    del world
    result = run("report", "--handle", f"email:{MAIL}", "--html", str(tmp_path / "nowhere" / "ann.html"))
    assert isinstance(result.exception, Refused)
    assert result.exception.reason == "unwritable"


def test_without_keys_a_report_tells_what_there_is_but_opens_nothing(world: World, run: Run) -> None:
    customer = world.customer(f"email:{MAIL}")
    world.settings.key_file.unlink()
    told = json.loads(run("report", "--customer", customer, "--json").stdout)
    assert {event["sealed"] for event in told["events"]} == {"unreadable"}
    assert {one["value"] for one in told["handles"]} == {None}
