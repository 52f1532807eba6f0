"""Rotation on real servers: beside an import, killed with SIGKILL, two at once; then everything opens, and nothing by the old key."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.local.testing import LiveStack
from streams.store.cassandra import CassandraStore
from streams.store.catalogue import keyring_tables
from streams.store.data_keys import CassandraDataKeys
from streams.wall_clock import now_us
from tests.support.harness import Installation, installed
from tests.support.processes import Running, run
from tests.support.rotating import keks_in
from touchline.keyring.keyfile import KeyFile

PEOPLE = 1500
CHUNK = 1000
"""Records that an importer seals together."""


def lines(first: int, count: int) -> str:
    """Return events of people who were never seen before, each with a text of their own."""
    found = []
    for n in range(first, first + count):
        data = {
            "channel": "email",
            "direction": "inbound",
            "actor": {"kind": "customer"},
            "conversation_id": f"c-{n}",
            "customer": [{"kind": "email", "value": f"person{n}@example.org"}],
            "text": f"canary {n}",
        }
        event = {"specversion": "1.0", "id": f"m-{n}", "source": "/keys", "type": "message.received", "time": "2026-01-12T09:00:00Z", "data": data}
        found.append(json.dumps(event))
    return "\n".join(found) + "\n"


@pytest.fixture(scope="module")
def here(stack: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(stack, tmp_path_factory.mktemp("keys"), "keys") as found:
        (found.folder / "first.jsonl").write_text(lines(0, PEOPLE))
        found.ingest(found.folder / "first.jsonl", "--no-wait")
        yield found


def command(here: Installation, *arguments: str) -> dict[str, Any]:
    done = run(["touchline", "keys", *arguments, "--json"], here.environment(), here.folder, within_s=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def openable(here: Installation) -> tuple[int, int, set[str]]:
    """Return (keys that unwrap, active keys, key-encryption keys that wrap them), read past the commands."""

    async def asked(store: CassandraStore) -> tuple[int, int, set[str]]:
        keys = CassandraDataKeys(store.beside(here.settings.keyring_keyspace, keyring_tables()), now_us)
        wrapper = KeyFile.load_or_create(here.settings.key_file).wrapper
        opened, active, keks = 0, 0, set()
        async for page in keys.pages():
            for row in page.rows:
                if row.state == "active":
                    secret = await wrapper.unwrap(row.wrapped, row.kek_id, row.context)
                    opened, active = opened + (secret is not None), active + 1
                    keks.add(row.kek_id)
                else:
                    assert row.wrapped == b""
        return opened, active, keks

    return here.read(asked)


def destroy_some(here: Installation, count: int) -> None:
    async def asked(store: CassandraStore) -> None:
        keys = CassandraDataKeys(store.beside(here.settings.keyring_keyspace, keyring_tables()), now_us)
        left = count
        async for page in keys.pages():
            for row in [row for row in page.rows if row.state == "active"][:left]:
                await keys.insert(msgspec.structs.replace(row, wrapped=b"", state="destroyed", erased_at_us=now_us()))
                left -= 1

    here.read(asked)


def rotating(here: Installation, *options: str) -> Running:
    """Start a rotation and let it run."""
    return Running("rotating", ["touchline", "keys", "rotate", *options, "--json"], here.environment(), here.folder)


def test_a_rotation_while_an_import_runs_leaves_everything_readable_and_nothing_under_the_old_key(here: Installation) -> None:
    old, _ = keks_in(here.settings.key_file)
    with here.ingesting(None, "--no-wait") as importing, ThreadPoolExecutor(1) as beside:
        running = beside.submit(command, here, "rotate")
        people = PEOPLE
        while not running.done():
            importing.feed(lines(people, CHUNK).encode())
            people += CHUNK
            time.sleep(4)
        done = running.result()
        importing.feed(lines(people, CHUNK).encode())
        people += CHUNK
        importing.no_more()
        assert importing.exit_code(within_s=120) == 0, importing.last_words()
    assert people > PEOPLE + 3 * CHUNK, "the import has to run beside the rotation"
    assert (done["removed"], done["broken"], done["unknown"]) == ([old], 0, 0)
    opened, active, keks = openable(here)
    assert (opened, active) == (people, people)
    assert keks == {done["current"]} == set(keks_in(here.settings.key_file)[1])


def test_a_rotation_that_is_killed_again_and_again_is_ended_by_resume_and_destroyed_keys_stay_destroyed(here: Installation) -> None:
    destroy_some(here, 50)
    for n in range(6):
        with rotating(here, *(["--resume"] if n else [])):
            time.sleep(1.5 + 0.4 * n)  # then it is killed
        assert len(keks_in(here.settings.key_file)[1]) <= 2
    done = command(here, "rotate", "--resume")
    opened, active, keks = openable(here)
    assert opened == active
    assert keks == {done["current"]} == set(keks_in(here.settings.key_file)[1])
    assert command(here, "status")["destroyed"][0]["data_keys"] == 50


def test_two_rotations_at_once_do_no_harm(here: Installation) -> None:
    command(here, "rotate", "--keep-old")
    with rotating(here, "--resume") as one, rotating(here, "--resume") as other:
        assert [one.exit_code(within_s=300), other.exit_code(within_s=300)] == [0, 0], one.last_words() + other.last_words()
    opened, active, keks = openable(here)
    assert opened == active
    assert keks == set(keks_in(here.settings.key_file)[1])


def test_a_key_file_that_others_can_read_stops_an_import_at_start(here: Installation, tmp_path: Path) -> None:
    exposed = tmp_path / "keys.json"
    KeyFile.load_or_create(exposed)
    exposed.chmod(0o640)
    done = run(["touchline", "ingest", str(here.folder / "first.jsonl")], here.environment(key_file=exposed), here.folder, within_s=60)
    assert done.returncode == 78
    assert "chmod 600" in done.stderr
