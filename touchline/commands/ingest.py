"""`touchline ingest`: files onto the channel topics, each event once, resumable."""

import asyncio
import json
import os
import signal
import sys
from contextlib import AsyncExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Self

import typer

if TYPE_CHECKING:
    from connectors.files import Input
    from connectors.ingest import Importer
    from connectors.tally import Counts, Result
    from touchline.settings import Settings

__all__ = ["register"]

_SHOWN_MAX = 20


class Form(StrEnum):
    """The forms of files."""

    EVENTS = "events"
    BANK_CALLS = "bank-calls"
    TWEETS = "tweets"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ingest", epilog="Example:  touchline ingest calls.tsv --format bank-calls")(ingest)


def ingest(  # noqa: PLR0917 - typer's options, given by name
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file; - reads standard input.")],
    form: Annotated[Form | None, typer.Option("--format", help="What the file holds. By default told from how it begins.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose events they are, where the file names nobody. Default: the setting.")] = None,
    speed: Annotated[str, typer.Option(help="max, or N: N times as fast as the events really came.")] = "max",
    shift_to_now: Annotated[bool, typer.Option("--shift-to-now", help="Move event times so that the last one is now.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first line that is refused or quarantined.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until the resolver has passed the last event.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Append the events of a file to their channels' topics, sealed, and tell what became of each.

    May be interrupted at any moment and run again: what was accepted is recognised and counted as duplicate, as it is when a
    file is ingested twice or has grown. Lines that are refused are named by number, field and reason; the rest goes on.
    """
    pace = _speed(speed)
    if file == "-" and shift_to_now and form in {None, Form.EVENTS}:
        raise typer.BadParameter("the last event of a pipe is not known beforehand.", param_hint="--shift-to-now")
    from touchline.logging import configure_logging
    from touchline.settings import load_settings

    settings = load_settings(**({"tenant": tenant} if tenant is not None else {}))
    configure_logging(settings.log_level)
    done = asyncio.run(_ingest(file, form, settings, pace, shift=shift_to_now, strict=strict, wait=not no_wait, as_json=as_json))
    if done.interrupted:
        _leave(130, at_once=file == "-")
    if done.stopped_by is not None:
        typer.secho(f"touchline: stopped at the first rejection: {done.stopped_by.detail}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1)


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise typer.BadParameter("it is neither max nor a number above 0.", param_hint="--speed")
    return speed


def _leave(code: int, *, at_once: bool) -> None:
    if at_once:  # a thread still waits for standard input, and nothing can wake it
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise typer.Exit(code)


async def _ingest(
    name: str, form: Form | None, settings: "Settings", speed: float | None, *, shift: bool, strict: bool, wait: bool, as_json: bool
) -> "Result":
    """Wire the parts, run the import with its progress bar, wait for the resolver, print."""
    from connectors import files
    from connectors.pace import Pace, wait_for_resolver
    from schemas.handles import provider_id
    from streams.wall_clock import now_us
    from touchline.importing import importing
    from touchline.key_service import key_service

    found: files.FileForm = form.value if form else "events" if name == "-" else files.form_of(Path(name))
    async with key_service(settings) as keys, AsyncExitStack() as opened:
        index_key, file = keys.index_key(settings.tenant), opened.enter_context(_opened(name))
        size = None if name == "-" else os.fstat(file.fileno()).st_size
        source = files.open_input(file, found, tenant=settings.tenant, hashed=lambda value: provider_id(index_key, value), size=size)
        last_us = None if not shift else files.last_event_us(Path(name)) if found == "events" else source.last_us
        bar = opened.enter_context(_Bar(source, shown=not as_json))
        parts = await opened.enter_async_context(
            importing(
                settings,
                keys,
                source=source.source,
                file=Path(name).name,
                shift_us=now_us() - last_us if last_us is not None else 0,
                pace=Pace(speed) if speed is not None else None,
                strict=strict,
                tell=bar.tell,
            )
        )
        _stop_on_interrupt(parts.importer)
        result = await parts.importer.run(source)
        bar.end()
        _print(result, source, as_json=as_json)
        if parts.sealer.blocked_handles:
            typer.echo(f"{parts.sealer.blocked_handles:,} handles are blocked values: they are kept, sealed, and name nobody.", err=True)
        if wait and result.grown_to and not result.interrupted:
            await wait_for_resolver(parts.channels, result.grown_to)
        return result


def _opened(name: str) -> BinaryIO:
    from touchline.errors import Misconfigured

    if name == "-":
        return sys.stdin.buffer
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise Misconfigured(f"{name} cannot be opened ({error.strerror}).", next_step="check the path and its rights.") from None


def _stop_on_interrupt(importer: "Importer") -> None:
    """First Ctrl-C: end after the chunk under way. Second: leave at once; the next run finds out what was written."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def interrupted() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        typer.echo("Stopping after the records under way; Ctrl-C again leaves at once.", err=True)
        importer.stop()
        if task is not None:
            loop.add_signal_handler(signal.SIGINT, task.cancel)

    loop.add_signal_handler(signal.SIGINT, interrupted)


class _Bar:
    """The progress bar on standard error: done, rate in events/s, time left. Silent where that is no terminal."""

    def __init__(self, source: "Input", *, shown: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[said]}"), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, disable=not (shown and console.is_terminal), transient=True)
        self._task = self._progress.add_task("ingest", total=source.total, said="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def end(self) -> None:
        """Take the bar away, so that what follows stands on a clean line; harmless when repeated."""
        self._progress.stop()

    def tell(self, done: int, counts: "Counts") -> None:
        """Show how far it is."""
        elapsed = self._progress.tasks[0].elapsed or 1.0
        self._progress.update(self._task, completed=done, said=f"{counts.received:,} events, {counts.received / max(elapsed, 0.1):,.0f}/s")


def _print(result: "Result", source: "Input", *, as_json: bool) -> None:
    import msgspec

    counts = result.counts
    if as_json:
        rejected = [{"line": one.line, "outcome": one.outcome, "reason": one.reason, "detail": one.detail} for one in result.rejected]
        rows = None if source.report is None else msgspec.to_builtins(source.report)
        more = {"reasons": dict(result.reasons), "rejected": rejected, "rows": rows, "interrupted": result.interrupted}
        typer.echo(json.dumps({**msgspec.to_builtins(counts), **more}))
        return
    for one in result.rejected[:_SHOWN_MAX]:
        typer.echo(f"{one.outcome} ({one.reason}) {one.detail}", err=True)
    if (hidden := sum(result.reasons.values()) - min(_SHOWN_MAX, len(result.rejected))) > 0:
        typer.echo(f"... and {hidden:,} more: " + ", ".join(f"{n:,} {reason}" for reason, n in result.reasons.most_common()), err=True)
    if source.report is not None:
        typer.echo(source.report.line())
    typer.echo(
        f"received {counts.received:,} = accepted {counts.accepted:,} + duplicate {counts.duplicate:,}"
        f" + quarantined {counts.quarantined:,} + refused {counts.refused:,}"
    )
    if result.interrupted:
        typer.echo("Interrupted; run the same command again to go on.", err=True)
