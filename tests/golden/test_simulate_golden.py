"""What `simulate` prints, byte for byte: scripts depend on it. `TOUCHLINE_WRITE_GOLDEN=1` writes the file anew; look at its diff."""

import base64
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import typer
from typer.testing import CliRunner

from touchline.commands import simulate, store

HERE = Path(__file__).parent
INPUT, OUTPUT = HERE / "test_simulate.input.jsonl", HERE / "test_simulate.output.jsonl"


@pytest.fixture
def _warnings_only() -> Iterator[None]:
    """Log as the front door does, so that what is printed is the answer alone; but bind no stream, which tests behind this one would write to."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("_warnings_only")
def test_the_output_of_a_day_over_four_channels_is_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"version": 1, "kek_id": "k-1", "keks": {"k-1": _secret(1)}, "index_key": _secret(2)}
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    (tmp_path / "keys.json").chmod(0o600)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOUCHLINE_KEY_FILE", str(tmp_path / "keys.json"))
    app = typer.Typer()
    store.register(app)
    simulate.register(app)
    result = CliRunner().invoke(app, ["simulate", str(INPUT), "--emit", "rows,effects", "--digest"])
    assert result.exit_code == 0
    if os.environ.get("TOUCHLINE_WRITE_GOLDEN"):
        OUTPUT.write_bytes(result.stdout_bytes)
    assert result.stdout.splitlines() == OUTPUT.read_text().splitlines()
    assert "received 12 = accepted 9 + duplicate 1 + quarantined 1 + refused 1; parked customers 0" in result.stderr


def _secret(number: int) -> str:
    return base64.b64encode(bytes([number]) * 32).decode()
