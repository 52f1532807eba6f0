"""Every command that takes the key file refuses one that others can read: at start, before any server is asked."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from touchline import cli
from touchline.commands import alert, customer, demo, ingest, keys, privacy, quarantine, simulate
from touchline.errors import Misconfigured
from touchline.keyring.keyfile import KeyFile

EVENT = {"specversion": "1.0", "id": "m-1", "source": "/s", "type": "message.received", "time": "2026-01-12T09:00:00Z",
         "data": {"channel": "email", "direction": "inbound", "customer": [{"kind": "email", "value": "ann@example.org"}]}}  # fmt: skip

ENTRY_POINTS: dict[str, tuple[Callable[[typer.Typer], None], list[str]]] = {
    "ingest": (ingest.register, ["ingest", "events.jsonl"]),
    "simulate": (simulate.register, ["simulate", "events.jsonl"]),
    "demo": (demo.register, ["demo"]),
    "customer show by id": (customer.register, ["customer", "show", "c-1"]),
    "customer show by handle": (customer.register, ["customer", "show", "--handle", "email:ann@example.org"]),
    "timeline": (customer.register, ["timeline", "c-1"]),
    "quarantine retry": (quarantine.register, ["quarantine", "retry", "q-1", "--event", "events.jsonl"]),
    "alert note": (alert.register, ["alert", "note", "a-1", "called back"]),
    "privacy erase": (privacy.register, ["privacy", "erase", "--handle", "email:ann@example.org", "--reason", "asked"]),
    "privacy report": (privacy.register, ["privacy", "report", "--handle", "email:ann@example.org"]),
    "keys status": (keys.register, ["keys", "status"]),
    "keys rotate": (keys.register, ["keys", "rotate"]),
}


@pytest.fixture
def exposed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a key file that the whole world can read; no server can be reached."""
    path = tmp_path / "keys.json"
    KeyFile.load_or_create(path)
    path.chmod(0o644)
    (tmp_path / "events.jsonl").write_text(json.dumps(EVENT) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("touchline.logging.configure_logging", lambda level: level)  # it would bind the runner's streams for later tests
    for name, value in (("KEY_FILE", str(path)), ("BROKERS", "nowhere.invalid:9"), ("CASSANDRA_HOSTS", "nowhere.invalid")):
        monkeypatch.setenv(f"TOUCHLINE_{name}", value)
    return path


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_an_exposed_key_file_is_refused(exposed: Path, name: str) -> None:
    register, arguments = ENTRY_POINTS[name]
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    error = CliRunner().invoke(app, arguments).exception
    assert isinstance(error, Misconfigured), error
    assert "mode 0644: others than its owner can reach it" in error.what
    assert error.next_step.startswith(f"run `chmod 600 {exposed}`")


def test_these_are_commands_of_the_front_door() -> None:
    assert {register.__module__.rpartition(".")[2] for register, _ in ENTRY_POINTS.values()} <= set(cli._GROUPS)


def test_that_ends_a_process_with_exit_78_and_one_line(exposed: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "touchline", "keys", "status"], env=dict(os.environ), cwd=exposed.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 78
    assert len(done.stderr.strip().splitlines()) == 1
    assert "chmod 600" in done.stderr


def test_every_module_that_takes_the_keys_belongs_to_an_entry_point_of_this_test() -> None:
    """A new command that reads the key file must be listed above."""
    root = Path(__file__).parents[2]
    known = {"alert_commands.py", "importing.py", "key_service.py", "opening.py", "simulating.py", "demonstration/show.py", "handle_names.py",
             "commands/ingest.py", "commands/keys.py", "commands/quarantine.py", "commands/privacy.py", "privacy_report.py"}  # fmt: skip
    found = set()
    for path in (root / "touchline").rglob("*.py"):
        relative = str(path.relative_to(root / "touchline"))
        if not relative.startswith("keyring/") and ("key_service" in path.read_text() or "KeyFile" in path.read_text()):
            found.add(relative)
    assert found - {"settings.py"} <= known, "add its entry point above, and the module here"
