"""`touchline audit`: who did what with personal data, and whether the record of it is whole."""

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from touchline.settings import load_settings
from touchline.times import when

if TYPE_CHECKING:
    from rich.console import Console

    from schemas.events import AuditEntry
    from streams.audit.chain import Broken
    from streams.audit.verifying import Report
    from streams.log.newest import Found
    from streams.log.reader import LogReader
    from touchline.settings import Settings

__all__ = ["register"]

_LIMIT_MAX: Final = 100_000
_HELP: Final = "Who opened, erased, joined, exported what; and whether the record of it is whole.\n\nExample:  touchline audit verify"

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help=_HELP)
    group.command("list", epilog="Example:  touchline audit list --action opened --since 2026-01-12")(list_)
    group.command("verify", epilog="Example:  touchline audit verify --partition 3")(verify)
    group.command("adopt", epilog="Example:  touchline audit adopt --partition 3")(adopt)
    app.add_typer(group, name="audit")


def list_(
    *,
    actor: Annotated[str | None, typer.Option(metavar="ID", help="Only what this operator, or part of the product, did.")] = None,
    customer: Annotated[str | None, typer.Option(metavar="ID", help="Only what is about this customer.")] = None,
    action: Annotated[list[str] | None, typer.Option("--action", help="Only this: opened, erased, merged, ...; repeatable.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only from then on; a day or a time with its offset.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's data; default: every one's.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=_LIMIT_MAX, help="How many, newest first.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON per entry.")] = False,
) -> None:
    """List who did what with personal data, newest first. Times are UTC. Customers are named by their ids."""
    from schemas.codec import Codec
    from streams.audit.listing import Wanted, newest_entries
    from streams.audit.notes import ACTIONS

    for name in action or ():
        if name not in ACTIONS:
            raise typer.BadParameter(f"there is no {name!r}; choose from {', '.join(ACTIONS)}.", param_hint="--action")
    since_us = _time(since)
    settings = load_settings()
    wanted = Wanted(actor=actor, customer=customer, tenant=tenant, actions=frozenset(action or ()))
    partitions = _partitions(settings)
    with _reading(settings) as reader:
        found = newest_entries(reader, Codec(), partitions, wanted, limit, since_us=since_us)
    if as_json:
        for one in found:
            typer.echo(json.dumps(_form(one), ensure_ascii=False))
    elif not found:
        typer.echo("There is no such entry.")
    else:
        from touchline.terminal import console, draw_table

        columns = ("at (UTC)", "actor", "action", ">count", "customer", "purpose", "reason", "more", "tenant")
        draw_table(console(), columns, [_line(one.what) for one in found])
        if len(found) == limit:
            typer.echo(f"There may be more: these are the newest {limit}. Older ones: --limit.")


def verify(
    *,
    partition: Annotated[int | None, typer.Option(min=0, help="Only this partition of the audit topic.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check that no entry was altered, removed, inserted, moved or cut off, in the topic and against the store. Changes nothing.

    Exit code 1 where a chain does not hold; the first broken place of each is named. An entry is vouched for from the first one on that
    the topic's retention has left.
    """
    from schemas.codec import Codec
    from streams.audit.heads import Heads
    from streams.audit.verifying import verify as verify_chains
    from touchline import tables
    from touchline.progress_bar import ProgressBar
    from touchline.terminal import console

    settings = load_settings()
    chosen = _chosen(settings, partition)

    async def check() -> "Report":
        async with tables.connected(settings) as store:
            with _reading(settings) as reader, ProgressBar(shown=not as_json) as bar:
                return await verify_chains(Heads(store), reader, chosen, Codec(), begin=lambda n: bar.step("entries", n), tell=bar.tell)

    report = asyncio.run(check())
    if as_json:
        typer.echo(json.dumps(report.json(), ensure_ascii=False))
    else:
        draw(console(), report)
    if not report.whole:
        raise typer.Exit(1)


def adopt(
    *,
    partition: Annotated[int, typer.Option(min=0, help="The partition of the audit topic.")],
    as_json: AsJson = False,
) -> None:
    """After a restore of Cassandra: let the record go on where the topic ends, by an entry that says so and by whom.

    For a partition of which `touchline audit verify` says `no_head` or `beyond_head`. Refused where the topic itself does not hold.
    """
    from schemas.codec import Codec
    from streams.audit.adopting import adopt as adopt_chain
    from streams.audit.heads import Heads
    from touchline import auditing, tables

    settings = load_settings()
    [chosen] = _chosen(settings, partition)

    async def run() -> tuple[int | None, int]:
        async with tables.connected(settings) as store:
            with _reading(settings) as reader:
                return await adopt_chain(auditing.trail_of(settings, store), Heads(store), reader, chosen, Codec(), tenant=settings.tenant)

    before, last = asyncio.run(run())
    if as_json:
        typer.echo(json.dumps({"partition": chosen, "head_before": before, "last": last}))
    else:
        said = "no head" if before is None else f"the head {before}"
        typer.echo(f"Partition {chosen}: the store had {said}; the chain goes on after entry {last}, with an entry chain_adopted.")


def draw(console: "Console", report: "Report") -> None:
    """Draw what the chains came to: a line per partition that has one, then what is broken, then the sum."""
    from streams.excerpts import counted
    from touchline.terminal import draw_table

    rows, styles = [], []
    for it in report.verdicts:
        if it.first_seq is None and it.broken is None and not it.pending:
            continue
        numbers = "" if it.first_seq is None else f"{it.first_seq:,}–{it.last_seq:,}"
        state = "broken" if it.broken else "whole, the newest one still to be appended" if it.pending else "whole"
        rows.append((str(it.partition), f"{it.entries:,}", numbers, "" if it.since_us is None else when(it.since_us), state))
        styles.append("red" if it.broken else "")
    if not rows:
        console.print("Nothing was ever noted, or all of it is older than the topic's retention.")
        return
    draw_table(console, (">partition", ">entries", ">numbers", "since (UTC)", "chain"), rows, styles=styles)
    console.print()
    for it in report.verdicts:
        if it.broken is not None:
            console.print(_broken(it.broken), style="red", markup=False)
        if it.first_seq:
            console.print(
                f"Partition {it.partition} has lost its beginning to the topic's retention: it is vouched for from entry {it.first_seq:,} on."
            )
    since = "" if report.since_us is None else f", since {when(report.since_us)} UTC"
    checked = "every chain is whole" if report.whole else "NOT every chain is whole"
    of = f"{counted(report.entries, 'entry', 'entries')} of {counted(report.actors, 'actor')}"
    console.print(f"{of}{since}: {checked}.", style="bold" if report.whole else "bold red")


def _broken(broken: "Broken") -> str:
    from streams.audit.chain import FAULTS

    where = f"Partition {broken.partition}"
    if broken.offset is not None:
        where += f", offset {broken.offset}"
    where += f", seq {broken.seq}" + (f", entry {broken.entry_id}" if broken.entry_id else "")
    return f"{where}: {FAULTS[broken.fault]}{f' ({broken.detail})' if broken.detail else ''}."


def _line(entry: "AuditEntry") -> tuple[str, ...]:
    more = ", ".join(f"{name} {value}" for name, value in sorted(entry.details.items()))
    who = f"{entry.actor} ({', '.join(entry.roles)})" if entry.roles else entry.actor
    count = f"{entry.count:,}" if entry.count else ""
    return (when(entry.at_us), who, entry.action, count, entry.customer or "", entry.purpose or "", entry.reason, more, entry.tenant)


def _form(one: "Found[AuditEntry]") -> dict[str, Any]:
    from streams.plain import record_json

    return {"kind": "audit", **record_json(one.what), "offset": one.offset}


def _time(text: str | None) -> int | None:
    from streams.plain import instant_us

    try:
        return None if text is None else instant_us(text)
    except ValueError:
        raise typer.BadParameter("write a day (2026-01-12) or a time with its offset (2026-01-12T09:00:00Z).", param_hint="--since") from None


def _reading(settings: "Settings") -> "LogReader":
    from streams.log.reader import LogReader

    return LogReader(settings.brokers, settings.topic("audit"))


def _partitions(settings: "Settings") -> int:
    from touchline.auditing import partitions_of

    return partitions_of(settings)


def _chosen(settings: "Settings", partition: int | None) -> list[int]:
    """Return the partitions that are meant. Ends with exit 2 for one that is not there."""
    known = _partitions(settings)
    if partition is not None and partition >= known:
        raise typer.BadParameter(f"the audit topic has the partitions 0 to {known - 1}.", param_hint="--partition")
    return list(range(known)) if partition is None else [partition]
