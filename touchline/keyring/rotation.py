"""Rotation of the key file's key-encryption key: a new one, all data keys wrapped by it, and then the old one is taken out.

    one key ──▶ two: the new one only unwraps ──▶ two: the new one wraps ──▶ everything wrapped anew ──▶ a minute later, and
                                                                             nothing left by the old one: one key

Killed anywhere, `resume` goes on from there. Two at once are harmless: they wrap the same rows by the same key. A process that runs
meanwhile wraps by the old key for a second at most (`file_wrapper.LOOK_S`) and has stored what it wrapped within `keyring.WRAPPED_S`
and the store's own time-out; the old key goes only when a look at all rows, begun `SETTLE_S` after this run saw the new one in place,
finds none under it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Protocol

from schemas.sealing import AllDataKeys
from touchline.errors import Retryable
from touchline.keyring.contents import new_kek_id
from touchline.keyring.keyfile import KEKS_MAX, KeyFile
from touchline.keyring.rewrapping import Rewrapped, rewrap
from touchline.keyring.survey import Survey, survey

__all__ = ["SETTLE_S", "Progress", "Rotated", "Rotation"]

SETTLE_S: Final = 60.0
"""How long after a key was put in place processes may still store what they wrapped by the one before."""

_PASSES_MAX: Final = 20
_PASS_PAUSE_S: Final = 1.0


class Progress(Protocol):
    """Hears how far it is: steps with a name and a total, then how many more are done (`touchline.progress_bar.ProgressBar`)."""

    def step(self, name: str, total: int, unit: str = ...) -> None:
        """Begin a step."""
        ...

    def tell(self, done: int) -> None:
        """Hear that so many more are done."""
        ...


class Rotated(NamedTuple):
    """What a run has done. `added`: the new key, if one was made; `removed`: those taken out; `kept`: those still in the file."""

    current: str
    added: str | None
    removed: tuple[str, ...]
    kept: tuple[str, ...]
    rewrapped: Rewrapped


class Rotation:
    """One run over one key file and one table. `keep_old` leaves the old key in the file; so does a row that it cannot unwrap.

    With `forget_broken` such rows do not hold it back. `before_adding` is awaited with (new key, old key) before the file is changed.
    """

    def __init__(
        self,
        file: KeyFile,
        store: AllDataKeys,
        progress: Progress,
        *,
        keep_old: bool = False,
        forget_broken: bool = False,
        before_adding: Callable[[str, str], Awaitable[None]],
        settle_s: float = SETTLE_S,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._file = file
        self._store = store
        self._progress = progress
        self._keep_old = keep_old
        self._forget_broken = forget_broken
        self._before_adding = before_adding
        self._settle_s = settle_s
        self._monotonic = monotonic
        self._sleep = sleep
        self._rows = 0
        self._rewrapped = Rewrapped()
        self._removed: tuple[str, ...] = ()

    async def resume(self) -> Rotated:
        """End what an earlier run began; make no new key. Raises `Retryable` as the store does, or where rows refuse to change."""
        await asyncio.to_thread(self._file.promote_kek)
        await self._finish(keep_old=self._keep_old)
        return self._rotated(None)

    async def rotate(self) -> Rotated:
        """End what an earlier run began, then do it with a new key. Raises as `resume` does, and `Misconfigured` if another run was quicker."""
        await asyncio.to_thread(self._file.promote_kek)
        current, older = self._file.kek_ids()
        if older:
            await self._finish(keep_old=False)
            current, older = self._file.kek_ids()
        if 1 + len(older) >= KEKS_MAX:
            return self._rotated(None)  # what is broken holds the old key; there is no room for another
        added = new_kek_id()
        await self._before_adding(added, current)
        await asyncio.to_thread(self._file.add_kek, added)
        await self._finish(keep_old=self._keep_old)
        return self._rotated(added)

    async def _finish(self, *, keep_old: bool) -> None:
        """Wrap everything anew that the file's older keys wrap, and take them out once nothing is left under them."""
        began_s = self._monotonic()
        current, older = self._file.kek_ids()
        if not older:
            return
        await self._pass(current, older, await self._look("Counting data keys"))
        if keep_old:
            return
        for _ in range(_PASSES_MAX):
            await self._settled(began_s)
            if self._file.kek_ids() != (current, older):
                return  # another run was quicker, and looks after what is there now
            counted = await self._look("Looking for data keys under the old key")
            only_broken = False
            if counted.under(older):
                found = await self._pass(current, older, counted)
                only_broken = found.done == 0 and found.broken > 0
                if not only_broken:
                    await self._sleep(_PASS_PAUSE_S)
                    continue
            if (not only_broken or self._forget_broken) and await asyncio.to_thread(self._file.remove_keks, older, current=current):
                self._removed += older
            return
        raise Retryable(
            f"Data keys under {', '.join(older)} were wrapped anew {_PASSES_MAX} times, and some still lie under it.",
            next_step="set the clocks of all machines, then run `touchline keys rotate --resume`: a write by a clock that is ahead hides later ones.",
        )

    async def _pass(self, current: str, older: tuple[str, ...], counted: Survey) -> Rewrapped:
        """Wrap anew once."""
        self._file.wrapper.look_again()
        self._progress.step("Wrapping data keys anew", counted.under(older), "keys")
        found = await rewrap(self._store, self._file.wrapper, current=current, among=older, tell=self._progress.tell)
        self._rewrapped = Rewrapped(self._rewrapped.done + found.done, found.broken, found.unknown)
        return found

    async def _look(self, name: str) -> Survey:
        self._progress.step(name, self._rows, "keys")
        found = await survey(self._store, self._progress.tell)
        self._rows = len(found)
        return found

    async def _settled(self, began_s: float) -> None:
        """Wait until nobody stores any more what was wrapped by an older key, second by second."""
        left_s = began_s + self._settle_s - self._monotonic()
        if left_s > 0:
            self._progress.step("Waiting until every process has looked at the key file", int(left_s) + 1, "s")
        while (left_s := began_s + self._settle_s - self._monotonic()) > 0:
            await self._sleep(min(1.0, left_s))
            self._progress.tell(1)

    def _rotated(self, added: str | None) -> Rotated:
        current, older = self._file.kek_ids()
        return Rotated(current, added, self._removed, older, self._rewrapped)
