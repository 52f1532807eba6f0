"""Draws a table of states as a Mermaid diagram, so that the pages of docs/ show what the code does. Knows no table of its own."""

import re
from collections.abc import Mapping
from enum import Enum
from typing import Final

__all__ = ["drawn", "mermaid"]

_BLOCK: Final = re.compile(r"(<!-- drawn from ([\w ,]+) -->\n).*?(?=<!-- drawn -->)", re.DOTALL)


def mermaid(table: Mapping[object, Mapping[object, object]]) -> str:
    """Return a state diagram, fenced for a page, for `state -> what happens -> next state`. The first state is where all begin.

    What happens alike between two states is one arrow. A state from which nothing leads on is an end. Names are an enum's values,
    a class's name, or the text itself. Source of the form: https://mermaid.js.org/syntax/stateDiagram.html
    """
    arrows: dict[tuple[str, str], list[str]] = {}
    names: dict[str, None] = {}
    for state, happenings in table.items():
        names.setdefault(_name(state))
        for happening, after in happenings.items():
            names.setdefault(_name(after))
            arrows.setdefault((_name(state), _name(after)), []).append(_name(happening))
    lines = ["stateDiagram-v2"]
    lines += [f"    state {_quoted(name)} as {_identifier(name)}" for name in names if name != _identifier(name)]
    lines += [f"    [*] --> {_identifier(name)}" for name in list(names)[:1]]
    lines += [f"    {_identifier(one)} --> {_identifier(two)}: {', '.join(labels)}" for (one, two), labels in arrows.items()]
    ends = [name for name in names if all(one != name for one, _ in arrows)]
    lines += [f"    {_identifier(name)} --> [*]" for name in ends]
    return "\n".join(["```mermaid", *lines, "```", ""])


def drawn(page: str, drawings: Mapping[str, str]) -> str:
    """Return a page with every drawing put in anew, between `<!-- drawn from NAME -->` and `<!-- drawn -->`. Raises `KeyError` for others."""
    return _BLOCK.sub(lambda found: found[1] + drawings[found[2]], page)


def _name(part: object) -> str:
    if isinstance(part, Enum):
        return str(part.value)
    return part.__name__ if isinstance(part, type) else str(part)


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', "'") + '"'
