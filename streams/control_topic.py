"""The control topic: what is told to every process at once. One partition, kept for a day; nothing on it carries truth.

`keys.destroyed` says whose keys and claims a process must let go of now. Whoever does not hear it finds out by itself within a minute,
when what it holds in memory has grown too old: so a listener that fails is logged and goes on, and nobody waits for one.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple, Protocol

import msgspec
import structlog

from schemas.codec import Codec
from schemas.events import HandleKind, KeysDestroyed
from streams.log.reader import LogReader
from streams.records import Batch
from touchline.errors import TouchlineError

__all__ = ["EVERY_S", "KnownBy", "Listener", "handle_name", "handles_of", "heard", "listen", "listening"]

log = structlog.get_logger(__name__)

EVERY_S: Final = 1.0
"""How often a process outside the worker looks whether something was said."""

_PARTITION: Final = 0


class KnownBy(NamedTuple):
    """A handle by its kind and hash: what a person is known by."""

    kind: HandleKind
    hash: bytes

    @property
    def name(self) -> str:
        """The handle as one word: `phone:` and its hash in hexadecimal digits."""
        return handle_name(*self)


def handle_name(kind: str, hashed: bytes) -> str:
    """Return a handle as one word, as `KeysDestroyed` and the table `erasure` hold it."""
    return f"{kind}:{hashed.hex()}"


def handles_of(names: Iterable[str]) -> list[KnownBy]:
    """Return the handles of such words, in order; what is none is left out."""
    found = []
    for name in sorted(names):
        kind, _, digits = name.partition(":")
        with suppress(ValueError):  # msgspec's own error is one
            found.append(KnownBy(msgspec.convert(kind, HandleKind), bytes.fromhex(digits)))
    return found


def heard(codec: Codec, value: bytes) -> KeysDestroyed | None:
    """Return what a record of the control topic says; None for what this program does not know."""
    found = codec.decode(value)
    return found if isinstance(found, KeysDestroyed) else None


class Reads(Protocol):
    """What listening needs of a `LogReader`."""

    def range_of(self, partition: int) -> tuple[int, int]:
        """Return (first offset, offset after the last record)."""
        ...

    def batches(self, partition: int, first: int, end: int) -> Iterator[Batch]:
        """Yield the records in [first, end)."""
        ...

    def close(self) -> None:
        """Release the connection."""
        ...


class Listener:
    """Hears what is said from its first look on. Blocking; for threads, one at a time."""

    def __init__(self, reader: Reads, codec: Codec) -> None:
        self._reader = reader
        self._codec = codec
        self._next: int | None = None
        self._one_by_one = threading.Lock()

    def news(self) -> list[KeysDestroyed]:
        """Return what was said since the last look. Raises `Retryable` if no broker answers."""
        with self._one_by_one:
            low, end = self._reader.range_of(_PARTITION)
            first = end if self._next is None else max(self._next, low)
            batches = self._reader.batches(_PARTITION, first, end)
            found = [said for batch in batches for one in batch.records if (said := heard(self._codec, one.value))]
            self._next = end
            return found

    def close(self) -> None:
        """Release the connection, after the look under way."""
        with self._one_by_one:
            self._reader.close()


@asynccontextmanager
async def listening(brokers: str, topic: str, codec: Codec, hear: Callable[[KeysDestroyed], object]) -> AsyncIterator[None]:
    """Tell `hear`, in this loop, what is said on the control topic for as long as the context lasts. Never raises anything of its own."""
    listener = Listener(LogReader(brokers, topic, queued_kbytes=64), codec)
    task = asyncio.create_task(listen(listener, hear))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(listener.close)


async def listen(listener: Listener, hear: Callable[[KeysDestroyed], object], every_s: float = EVERY_S) -> None:
    """Listen until cancelled. A silent broker is logged once per silence."""
    is_told = False
    while True:
        try:
            for said in await asyncio.to_thread(listener.news):
                hear(said)
            is_told = False
        except TouchlineError as error:
            if not is_told:
                log.warning("control_unheard", reason=error.what)
            is_told = True
        await asyncio.sleep(every_s)
