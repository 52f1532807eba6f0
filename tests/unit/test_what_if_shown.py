"""How a comparison is shown: figures that add up, a page that stands alone, a table that fits, cells that no spreadsheet runs."""

import csv
import io
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from projections.sla.transitions import QUEUE_TOTAL
from streams.what_if import report as what_if_report
from streams.what_if.report import DIMENSIONS, SERVICE_LEVEL, Figures, Place, Report, Side, together
from touchline.commands import what_if
from touchline.what_if_chart import Pair, bars, columns
from touchline.what_if_page import BARS_MAX, COLUMNS_MAX, page
from touchline.what_if_table import LINES_MAX, cells, draw_report

BEFORE = {
    Place("billing", "blue", "queue_answer", "2026-W02"): Figures(met=60, breached=40, cancelled=5, running=1),
    Place("billing", "", "missed-call", "2026-W02"): Figures(answered=2, recovered=3, unanswered=4, settled=2, settled_late=1, waiting=1),
    Place("billing", "", SERVICE_LEVEL, "2026-W02"): Figures(queue_answered=80, queue_within=50, queue_abandoned=20),
    Place("parcels", "red", "queue_answer", "2026-W03"): Figures(met=10),
    Place("parcels", "red", QUEUE_TOTAL, "2026-W03"): Figures(met=7),
}
AFTER = {
    Place("billing", "blue", "queue_answer", "2026-W02"): Figures(met=80, breached=20, cancelled=5, running=1),
    Place("billing", "", "missed-call", "2026-W02"): Figures(answered=8, unanswered=1, settled=2, waiting=1),
    Place("billing", "", SERVICE_LEVEL, "2026-W02"): Figures(queue_answered=80, queue_within=75, queue_abandoned=20),
    Place("parcels", "red", "queue_answer", "2026-W03"): Figures(met=4, breached=6),
    Place("parcels", "red", QUEUE_TOTAL, "2026-W03"): Figures(met=7),
}


def report(before: dict[Place, Figures] = BEFORE, after: dict[Place, Figures] = AFTER, **fields: Any) -> Report:
    given = {"tenant": "acme", "before_rules": "the log's own rules", "after_rules": "p.toml", "zone": "UTC", "records": 1234, "as_of_us": 10**15}
    return Report(**{**given, **fields}, before=Side(before), after=Side(after, parked=2))


def root_of(html: str) -> ET.Element:
    return ET.fromstring(html.removeprefix("<!doctype html>"))  # noqa: S314 - our own page


def drawn(of: Report, by: Any = "queue", width: int = 250) -> str:
    out = io.StringIO()
    draw_report(Console(file=out, width=width, highlight=False), of, by)
    return out.getvalue()


def test_shares_are_of_what_was_decided_and_missed_is_whoever_got_no_answer_in_time() -> None:
    line = report().total
    assert (line.before.clocks, line.before.on_time) == (116, (70 / 110, 110))
    assert (line.before.asked, line.before.missed, line.after.missed) == (12, 8, 1)
    assert line.before.service_level == (0.5, 100)
    assert (line.more_breached, line.more_missed) == (-14, -7)
    assert Figures().on_time == (None, 0)


def test_the_worst_change_stands_first_and_weeks_in_their_order() -> None:
    said = {by: [line.name for line in report().lines(by)] for by in DIMENSIONS}
    assert said["queue"] == ["parcels", "billing"]
    assert said["week"] == ["2026-W02", "2026-W03"]
    assert said["team"] == ["red", "", "blue"]
    assert said["metric"][-1] == "queue_answer"
    assert QUEUE_TOTAL in said["metric"]
    assert SERVICE_LEVEL not in said["metric"]


def test_the_lines_of_every_dimension_add_up_to_the_totals() -> None:
    total = report().total
    for by in DIMENSIONS:
        lines = [line for line in report().lines(by) if line.name != QUEUE_TOTAL]
        assert sum(line.after.breached for line in lines) == total.after.breached
        assert sum(line.before.missed for line in lines) == total.before.missed


def test_what_shares_of_the_log_came_to_is_added_up() -> None:
    place = Place("q", "", "m", "2026-W01")
    found = together([Side({place: Figures(met=1, waiting=2)}, 1), Side({place: Figures(met=3)}), Side({}, 4)])
    assert found == Side({place: Figures(met=4, waiting=2)}, 5)


def test_json_has_both_sides_the_differences_and_every_cell() -> None:
    said = report(from_us=0, until_us=86_400 * 10**6).json()
    assert (said["from"], said["to"]) == ("1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z")
    assert said["total"]["difference"] == {
        "clocks": 0, "met": 14, "breached": -14, "cancelled": 0, "running": 0, "on_time": 0.127273, "missed": -7, "service_level": 0.25
    }  # fmt: skip
    assert len(said["cells"]) == 5
    assert said["by"]["week"][1]["difference"]["on_time"] == -0.6
    assert said["parked"] == {"before": 0, "after": 2}


