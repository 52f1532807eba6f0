"""`simulate --format log`: an export through the same engine, in memory, into the same sorted lines. No server, no resolver, no keys."""

import gc
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import typer

from projections.registry import GROUPS
from schemas.codec import Codec
from streams.books import TABLE as BOOKS
from streams.books import positions
from streams.log.folder import LogFolder
from streams.log.simulation import LogSimulation
from streams.records import Batch, first_appended_us
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from touchline.emitting import Effects, SortedLines
from touchline.progress_bar import ProgressBar
from touchline.settings import Settings
from touchline.simulated_store import SimulatedStore
from touchline.simulating import is_read, parked_places, print_rows, raise_for_parked, unread

__all__ = ["SimulatedLog"]

_CACHED_SUBJECTS_MAX: Final = 10_000
"""As in `touchline/simulating.py`."""


class SimulatedLog:
    """Folds the log of an export, each partition apart, and prints: `wanted` of clocks, effects, rows, digest.

    States lie on disk, unless the log holds rebuilds: those delete states, and ask the view group's rows, so everything is kept then.
    """

    def __init__(self, settings: Settings, lines: SortedLines, wanted: frozenset[str], paths: Sequence[Path], *, until_us: int | None) -> None:
        self._began_s = time.monotonic()
        self._wanted = wanted
        self._lines = lines
        self._until_us = until_us
        self._tenant = settings.tenant
        self._codec = Codec()
        self._folder = LogFolder(paths)
        whole = self._folder.may_have_rebuilds
        self._groups = [group for group in GROUPS.values() if whole or is_read(group, wanted)]
        self._store = MemoryStore(known_tables()) if whole else SimulatedStore(known_tables(), unread(self._groups, wanted))
        self._simulation = LogSimulation(
            self._groups,
            self._store,
            self._codec,
            tenant=settings.tenant,
            cached_subjects_max=min(settings.cached_subjects_max, _CACHED_SUBJECTS_MAX),
            settle_s=settings.settle_s,
            reader=self._folder if whole else None,
        )
        self._records = 0
        self._parked: Counter[str] = Counter()
        self._effects = Effects(lines if "effects" in wanted else None)

    async def feed(self) -> None:
        """Fold every partition, up to what was appended at `until_us`; then let every timer expire whose moment has come by then.

        Without `until_us`: the whole log, and by its last append.
        """
        gc.disable()  # as in `Simulated.feed`
        try:
            with ProgressBar(shown=True) as bar:
                bar.step("partitions", len(self._folder.partitions), "partitions")
                for partition in self._folder.partitions:
                    for batch in self._batches(partition):
                        self._effects.add(await self._simulation.feed(batch))
                        self._records += len(batch.records)
                    bar.tell(1)
            self._effects.add(await self._simulation.finish(self._until_us))
        finally:
            gc.enable()
        self._parked = await parked_places(self._store)

    def _batches(self, partition: int) -> Iterator[Batch]:
        """Yield the records of a partition without those that were appended after `until_us`."""
        for batch in self._folder.batches(partition):
            until_us = self._until_us
            if until_us is None:
                yield batch
                continue
            # no record was imported before it was first appended, so the header is read only of those that came to this topic later
            kept = [one for one in batch.records if one.appended_us <= until_us or first_appended_us(one, self._codec) <= until_us]
            if kept:
                yield msgspec.structs.replace(batch, records=kept)

    async def print(self, out: BinaryIO) -> None:
        """Print what is wanted, sorted, and the digests behind it."""
        self._effects.emit()
        end_us = self._simulation.appended_us if self._until_us is None else self._until_us
        read = positions(await self._store.read(BOOKS, {"partition": self._folder.partitions[0]}))  # every partition has read the same ones
        books = [position.book for position in read if position.tenant == self._tenant]
        await print_rows(self._store, self._groups, self._codec, self._wanted, self._lines, out=out, as_of_us=end_us, books=books)

    def tell(self) -> None:
        """Tell on standard error what became of the records. Raises `TouchlineError` if customers were parked."""
        for partition, offset, reason in self._simulation.refused:
            typer.echo(f"published rules at {partition}:{offset} cannot be read: {reason}", err=True)
        parked = self._simulation.parked_customers
        typer.echo(
            f"records {self._records:,} of {len(self._folder.partitions):,} partitions; parked customers {parked:,};"
            f" {time.monotonic() - self._began_s:.1f} s",
            err=True,
        )
        raise_for_parked(parked, self._parked)
