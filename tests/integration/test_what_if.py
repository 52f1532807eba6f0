"""What-if on the bank's calls, over a real log and without any table: 20 s against 45 s, every number as `by_hand_what_if` counts it."""

import json
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from deploy.local.testing import LiveStack
from tests.support import by_hand, by_hand_what_if
from tests.support.by_hand_what_if import WeekOfQueue
from tests.support.harness import Installation, installed
from tests.support.processes import Running, ended, run, until

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CALLS = DATA / "bank_calls_1999-02-01_14.tsv"
WEEK_S = 7 * 86_400
MONTH_S = 30 * 86_400

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(not CALLS.exists(), reason="../shared/data with the real calls is not here"),
]

RULES = """
[[calendar]]
id = "bank"
timezone = "Asia/Jerusalem"
[calendar.week]
sun = ["07:00-24:00"]
mon = ["07:00-24:00"]
tue = ["07:00-24:00"]
wed = ["07:00-24:00"]
thu = ["07:00-24:00"]
fri = ["07:00-14:00"]
sat = ["20:00-24:00"]
[defaults]
calendar = "bank"
queue = {{ answer_within = "{seconds}s", short_abandon = "5s" }}
[[policy]]
id = "calls"
targets = {{ queue_answer = "{seconds}s" }}
[[unanswered]]
id = "missed-call"
when = 'type == "contact.abandoned" && stage in ["queue", "ringing"]'
answer_within = "{hours}h"
recovered_by = "any_channel"
"""


