"""`touchline up`, `down` and `status`: the local stack of deploy/local, and what a person sees of it."""

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from touchline.errors import TouchlineError
from touchline.settings import STACK_FILE, Settings, load_settings

if TYPE_CHECKING:
    from rich.console import Console

    from deploy.local.downloads import Jar
    from deploy.local.report import Report
    from touchline.sections import Section

__all__ = ["SECTIONS", "register", "start_stack"]


def _later(name: str) -> Callable[[Settings], "Section | None"]:
    """Return a question of `touchline/sections.py`, whose libraries are imported only once it is asked."""

    def ask(settings: Settings) -> "Section | None":
        from touchline import sections

        question: Callable[[Settings], Section | None] = getattr(sections, name)
        return question(settings)

    return ask


SECTIONS: list[Callable[[Settings], "Section | None"]] = [_later(name) for name in ("versions", "lag", "parked", "quarantined", "erasures")]
"""What `status` shows below the servers, in this order. Each asks the servers for one thing; None means: nothing to show."""

HOME = STACK_FILE.parent
"""The local stack's folder, relative to the working folder."""


def register(app: typer.Typer) -> None:
    """Add the group's commands."""
    app.command()(up)
    app.command()(down)
    app.command()(status)


def up(
    *,
    registry: Annotated[bool, typer.Option("--registry", help="Start the schema registry too (159 MB, once).")] = False,
    bench: Annotated[bool, typer.Option("--bench", help="Start the JVMs with their normal compilers, as benchmarks need them.")] = False,
) -> None:
    """Start Kafka and Cassandra on this machine, or repair what is half dead. The first start downloads 110 MB.

    Data, logs and addresses lie in `.touchline/`; the servers go on after this command ends.

    Example: touchline up --registry
    """
    start_stack(_console(), registry=registry, bench=bench)


def start_stack(console: "Console", *, registry: bool = False, bench: bool = False) -> None:
    """Start or repair the local stack, with a bar while it downloads, and show where the servers are."""
    from deploy.local.java import Mode
    from deploy.local.stack import Stack

    began = time.monotonic()
    with console.status("Starting the local stack") as spinner:

        def fetch(title: str, jars: "Sequence[Jar]", cache: Path) -> Sequence[Path]:
            spinner.stop()
            try:
                return _fetch_with_bar(console, title, jars, cache)
            finally:
                spinner.start()

        stack = Stack(HOME, registry=registry, mode=Mode.NORMAL if bench else None, say=console.print, fetch=fetch)
        stack.start()
    _draw_servers(console, stack.reports())
    console.print(f"Ready in {time.monotonic() - began:.1f} s. Addresses: {STACK_FILE}. Stop with `touchline down`.")
    for name in sorted(stack.settings):
        if f"TOUCHLINE_{name.upper()}" in os.environ:
            console.print(f"TOUCHLINE_{name.upper()} is set and wins over this stack.", style="yellow")


def down(
    *,
    wipe: Annotated[bool, typer.Option("--wipe", help="Also remove the servers' data and logs under .touchline/, for good.")] = False,
) -> None:
    """Stop the local stack: SIGTERM in order, SIGKILL after 20 s. Data stay unless --wipe is given.

    Example: touchline down --wipe
    """
    from deploy.local.stack import Stack

    console = _console()
    if not HOME.is_dir():
        console.print("No local stack in this folder.")
        return
    with console.status("Stopping the local stack"):
        stopped = Stack(HOME, say=console.print).stop(wipe=wipe)
    ended = f"Stopped {', '.join(stopped)}." if stopped else "Nothing ran."
    console.print(f"{ended} {'Data, logs and addresses are removed.' if wipe else 'Data stay in .touchline/.'}")


