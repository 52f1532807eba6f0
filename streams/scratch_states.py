"""States of subjects on disk, for folds of which nothing is kept: simulations and what-if. Knows no tables of projections.

There is one writer and its time stamps rise, so the last write wins. Everything is gone when the connection is closed.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Final

from projections.kernel import Subject
from streams.store.control import state_row, state_table_name
from streams.store.port import CellValue, GroupVersion, RowWrite, StateRow

__all__ = ["STATE_SUFFIX", "ScratchStates", "scratch_disk"]

STATE_SUFFIX: Final = "_state"
"""How the physical names of state tables end."""

_CACHE_KIB: Final = 32 * 1024
_PAGE: Final = 5_000
_COMMON: Final = ("recent_ids", "applied_partition", "applied_offset", "appended_us", "timers", "ties")
_NOTHING: Final[tuple[CellValue, ...]] = (None,) * len(_COMMON)
_TABLES: Final = """
CREATE TABLE subject (place TEXT PRIMARY KEY, recent_ids, applied_partition, applied_offset, appended_us, timers, ties) WITHOUT ROWID;
CREATE TABLE state (place TEXT, projection TEXT, state, PRIMARY KEY (place, projection)) WITHOUT ROWID;
"""
_KEEP_SUBJECT: Final = """
INSERT INTO subject VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET recent_ids = coalesce(excluded.recent_ids, recent_ids),
    applied_partition = coalesce(excluded.applied_partition, applied_partition), applied_offset = coalesce(excluded.applied_offset, applied_offset),
    appended_us = coalesce(excluded.appended_us, appended_us), timers = coalesce(excluded.timers, timers),
    ties = coalesce(excluded.ties, ties)
"""
_KEEP_STATE: Final = "INSERT OR REPLACE INTO state VALUES (?, ?, ?)"
_FIND_SUBJECT: Final = "SELECT recent_ids, applied_partition, applied_offset, appended_us, timers, ties FROM subject WHERE place = ?"
_FIND_STATES: Final = "SELECT projection, state FROM state WHERE place = ?"
_ARMED: Final = "SELECT place FROM subject WHERE place > ? AND place < ? AND length(timers) > 0 ORDER BY place LIMIT ?"


def scratch_disk() -> sqlite3.Connection:
    """Open a temporary file of its own, which nobody else can see and which is gone once it is closed."""
    disk = sqlite3.connect("", isolation_level=None)
    for pragma in (f"cache_size = -{_CACHE_KIB}", "journal_mode = OFF", "synchronous = OFF"):
        disk.execute(f"PRAGMA {pragma}")
    return disk


class ScratchStates:
    """The rows of state tables, whatever their groups. `disk` is the caller's to close; it is left inside a transaction without end."""

    def __init__(self, disk: sqlite3.Connection) -> None:
        self._disk = disk
        disk.executescript(_TABLES)
        disk.execute("BEGIN")  # and never ended: nothing is to be kept, and thousands of small batches come

    def write(self, rows: Iterable[RowWrite]) -> None:
        """Write rows of state tables."""
        subjects: list[tuple[CellValue, ...]] = []
        states: list[tuple[CellValue, ...]] = []
        for row in rows:
            columns = row.columns or {}
            place = _place(row.table, Subject(str(row.key[0]), str(row.key[1])))
            common = tuple(map(columns.get, _COMMON))
            if common != _NOTHING:
                subjects.append((place, *common))
            if "state" in columns:
                states.append((place, row.key[2], columns["state"]))
        self._disk.executemany(_KEEP_SUBJECT, subjects)
        self._disk.executemany(_KEEP_STATE, states)

    def load(self, group: GroupVersion, subjects: Iterable[Subject]) -> dict[Subject, StateRow]:
        """Read the states of many subjects; those of whom nothing was written are absent."""
        table = state_table_name(group)
        found: dict[Subject, StateRow] = {}
        for subject in subjects:
            place = (_place(table, subject),)
            common = self._disk.execute(_FIND_SUBJECT, place).fetchone()
            if common is None:
                continue
            named = dict(zip(_COMMON, common, strict=True))
            states = self._disk.execute(_FIND_STATES, place).fetchall()
            row = state_row([{"projection": name, "state": state, **named} for name, state in states] or [{"projection": None, **named}])
            if row is not None:
                found[subject] = row
        return found

    def armed(self, group: GroupVersion) -> Iterator[list[Subject]]:
        """Yield, some thousand at a time, the subjects of a group that have armed timers; what is written meanwhile may be left out."""
        beginning = state_table_name(group) + "\0"
        last, end = beginning, state_table_name(group) + "\1"
        while places := [place for (place,) in self._disk.execute(_ARMED, (last, end, _PAGE)).fetchall()]:
            yield [Subject(*place.removeprefix(beginning).split("\0")) for place in places]
            last = places[-1]


def _place(table: str, subject: Subject) -> str:
    return f"{table}\0{subject.tenant}\0{subject.id}"
