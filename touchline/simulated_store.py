"""The store of a simulation: rows in memory, and only those that will be printed; the states of subjects on disk."""

from collections.abc import Iterable, Sequence

from projections.kernel import Subject
from projections.tables import Table
from streams.scratch_states import STATE_SUFFIX, ScratchStates, scratch_disk
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion, RowWrite, StateRow

__all__ = ["SimulatedStore"]


class SimulatedStore(MemoryStore):
    """Keeps no rows of the tables in `unread` (physical names): nobody will ask for them."""

    def __init__(self, tables: Iterable[Table], unread: frozenset[str]) -> None:
        super().__init__(tables)
        self._unread = unread
        self._disk = scratch_disk()
        self._states = ScratchStates(self._disk)

    async def write(self, rows: Sequence[RowWrite]) -> None:
        """Write the rows that somebody reads."""
        states = [row for row in rows if row.table.endswith(STATE_SUFFIX)]
        if states:
            self._states.write(states)
        await super().write([row for row in rows if row.table not in self._unread and not row.table.endswith(STATE_SUFFIX)])

    async def load_states(self, group: GroupVersion, subjects: Iterable[Subject]) -> dict[Subject, StateRow]:
        """Read the states of many subjects; see the port."""
        return self._states.load(group, subjects)

    async def close(self) -> None:
        """Let the states go."""
        self._disk.close()