def test_the_page_is_well_formed_has_the_numbers_and_fetches_nothing() -> None:
    html = page(report())
    root = root_of(html)
    assert {element.tag.split("}")[-1] for element in root.iter()} >= {"svg", "table", "title", "style"}
    assert not [element for element in root.iter() if element.tag.split("}")[-1] in {"script", "link", "img", "iframe", "object", "use", "image"}]
    assert not [name for element in root.iter() for name in element.attrib if name.endswith(("src", "href")) or name.startswith("on")]
    assert "default-src 'none'" in html
    assert "url(" not in html
    assert "@import" not in html
    assert "prefers-color-scheme: dark" in html
    assert "width=device-width" in html
    found = ["".join(cell.itertext()) for cell in root.iter("td")]
    for number in ("116", "-14", "63.6", "76.4", "+12.7"):
        assert number in found
    assert "not counted: before 0, after 2" in html


def test_axes_and_drawings_have_titles_and_units() -> None:
    said = ["".join(text.itertext()) for text in root_of(page(report())).iter("{http://www.w3.org/2000/svg}text")]
    assert {"on time, % of clocks met or breached", "ISO week (UTC)", "breached clocks, number", "queue"} <= set(said)
    for drawing in (columns("A", "x", "y", [Pair("a", 1, None)], top=100), bars("A", "x", "y", [Pair("a", None, 0)])):
        assert ET.fromstring(drawing)[0].tag.endswith("title")  # noqa: S314


def test_columns_are_as_high_as_their_share_and_bars_as_long_as_their_number() -> None:
    high = {side: float(rect.attrib["height"]) for rect in ET.fromstring(columns("t", "x", "y", [Pair("w", 50, 100)], top=100)).iter()  # noqa: S314
            if (side := rect.attrib.get("class")) in {"before", "after"}}  # fmt: skip
    assert high["after"] == pytest.approx(2 * high["before"])
    long = {side: float(rect.attrib["width"]) for rect in ET.fromstring(bars("t", "x", "y", [Pair("q", 40, 10)])).iter()  # noqa: S314
            if (side := rect.attrib.get("class")) in {"before", "after"}}  # fmt: skip
    assert long["before"] == pytest.approx(4 * long["after"])


def test_names_from_the_log_are_shown_as_they_are_and_never_run() -> None:
    place = Place('<script>alert("q")</script>', "=1+1", "m & n", "2026-W02")
    of = report({place: Figures(met=1)}, {place: Figures(breached=1)}, after_rules="<b>.toml")
    assert "<script" not in page(of)
    root_of(page(of))
    assert '<script>alert("q")</script>' in "".join(root_of(page(of)).itertext())
    rows = list(csv.reader(io.StringIO(cells(of))))
    assert rows[1][:4] == ['<script>alert("q")</script>', "'=1+1", "m & n", "2026-W02"]
    assert dict(zip(rows[0], rows[1], strict=True))["breached_after"] == "1"
    assert "[/b]" in drawn(report({place._replace(queue="[/b]"): Figures(met=1)}, {}))


def test_the_charts_have_a_limit_and_the_tables_have_all() -> None:
    many = {Place(f"q-{n:03d}", "", "m", f"20{n // 52 + 10}-W{n % 52 + 1:02d}"): Figures(met=n, breached=1) for n in range(150)}
    html = page(report(many, many))
    svg = list(root_of(html).iter("{http://www.w3.org/2000/svg}svg"))
    assert [sum(rect.attrib.get("class") == "after" for rect in one.iter()) for one in svg] == [COLUMNS_MAX, BARS_MAX]
    assert f"{150 - COLUMNS_MAX} earlier weeks" in html
    assert all(f"<td>q-{n:03d}</td>" in html for n in range(150))
    said = drawn(report(many, many))
    assert f"and {150 - LINES_MAX} more" in said
    assert "2012-W46" in drawn(report(many, many), "week"), "the last weeks, not the first"


@pytest.mark.parametrize("width", [250, 80])
def test_the_table_has_totals_first_then_the_worst_changes(width: int) -> None:
    said = drawn(report(), width=width)
    assert said.index("in all") < said.index("By queue") < said.index("parcels") < said.index("billing")
    assert "+12.7" in said
    assert max(map(len, said.splitlines())) <= width


def test_a_report_of_nothing_says_so_without_shares() -> None:
    of = report({}, {})
    assert "-" in drawn(of)
    assert "By queue" not in drawn(of)
    root_of(page(of))
    assert of.total.json()["before"]["on_time"] == {"value": None, "n": 0}


def test_every_cell_is_looked_at_once_however_many_queues_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of queues over a year are 60,000 cells: going over them once per queue took half a minute."""
    looked: list[Place] = []
    counts = what_if_report._counts

    def counted(place: Place, by: Any) -> bool:
        looked.append(place)
        return counts(place, by)

    monkeypatch.setattr(what_if_report, "_counts", counted)
    many = {Place(f"q-{n}", "", "m", "2026-W02"): Figures(met=1) for n in range(50)}
    assert len(report(many, many).lines("queue")) == 50
    assert len(looked) == 2 * len(many)


def test_two_outputs_are_two_files(tmp_path: Path) -> None:
    app = typer.Typer()
    what_if.register(app)
    rules = Path(__file__).parents[2] / "docs/examples/policies.toml"
    done = CliRunner().invoke(app, ["--policies", str(rules), "--html", str(tmp_path / "out"), "--csv", str(tmp_path / "out")])
    assert (done.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert "name another" in done.output
