"""Tables and lines for people: whole in a terminal of 80 columns, and whole where there is no terminal."""

import io
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from projections.sla.policy import read_policies
from projections.testing import make
from schemas import events
from streams.alert_view import AlertView
from streams.care_view import ClockRow, CustomerCare, OpenClock
from streams.figures_reading import DayFigures, QueueFigures
from streams.plain import instant_us
from streams.published import Published
from streams.service_level import Counts, ServiceLevel, Targets
from touchline import explaining
from touchline.alert_lines import line
from touchline.alert_tables import draw_alerts
from touchline.commands import clocks, customer, figures
from touchline.conversation_clocks import draw_clocks
from touchline.rules_shown import draw_book, draw_explained
from touchline.terminal import WIDTH_MAX, console, draw_table, fits, moment

CUSTOMER = "0f9bd2a6-3c1e-5b7a-9d44-6a1f7be0c9d1"
CONVERSATION = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
ALERT = "64254425-7944-567e-acbe-4ea43aad429e"
QUEUE = "customer-service-billing-berlin"
TEAM = "customer-care-berlin"
NOW = datetime(2026, 1, 12, 10, 30, tzinfo=UTC)
NOW_US = instant_us("2026-01-12T10:30:00Z")
HOUR_US = 3_600_000_000
PIPED = WIDTH_MAX

Draw = Callable[[Console], None]


def drawn(draw: Draw, width: int) -> list[str]:
    """Return the lines of a drawing, none of which may be cut or too long."""
    on = Console(file=io.StringIO(), width=width, highlight=False)
    draw(on)
    said = on.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert "…" not in "".join(said)
    assert max(map(cell_len, said)) <= width
    return said  # type: ignore[no-any-return]


def found_in(said: list[str], *wanted: str) -> None:
    """Assert that each of these stands on one line, in the order of the lines."""
    at = 0
    for text in wanted:
        places = [n for n, each in enumerate(said) if n >= at and text in " ".join(each.split())]
        assert places, (text, said[at:])
        at = places[0]


# -- the width


def said_by_a_terminal(monkeypatch: pytest.MonkeyPatch, *, is_one: bool, columns: str | None) -> Console:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_one)
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    return console()


def test_what_is_piped_has_no_width_and_a_terminal_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    piped = said_by_a_terminal(monkeypatch, is_one=False, columns=None)
    assert (piped.width, fits(piped)) == (WIDTH_MAX, False)
    terminal = said_by_a_terminal(monkeypatch, is_one=True, columns=None)
    assert fits(terminal)
    for is_one in (True, False):
        assert said_by_a_terminal(monkeypatch, is_one=is_one, columns="80").width == 80


# -- the table


WIDE = ("a" * 30, "12", "b" * 30, "c" * 30, "")
NAMES = ("first", ">n", "second", "third", "fourth")


def test_columns_that_do_not_fit_stand_below_their_row_by_name() -> None:
    assert drawn(lambda on: draw_table(on, NAMES, [WIDE]), 80) == [
        f"{'first':30}   n  second",
        "─" * 66,
        f"{'a' * 30}  12  {'b' * 30}",
        f"  third {'c' * 30}",
    ]


def test_a_row_is_a_line_where_nothing_limits_it() -> None:
    _, _, row = drawn(lambda on: draw_table(on, NAMES, [WIDE]), PIPED)
    assert row.split() == list(WIDE[:4])


def test_heads_go_above_where_the_others_then_fit() -> None:
    said = drawn(lambda on: draw_table(on, ("queue", ">offered", ">answered"), [("q" * 20, "7", "6")], heads=1), 24)
    assert said == ["queue", "  offered  answered", "─" * 19, "q" * 20, "        7         6"]


def test_what_is_longer_than_a_line_is_wrapped_at_its_words() -> None:
    said = drawn(lambda on: draw_table(on, ("id", "when"), [("mail", "one two three four")]), 12)
    assert said[2:] == ["mail", "  when one", "  two three", "  four"]


