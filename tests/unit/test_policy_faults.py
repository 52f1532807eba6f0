"""Every fault of a policy file is found in one go and told with its line, its reason and the next step."""

import pytest

from projections.sla.policy import WrongPolicies, read_policies
from touchline.errors import Misconfigured

CALENDAR = '[[calendar]]\nid = "office"\ntimezone = "Europe/Berlin"\nweek = { mon = ["09:00-17:00"] }\n'
POLICY = '[[policy]]\nid = "p"\n'
OFFICE_HOUR = CALENDAR + POLICY + 'calendar = "office"\ntargets = { first_response = "1h" }\n'
SHOP = CALENDAR + '[[queue]]\nid = "q"\ncalendar = "office"\n'
RULE = '[[unanswered]]\nid = "r"\nwhen = "true"\nanswer_within = "1h"\n'


def faults(text: str) -> list[str]:
    """Return the lines of the error."""
    with pytest.raises(WrongPolicies) as wrong:
        read_policies(text, "p.toml", years=range(2025, 2030), tzdata="t")
    return str(wrong.value).splitlines()[1:]


def test_all_faults_of_a_file_are_told_at_once_in_the_order_of_their_lines() -> None:
    text = """
[[policy]]
id = "a"
colour = "red"
targets = { first_response = 60 }
[[policy]]
id = "a"
when = "channel == 3"
"""
    keys = "id, calendar, calendars, targets, warn, when, pause_states, on_change, apply_to_open, answered_by, snooze_pauses, severity"
    names = "type, stage, channel, queue, team, priority, tags, segments, segment, language, direction, conversation.attributes"
    overload = "found no matching overload for '_==_' applied to '(string, int)' (column 9)"
    first = f'p.toml:4: policy "a": there is no key "colour". Choose from: {keys}, acknowledge_hold, recipients, escalation.'
    last = f'p.toml:8: policy "a": the condition cannot be used: {overload}. It is CEL over {names}: texts, and lists and maps of texts.'
    assert faults(text) == [
        first,
        'p.toml:5: policy "a", targets: first_response = 60 has no unit. Write "60s", "60m" or "60h".',
        'p.toml:7: policy "a": id stands here a second time, first in line 3. Rename or remove one of the two.',
        last,
    ]


def test_a_wrong_file_is_a_wrong_configuration_and_says_that_nothing_is_in_force() -> None:
    with pytest.raises(Misconfigured, match=r"^p\.toml has one fault; nothing of it is in force\.\np\.toml:1: "):
        read_policies("x = 1", "p.toml", years=range(2026, 2027), tzdata="t")


