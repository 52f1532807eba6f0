"""One build of a version at a time: a row that only one process can hold, by lightweight transactions. Over the store port only.

Two builds side by side would write the same rows, but not the same figures: each adds up what it has read itself. A holder that died is
known by its age, on its own machine at once by its process.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from streams.store.columns import integer, text
from streams.store.port import Cells, GroupVersion, Store
from touchline.errors import Refused, Retryable

__all__ = ["HELD_S", "Lease", "this_process"]

HELD_S: Final = 15.0
"""For so long a lease is good from its last renewal on."""

_RENEW_EVERY_S: Final = 3.0

_TRIES: Final = 3
_TABLE: Final = "projection_build"
_ROW: Final = -1
"""In place of a partition."""


def this_process() -> str:
    """Return the name of this process: its machine and number."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Lease:
    """The right to build one version. Times are epoch µs, given by the caller."""

    def __init__(self, store: Store, version: GroupVersion, holder: str) -> None:
        self._store = store
        self._version = version
        self._holder = holder
        self._until_us = 0

    async def holder(self, now_us: int) -> str:
        """Return who holds it now, empty if nobody does."""
        return _holder(await self._row(), now_us)

    async def take(self, now_us: int) -> None:
        """Take it. Raises `Refused` if somebody else has it, saying who."""
        found = await self._row()
        other = _holder(found, now_us)
        if (other and other != self._holder) or not await self._put(now_us + round(HELD_S * 1e6), instead_of=found):
            raise Refused(
                f"{self._version} is being built by {other or 'somebody else'} (machine:process).",
                reason="build_under_way",
                next_step="wait for it, or end it there with Ctrl-C and run this again: it goes on where that one has stopped.",
            )

    async def renew(self, now_us: int) -> None:
        """Keep it. Raises `Refused` if it was lost: this process was away for too long, and somebody else goes on.

        A renewal of its own that timed out may come true only now, and then stands in the way of this one: that is no loss.
        """
        for _ in range(_TRIES):
            found = await self._row()
            if found[0] == self._holder and await self._put(now_us + round(HELD_S * 1e6), instead_of=found):
                return
        raise Refused(
            f"{self._version} is built by somebody else since this process was away.",
            reason="build_lost",
            next_step="see `touchline projection status`.",
        )

    async def keep(self, at_us: Callable[[], int]) -> None:
        """Renew it again and again, until this is cancelled. Raises as `renew`; a store that is unwell holds up whoever might want it too."""
        while True:
            await asyncio.sleep(_RENEW_EVERY_S)
            with suppress(Retryable):
                await self.renew(at_us())

    async def give_back(self, now_us: int) -> None:
        """Let somebody else have it at once."""
        found = await self._row()
        if found[0] == self._holder:
            await self._put(now_us, instead_of=found)

    async def _put(self, until_us: int, *, instead_of: tuple[str, int]) -> bool:
        """Hold it up to a moment, in place of what was read; tell whether it is still that."""
        name, was_us = instead_of
        expected: Cells | None = {"holder": name, "held_until": was_us} if name else None
        made: Cells = {"holder": self._holder, "held_until": until_us}
        return await self._store.swap(_TABLE, (*self._version, _ROW), made, expected=expected)

    async def _row(self) -> tuple[str, int]:
        rows = await self._store.read(_TABLE, {"name": self._version.group, "version": self._version.version}, upto=(_ROW,))
        found = [(text(row, "holder", ""), integer(row, "held_until", 0)) for row in rows if row["partition"] == _ROW]
        return found[0] if found else ("", 0)


def _holder(found: tuple[str, int], now_us: int) -> str:
    """Return who holds it by what was read, empty if nobody does."""
    name, until_us = found
    return name if until_us > now_us and not _is_dead(name) else ""


def _is_dead(holder: str) -> bool:
    """Tell whether a process of this machine is gone; of another machine nothing is known."""
    machine, _, number = holder.rpartition(":")
    if machine != socket.gethostname() or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
