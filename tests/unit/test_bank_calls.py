"""Calls of the bank: rows to contacts, by the rules of the design page, and every row of the real file accounted for."""

import csv
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from connectors.contract import Draft, RawHandle, Rejected
from connectors.sources.bank_calls import COLUMNS, BankCallsReport, map_bank_calls
from touchline.errors import Refused

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "bank_calls_1999-02-01_14.tsv"
REAL = pytest.mark.skipif(not DATA.exists(), reason=f"the real calls are not on this machine ({DATA})")

ANSWERED = {
    "vru+line": "AA0101", "call_id": "33116", "customer_id": "9664491", "priority": "2", "type": "PS", "date": "990201",
    "vru_entry": "8:09:16", "vru_exit": "8:09:22", "vru_time": "6", "q_start": "8:09:22", "q_exit": "8:09:27", "q_time": "5",
    "outcome": "AGENT", "ser_start": "8:09:26", "ser_exit": "8:11:00", "ser_time": "94", "server": "DORIT",
}  # fmt: skip
NEVER_QUEUED = {"q_start": "0:00:00", "q_exit": "0:00:00", "q_time": "0"}
NOT_SERVED = {"ser_start": "0:00:00", "ser_exit": "0:00:00", "ser_time": "0", "server": "NO_SERVER"}
HUNG_UP = {"outcome": "HANG", **NOT_SERVED}


def mapped(*rows: dict[str, str]) -> tuple[list[Draft], list[Rejected], BankCallsReport]:
    lines = ["\t".join(COLUMNS), *("\t".join({**ANSWERED, **row}.values()) for row in rows)]
    return map_bank_calls([f"{line}\n" for line in lines], tenant="bank")


def steps(**row: str) -> list[tuple[str, str]]:
    drafts, rejected, _ = mapped(row)
    assert not rejected
    return [(draft.type.removeprefix("contact."), local(draft)) for draft in drafts]


def local(draft: Draft) -> str:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=draft.occurred_at_us)
    return f"{at.astimezone(ZoneInfo('Asia/Jerusalem')):%d %H:%M:%S}"


def test_a_call_that_waited_is_queued_connected_after_its_wait_and_completed() -> None:
    """The wait is `q_time`; `ser_start` is another clock's and is not used."""
    assert steps() == [("initiated", "01 08:09:16"), ("queued", "01 08:09:22"), ("connected", "01 08:09:27"), ("completed", "01 08:11:00")]


def test_a_call_that_never_queued_is_queued_and_connected_at_the_end_of_the_menu() -> None:
    assert steps(**NEVER_QUEUED)[1:3] == [("queued", "01 08:09:22"), ("connected", "01 08:09:22")]


def test_who_hangs_up_in_the_queue_abandons_it_after_the_wait_and_in_the_menu_at_its_end() -> None:
    assert steps(**HUNG_UP) == [("initiated", "01 08:09:16"), ("queued", "01 08:09:22"), ("abandoned", "01 08:09:27")]
    assert steps(**HUNG_UP, **NEVER_QUEUED) == [("initiated", "01 08:09:16"), ("abandoned", "01 08:09:22")]
    drafts, _, _ = mapped(HUNG_UP, {**HUNG_UP, **NEVER_QUEUED, "call_id": "2"})
    assert {draft.fields["stage"] for draft in drafts if draft.type == "contact.abandoned"} == {"queue", "menu"}


def test_a_step_after_midnight_is_on_the_next_day() -> None:
    night = {"vru_entry": "23:59:19", "vru_exit": "23:59:29", "q_start": "23:59:29", "q_exit": "0:00:26", "q_time": "57", "ser_exit": "0:03:00"}
    assert steps(**night)[1:] == [("queued", "01 23:59:29"), ("connected", "02 00:00:26"), ("completed", "02 00:03:00")]