def status(*, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show the servers and the product's state; exit 1 and say what to do if something is wrong.

    Example: touchline status --json
    """
    from deploy.local.stack import Stack

    reports = Stack(HOME).reports() if STACK_FILE.exists() else []
    troubles = [report.trouble for report in reports if report.trouble]
    elsewhere = "TOUCHLINE_BROKERS" in os.environ
    if not reports and not elsewhere:
        troubles = ["No local stack was started in this folder. Next: `touchline up`, or set TOUCHLINE_BROKERS and TOUCHLINE_CASSANDRA_HOSTS."]
    sections: list[Section] = []
    if not troubles or elsewhere:  # without servers every question below would run into its time-out
        sections, more = _sections(load_settings())
        troubles += more
    if as_json:
        typer.echo(
            json.dumps(
                {"ok": not troubles, "servers": [_plain(report) for report in reports], **{s.name: s.data for s in sections}, "troubles": troubles}
            )
        )
    else:
        _print(reports, sections, troubles)
    raise typer.Exit(1 if troubles else 0)


def _sections(settings: Settings) -> "tuple[list[Section], list[str]]":
    """Ask every section; one that fails becomes a trouble and does not hide the others."""
    sections, troubles = [], []
    for ask in SECTIONS:
        try:
            section = ask(settings)
        except TouchlineError as error:
            troubles.append(str(error))
            continue
        if section is not None:
            sections.append(section)
            troubles += section.troubles
    return sections, list(dict.fromkeys(troubles))  # two questions to one silent server have one answer


def _print(reports: "Sequence[Report]", sections: "Sequence[Section]", troubles: Sequence[str]) -> None:
    from touchline.terminal import draw_table

    console = _console()
    if reports:
        _draw_servers(console, reports)
    for section in sections:
        draw_table(console, section.columns, section.rows, title=section.title)
        console.print()
    for trouble in troubles:
        console.print(trouble, style="red", soft_wrap=True)


def _draw_servers(console: "Console", reports: "Sequence[Report]") -> None:
    from touchline.terminal import draw_table

    normal = any(report.life and report.mode == "normal" for report in reports)
    rows = []
    for report in reports:
        client, *others = report.ports.values()
        life = report.life
        told = (str(life.pid), _duration(time.time() - life.started_at), str(life.rss_bytes // 2**20)) if life else ("", "", "")
        rows.append((f"{report.title} {report.version}", _state(report), f"127.0.0.1:{client}", ", ".join(map(str, others)), *told))
    columns = ("server", "state", "address", "other ports", ">pid", ">up", ">MB")
    styles = ["red" if report.trouble else "" for report in reports]
    draw_table(console, columns, rows, title=f"Local stack{', JVMs with their normal compilers' if normal else ''}", styles=styles)
    console.print()


def _plain(report: "Report") -> dict[str, Any]:
    life = report.life
    return {
        "name": report.name,
        "version": report.version,
        "state": _state(report),
        "ports": dict(report.ports),
        "mode": report.mode,
        "pid": life.pid if life else None,
        "uptime_s": round(time.time() - life.started_at, 1) if life else None,
        "rss_bytes": life.rss_bytes if life else None,
        "log": str(report.log),
    }


def _state(report: "Report") -> str:
    if report.life is None:
        return "dead" if report.died else "stopped"
    return "silent" if report.trouble else "running"


def _duration(seconds: float) -> str:
    """Return a length of time as its two largest parts: `2d 3h`, `3h 12m`, `4m 10s`."""
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    d, h = divmod(hours, 24)
    return f"{d}d {h}h" if d else f"{h}h {m}m" if h else f"{m}m {s}s" if m else f"{s}s"


def _fetch_with_bar(console: "Console", title: str, jars: "Sequence[Jar]", cache: Path) -> Sequence[Path]:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from deploy.local import downloads

    wanted = downloads.missing(jars, cache)
    if not wanted:
        return [jar.path(cache) for jar in jars]
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"Downloading {title}", total=sum(jar.size_bytes for jar in wanted))
        return downloads.fetch(jars, cache, lambda count: progress.advance(task, count))


def _console() -> "Console":
    from touchline.terminal import console

    return console()
