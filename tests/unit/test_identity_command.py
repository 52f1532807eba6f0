"""`touchline identity`, as a person and a script use it. The log is in memory, the rest is real."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from schemas.codec import Codec
from schemas.events import CustomerContact, CustomerKnownHandle, Handle, IdentityLinked, IdentityUnlinked
from schemas.handles import customer_id
from streams.identity.claim import Claim, Name
from streams.identity.claims import Claims
from streams.identity.copying import COPIES_MAX
from streams.reading import CustomerReader
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion, RowWrite
from tests.support.linking import Log, Process
from touchline import identities
from touchline.commands import identity
from touchline.errors import Refused, Retryable
from touchline.handle_names import handle_named
from touchline.keyring.keyfile import KeyFile
from touchline.settings import Settings, load_settings

MAIL, PHONE, ACCOUNT, OTHER = "email:ann@example.org", "phone:+4915112345678", "account:K-17", "account:K-18"
TENANT = "acme"

Run = Callable[..., Result]


class Noted:
    """Stands for the audit trail."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str | None, str]] = []
        self.away = False

    async def note(self, action: str, *, customer: str | None = None, reason: str = "", **_: Any) -> None:
        if self.away:
            raise Retryable("The audit trail could not be written.")
        self.notes.append((action, customer, reason))


