"""What docs/policies.md shows is what the parser takes, and it leaves no key out."""

import re
from pathlib import Path
from typing import get_args

import pytest

from projections.rules import Metric
from projections.sla.conditions import VARIABLES
from projections.sla.policy import read_policies
from schemas.events import Channel

PAGE = Path("docs/policies.md").read_text()
BLOCKS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
EXAMPLE = Path("docs/examples/policies.toml").read_text()
KEYS = {
    *("clear_attributes", "calendar", "id", "timezone", "week", "holidays", "exception", "date", "open", "defaults", "reopen_window"),
    *("return_after", "queue", "answer_within", "short_abandon", "quiet_hours", "severity_below", "channel", "grace", "allowed_lateness"),
    *("team", "customer_calendar", "segment", "policy", "when", "targets", "warn", "calendars", "pause_states", "snooze_pauses"),
    *("on_change", "apply_to_open", "answered_by", "severity", "acknowledge_hold", "recipients", "escalation", "after", "to"),
    *("unanswered", "recovered_by"),
}
READERS = "text|required|one_of|flag|texts|list_of_texts|span|seconds|table|tables|raw|has|named|_by_metric|_open_s"
ASKED = re.compile(rf"\.(?:{READERS})\((?:table, |root, |step, )?\"(\w+)\"|_each\(root, \"(\w+)\"")


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[0])
def test_every_block_is_a_good_policy_file(block: str) -> None:
    read_policies(block, "docs/policies.md", years=range(2025, 2030))


def test_every_key_metric_channel_and_variable_is_on_the_page() -> None:
    blocks = "\n".join(BLOCKS)
    assert [key for key in sorted(KEYS) if not re.search(rf"\b{key}\b", blocks)] == []
    names = [*get_args(Metric), *VARIABLES, *(channel for channel in get_args(Channel) if channel != "other")]
    assert [name for name in names if name not in PAGE] == []


def test_the_list_of_keys_is_the_parsers() -> None:
    """A key that the parser knows and this list does not would be missing from the page without a sound."""
    code = "\n".join(path.read_text() for path in Path("projections/sla").glob("policy*.py"))
    assert {one or other for one, other in ASKED.findall(code)} == KEYS


def test_the_example_is_a_good_policy_file_with_something_of_everything() -> None:
    book = read_policies(EXAMPLE, "policies.toml", years=range(2025, 2030))
    assert all(
        (book.calendars, book.queues, book.channels, book.teams, book.customer_calendars, book.policies, book.unanswered, book.clear_attributes)
    )
    assert {policy.id: policy.targets.get("turn_response") for policy in book.policies}["live"] == 15
    assert {policy.id: policy.targets.get("queue_answer") for policy in book.policies}["live"] == 90
    assert {policy.id: policy.targets.get("first_response") for policy in book.policies}["mail"] == 3600
