"""Two charts as SVG, drawn here: columns over time, bars by name. Before is hollow, after is filled; colours are the page's.

A drawing is 400 units wide, so that its letters can be read on a phone. Every text is escaped.
"""

from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

__all__ = ["Pair", "bars", "columns"]

_WIDTH: Final = 400.0
_LEFT: Final = 44.0
_RIGHT: Final = 8.0
_TOP: Final = 28.0
_HEIGHT: Final = 190.0
_NAME_WIDTH: Final = 60.0
_NUMBER_WIDTH: Final = 100.0
_ROW: Final = 42.0
_TICKS: Final = 4
_NAMES_MAX: Final = 5
_NAME_LETTERS_MAX: Final = 48


class Pair(NamedTuple):
    """A name with what it comes to before and after; None where there is nothing to show."""

    name: str
    before: float | None
    after: float | None


def columns(title: str, across: str, up: str, pairs: Sequence[Pair], *, top: float) -> str:
    """Return columns side by side, from 0 to `top`. `across` and `up` are the titles of the axes, with their units."""
    plot = _WIDTH - _LEFT - _RIGHT
    step = plot / max(len(pairs), 1)
    width = min(step * 0.38, 26.0)
    drawn = [_title(title, f"{up} by {across}, before and after.")]
    for tick in range(_TICKS + 1):
        mark = top * tick / _TICKS
        y = _y(mark, top)
        drawn.append(f'<line class="grid" x1="{_LEFT:.1f}" x2="{_WIDTH - _RIGHT:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        drawn.append(f'<text class="tick" x="{_LEFT - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{mark:g}</text>')
    every = -(-len(pairs) // _NAMES_MAX)
    for number, pair in enumerate(pairs):
        middle = _LEFT + step * (number + 0.5)
        for side, value, x in (("before", pair.before, middle - width - 0.5), ("after", pair.after, middle + 0.5)):
            if value is not None:
                y = _y(value, top)
                said = f"<title>{escape(pair.name)}, {side}: {value:,.1f}</title>"
                drawn.append(f'<rect class="{side}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_TOP + _HEIGHT - y:.1f}">{said}</rect>')
        if number % every == 0:
            x = min(middle, _WIDTH - _NAME_WIDTH / 2)
            drawn.append(f'<text class="tick" x="{x:.1f}" y="{_TOP + _HEIGHT + 16:.1f}" text-anchor="middle">{escape(pair.name)}</text>')
    drawn.append(f'<text class="axis" x="4" y="12">{escape(up)}</text>')
    drawn.append(f'<text class="axis" x="{_WIDTH - _RIGHT:.1f}" y="{_TOP + _HEIGHT + 34:.1f}" text-anchor="end">{escape(across)}</text>')
    return _svg(drawn, _TOP + _HEIGHT + 42)


def bars(title: str, across: str, down: str, pairs: Sequence[Pair]) -> str:
    """Return two bars per name, each with its number; the longest takes the width. `across` is the title of the numbers, with their unit."""
    top = max([value for pair in pairs for value in (pair.before, pair.after) if value is not None], default=0) or 1.0
    plot = _WIDTH - _RIGHT - _NUMBER_WIDTH
    drawn = [_title(title, f"{across} by {down}, before and after.")]
    drawn.append(f'<text class="axis" x="4" y="12">{escape(down)}</text>')
    drawn.append(f'<text class="axis" x="{_WIDTH - _RIGHT:.1f}" y="12" text-anchor="end">{escape(across)}</text>')
    for number, pair in enumerate(pairs):
        y = 22 + number * _ROW
        name = pair.name if len(pair.name) <= _NAME_LETTERS_MAX else pair.name[: _NAME_LETTERS_MAX - 1] + "…"
        drawn.append(f'<text class="name" x="4" y="{y + 11:.1f}">{escape(name)}</text>')
        for side, value, at in (("before", pair.before, y + 15), ("after", pair.after, y + 27)):
            if value is not None:
                length = plot * value / top
                drawn.append(f'<rect class="{side}" x="4" y="{at:.1f}" width="{length:.1f}" height="8"/>')
                drawn.append(f'<text class="tick" x="{length + 9:.1f}" y="{at + 8:.1f}">{value:,.0f} {side}</text>')
    return _svg(drawn, 26 + len(pairs) * _ROW)


def _y(value: float, top: float) -> float:
    return _TOP + _HEIGHT * (1 - value / top)


def _title(title: str, what: str) -> str:
    return f"<title>{escape(title)}</title><desc>{escape(what)}</desc>"


def _svg(drawn: Sequence[str], height: float) -> str:
    return f'<svg role="img" viewBox="0 0 {_WIDTH:.0f} {height:.0f}" xmlns="http://www.w3.org/2000/svg">{"".join(drawn)}</svg>'
