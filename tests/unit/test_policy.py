"""A policy file becomes a rulebook: every key, its default, and what is written out."""

from pathlib import Path

import msgspec
import pytest

from projections.rules import ChannelRules, ContactRules, CustomerCalendar, Defaults, LadderStep, Policy, QueueRules, QuietHours, Rulebook, TeamRules
from projections.sla.policy import holiday_years, read_policies

YEARS = range(2025, 2030)
EXAMPLE = Path("docs/examples/policies.toml")

WHOLE = """
clear_attributes = ["plan"]
[[calendar]]
id = "office"
timezone = "Europe/Berlin"
week = { mon = ["13:00-17:00", "09:00-12:00"], tue = ["22:00-06:00"], sun = ["00:00-24:00"] }
[[calendar.exception]]
date = 2026-11-11
open = []
[[calendar.exception]]
date = "2026-02-14"
open = ["10:00-14:00:30"]
[defaults]
calendar = "office"
reopen_window = "3d"
return_after = "30m"
queue = { answer_within = "25s", short_abandon = "0s" }
quiet_hours = { calendar = "office", severity_below = "high" }
[[queue]]
id = "billing"
calendar = "office"
answer_within = "45s"
[[channel]]
id = "email"
grace = "5m"
allowed_lateness = "2d"
[[team]]
id = "night"
calendar = "office"
return_after = "1m"
[[customer_calendar]]
segment = "vip"
calendar = "always"
[[policy]]
id = "mail"
when = 'channel == "email" && conversation.attributes.plan == "gold"'
calendar = "office"
targets = { first_response = "1h30m", next_response = "4h", queue_answer = "2d" }
warn = { first_response = "15m" }
calendars = { queue_answer = "always" }
pause_states = []
on_change = "carry_seconds"
apply_to_open = true
answered_by = "any_channel"
snooze_pauses = true
severity = "critical"
acknowledge_hold = "30m"
recipients = ["team:mail"]
[[policy.escalation]]
after = "0s"
to = "role:lead"
[[policy.escalation]]
after = "30m"
to = "role:head"
[[policy]]
id = "rest"
[[unanswered]]
id = "missed"
when = 'type == "contact.abandoned"'
answer_within = "2h"
recovered_by = "same_channel"
severity = "low"
acknowledge_hold = "1m"
recipients = ["team:recall"]
[[unanswered.escalation]]
after = "1h"
to = "role:lead"
"""


def read(text: str, years: range = YEARS) -> Rulebook:
    return read_policies(text, "p.toml", years=years, tzdata="2026f")


def test_every_key_of_the_file_is_in_the_rulebook() -> None:
    book = read(WHOLE)
    office = book.calendars[0]
    assert (office.id, office.timezone, office.tzdata) == ("office", "Europe/Berlin", "2026f")
    assert office.week == (((32400, 43200), (46800, 61200)), ((79200, 108000),), (), (), (), (), ((0, 86400),))
    assert office.exceptions == {"2026-02-14": ((36000, 50430),), "2026-11-11": ()}
    assert book.clear_attributes == ("plan",)
    assert book.defaults == Defaults(
        calendar="office",
        reopen_window_s=3 * 86_400,
        return_after_s=1800,
        queue=ContactRules(answer_within_s=25, short_abandon_s=0),
        quiet_hours=QuietHours(calendar="office", severity_below="high"),
    )
    assert book.queues == (QueueRules(id="billing", calendar="office", answer_within_s=45),)
    assert book.channels == (ChannelRules(id="email", grace_s=300, allowed_lateness_s=2 * 86_400),)
    assert book.teams == (TeamRules(id="night", calendar="office", return_after_s=60),)
    assert book.customer_calendars == (CustomerCalendar(segment="vip", calendar="always"),)
    assert book.policies[0] == Policy(
        id="mail",
        when='channel == "email" && conversation.attributes.plan == "gold"',
        calendar="office",
        targets={"first_response": 5400, "next_response": 14_400, "queue_answer": 2 * 86_400},
        warn={"first_response": 900},
        calendars={"queue_answer": "always"},
        pause_states=(),
        on_change="carry_seconds",
        apply_to_open=True,
        answered_by="any_channel",
        snooze_pauses=True,
        severity="critical",
        acknowledge_hold_s=1800,
        recipients=("team:mail",),
        escalation=(LadderStep(after_s=0, to="role:lead"), LadderStep(after_s=1800, to="role:head")),
    )
    rule = book.unanswered[0]
    assert (rule.id, rule.answer_within_s, rule.recovered_by, rule.severity, rule.acknowledge_hold_s) == ("missed", 7200, "same_channel", "low", 60)
    assert (rule.recipients, rule.escalation, rule.calendar) == (("team:recall",), (LadderStep(after_s=3600, to="role:lead"),), None)


