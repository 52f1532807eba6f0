"""`touchline keys`: what lies under which key, and a rotation, as a person and a script see them. The servers are in memory."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from streams.store.catalogue import control_tables, keyring_tables
from streams.store.data_keys import CassandraDataKeys
from streams.store.memory import MemoryStore
from tests.support import key_service as chest
from tests.support.rotating import NOW_US, People, keks_in
from touchline import auditing, tables
from touchline.commands import keys
from touchline.errors import Misconfigured, Refused, Retryable
from touchline.keyring import rotation
from touchline.settings import Settings


class _Tables(MemoryStore):
    """One store that is both keyspaces."""

    def beside(self, keyspace: str, found: Any) -> "_Tables":
        del keyspace, found
        return self


class _Trail:
    def __init__(self) -> None:
        self.notes: list[dict[str, Any]] = []
        self.away = False

    async def note(self, action: str, **told: Any) -> None:
        if self.away:
            raise Retryable("The audit trail could not be written.")
        self.notes.append({"action": action, **told})


class World:
    """An installation in memory, and what runs its commands."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.path = folder / "keys.json"
        self.tables = _Tables([*keyring_tables(), *control_tables()])
        self.ticks = iter(range(NOW_US, NOW_US + 10**9, 1000))
        self.store = CassandraDataKeys(self.tables, lambda: next(self.ticks))
        self.people = People(self.store, self.path)
        self.trail = _Trail()
        patch.chdir(folder)
        patch.setenv("TOUCHLINE_KEY_FILE", str(self.path))
        patch.setattr(tables, "connected", self.connected)
        patch.setattr(auditing, "trail_of", lambda *_: self.trail)
        patch.setitem(rotation.Rotation.__init__.__kwdefaults__, "settle_s", 0.0)
        app = typer.Typer()
        keys.register(app)
        self.app = app

    @asynccontextmanager
    async def connected(self, settings: Settings) -> AsyncIterator[_Tables]:
        del settings
        yield self.tables

    def seal(self, *numbers: int) -> None:
        async def fill() -> None:
            ring = self.people.process()
            for n in numbers:
                await self.people.seal(ring, n)

        asyncio.run(fill())

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(self.app, ["keys", *arguments], env={"COLUMNS": "120"})


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path, monkeypatch)
    made.seal(*range(1, 11))
    return made


def test_status_shows_what_lies_under_which_key_by_purpose_and_year(world: World) -> None:
    asyncio.run(world.people.destroy(3))
    current, _ = keks_in(world.path)
    shown = " ".join(world.run("status").stdout.split())
    for said in (f"{current} wraps contact 2026 7", f"{current} wraps vulnerability 2026 2", "destroyed contact 2026 1", f"Keys from {world.path}"):
        assert said in shown, said
    assert "not finished" not in shown


def test_status_as_json_has_stable_names(world: World) -> None:
    current, _ = keks_in(world.path)
    found = json.loads(world.run("status", "--json").stdout)
    assert found == {
        "source": str(world.path),
        "current": current,
        "unfinished": False,
        "keks": [{"kek": current, "state": "wraps", "data_keys": 10}],
        "active": [
            {"kek": current, "purpose": "contact", "year": 2026, "data_keys": 8},
            {"kek": current, "purpose": "vulnerability", "year": 2026, "data_keys": 2},
        ],
        "destroyed": [],
    }


def test_rotate_says_what_it_did_and_asks_for_a_backup(world: World) -> None:
    old, _ = keks_in(world.path)
    result = world.run("rotate")
    new, all_ = keks_in(world.path)
    assert result.exit_code == 0
    assert all_ == [new]
    assert result.stdout.splitlines() == [
        f"{new} is the new key-encryption key.",
        f"Wrapped by {new}: 10 data keys.",
        f"Taken out of the key file, since nothing lies under it any more: {old}.",
    ]
    assert f"Back up {world.path} now" in result.stderr
    assert world.trail.notes == [{"action": "keys_rotated", "tenant": "default", "reason": "", "details": {"kek": new, "kek_before": old}}]
    asyncio.run(world.people.check())


