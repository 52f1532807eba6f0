"""`touchline keys`: the key-encryption key of this installation, what lies under it, and a new one in its place."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from touchline.errors import Refused
from touchline.settings import Settings, load_settings

if TYPE_CHECKING:
    from rich.console import Console

    from streams.audit.trail import Notes
    from streams.store.data_keys import CassandraDataKeys
    from touchline.keyring.rotation import Rotated
    from touchline.keyring.survey import Survey
    from touchline.progress_bar import ProgressBar

__all__ = ["register"]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

_CURRENT, _OLDER, _UNKNOWN = "wraps", "only unwraps", "not in this file"


class Keks(NamedTuple):
    """The key-encryption keys of this machine: the one that wraps, and by its side those that only unwrap.

    `unfinished`: a key was put into the file that does not wrap yet. Of an outside service only the first is known.
    """

    source: str
    current: str
    older: tuple[str, ...] = ()
    unfinished: bool = False
    outside: bool = False

    def state(self, kek_id: str) -> str:
        """Return in words what a key is for."""
        if kek_id == self.current:
            return _CURRENT
        return _OLDER if self.outside or kek_id in self.older else _UNKNOWN


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="The keys that seal what is personal, and a new one.\n\nExample:  touchline keys status")
    group.command("status", epilog="Example:  touchline keys status --json")(status)
    group.command("rotate", epilog="Example:  touchline keys rotate")(rotate)
    app.add_typer(group, name="keys")


def status(*, as_json: AsJson = False) -> None:
    """Show the key-encryption keys of the key file, and how many data keys each of them wraps, by purpose and year. Reads all of them."""
    from touchline.keyring.survey import survey
    from touchline.progress_bar import ProgressBar

    settings = load_settings()

    async def ask() -> "tuple[Keks, Survey]":
        async with _keks(settings) as keks, _data_keys(settings) as (store, _):
            with ProgressBar(shown=not as_json) as bar:
                bar.step("Counting data keys", 0, "keys")
                return keks, await survey(store, bar.tell)

    keks, found = asyncio.run(ask())
    if as_json:
        typer.echo(json.dumps(_status_json(keks, found)))
        return
    from touchline.terminal import console

    _draw(console(), keks, found)


def rotate(
    *,
    resume: Annotated[bool, typer.Option("--resume", help="End what an earlier run began, and make no new key.")] = False,
    keep_old: Annotated[bool, typer.Option("--keep-old", help="Leave the old key in the file: until other machines have the new file.")] = False,
    forget_broken: Annotated[bool, typer.Option("--forget-broken", help="Take the old key out though it cannot open some data keys.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put a new key-encryption key into the key file, wrap all data keys by it, and take the old one out a minute later.

    Everything stays readable throughout, and whoever runs meanwhile goes on. Killed anywhere, `--resume` ends it; so does the next
    rotation, before it begins its own. With a key service the new key is made there; this wraps everything by it.
    """
    from touchline.progress_bar import ProgressBar

    settings = load_settings()

    async def run() -> dict[str, Any]:
        async with _keks(settings) as keks, _data_keys(settings) as (store, notes):
            with ProgressBar(shown=not as_json) as bar:
                if keks.outside:
                    return await _outside(settings, keks, store, notes, bar)
                return await _in_file(settings, store, notes, bar, resume=resume, keep_old=keep_old, forget_broken=forget_broken)

    done = asyncio.run(run())
    if as_json:
        typer.echo(json.dumps(done))
    else:
        _tell(done)
    if done["added"]:
        typer.echo(f"Back up {settings.key_file} now: what is sealed from here on opens with the new key only.", err=True)
    if done["broken"] and not forget_broken:
        from streams.excerpts import counted

        raise Refused(
            f"Damaged, so that it cannot be unwrapped: {counted(done['broken'], 'data key')}. What it lies under stays in the file.",
            reason="broken",
            next_step="restore them from a backup, or give them up: touchline keys rotate --resume --forget-broken",
        )


async def _in_file(
    settings: Settings, store: "CassandraDataKeys", notes: "Notes", bar: "ProgressBar", *, resume: bool, keep_old: bool, forget_broken: bool
) -> dict[str, Any]:
    from touchline.keyring.keyfile import KeyFile
    from touchline.keyring.rotation import Rotation

    async def note(kek_id: str, before: str, reason: str = "") -> None:
        await notes.note("keys_rotated", tenant=settings.tenant, reason=reason, details={"kek": kek_id, "kek_before": before})

    file = KeyFile.load_or_create(settings.key_file)
    rotation = Rotation(file, store, bar, keep_old=keep_old, forget_broken=forget_broken, before_adding=note)
    if not resume:
        return _json(await rotation.rotate())
    await asyncio.to_thread(file.promote_kek)
    current, older = file.kek_ids()
    if older:
        await note(current, older[0], "resumed")
    return _json(await rotation.resume())


