"""The front door itself: what it says of the whole."""

import re

import pytest

from touchline.cli import main


def said(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what `touchline` prints for these arguments; it must succeed."""
    monkeypatch.setattr("sys.argv", ["touchline", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_it_says_which_version_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert re.fullmatch(r"touchline \d+\.\d+\.\d+\n", said(["--version"], monkeypatch, capsys))


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_its_help_names_every_group(option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = said([option], monkeypatch, capsys)
    for group in ("up", "ingest", "worker", "customer", "identity", "privacy", "projection", "what-if", "parked", "log", "audit", "demo"):
        assert re.search(rf"\b{group}\b", found), group
