"""Checks the conditions of a policy file before anything is published. Knows CEL and the catalogue; must not know policies.

The compiler refuses what is no CEL, names nothing, or has wrong types. What it lets through and would still never match is
looked for here: patterns that are none, attributes that are sealed, and names that no event has.
"""

import re
from collections.abc import Collection, Iterator
from typing import Final, get_args

from projections.sla.conditions import VARIABLES, Condition, Context, variables_of
from projections.sla.policy_table import choice
from schemas.events import EVENT_TYPES, Channel, Direction

__all__ = ["condition_faults"]

_TEXT: Final = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
_ATTRIBUTE: Final = re.compile(r"conversation\.attributes(?:\.(\w+)|\[\s*\"([^\"]*)\"\s*\]|\[\s*'([^']*)'\s*\])")
_PATTERN: Final = re.compile(rf"\bmatches\(\s*(r?(?:{_TEXT}))\s*\)")
_COMPARED: Final = re.compile(rf"(?<![\w.])(type|channel|direction)\s*(?:[!=]=\s*({_TEXT})|in\s*\[([^\]]*)\])")
_ONE_TEXT: Final = re.compile(_TEXT)
_KNOWN: Final[dict[str, Collection[str]]] = {"type": EVENT_TYPES, "channel": get_args(Channel), "direction": get_args(Direction)}
_NOBODY: Final = variables_of(Context())


def condition_faults(text: str, clear_attributes: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a condition, and what to do about it."""
    try:
        failures = Condition(text).failures(_NOBODY)
        for pattern in _PATTERN.findall(text):
            failures += Condition(f'"".matches({pattern})').failures(_NOBODY)
    except ValueError as error:
        failures = [str(error)]
    for failure in dict.fromkeys(failures):
        yield f"the condition cannot be used: {failure}.", f"It is CEL over {', '.join(VARIABLES)}: texts, and lists and maps of texts."
    for name in dict.fromkeys("".join(found) for found in _ATTRIBUTE.findall(text)):
        if name not in clear_attributes:
            what = f'the condition reads the attribute "{name}", which is sealed, so it would never match.'
            yield what, f'Add "{name}" to clear_attributes.'
    for variable, single, several in _COMPARED.findall(text):
        for quoted in _ONE_TEXT.findall(single or several):
            if quoted[1:-1] not in _KNOWN[variable]:
                yield f'the condition asks for {variable} "{quoted[1:-1]}", which no event has.', choice(quoted[1:-1], _KNOWN[variable])