class World:
    """Claims, a view and a log in memory; the key file is real."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        KeyFile.load_or_create(settings.key_file)
        self.store, self.log, self.notes = MemoryStore(known_tables()), Log(), Noted()
        self.process = Process(self.store, self.log, stepping=False)

    def name(self, written: str) -> Name:
        return Name(TENANT, *handle_named(self.settings, TENANT, written))

    def own(self, written: str) -> str:
        return customer_id(*self.name(written))

    def event(self, *written: str) -> None:
        names = [self.name(one) for one in written]
        asyncio.run(self.process.resolve(f"e-{len(self.log.records)}", [Handle(kind=one.kind, hash=one.hash) for one in names]))

    def seen(self, written: str) -> None:
        """Let the view know a customer by its own handle."""
        name = self.name(written)
        contact = CustomerContact(handles=(CustomerKnownHandle(kind=name.kind, hash=name.hash, verified=False, first_seen_us=1, event_id="m-1"),))
        raw = Codec().encode(contact)
        columns: dict[str, Any] = {"body": raw[5:], "schema_id": int.from_bytes(raw[1:5], "big")}
        self.store.apply([RowWrite("customer_v1", (TENANT, self.own(written), "contact"), columns, 1)])

    @asynccontextmanager
    async def connected(self, settings: Settings, tenant: str) -> AsyncIterator[identities.Identities]:
        view = CustomerReader(self.store, Codec(), GroupVersion("view", 1))
        yield identities.Identities(self.process.linker, view, self.notes, tenant=tenant, actor=settings.operator)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOUCHLINE_TENANT", TENANT)
    made = World(load_settings())
    monkeypatch.setattr(identities, "identities", made.connected)
    return made


@pytest.fixture
def run(world: World) -> Run:  # noqa: ARG001 - the world that the command finds
    app = typer.Typer()
    identity.register(app)

    def call(*arguments: str) -> Result:
        with capture_logs():  # which the front door sends elsewhere
            return CliRunner().invoke(app, ["identity", *arguments])

    return call


def refused(result: Result) -> Refused:
    assert isinstance(result.exception, Refused)
    return result.exception


def test_show_names_the_root_its_handles_since_when_and_why(world: World, run: Run) -> None:
    world.event(MAIL, ACCOUNT)
    world.event(PHONE, MAIL)
    found = json.loads(run("show", "--handle", MAIL, "--json").stdout)
    assert found["customer_id"] == world.own(ACCOUNT)
    assert found["settled"] is True
    assert [(one["kind"], one["home_customer_id"], one["via"]) for one in found["handles"]] == [
        ("account", world.own(ACCOUNT), None),
        ("phone", world.own(PHONE), world.own(MAIL)),
        ("email", world.own(MAIL), None),
    ]
    assert [one["since"] is None for one in found["handles"]] == [True, False, False]
    assert found["handles"][2]["evidence"] == "e-0"
    by_id = json.loads(run("show", world.own(PHONE), "--json").stdout)
    assert by_id == found
    shown = run("show", world.own(MAIL)).stdout
    assert world.own(ACCOUNT) in shown
    assert "its own" in shown


def test_show_of_nobody_is_a_clear_answer_and_of_a_handle_never_seen_that_nothing_is_known(world: World, run: Run) -> None:
    assert refused(run("show", "nobody")).reason == "unknown_customer"
    found = json.loads(run("show", "--handle", MAIL, "--json").stdout)
    assert (found["customer_id"], found["known"]) == (world.own(MAIL), False)
    shown = run("show", "--handle", MAIL).stdout
    assert shown == f"Nothing is known of this handle.\nBy itself it would be customer {world.own(MAIL)}.\n"
    world.seen(MAIL)
    assert json.loads(run("show", "--handle", MAIL, "--json").stdout)["known"] is True
    assert "its own" in run("show", "--handle", MAIL).stdout
    assert run("show").exit_code == 2
    assert run("show", "x", "--handle", MAIL).exit_code == 2
    assert run("show", "--handle", "mail at example").exit_code == 2


def test_show_of_a_handle_whose_person_was_forgotten_says_when(world: World, run: Run) -> None:
    world.event(MAIL, ACCOUNT)
    claims = Claims(world.store)
    asyncio.run(claims.erase(asyncio.run(claims.one(world.name(MAIL))), 1_768_219_200_000_000))
    assert "since its person was forgotten at 2026-01-12T12:00:00Z." in run("show", "--handle", MAIL).stdout


def test_link_says_what_it_would_move_and_then_moves_it(world: World, run: Run) -> None:
    dry = json.loads(run("link", "--handle", MAIL, "--handle", PHONE, "--dry-run", "--json").stdout)
    assert (dry["kind"], dry["dry_run"]) == ("linked", True)
    assert world.log.records == []
    assert world.notes.notes == []
    done = json.loads(run("link", "--handle", MAIL, "--handle", PHONE, "--json").stdout)
    assert done == {**dry, "dry_run": False}
    assert [(one["home"], one["customer"], one["to"]) for one in done["moves"]] == [(world.own(MAIL), world.own(MAIL), world.own(PHONE))]
    assert {key for key, event in world.log.records if isinstance(event, IdentityLinked)} == {world.own(MAIL), world.own(PHONE)}
    assert world.notes.notes == [("linked", world.own(MAIL), "same_person")]
    assert refused(run("link", "--handle", MAIL, "--handle", PHONE)).reason == "same_customer"
    assert run("link", "--handle", MAIL).exit_code == 2


def test_a_proposal_is_listed_until_somebody_decides(world: World, run: Run) -> None:
    assert "Nothing has to be decided" in run("proposals").stdout
    world.event(ACCOUNT, OTHER)
    [found] = json.loads(run("proposals", "--json").stdout)["proposals"]
    assert set(found["customers"]) == {world.own(ACCOUNT), world.own(OTHER)}
    assert found["reason"] == "two_accounts"
    assert world.own(ACCOUNT) in (said := run("proposals").stdout)
    assert "There may be more" not in said
    assert "There may be more: these are the first 1." in run("proposals", "--limit", "1").stdout
    world.seen(ACCOUNT)
    world.seen(OTHER)
    kept = json.loads(run("reject", world.own(ACCOUNT), world.own(OTHER), "--dry-run", "--json").stdout)
    assert kept["dry_run"] is True
    assert json.loads(run("proposals", "--json").stdout)["proposals"]
    assert "Keeps" in run("reject", world.own(ACCOUNT), world.own(OTHER)).stdout
    assert json.loads(run("proposals", "--json").stdout)["proposals"] == []
    [pair] = json.loads(run("show", world.own(OTHER), "--json").stdout)["pairs"]
    assert (pair["state"], pair["reason"], pair["actor"]) == ("rejected", "two_people", "operator")
    assert world.notes.notes[0][0] == "proposal_rejected"


def test_customers_of_whom_the_view_knows_are_merged_and_unmerged_by_their_ids(world: World, run: Run) -> None:
    world.seen(ACCOUNT)
    world.seen(OTHER)
    world.event(MAIL, OTHER)
    assert "Would move" in run("merge", world.own(ACCOUNT), world.own(MAIL), "--dry-run").stdout
    merged = json.loads(run("merge", world.own(ACCOUNT), world.own(MAIL), "--json").stdout)
    to, gone = merged["moves"][0]["to"], merged["moves"][0]["customer"]
    assert {to, gone} == {world.own(ACCOUNT), world.own(OTHER)}
    taken = json.loads(run("unmerge", gone, "--reason", "father_and_son", "--json").stdout)
    assert {one["home"] for one in taken["moves"]} == {one["home"] for one in merged["moves"]}
    assert {event.reason for _, event in world.log.records if isinstance(event, IdentityUnlinked)} == {"father_and_son"}
    assert refused(run("unmerge", gone)).reason == "not_linked"
    assert [note[0] for note in world.notes.notes] == ["merged", "unmerged"]


def test_a_merge_of_somebody_with_too_long_a_history_is_refused_also_as_a_dry_run(world: World, run: Run) -> None:
    async def length(*_: Claim) -> int:
        return COPIES_MAX + 143

    world.process.linker.length = length
    for dry_run in ((), ("--dry-run",)):
        error = refused(run("link", "--handle", MAIL, "--handle", PHONE, *dry_run))
        assert (error.reason, error.what) == (
            "history_too_long",
            f"The customer {world.own(MAIL)} has 2,143 records or more, and a link copies at most 2,000.",
        )
        assert "touchline identity reject" in error.next_step
    assert (world.log.records, world.notes.notes) == ([], [])


def test_a_customer_with_itself_an_unknown_or_an_erased_one_is_refused_and_nothing_is_done(world: World, run: Run) -> None:
    world.seen(ACCOUNT)
    assert refused(run("merge", world.own(ACCOUNT), world.own(ACCOUNT))).reason == "same_customer"
    assert refused(run("merge", world.own(ACCOUNT), "nobody")).reason == "unknown_customer"
    world.seen(OTHER)
    claims = Claims(world.store, lambda: 5)
    asyncio.run(claims.erase(asyncio.run(claims.one(world.name(OTHER))), 9))
    world.store.apply([RowWrite("customer_v1", (TENANT, world.own(OTHER)), {"erased_at": 9}, 2)])
    assert refused(run("merge", world.own(ACCOUNT), world.own(OTHER))).reason == "erased"
    assert world.log.records == []
    assert world.notes.notes == []


def test_what_cannot_be_noted_is_not_done(world: World, run: Run) -> None:
    world.notes.away = True
    assert isinstance(run("link", "--handle", MAIL, "--handle", PHONE).exception, Retryable)
    assert world.log.records == []
    assert json.loads(run("show", "--handle", MAIL, "--json").stdout)["customer_id"] == world.own(MAIL)
