"""Special-category data: who is told that there is any, who sees what it says, and for how long."""

import json
from pathlib import Path
from typing import Any

import pytest

from connectors.contract import Actor
from streams.plain import instant_us
from streams.timeline_row import TimelineRow
from tests.unit.test_customer_command import MAIL, Run, World, ann, draft, lines, run, world
from touchline.errors import Misconfigured, Retryable
from touchline.purposes import Flag, flag_of
from touchline.settings import load_settings

__all__ = ["run", "world"]

LOSS = "lost her husband in December"
HERS = "vulnerability"


def at(text: str) -> int:
    return instant_us(f"2026-{text}Z")


@pytest.fixture
def flagged(world: World) -> World:
    world.happen(
        draft(7, "11T10:00:00", type="vulnerability.flagged", direction="internal", actor=Actor("agent", "ag-9"), text=LOSS, channel="phone",
              conversation_id="k-1", fields={"expires_at_us": at("03-01T00:00:00")}),
        draft(8, "11T10:05:00", type="vulnerability.reviewed", direction="internal", actor=Actor("agent", "ag-9"), text=f"still {LOSS}",
              channel="phone", fields={"outcome": "kept"}),
    )  # fmt: skip
    return world


def as_roles(patch: pytest.MonkeyPatch, roles: str) -> None:
    patch.setenv("TOUCHLINE_ROLES", roles)


def test_whoever_lacks_the_role_is_not_told_that_there_is_anything(flagged: World, run: Run) -> None:
    customer_id = ann(flagged)
    for shown in (run("customer", "show", customer_id).stdout, run("timeline", customer_id).stdout):
        for hint in ("vulnerab", "special care", "withheld", LOSS, "2026-03-01"):
            assert hint not in shown, hint
    for *events, page in (lines(run("timeline", customer_id, "--json", *more)) for more in ((), ("--limit", "5"), ("--sealed",))):
        assert [event["event_id"] for event in events] == ["m-6", "m-4", "m-3", "m-2", "m-1"]
        assert page["next_cursor"] is None or page["events"] == 5
    for only in (HERS, "vulnerability.flagged"):
        assert lines(run("timeline", customer_id, "--type", only, "--all", "--json"))[:-1] == []


def test_a_page_is_filled_though_something_is_left_out(flagged: World, run: Run) -> None:
    *events, page = lines(run("timeline", ann(flagged), "--json", "--limit", "2"))
    assert [event["event_id"] for event in events] == ["m-6", "m-4"]
    assert page["next_cursor"]


def test_among_the_technical_events_stands_that_something_is_withheld_and_not_what(flagged: World, run: Run) -> None:
    *events, _ = lines(run("timeline", ann(flagged), "--all", "--json"))
    [first, second, *_] = events
    for one in (first, second):
        assert (one["type"], one["sealed"], one["reason"], one["text"]) == ("withheld", "withheld", "role", None)
        assert (one["channel"], one["summary"], one["event_id"], one["conversation_id"]) == ("other", {}, "", None)
        assert one["actor"] == {"kind": "system", "id": None}
    assert first["at"] == "2026-01-11T10:05:00Z"
    shown = run("timeline", ann(flagged), "--all").stdout
    assert "withheld" in shown
    assert "vulnerab" not in shown
    closed = lines(run("timeline", ann(flagged), "--all", "--sealed", "--json"))[0]
    assert (closed["type"], closed["sealed"]) == ("withheld", "withheld")


def test_the_json_form_says_withheld_whether_or_not_there_is_a_flag(flagged: World, run: Run) -> None:
    assert lines(run("customer", "show", ann(flagged), "--json"))[0]["vulnerability"] == "withheld"


def test_that_is_the_same_for_a_customer_without_one(world: World, run: Run) -> None:
    assert lines(run("customer", "show", ann(world), "--json"))[0]["vulnerability"] == "withheld"


