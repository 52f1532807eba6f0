"""The store of a simulation: rows in memory, and only those that will be printed; the states of subjects on disk.

There is one writer and its time stamps rise, so of a state the last write wins. Everything is gone when the process ends.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from projections.kernel import Subject
from projections.tables import Table
from streams.store.control import state_row, state_table_name
from streams.store.memory import MemoryStore
from streams.store.port import CellValue, GroupVersion, RowWrite, StateRow

__all__ = ["SimulatedStore"]

_CACHE_KIB: Final = 32 * 1024
_STATE: Final = ""
_COMMON: Final = ("recent_ids", "applied_partition", "applied_offset", "appended_us", "timers")


class SimulatedStore(MemoryStore):
    """Keeps no rows of the tables in `unread` (physical names): nobody will ask for them."""

    def __init__(self, tables: Iterable[Table], unread: frozenset[str]) -> None:
        super().__init__(tables)
        self._unread = unread
        self._disk = sqlite3.connect("", isolation_level=None)  # a temporary file of its own, which nobody else can see
        for pragma in (f"cache_size = -{_CACHE_KIB}", "journal_mode = OFF", "synchronous = OFF"):
            self._disk.execute(f"PRAGMA {pragma}")
        self._disk.execute(
            "CREATE TABLE cell (subject TEXT, projection TEXT, name TEXT, value, PRIMARY KEY (subject, projection, name)) WITHOUT ROWID"
        )
        self._disk.execute("BEGIN")  # and never ended: nothing is to be kept, and thousands of small batches come

    async def write(self, rows: Sequence[RowWrite]) -> None:
        """Write the rows that somebody reads."""
        states = [row for row in rows if row.table.endswith("_state")]
        if states:
            self._disk.executemany("INSERT OR REPLACE INTO cell VALUES (?, ?, ?, ?)", _cells(states))
        await super().write([row for row in rows if row.table not in self._unread and not row.table.endswith("_state")])

    async def load_states(self, group: GroupVersion, subjects: Iterable[Subject]) -> dict[Subject, StateRow]:
        """Read the states of many subjects; see the port."""
        table = state_table_name(group)
        found: dict[Subject, StateRow] = {}
        for subject in subjects:
            cells = self._disk.execute("SELECT projection, name, value FROM cell WHERE subject = ?", (_place(table, subject),)).fetchall()
            common = dict.fromkeys(_COMMON) | {name: value for _, name, value in cells if name != _STATE}
            states = [{"projection": projection, "state": value, **common} for projection, name, value in cells if name == _STATE]
            row = state_row(states or ([{"projection": None, **common}] if cells else []))
            if row is not None:
                found[subject] = row
        return found

    async def close(self) -> None:
        """Let the states go."""
        self._disk.close()


def _cells(rows: Iterable[RowWrite]) -> Iterable[tuple[str, str, str, CellValue]]:
    for row in rows:
        tenant, subject, *projection = map(str, row.key)
        place = _place(row.table, Subject(tenant, subject))
        for name, value in (row.columns or {}).items():
            yield (place, projection[0], _STATE, value) if name == "state" else (place, "", name, value)


def _place(table: str, subject: Subject) -> str:
    return "\0".join([table, *subject])
