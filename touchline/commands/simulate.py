"""`touchline simulate`: files through the same mappings, resolver and projections as live, in memory; no server, no network.

Also `touchline store digest`, the same digest over what the live workers wrote.
"""

import asyncio
import gc
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import typer

from touchline.errors import Refused, TouchlineError
from touchline.settings import load_settings

if TYPE_CHECKING:
    from connectors.contract import Draft, Rejected
    from connectors.files import FileForm, Input
    from connectors.sealer import Sealer
    from schemas.record import Event

__all__ = ["register"]

_EMITS: Final = ("rows", "effects")
_FORMS: Final = ("events", "bank-calls", "tweets")
_REMEMBERED: Final = 20_000_000
_SLICE: Final = 10_000
_TOLD_MAX: Final = 10


def register(app: typer.Typer) -> None:
    """Add the commands."""
    from touchline.commands.store import store

    app.command("simulate", epilog="Example:  touchline simulate day.jsonl --until 2026-01-12T18:00:00Z --emit effects")(simulate)
    store.command("digest", epilog="Example:  touchline store digest --group view")(digest_of_store)


def simulate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", exists=True, dir_okay=False, readable=True, help="Read in this order.")],
    *,
    form: Annotated[str | None, typer.Option("--format", help=f"{', '.join(_FORMS)}; default: what a file looks like.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Read nothing that was appended later.")] = None,
    emit: Annotated[str | None, typer.Option(metavar="LIST", help=f"What to print: {','.join(_EMITS)}; default: both, with --digest none.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where to print; - is standard output.")] = Path("-"),
    tenant: Annotated[str | None, typer.Option(help="Whose the events are where a line names nobody; default: the setting.")] = None,
    digest: Annotated[bool, typer.Option("--digest", help="Print each group's digest, as a line of kind `digest`.")] = False,
) -> None:
    """Fold files of events into rows and effects, printed as JSON lines sorted by time, kind and id.

    Nothing is sent or stored. Ids are those of the live system, by this machine's key file; texts and names are left out.
    Append time is a line's `appendedat`, else its `time`, and never goes backwards. A summary goes to standard error.
    """
    from touchline.emitting import Output

    if form is not None and form not in _FORMS:
        raise typer.BadParameter(f"choose from {', '.join(_FORMS)}.", param_hint="--format")
    wanted, until_us = _wanted(emit, digest=digest), _until_us(until)
    run = _Run(tenant, until_us)
    with Output(out) as stream:
        asyncio.run(run.feed(files, form))  # type: ignore[arg-type] # checked above
        asyncio.run(run.print(stream, wanted, digest=digest))
    run.tell()