def test_a_call_may_enter_the_queue_exactly_at_midnight() -> None:
    """Only if all three of q_start, q_exit and q_time are zero was there no queue."""
    midnight = {"vru_entry": "23:59:50", "vru_exit": "0:00:00", "q_start": "0:00:00", "q_exit": "0:00:30", "q_time": "30", "ser_exit": "0:01:00"}
    assert steps(**midnight)[1:3] == [("queued", "02 00:00:00"), ("connected", "02 00:00:30")]


def test_a_clock_that_stepped_back_does_not_end_the_menu_before_it_began() -> None:
    back = {"vru_entry": "9:48:14", "vru_exit": "9:47:17"}
    assert steps(**back, **NEVER_QUEUED, ser_exit="9:51:28")[1:] == [
        ("queued", "01 09:48:14"),
        ("connected", "01 09:48:14"),
        ("completed", "01 09:51:28"),
    ]
    assert steps(**back, **NEVER_QUEUED, **HUNG_UP)[1:] == [("abandoned", "01 09:48:14")]
    assert mapped(back)[2].clock_steps == 1


def test_a_call_without_an_end_of_service_is_not_completed() -> None:
    """Zeros are no midnight: 25 calls of the real file end so."""
    afternoon = {"vru_entry": "13:44:47", "vru_exit": "13:44:53", "q_start": "13:44:53", "q_exit": "13:45:06", "q_time": "13"}
    assert steps(**afternoon, **NOT_SERVED)[-1] == ("connected", "01 13:45:06")
    assert steps(ser_exit="8:09:27")[-1] == ("connected", "01 08:09:27")


def test_an_identified_caller_is_an_account_and_everybody_else_is_their_own_contact() -> None:
    """An id that a spreadsheet spoilt is an unidentified one, and counted."""
    drafts, _, report = mapped({}, {"customer_id": "0", "call_id": "2"}, {"customer_id": "3.26702E+11", "call_id": "3"})
    handles = {draft.contact_id: draft.customer for draft in drafts}
    assert handles == {
        "AA0101-33116-990201": (RawHandle("account", "9664491"),),
        "AA0101-2-990201": (RawHandle("contact", "AA0101-2-990201"),),
        "AA0101-3-990201": (RawHandle("contact", "AA0101-3-990201"),),
    }
    assert (report.unidentified, report.spoilt_ids) == (2, 1)


def test_the_events_of_a_contact_carry_queue_priority_agent_and_ids_of_their_own() -> None:
    initiated, queued, connected, completed = mapped({})[0]
    assert [draft.id for draft in (initiated, queued, connected, completed)] == [
        f"AA0101-33116-990201/{step}" for step in ("initiated", "queued", "connected", "completed")
    ]
    assert queued.fields == {"queue": "PS", "priority": "high"}
    assert connected.fields == {"agent": "DORIT", "queue": "PS"}
    assert (connected.actor.kind, connected.actor.id) == ("agent", "DORIT")
    assert mapped({"priority": "1", "server": "NO_SERVER"})[0][1].fields["priority"] == "normal"
    assert mapped({"server": "NO_SERVER"})[0][2].actor.id is None
    assert {draft.conversation_id for draft in (initiated, queued)} == {"AA0101-33116-990201"}
    assert {(draft.source, draft.tenant, draft.channel, draft.direction) for draft in (initiated, completed)} == {
        ("/imports/bank-calls", "bank", "phone", "inbound")
    }


def test_phantoms_are_skipped_and_counted() -> None:
    drafts, rejected, report = mapped({"outcome": "PHANTOM"}, {"call_id": "2"})
    assert (len(drafts), rejected, report.phantom, report.mapped, report.rows) == (4, [], 1, 1, 2)


