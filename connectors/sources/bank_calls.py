"""Calls of a bank's call centre, one row each (public research data of the Technion, "Anonymous Bank"): rows to drafts, pure.

Times in the file are local, without a date of their own: a step whose time of day is more than twelve hours below that of
`vru_entry` is on the next day. A row tells one contact:

    vru_entry ──> initiated ──> queued (q_start; vru_exit if it never queued) ──> connected (+ q_time) ──> completed (ser_exit)
                     │             └──> abandoned{queue} (+ q_time)
                     └──> abandoned{menu} (vru_exit)

The servers' clocks differ by a second or so, so `ser_start` is not used: the wait is `q_time`, and nothing else.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import msgspec

from connectors.contract import Actor, Draft, RawHandle, Rejected
from connectors.sources.unreadable import UnreadableError
from touchline.errors import Refused

__all__ = ["COLUMNS", "SOURCE", "BankCallsReport", "map_bank_calls"]

SOURCE = "/imports/bank-calls"
"""The event source of every draft; also the source under which the manifest keeps what was imported."""

COLUMNS = (
    "vru+line", "call_id", "customer_id", "priority", "type", "date", "vru_entry", "vru_exit", "vru_time",
    "q_start", "q_exit", "q_time", "outcome", "ser_start", "ser_exit", "ser_time", "server",
)  # fmt: skip
"""The header line that the file must have, tab-separated."""

_ZONE = ZoneInfo("Asia/Jerusalem")
_NEXT_DAY_BELOW_S = 12 * 3600
_US = 1_000_000
_CLOCK = re.compile(r"(\d{1,2}):([0-5]\d):([0-5]\d)")
_DATE = re.compile(r"\d{6}")
_SPOILT = re.compile(r"\d(\.\d+)?E\+\d+")
_PRIORITIES = {"0": "normal", "1": "normal", "2": "high"}
_CENTURY_FROM_YEAR = 69
_CUSTOMER = Actor(kind="customer")


class BankCallsReport(msgspec.Struct):
    """What became of the rows: `rows == mapped + phantom + quarantined`, always. The other counts are of mapped rows."""

    rows: int = 0
    mapped: int = 0
    phantom: int = 0
    quarantined: int = 0
    unidentified: int = 0
    spoilt_ids: int = 0
    clock_steps: int = 0

    def line(self) -> str:
        """Return the report as one line for people."""
        return (
            f"rows: {self.rows:,} = {self.mapped:,} mapped + {self.phantom:,} phantom (skipped) + {self.quarantined:,} quarantined;"
            f" {self.unidentified:,} unidentified, {self.spoilt_ids:,} of them with an id spoilt by a spreadsheet,"
            f" {self.clock_steps:,} with a clock that stepped back"
        )


def map_bank_calls(lines: Iterable[str], *, tenant: str) -> tuple[list[Draft], list[Rejected], BankCallsReport]:
    """Map a whole file to drafts in sending order (event time, then step, then id), rows that were quarantined, and the report.

    Raises `Refused` if the header line is not this form's. Rows stand by line in the file, so it is held in memory as a whole.
    """
    numbered = enumerate((line.rstrip("\r\n") for line in lines), start=1)
    if tuple(next(numbered, (1, ""))[1].split("\t")) != COLUMNS:
        raise Refused("Line 1 is not the header of a file of bank calls.", reason="wrong_format", next_step="check FILE and --format.")
    drafts: list[Draft] = []
    rejected: list[Rejected] = []
    report = BankCallsReport()
    for number, line in numbered:
        if not line:
            continue
        report.rows += 1
        try:
            drafts.extend(_contact(line, tenant, report))
        except UnreadableError as error:
            report.quarantined += 1
            rejected.append(Rejected("quarantined", error.reason, f"line {number}: {error}.", number, SOURCE))
    drafts.sort(key=lambda draft: (draft.occurred_at_us, draft.source_seq, draft.id))
    return drafts, rejected, report


def _contact(line: str, tenant: str, report: BankCallsReport) -> list[Draft]:
    """Map one row to the drafts of its contact, in order; none for a phantom. Counts the row once it is known to be readable."""
    row = _columns(line)
    if row["outcome"] == "PHANTOM":
        report.phantom += 1
        return []
    contact_id = f"{row['vru+line']}-{row['call_id']}-{row['date']}"
    handle, spoilt = _handle(row["customer_id"], contact_id)
    steps, stepped_back = _steps(row)
    drafts = [
        Draft(
            type=f"contact.{name}",
            id=f"{contact_id}/{name}",
            source=SOURCE,
            tenant=tenant,
            channel="phone",
            direction="inbound",
            occurred_at_us=at_us,
            customer=(handle,),
            actor=actor,
            contact_id=contact_id,
            conversation_id=contact_id,
            source_seq=step,
            fields=fields,
        )
        for step, (name, at_us, actor, fields) in enumerate(steps)
    ]
    report.mapped += 1
    report.unidentified += handle.kind == "contact"
    report.spoilt_ids += spoilt
    report.clock_steps += stepped_back
    return drafts


_Fields = dict[str, str | int | float | bool | None]
_Step = tuple[str, int, Actor, _Fields]


def _steps(row: dict[str, str]) -> tuple[list[_Step], bool]:
    """Return (name, event time, actor, fields) of each step, and whether `vru_exit` lay before `vru_entry`."""
    clock = _Clock(row["date"], row["vru_entry"])
    entry_us, exit_us = clock.entry_us, clock.at_us(row["vru_exit"], "vru_exit")
    left_menu_us = max(entry_us, exit_us)
    wait_us = _seconds(row["q_time"]) * _US
    start_us = clock.at_us(row["q_start"], "q_start")
    clock.at_us(row["q_exit"], "q_exit")  # the wait is q_time; but a row with an impossible time is not to be trusted
    queued = bool(wait_us or not _is_zero(row["q_start"]) or not _is_zero(row["q_exit"]))
    queue, priority = row["type"], _PRIORITIES[row["priority"]]
    queued_us = start_us if queued else left_menu_us
    steps: list[_Step] = [("initiated", entry_us, _CUSTOMER, {"queue": queue})]
    if row["outcome"] == "HANG" and not queued:
        steps.append(("abandoned", left_menu_us, _CUSTOMER, {"stage": "menu"}))
        return steps, exit_us < entry_us
    steps.append(("queued", queued_us, _CUSTOMER, {"queue": queue, "priority": priority}))
    if row["outcome"] == "HANG":
        steps.append(("abandoned", queued_us + wait_us, _CUSTOMER, {"stage": "queue"}))
        return steps, exit_us < entry_us
    agent = None if row["server"] == "NO_SERVER" else row["server"]
    actor = Actor(kind="agent", id=agent)
    connected_us = queued_us + (wait_us if queued else 0)
    steps.append(("connected", connected_us, actor, {"agent": agent or "", "queue": queue}))
    ended_us = clock.at_us(row["ser_exit"], "ser_exit")
    served = not (_is_zero(row["ser_start"]) and _is_zero(row["ser_exit"]) and _seconds(row["ser_time"]) == 0)
    if served and ended_us > connected_us:
        steps.append(("completed", ended_us, actor, {}))
    return steps, exit_us < entry_us


class _Clock:
    """Turns times of day into epoch µs, beside the day and time at which the call came in."""

    def __init__(self, day: str, entry: str) -> None:
        if not _DATE.fullmatch(day):
            raise UnreadableError("impossible_time", "date is not YYMMDD")
        year = int(day[:2])
        try:
            self._day = date(year + (1900 if year >= _CENTURY_FROM_YEAR else 2000), int(day[2:4]), int(day[4:]))
        except ValueError:
            raise UnreadableError("impossible_time", "date is no day of the calendar") from None
        self._entry_s = _time_of_day_s(entry, "vru_entry")
        self.entry_us = self.at_us(entry, "vru_entry")

    def at_us(self, text: str, column: str) -> int:
        second = _time_of_day_s(text, column)
        day = self._day + timedelta(days=1) if self._entry_s - second > _NEXT_DAY_BELOW_S else self._day
        local = datetime.combine(day, time(second // 3600, second // 60 % 60, second % 60), _ZONE)
        return int(local.timestamp()) * _US


def _time_of_day_s(text: str, column: str) -> int:
    found = _CLOCK.fullmatch(text)
    if found is None or int(found[1]) > 23:  # noqa: PLR2004 - hours of a day
        raise UnreadableError("impossible_time", f"{column} is no time of day")
    return int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3])


def _is_zero(text: str) -> bool:
    return not text.strip("0:")


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise UnreadableError("impossible_time", "a duration is not a count of seconds")
    return int(text)


def _columns(line: str) -> dict[str, str]:
    if any("\udc80" <= letter <= "\udcff" for letter in line):
        raise UnreadableError("not_utf8", "the row is not UTF-8")
    cells = [cell.strip() for cell in line.split("\t")]
    if len(cells) != len(COLUMNS):
        raise UnreadableError("missing_column" if len(cells) < len(COLUMNS) else "extra_column", f"{len(cells)} columns instead of {len(COLUMNS)}")
    for name, cell in _named(cells):
        if not cell:
            raise UnreadableError("missing_column", f"{name} is empty")
    row = dict(_named(cells))
    if row["outcome"] not in {"AGENT", "HANG", "PHANTOM"}:
        raise UnreadableError("unknown_value", "outcome is none of AGENT, HANG, PHANTOM")
    if row["priority"] not in _PRIORITIES:
        raise UnreadableError("unknown_value", "priority is none of 0, 1, 2")
    return row


def _named(cells: list[str]) -> Iterator[tuple[str, str]]:
    return zip(COLUMNS, cells, strict=True)


def _handle(customer_id: str, contact_id: str) -> tuple[RawHandle, bool]:
    """Return the handle, and whether the id was spoilt: an unidentified contact is its own handle."""
    if _SPOILT.fullmatch(customer_id):
        return RawHandle("contact", contact_id), True
    if not customer_id.isascii() or not customer_id.isdigit():
        raise UnreadableError("unknown_value", "customer_id is no number")
    if int(customer_id) == 0:
        return RawHandle("contact", contact_id), False
    return RawHandle("account", customer_id), False
