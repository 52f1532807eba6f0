"""One process of a build: it replays its share, obeys its parent, and does not outlive it. Puts parts together; decides nothing else."""

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from multiprocessing.connection import Connection
from typing import Final

from projections.registry import find
from schemas.codec import Codec
from streams.carried import Carried
from streams.engine import Engine
from streams.log.reader import LogReader
from streams.rebuild.history import History
from streams.rebuild.rebuilding import Rebuilder
from streams.replay.governor import Pace
from streams.replay.messages import Go, Opened, Progress, Rate, Rested, Share, Stop
from streams.replay.replay import Done, Replay
from streams.store.cassandra import CassandraStore
from streams.store.catalogue import known_tables
from touchline.errors import TouchlineError
from touchline.logging import configure_logging

__all__ = ["replay_share"]

NICE: Final = 5
"""Those who serve come first: on a machine that is busy a replay gets what they leave."""

IN_FLIGHT_MAX: Final = 16
"""Requests of one process that the store has before it at a time."""

_TELL_EVERY_S: Final = 1.0


def replay_share(connection: Connection, share: Share) -> None:
    """Run a process of a build until it is told to leave."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal: the parent tells what to do
    os.nice(NICE)
    configure_logging(share.settings.log_level)
    gc.disable()
    child = _Child(connection, share)
    try:
        asyncio.run(child.run())
    except TouchlineError as error:
        child.tell(Carried.of(error))
        raise SystemExit(1) from None


class _Child:
    def __init__(self, connection: Connection, share: Share) -> None:
        self._connection = connection
        self._share = share
        self._orders: asyncio.Queue[Go | None] = asyncio.Queue()
        self._pace = Pace()
        self._changed = asyncio.Event()
        self._stopped = False
        self._replay: Replay | None = None

    def tell(self, message: object) -> None:
        """Say something to the parent; if it is gone there is nobody to tell."""
        with suppress(OSError):
            self._connection.send(message)

    async def run(self) -> None:
        """Open the partitions, and replay them as often as the parent says."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, args=(loop,), name="replay-parent", daemon=True).start()
        async with self._assembled() as replay:
            self._replay = replay
            telling = asyncio.create_task(self._keep_telling(replay))
            try:
                self.tell(Opened(await replay.open(self._share.partitions)))
                gc.freeze()
                while not self._stopped and (order := await self._orders.get()) is not None:
                    complete = await replay.run(order.ends)
                    self._tell_progress(replay.done)
                    self.tell(Rested(complete))
            finally:
                telling.cancel()

    @asynccontextmanager
    async def _assembled(self) -> AsyncIterator[Replay]:
        share, codec = self._share, Codec()
        settings, group = share.settings, find(share.group, share.version)
        topic = settings.topic("interaction")
        engine = Engine(group, codec, tenant=settings.tenant, cached_subjects_max=settings.cached_subjects_max, settle_s=settings.settle_s)
        store = await CassandraStore.connect(settings, known_tables(), in_flight_max=IN_FLIGHT_MAX)
        try:
            with LogReader(settings.brokers, topic) as reader, LogReader(settings.brokers, topic, queued_kbytes=1024) as single:
                replay = Replay(
                    engine,
                    store,
                    reader,
                    codec,
                    first=share.first,
                    chunk_records=share.chunk_records,
                    on_error=share.on_error,
                    rebuild=Rebuilder(engine, store, History(store, single), codec=codec).rebuild,
                    paced=self._paced,
                    say=self._tell_progress,
                )
                try:
                    yield replay
                finally:
                    replay.close()
        finally:
            await store.close()

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take orders; a parent that is gone takes this process with it: what is not written is folded again by whoever comes next."""
        while True:
            try:
                order = self._connection.recv()
            except (EOFError, OSError):
                os._exit(1)
            loop.call_soon_threadsafe(self._obey, order)

    def _obey(self, order: object) -> None:
        self._changed.set()
        if isinstance(order, Go):
            self._orders.put_nowait(order)
        elif isinstance(order, Rate):
            self._pace.change(order.per_s, time.monotonic())
        elif isinstance(order, Stop):
            self._stopped = True
            if self._replay is not None:
                self._replay.stop()
            self._orders.put_nowait(None)

    async def _paced(self, records: int) -> None:
        """Wait until so many records may be folded."""
        left_s = self._pace.wait_s(records, time.monotonic())
        while left_s > 0 and not self._stopped:
            rate, began_s = self._pace.rate, time.monotonic()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left_s)
            self._changed.clear()
            left_s -= time.monotonic() - began_s
            if rate is not None and self._pace.rate != rate:
                left_s = 0.0 if self._pace.rate is None else left_s * rate / self._pace.rate

    async def _keep_telling(self, replay: Replay) -> None:
        while True:
            await asyncio.sleep(_TELL_EVERY_S)
            self._tell_progress(replay.done)

    def _tell_progress(self, done: Done) -> None:
        waiting = None if self._replay is None else self._replay.waiting
        self.tell(Progress(dict(done.offsets), done.records, done.rows, done.withheld, done.expired, done.parked, done.refused, waiting))
