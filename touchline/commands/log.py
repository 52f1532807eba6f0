"""`touchline log`: the log into a folder of files, and back onto empty topics."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from touchline.settings import load_settings

__all__ = ["register"]

_TOPICS = ("interaction", "config")
_HELP = "Export the log into files, and import it into another installation.\n\nExample:  touchline log export /backup/touchline"


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help=_HELP)
    group.command("export", epilog="Example:  touchline log export /backup/touchline --workers 2")(export)
    group.command("import", epilog="Example:  touchline log import /backup/touchline --dry-run")(import_)
    app.add_typer(group, name="log")


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="Where to; made if it is not there.")],
    *,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that share the partitions.")] = 1,
    topic: Annotated[str | None, typer.Option(metavar="LIST", help=f"Only these, of {','.join(_TOPICS)}; default: all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Copy the log as it ends now into Avro files, record by record with its offset and append time.

    May be interrupted at any moment and run again: it goes on after the last whole file. Run on a folder that is complete it adds
    what came since. Personal data stays sealed; the keys are not in it. Noted on the audit trail first.
    """
    from touchline.auditing import audited
    from touchline.log_transfer import export_log
    from touchline.progress_bar import ProgressBar

    chosen = _topics(topic)
    settings = load_settings()

    def begins(topics: Sequence[str]) -> None:
        async def note() -> None:
            async with audited(settings) as trail:
                await trail.note("exported", tenant=settings.tenant, details={"topics": ",".join(topics)})

        asyncio.run(note())

    with _told_how_to_go_on(), ProgressBar(shown=not as_json) as bar:
        done = export_log(settings, folder, chosen, workers, bar, begins=begins)
    if as_json:
        typer.echo(json.dumps(done))
        return
    _draw(done["topics"], ("topic", ">partitions", ">records", ">segments", ">bytes"))
    typer.echo(f"{done['folder']}: {done['records']:,} records, {done['new_records']:,} of them new; {done['bytes'] / 1e6:,.1f} MB. Complete.")
    if done["unknown_schemas"]:
        said = ", ".join(map(str, done["unknown_schemas"]))
        typer.echo(f"Schemas that this program does not know, and that are therefore not in the manifest: {said}.", err=True)
    typer.echo(f"Keys are kept apart: back up the key file ({settings.key_file}) and the keyring as well.", err=True)


def import_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="A folder that `touchline log export` wrote.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and append nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Append an export to this installation's topics, which must be empty: every record at its own offset, with its own append time.

    Whose each handle is, and who was erased, is restored from it into the tables first. No worker may run meanwhile. May be interrupted at
    any moment and run again: it goes on where it was. Workers that are started afterwards fold the log from its beginning and send nothing
    of it again.
    """
    from touchline.log_transfer import import_log
    from touchline.progress_bar import ProgressBar

    with _told_how_to_go_on(), ProgressBar(shown=not as_json) as bar:
        done = import_log(load_settings(), folder, bar, dry_run=dry_run)
    if as_json:
        typer.echo(json.dumps(done))
        return
    _draw(done["topics"], ("topic", ">partitions", ">records"))
    if done["already_imported"]:
        typer.echo(f"{done['folder']} was imported before: there is nothing to do.")
    elif dry_run:
        left = done["records"] - done["were_there"]
        typer.echo(f"Every file is whole, and the topics can take it: {left:,} records would be appended, {done['were_there']:,} are there.")
    else:
        typer.echo(f"{done['records']:,} records, {done['appended']:,} of them appended now, each at its own offset.")
        typer.echo(f"digest of the files   {done['digest_files']}\ndigest of the topics  {done['digest_topics']}")
        typer.echo(f"claims of handles (whose each is, and who was erased): {done['claims']:,} changes.")
        if done["unnamed"]:
            typer.echo(f"{done['unnamed']:,} records about links do not name their handles, and were left out of the claims.", err=True)
        if done["undated"]:
            typer.echo(f"{done['undated']:,} records cannot be read or have no room for their append time: they have today's.", err=True)


@contextmanager
def _told_how_to_go_on() -> Iterator[None]:
    """After Ctrl-C say what to do, and leave with 130."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("Interrupted; run the same command again to go on.", err=True)
        raise typer.Exit(130) from None


def _topics(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found or not set(found) <= set(_TOPICS):
        raise typer.BadParameter(f"choose from {', '.join(_TOPICS)}.", param_hint="--topic")
    return found


def _draw(topics: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    from touchline.terminal import console, draw_table

    names = [column.removeprefix(">") for column in columns]
    rows = [[f"{it[name]:,}" if isinstance(it[name], int) else str(it[name]) for name in names] for it in topics]
    draw_table(console(), columns, rows)
