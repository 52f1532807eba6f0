"""`touchline simulate`: files through the same mappings, resolver and projections as live, in memory; no server, no network.

Also `touchline store digest`, the same digest over what the live workers wrote.
"""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from touchline.settings import load_settings

if TYPE_CHECKING:
    from projections.rules import Rulebook

__all__ = ["register"]

_EMITS: Final = ("clocks", "effects", "rows", "digest")
_LOG: Final = "log"
_FORMS: Final = ("events", "bank-calls", "tweets", _LOG)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    from touchline.commands.store import store

    app.command("simulate", epilog="Example:  touchline simulate day.jsonl --policies docs/examples/policies.toml --emit clocks")(simulate)
    store.command("digest", epilog="Example:  touchline store digest --group view")(digest_of_store)


def simulate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", exists=True, readable=True, help="Read in this order; of a log its folder.")],
    *,
    form: Annotated[str | None, typer.Option("--format", help=f"{', '.join(_FORMS)}; default: what a file looks like.")] = None,
    policies: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, readable=True, help="Rules in force from the beginning of time.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Read nothing that was appended later; let timers expire until then.")] = None,
    emit: Annotated[str | None, typer.Option(metavar="LIST", help=f"What to print, of {','.join(_EMITS)}; default: all but the digest.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where to print; - is standard output.")] = Path("-"),
    tenant: Annotated[str | None, typer.Option(help="Whose the events are where a line names nobody; default: the setting.")] = None,
    digest: Annotated[bool, typer.Option("--digest", help="Print each group's digest, as a line of kind `digest`.")] = False,
) -> None:
    """Fold files of events into clocks, effects and rows, printed as JSON lines sorted by time, kind and id.

    Nothing is sent or stored. Ids are those of the live system, by this machine's key file; texts and names are left out.
    Append time is a line's `appendedat`, else its `time`, and never goes backwards. A summary goes to standard error. What
    `touchline log export` wrote is folded as it lies there, under the rules that are in it, to the digests of the live tables.
    """
    from touchline.emitting import Output, SortedLines
    from touchline.simulating import Simulated

    if form is not None and form not in _FORMS:
        raise typer.BadParameter(f"choose from {', '.join(_FORMS)}.", param_hint="--format")
    wanted, until_us = _wanted(emit, digest=digest), _until_us(until)
    if _is_log(files, form):
        if policies is not None:
            raise typer.BadParameter("a log has its own rules; `touchline what-if` folds it under others.", param_hint="--policies")
        _simulate_log(files, wanted, until_us, out, tenant)
        return
    books = () if policies is None else (_rulebook(policies),)
    settings = load_settings()
    with Output(out) as stream, SortedLines() as lines:
        run = Simulated(settings, lines, wanted, tenant=tenant or settings.tenant, until_us=until_us, books=books)
        asyncio.run(run.feed(files, form))  # type: ignore[arg-type] # checked above
        asyncio.run(run.print(stream))
    run.tell()


def _is_log(files: list[Path], form: str | None) -> bool:
    """Tell whether the files are of an exported log: by what was said, else by what they look like."""
    folders = [path for path in files if path.is_dir()]
    if form not in {None, _LOG} and folders:
        raise typer.BadParameter(f"{folders[0]} is a folder: only a log is one.", param_hint="FILE")
    return form == _LOG or bool(folders) or all(path.suffix == ".avro" for path in files)


def _simulate_log(files: list[Path], wanted: frozenset[str], until_us: int | None, out: Path, tenant: str | None) -> None:
    from touchline.emitting import Output, SortedLines
    from touchline.simulating_log import SimulatedLog

    settings = load_settings(**({"tenant": tenant} if tenant is not None else {}))
    with Output(out) as stream, SortedLines() as lines:
        run = SimulatedLog(settings, lines, wanted, files, until_us=until_us)
        asyncio.run(run.feed())
        asyncio.run(run.print(stream))
    run.tell()


def digest_of_store(
    group: Annotated[str, typer.Option("--group", "-g", metavar="GROUP[@VERSION]", help="Which group; without a version the active one.")] = "view",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the digest of a group's tables: equal to `simulate --digest` over the same events. Reads them page by page."""
    from projections.registry import GROUPS, Group, find
    from streams.digesting import store_digest
    from streams.reading import ActiveVersions
    from touchline.group_names import named
    from touchline.tables import connected

    name, number = named(group)
    if name not in GROUPS:
        raise typer.BadParameter(f"choose from {', '.join(GROUPS)}.", param_hint="--group")

    async def read() -> tuple[Group, str]:
        async with connected(load_settings()) as store:
            found = find(name, (await ActiveVersions(store).of(name)).version if number is None else number)
            return found, await store_digest(store, found)

    found, digest = asyncio.run(read())
    typer.echo(
        json.dumps({"group": found.name, "version": found.version, "digest": digest}) if as_json else f"{digest}  {found.name} v{found.version}"
    )


def _wanted(emit: str | None, *, digest: bool) -> frozenset[str]:
    also = {"digest"} if digest else set()
    if emit is None:
        return frozenset(also or set(_EMITS) - {"digest"})
    found = frozenset(part.strip() for part in emit.split(",") if part.strip())
    if not found <= set(_EMITS):
        raise typer.BadParameter(f"choose from {', '.join(_EMITS)}.", param_hint="--emit")
    return found | also


def _rulebook(path: Path) -> "Rulebook":
    """Read a policy file, for events of all times. Raises `Misconfigured` for one that is wrong, with file, line and reason."""
    from touchline.publishing import read_file

    return msgspec.structs.replace(read_file(path, effective_at_us=0), version=1)


def _until_us(until: str | None) -> int | None:
    from streams.plain import instant_us

    try:
        return None if until is None else instant_us(until)
    except ValueError:
        raise typer.BadParameter("write a time with its offset, such as 2026-01-12T09:00:00Z, or a day.", param_hint="--until") from None