def test_with_the_role_the_events_are_opened_and_the_flag_says_until_when(flagged: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    as_roles(monkeypatch, "agent,vulnerability")
    shown = run("customer", "show", ann(flagged)).stdout
    assert "Needs special care until 2026-03-01 00:00:00 UTC, since 2026-01-11 10:00:00." in shown
    assert LOSS in shown
    found = lines(run("customer", "show", ann(flagged), "--json"))[0]
    assert found["vulnerability"] == {"since": "2026-01-11T10:00:00Z", "until": "2026-03-01T00:00:00Z"}
    assert [event["text"] for event in found["timeline"][:2]] == [f"still {LOSS}", LOSS]


def test_the_role_alone_opens_nothing_else(flagged: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    as_roles(monkeypatch, HERS)
    found = lines(run("customer", "show", ann(flagged), "--json"))[0]
    assert {event["event_id"]: event["sealed"] for event in found["timeline"]}["m-1"] == "withheld"
    assert [(one["value"], one["sealed"]) for one in found["handles"]] == [(None, "withheld")] * 3
    assert "(withheld)" in run("customer", "show", ann(flagged)).stdout
    assert MAIL not in run("customer", "show", ann(flagged)).stdout


def test_after_the_expiry_the_flag_is_gone_and_nobody_sees_what_it_said(flagged: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    as_roles(monkeypatch, "agent,vulnerability,supervisor,privacy")
    flagged.now_us = at("03-01T00:00:00")
    shown = run("customer", "show", ann(flagged)).stdout
    assert "special care" not in shown
    found = lines(run("customer", "show", ann(flagged), "--json"))[0]
    assert found["vulnerability"] is None
    events = {event["event_id"]: (event["sealed"], event["reason"], event["text"]) for event in found["timeline"]}
    assert events["m-7"] == ("withheld", "expired", None)
    assert events["m-8"][0] == "opened", "what names no end itself ends as the longest flag of its day would"
    flagged.now_us = at("01-11T10:05:00") + 730 * 86_400_000_000
    found = lines(run("customer", "show", ann(flagged), "--json"))[0]
    assert {event["event_id"]: event["reason"] for event in found["timeline"]}["m-8"] == "expired"
    assert LOSS not in json.dumps(found)


def test_every_opening_is_noted_before_it_with_its_purpose_and_how_many(flagged: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    as_roles(monkeypatch, "agent,vulnerability")
    customer_id = lines(run("customer", "show", ann(flagged), "--json"))[0]["customer_id"]
    flagged.notes.notes.clear()
    run("timeline", customer_id)
    assert flagged.notes.notes == [("opened", customer_id, "contact", 5), ("opened", customer_id, "vulnerability", 2)]
    run("timeline", customer_id, "--sealed")
    assert len(flagged.notes.notes) == 2, "what is left closed is not noted"


def test_what_cannot_be_noted_is_not_opened(flagged: World, run: Run) -> None:
    flagged.notes.away = True
    for command in (("customer", "show"), ("timeline",)):
        result = run(*command, ann(flagged))
        assert isinstance(result.exception, Retryable)
        assert "parcel" not in result.output
    assert run("timeline", ann(flagged), "--sealed").exit_code == 0


def test_a_handle_that_only_came_with_such_an_event_is_not_shown_by_it(world: World, run: Run) -> None:
    from connectors.contract import RawHandle  # noqa: PLC0415 - beside its only use

    both = (RawHandle("email", MAIL, verified=True), RawHandle("phone", "+4989123456"))
    world.happen(draft(9, "11T11:00:00", type="vulnerability.flagged", customer=both, fields={"expires_at_us": at("03-01T00:00:00")}))
    [found] = [one for one in lines(run("customer", "show", ann(world), "--json"))[0]["handles"] if one["first_seen"] == "2026-01-11T11:00:00Z"]
    assert (found["value"], found["sealed"]) == (None, "none")


@pytest.mark.parametrize("roles", ["", "admin", "agent,", "agent;privacy", "Agent"])
def test_a_role_that_there_is_not_is_refused_at_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, roles: str) -> None:
    monkeypatch.chdir(tmp_path)
    as_roles(monkeypatch, roles)
    with pytest.raises(Misconfigured, match="TOUCHLINE_ROLES"):
        load_settings()


# -- the flag -------------------------------------------------------------------------------------------------------------


def row(kind: str, when: str, **summary: str) -> TimelineRow:
    known: dict[str, Any] = dict.fromkeys(("actor_id", "contact_id", "conversation_id", "case_id", "sealed"))
    return TimelineRow(
        tenant="t", customer_id="c", occurred_at_us=at(when), event_id=f"{kind}-{when}", channel="phone", type=f"vulnerability.{kind}",
        direction="internal", actor_kind="agent", hidden=False, home_customer_id="c", summary=summary, **known
    )  # fmt: skip


def until(when: str) -> dict[str, str]:
    return {"expires_at_us": str(at(when))}


FLAGGED = row("flagged", "01-01T00:00:00", **until("02-01T00:00:00"))
EXTENDED = row("extended", "01-20T00:00:00", **until("04-01T00:00:00"))


@pytest.mark.parametrize(
    ("rows", "now", "expected"),
    [
        ([], "01-15T00:00:00", None),
        ([FLAGGED], "01-15T00:00:00", ("01-01T00:00:00", "02-01T00:00:00")),
        ([FLAGGED], "02-01T00:00:00", None),
        ([EXTENDED, FLAGGED], "02-15T00:00:00", ("01-01T00:00:00", "04-01T00:00:00")),
        ([FLAGGED, row("reviewed", "01-10T00:00:00")], "01-15T00:00:00", ("01-01T00:00:00", "02-01T00:00:00")),
        ([FLAGGED, row("withdrawn", "01-10T00:00:00")], "01-15T00:00:00", None),
        ([FLAGGED, row("expired", "01-10T00:00:00"), EXTENDED], "01-25T00:00:00", ("01-20T00:00:00", "04-01T00:00:00")),
        ([FLAGGED, row("extended", "03-01T00:00:00", **until("04-01T00:00:00"))], "03-02T00:00:00", ("03-01T00:00:00", "04-01T00:00:00")),
        ([FLAGGED, EXTENDED, row("reviewed", "01-21T00:00:00", corrects=EXTENDED.event_id)], "01-25T00:00:00", ("01-01T00:00:00", "02-01T00:00:00")),
        ([row("flagged", "01-01T00:00:00")], "01-15T00:00:00", None),
    ],
)
def test_the_last_word_decides_until_when(rows: list[TimelineRow], now: str, expected: tuple[str, str] | None) -> None:
    found = None if expected is None else Flag(at(expected[0]), at(expected[1]))
    assert flag_of(rows, at(now)) == found
    assert flag_of(rows[::-1], at(now)) == found
