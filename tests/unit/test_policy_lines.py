"""In which line each key of a TOML text stands, whatever form it takes."""

import tomllib
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from projections.sla.policy_lines import KeyPath, lines_of

FORMS = '''# a comment with [brackets] and "quotes"
top = "x"  # and one behind
a.b."c d" = 1

[table]
list = [ # comment, with a comma
  "one", 'two # no comment',
  """three
  lines, with ] and }""",
  { inline = 1, deeper = { still = 2 } },
]
date = 1979-05-27 07:32:00
[[many]]
id = 1
[[many.child]]
id = 2
[[many]]
id = 3
[many.sub]
"quoted \\u00e9" = \'\'\'
text = 'no key'
\'\'\'
last = """a \\""" b""""
'''


def test_every_form_of_key_has_its_line() -> None:
    lines = lines_of(FORMS)
    assert {
        ("top",): 2,
        ("a", "b", "c d"): 3,
        ("table",): 5,
        ("table", "list", 0): 7,
        ("table", "list", 1): 7,
        ("table", "list", 2): 8,
        ("table", "list", 3, "deeper", "still"): 10,
        ("table", "date"): 12,
        ("many",): 13,
        ("many", 0, "child", 0, "id"): 16,
        ("many", 1): 17,
        ("many", 1, "id"): 18,
        ("many", 1, "sub", "quoted é"): 20,
        ("many", 1, "sub", "last"): 23,
    }.items() <= lines.items()


def paths(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    """Return every path of a parsed file."""
    if isinstance(value, dict):
        return {path} | {deeper for key, inner in value.items() for deeper in paths(inner, (*path, key))}
    if isinstance(value, list):
        return {path} | {deeper for index, inner in enumerate(value) for deeper in paths(inner, (*path, index))}
    return {path}


def test_the_scanner_finds_exactly_what_the_parser_finds() -> None:
    for text in (FORMS, Path("pyproject.toml").read_text(), Path("docs/examples/policies.toml").read_text()):
        assert paths(tomllib.loads(text)) - {()} == set(lines_of(text))


@given(st.text(alphabet="ab.=[]{}\"'\n#, 1\\", max_size=60))
def test_whatever_the_parser_accepts_the_scanner_reads_alike(text: str) -> None:
    """Random texts of TOML's own characters: mostly refused by the parser; the rest must agree."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = lines_of(text)
    assert paths(values) - {()} == set(lines)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


_KEYS = st.sampled_from(["a", "b", '"a"', "'b'", "a.b", "'x y'.a"])
_VALUES = st.recursive(
    st.sampled_from(["1", '"x"', "'y'", '"""m\n"""', "'''q\n'''", "1979-05-27", "true", '"""""m"""""']),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda found: "[" + ",\n".join(found) + " # end\n]"),
        st.lists(st.tuples(st.sampled_from("abc"), inner), max_size=2, unique_by=lambda pair: pair[0]).map(
            lambda found: "{" + ", ".join(f"{key} = {value}" for key, value in found) + "}"
        ),
    ),
    max_leaves=6,
)
_STATEMENTS = st.one_of(
    st.tuples(_KEYS, _VALUES).map(lambda pair: f"{pair[0]} = {pair[1]}"),
    _KEYS.map(lambda key: f"[{key}]"),
    _KEYS.map(lambda key: f"[[{key}]] # many"),
    st.just("# nothing"),
)


@given(st.lists(_STATEMENTS, max_size=8).map("\n".join))
def test_tables_arrays_and_strings_in_any_order_are_read_alike(text: str) -> None:
    """Texts that are mostly valid."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert paths(values) - {()} == set(lines_of(text))
