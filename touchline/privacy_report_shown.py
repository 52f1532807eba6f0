"""A report on one person in the terminal: who, keys and places whole, of the events the newest. Draws values; asks nobody."""

from typing import Final

from rich.console import Console

from schemas.sealing import Opened
from streams.excerpts import counted, excerpt
from streams.plain import utc
from touchline.keyring.shelf import year_of
from touchline.privacy_report import Report
from touchline.terminal import draw_table

__all__ = ["EVENTS_SHOWN", "draw"]

EVENTS_SHOWN: Final = 50


def draw(on: Console, report: Report) -> None:
    """Draw it."""
    on.print(f"What is held of customer {report.customer}, tenant {report.tenant}, as of {utc(report.made_at_us)}", style="bold", markup=False)
    merged = [customer for customer in report.customers if customer != report.customer]
    if merged:
        on.print(f"Merged into it: {', '.join(merged)}", markup=False)
    on.print()
    handles = [
        (one.claim.name.kind, one.value or f"({one.state})", "yes" if one.verified else "", one.claim.own, one.claim.evidence)
        for one in report.handles
    ]
    draw_table(on, ("kind", "handle", "verified", "names customer", "linked by"), handles, title="Who")
    on.print()
    keys = [(one.purpose, str(year_of(one.created_at_us)), one.state, one.key_id, one.handle_hash.hex()[:16]) for one in report.keys]
    draw_table(on, ("purpose", "year", "state", "key", "handle hash"), keys, title="Keys")
    on.print()
    places = [
        (one.kind, one.name, "not counted" if one.records is None else f"{one.records:,}", "yes" if one.sealed else "", one.kept, one.what)
        for one in report.places
    ]
    draw_table(on, ("", "where", ">records", "sealed parts", "kept", "what"), places, title="Where")
    on.print()
    lived = report.lived
    events = [
        (utc(one.row.occurred_at_us)[:19].replace("T", " "), one.row.channel, one.row.type, excerpt(one.row, one.opening))
        for one in lived[:EVENTS_SHOWN]
    ]
    of_all = f", the newest {len(events):,} of {len(lived):,}" if len(lived) > len(events) else ""
    draw_table(on, ("time (UTC)", "channel", "what", "content"), events, title=f"Events{of_all}")
    opened = sum(isinstance(one.opening, Opened) for one in report.events)
    technical = len(report.events) - len(lived)
    left_out = f" {counted(technical, 'technical record')} (links, copies, alerts) left out: --json has all." if technical else ""
    on.print(f"{opened:,} of {counted(len(lived), 'event')} opened; --json and --html have them whole.{left_out}", style="dim", markup=False)
