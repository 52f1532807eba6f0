"""A report on one person as a page that stands alone: nothing is fetched, no script. For the person who asked what is held of them."""

from collections.abc import Sequence
from html import escape
from typing import Final

from schemas.sealing import Unreadable, Withheld
from streams.excerpts import counted
from streams.plain import summary_json
from touchline.keyring.shelf import year_of
from touchline.privacy_report import HeldEvent, Report
from touchline.shown import state_of
from touchline.times import when

__all__ = ["page"]

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2024; --dim: #5b6670; --line: #d9dee3; --ground: #ffffff; --card: #f5f7f9; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ebee; --dim: #a3adb7; --line: #3a424a; --ground: #14181c; --card: #1d2329; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; background: var(--ground); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; line-height: 1.25; } h2 { font-size: 1.1rem; margin-top: 2rem; }
p { margin: .3rem 0; } .dim { color: var(--dim); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .25rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
thead th { color: var(--dim); font-weight: 600; }
article { background: var(--card); border-radius: .4rem; padding: .5rem .8rem; margin: .5rem 0; overflow-wrap: anywhere; }
article h3 { font-size: .95rem; margin: 0; } article p { white-space: pre-wrap; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 .8rem; margin: .2rem 0; font-size: .85rem; }
dt { color: var(--dim); } dd { margin: 0; }
@media print { article { break-inside: avoid; background: none; border: 1px solid var(--line); } }
"""


def page(report: Report) -> str:
    """Return the page, as HTML that is XML too."""
    merged = [customer for customer in report.customers if customer != report.customer]
    handles = [
        (
            one.claim.name.kind,
            one.value or f"({one.state})",
            "yes" if one.verified else "no",
            _at(one.first_seen_us),
            one.claim.own,
            one.claim.evidence,
        )
        for one in report.handles
    ]
    keys = [
        (one.purpose, str(year_of(one.created_at_us)), one.state, one.key_id, one.kek_id, one.handle_hash.hex()[:16], _at(one.erased_at_us))
        for one in report.keys
    ]
    places = [
        (one.kind, one.name, one.what, "not counted" if one.records is None else f"{one.records:,}", "yes" if one.sealed else "no", one.kept)
        for one in report.places
    ]
    events = report.lived
    technical = len(report.events) - len(events)
    parts = [
        "<h1>What is held of one person</h1>",
        f'<p class="dim">Customer {escape(report.customer)}, tenant {escape(report.tenant)}, as of {_at(report.made_at_us)} UTC.</p>',
        f'<p class="dim">Merged into it: {escape(", ".join(merged))}.</p>' if merged else "",
        "<h2>Who: how the channels know this person</h2>",
        _table(("kind", "value", "verified", "since (UTC)", "names customer", "linked by event"), handles),
        "<h2>Where it lies, and for how long</h2>",
        _table(("", "name", "what", "records", "sealed parts", "kept"), places),
        "<h2>Under which keys</h2>",
        '<p class="dim">What is sealed can be read with these keys only. A destroyed key cannot be had back.</p>',
        _table(("purpose", "year", "state", "key", "wrapped by", "handle hash", "destroyed (UTC)"), keys),
        f"<h2>What happened: {counted(len(events), 'event')}, newest first</h2>",
        f'<p class="dim">{counted(technical, "technical record")} (links, copies, alerts) left out here: nothing personal lies in them.</p>'
        if technical
        else "",
        f'<p class="dim">Older ones than the newest {len(report.events):,} were left out.</p>' if report.is_cut else "",
        *map(_event, events),
    ]
    head = (
        '<meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>"
        f"<title>What is held of one person</title><style>{_STYLE}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(filter(None, parts)) + "\n</body></html>\n"


def _event(event: HeldEvent) -> str:
    row, personal = event.row, event.personal
    facts = [("conversation", row.conversation_id), ("contact", row.contact_id), ("case", row.case_id), ("by", row.actor_id or row.actor_kind)]
    facts += [("event", row.event_id), ("home", row.home_customer_id), *summary_json(row.summary).items()]
    said = ""
    if personal is not None:
        said = "".join(f"<p>{_clean(text)}</p>" for text in (personal.subject, personal.text) if text)
        facts += [(f"handle ({one.kind})", one.value) for one in personal.handles]
        facts += [*personal.attributes.items(), *personal.unknown.items()]
        facts += [(f"original {name}", value) for name, value in personal.original_ids.items()]
    elif event.opening is not None:
        why = f": {event.opening.reason}" if isinstance(event.opening, Unreadable | Withheld) else ""
        said = f'<p class="dim">({escape(state_of(event.opening) + why)})</p>'
    listed = "".join(f"<dt>{_clean(name)}</dt><dd>{_clean(value)}</dd>" for name, value in facts if value)
    title = f"{_at(row.occurred_at_us)} · {escape(row.channel)} · {escape(row.direction)} · {escape(row.type)}"
    return f"<article><h3>{title}</h3>{said}<dl>{listed}</dl></article>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "\n".join(f"<tr>{''.join(f'<td>{_clean(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _clean(value: str) -> str:
    """Return a text of others so that it is nothing but text, here and in XML: without control characters."""
    return escape("".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in value))


def _at(at_us: int | None) -> str:
    return "" if at_us is None else when(at_us)
