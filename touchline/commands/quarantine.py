"""`touchline quarantine`: what could not be accepted, and why; mended and sent again as a new event."""

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from touchline.errors import Misconfigured, Refused
from touchline.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from connectors.contract import Draft
    from connectors.tally import Result
    from schemas.events import Quarantined
    from streams.log.reader import LogReader
    from touchline.quarantined import Found, Reports
    from touchline.settings import Settings

__all__ = ["register"]

T = TypeVar("T")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Report = Annotated[str, typer.Argument(metavar="ID", help="The id of the report, whole: touchline quarantine list.")]

_LIMIT_MAX: Final = 10_000
_NONE: Final = "Nothing is in quarantine."


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Inputs that could not be accepted.\n\nExample:  touchline quarantine list --since 2026-01-12")
    group.command("list", epilog="Example:  touchline quarantine list --since 2026-01-12 --reason future_dated")(list_)
    group.command("show", epilog="Example:  touchline quarantine show ID --template > mended.json")(show)
    group.command("retry", epilog="Example:  touchline quarantine retry ID --event mended.json")(retry)
    app.add_typer(group, name="quarantine")


def list_(
    *,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only what was quarantined from then on; a day or a time with its offset.")
    ] = None,
    reason: Annotated[list[str] | None, typer.Option("--reason", metavar="CODE", help="Only this reason; repeatable.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=_LIMIT_MAX, help="How many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what could not be accepted, newest first. Times are UTC."""
    from streams.plain import instant_us, utc

    try:
        since_us = None if since is None else instant_us(since)
    except ValueError:
        raise typer.BadParameter("write a day (2026-01-12) or a time with its offset (2026-01-12T09:00:00Z).", param_hint="--since") from None
    reasons = frozenset(reason or ())
    found = _reports(load_settings(), lambda reports: reports.newest(limit, since_us=since_us, wanted=lambda r: not reasons or r.reason in reasons))
    if as_json:
        typer.echo(json.dumps([_form(one) for one in found], ensure_ascii=False))
    elif not found:
        typer.echo(_NONE)
    else:
        from touchline.terminal import console, draw_table

        rows = [(utc(one.report.at_us)[:19], one.report.reason, one.report.id, one.report.source, _place(one.report)) for one in found]
        draw_table(console(), ("at (UTC)", "reason", "id", "source", "where"), rows)
        if len(found) == limit:
            typer.echo(f"There may be more: these are the newest {limit}. Older ones: --limit, or --since with --reason.")


def show(
    id_: Report,
    *,
    template: Annotated[bool, typer.Option("--template", help="Print an event in the public form with what is known, to fill in and retry.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show why an input was not accepted and where it lies; of a record on a topic also what of it can be read.

    Raw inputs are not kept: the content of what an importer refused is only in the file it came from.
    """
    from schemas.codec import Codec
    from streams.readable import readable
    from touchline import quarantined

    settings, codec = load_settings(), Codec()
    found = _reports(settings, lambda reports: reports.find(id_))
    report = found.report
    record = None
    if report.topic is not None:
        with _reading(settings, report.topic) as reader:
            record = quarantined.original(report, reader)
    if template:
        typer.echo(json.dumps(quarantined.template(report, record, codec), ensure_ascii=False, indent=2))
        return
    form = _form(found)
    if report.topic is not None:
        form["record"] = None if record is None else readable(codec, record, partition=report.partition or 0, topic=report.topic)
    typer.echo(json.dumps(form, ensure_ascii=False, indent=None if as_json else 2))
    if not as_json:
        if report.topic is not None and record is None:
            typer.echo(f"The record itself is gone from {report.topic}: it is kept there for 30 days.")
        typer.echo(f"To mend it: touchline quarantine show {report.id} --template > mended.json, fill it in, then touchline quarantine retry")


def retry(
    id_: Report,
    *,
    event: Annotated[str, typer.Option("--event", metavar="FILE", help="One event in the public form; - reads standard input.")],
    as_json: AsJson = False,
) -> None:
    """Send a mended input as a new event that corrects the quarantined one. It is checked, sealed and appended as by `ingest`.

    What is still wrong with it is said, and nothing is sent. Sent twice, the same event is known and changes nothing.
    """
    from connectors.contract import Draft
    from streams.wall_clock import now_us
    from touchline import quarantined
    from touchline.key_service import checked_keys

    settings = load_settings()
    checked_keys(settings)
    report = _reports(settings, lambda reports: reports.find(id_)).report
    tenant = report.tenant or settings.tenant
    limits = {"future_max_s": settings.future_max_s, "vulnerability_days_max": settings.vulnerability_days_max}
    found = quarantined.mended(_text(event), report, tenant=tenant, now_us=now_us(), **limits)
    if not isinstance(found, Draft):
        raise Refused(f"The event is still {found.outcome} ({found.reason}): {found.detail}", reason=found.reason, next_step=f"mend {event}.")
    result = asyncio.run(_send(settings, found))
    if result.rejected:
        [why] = result.rejected
        raise Refused(f"The event is still {why.outcome} ({why.reason}): {why.detail}", reason=why.reason, next_step=f"mend {event}.")
    outcome = "accepted" if result.counts.accepted else "duplicate"
    if as_json:
        typer.echo(json.dumps({"outcome": outcome, "id": found.id, "source": found.source, "type": found.type, "corrects": found.corrects}))
    elif outcome == "accepted":
        typer.echo(f"Accepted: {found.type} {found.id} of {found.source}, correcting {found.corrects}.")
    else:
        typer.echo(f"Known already: {found.type} {found.id} of {found.source} was sent before, with the same content.")


async def _send(settings: "Settings", draft: "Draft") -> "Result":
    """Append one event as an importer does, and return what became of it."""
    from touchline.importing import importing
    from touchline.key_service import key_service
    from touchline.quarantined import SOURCE, offered

    async with key_service(settings) as keys, importing(settings, keys, source=SOURCE, file=draft.corrects or "") as parts:
        return await parts.importer.run(offered(draft))


def _reports(settings: "Settings", question: "Callable[[Reports], T]") -> "T":
    """Ask the reports something, over a connection of its own."""
    from schemas.codec import Codec
    from streams.cluster import Cluster
    from touchline.quarantined import Reports

    topic = settings.topic("quarantine")
    partitions = Cluster(settings.brokers).partitions(topic)
    with _reading(settings, topic) as reader:
        return question(Reports(reader, Codec(), partitions))


def _reading(settings: "Settings", topic: str) -> "LogReader":
    from streams.log.reader import LogReader

    return LogReader(settings.brokers, topic)


def _text(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise Misconfigured(f"{name} cannot be opened ({error.strerror}).", next_step="check the path and its rights.") from None


def _form(found: "Found") -> dict[str, Any]:
    from streams.plain import record_json

    said = {name: value for name, value in record_json(found.report).items() if value is not None}
    return said | {"reported_in": {"partition": found.partition, "offset": found.offset}}


def _place(report: "Quarantined") -> str:
    if report.topic is not None:
        return f"{report.topic} {report.partition}/{report.offset}"
    return f"line {report.line}" if report.line is not None else ""
