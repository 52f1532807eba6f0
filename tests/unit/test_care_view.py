"""Clocks as read: of a customer, of a team; and `touchline clocks` and the clocks in `touchline customer show`."""

import asyncio
import io
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from projections.registry import GROUPS
from projections.rules import Rulebook, WeeklyHours
from streams.care_view import CareReader, ClockRow
from streams.plain import instant_us
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.store.port import CellValue, GroupVersion, RowWrite, Store
from tests.support.commands import Run, runner
from touchline.commands import clocks, customer
from touchline.commands.clocks import span

CARE = GroupVersion("care", 1)
NOW = datetime(2026, 1, 12, 10, 0, tzinfo=UTC)
NINE = instant_us("2026-01-12T09:00:00Z")
MINUTE_US = 60_000_000
Cells = dict[str, CellValue]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(known_tables())


def put_clock(
    store: MemoryStore, conversation: str, state: str = "running", *, metric: str = "first_response", instance: int = 1, **cells: CellValue
) -> None:
    told: Cells = {"state": state, "started_at": NINE, "due_at": NINE + 60 * MINUTE_US, "consumed_us": 0, "target_s": 3600, "policy": "mail"}
    told |= {"calendar": "office", "team": "mail", **cells}
    store.apply([RowWrite("clock_v1", ("acme", "cu-1", conversation, metric, instance), told, 1)])


def put_open(store: MemoryStore, due: datetime, conversation: str, state: str = "running", *, team: str = "mail", tenant: str = "acme") -> None:
    due_us = int(due.timestamp()) * 1_000_000
    cells: Cells = {"state": state, "customer_id": "cu-1", "channel": "email", "priority": None}
    store.apply([RowWrite("open_clock_v1", (tenant, team, f"{due:%Y-%m-%dT%H}", due_us, conversation, "first_response", 1), cells, 1)])


def put_summary(store: MemoryStore, **cells: CellValue) -> None:
    store.apply([RowWrite("care_summary_v1", ("acme", "cu-1"), dict(cells), 1)])


def found(store: Store, **wanted: object) -> list[str]:
    clocks_ = asyncio.run(CareReader(store, CARE).open_clocks("acme", now=NOW, **wanted))  # type: ignore[arg-type]
    return [clock.conversation_id for clock in clocks_]


# -- reading


def test_a_clock_has_the_public_form_with_spans_in_seconds_and_times_in_utc(store: MemoryStore) -> None:
    put_clock(store, "c-9", "breached", consumed_us=3_600_500_000, stopped_at=None)
    (clock,) = asyncio.run(CareReader(store, CARE).clocks("acme", "cu-1"))
    assert clock.json() == {
        "kind": "clock",
        "customer_id": "cu-1",
        "conversation_id": "c-9",
        "metric": "first_response",
        "instance": 1,
        "state": "breached",
        "started_at": "2026-01-12T09:00:00Z",
        "due_at": "2026-01-12T10:00:00Z",
        "stopped_at": None,
        "consumed_s": 3600.5,
        "target_s": 3600,
        "policy": "mail",
        "calendar": "office",
    }


@pytest.mark.parametrize(
    ("state", "stopped", "is_open"),
    [
        ("running", None, True),
        ("paused", None, True),
        ("breached", None, True),
        ("breached", NINE, False),
        ("met", NINE, False),
        ("cancelled", None, False),
    ],
)
def test_a_breached_clock_is_open_until_it_is_answered(store: MemoryStore, state: str, stopped: int | None, *, is_open: bool) -> None:
    put_clock(store, "c-9", state, stopped_at=stopped)
    assert [clock.is_open for clock in asyncio.run(CareReader(store, CARE).clocks("acme", "cu-1"))] == [is_open]


def test_open_clocks_stand_in_order_of_their_due_time_without_those_that_moved_or_closed(store: MemoryStore) -> None:
    put_open(store, NOW + timedelta(minutes=90), "later")
    put_open(store, NOW - timedelta(minutes=5), "late", "breached")
    put_open(store, NOW + timedelta(minutes=5), "paused", "paused", team="chat")
    put_open(store, NOW, "moved", "moved")
    put_open(store, NOW, "closed", "closed")
    put_open(store, NOW, "foreign", tenant="other")
    assert found(store) == ["late", "paused", "later"]
    assert found(store, team="mail") == ["late", "later"]
    assert found(store, states=["breached"]) == ["late"]


def test_a_teams_clocks_are_found_two_weeks_around_now(store: MemoryStore) -> None:
    for days in (-15, -13, 13, 15):
        put_open(store, NOW + timedelta(days=days), f"{days}")
    assert found(store, team="mail") == ["-13", "13"]
    assert found(store) == ["-15", "-13", "13", "15"]


def test_a_customer_without_open_clocks_is_read_by_one_partition(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = CareReader(store, CARE)
    assert asyncio.run(reader.customer("acme", "cu-1")) is None
    put_summary(store, running=0, paused=0, breached=0, open_alerts=1, worst_severity="high")
    put_clock(store, "c-9", "met", stopped_at=NINE)
    read: list[str] = []
    real = store.read

    async def reading(table: str, *wanted: object, **bounds: object) -> list[Cells]:
        read.append(table)
        return await real(table, *wanted, **bounds)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "read", reading)
    care = asyncio.run(reader.customer("acme", "cu-1"))
    assert care is not None
    assert (care.open_alerts, care.worst_severity, care.open_clocks) == (1, "high", ())
    assert read == ["care_summary_v1"]