def test_a_cell_is_one_line_and_neither_markup_nor_a_terminal_command_and_wide_characters_count_as_two() -> None:
    said = drawn(lambda on: draw_table(on, ("who", "what"), [("包裹", "[red]x\n\x1b[2Jy"), ("ab", "z")]), 80)
    assert said[2:] == ["包裹  [red]x [2Jy", "ab    z"]


@pytest.mark.parametrize(
    ("at", "seconds", "said"),
    [
        ("2026-01-12T09:31:05Z", False, "09:31"),
        ("2026-01-12T09:31:05Z", True, "09:31:05"),
        ("2026-01-13T09:31:00Z", False, "01-13 09:31"),
        ("2025-12-31T09:31:00Z", False, "2025-12-31 09:31"),
    ],
)
def test_a_time_leaves_out_what_it_has_in_common_with_now(at: str, *, seconds: bool, said: str) -> None:
    assert moment(instant_us(at), NOW_US, UTC, seconds=seconds) == said


# -- the tables of the commands, with realistic rows


def open_clock(state: str, due_us: int, **values: Any) -> OpenClock:
    told = {"team": TEAM, "conversation_id": CONVERSATION, "metric": "resolution_total", "instance": 1, "customer_id": CUSTOMER}
    return OpenClock(state=state, due_us=due_us, **{**told, "channel": "messaging", "priority": "urgent", **values})


def draw_open_clocks(on: Console) -> None:
    late, later = open_clock("breached", NOW_US - HOUR_US), open_clock("running", NOW_US + 30 * HOUR_US, priority=None)
    clocks.draw(on, [late, later], 1_000, NOW)


def test_open_clocks_in_a_terminal_have_what_matters_on_the_line_and_whole_ids_below() -> None:
    said = drawn(draw_open_clocks, 80)
    found_in(
        said,
        "Open clocks at 2026-01-12 10:30 UTC",
        "due left state metric team",
        f"09:30 -1:00:00 breached resolution_total {TEAM}",
        "channel messaging · priority urgent",
        f"conversation {CONVERSATION}",
        f"customer {CUSTOMER}",
        f"01-13 16:30 1 d 6 h running resolution_total {TEAM}",
    )


def test_open_clocks_piped_are_a_line_each() -> None:
    said = drawn(draw_open_clocks, PIPED)
    assert said[3].split() == ["09:30", "-1:00:00", "breached", "resolution_total", TEAM, "messaging", "urgent", CONVERSATION, CUSTOMER]
    assert len(said) == 5


def alert(**values: Any) -> AlertView:
    fields: dict[str, Any] = dict.fromkeys(AlertView.__struct_fields__)
    told = {"alert_id": ALERT, "team": TEAM, "raised_us": NOW_US - HOUR_US, "kind": "breach", "name": "resolution_total", "severity": "critical"}
    told |= {"state": "acknowledged", "attempts": 2, "customer_id": CUSTOMER, "conversation_id": CONVERSATION, "assignee": "ag-4711"}
    return AlertView(**(fields | told | values))


def draw_two_alerts(on: Console) -> None:
    draw_alerts(on, [alert(), alert(raised_us=NOW_US - 24 * HOUR_US, conversation_id="c-9", team="mail", assignee=None)], 50, NOW_US, UTC)


def test_alerts_in_a_terminal_have_the_alerts_id_whole_at_the_end() -> None:
    said = drawn(draw_two_alerts, 80)
    found_in(said, "09:30 critical acknowledged breach resolution_total 2", f"team {TEAM} / ag-4711", f"alert {ALERT}")
    found_in(said, "01-11 10:30 critical acknowledged", "team mail · conversation c-9", f"customer {CUSTOMER}", f"alert {ALERT}")
    assert [each.endswith(ALERT) for each in said].count(True) == 2


def test_alerts_piped_are_a_line_each_with_the_alerts_id_last() -> None:
    said = drawn(draw_two_alerts, PIPED)
    assert len(said) == 4
    assert [each.split()[-1] for each in said[2:]] == [ALERT, ALERT]


