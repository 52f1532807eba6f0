"""Reads typed values out of a parsed TOML table and collects what is wrong, each with its line. Knows no policy.

Every fault is collected, so that one run names them all; a value that is wrong reads as if it were absent.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from projections.sla.policy_lines import KeyPath
from touchline.errors import Misconfigured

__all__ = ["Fault", "Faults", "Span", "Table", "WrongPolicies", "choice", "span_s"]

_SPAN: Final = re.compile(r"(?:\d+[dhms])+", re.ASCII)
_PARTS: Final = re.compile(r"(\d+)([dhms])", re.ASCII)
_UNITS_S: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_SPAN_MAX_S: Final = 20 * 365 * 86_400
_SPAN_LENGTH_MAX: Final = 32
_CHOICES_MAX: Final = 30


class Fault(NamedTuple):
    """One thing that is wrong with a policy file: in which line, what, and what to do."""

    line: int
    what: str
    next_step: str

    def text(self, name: str) -> str:
        """Return `file:line: what. next step`."""
        return f"{name}:{self.line}: {self.what} {self.next_step}"


class WrongPolicies(Misconfigured):
    """Raised when a policy file cannot be taken; `faults` are all that were found, by line."""

    def __init__(self, name: str, faults: tuple[Fault, ...]) -> None:
        n = f"{len(faults)} faults" if len(faults) > 1 else "one fault"
        super().__init__("\n".join([f"{name} has {n}; nothing of it is in force.", *(fault.text(name) for fault in faults)]))
        self.faults = faults


class Faults:
    """What is wrong with one file, as it is found."""

    def __init__(self, name: str, lines: Mapping[KeyPath, int]) -> None:
        self.name = name
        self._lines = lines
        self._found: list[Fault] = []

    def add(self, path: KeyPath, what: str, next_step: str) -> None:
        """Note a fault at the line of a key, or of the nearest thing around it that has a line."""
        self._found.append(Fault(self.line(path), what, next_step))

    @property
    def told(self) -> int:
        """How many were noted so far."""
        return len(self._found)

    def line(self, path: KeyPath) -> int:
        """Return the line of a key; of what holds it, where it does not stand in the file itself."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def raise_any(self) -> None:
        """Raise `WrongPolicies` with all that were noted, by line; nothing happens if there are none."""
        if self._found:
            raise WrongPolicies(self.name, tuple(sorted(dict.fromkeys(self._found), key=lambda fault: fault.line)))


class Span(NamedTuple):
    """A span in seconds, and whether it was said in days, which only some calendars allow."""

    seconds: int
    days: bool


