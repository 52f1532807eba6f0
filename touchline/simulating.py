"""One simulation: files through the same mappings, resolver and projections as live, in memory, into sorted lines. No server.

What nobody will read is not folded and not kept: for clocks alone only the care group runs, and rows are kept only to be printed.
Memory is bounded but for those rows: states lie on disk, and so do lines once they are many.
"""

import gc
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

import typer

from connectors.files import FileForm, form_of, open_input
from projections.registry import GROUPS, Group
from projections.rules import Rulebook
from schemas.codec import Codec
from schemas.handles import provider_id
from streams.digesting import store_digest
from streams.simulation import Simulation
from streams.store.catalogue import known_tables
from streams.store.columns import text
from streams.store.port import Store
from touchline.emitting import Effects, SortedLines, emit_clocks, emit_rows
from touchline.errors import TouchlineError
from touchline.intake import Intake
from touchline.key_service import index_keys
from touchline.progress_bar import ProgressBar
from touchline.sealers import new_sealer
from touchline.settings import Settings
from touchline.simulated_store import SimulatedStore

__all__ = ["Simulated", "is_read", "parked_places", "print_rows", "raise_for_parked", "unread"]

_SLICE: Final = 10_000
_TOLD_MAX: Final = 3
_CLOCK: Final = "clock"
_CACHED_SUBJECTS_MAX: Final = 10_000
"""Customers whose states are held decoded, per group; the others' lie on disk."""

_LOADED: Final = frozenset({"figure"})
"""Tables whose rows are the fold's own memory too: kept, whoever reads them."""


class Simulated:
    """What takes the files in, what folds them, and what is printed in the end: `wanted` of clocks, effects, rows, digest."""

    def __init__(
        self, settings: Settings, lines: SortedLines, wanted: frozenset[str], *, tenant: str, until_us: int | None, books: Sequence[Rulebook] = ()
    ) -> None:
        self._began_s = time.monotonic()
        self._wanted = wanted
        self._lines = lines
        self._tenant = tenant
        self._until_us = until_us
        self._settle_us = settings.settle_s * 1_000_000
        self._books = books
        self._groups = [group for group in GROUPS.values() if is_read(group, wanted)]
        self._keys = index_keys(settings)
        self._codec = Codec()
        self._store = SimulatedStore(known_tables(), unread(self._groups, wanted))
        self._simulation = Simulation(
            self._groups,
            self._store,
            self._codec,
            tenant=tenant,
            future_max_s=settings.future_max_s,
            cached_subjects_max=min(settings.cached_subjects_max, _CACHED_SUBJECTS_MAX),
            books=books,
            settle_s=settings.settle_s,
        )
        clear = {name for book in books for name in book.clear_attributes}
        sealer = new_sealer(settings, None, self._codec, self._keys.of, clear_attributes=clear)
        self._intake = Intake(sealer, future_max_s=settings.future_max_s, vulnerability_days_max=settings.vulnerability_days_max, until_us=until_us)
        self._parked: Counter[str] = Counter()
        self._effects = Effects(lines if "effects" in wanted else None)

    async def feed(self, files: Sequence[Path], form: FileForm | None) -> None:
        """Fold the files, one after the other; then let every timer expire whose moment has come by the end."""
        gc.disable()  # what is built here stays and forms no cycles: looking for them took an eighth of the time
        try:
            for path in files:
                await self._feed(path, form)
            self._effects.add(await self._simulation.finish(self._until_us))
        finally:
            gc.enable()
        self._intake.quarantine(refusal.reason for refusal in self._simulation.refusals)
        self._parked = await parked_places(self._store)

    async def print(self, out: BinaryIO) -> None:
        """Print what is wanted, sorted, and the digests behind it."""
        self._effects.emit()
        await print_rows(self._store, self._groups, self._codec, self._wanted, self._lines, out=out, as_of_us=self._end_us, books=self._books)

    def tell(self) -> None:
        """Tell on standard error what became of the records. Raises `TouchlineError` if customers were parked."""
        counts, told, reasons = self._intake.counts, self._intake.told, self._intake.reasons
        counts.check()
        if self._keys.made is not None:
            told.append(f"Made the key file {self._keys.made}. Keep a copy: the live system's ids come from it too.")
        for said in told:
            typer.echo(said, err=True)
        if reasons:
            typer.echo(f"reasons: {', '.join(f'{reason} {n:,}' for reason, n in reasons.most_common())}", err=True)
        if apart := {result: n for result, n in self._simulation.links.items() if result != "linked"}:
            typer.echo(f"not linked: {', '.join(f'{result} {n:,}' for result, n in sorted(apart.items()))}", err=True)
        parked = self._simulation.parked_customers
        typer.echo(
            f"received {counts.received:,} = accepted {counts.accepted:,} + duplicate {counts.duplicate:,} + quarantined {counts.quarantined:,}"
            f" + refused {counts.refused:,}; parked customers {parked:,}; {time.monotonic() - self._began_s:.1f} s",
            err=True,
        )
        raise_for_parked(parked, self._parked)

    @property
    def _end_us(self) -> int:
        """As of when everything is printed: the end that was asked for, else the last append time and the settling behind it."""
        return (self._intake.appended_us or 0) + self._settle_us if self._until_us is None else self._until_us

    async def _feed(self, path: Path, form: FileForm | None) -> None:
        index_key = self._keys.of(self._tenant)
        with path.open("rb") as file, ProgressBar(shown=True) as bar:
            size = os.fstat(file.fileno()).st_size
            found = open_input(file, form or form_of(path), tenant=self._tenant, hashed=lambda value: provider_id(index_key, value), size=size)
            if found.report is not None:
                self._intake.told.append(f"{path.name}: {found.report.line()}")
            bar.step(path.name, found.total, found.unit)
            events, told = self._intake.events(found), 0
            while part := list(islice(events, _SLICE)):
                self._effects.add(await self._simulation.feed(part))
                bar.tell(self._intake.done - told)
                told = self._intake.done