def level(offered: int, *targets: Targets) -> ServiceLevel:
    waits = {10.0: offered - 260, 25.0: 200}
    counts = Counts(
        offered=offered, answered=offered - 60, abandoned=60, wait_us=15_000_000 * (offered - 60), waits=waits, abandons={4.5: 10, 30.0: 50}
    )
    return ServiceLevel.together([ServiceLevel.of(counts, one) for one in targets])


def day(*lines: QueueFigures) -> Draw:
    return lambda on: figures.draw(on, DayFigures(tenant="acme", day="2026-01-12", version=1, lines=lines))


def test_figures_of_short_queues_fit_a_terminal_with_a_line_each_and_one_decimal() -> None:
    lines = (QueueFigures(None, "billing", "phone", level(1_060, Targets(20, 5))), QueueFigures(None, "tech", "webchat", level(960, Targets(45, 3))))
    found_in(
        drawn(day(*lines), 80),
        "queue channel offered answered abandoned short flow-out waiting",
        "billing phone 1,060 1,000 60 10 0 0",
        "all 2,020 1,900 120 10 0 0",
        "queue channel ASA median p90 T S abandon no short",
        "billing phone 15.0 10.0 25.0 20 5 5.7 4.8",
        "tech webchat 15.0 10.0 25.0 45 3 6.2 6.2",
        "all 15.0 10.0 25.0 20-45 3-5 5.9 5.5",
        "queue channel n SL-1 SL-2 SL-3 SL-4 SL-5 SL-6",
        "billing phone 1,060 76.4 80.0 75.5 76.2 76.4 76.2",
    )


def test_figures_of_long_queues_by_quarter_have_their_place_above_the_numbers() -> None:
    wide = level(1_234_567, Targets(20, 5))
    said = drawn(day(*(QueueFigures(NOW_US + n * 900_000_000, QUEUE, "backoffice", wide) for n in (0, 1))), 80)
    found_in(said, "UTC queue channel", "offered answered abandoned", f"10:30 {QUEUE} backoffice", "1,234,567 1,234,507 60 10 0 0", "all")
    found_in(said, "n SL-1 SL-2 SL-3 SL-4 SL-5 SL-6", f"10:45 {QUEUE} backoffice", "1,234,567 100.0 100.0 100.0")
    piped = drawn(day(QueueFigures(NOW_US, QUEUE, "backoffice", wide)), PIPED)
    found_in(piped, f"10:30 {QUEUE} backoffice 1,234,567 1,234,507 60 10 0 0")


def draw_rules(on: Console) -> None:
    book = read_policies(Path("docs/examples/policies.toml").read_text(), "policies.toml", years=range(2025, 2030))
    draw_book(on, book, [Published(book=book, tenant="acme", record_id="r-1", published_us=NOW_US)])


@pytest.mark.parametrize("width", [80, PIPED])
def test_rules_are_whole_at_any_width(width: int) -> None:
    found_in(
        drawn(draw_rules, width),
        "office Europe/Berlin",
        "mon-thu 09:00-17:00, fri 09:00-15:00",
        "mail-high by precedence",
        "first_response 1h, next_response 2h, resolution_total 16h",
        'channel == "email" && (priority == "high"',
        "0s role:team_lead, 30m role:head_of_service",
        "missed-call office 2h",
        'type == "contact.abandoned" && channel == "phone"',
        "queue billing",
        "answered within 45s, short abandon 5s",
        "2026-01-12T10:30:00Z",
    )


@pytest.mark.parametrize("width", [80, PIPED])
def test_what_is_explained_fits_a_terminal_with_its_due_times_on_the_line(width: int) -> None:
    book = read_policies(Path("docs/examples/policies.toml").read_text(), "policies.toml", years=range(2025, 2030))
    context = explaining.context_of("channel=phone type=contact.abandoned stage=queue queue=shop-floor")

    def draw(on: Console) -> None:
        draw_explained(on, explaining.explain(book, context, NOW_US))
        told = {"metric": "resolution_total", "instance": 1, "state": "running", "due_us": NOW_US}
        draw_clocks(on, [clock_row(**told, policy="everything-else", calendar="shanghai-night-desk")])

    found_in(
        drawn(draw, width),
        "metric target due calendar because",
        "turn_response 15s 2026-01-12T10:30:15Z shop queue shop-floor",
        "ownership 10m 2026-01-12T10:40:00Z office named for the metric",
        "missed-call 2h 2026-01-12T12:30:00Z office the rule's own",
        "resolution_total 1 running 2026-01-12T10:30:00Z shanghai-night-desk",
    )