class Table:
    """One table of the file. `label` names it in messages: `policy "mail-high"`."""

    def __init__(self, values: Mapping[str, Any], path: KeyPath, faults: Faults, label: str) -> None:
        self.path = path
        self.label = label
        self.faults = faults
        self._values = values
        self._asked: list[str] = []

    def at(self, *keys: str | int) -> KeyPath:
        """Return the path of something in this table."""
        return (*self.path, *keys)

    def fault(self, key: str | int, what: str, next_step: str) -> None:
        """Note a fault at a key of this table."""
        self.faults.add(self.at(key), f"{self.label}: {what}", next_step)

    def has(self, key: str) -> bool:
        """Tell whether the key stands in the file; asking makes it a known one."""
        self._asked.append(key)
        return key in self._values

    def raw(self, key: str) -> Any:  # noqa: ANN401 - what TOML holds
        """Return a value as TOML has it, None if it is absent."""
        return self._values[key] if self.has(key) else None

    def text(self, key: str) -> str | None:
        """Return a text that is not empty."""
        value = self.raw(key)
        if value is None or (isinstance(value, str) and value.strip()):
            return value
        self.fault(key, f"{key} must be a text.", 'Write it in quotes: "...".')
        return None

    def required(self, key: str) -> str:
        """Return a text that must be there; "" stands for it after the fault."""
        if not self.has(key):
            self.faults.add(self.path, f"{self.label} has no {key}.", f'Add {key} = "...".')
            return ""
        return self.text(key) or ""

    def one_of(self, key: str, known: Collection[str]) -> str | None:
        """Return a text out of a few."""
        value = self.text(key)
        if value is None or value in known:
            return value
        self.fault(key, f'there is no {key} "{value}".', choice(value, known))
        return None

    def flag(self, key: str) -> bool | None:
        """Return true or false."""
        value = self.raw(key)
        if value is None or isinstance(value, bool):
            return value
        self.fault(key, f"{key} must be true or false.", "Write it without quotes.")
        return None

    def texts(self, key: str) -> tuple[str, ...] | None:
        """Return a list of texts."""
        value = self.raw(key)
        if value is None:
            return None
        if isinstance(value, list) and all(isinstance(one, str) and one.strip() for one in value):
            return tuple(value)
        self.fault(key, f"{key} must be a list of texts.", f'Write {key} = ["...", "..."].')
        return None

    def list_of_texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts that may be absent or empty."""
        return self.texts(key) or ()

    def span(self, key: str) -> Span | None:
        """Return a span such as `90s`, `15m`, `4h`, `1h30m` or `2d`."""
        value = self.raw(key)
        if value is None:
            return None
        found = span_s(value)
        if isinstance(found, Span):
            return found
        self.fault(key, f"{key} {found[0]}", found[1])
        return None

    def seconds(self, key: str) -> int | None:
        """Return a span of real time in seconds."""
        found = self.span(key)
        return None if found is None else found.seconds

    def table(self, key: str) -> "Table | None":
        """Return a table in this one."""
        value = self.raw(key)
        if value is None:
            return None
        if isinstance(value, dict):
            return Table(value, self.at(key), self.faults, f"{self.label}, {key}" if self.path else key)
        self.fault(key, f"{key} must be a table.", f"Write {key} = {{ ... }}.")
        return None

    def tables(self, key: str, *, named_by: str) -> "Iterator[Table]":
        """Yield the tables of an array; each is called after its text `named_by`, or its position."""
        values = self.raw(key)
        if values is None:
            return
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            self.fault(key, f"{key} is written once for each.", f"Write [[{'.'.join(str(part) for part in self.at(key))}]].")
            return
        around = f"{self.label}, " if self.path else ""
        for index, value in enumerate(values):
            name = value.get(named_by)
            label = f"{key} {index + 1}" if name is None or isinstance(name, list | dict) else f'{key} "{name}"'
            yield Table(value, self.at(key, index), self.faults, around + label)

    def once(self, key: str, name: str, seen: dict[str, int]) -> None:
        """Note a name that was seen already; `seen` holds the line of each name so far."""
        line = self.faults.line(self.at(key))
        if name and seen.setdefault(name, line) != line:
            self.fault(key, f"{key} stands here a second time, first in line {seen[name]}.", "Rename or remove one of the two.")

    def keys(self) -> Collection[str]:
        """Return the keys that stand in the file; they count as asked for."""
        self._asked.extend(self._values)
        return self._values.keys()

    def close(self) -> None:
        """Note every key that nobody asked for."""
        for key in self._values:
            if key not in self._asked:
                self.fault(key, f'there is no key "{key}".', choice(key, dict.fromkeys(self._asked)))


def span_s(value: object) -> Span | tuple[str, str]:
    """Return a span, or what is wrong with it and what to do."""
    text = value.strip() if isinstance(value, str) else ""
    parts = _PARTS.findall(text)
    units = [unit for _, unit in parts]
    if not _SPAN.fullmatch(text) or sorted(set(units), key="dhms".index) != units:
        return _span_fault(value, text)
    seconds = sum(int(number) * _UNITS_S[unit] for number, unit in parts) if len(text) <= _SPAN_LENGTH_MAX else _SPAN_MAX_S + 1
    if seconds > _SPAN_MAX_S:
        return f'= "{value}" is more than twenty years.', "Write a shorter one."
    return Span(seconds, "d" in units)


def _span_fault(value: object, text: str) -> tuple[str, str]:
    number = "" if isinstance(value, bool) else str(value) if isinstance(value, int | float) else text if text.isdecimal() else ""
    if number.startswith("-") or text.startswith("-"):
        return f"= {number or text} is negative.", 'Write a span of "0s" or more.'
    if number:
        return f"= {number} has no unit.", f'Write "{number}s", "{number}m" or "{number}h".'
    return f"= {text or value} is no span.", 'Write it like "90s", "15m", "4h" or "1h30m": whole numbers, the greatest unit first.'


def choice(value: str, known: Collection[str]) -> str:
    """Return the next step after a name that is none: the nearest one, or all of them if they are few."""
    near = get_close_matches(value, known, n=1)
    if near:
        return f"Write {near[0]}." if len(known) > _CHOICES_MAX else f"Write {near[0]}, or one of: {', '.join(known)}."
    return "Look it up in docs/." if len(known) > _CHOICES_MAX else f"Choose from: {', '.join(known)}."
