"""The benchmarks' arithmetic, reports and material. Nothing here is timed."""

import io
import json
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console
from typer import Typer
from typer.testing import CliRunner

from benchmarks.figures import Figure, Grid, Section, Usage, comparison, percentile, ratio, shares, sparkline
from benchmarks.material import ACTIVE_CUSTOMERS, again, centre_day, job_log
from benchmarks.peers.plain import TIMELINE, Fold, decoder
from benchmarks.show import WIDTH, as_json, show
from projections.kernel import Config, Moment, Subject, Upsert
from projections.timeline import Timeline
from schemas.codec import Codec, Undecodable
from touchline.commands.bench import register

USED = Usage(events=1000, wall_s=0.5, client_cpu_s=0.06, store_cpu_s=0.05, broker_cpu_s=None, rows=1300, requests=140)


def test_a_usage_is_told_per_event() -> None:
    """µs of CPU, rows, requests; what is not known stays unknown."""
    assert (USED.events_per_s, USED.client_us, USED.store_us, USED.broker_us) == (2000, pytest.approx(60), pytest.approx(50), None)
    assert (USED.rows_per_event, USED.requests_per_event) == (1.3, 0.14)


def test_the_median_of_the_runs_is_held_against_the_target() -> None:
    """One run that was disturbed does not decide."""
    assert Figure("cpu", "µs", (50, 400, 55), at_most=60).met is True
    assert Figure("rate", "1/s", (9_000, 12_000, 9_500), at_least=10_000).met is False
    assert Figure("cpu", "µs", (50,)).met is None


def test_a_percentile_is_a_value_that_was_measured() -> None:
    """Nearest rank; of nothing there is none."""
    assert [percentile(range(1, 101), p) for p in (0, 50, 99, 100)] == [1, 50, 99, 100]
    assert percentile([7.0], 99) == 7.0
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)


def test_shares_add_up_and_ratios_are_of_medians() -> None:
    """Also where there is nothing to divide by."""
    assert shares({"a": 1.0, "b": 3.0}) == {"a": 25.0, "b": 75.0}
    assert shares({"a": 0.0}) == {"a": 0.0}
    assert ratio([10, 30, 20], [5, 4, 6]) == 4
    assert ratio([1], [0]) == 0


def test_what_is_flat_looks_flat_in_a_sparkline() -> None:
    """The bars start at the floor, not at the least value."""
    assert sparkline([100, 101, 100, 101]) == "████"
    assert sparkline([0, 50, 100]) == "▁▅█"
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "▁▁"


def test_a_comparison_says_how_many_times_ours_the_others_use() -> None:
    """Ratios stand with the others only; a server whose CPU is not known has a dash."""
    other = Usage(events=1000, wall_s=2, client_cpu_s=0.3, store_cpu_s=0.2, rows=2000, requests=2000)
    grid = comparison({"ours": [USED, USED], "theirs": [other]}, "ours")
    ours, theirs = (dict(zip(grid.columns, row, strict=True)) for row in grid.rows)
    assert (ours["× client"], theirs["× client"], theirs["× store"]) == ("", "5.0", "4.0")
    assert (theirs["events/s"], theirs["client µs"], theirs["broker µs"], theirs["requests"]) == ("500", "300.0", "-", "2.00")


def test_a_report_names_what_missed_its_target() -> None:
    """In JSON by name, in the table by a word."""
    figures = (Figure("slow", "µs", (90,), at_most=60), Figure("fine", "µs", (30, 31), at_most=60), Figure("plain", "", (1,)))
    section = Section("job", "The job", figures, (Grid(("part", "n"), (("all", "1"),)),), ("A note.",))
    found = json.loads(json.dumps(as_json([section], {"cpus": 2})))
    assert (found["missed"], found["cpus"]) == (["job: slow"], 2)
    assert found["sections"][0]["figures"][1] == {"name": "fine", "unit": "µs", "median": 30.5, "runs": [30, 31], "at_most": 60, "met": True}
    assert found["sections"][0]["grids"] == [[{"part": "all", "n": "1"}]]
    console = Console(width=WIDTH, file=io.StringIO(), record=True)
    show(section, console)
    said = console.export_text()
    assert "missed" in said
    assert "30.00 to 31.00 (2)" in said
    assert "A note." in said


def test_the_benchmark_job_has_a_thousand_customers_at_a_time_with_five_to_twenty_events_each() -> None:
    """As engine.md §10 says; and the same log every time."""
    log = list(job_log(30_000))
    assert log == list(job_log(30_000))
    counts = Counter(key for key, _ in log)
    assert max(counts.values()) <= 20
    last = {key: at for at, (key, _) in enumerate(log)}
    done = [n for key, n in counts.items() if last[key] < len(log) - 20_000]
    assert min(done) >= 5
    assert len(counts) - len(done) >= ACTIVE_CUSTOMERS


def test_the_plain_loop_writes_the_same_timeline_rows() -> None:
    """Else the comparison would be between two different things."""
    codec, fold, decode, timeline = Codec(), Fold(), decoder(), Timeline()
    states = {}
    for offset, (key, raw) in enumerate(job_log(3000)):
        event = codec.decode(raw)
        assert not isinstance(event, Undecodable)
        subject = Subject("acme", key.decode())
        at = Moment(event.header.occurred_at_us, event.header.occurred_at_us, 1, offset, Config())
        step = timeline.apply(states.setdefault(subject, timeline.initial(subject)), event, at)
        row = next(change for change in step.rows if isinstance(change, Upsert) and change.table == "timeline")
        values, _, first = fold(decode(raw), 1, offset)
        names = ("tenant", "customer_id", "month", "occurred_at", "event_id")
        assert dict(zip(TIMELINE, values, strict=True)) == {**dict(zip(names, row.key, strict=True)), **row.columns}
        assert first == (len(step.rows) == 2)


def test_the_same_day_again_has_other_ids_and_nothing_else(tmp_path: Path) -> None:
    """For an import these are new events of known handles."""
    day, copy = tmp_path / "day", tmp_path / "copy"
    assert centre_day(day, 2000, seed=1) == len(day.read_bytes().splitlines())
    again(day, copy)
    for before, after in zip(day.read_bytes().splitlines(), copy.read_bytes().splitlines(), strict=True):
        one, other = json.loads(before), json.loads(after)
        assert other.pop("id") == "again-" + one.pop("id")
        assert one == other


def test_the_command_has_an_example_and_refuses_parts_that_there_are_not() -> None:
    """Before any server is started."""
    app = Typer()
    register(app)
    app.command("other")(lambda: None)
    said = CliRunner().invoke(app, ["bench", "pipeline", "--help"], env={"COLUMNS": "160"})
    assert said.exit_code == 0
    assert "touchline bench pipeline --events 50000" in said.output
    refused = CliRunner().invoke(app, ["bench", "pipeline", "--only", "nonsense"])
    assert refused.exit_code == 2
