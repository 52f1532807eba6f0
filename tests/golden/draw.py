"""Draw the diagrams of the documentation anew, from the tables of the code: `python tests/golden/draw.py`."""

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT)]

from projections import alert_state, escalation_ladder, unanswered_state  # noqa: E402 - the path comes first
from projections.sla.diagram import drawn, mermaid  # noqa: E402 - as above
from projections.sla.transitions import SIGNS, TRANSITIONS, by_state  # noqa: E402 - as above


def _drawings() -> Iterator[tuple[str, str]]:
    """Yield (name on the page, drawing). Metrics with one table share a drawing."""
    same: dict[str, list[str]] = {}
    for name, table in TRANSITIONS.items():
        same.setdefault(mermaid(by_state(table)), []).append(name)
    yield from ((", ".join(names), drawing) for drawing, names in same.items())
    yield "signs", "| sign | what happened |\n|---|---|\n" + "".join(f"| `{sign}` | {meaning} |\n" for sign, meaning in SIGNS.items())
    yield "unanswered", mermaid(unanswered_state.NEXT)
    yield "alert", mermaid(alert_state.NEXT)
    yield "escalation", mermaid(escalation_ladder.NEXT)


DRAWINGS = dict(_drawings())
"""Every drawing of the code, by the name under which the pages show it."""

PAGES = tuple(sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md") if "<!-- drawn from " in path.read_text(encoding="utf-8")))
"""The pages that show drawings."""

if __name__ == "__main__":
    for name in PAGES:
        path = ROOT / name
        path.write_text(drawn(path.read_text(encoding="utf-8"), DRAWINGS), encoding="utf-8")
        print(f"{name} drawn")  # noqa: T201 - a script
