"""`touchline customer show` and `touchline timeline`, as a person and a script see them. The desk is in memory, the rest is real."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from rich.cells import cell_len
from typer.testing import CliRunner, Result

from connectors.contract import Actor, Draft, RawHandle
from connectors.sealer import Sealer
from projections.registry import GROUPS
from schemas.codec import Codec
from schemas.handles import handle_hash
from schemas.sealing import KeyPartition
from streams.care_view import CareReader
from streams.identity.claim import Name
from streams.identity.claims import Claims
from streams.plain import instant_us
from streams.reading import ActiveVersions, CustomerReader
from streams.simulation import Simulation
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.store.port import RowWrite
from touchline import opening
from touchline.commands import customer
from touchline.errors import Misconfigured, Refused, Retryable
from touchline.handle_names import handle_named
from touchline.key_service import has_keys, key_service
from touchline.keyring.keyfile import KeyFile
from touchline.keyring.keyring import Keyring
from touchline.keyring.memory import MemoryKeyStore
from touchline.settings import Settings, load_settings

MAIL, PHONE, OTHER_PHONE = "ann@example.org", "+4915112345678", "+4930901820"
CHINESE = "你好，我的包裹在哪里呢？已经等了三天了，请尽快回复我，谢谢。" * 3  # noqa: RUF001 - as it is written

Run = Callable[..., Result]


class Noted:
    """Stands for the audit trail: what was noted, in order; or it cannot be written."""

    def __init__(self) -> None:
        self.notes: list[tuple[Any, ...]] = []
        self.away = False

    async def note(self, action: str, *, customer: str | None = None, purpose: str | None = None, count: int = 0, **_: Any) -> None:
        if self.away:
            raise Retryable("The audit trail could not be written.")
        self.notes.append((action, customer, purpose, count))


class World:
    """One customer with a history over three channels, in memory; keys and hashes are real."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.codec = Codec()
        self.keys = MemoryKeyStore()
        self.notes = Noted()
        self.now_us = instant_us("2026-01-12T12:00:00Z")
        self.store = MemoryStore(known_tables())
        key_file = KeyFile.load_or_create(settings.key_file)
        self.index_key = key_file.index_key("default")
        self.sealer = Sealer(Keyring(self.keys, key_file.wrapper, self.codec), self.codec, key_file.index_key, "DE")
        self.simulation = Simulation(GROUPS.values(), self.store, self.codec, tenant="default", future_max_s=300, cached_subjects_max=100)

    def happen(self, *drafts: Draft) -> None:
        async def seal() -> None:
            await self.sealer.prepare(drafts, self.now_us)
            await self.simulation.feed((self.sealer.event(draft, self.now_us), draft.occurred_at_us) for draft in drafts)

        asyncio.run(seal())

    def erase(self) -> None:
        """Destroy every key, as an erasure does."""
        for partition in [*self.keys._rows]:
            assert isinstance(partition, KeyPartition)
            for row in asyncio.run(self.keys.read(*partition)):
                gone = msgspec.structs.replace(row, wrapped=b"", state="destroyed", erased_at_us=2**60)
                asyncio.run(self.keys.insert(gone))

    @asynccontextmanager
    async def desk(self, settings: Settings) -> AsyncIterator[opening.Desk]:
        active = ActiveVersions(self.store)
        reader, care = CustomerReader(self.store, self.codec, await active.of("view")), CareReader(self.store, await active.of("care"))
        async with AsyncExitStack() as open_ones:
            keys = await open_ones.enter_async_context(key_service(settings)) if has_keys(settings) else None
            opener = opening.Opener(settings, self.keys, self.codec, keys, self.notes, clock_us=lambda: self.now_us)
            yield opening.Desk(reader, opener, care, Claims(self.store))


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
        "conversation_id": "c-9",
    }
    return Draft(**{**told, **fields})


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOUCHLINE_KEY_FILE", str(tmp_path / "keys.json"))
    made = World(load_settings())
    both = (RawHandle("email", MAIL, verified=True), RawHandle("phone", "0151 12345678"), RawHandle("phone", "030 901820"))
    made.happen(
        draft(1, "10T09:00:00", channel="webchat", text="Where is my parcel?"),
        draft(2, "10T09:05:00", type="message.sent", direction="outbound", actor=Actor("agent", "ag-7", "[b]parcels"), text="[red]Soon[/red]\x1b[2J",
              channel="webchat", fields={"visibility": "public", "author": "human"}),
        draft(3, "11T08:00:00", text=CHINESE, subject="包裹", customer=both),
        draft(4, "11T09:00:00", type="contact.initiated", channel="phone", contact_id="k-1", conversation_id="k-1", fields={"queue": "billing"}),
        draft(5, "11T09:00:30", type="contact.offered", channel="phone", contact_id="k-1", conversation_id="k-1", actor=Actor("system"),
              direction="internal", fields={"agent": "ag-7"}),
        draft(6, "11T09:01:00", type="contact.abandoned", channel="phone", contact_id="k-1", conversation_id="k-1", fields={"stage": "queue"}),
    )  # fmt: skip
    monkeypatch.setattr(opening, "desk", made.desk)
    return made


