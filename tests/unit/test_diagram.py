"""Diagrams of the documentation are drawn from the tables that the code uses."""

import re
from enum import StrEnum
from pathlib import Path

import pytest

from projections.sla.diagram import drawn, mermaid
from schemas.events import ContactConnected
from tests.golden.draw import DRAWINGS, PAGES

ROOT = Path(__file__).resolve().parents[2]


class Phase(StrEnum):
    """Two states."""

    QUIET = "quiet"
    ON_HOLD = "on hold"


def test_a_table_becomes_arrows_from_its_first_state_to_its_ends() -> None:
    table = {"waiting": {"answered": "met", "merged": "cancelled", "resolved": "cancelled"}, "cancelled": {}}
    assert mermaid(table) == (
        "```mermaid\n"
        "stateDiagram-v2\n"
        "    [*] --> waiting\n"
        "    waiting --> met: answered\n"
        "    waiting --> cancelled: merged, resolved\n"
        "    met --> [*]\n"
        "    cancelled --> [*]\n"
        "```\n"
    )


def test_states_and_events_have_the_names_of_their_enums_and_classes() -> None:
    table = {Phase.QUIET: {ContactConnected: Phase.ON_HOLD}, Phase.ON_HOLD: {"clock.moved": Phase.QUIET}}
    assert mermaid(table) == (
        "```mermaid\n"
        "stateDiagram-v2\n"
        '    state "on hold" as on_hold\n'
        "    [*] --> quiet\n"
        "    quiet --> on_hold: ContactConnected\n"
        "    on_hold --> quiet: clock.moved\n"
        "```\n"
    )


def test_a_page_keeps_its_text_and_gets_its_drawings() -> None:
    page = "Before\n<!-- drawn from one -->\nold\n<!-- drawn -->\nbetween\n<!-- drawn from the other, too -->\n<!-- drawn -->\nafter\n"
    drawings = {"one": "first\n", "the other, too": "second\n"}
    new = drawn(page, drawings)
    assert new == (
        "Before\n<!-- drawn from one -->\nfirst\n<!-- drawn -->\nbetween\n<!-- drawn from the other, too -->\nsecond\n<!-- drawn -->\nafter\n"
    )
    assert drawn(new, drawings) == new
    with pytest.raises(KeyError, match="one"):
        drawn(page, {})


@pytest.mark.parametrize("name", PAGES)
def test_the_diagrams_of_the_documentation_are_those_of_the_code(name: str) -> None:
    """After a change of a table: `python tests/golden/draw.py`."""
    page = (ROOT / name).read_text(encoding="utf-8")
    assert drawn(page, DRAWINGS) == page


def test_every_table_of_the_code_is_drawn_somewhere() -> None:
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in PAGES)
    assert set(re.findall(r"<!-- drawn from ([\w ,]+) -->", text)) == set(DRAWINGS)