async def print_rows(
    store: Store,
    groups: Sequence[Group],
    codec: Codec,
    wanted: frozenset[str],
    lines: SortedLines,
    *,
    out: BinaryIO,
    as_of_us: int,
    books: Sequence[Rulebook],
) -> None:
    """Print the rows and clocks that are wanted, sorted among the lines that are there, and the digests behind them."""
    for group in groups:
        if "rows" in wanted:
            await emit_rows(store, group, codec, lines)
        for table in group.reader_tables if "clocks" in wanted else ():
            if table.name == _CLOCK:
                await emit_clocks(store, table, lines, as_of_us=as_of_us, books=books)
    lines.write(out)
    for group in groups if "digest" in wanted else ():
        line = {"kind": "digest", "group": group.name, "version": group.version, "digest": await store_digest(store, group, codec)}
        out.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")


def raise_for_parked(parked: int, why: Counter[str]) -> None:
    """Raise `TouchlineError` if customers were parked, with the places where most of them failed."""
    if parked:
        places = "; ".join(f"{place} ({n:,})" for place, n in why.most_common(_TOLD_MAX))
        raise TouchlineError(f"Customers parked: {parked:,}. A projection failed on an event of theirs: {places}.", next_step="mend the projection.")


async def parked_places(store: Store) -> Counter[str]:
    """Return how many customers are parked, by the group, the reason and the place in the code."""
    return Counter(
        " ".join([text(row, "name") + ":", text(row, "reason"), text(row, "failed_at", "")]).rstrip() for row in await store.scan("parked_customer")
    )


def is_read(group: Group, wanted: frozenset[str]) -> bool:
    """Tell whether a group must run: all for effects, rows and digests; for clocks alone the one that has clocks."""
    return wanted != {"clocks"} or any(table.name == _CLOCK for table in group.tables())


def unread(groups: Iterable[Group], wanted: frozenset[str]) -> frozenset[str]:
    """Return the tables (physical names) whose rows nobody will ask for."""
    if wanted & {"rows", "digest"}:
        return frozenset()
    kept = _LOADED | {_CLOCK}
    return frozenset(table.physical for group in groups for table in group.reader_tables if table.name not in kept)
