"""`touchline what-if`: the history of the log under other policies, compared with what the log's own made of it."""

import json
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

import typer

from touchline.settings import load_settings

__all__ = ["register"]

_BY: Final = ("queue", "team", "metric", "week")
_WORKERS_MAX: Final = 64


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("what-if", epilog="Example:  touchline what-if --policies policies-2027.toml --from 2026-01-01 --html what-if.html")(what_if)


def what_if(
    *,
    policies: Annotated[
        Path, typer.Option(metavar="FILE", exists=True, dir_okay=False, readable=True, help="The other rules, in force from the beginning of time.")
    ],
    against: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, readable=True, help="Compare with these; default: the log's own rules."),
    ] = None,
    since: Annotated[str | None, typer.Option("--from", metavar="TIME", help="Count what started then or later; default: everything.")] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Count what started before; default: up to the end.")] = None,
    by: Annotated[str, typer.Option("--by", help=f"What the table is by: {', '.join(_BY)}.")] = "queue",
    workers: Annotated[int, typer.Option("--workers", min=0, max=_WORKERS_MAX, help="Processes that fold; 0: one per processor.")] = 0,
    tenant: Annotated[str | None, typer.Option(help="Whose history; default: the setting.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, with every cell.")] = False,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with charts, too; it needs no network.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write every cell for a spreadsheet, too.")] = None,
) -> None:
    """Fold the log under other policies and show what would have been breached, met, missed: per queue, team, metric and week.

    Reads the log to its end and nothing else. No table is written, nobody is told of anything; Ctrl-C leaves nothing behind.
    """
    from touchline.emitting import Output
    from touchline.terminal import console
    from touchline.what_if import Asked, compare
    from touchline.what_if_page import page
    from touchline.what_if_table import cells, draw_report

    if by not in _BY:
        raise typer.BadParameter(f"choose from {', '.join(_BY)}.", param_hint="--by")
    from_us, until_us = _time("--from", since), _time("--to", to)
    if from_us is not None and until_us is not None and from_us >= until_us:
        raise typer.BadParameter("it is not before --to: nothing would count.", param_hint="--from")
    if html is not None and html == csv:
        raise typer.BadParameter("it is the file of --html, too: name another.", param_hint="--csv")
    settings = load_settings()
    asked = Asked(
        policies=policies,
        against=against,
        from_us=from_us,
        until_us=until_us,
        tenant=tenant or settings.tenant,
        workers=workers or len(os.sched_getaffinity(0)),
    )
    began_s = time.monotonic()
    with ExitStack() as outputs:
        files = [(path, outputs.enter_context(Output(path))) for path in (html, csv) if path is not None]  # before the work, not after it
        report = compare(settings, asked)
        for path, out in files:
            out.write(page(report).encode() if path is html else cells(report).encode())
    for path, _ in files:
        typer.echo(f"Wrote {path}.", err=True)
    if as_json:
        typer.echo(json.dumps(report.json(), ensure_ascii=False))
    else:
        draw_report(console(), report, by)  # type: ignore[arg-type]  # checked above
    spent_s = time.monotonic() - began_s
    typer.echo(f"{report.records:,} records in {spent_s:.1f} s, {report.records / max(spent_s, 0.001):,.0f}/s.", err=True)
    if report.before.parked or report.after.parked:
        typer.echo(
            f"Customers parked: {report.before.parked:,} before, {report.after.parked:,} after. Their records cannot be folded and are not counted.",
            err=True,
        )


def _time(option: str, said: str | None) -> int | None:
    from streams.plain import instant_us

    try:
        return None if said is None else instant_us(said)
    except ValueError:
        raise typer.BadParameter("write a time with its offset, such as 2026-01-12T09:00:00Z, or a day.", param_hint=option) from None
