"""The local key file: made once, kept to oneself, and refused in one clear line when anything is wrong with it."""

import asyncio
import base64
import hmac
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from touchline.errors import Misconfigured
from touchline.keyring.contents import Contents
from touchline.keyring.keyfile import KeyFile
from touchline.keyring.secret_file import Look

ROOT = Path(__file__).parents[2]
A, B = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
GOOD = {"version": 1, "kek_id": "k-1", "keks": {"k-1": A}, "index_key": B}


def written(path: Path, body: object, mode: int = 0o600) -> Path:
    path.write_text(body if isinstance(body, str) else json.dumps(body))
    path.chmod(mode)
    return path


def test_the_file_is_made_on_first_use_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "keys.json"
    first = KeyFile.load_or_create(path)
    second = KeyFile.load_or_create(path)
    assert (first.created, second.created) == (True, False)
    assert path.stat().st_mode & 0o777 == 0o600
    assert first.index_key("acme") == second.index_key("acme")
    assert [found.name for found in path.parent.iterdir()] == ["keys.json"], "a draft was left behind"


def test_every_tenant_has_an_index_key_of_its_own() -> None:
    contents = Contents(kek_id="k", keks={"k": bytes(32)}, index_key=bytes(range(32)))
    keys = KeyFile(Path("x"), contents, Look(0, 0, 0, 0))
    assert len(keys.index_key("acme")) == 32
    assert keys.index_key("acme") != keys.index_key("acme2")
    # RFC 5869 by its definition: PRK = HMAC(zeros, IKM), OKM = HMAC(PRK, info | 0x01)
    prk = hmac.digest(bytes(32), bytes(range(32)), "sha256")
    assert keys.index_key("acme") == hmac.digest(prk, b"touchline.index.v1\0acme\x01", "sha256")


async def _wrapped_by(first: KeyFile, second: KeyFile) -> bytes | None:
    return await second.wrapper.unwrap(*(await first.wrapper.wrap(bytes(32), b"c")), b"c")


def test_a_new_key_encryption_key_changes_no_hash_and_still_reads_what_the_old_one_wrapped(tmp_path: Path) -> None:
    before = KeyFile.load_or_create(written(tmp_path / "a", GOOD))
    c = base64.b64encode(bytes([3]) * 32).decode()
    after = KeyFile.load_or_create(written(tmp_path / "b", {**GOOD, "kek_id": "k-2", "keks": {"k-1": A, "k-2": c}}))
    assert before.index_key("acme") == after.index_key("acme")
    assert asyncio.run(_wrapped_by(before, after)) == bytes(32)
    with pytest.raises(Misconfigured, match="k-2"):
        asyncio.run(_wrapped_by(after, before))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o601])
def test_a_file_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(Misconfigured, match=f"mode {mode:04o}.*Next: run `chmod 600"):
        KeyFile.load_or_create(written(tmp_path / "keys.json", GOOD, mode))


def test_a_link_to_a_good_file_is_followed_as_secret_mounts_need_it(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(written(tmp_path / "keys.json", GOOD, 0o400))
    assert not KeyFile.load_or_create(tmp_path / "link").created


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("", "not JSON"),
        ("\xff\xfe", "not JSON"),
        ("[" * 10_000, "not JSON"),
        ("[]", "version 1"),
        ({**GOOD, "version": 2}, "version 1"),
        ({**GOOD, "keks": []}, "kek_id"),
        ({**GOOD, "kek_id": "k-2"}, "kek_id"),
        ({**GOOD, "kek_id": None}, "kek_id"),
        ({**GOOD, "keks": {"k-1": "c2hvcnQ="}}, "`keks`.*32 bytes"),
        ({**GOOD, "keks": {"k-1": 7}}, "`keks`.*32 bytes"),
        ({**GOOD, "keks": {"k-1": "SECRET*SECRET"}}, "`keks`.*32 bytes"),
        ({**GOOD, "keks": {"k-1": f"{A[:9]}*{A[9:]}"}}, "`keks`.*32 bytes"),
        ({**GOOD, "index_key": "SECR€T"}, "`index_key`.*32 bytes"),
        ({key: value for key, value in GOOD.items() if key != "index_key"}, "`index_key`.*32 bytes"),
        ({**GOOD, "index_key": A}, "two purposes"),
        (" " * 70_000, "larger"),
    ],
)
def test_a_file_of_another_form_is_refused_and_not_shown(tmp_path: Path, body: object, says: str) -> None:
    with pytest.raises(Misconfigured, match=says) as refused:
        KeyFile.load_or_create(written(tmp_path / "keys.json", body))
    text = f"{refused.value} {refused.value!r}"
    assert "\n" not in str(refused.value)
    assert refused.value.next_step
    assert refused.value.__cause__ is None
    for hidden in (A, B, "SECR"):
        assert hidden not in text


def test_a_pipe_a_folder_and_a_loop_of_links_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, says in (("pipe", "not a regular file"), ("folder", "not a regular file"), ("loop", "cannot be")):
        with pytest.raises(Misconfigured, match=says):
            KeyFile.load_or_create(tmp_path / name)


def test_a_place_where_no_file_can_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match=r"cannot be created.*TOUCHLINE_KEY_FILE"):
        KeyFile.load_or_create(tmp_path / "file" / "keys.json")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_this_user_may_not_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be opened"):
        KeyFile.load_or_create(written(tmp_path / "keys.json", GOOD, 0o000))


def test_processes_that_start_at_once_agree_on_one_file(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from touchline.keyring.keyfile import KeyFile; sys.stdin.read(); "
    code += "k = KeyFile.load_or_create(Path(sys.argv[1])); print(k.index_key('acme').hex(), k.created)"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "new" / "keys.json")], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    answers = [process.communicate(timeout=60)[0].split() for process in started]
    assert len({key for key, _ in answers}) == 1
    assert sorted(created for _, created in answers) == ["False"] * 5 + ["True"]


def test_the_repr_of_a_key_file_shows_no_key(tmp_path: Path) -> None:
    keys = KeyFile.load_or_create(written(tmp_path / "keys.json", GOOD))
    assert repr(keys) == f"KeyFile('{tmp_path}/keys.json')"
    assert repr(keys.wrapper) == "FileWrapper(LocalWrapper(k-1))"