def test_rotate_as_json_has_stable_names(world: World) -> None:
    old, _ = keks_in(world.path)
    found = json.loads(world.run("rotate", "--json").stdout)
    new, _ = keks_in(world.path)
    assert found == {"current": new, "added": new, "removed": [old], "kept": [], "rewrapped": 10, "broken": 0, "unknown": 0}


def test_what_is_unfinished_is_said_and_resumed_and_noted(world: World) -> None:
    old, _ = keks_in(world.path)
    kept = world.run("rotate", "--keep-old")
    assert f"Still in the key file: {old}. `touchline keys rotate --resume` takes it out." in kept.stdout
    shown = world.run("status").stdout
    assert "A rotation is not finished: `touchline keys rotate --resume` ends it." in shown
    assert "only unwraps" in shown
    done = world.run("rotate", "--resume")
    assert done.exit_code == 0
    assert "Back up" not in done.stderr
    assert world.trail.notes[-1]["reason"] == "resumed"
    assert json.loads(world.run("status", "--json").stdout)["unfinished"] is False


def test_a_row_that_cannot_be_unwrapped_ends_with_an_error_until_it_is_given_up(world: World) -> None:
    old, _ = keks_in(world.path)
    [row] = asyncio.run(world.store.read("acme", bytes([1]) * 32, "contact"))
    asyncio.run(world.store.insert(msgspec.structs.replace(row, wrapped=row.wrapped[:-1] + b"?")))
    result = world.run("rotate")
    assert isinstance(result.exception, Refused)
    assert "cannot be unwrapped: 1 data key." in str(result.exception)
    assert "--forget-broken" in result.exception.next_step
    assert old in keks_in(world.path)[1]
    assert world.run("rotate", "--resume", "--forget-broken").exit_code == 0
    assert old not in keks_in(world.path)[1]


def test_keys_that_are_not_in_the_file_are_trouble_that_is_named(world: World) -> None:
    [row] = asyncio.run(world.store.read("acme", bytes([1]) * 32, "contact"))
    asyncio.run(world.store.insert(msgspec.structs.replace(row, kek_id="k-elsewhere")))
    shown = world.run("status").stdout
    assert "Under a key that is not in this file: 1 data key. Bring the file that has it." in shown
    assert "not in this file" in shown


def test_nothing_is_rotated_that_cannot_be_noted(world: World) -> None:
    before = world.path.read_bytes()
    world.trail.away = True
    assert isinstance(world.run("rotate").exception, Retryable)
    assert world.path.read_bytes() == before


def test_without_a_key_file_none_is_made(world: World) -> None:
    world.path.unlink()
    for command in ("status", "rotate"):
        error = world.run(command).exception
        assert isinstance(error, Misconfigured)
        assert "There is no key file" in str(error)
    assert not world.path.exists()


def test_with_a_service_everything_is_wrapped_by_its_newest_key(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    service = chest.ChestService()
    monkeypatch.setattr(chest, "THE_SERVICE", service)
    monkeypatch.setenv("TOUCHLINE_KEY_SERVICE", "tests.support.key_service:make")
    bare = asyncio.run(world.store.read("acme", bytes([1]) * 32, "contact"))[0]

    async def wrap() -> None:
        wrapped, kek_id = await service.wrapper.wrap(b"s" * 32, bare.context)
        await world.store.insert(msgspec.structs.replace(bare, wrapped=wrapped, kek_id=kek_id))

    asyncio.run(wrap())
    first, second = service.wrapper.kek_id, service.wrapper.rotate()
    assert json.loads(world.run("status", "--json").stdout)["current"] == second
    found = json.loads(world.run("rotate", "--json").stdout)
    assert (found["current"], found["rewrapped"], found["added"]) == (second, 1, None)
    assert found["unknown"] == 9, "those of the key file, which the service never had"
    [row] = asyncio.run(world.store.read("acme", bytes([1]) * 32, "contact"))
    assert row.kek_id == second != first
    assert asyncio.run(service.wrapper.unwrap(row.wrapped, row.kek_id, row.context)) == b"s" * 32
    assert world.trail.notes[-1]["details"] == {"kek": second}


@pytest.mark.parametrize("command", [(), ("status",), ("rotate",)])
def test_help_has_an_example(world: World, command: tuple[str, ...]) -> None:
    assert "Example:" in world.run(*command, "--help").stdout
