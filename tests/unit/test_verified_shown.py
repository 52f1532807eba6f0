"""What people see of a comparison, and which versions it is about."""

import asyncio
import io
from typing import Any

import msgspec
import pytest
import typer
from rich.console import Console

from projections.registry import VERSIONS
from streams.store.catalogue import control_tables
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion
from streams.verify.causes import Cause
from streams.verify.choice import choose_sides
from streams.verify.report import Report, ShownCustomer, ShownDifference
from streams.versions.versions import Standing, Versions
from tests.support.next_version import VIEW_2
from touchline.commands import projection_verify
from touchline.errors import Misconfigured, Refused
from touchline.verified import Looking, draw

EQUAL = Report(
    group="view",
    active=1,
    candidate=2,
    rows={"customer": (10, 12)},
    added=["reach"],
    missing=[],
    customers=1200,
    different=0,
    unlooked=0,
    as_expected=0,
    not_comparable=0,
    shared_different=0,
    shared_not_comparable=0,
    shared_unlooked=0,
    expected=[],
    details=[],
    parked=0,
    share=0.05,
    offsets={0: (7, 7)},
)
RECORD = Cause("record", "message.sent", "m-1", 1_768_208_400_000_000, 3, 4711)


def drawn(report: Report) -> str:
    on = Console(file=io.StringIO(), width=300, highlight=False)
    draw(on, report)
    return on.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def different(cause: Cause, before: Any = None, after: Any = None) -> Report:
    shown = ShownDifference("customer", {"facet": "contact"}, "body", before, after, cause)
    details = [ShownCustomer("acme", "c-1", [shown], 3)]
    return msgspec.structs.replace(EQUAL, different=1, details=details)


def test_an_equal_pair_leads_to_its_promotion() -> None:
    text = drawn(EQUAL)
    assert "view: v2 beside the active v1" in text
    assert "+2" in text
    assert "only there: not compared" in text
    assert "a sample of 5%" in text
    assert text.rstrip().endswith("Equal. Next: `touchline projection promote view@2`.")


def test_a_difference_is_shown_by_what_differs_and_by_its_event() -> None:
    text = drawn(different(RECORD, {"a": 1, "same": 2, "deep": {"x": 1, "y": 2}}, {"a": 3, "same": 2, "deep": {"x": 1, "y": 4}}))
    assert "Customer c-1, tenant acme: 3 places" in text
    assert '{"a": 1, "deep": {"y": 2}}' in text
    assert '{"a": 3, "deep": {"y": 4}}' in text
    assert "message.sent m-1 of 2026-01-12T09:00:00Z, partition 3 offset 4711" in text
    assert "and 2 more" in text
    assert "Not equal: 1 customer differs." in text


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (
            Cause("timer", "sla:first", "", 1_768_208_400_000_000, 3, 5),
            "timer sla:first, due 2026-01-12T09:00:00Z, noticed before partition 3 offset 5",
        ),
        (Cause("rules", "4", "", 1_768_208_400_000_000, 3, 5), "rules version 4, read 2026-01-12T09:00:00Z, partition 3 offset 5"),
        (Cause("parked", "v2", "", None, 3, 5), "v2 cannot fold the record at partition 3 offset 5"),
        (Cause("excluded", "v2", "m-1", 1_768_208_400_000_000, 3, 5), "v2 leaves out m-1"),
        (Cause("not_in_log", "v2"), "no event of this customer: the table of v2"),
        (Cause("history_too_long"), "too many records"),
        (Cause("unreadable", "the broker is away."), "not found: the broker is away."),
    ],
)
def test_every_cause_is_said_in_words(cause: Cause, said: str) -> None:
    assert said in drawn(different(cause, "a", "b"))


def test_every_reason_against_it_is_said() -> None:
    report = msgspec.structs.replace(EQUAL, parked=1, missing=["clock"], unlooked=9, shared_different=1, not_comparable=400)
    text = drawn(report)
    for said in ("1 customer waits in v2", "lacks the table clock", "9 more may", "1 row of nobody", "400 customers could not be compared"):
        assert said in text
    assert "Equal" not in text


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now_s = [0.0]
    with Looking(lambda: now_s[0]) as looking:
        for _ in range(25):
            now_s[0] += 1
            looking.tell("rows read", 1000)
    assert capsys.readouterr().err.splitlines() == ["rows read: 1,000, after 10 s", "rows read: 1,000, after 20 s"]


def standing(*states: str) -> Standing:
    """Return how the view stands with versions 1, 2, ... in these states; the first is active."""

    async def made() -> Standing:
        versions = Versions(MemoryStore(control_tables()))
        await versions.begin(GroupVersion("view", 1), 1)
        for version, state in enumerate(states, 2):
            await versions.add(GroupVersion("view", version), 1)
            if state != "building":
                await versions.move(GroupVersion("view", version), "building", state, 1)  # type: ignore[arg-type]
        found = await versions.read("view")
        assert found is not None
        return found

    return asyncio.run(made())


def test_the_newest_shadow_is_compared_with_the_active_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VERSIONS, ("view", 2), VIEW_2)
    for version in (None, 2):
        sides = choose_sides("view", version, standing("shadow"))
        assert sides.versions == (GroupVersion("view", 1), GroupVersion("view", 2))
        assert sides.tables["customer"].physical == "customer_v2"


@pytest.mark.parametrize(
    ("version", "states", "said"),
    [
        (None, (), "no version is in shadow"),
        (1, ("shadow",), "is the active version itself"),
        (2, ("building",), "it is being built"),
        (2, ("retired",), "it is retired"),
        (7, ("shadow",), "there is no such version"),
    ],
)
def test_what_is_not_in_shadow_is_refused(version: int | None, states: tuple[str, ...], said: str) -> None:
    with pytest.raises(Refused, match=said) as refused:
        choose_sides("view", version, standing(*states))
    assert refused.value.next_step


def test_code_that_lacks_a_version_says_which_is_needed() -> None:
    with pytest.raises(Misconfigured, match="no version 2 of the group view"):
        choose_sides("view", 2, standing("shadow"))


def test_a_group_that_never_ran_or_has_no_active_version_has_nothing_to_compare_with() -> None:
    with pytest.raises(Refused, match="No version of view has run here"):
        choose_sides("view", None, None)
    with pytest.raises(Misconfigured, match="no group nothing"):
        choose_sides("nothing", None, None)
    nobody = msgspec.structs.replace(standing("shadow"), active=0)
    with pytest.raises(Refused, match="is active yet"):
        choose_sides("view", 2, nobody)


@pytest.mark.parametrize(("sample", "share"), [("5%", 0.05), ("0.5 %", 0.005), ("100", 1.0)])
def test_a_sample_is_a_share_in_percent(sample: str, share: float) -> None:
    assert projection_verify._share(sample) == pytest.approx(share)


@pytest.mark.parametrize("sample", ["", "0%", "101%", "half", "-1%"])
def test_what_is_no_share_is_wrong_use(sample: str) -> None:
    with pytest.raises(typer.BadParameter, match="5%"):
        projection_verify._share(sample)