async def _outside(settings: Settings, keks: Keks, store: "CassandraDataKeys", notes: "Notes", bar: "ProgressBar") -> dict[str, Any]:
    """Wrap by the service's newest key whatever lies under its older ones."""
    from touchline.key_service import key_service
    from touchline.keyring.rewrapping import rewrap
    from touchline.keyring.survey import survey

    bar.step("Counting data keys", 0, "keys")
    due = (await survey(store, bar.tell)).not_under(keks.current)
    await notes.note("keys_rotated", tenant=settings.tenant, count=due, details={"kek": keks.current})
    bar.step("Wrapping data keys anew", due, "keys")
    async with key_service(settings) as service:
        found = await rewrap(store, service.wrapper, current=keks.current, tell=bar.tell)
    return {
        "current": keks.current,
        "added": None,
        "removed": [],
        "kept": [],
        "rewrapped": found.done,
        "broken": found.broken,
        "unknown": found.unknown,
    }


def _json(done: "Rotated") -> dict[str, Any]:
    counts = {"rewrapped": done.rewrapped.done, "broken": done.rewrapped.broken, "unknown": done.rewrapped.unknown}
    return {"current": done.current, "added": done.added, "removed": list(done.removed), "kept": list(done.kept), **counts}


def _tell(done: dict[str, Any]) -> None:
    from streams.excerpts import counted

    if done["added"]:
        typer.echo(f"{done['added']} is the new key-encryption key.")
    typer.echo(f"Wrapped by {done['current']}: {counted(done['rewrapped'], 'data key')}.")
    if done["unknown"]:
        typer.echo(f"Left as they are, for want of the key-encryption key that they lie under: {counted(done['unknown'], 'data key')}.")
    if done["removed"]:
        typer.echo(f"Taken out of the key file, since nothing lies under it any more: {', '.join(done['removed'])}.")
    if done["kept"]:
        typer.echo(f"Still in the key file: {', '.join(done['kept'])}. `touchline keys rotate --resume` takes it out.")


def _status_json(keks: Keks, found: "Survey") -> dict[str, Any]:
    ids = dict.fromkeys([keks.current, *keks.older, *found.keks()])
    said = [{"kek": kek_id, "state": keks.state(kek_id), "data_keys": found.under({kek_id})} for kek_id in ids]
    return {"source": keks.source, "current": keks.current, "unfinished": keks.unfinished or bool(keks.older), "keks": said, **found.json()}


def _draw(console: "Console", keks: Keks, found: "Survey") -> None:
    from streams.excerpts import counted
    from touchline.terminal import draw_table

    console.print(f"Keys from {keks.source}", style="bold", markup=False)
    rows: list[tuple[str, ...]] = []
    for kek_id in dict.fromkeys([keks.current, *keks.older, *found.keks()]):
        counts = [(count, n) for count, n in sorted(found.active.items()) if count.kek_id == kek_id]
        rows += [(kek_id, keks.state(kek_id), c.purpose, str(c.year), f"{n:,}") for c, n in counts] or [(kek_id, keks.state(kek_id), "", "", "0")]
    rows += [("", "destroyed", c.purpose, str(c.year), f"{n:,}") for c, n in sorted(found.destroyed.items())]
    draw_table(console, ("key-encryption key", "it", "purpose", ">year", ">data keys"), rows)
    unknown = 0 if keks.outside else len(found) - found.destroyed.total() - found.under({keks.current, *keks.older})
    if unknown:
        console.print(f"Under a key that is not in this file: {counted(unknown, 'data key')}. Bring the file that has it.", style="red")
    if keks.older or keks.unfinished:
        console.print("A rotation is not finished: `touchline keys rotate --resume` ends it.", style="yellow")


@asynccontextmanager
async def _keks(settings: Settings) -> AsyncIterator[Keks]:
    """Look at the keys of this machine, before anything else is asked. Raises `Misconfigured` where there are none."""
    from touchline.key_service import key_service, require_keys
    from touchline.keyring.keyfile import KeyFile
    from touchline.keyring.rewrapping import current_kek

    require_keys(settings, "to the one that the importer uses")
    if settings.key_service is not None:
        async with key_service(settings) as service:
            yield Keks(settings.key_service, await current_kek(service.wrapper), outside=True)
        return
    file = KeyFile.load_or_create(settings.key_file)
    yield Keks(str(settings.key_file), *file.kek_ids(), file.unfinished())


@asynccontextmanager
async def _data_keys(settings: Settings) -> "AsyncIterator[tuple[CassandraDataKeys, Notes]]":
    from streams.store.catalogue import keyring_tables
    from streams.store.data_keys import CassandraDataKeys
    from streams.wall_clock import now_us
    from touchline import tables
    from touchline.auditing import trail_of

    async with tables.connected(settings) as store:
        yield CassandraDataKeys(store.beside(settings.keyring_keyspace, keyring_tables()), now_us), trail_of(settings, store)