WRONG: list[tuple[str, str, int, str]] = [
    # calendars
    ("an unknown zone", CALENDAR.replace("Berlin", "Berlinn"), 3, "There is no time zone 'Europe/Berlinn' in tzdata"),
    ("no zone", '[[calendar]]\nid = "c"\nweek = { mon = ["09:00-17:00"] }', 1, 'calendar "c" has no timezone. Add timezone'),
    ("no id", '[[calendar]]\ntimezone = "UTC"\nweek = { mon = ["09:00-17:00"] }', 1, "calendar 1 has no id. Add id"),
    ("overlapping intervals", CALENDAR.replace('"]', '", "16:59-18:00"]'), 4, "mon: 09:00-17:00 and 16:59-18:00 overlap."),
    ("an overlap over midnight", CALENDAR.replace(" }", ', tue = ["22:00-10:00"], wed = ["09:00-12:00"] }'), 4, "runs over midnight and overlaps"),
    ("an exception that overlaps the day before", CALENDAR + '[[calendar.exception]]\ndate = 2026-01-05\nopen = ["22:00-10:00"]\n'
     '[[calendar.exception]]\ndate = 2026-01-06\nopen = ["09:00-10:00"]', 5, "runs over midnight and overlaps 09:00-10:00 of 2026-01-06"),
    ("a day that is none", CALENDAR.replace("mon", "fry"), 4, 'there is no key "fry". Write fri'),
    ("hours that are none", CALENDAR.replace("17:00", "24:01"), 4, '"09:00-24:01" is no interval'),
    ("a text that is no interval", CALENDAR.replace("09:00-17:00", "nine to five"), 4, '"nine to five" is no interval'),
    ("an empty interval", CALENDAR.replace("17:00", "09:00"), 4, '"09:00-09:00" is empty'),
    ("a calendar that never opens", '[[calendar]]\nid = "c"\ntimezone = "UTC"', 1, 'calendar "c" is never open'),
    ("the built-in calendar's name", CALENDAR.replace("office", "always"), 2, '"always" is the built-in calendar'),
    ("two calendars of one id", CALENDAR + CALENDAR, 6, "id stands here a second time, first in line 2"),
    ("an unknown country", CALENDAR + 'holidays = "ZZ"', 5, '"ZZ" is no country of the holidays library'),
    ("an unknown region", CALENDAR + 'holidays = "DE-XX"', 5, 'DE has no region "XX". Choose from: BB'),
    ("an exception without hours", CALENDAR + "[[calendar.exception]]\ndate = 2026-01-06", 6, "does not say when it is open"),
    ("an exception without a day", CALENDAR + "[[calendar.exception]]\nopen = []", 5, "date must be a day. Write date = 2026-12-24."),
    ("a day that is no day", CALENDAR + '[[calendar.exception]]\ndate = "2026-02-30"\nopen = []', 6, "date must be a day"),
    ("one exception twice", CALENDAR + "[[calendar.exception]]\ndate = 2026-01-06\nopen = []\n" * 2, 9, "2026-01-06 stands here a second time"),
    # spans and targets
    ("a target without a unit", POLICY + 'targets = { first_response = "60" }', 3, 'first_response = 60 has no unit. Write "60s", "60m" or "60h".'),
    ("a metric that is none", POLICY + 'targets = { first_respons = "1h" }', 3, 'there is no metric "first_respons". Write first_response, or'),
    ("a negative span", POLICY + 'targets = { first_response = "-5m" }', 3, "first_response = -5m is negative"),
    ("a negative number", POLICY + "targets = { first_response = -5 }", 3, "first_response = -5 is negative"),
    ("half an hour in decimals", POLICY + 'targets = { first_response = "0.5h" }', 3, "first_response = 0.5h is no span"),
    ("units in disorder", POLICY + 'acknowledge_hold = "5m1h"', 3, "acknowledge_hold = 5m1h is no span"),
    ("a truth as a span", POLICY + "acknowledge_hold = true", 3, "acknowledge_hold = True is no span"),
    ("a thousand years", POLICY + f'acknowledge_hold = "{"9" * 60}h"', 3, "is more than twenty years"),
    ("days of office hours", CALENDAR + POLICY + 'calendar = "office"\ntargets = { first_response = "2d" }', 8,
     'first_response is in days, but calendar "office" is not always open. Say hours of open time.'),
    ("days where a queue's hours may apply", SHOP + POLICY + 'targets = { first_response = "2d" }', 10,
     'calendar "office" is not always open'),
    ("days on a ladder", OFFICE_HOUR + '[[policy.escalation]]\nafter = "1d"\nto = "x"', 10,
     "after is in days"),
    ("days until unanswered", CALENDAR + RULE.replace("1h", "1d") + 'calendar = "office"', 8, "answer_within is in days"),
    ("a warning as long as the target", POLICY + 'targets = { first_response = "1h" }\nwarn = { first_response = "60m" }', 4,
     "first_response warns 3600 s before a due time 3600 s after the start"),
    ("a warning without a target", POLICY + 'warn = { first_response = "60m" }', 3, "first_response has a warning but no target"),
    ("a ladder that does not rise", POLICY + '[[policy.escalation]]\nafter = "30m"\nto = "a"\n[[policy.escalation]]\nafter = "30m"\nto = "b"', 7,
     "after is not later than the step before, 1800 s"),
    ("a step without a time", POLICY + '[[policy.escalation]]\nto = "a"', 3, 'escalation "a" has no after'),
    ("a step to nobody", POLICY + '[[policy.escalation]]\nafter = "1s"', 3, "escalation 1 has no to"),
    # conditions
    ("a condition that is no CEL", POLICY + "when = 'channel =='", 3, "Syntax error"),
    ("a variable that there is not", POLICY + "when = 'prority == \"high\"'", 3, "undeclared reference to 'prority'"),
    ("a text compared with a number", POLICY + "when = 'priority > 3'", 3, "found no matching overload for '_>_' applied to '(string, int)'"),
    ("a condition that gives a text", POLICY + "when = 'channel'", 3, "it gives string, not true or false"),
    ("a list compared with a text", POLICY + "when = 'tags == \"vip\"'", 3, "applied to '(list(string), string)'"),
    ("a function that asks the time", POLICY + "when = 'now() > 3'", 3, "undeclared reference to 'now'"),
    ("a pattern that is none", POLICY + "when = 'channel == \"email\" && queue.matches(\"(\")'", 3, "invalid regular expression"),
    ("a channel that is none", POLICY + "when = 'channel in [\"email\", \"fax\"]'", 3, 'channel "fax", which no event has'),
    ("an event type that is none", POLICY + "when = 'type == \"contact.abandonned\"'", 3, "Write contact.abandoned."),
    ("an attribute that is sealed", POLICY + "when = 'conversation.attributes.plan == \"gold\"'", 3, 'Add "plan" to clear_attributes.'),
    ("a condition over several lines", POLICY + "when = '''\nchannel ==\n  3'''", 3, "'_==_' applied to '(string, int)'"),
    ("an unanswered rule without a condition", '[[unanswered]]\nid = "r"\nanswer_within = "1h"', 1, 'unanswered "r" has no when'),
    ("an unanswered rule without a time", '[[unanswered]]\nid = "r"\nwhen = "true"', 1, 'unanswered "r" has no answer_within'),
    # names
    ("a calendar that there is not", CALENDAR + POLICY + 'calendar = "ofice"', 7, 'there is no calendar "ofice". Write office'),
    ("a metric's calendar that there is not", POLICY + 'calendars = { queue_answer = "x" }', 3, 'there is no calendar "x". Choose from: always.'),
    ("a segment's calendar that there is not", '[[customer_calendar]]\nsegment = "vip"\ncalendar = "x"', 3, 'there is no calendar "x"'),
    ("quiet hours without a calendar", '[defaults]\nquiet_hours = { severity_below = "low" }', 2, "has no calendar"),
    ("quiet hours without a severity", '[defaults]\nquiet_hours = { calendar = "always" }', 2, "has no severity_below"),
    ("a severity that is none", POLICY + 'severity = "hihg"', 3, 'there is no severity "hihg". Write high'),
    ("a way to change that is none", POLICY + 'on_change = "restart"', 3, 'there is no on_change "restart"'),
    ("a channel's rules for no channel", '[[channel]]\nid = "emial"', 2, 'there is no id "emial". Write email'),
    ("channel rules without a channel", "[[channel]]\ngrace = '5m'", 1, "channel 1 has no id"),
    ("two queues of one id", '[[queue]]\nid = "q"\n[[queue]]\nid = "q"', 4, "first in line 2"),
    ("two teams of one id", '[[team]]\nid = "q"\n[[team]]\nid = "q"', 4, "first in line 2"),
    ("two rules of one id", RULE + RULE, 6, "first in line 2"),
    ("one segment twice", '[[customer_calendar]]\nsegment = "a"\ncalendar = "always"\n' * 2, 5, "segment stands here a second time"),
    # forms
    ("an unknown table", "[[polcy]]\nid = 1", 1, 'there is no key "polcy". Write policy'),
    ("a table that should be many", "[policy]\nid = 'a'", 1, "policy is written once for each. Write [[policy]]."),
    ("a list that should be a table", POLICY + "targets = []", 3, "targets must be a table"),
    ("a text that should be a list", 'clear_attributes = "plan"', 1, "clear_attributes must be a list of texts"),
    ("a number that should be a text", "[[policy]]\nid = 3", 2, "id must be a text"),
    ("a text that should be a truth", POLICY + 'apply_to_open = "yes"', 3, "apply_to_open must be true or false"),
    ("no TOML", "a = 1\nb = [", 2, "This is no TOML: "),
    ("a key twice, which TOML forbids", "[defaults]\n[defaults]", 2, "This is no TOML: Cannot declare ('defaults',) twice"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "said"), [wrong[1:] for wrong in WRONG], ids=[wrong[0] for wrong in WRONG])
def test_a_fault_is_told_with_its_line_and_reason(text: str, line: int, said: str) -> None:
    """One fault, one line of the error."""
    told = faults(text)
    assert len(told) == 1, told
    assert told[0].startswith(f"p.toml:{line}: ")
    assert said in told[0]


def test_lists_nested_without_end_are_refused_too() -> None:
    assert faults("a = " + "[" * 20_000)[0].startswith("p.toml:1: ")