def digest_of_store(
    group: Annotated[str, typer.Option("--group", "-g", help="Which group of projections.")] = "view",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the digest of a group's tables: equal to `simulate --digest` over the same events. Reads the tables whole."""
    from projections.registry import GROUPS
    from streams.digesting import store_digest
    from streams.store.cassandra import CassandraStore

    found = GROUPS.get(group)
    if found is None:
        raise typer.BadParameter(f"choose from {', '.join(GROUPS)}.", param_hint="--group")

    async def read() -> str:
        store = await CassandraStore.connect(load_settings())
        try:
            return await store_digest(store, found)
        finally:
            await store.close()

    digest = asyncio.run(read())
    typer.echo(
        json.dumps({"group": found.name, "version": found.version, "digest": digest}) if as_json else f"{digest}  {found.name} v{found.version}"
    )


class _Run:
    """One simulation: what takes the files in, what folds them, and what is printed in the end."""

    def __init__(self, tenant: str | None, until_us: int | None) -> None:
        from connectors.sealer import Sealer
        from projections.registry import GROUPS
        from schemas.codec import Codec
        from streams.simulation import Simulation
        from streams.store.catalogue import known_tables
        from streams.store.memory import MemoryStore
        from touchline.emitting import Effects
        from touchline.keyring.keyfile import KeyFile

        settings = load_settings()
        self._began_s = time.monotonic()
        self._groups = GROUPS.values()
        self._tenant = tenant or settings.tenant
        self._keys = KeyFile.load_or_create(settings.key_file)
        self._codec = Codec()
        self._store = MemoryStore(known_tables())
        limits = {"future_max_s": settings.future_max_s, "cached_subjects_max": settings.cached_subjects_max}
        self._simulation = Simulation(self._groups, self._store, self._codec, tenant=self._tenant, **limits)
        sealer = Sealer(None, self._codec, self._keys.index_key, settings.default_region)
        self._intake = _Intake(sealer, future_max_s=settings.future_max_s, until_us=until_us)
        self._effects = Effects()

    async def feed(self, files: Sequence[Path], form: "FileForm | None") -> None:
        """Fold the files, one after the other."""
        gc.disable()  # what is built here stays and forms no cycles: looking for them took an eighth of the time
        try:
            for path in files:
                await self._feed(path, form)
        finally:
            gc.enable()
        self._intake.quarantine(refusal.reason for refusal in self._simulation.refusals)

    async def print(self, out: BinaryIO, wanted: frozenset[str], *, digest: bool) -> None:
        """Print what is wanted, sorted, and the digests behind it."""
        from streams.digesting import store_digest
        from touchline.emitting import SortedLines, emit_rows

        with SortedLines() as lines:
            if "effects" in wanted:
                self._effects.emit(lines)
            for group in self._groups if "rows" in wanted else ():
                await emit_rows(self._store, group, self._codec, lines)
            lines.write(out)
        for group in self._groups if digest else ():
            found = await store_digest(self._store, group, self._codec)
            out.write(
                json.dumps({"kind": "digest", "group": group.name, "version": group.version, "digest": found}, separators=(",", ":")).encode() + b"\n"
            )

    def tell(self) -> None:
        """Tell on standard error what became of the records. Raises `TouchlineError` if customers were parked."""
        counts, told, reasons = self._intake.counts, self._intake.told, self._intake.reasons
        counts.check()
        if self._keys.created:
            told.append(f"Made the key file {self._keys.path}. Keep a copy: the live system's ids come from it too.")
        for said in told:
            typer.echo(said, err=True)
        if reasons:
            typer.echo(f"reasons: {', '.join(f'{reason} {n:,}' for reason, n in reasons.most_common())}", err=True)
        parked = self._simulation.parked_customers
        typer.echo(
            f"received {counts.received:,} = accepted {counts.accepted:,} + duplicate {counts.duplicate:,} + quarantined {counts.quarantined:,}"
            f" + refused {counts.refused:,}; parked customers {parked:,}; {time.monotonic() - self._began_s:.1f} s",
            err=True,
        )
        if parked:
            raise TouchlineError(f"Customers parked: {parked:,}. A projection failed on an event of theirs.", next_step="mend the projection.")

    async def _feed(self, path: Path, form: "FileForm | None") -> None:
        from rich.console import Console
        from rich.progress import Progress

        from connectors.files import form_of, open_input
        from schemas.handles import provider_id

        index_key = self._keys.index_key(self._tenant)
        with path.open("rb") as file, Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
            size = os.fstat(file.fileno()).st_size
            found = open_input(file, form or form_of(path), tenant=self._tenant, hashed=lambda value: provider_id(index_key, value), size=size)
            if found.report is not None:
                self._intake.told.append(f"{path.name}: {found.report.line()}")
            task = progress.add_task(path.name, total=found.total)
            events = self._intake.events(found)
            while part := list(islice(events, _SLICE)):
                self._effects.add(await self._simulation.feed(part))
                progress.update(task, completed=self._intake.done)


def _wanted(emit: str | None, *, digest: bool) -> frozenset[str]:
    if emit is None:
        return frozenset() if digest else frozenset(_EMITS)
    found = frozenset(part.strip() for part in emit.split(",") if part.strip())
    if not found <= set(_EMITS):
        raise typer.BadParameter(f"choose from {', '.join(_EMITS)}.", param_hint="--emit")
    return found


def _until_us(until: str | None) -> int | None:
    from streams.plain import instant_us

    try:
        return None if until is None else instant_us(until)
    except ValueError:
        raise typer.BadParameter("write a time with its offset, such as 2026-01-12T09:00:00Z, or a day.", param_hint="--until") from None


class _Intake:
    """Turns what files offer into events with append times, and counts what becomes of each record, as the importer does."""

    def __init__(self, sealer: "Sealer", *, future_max_s: int, until_us: int | None) -> None:
        import msgspec

        from connectors import checks, manifest
        from connectors.contract import Rejected
        from connectors.tally import Counts

        self.counts = Counts()
        self.reasons: Counter[str] = Counter()
        self.told: list[str] = []
        self.done = 0
        self._sealer = sealer
        self._future_max_s = future_max_s
        self._until_us = until_us
        self._appended_us: int | None = None
        self._check, self._id_reused, self._canonical, self._rejected = checks.check, checks.id_reused, manifest.canonical, Rejected
        self._replaced = msgspec.structs.replace
        self._repeats = checks.Repeats(_REMEMBERED)

    def events(self, file: "Input") -> "Iterator[tuple[Event, int]]":
        """Yield (event, append time in µs) of every record that is accepted, until one was appended after `until_us`."""
        for rejected in file.rejected:
            self._reject(rejected)
        for chunk in file.chunks:
            for slot, line in zip(chunk.slots, chunk.lines, strict=True):
                if isinstance(slot, self._rejected):
                    self._reject(slot)
                    continue
                appended_us = slot.occurred_at_us if slot.appended_at_us is None else slot.appended_at_us
                if self._appended_us is None or appended_us > self._appended_us:
                    self._appended_us = appended_us
                if self._until_us is not None and self._appended_us > self._until_us:
                    return  # and so is everything behind it, in further files too
                found = self._event(slot, line, self._appended_us)
                if isinstance(found, self._rejected):
                    self._reject(found)
                elif found is not None:
                    self.counts.accepted += 1
                    self.counts.received += 1
                    yield found, self._appended_us
            self.done = chunk.done

    def quarantine(self, reasons: Iterable[str]) -> None:
        """Note that events which were accepted here could not be resolved."""
        for reason in reasons:
            self.counts.accepted -= 1
            self.counts.quarantined += 1
            self.reasons[reason] += 1

    def _event(self, draft: "Draft", line: int | None, appended_us: int) -> "Event | Rejected | None":
        """Return the event, why it is rejected, or None for a repeat."""
        found = self._check(draft, now_us=appended_us, future_max_s=self._future_max_s, line=line)
        if found is not None:
            return found
        seen = self._repeats.look(draft, self._canonical(draft))
        if seen == "repeat":
            self.counts.duplicate += 1
            self.counts.received += 1
            return None
        if seen == "other":
            return self._id_reused(draft, line)
        if draft.appended_at_us is not None:  # the log in memory knows the append time, made monotone
            draft = self._replaced(draft, appended_at_us=None)
        try:
            return self._sealer.event(draft, appended_us)
        except Refused as error:
            return self._rejected("refused", error.reason, error.what if line is None else f"line {line}: {error.what}", line, draft.source)

    def _reject(self, rejected: "Rejected") -> None:
        counts = self.counts
        counts.received += 1
        if rejected.outcome == "refused":
            counts.refused += 1
        else:
            counts.quarantined += 1
        self.reasons[rejected.reason] += 1
        if sum(self.reasons.values()) <= _TOLD_MAX:
            self.told.append(f"{rejected.outcome}: {rejected.detail}")
