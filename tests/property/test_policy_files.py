"""Whatever is done to a policy file, it is either a rulebook whose conditions can be asked, or a list of faults with lines."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from projections.rules import Rulebook
from projections.sla.conditions import Context
from projections.sla.matching import Matcher
from projections.sla.policy import Fault, WrongPolicies, read_policies

LINES = Path("docs/examples/policies.toml").read_text().splitlines()
JUNK = st.sampled_from(
    ["", "=", "[", "]]", '"', "'''", "x = 1", "[[policy]]", 'id = "mail"', "id = 3", 'targets = "1h"', "open = [1, [2]]", "\x00", "date = 1979"]
)
EDITS = st.lists(st.tuples(st.integers(0, len(LINES) - 1), st.sampled_from(["drop", "double", "junk", "cut"]), JUNK, st.integers(0, 80)), max_size=4)
SCALARS = st.sampled_from(["1", "-1", "1.5", "true", '"x"', '"9"', "2026-01-01", "09:00:00"])


def nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return lists and inline tables of values."""
    return st.lists(inner, max_size=2).map(lambda found: f"[{', '.join(found)}]") | inner.map(lambda found: f"{{ mon = {found} }}")


VALUES = st.recursive(SCALARS, nested, max_leaves=3)


def check(faults: tuple[Fault, ...], last_line: int) -> None:
    """Check that faults have lines of the file, in order, a reason and a next step."""
    assert faults
    assert all(1 <= fault.line <= last_line and fault.what and fault.next_step for fault in faults)
    assert [fault.line for fault in faults] == sorted(fault.line for fault in faults)


def taken(text: str) -> Rulebook | None:
    """Return the rulebook, None if it was refused as it should be; anything else fails."""
    try:
        book = read_policies(text, "p.toml", years=range(2026, 2027))
    except WrongPolicies as wrong:
        check(wrong.faults, text.count("\n") + 1)
        return None
    matcher = Matcher(book)
    for context in (Context(), Context(channel="email", segments=frozenset({"vip"}))):
        policy = matcher.policy(context)
        assert matcher.calendar(context, policy, "first_response").id
    return book


@settings(max_examples=150, deadline=None)
@given(EDITS)
def test_a_damaged_file_is_read_or_refused(edits: list[tuple[int, str, str, int]]) -> None:
    lines = list(LINES)
    for at, edit, junk, column in edits:
        lines[at] = {"drop": "", "double": f"{lines[at]}\n{lines[at]}", "junk": junk, "cut": lines[at][:column]}[edit]
    taken("\n".join(lines))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(LINES) - 1), VALUES)
def test_a_value_of_another_kind_is_refused_or_taken(at: int, value: str) -> None:
    """Each key with what does not belong there."""
    lines = list(LINES)
    key, equals, _ = lines[at].partition("=")
    if equals:
        lines[at] = f"{key}= {value}"
    taken("\n".join(lines))


def test_the_file_itself_is_taken() -> None:
    """Or the tests above would prove nothing."""
    assert taken("\n".join(LINES)) is not None
