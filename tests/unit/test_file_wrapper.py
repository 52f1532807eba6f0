"""A process with a key file that is changed under it: it goes on, and notices within a second. And the file itself, under kills and races."""

import asyncio
import base64
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.rotating import Clock, keks_in, wrapper_of
from touchline.errors import Misconfigured, Retryable
from touchline.keyring import secret_file
from touchline.keyring.keyfile import KeyFile

ROOT = Path(__file__).parents[2]
CONTEXT = b"acme"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    KeyFile.load_or_create(tmp_path / "keys.json")
    return tmp_path / "keys.json"


def test_a_running_process_wraps_by_the_new_key_within_a_second(path: Path) -> None:
    clock = Clock()
    wrapper, old = wrapper_of(path, clock), keks_in(path)[0]
    KeyFile.load_or_create(path).add_kek("k-new")
    assert asyncio.run(wrapper.wrap(b"s" * 32, CONTEXT))[1] == old, "the file is looked at once a second at most"
    clock.now_s += 1.0
    assert asyncio.run(wrapper.wrap(b"s" * 32, CONTEXT))[1] == "k-new"


def test_what_a_newer_key_wrapped_is_unwrapped_by_a_process_that_did_not_know_it(path: Path) -> None:
    clock = Clock()
    wrapper = wrapper_of(path, clock)
    KeyFile.load_or_create(path).add_kek("k-new")
    wrapped, kek_id = asyncio.run(wrapper_of(path, clock).wrap(b"s" * 32, CONTEXT))
    assert kek_id == "k-new"
    assert asyncio.run(wrapper.unwrap(wrapped, kek_id, CONTEXT)) == b"s" * 32, "it waits out the second, and looks again"
    assert clock.now_s == 1001.0


def test_a_key_that_is_nowhere_is_looked_for_once_and_then_refused_at_once(path: Path) -> None:
    clock = Clock()
    wrapper = wrapper_of(path, clock)
    for _ in range(5):
        with pytest.raises(Misconfigured, match="k-gone"):
            asyncio.run(wrapper.unwrap(b"\x01" + bytes(60), "k-gone", CONTEXT))
    assert clock.now_s == 1001.0


def test_nobody_wraps_by_a_key_whose_file_is_gone_exposed_broken_or_another_installation_s(path: Path) -> None:
    good = path.read_bytes()
    other = KeyFile.load_or_create(path.parent / "other.json").path.read_bytes()

    def after(what: str) -> None:
        clock = Clock()
        wrapper = wrapper_of(path, clock)
        clock.now_s += 2
        if what == "gone":
            path.unlink()
        elif what == "exposed":
            secret_file.create(path.parent / "new", good)
            (path.parent / "new").chmod(0o644)
            (path.parent / "new").rename(path)
        else:
            path.write_bytes(other if what == "other" else b"{")
        with pytest.raises(Misconfigured) as refused:
            asyncio.run(wrapper.wrap(b"s" * 32, CONTEXT))
        assert refused.value.next_step
        assert str(path) in refused.value.what
        path.unlink(missing_ok=True)
        secret_file.create(path, good)

    for what in ("gone", "exposed", "broken", "other"):
        after(what)


def test_one_change_waits_for_the_other_and_says_so_when_it_takes_too_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_file, "_LOCK_S", 0.2)

    def change() -> None:
        with secret_file.changing(path):
            pytest.fail("two changed it at once")

    with secret_file.changing(path), ThreadPoolExecutor(1) as other, pytest.raises(Retryable, match="Another process is changing"):
        other.submit(change).result()


def test_of_many_that_add_a_key_at_once_one_does(path: Path) -> None:
    def add(n: int) -> bool:
        try:
            KeyFile.load_or_create(path).add_kek(f"k-{n}")
        except Misconfigured:
            return False
        return True

    with ThreadPoolExecutor(8) as many:
        assert sum(many.map(add, range(8))) == 1
    assert len(keks_in(path)[1]) == 2


def test_a_file_that_cannot_be_changed_stays_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(secret_file.os, "fsync", full)
    with pytest.raises(Misconfigured, match=r"cannot be changed \(No space left"):
        KeyFile.load_or_create(path).add_kek("k-new")
    assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir()] == ["keys.json"]


_FOR_EVER = """
import sys
from pathlib import Path
from touchline.keyring.keyfile import KeyFile
path = Path(sys.argv[1])
number = 0
print("begun", flush=True)
while True:
    file = KeyFile.load_or_create(path)
    file.promote_kek()
    current, older = file.kek_ids()
    if older:
        file.remove_keks(older, current=current)
    else:
        number += 1
        file.add_kek(f"k-{sys.argv[2]}-{number}")
"""


def test_a_process_that_is_killed_while_it_changes_the_file_leaves_a_whole_one(path: Path) -> None:
    index_key = json.loads(path.read_text())["index_key"]
    for n in range(8):
        process = subprocess.Popen([sys.executable, "-c", _FOR_EVER, str(path), str(n)], cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        time.sleep(0.013 * n)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        body = json.loads(path.read_text())
        assert body["kek_id"] in body["keks"]
        assert body["index_key"] == index_key
        assert all(len(base64.b64decode(secret)) == 32 for secret in body["keks"].values())
        assert path.stat().st_mode & 0o777 == 0o600
    KeyFile.load_or_create(path).promote_kek()
    with secret_file.changing(path):
        assert [found.name for found in path.parent.iterdir()] == ["keys.json"]