def test_drafts_come_in_order_of_time_whatever_the_order_of_the_rows() -> None:
    late = {"call_id": "2", "vru_entry": "7:00:00", "vru_exit": "7:00:05", "q_start": "7:00:05", "q_exit": "7:00:10", "ser_exit": "7:01:00"}
    one, _, _ = mapped({}, late)
    other, _, _ = mapped(late, {})
    assert one == other
    assert [draft.occurred_at_us for draft in one] == sorted(draft.occurred_at_us for draft in one)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"vru_entry": "25:00:00"}, "impossible_time"),
        ({"q_exit": "8:61:00"}, "impossible_time"),
        ({"ser_exit": "soon"}, "impossible_time"),
        ({"q_time": "-5"}, "impossible_time"),
        ({"date": "990230"}, "impossible_time"),
        ({"date": "1999-02-01"}, "impossible_time"),
        ({"server": ""}, "missing_column"),
        ({"server": "A\tB"}, "extra_column"),
        ({"outcome": "LOST"}, "unknown_value"),
        ({"priority": "9"}, "unknown_value"),
        ({"customer_id": "Ann Example"}, "unknown_value"),
        ({"server": "\udcff"}, "not_utf8"),
    ],
)
def test_a_row_that_cannot_be_read_is_quarantined_by_line_and_reason_and_the_rest_goes_on(row: dict[str, str], reason: str) -> None:
    drafts, (rejected,), report = mapped(row, {"call_id": "2"})
    assert (rejected.outcome, rejected.reason, rejected.line) == ("quarantined", reason, 2)
    assert rejected.detail.startswith("line 2: ")
    assert "Ann" not in rejected.detail
    assert (report.rows, report.mapped, report.quarantined) == (2, 1, 1)
    assert {draft.contact_id for draft in drafts} == {"AA0101-2-990201"}


def test_a_file_of_another_form_is_refused_as_a_whole() -> None:
    for lines in ([], ["tweet_id,author_id"]):
        with pytest.raises(Refused, match="header"):
            map_bank_calls(lines, tenant="bank")


@REAL
def test_every_row_of_the_real_file_is_accounted_for() -> None:
    """17,456 rows, counted here by csv alone."""
    with DATA.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    with DATA.open(newline="") as file:
        drafts, rejected, report = map_bank_calls(file, tenant="bank")
    phantom = sum(row["outcome"] == "PHANTOM" for row in rows)
    calls = [row for row in rows if row["outcome"] != "PHANTOM"]
    assert (report.rows, report.mapped, report.phantom, report.quarantined) == (17_456, len(calls), phantom, 0)
    assert (len(rows), len(calls), phantom, rejected) == (17_456, 17_313, 143, [])
    assert len({draft.contact_id for draft in drafts}) == len(calls)
    assert len({draft.id for draft in drafts}) == len(drafts)
    assert report.spoilt_ids == sum("E+" in row["customer_id"] for row in calls)
    assert report.unidentified == sum(row["customer_id"] == "0" or "E+" in row["customer_id"] for row in calls)


@REAL
def test_the_real_events_agree_with_a_script_of_ten_lines() -> None:
    """Types, queues, abandonments and the sum of all waits, from the columns and nothing else."""
    expected: Counter[str] = Counter()
    waited_s = 0
    with DATA.open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            queued = row["q_start"] != "0:00:00" or row["q_exit"] != "0:00:00" or row["q_time"] != "0"
            if row["outcome"] != "PHANTOM":
                expected["contact.initiated"] += 1
                expected["contact.queued"] += queued or row["outcome"] == "AGENT"
                expected["contact.connected"] += row["outcome"] == "AGENT"
                expected["contact.abandoned"] += row["outcome"] == "HANG"
                waited_s += int(row["q_time"])
    with DATA.open(newline="") as file:
        drafts, _, _ = map_bank_calls(file, tenant="bank")
    found = Counter(draft.type for draft in drafts)
    completed = found.pop("contact.completed")
    assert found == expected
    assert 14_000 < completed <= 14_380
    at = {draft.id: draft.occurred_at_us for draft in drafts}
    ends = {name: us for name, us in at.items() if name.endswith(("/connected", "/abandoned")) and f"{name.rpartition('/')[0]}/queued" in at}
    assert sum(us - at[f"{name.rpartition('/')[0]}/queued"] for name, us in ends.items()) == waited_s * 1_000_000
    assert min(at.values()) >= datetime(1999, 1, 31, 22, tzinfo=UTC).timestamp() * 1e6
    assert max(at.values()) < datetime(1999, 2, 15, tzinfo=UTC).timestamp() * 1e6