def clock_row(**told: Any) -> ClockRow:
    return ClockRow(**(dict.fromkeys(ClockRow.__struct_fields__) | told))


def care() -> CustomerCare:
    told = {"conversation_id": CONVERSATION, "metric": "resolution_total", "state": "breached", "due_us": NOW_US, "policy": "premium-customers-mail"}
    clock = clock_row(**told)
    return CustomerCare(running=0, paused=0, breached=1, open_alerts=1, worst_severity="high", open_clocks=(clock,))


def test_a_customers_clocks_have_their_conversation_whole() -> None:
    said = drawn(lambda on: customer._draw_care(on, care()), 80)
    found_in(
        said, "2026-01-12 10:30:00 breached resolution_total premium-customers-mail", f"conversation {CONVERSATION}", "1 breached; open alerts: 1"
    )
    piped = drawn(lambda on: customer._draw_care(on, care()), PIPED)
    found_in(piped, f"2026-01-12 10:30:00 breached resolution_total premium-customers-mail {CONVERSATION}")


# -- lines that are followed

MINUTE_US = 60_000_000


def told(of: type[Any], /, **fields: Any) -> str:
    header = make(events.MessageRead, at="10:30:04", conversation_id="c-4711", customer=CUSTOMER).header
    said = line(of.of(header, {"alert_id": ALERT, **fields}), UTC)
    assert said is not None
    return said


def test_lines_of_alerts_stay_below_120_characters_and_end_with_the_alerts_id() -> None:
    raised = {"kind": "breach", "name": "first_response", "instance": 1, "severity": "high", "rule": "mail", "team": "billing", "attempts": 1}
    lines = [
        told(events.AlertRaised, **raised, due_at_us=NOW_US, deliver_at_us=NOW_US),
        told(events.EscalationStepReached, step=2, to="role:head_of_service", after_s=1800, reason="breach first_response", from_team="billing"),
        told(events.AlertAcknowledged, by="sup-7", until_us=NOW_US + 30 * MINUTE_US),
        told(events.AlertSnoozed, by="sup-7", until_us=NOW_US + 24 * HOUR_US),
        told(events.EscalationHeld, by="sup-7", until_us=NOW_US + 30 * MINUTE_US),
        told(events.AlertAssigned, by="sup-7", team="billing", agent="ag-7"),
        told(events.AlertResolved, by=None, reason="answered"),
    ]
    assert lines[0] == f"01-12 10:30:04 HIGH · billing · breach first_response in c-4711 · due 4 s ago · {ALERT}"
    assert lines[1] == f"01-12 10:30:04 STEP 2 → role:head_of_service · breach first_response, 30 min on · {ALERT}"
    assert lines[2] == f"01-12 10:30:04 ACKNOWLEDGED · by sup-7, until 11:00:00 · {ALERT}"
    assert "until 01-13 10:30:00" in lines[3]
    for each in lines:
        assert re.fullmatch(rf"01-12 10:30:04 [A-Z]{{4}}.* · {ALERT}", each)
        assert len(each) <= 120, each
        assert CUSTOMER not in each


def test_an_alert_that_waits_for_the_morning_says_from_when_it_is_told() -> None:
    raised = {"kind": "breach", "name": "first_response", "instance": 1, "severity": "low", "rule": "mail", "team": "mail", "attempts": 1}
    said = told(events.AlertRaised, **raised, due_at_us=NOW_US + 4_000_000, deliver_at_us=instant_us("2026-01-13T08:00:00Z"))
    assert "due now, told from 01-13 08:00 · " in said
