"""The file of values that name nobody: what it may hold, and that no error repeats what stands in it."""

from pathlib import Path

import pytest

from connectors.blocked import read_blocked
from touchline.errors import Misconfigured
from touchline.settings import Settings, load_settings


def write(folder: Path, text: str) -> Path:
    path = folder / "blocked.txt"
    path.write_text(text, "utf-8")
    return path


def test_values_are_normalised_and_comments_left_out(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "\ufeff# trunk lines\nphone: 030 123456-0\nPhone:+86 10 8888 6666   # Beijing\n\n"
        "email:Test@Example.ORG\nsocial:#support\naccount: K#17\nemail:it+probe@plus.example\n",
    )
    assert read_blocked(path, "DE", {"plus.example"}) == {
        ("phone", "+49301234560"),
        ("phone", "+861088886666"),
        ("email", "test@example.org"),
        ("social", "#support"),
        ("account", "K#17"),
        ("email", "it@plus.example"),
    }


def test_without_a_file_nothing_is_blocked() -> None:
    assert read_blocked(None, "DE") == frozenset()


def test_lines_that_name_no_handle_are_named_by_their_numbers_and_never_repeated(tmp_path: Path) -> None:
    path = write(tmp_path, "phone:+49 30 1234560\nphone:call me\nfax:12345\njust text\nemail:\n")
    with pytest.raises(Misconfigured) as refused:
        read_blocked(path, "DE")
    assert "line 2, 3, 4, 5 names no handle" in str(refused.value)
    assert "call me" not in str(refused.value)
    assert "12345" not in str(refused.value).replace("123456", "")
    assert refused.value.__cause__ is None


def test_of_very_many_wrong_lines_some_are_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"9, 10 and 5 more names"):
        read_blocked(write(tmp_path, "x\n" * 15), "DE")


def test_a_file_that_cannot_be_read_stops_at_start(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.txt", tmp_path):
        with pytest.raises(Misconfigured, match="cannot be read"):
            read_blocked(path, "DE")
    path = tmp_path / "latin.txt"
    path.write_bytes(b"email:\xff\xfe@example.org\n")
    with pytest.raises(Misconfigured, match="UTF-8"):
        read_blocked(path, "DE")
    with pytest.raises(Misconfigured, match="100001 lines"):
        read_blocked(write(tmp_path, "#\n" * 100_001), "DE")


def test_the_settings_name_domains_and_the_file() -> None:
    settings = Settings(subaddress_domains="Plus.example,other.example", blocked_handles=Path("blocked.txt"))
    assert settings.subaddressed == {"plus.example", "other.example"}
    assert Settings().subaddressed == frozenset()
    with pytest.raises(Misconfigured, match="SUBADDRESS_DOMAINS"):
        load_settings(subaddress_domains="ann@plus.example")
    with pytest.raises(Misconfigured, match="IDENTITY_HANDLES_PER_KIND_MAX"):
        load_settings(identity_handles_per_kind_max=0)
