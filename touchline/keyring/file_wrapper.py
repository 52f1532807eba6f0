"""The wrapper of a process that has a key file: it notices when the file was changed, so that a rotation needs no restart."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from touchline.errors import Misconfigured
from touchline.keyring.contents import Contents
from touchline.keyring.secret_file import Look, look, read
from touchline.keyring.wrapper import LocalWrapper

__all__ = ["LOOK_S", "FileWrapper"]

LOOK_S: Final = 1.0
"""The file is looked at so often at most. So a process wraps by a key that is no longer the newest for so long at most."""


class FileWrapper:
    """A `KeyWrapper` by the keys of a file, as it is now.

    Before wrapping it looks whether the file was changed; before unwrapping only where the key is unknown. A file that cannot be read
    any more, or that others can read now, raises `Misconfigured`: wrapping by a key that may have been removed would lose data.
    """

    __slots__ = ("_in_vain", "_index_key", "_local", "_look", "_looked_s", "_monotonic", "_path", "_sleep")

    def __init__(
        self,
        path: Path,
        contents: Contents,
        seen: Look,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._path = path
        self._index_key = contents.index_key
        self._local = LocalWrapper(contents.kek_id, contents.keks)
        self._look = seen
        self._monotonic = monotonic
        self._sleep = sleep
        self._looked_s = monotonic()
        self._in_vain: set[str] = set()

    async def wrap(self, secret: bytes, context: bytes) -> tuple[bytes, str]:
        """Encrypt a data key by the newest key-encryption key; return the blob and that key's id."""
        self._refresh()
        return await self._local.wrap(secret, context)

    async def unwrap(self, wrapped: bytes, kek_id: str, context: bytes) -> bytes | None:
        """Decrypt a blob; None if it or its context was changed. Raises `Misconfigured` for a key that is not in the file."""
        if not self._local.knows(kek_id):
            if kek_id not in self._in_vain:
                await self._sleep(max(0.0, self._looked_s + LOOK_S - self._monotonic()))  # it may have been put there just now
            self._refresh()
            if not self._local.knows(kek_id):
                self._in_vain.add(kek_id)
        return await self._local.unwrap(wrapped, kek_id, context)

    def _refresh(self) -> None:
        if self._monotonic() - self._looked_s >= LOOK_S:
            self.look_again()

    def look_again(self) -> None:
        """Take the file as it is now, however short ago it was looked at. Raises `Misconfigured` as wrapping does."""
        self._looked_s = self._monotonic()
        if look(self._path) == self._look:
            return
        raw, seen = read(self._path)
        contents = Contents.parsed(self._path, raw)
        if contents.index_key != self._index_key:
            raise Misconfigured(
                f"The key file {self._path} was exchanged for one of another installation.", next_step="put the right one there, and start again."
            )
        self._local, self._look = LocalWrapper(contents.kek_id, contents.keks), seen
        self._in_vain.clear()

    def __repr__(self) -> str:
        """Show no key."""
        return f"FileWrapper({self._local!r})"
