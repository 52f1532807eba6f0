"""What one set of rules makes of one partition of the log, on disk while it is folded: states, and the little that the report counts.

No more is kept of a clock than where it counts and what it has come to. Gone when it is closed. Must not know rules.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from projections.kernel import Subject, Tally
from projections.registry import Group
from projections.service_levels import METRIC
from streams.scratch_states import STATE_SUFFIX, ScratchStates, scratch_disk
from streams.store.port import GroupVersion, RowWrite, StateRow

__all__ = ["QUEUE", "SLOT_US", "Counted", "Scratch"]

QUEUE: Final = "queue"
"""The column that rows of clocks have here beside those of their table: the queue in which the clock started."""

SLOT_US: Final = 15 * 60_000_000
"""A quarter hour: in every zone a week begins with one."""

_TABLES: Final = """
CREATE TABLE clock (customer TEXT, conversation TEXT, metric TEXT, instance INTEGER, started INTEGER, state TEXT, queue TEXT, team TEXT,
    end_to_end INTEGER, PRIMARY KEY (customer, conversation, metric, instance)) WITHOUT ROWID;
CREATE TABLE contact (customer TEXT, asked INTEGER, contact TEXT, rule TEXT, state TEXT, queue TEXT, team TEXT, late INTEGER,
    PRIMARY KEY (customer, asked, contact, rule)) WITHOUT ROWID;
CREATE TABLE figure (slot INTEGER, queue TEXT, name TEXT, n INTEGER, PRIMARY KEY (slot, queue, name)) WITHOUT ROWID;
"""
_KEEP_CLOCK: Final = """
INSERT INTO clock VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET started = excluded.started, state = excluded.state,
    queue = coalesce(excluded.queue, queue), team = excluded.team, end_to_end = excluded.end_to_end
"""
_KEEP_CONTACT: Final = "INSERT OR REPLACE INTO contact VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_KEEP_FIGURE: Final = "INSERT INTO figure VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n"
_DROP_CLOCK: Final = "DELETE FROM clock WHERE customer = ? AND conversation = ? AND metric = ? AND instance = ?"
_DROP_CONTACT: Final = "DELETE FROM contact WHERE customer = ? AND asked = ? AND contact = ? AND rule = ?"
_CLOCKS: Final = """
SELECT metric, end_to_end, state, queue, team, started / ?3 AS slot, count(*) FROM clock WHERE started >= ?1 AND started < ?2
    GROUP BY metric, end_to_end, state, queue, team, slot
"""
_CONTACTS: Final = """
SELECT rule, late, state, queue, team, asked / ?3 AS slot, count(*) FROM contact WHERE asked >= ?1 AND asked < ?2
    GROUP BY rule, late, state, queue, team, slot
"""
_FIGURES: Final = "SELECT slot, queue, name, n FROM figure WHERE slot >= ? AND slot < ? ORDER BY slot, queue"


class Counted(NamedTuple):
    """So many clocks of a metric, or contacts under a rule, that are alike and began in one quarter hour (`slot` of `SLOT_US` since 1970).

    `flag`: of clocks, the wait over several queues; of contacts, that the answer, or the end without one, came after it was due.
    """

    what: str
    flag: bool
    state: str
    queue: str
    team: str
    slot: int
    n: int


class Scratch:
    """One partition under one set of rules. Raises `sqlite3.Error` where the disk is full."""

    def __init__(self, group: Group) -> None:
        self._version = GroupVersion(group.name, group.version)
        suffix = f"_v{group.version}"
        self._clock, self._contact = "clock" + suffix, "unanswered" + suffix
        self._disk = scratch_disk()
        self._disk.executescript(_TABLES)
        self._states = ScratchStates(self._disk)

    def close(self) -> None:
        """Let everything go."""
        self._disk.close()

    def states(self, subjects: Iterable[Subject]) -> dict[Subject, StateRow]:
        """Return the states of subjects."""
        return self._states.load(self._version, subjects)

    def armed(self) -> Iterator[list[Subject]]:
        """Yield the subjects that have armed timers, some thousand at a time."""
        return self._states.armed(self._version)

    def write(self, rows: Iterable[RowWrite]) -> None:
        """Take in what a fold writes; what nobody counts is dropped. Rows of one key come in the order of their time stamps."""
        states: list[RowWrite] = []
        execute = self._disk.execute
        for row in rows:
            columns = row.columns
            if row.table.endswith(STATE_SUFFIX):
                states.append(row)
            elif row.table == self._clock:
                if columns is None:
                    execute(_DROP_CLOCK, row.key[1:])
                else:
                    said = (columns["started_at"], columns["state"], columns.get(QUEUE), columns["team"], bool(columns["end_to_end"]))
                    execute(_KEEP_CLOCK, (*row.key[1:], *said))
            elif row.table == self._contact:
                if columns is None:
                    execute(_DROP_CONTACT, row.key[1:])
                else:
                    execute(_KEEP_CONTACT, (*row.key[1:], columns["state"], columns["queue"], columns["team"], _is_late(columns)))
        self._states.write(states)

    def count(self, tallies: Iterable[Tally]) -> None:
        """Add tallies of service levels."""
        for tally in tallies:
            _, metric, _, slot_us, queue, _ = tally.key
            if metric == METRIC:
                self._disk.executemany(_KEEP_FIGURE, [(int(slot_us) // SLOT_US, queue, name, n) for name, n in tally.adds.items()])

    def clocks(self, from_us: int, until_us: int) -> Iterator[Counted]:
        """Yield the clocks that started in [from_us, until_us)."""
        return map(_counted, self._disk.execute(_CLOCKS, (from_us, until_us, SLOT_US)))

    def contacts(self, from_us: int, until_us: int) -> Iterator[Counted]:
        """Yield the contacts that asked in [from_us, until_us)."""
        return map(_counted, self._disk.execute(_CONTACTS, (from_us, until_us, SLOT_US)))

    def figures(self, from_us: int, until_us: int) -> Iterator[tuple[int, str, dict[str, int]]]:
        """Yield (slot, queue, sums) of the quarter hours that began in [from_us, until_us), as rows of `figure` have them."""
        at: tuple[int, str] | None = None
        sums: dict[str, int] = {}
        for slot, queue, name, n in self._disk.execute(_FIGURES, (-(-from_us // SLOT_US), -(-until_us // SLOT_US))):
            if at is not None and at != (slot, queue):
                yield (*at, sums)
                sums = {}
            at = (slot, queue)
            sums[name] = n
        if at is not None:
            yield (*at, sums)


def _is_late(columns: dict[str, Any]) -> bool:
    due, cleared = columns["due_at"], columns["cleared_at"]
    return due is not None and cleared is not None and cleared > due


def _counted(row: tuple[Any, ...]) -> Counted:
    what, flag, state, queue, team, slot, n = row
    return Counted(what, bool(flag), state, queue or "", team or "", slot, n)
