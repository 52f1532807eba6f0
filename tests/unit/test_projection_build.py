"""`touchline projection plan` and `build --dry-run` over a store in memory: what they say, and what they refuse."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import Result

from streams.cluster import Cluster, Place
from streams.replay.building import Status
from streams.replay.messages import Progress
from streams.replay.waiting import Waiting
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion
from streams.versions.versions import Versions
from tests.support.commands import runner
from touchline.commands.projection_build import _line, _seconds, register
from touchline.errors import Misconfigured, Refused

CARE_1 = GroupVersion("care", 1)
Call = Callable[..., Result]


@pytest.fixture
def into() -> MemoryStore:
    return MemoryStore(known_tables())


@pytest.fixture
def call(into: MemoryStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Call]:
    monkeypatch.setattr(Cluster, "ranges", lambda *_: {Place("log", 0): (0, 1200), Place("log", 1): (0, 300)})
    return lambda name: runner(name, register, into, monkeypatch, tmp_path)


def test_a_plan_says_how_much_there_is_and_that_nobody_is_active_yet(call: Callable[[str], Call], into: MemoryStore) -> None:
    said = call("plan")("care", "--max-rate", "100")
    assert said.exit_code == 0, said.output
    assert "no version is active" in said.output
    assert "1,500 records in all, about 15 s (at the rate given)" in said.output
    assert "clock_v1" in said.output
    assert asyncio.run(Versions(into).read("care")) is None
    found = json.loads(call("build")("care@1", "--dry-run", "--json").stdout)
    assert (found["records"], found["from_the_beginning"], found["done"], found["active"]) == (1500, True, None, None)


def test_a_version_in_use_or_unknown_is_refused(call: Callable[[str], Call], into: MemoryStore) -> None:
    asyncio.run(Versions(into).begin(CARE_1, 1))
    refused = call("build")("care", "--dry-run")
    assert isinstance(refused.exception, Refused)
    assert refused.exception.reason == "version_in_use"
    assert isinstance(call("plan")("care@99").exception, Misconfigured)
    assert isinstance(call("plan")("nobody").exception, Misconfigured)


def test_a_span_is_read_or_refused() -> None:
    assert [_seconds(span) for span in ("5s", "2m", "1h", "7")] == [5, 120, 3600, 7]
    for wrong in ("", "s", "-5s", "five", "0s", "inf"):
        with pytest.raises(Exception, match="no span"):
            _seconds(wrong)


def test_the_progress_says_what_holds_it_up() -> None:
    process = Progress({}, 0, 0, 0, 0, parked=3, refused=0)
    waiting = Waiting("the store", 12.0, "no node answers.")
    said = _line(Status(2, 500, 2000, 250.0, 1000.0, yielding=True, live_lag=9000, waiting=waiting, processes=[process]))
    for part in (
        "500 of 2,000 (25 %)",
        "250/s",
        "6.0 s left",
        "round 2",
        "live lag 9,000",
        "yields to the live version: 1,000/s",
        "waits for the store for 12 s (no node answers)",
        "3 parked",
    ):
        assert part in said
    quiet = Status(1, 0, 0, 0.0, None, yielding=False, live_lag=None, waiting=None, processes=[])
    assert not any(word in _line(quiet) for word in ("yields", "waits", "opens"))
    opening = msgspec.structs.replace(quiet, round=0, waiting=Waiting("the log", 200.0))
    assert _line(opening) == "opens its partitions · waits for the log for 3 min"
