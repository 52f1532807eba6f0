"""In which line of a TOML text each key stands. Knows TOML's form; must not know what keys mean.

The standard library's parser keeps no positions, and no package on PyPI that is kept gives them. This scanner runs only over
text which that parser has accepted, so it needs no errors of its own.
"""

import re
import tomllib
from bisect import bisect_right
from typing import Final

__all__ = ["KeyPath", "lines_of"]

KeyPath = tuple[str | int, ...]
"""Keys and indices from the root: ("policy", 0, "targets", "first_response")."""

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_PART: Final = re.compile(r'[ \t]*("(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|[A-Za-z0-9_-]+)[ \t]*')
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})'  # a multi-line string may end with quotes of its own
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE: Final = re.compile(r"[^,\]}#\n]*")


def lines_of(text: str) -> dict[KeyPath, int]:
    """Return the line (from 1) of every table, key and array element of a valid TOML text."""
    return _Scanner(text).lines()


class _Scanner:
    """One pass over one text. `_arrays` counts the elements of each array of tables so far."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._breaks = [at for at, character in enumerate(text) if character == "\n"]
        self._at = 0
        self._lines: dict[KeyPath, int] = {}
        self._arrays: dict[KeyPath, int] = {}

    def lines(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self._more():
            table = self._header() if self._text[self._at] == "[" else self._pair(table)
        return self._lines

    def _more(self) -> bool:
        self._skip(_BLANK)
        return self._at < len(self._text)

    def _header(self) -> KeyPath:
        """Read `[a.b]` or `[[a.b]]`; return the table that the following pairs belong to."""
        line = self._line()
        many = self._text.startswith("[[", self._at)
        self._at += 2 if many else 1
        *above, last = self._keys()
        self._at += 2 if many else 1
        path: KeyPath = (*self._table(above, line), last)
        if many:
            self._lines.setdefault(path, line)
            self._arrays[path] = self._arrays.get(path, 0) + 1
            path = (*path, self._arrays[path] - 1)
        self._lines.setdefault(path, line)
        return path

    def _pair(self, table: KeyPath) -> KeyPath:
        """Read `a.b = value`; return the table it stands in."""
        line = self._line()
        path = table
        for key in self._keys():
            path = (*path, key)
            self._lines.setdefault(path, line)
        self._at += 1  # the equals sign
        self._value(path)
        return table

    def _value(self, path: KeyPath) -> None:
        self._skip(_BLANK)
        opening = self._text[self._at]
        if opening == "[":
            self._array(path)
        elif opening == "{":
            self._inline(path)
        elif opening in "\"'":
            self._skip(_STRING)
        else:
            self._skip(_BARE)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        index = 0
        while self._more() and self._text[self._at] != "]":
            self._lines[*path, index] = self._line()
            self._value((*path, index))
            index += 1
            self._comma()
        self._at += 1

    def _inline(self, path: KeyPath) -> None:
        self._at += 1
        while self._more() and self._text[self._at] != "}":
            self._pair(path)
            self._comma()
        self._at += 1

    def _comma(self) -> None:
        if self._more() and self._text[self._at] == ",":
            self._at += 1

    def _keys(self) -> list[str]:
        keys = [self._key()]
        while self._text[self._at] == ".":
            self._at += 1
            keys.append(self._key())
        return keys

    def _key(self) -> str:
        found = _PART.match(self._text, self._at)
        if found is None:
            raise ValueError(f"no key at character {self._at}: the text is no valid TOML")
        self._at = found.end()
        key = found[1]
        return next(iter(tomllib.loads(f"{key}=0"))) if key[0] in "\"'" else key

    def _table(self, keys: list[str], line: int) -> KeyPath:
        """Go down from the root; in an array of tables, its last element is meant. What is first named here begins here."""
        table: KeyPath = ()
        for key in keys:
            table = (*table, key)
            self._lines.setdefault(table, line)
            if table in self._arrays:
                table = (*table, self._arrays[table] - 1)
        return table

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self._text, self._at)
        if found is not None:
            self._at = found.end()

    def _line(self) -> int:
        return bisect_right(self._breaks, self._at - 1) + 1