def test_response_clocks_rest_in_pause_states_that_a_file_names() -> None:
    lines = '[[policy]]\nid = "p"\ntargets = { first_response = "1h" }\n'
    named, empty, absent = (read(lines + more).policies[0] for more in ('pause_states = ["pending"]', "pause_states = []", ""))
    assert (named.pause_responses, named.pause_states) == (True, ("pending",))
    assert (empty.pause_responses, empty.pause_states) == (False, ())
    assert (absent.pause_responses, absent.pause_states) == (False, ("pending",))


def test_what_a_file_leaves_out_is_the_default() -> None:
    assert read("") == Rulebook()
    assert read('[[policy]]\nid = "rest"\n').policies == (Policy(id="rest"),)
    assert read('[[queue]]\nid = "q"\n[defaults]\n').queues == (QueueRules(id="q"),)


def test_a_rulebook_survives_its_way_over_the_log() -> None:
    book = read(EXAMPLE.read_text())
    assert msgspec.json.decode(msgspec.json.encode(book), type=Rulebook) == book


def test_zm390_holidays_are_written_out_and_never_live() -> None:
    """St Martin's day is a proposal of nobody; Epiphany is one in Bavaria; a hand-written exception wins."""
    calendar = '[[calendar]]\nid = "c"\ntimezone = "UTC"\nweek = { mon = ["09:00-17:00"] }\nholidays = "DE-BY"\n'
    by_hand = '[[calendar.exception]]\ndate = 2026-01-06\nopen = ["10:00-12:00"]\n'
    written = read(calendar).calendars[0].exceptions
    assert written["2026-01-06"] == ()
    assert "2026-11-11" not in written
    assert {day[:4] for day in written} == {"2025", "2026", "2027", "2028", "2029"}
    assert list(written) == sorted(written)
    assert read(calendar + by_hand).calendars[0].exceptions["2026-01-06"] == ((36_000, 43_200),)
    assert "2026-01-06" not in read(calendar.replace("DE-BY", "DE-BE")).calendars[0].exceptions


def test_a_chinese_calendar_has_its_make_up_days_by_hand() -> None:
    shanghai = next(hours for hours in read(EXAMPLE.read_text()).calendars if hours.id == "shanghai")
    assert shanghai.exceptions["2026-02-17"] == ()
    assert shanghai.exceptions["2026-02-14"] == ((32_400, 43_200), (48_600, 64_800))


@pytest.mark.parametrize(
    ("now", "effective", "years"),
    [(2026, None, range(2025, 2030)), (2026, 2027, range(2025, 2030)), (2026, 1999, range(1998, 2030)), (2026, 1970, range(1970, 2030))],
)
def test_holidays_reach_from_the_year_before_to_three_years_after(now: int, effective: int | None, years: range) -> None:
    """For rules that hold for old data, from those years on."""
    assert holiday_years(now, effective) == years


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("4h", 14_400), ("1h30m", 5400), ("1d2h", 93_600), ("0s", 0), (" 7d ", 604_800)]
)
def test_spans_are_whole_numbers_with_units(text: str, seconds: int) -> None:
    assert read(f'[defaults]\nreopen_window = "{text}"').defaults.reopen_window_s == seconds


def test_days_are_allowed_where_the_calendar_is_always_open() -> None:
    """Always, or a calendar of the file that never closes."""
    round_the_clock = "week = { " + ", ".join(f'{day} = ["00:00-24:00"]' for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")) + " }"
    calendar = f'[[calendar]]\nid = "c"\ntimezone = "Europe/Berlin"\n{round_the_clock}\n'
    policy = '[[policy]]\nid = "p"\ntargets = { resolution_total = "2d" }\n'
    for text in (policy, f'{policy}calendar = "always"', f'{calendar}{policy}calendar = "c"', f'[defaults]\ncalendar = "c"\n{calendar}{policy}'):
        assert read(text).policies[0].targets == {"resolution_total": 172_800}