@pytest.fixture
def run() -> Run:
    app = typer.Typer()
    customer.register(app)

    def call(*arguments: str, columns: int = 100) -> Result:
        return CliRunner().invoke(app, list(arguments), env={"COLUMNS": str(columns), "NO_COLOR": "1"})

    return call


def ann(world: World) -> str:
    """Return who Ann is, by all her handles: one of her telephone numbers names her."""
    own = opening.customer_of(world.settings, "default", f"email:{MAIL}")
    [row] = asyncio.run(world.store.read("customer_v1", {"tenant": "default", "customer_id": own}, limit=1))
    return str(row["canonical_id"])


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_customer_is_shown_with_handles_opened_and_everything_that_stands_open(world: World, run: Run) -> None:
    shown = run("customer", "show", ann(world))
    assert shown.exit_code == 0
    for said in (
        f"Customer {ann(world)}, tenant default",
        "as of 2026-01-11 09:01:00 UTC; partition 0, offset",
        MAIL,
        PHONE,
        "started in webchat, continued in email",
        "[b]parcels",
        "Comes by email (1), phone (1), webchat (1); last by phone at 2026-01-11 09:00:00; mostly at 09, 08 h UTC.",
        "→ in ☎ phone",
        "message.received Where is my parcel?",
        "contact.abandoned stage queue",
        "c-9: started in webchat, continued in email",
    ):
        assert said in " ".join(shown.stdout.split()), said


def test_the_page_reads_well_at_a_hundred_columns_with_chinese_text(world: World, run: Run) -> None:
    shown = run("customer", "show", ann(world)).stdout
    assert max(cell_len(line) for line in shown.splitlines()) <= 100
    [line] = [line for line in shown.splitlines() if "你好" in line]
    assert line.rstrip().endswith("…"), "a long text is cut, not wrapped"
    assert "包裹 — 你好" in line


def test_what_a_customer_or_an_agent_wrote_is_neither_markup_nor_a_terminal_command(world: World, run: Run) -> None:
    shown = run("customer", "show", ann(world)).stdout
    assert "[red]Soon[/red] [2J" in shown
    assert "\x1b" not in shown


def test_a_handle_finds_the_customer_however_it_is_written(world: World, run: Run) -> None:
    by_id = run("customer", "show", ann(world)).stdout
    for handle in (f"email:{MAIL.upper()}", f" Email : {MAIL} "):
        assert run("customer", "show", "--handle", handle).stdout == by_id


def test_the_json_form_is_one_object_with_stable_names(world: World, run: Run) -> None:
    [found] = lines(run("customer", "show", ann(world), "--json"))
    names = "customer_id tenant asked_id canonical_id erased_at as_of handles open_conversations last_contacts preferences care vulnerability"
    assert list(found) == f"{names} unreadable_facets timeline next_cursor".split()
    assert {name: value for name, value in found["as_of"].items() if name != "offset"} == {
        "version": 1,
        "partition": 0,
        "event_time": "2026-01-11T09:01:00Z",
    }
    phones = sorted((PHONE, OTHER_PHONE), key=lambda value: handle_hash(world.index_key, "phone", value))
    assert found["handles"] == [
        {"kind": "email", "value": MAIL, "sealed": "opened", "verified": True, "first_seen": "2026-01-10T09:00:00Z"},
        *({"kind": "phone", "value": value, "sealed": "opened", "verified": False, "first_seen": "2026-01-11T08:00:00Z"} for value in phones),
    ]
    assert found["open_conversations"][0]["channels"] == ["webchat", "email"]
    assert [entry["at"] for entry in found["last_contacts"]] == ["2026-01-11T09:01:00Z", "2026-01-11T08:00:00Z"]
    assert [event["event_id"] for event in found["timeline"]] == ["m-6", "m-4", "m-3", "m-2", "m-1"]