@pytest.fixture(scope="module")
def bank(stack: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Yield an installation whose log has the rules of 20 s and the calls. Nobody folds: there is no row of any projection."""
    with installed(stack, tmp_path_factory.mktemp("what-if"), "whatif") as here:
        for name, seconds, hours in (("now", 20, 2), ("then", 45, 5)):
            (here.folder / f"{name}.toml").write_text(RULES.format(seconds=seconds, hours=hours))
        with here.worker("resolver", "config") as worker:
            published = ["touchline", "config", "publish", "now.toml", "--effective-at", "1970-01-01T00:00:00Z", "--wait", "0"]
            done = run(published, here.environment(), here.folder)
            assert done.returncode == 0, done.stderr
            worker.wait_for("config_broadcast", version=1)
            here.ingest(CALLS, "--format", "bank-calls")
            assert worker.stop() == 0, worker.last_words()
        yield here


def asked(here: Installation, *options: str) -> dict[str, Any]:
    """Ask, where no table can be reached."""
    command = ["touchline", "what-if", "--policies", "then.toml", "--json", *options]
    done = run(command, here.environment(cassandra_hosts="nowhere.invalid"), here.folder, within_s=300)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def said_of(report: dict[str, Any], side: str) -> tuple[WeekOfQueue, WeekOfQueue, dict[tuple[str, str], tuple[float | None, int]]]:
    """Return what the cells of one side say: clocks, contacts, service levels."""
    clocks: WeekOfQueue = defaultdict(Counter)
    contacts: WeekOfQueue = defaultdict(Counter)
    levels = {}
    for cell in report["cells"]:
        place, found = (cell["queue"], cell["week"]), cell[side]
        assert cell["team"] == ""
        if cell["metric"] == "queue_answer":
            clocks[place] += Counter({state: found[state] for state in ("met", "breached", "cancelled", "running")})
        elif cell["metric"] == "missed-call":
            contacts[place] += Counter({state: found["contacts"][state] for state in ("answered", "recovered", "unanswered", "waiting")})
        elif cell["metric"] == "service_level":
            levels[place] = (found["service_level"]["value"], found["service_level"]["n"])
    return dict(clocks), dict(contacts), levels


def summed(counts: WeekOfQueue) -> Counter[str]:
    return sum(counts.values(), Counter())


@pytest.mark.parametrize("since", [0, WEEK_S], ids=["all", "second-week"])
def test_20_s_against_45_s_on_the_bank_s_calls_is_what_is_counted_by_hand(bank: Installation, since: int) -> None:
    found = by_hand.calls(CALLS)
    report = asked(bank, *(["--from", "1999-02-08T00:00:00+02:00"] if since else []))
    assert report["zone"] == "Asia/Jerusalem"
    totals: dict[str, Any] = {}
    for side, seconds, hours in (("before", 20, 2), ("after", 45, 5)):
        clocks, contacts, levels = said_of(report, side)
        expected = by_hand_what_if.clocks(found, seconds, since)
        missed = by_hand_what_if.contacts(found, hours * 3600, MONTH_S, since)
        assert clocks == expected
        assert contacts == missed
        service = by_hand_what_if.levels(found, seconds, since)
        assert levels == {place: (by_hand_what_if.share(within, n), n) for place, (within, n) in service.items()}
        total, verdicts, waits = report["total"][side], summed(expected), summed(missed)
        assert {state: total[state] for state in verdicts} == verdicts
        decided = verdicts["met"] + verdicts["breached"]
        assert total["on_time"] == {"value": by_hand_what_if.share(verdicts["met"], decided), "n": decided}
        assert total["contacts"]["missed"] == waits["unanswered"] + waits["recovered"]
        assert total["contacts"]["asked"] == waits.total()
        for line in report["by"]["queue"]:
            assert line[side]["breached"] == sum(counts["breached"] for (queue, _), counts in expected.items() if queue == line["name"])
        for line in report["by"]["week"]:
            assert line[side]["met"] == sum(counts["met"] for (_, week), counts in expected.items() if week == line["name"])
        totals[side] = total
    assert report["total"]["difference"]["breached"] == totals["after"]["breached"] - totals["before"]["breached"] < 0
    assert totals["after"]["on_time"]["value"] > totals["before"]["on_time"]["value"]
    assert report["parked"] == {"before": 0, "after": 0}


def test_one_process_two_processes_and_the_same_rules_as_a_file_say_the_same(bank: Installation) -> None:
    two, one = asked(bank, "--workers", "2"), asked(bank, "--workers", "1", "--against", "now.toml")
    assert one["cells"] == two["cells"]
    assert one["rules"] == {"before": "now.toml", "after": "then.toml"}
    assert two["rules"]["before"] == "the log's own rules (version 1)"


def test_the_table_the_page_and_the_cells_show_the_same_figures(bank: Installation) -> None:
    command = ["touchline", "what-if", "--policies", "then.toml", "--by", "week", "--html", "page.html", "--csv", "cells.csv"]
    done = run(command, bank.environment(), bank.folder, within_s=300)
    assert done.returncode == 0, done.stderr
    found = by_hand.calls(CALLS)
    page = (bank.folder / "page.html").read_text()
    ET.fromstring(page.removeprefix("<!doctype html>"))  # noqa: S314 - our own page
    for seconds in (20, 45):
        breached = f"{summed(by_hand_what_if.clocks(found, seconds))['breached']:,}"
        assert breached in done.stdout
        assert f"<td>{breached}</td>" in page
    assert "1999-W05" in done.stdout
    assert (bank.folder / "cells.csv").read_text().startswith("queue,team,metric,week,met_before,met_after,")
    assert not list(bank.folder.glob(".*.part"))


@pytest.mark.parametrize("started", [1, 2])
def test_interrupted_it_ends_at_once_and_leaves_no_process_and_no_file(bank: Installation, started: int) -> None:
    command = ["touchline", "what-if", "--policies", "then.toml", "--workers", "2", "--html", "never.html"]
    with ended(Running(f"interrupted{started}", command, bank.environment(), bank.folder)) as [asking]:
        me = psutil.Process(asking.pid)
        until(lambda: sum("spawn_main" in " ".join(child.cmdline()) for child in me.children()) >= started, 60, "they fold", pause_s=0.01)
        children = me.children(recursive=True)
        asking.interrupt()
        assert asking.exit_code(30) == 130, asking.last_words()
        gone, alive = psutil.wait_procs(children, 10)
        assert gone
        assert not alive
        assert "Traceback" not in asking.last_words()
    assert not list(bank.folder.glob("*never.html*"))


def test_what_is_wrong_is_said_before_anything_is_read(bank: Installation) -> None:
    (bank.folder / "wrong.toml").write_text('[[policy]]\nid = "a"\ntargets = { queue_answer = "soon" }\nwhen = "queue =="\n')
    for options, code, said in (
        (["--policies", "wrong.toml"], 78, ["wrong.toml has 2 faults", "wrong.toml:3", "wrong.toml:4"]),
        (["--policies", "then.toml", "--from", "2026-01-02", "--to", "2026-01-01"], 2, ["nothing would count"]),
        (["--policies", "then.toml", "--from", "2099-01-01"], 1, ["nothing was appended"]),
        (["--policies", "then.toml", "--html", "no/such/folder.html"], 1, ["cannot be written"]),
    ):
        done = run(["touchline", "what-if", *options], bank.environment(), bank.folder)
        assert done.returncode == code, done.stderr
        for word in said:
            assert word in done.stderr