def test_a_customers_open_clocks_stand_worst_first(store: MemoryStore) -> None:
    put_summary(store, running=2, paused=1, breached=1)
    put_clock(store, "c-1", "paused", due_at=None)
    put_clock(store, "c-2", due_at=NINE + 2)
    put_clock(store, "c-3", due_at=NINE + 1)
    put_clock(store, "c-4", "breached")
    put_clock(store, "c-5", "met", stopped_at=NINE)
    care = asyncio.run(CareReader(store, CARE).customer("acme", "cu-1"))
    assert care is not None
    assert [clock.conversation_id for clock in care.open_clocks] == ["c-4", "c-3", "c-2", "c-1"]
    said = care.json()
    assert said["clocks"] == {"running": 2, "paused": 1, "breached": 1}
    assert (said["open_alerts"], said["worst_severity"]) == (0, None)
    assert said["open_clocks"][-1]["due_at"] is None


def test_the_page_of_a_customer_says_which_clocks_are_open_and_how_many_alerts(store: MemoryStore) -> None:
    put_summary(store, running=0, paused=1, breached=1, open_alerts=2, worst_severity="critical")
    put_clock(store, "c-1", "breached")
    put_clock(store, "c-2", "paused", due_at=None)
    care = asyncio.run(CareReader(store, CARE).customer("acme", "cu-1"))
    assert care is not None
    console = Console(file=io.StringIO(), width=100)
    customer._draw_care(console, care)
    drawn = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert "2026-01-12 10:00:00 breached first_response mail c-1" in drawn
    assert "paused paused first_response mail c-2" in drawn
    assert "1 breached; 1 paused; open alerts: 2, the worst of severity critical" in drawn


def test_a_clock_row_that_was_never_paused_nor_stopped_has_no_such_times(store: MemoryStore) -> None:
    put_clock(store, "c-1", running_since=NINE)
    (row,) = asyncio.run(store.read("clock_v1", {"tenant": "acme", "customer_id": "cu-1"}))
    clock = ClockRow.of(row)
    assert (clock.stopped_us, clock.running_since_us, clock.due_us) == (None, NINE, NINE + 60 * MINUTE_US)


# -- the command


@pytest.fixture
def run(store: MemoryStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return runner("clocks", clocks.register, store, monkeypatch, tmp_path)


def test_the_table_shows_what_is_late_first_and_how_much_time_is_left(run: Run, store: MemoryStore) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    put_open(store, now + timedelta(hours=30, minutes=30), "c-later")
    put_open(store, now - timedelta(hours=2), "c-late", "breached")
    put_open(store, now + timedelta(hours=3), "c-paused", "paused")
    lines = [re.split(r" {2,}", line.strip()) for line in run().output.splitlines() if "c-" in line]
    assert [line[-2] for line in lines] == ["c-late", "c-paused", "c-later"]
    assert lines[0][2:] == ["breached", "first_response", "mail", "email", "c-late", "cu-1"]
    assert lines[1][1:3] == ["paused", "first_response"], "no time is left to a clock that does not run"
    assert lines[0][1].startswith("-2:0")
    assert lines[2][1] == "1 d 6 h"


def test_json_gives_a_line_per_clock_and_the_limit_is_said(run: Run, store: MemoryStore) -> None:
    for n in range(3):
        put_open(store, NOW + timedelta(minutes=n), f"c-{n}")
    told = [json.loads(line) for line in run("--json", "--limit", "2").output.splitlines()]
    assert [one["conversation_id"] for one in told] == ["c-0", "c-1"]
    assert told[0]["due_at"] == "2026-01-12T10:00:00Z"
    assert "3 are open; these are the first 2" in run("--limit", "2").output
    assert run("--state", "breached").output == "No clock is open.\n"
    assert run("--state", "met").exit_code == 2


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0:00"), (65, "1:05"), (3_725, "1:02:05"), (-3_725, "-1:02:05"), (93_600, "1 d 2 h"), (-90_000, "-1 d 1 h")]
)
def test_spans_for_people(seconds: int, said: str) -> None:
    assert span(seconds) == said


def test_what_a_running_clock_has_consumed_counts_its_last_segment_in_open_time() -> None:
    day = ((9 * 3600, 10 * 3600),)
    book = Rulebook(version=1, calendars=(WeeklyHours(id="office", week=(day,) * 7),))
    running: dict[str, Any] = {"state": "running", "running_since": NINE + 30 * MINUTE_US, "consumed_us": MINUTE_US, "rules_version": 1}
    store = MemoryStore(GROUPS["care"].tables())
    put_clock(store, "c-1", **running)
    put_clock(store, "c-2", **{**running, "calendar": "always"})
    put_clock(store, "c-3", **{**running, "state": "breached"})
    put_clock(store, "c-4", **{**running, "rules_version": 2})
    clocks_ = asyncio.run(CareReader(store, CARE).clocks("acme", "cu-1"))
    assert [clock.consumed_at_us(NINE + 90 * MINUTE_US, [book]) // MINUTE_US for clock in clocks_] == [31, 61, 1, 1]
    assert [clock.consumed_at_us(NINE, [book]) // MINUTE_US for clock in clocks_] == [1, 1, 1, 1]