def test_a_customer_who_was_merged_leads_to_the_one_with_everything(world: World, run: Run) -> None:
    merged = opening.customer_of(world.settings, "default", f"email:{MAIL}")
    assert merged != ann(world)
    shown = run("customer", "show", merged)
    assert f"Customer {merged}, who was asked for, was merged into this one." in shown.stdout
    for named in ((merged,), ("--handle", f"email:{MAIL}"), ("--handle", f"phone:{PHONE}")):
        [found] = lines(run("customer", "show", *named, "--json"))
        assert found["customer_id"] == ann(world)
        assert found["asked_id"] == (merged if named == (merged,) else ann(world))
        page = lines(run("timeline", *named, "--json"))[-1]
        assert (page["customer_id"], page["events"]) == (ann(world), 5)


def test_a_person_who_was_forgotten_is_shown_as_such_by_the_handle_too(world: World, run: Run) -> None:
    at_us = instant_us("2026-01-12T11:00:00Z")
    claims = Claims(world.store)
    for written in (f"email:{MAIL}", f"phone:{PHONE}", f"phone:{OTHER_PHONE}"):
        claim = asyncio.run(claims.one(Name("default", *handle_named(world.settings, "default", written))))
        row = RowWrite("customer_v1", ("default", claim.own), {"erased_at": at_us}, 2**50)
        asyncio.run(world.store.write([row]))
        assert asyncio.run(claims.erase(claim, at_us)) is not None
    for written in (f"email:{MAIL}", f"phone:{PHONE}"):
        shown = run("customer", "show", "--handle", written)
        assert "Erased at 2026-01-12 11:00:00 UTC" in shown.stdout
        [found] = lines(run("customer", "show", "--handle", written, "--json"))
        assert found["erased_at"] == "2026-01-12T11:00:00Z"


def test_an_erased_customer_keeps_the_history_without_texts_and_handles(world: World, run: Run) -> None:
    customer_id = ann(world)
    world.erase()
    shown = run("customer", "show", customer_id).stdout
    assert MAIL not in shown
    assert "parcel?" not in shown
    assert shown.count("(erased)") >= 5
    [found] = lines(run("customer", "show", customer_id, "--json"))
    assert {event["sealed"] for event in found["timeline"]} == {"erased"}
    assert [(one["value"], one["sealed"]) for one in found["handles"]] == [(None, "erased")] * 3


