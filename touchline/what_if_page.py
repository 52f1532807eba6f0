"""A comparison of rules as one page that stands alone: charts, then every figure. No script, nothing is fetched, no customer is named."""

from collections.abc import Sequence
from html import escape
from typing import Final

from streams.what_if.report import DIMENSIONS, Line, Report
from touchline.what_if_chart import Pair, bars, columns
from touchline.what_if_table import FACTS, caption, lines_of, shown_name

__all__ = ["BARS_MAX", "COLUMNS_MAX", "page"]

COLUMNS_MAX: Final = 53
"""Weeks in the chart, the last ones; the table has all."""

BARS_MAX: Final = 12
"""Queues in the chart, those with the worst change."""

_HEADS: Final = ("clocks", "breached", "on time, %", "missed contacts", "SL-3, %")
_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2024; --dim: #5b6670; --line: #d9dee3; --ground: #ffffff; --fill: #0a62c4; --bare: #8a949e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8ebee; --dim: #a3adb7; --line: #3a424a; --ground: #14181c; --fill: #6cb0ff; --bare: #8d98a3; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 56rem; padding: 1rem; background: var(--ground); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; line-height: 1.25; } h2 { font-size: 1.1rem; margin-top: 2rem; }
p { color: var(--dim); margin: .3rem 0; }
svg { display: block; width: 100%; max-width: 44rem; height: auto; font-family: inherit; }
svg text { fill: var(--ink); font-size: 12px; } svg .tick { fill: var(--dim); font-size: 11px; } svg .axis { font-weight: 600; }
.grid { stroke: var(--line); stroke-width: 1; }
rect.before { fill: none; stroke: var(--bare); stroke-width: 1.5; } rect.after { fill: var(--fill); stroke: var(--fill); stroke-width: 1.5; }
.key { display: inline-block; width: .8em; height: .8em; border: 2px solid var(--bare); }
.key.after { background: var(--fill); border-color: var(--fill); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } thead th { color: var(--dim); font-weight: 600; }
"""


def page(report: Report) -> str:
    """Return the page, as HTML that is XML too."""
    weeks, queues = report.lines("week"), report.lines("queue")
    shares = [Pair(line.name, _percent(line.before.on_time.value), _percent(line.after.on_time.value)) for line in weeks[-COLUMNS_MAX:]]
    breaches = [Pair(shown_name(line.name), line.before.breached, line.after.breached) for line in queues[:BARS_MAX]]
    parts = [
        "<h1>What if: other rules over the same history</h1>",
        *(f"<p>{escape(line)}</p>" for line in caption(report)),
        '<p><span class="key"></span> before <span class="key after"></span> after</p>',
    ]
    if report.before.parked or report.after.parked:
        parts.append(
            f"<p>Customers whose records could not be folded are not counted: before {report.before.parked}, after {report.after.parked}.</p>"
        )
    if shares:
        parts += [
            "<h2>Promises kept, by week</h2>",
            columns("Promises kept, by week", f"ISO week ({report.zone})", "on time, % of clocks met or breached", shares, top=100),
            _left_out(len(weeks) - len(shares), "earlier weeks"),
        ]
    if breaches:
        parts += [
            "<h2>Breaches, by queue</h2>",
            bars("Breaches, by queue", "breached clocks, number", "queue", breaches),
            _left_out(len(queues) - len(breaches), "more queues"),
        ]
    parts += ["<h2>In all</h2>", _table(("", "before", "after", "difference"), [(fact.name, *fact.cells(report.total)) for fact in FACTS])]
    for by in DIMENSIONS:
        lines = report.lines(by)
        if lines:
            parts += [f"<h2>By {by}</h2>", _lines(by, lines)]
    head = (
        '<meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>"
        f"<title>What if: {escape(report.after_rules)}</title><style>{_STYLE}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(filter(None, parts)) + "\n</body></html>\n"


def _lines(by: str, lines: list[Line]) -> str:
    groups = "".join(f'<th colspan="3">{escape(head)}</th>' for head in _HEADS)
    each = "".join("<th>before</th><th>after</th><th>±</th>" for _ in _HEADS)
    head = f'<tr><th rowspan="2">{escape(by)}</th>{groups}</tr><tr>{each}</tr>'
    return f'<div class="wide"><table><thead>{head}</thead><tbody>{_rows(lines_of(lines))}</tbody></table></div>'


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{_rows(rows)}</tbody></table></div>'


def _rows(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)


def _left_out(n: int, what: str) -> str:
    return f"<p>{n:,} {escape(what)} stand in the table below.</p>" if n > 0 else ""


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
