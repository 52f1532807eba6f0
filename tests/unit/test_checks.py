"""What is quarantined before anything is sealed."""

import pytest

from connectors.checks import Repeats, check, id_reused
from connectors.contract import Actor, Draft

NOW_US = 1_768_208_400_000_000
CUSTOMER, AGENT = Actor(kind="customer"), Actor(kind="agent", id="a-1")


def draft(kind: str = "message.received", **more: object) -> Draft:
    common = {"id": "m-1", "source": "/s", "tenant": "t", "channel": "email", "direction": "inbound", "occurred_at_us": NOW_US}
    return Draft(**{"type": kind, **common, **more})  # type: ignore[arg-type] # the test's own values


def reason(one: Draft) -> str | None:
    found = check(one, now_us=NOW_US, future_max_s=300, line=4)
    assert found is None or found.outcome == "quarantined"
    return found and found.reason


def test_an_event_five_minutes_ahead_may_go_on_and_one_further_ahead_may_not() -> None:
    """Senders' clocks differ a little; a broken clock must not hold timers open for years."""
    assert reason(draft(occurred_at_us=NOW_US + 300_000_000)) is None
    assert reason(draft(occurred_at_us=NOW_US + 300_000_001)) == "future_dated"


def test_old_events_go_on_whatever_their_age() -> None:
    assert reason(draft(occurred_at_us=-1)) is None


@pytest.mark.parametrize(
    "one",
    [
        draft(direction="outbound"),
        draft(actor=AGENT),
        draft("message.sent"),
        draft("message.sent", direction="outbound", actor=CUSTOMER),
        draft("thread.replied", actor=CUSTOMER, fields={"by_staff": True}),
        draft("case.merged", case_id="k-1", fields={"into": "k-1"}),
        draft("case.split", case_id="k-1", fields={"from": "k-1", "at_event": "m"}),
        draft(corrects="m-1"),
    ],
)
def test_what_contradicts_itself_for_certain_is_quarantined(one: Draft) -> None:
    assert reason(one) == "contradictory"


@pytest.mark.parametrize(
    "one",
    [
        draft(actor=CUSTOMER),
        draft(actor=Actor(kind="partner")),
        draft(direction="internal"),
        draft("message.sent", direction="outbound", actor=Actor(kind="bot")),
        draft("thread.replied", actor=CUSTOMER, fields={"by_staff": False}),
        draft("case.merged", case_id=None, fields={"into": "k-1"}),
        draft("contact.abandoned", actor=AGENT),
        draft(corrects="m-0"),
    ],
)
def test_what_is_merely_strange_goes_on(one: Draft) -> None:
    assert reason(one) is None


def test_the_same_id_again_is_a_repeat_or_a_contradiction_by_its_content() -> None:
    repeats = Repeats()
    assert repeats.look(draft(), b"one") == "new"
    assert repeats.look(draft(), b"one") == "repeat"
    assert repeats.look(draft(), b"two") == "other"
    assert repeats.look(draft(source="/other"), b"two") == "new"
    assert id_reused(draft(), 9).detail.startswith("line 9: ")


def test_the_memory_of_repeats_is_bounded() -> None:
    """Two generations: at least half of the limit is remembered, at most the limit."""
    repeats = Repeats(remembered=10)
    for number in range(100):
        assert repeats.look(draft(id=str(number)), b"") == "new"
    assert [repeats.look(draft(id=str(number)), b"") for number in range(95, 100)] == ["repeat"] * 5
    assert repeats.look(draft(id="1"), b"") == "new"


def test_no_detail_repeats_what_was_said() -> None:
    found = check(draft(text="ann@example.org", direction="outbound"), now_us=NOW_US, future_max_s=300, line=4)
    assert found is not None
    assert "example.org" not in found.detail
    assert found.source == "/s"


# -- special-category data ends ------------------------------------------------------------------------------------------

DAY_US = 86_400_000_000


def flagged(expires_at_us: object, kind: str = "vulnerability.flagged", **more: object) -> Draft:
    return draft(kind, direction="internal", actor=AGENT, fields={"expires_at_us": expires_at_us}, **more)


@pytest.mark.parametrize("kind", ["vulnerability.flagged", "vulnerability.extended"])
def test_a_flag_needs_an_end_that_lies_ahead_and_not_too_far(kind: str) -> None:
    """Nobody is vulnerable for ever; and what is over already is not taken in, however old the file is that says it."""
    assert reason(draft(kind, direction="internal", actor=AGENT)) == "expiry_missing"
    assert reason(flagged("2027-01-01T00:00:00Z", kind)) == "expiry_missing"
    assert reason(flagged(NOW_US, kind)) == "expiry_past"
    assert reason(flagged(NOW_US - DAY_US, kind, occurred_at_us=NOW_US - 9 * DAY_US)) == "expiry_past"
    assert reason(flagged(NOW_US + 1, kind, occurred_at_us=NOW_US + 2)) == "expiry_past"
    assert reason(flagged(NOW_US + 1, kind)) is None
    assert reason(flagged(NOW_US + 730 * DAY_US, kind)) is None
    assert reason(flagged(NOW_US + 730 * DAY_US + 1, kind)) == "expiry_too_far"
    assert reason(flagged(NOW_US + 725 * DAY_US, kind, occurred_at_us=NOW_US - 9 * DAY_US)) == "expiry_too_far"


def test_for_how_long_is_a_setting() -> None:
    found = check(flagged(NOW_US + 31 * DAY_US), now_us=NOW_US, future_max_s=300, vulnerability_days_max=30)
    assert found is not None
    assert (found.reason, "30 days" in found.detail) == ("expiry_too_far", True)


@pytest.mark.parametrize("kind", ["vulnerability.withdrawn", "vulnerability.expired", "vulnerability.reviewed"])
def test_what_ends_or_reviews_a_flag_needs_no_end_of_its_own(kind: str) -> None:
    assert reason(draft(kind, direction="internal", actor=AGENT)) is None


def test_an_outcome_is_a_word_since_it_is_not_sealed() -> None:
    def reviewed(outcome: str) -> str | None:
        return reason(draft("vulnerability.reviewed", direction="internal", actor=AGENT, fields={"outcome": outcome}))

    assert reviewed("kept") is None
    assert reviewed("") is None
    assert reviewed("has recovered from her illness") == "not_a_word"
    assert reviewed("x" * 65) == "not_a_word"