def test_without_a_key_file_the_history_is_shown_unopened_and_no_key_file_is_made(world: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    customer_id, elsewhere = ann(world), world.settings.key_file.parent / "none.json"
    monkeypatch.setenv("TOUCHLINE_KEY_FILE", str(elsewhere))
    shown = run("customer", "show", customer_id)
    assert "(unreadable: no_key_file)" in shown.stdout
    assert "(unreadable)" in shown.stdout
    by_handle = run("customer", "show", "--handle", f"email:{MAIL}")
    assert isinstance(by_handle.exception, Misconfigured)
    assert not elsewhere.exists()


def test_an_unknown_customer_is_said_in_words(world: World, run: Run) -> None:
    for arguments in (("customer", "show", "no-such"), ("timeline", "no-such")):
        error = run(*arguments).exception
        assert isinstance(error, Refused), "which ends the command line with exit 1"
        assert "There is no customer no-such of tenant default" in str(error)
    stranger = run("customer", "show", "--handle", "email:bob@example.org").exception
    assert isinstance(stranger, Refused)
    assert "bob" not in str(stranger)
    assert run("customer", "show", ann(world), "--tenant", "acme").exception is not None


@pytest.mark.parametrize("handle", ["0151 12345678", "phone:", ":x", "fax:0301234567", "phone:secret words", "email:secret"])
def test_a_wrong_handle_is_wrong_use_and_is_not_repeated(world: World, run: Run, handle: str) -> None:
    del world
    for command in (("customer", "show"), ("timeline",)):
        result = run(*command, "--handle", handle)
        assert result.exit_code == 2
        assert "secret" not in result.output
        assert "12345678" not in result.output


def test_exactly_one_of_id_and_handle_is_asked_for(world: World, run: Run) -> None:
    assert run("customer", "show").exit_code == 2
    assert run("timeline", ann(world), "--handle", f"email:{MAIL}").exit_code == 2


# -- timeline -------------------------------------------------------------------------------------------------------------


def test_the_timeline_is_printed_as_lines_and_a_last_line_with_the_cursor(world: World, run: Run) -> None:
    *events, page = lines(run("timeline", ann(world), "--limit", "2", "--json"))
    assert [event["event_id"] for event in events] == ["m-6", "m-4"]
    assert page["kind"] == "page"
    assert page["events"] == 2
    *more, last = lines(run("timeline", ann(world), "--json", "--cursor", page["next_cursor"]))
    assert [event["event_id"] for event in more] == ["m-3", "m-2", "m-1"]
    assert last["next_cursor"] is None
    assert (more[0]["kind"], more[0]["subject"], more[0]["text"], more[0]["sealed"]) == ("event", "包裹", CHINESE, "opened")
    assert more[0]["at"] == "2026-01-11T08:00:00Z"


def test_filters_of_the_timeline(world: World, run: Run) -> None:
    def found(*options: str) -> list[str]:
        return [event["event_id"] for event in lines(run("timeline", ann(world), "--json", *options))[:-1]]

    assert found() == ["m-6", "m-4", "m-3", "m-2", "m-1"]
    assert [one for one in found("--all") if one.startswith("m-")] == ["m-6", "m-5", "m-4", "m-3", "m-2", "m-1"]
    assert found("--channel", "email", "--channel", "phone") == ["m-6", "m-4", "m-3"]
    assert found("--type", "message.sent") == ["m-2"]
    assert found("--type", "contact", "--since", "2026-01-11T09:00:30Z") == ["m-6"]
    assert found("--until", "2026-01-11") == ["m-2", "m-1"]


def test_with_sealed_nothing_is_opened(world: World, run: Run) -> None:
    result = run("timeline", ann(world), "--sealed", "--json")
    assert {event["sealed"] for event in lines(result)[:-1]} == {"sealed"}
    assert "parcel" not in result.stdout.replace("parcels", "")
    assert "(sealed)" in run("timeline", ann(world), "--sealed").stdout


def test_the_text_form_names_the_cursor_of_what_comes_after(world: World, run: Run) -> None:
    shown = run("timeline", ann(world), "-n", "1").stdout
    assert "2026-01-11 09:01:00 → in ☎ phone contact.abandoned stage queue" in " ".join(shown.split())
    assert "More, with the same filters: --cursor " in shown
    assert "More" not in run("timeline", ann(world)).stdout


@pytest.mark.parametrize("options", ["--channel fax", "--type message.recieved", "--since 2026-01-12T09:00:00", "--until soon", "--limit 0"])
def test_wrong_use_of_the_timeline_ends_with_exit_2(world: World, run: Run, options: str) -> None:
    assert run("timeline", ann(world), *options.split()).exit_code == 2


def test_a_cursor_of_other_filters_is_refused(world: World, run: Run) -> None:
    cursor = lines(run("timeline", ann(world), "-n", "1", "--json"))[-1]["next_cursor"]
    error = run("timeline", ann(world), "--all", "--cursor", cursor).exception
    assert isinstance(error, Refused)
    assert error.reason == "cursor_invalid"


def test_every_channel_has_a_mark_one_cell_wide() -> None:
    from schemas.topics import CHANNELS  # noqa: PLC0415 - beside its only use

    assert set(customer._MARKS) == set(CHANNELS)
    assert {cell_len(mark) for mark in customer._MARKS.values()} == {1}


@pytest.mark.parametrize("command", [("customer", "show"), ("timeline",), ("customer",)])
def test_help_has_an_example(run: Run, command: tuple[str, ...]) -> None:
    assert "Example:" in run(*command, "--help").stdout
