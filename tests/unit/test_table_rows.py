"""`touchline projection rows`: rows of any table of any group, figures added up, times readable, nothing sealed."""

import asyncio
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from projections.registry import GROUPS
from streams.plain import instant_us
from streams.store.catalogue import control_tables
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion, RowWrite
from streams.versions.versions import Versions
from tests.support.commands import Run, runner
from touchline import table_rows
from touchline.commands import projection_scaffold
from touchline.errors import Refused

NINE = instant_us("2026-01-12T09:00:00Z")
CARE, VIEW = GROUPS["care"], GROUPS["view"]


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore([*control_tables(), *CARE.tables(), *VIEW.tables()])
    for name in ("care", "view"):
        asyncio.run(Versions(made).begin(GroupVersion(name, 1), 1))
    for partition, offered in ((0, 3), (1, 4)):
        for queue in ("billing", "cards"):
            key = ("acme", "service_level", "2026-01-12", NINE, queue, "phone", partition)
            sums = {"offered": offered, "answered": 2, "w:20": partition}
            made.apply([RowWrite("figure_v1", key, {"sums": sums, "applied_offset": 7}, 1)])
    made.apply([RowWrite("conversation_v1", ("acme", f"c-{n}", "cu-1"), {"status": "open" if n % 2 else "closed"}, 1) for n in range(5)])
    return made


@pytest.fixture
def run(store: MemoryStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return runner("rows", projection_scaffold.register, store, monkeypatch, tmp_path)


def test_figures_are_added_up_over_the_partitions_of_the_log(run: Run) -> None:
    result = run("care", "figure", "--json")
    found = json.loads(result.stdout)
    assert (found["group"], found["version"], found["table"], found["whole"]) == ("care", 1, "figure", True)
    assert [(row["queue"], row["sums"]) for row in found["rows"]] == [
        (queue, {"answered": 4, "offered": 7, "w:20": 1}) for queue in ("billing", "cards")
    ]
    assert found["rows"][0]["slot"] == "2026-01-12T09:00:00Z"
    assert not {"src_partition", "applied_offset"} & found["rows"][0].keys()


def test_figures_that_were_taken_back_to_nothing_are_not_shown(run: Run, store: MemoryStore) -> None:
    for partition, offered in ((0, 1), (1, -1)):
        key = ("acme", "service_level", "2026-01-12", NINE, "gone", "phone", partition)
        store.apply([RowWrite("figure_v1", key, {"sums": {"offered": offered}, "applied_offset": 7}, 1)])
    assert {row["queue"] for row in json.loads(run("care", "figure", "--json").stdout)["rows"]} == {"billing", "cards"}


def test_in_a_table_each_figure_has_a_column(run: Run) -> None:
    result = run("care", "figure", "--where", "queue=billing")
    head, line = result.stdout.splitlines()[1], result.stdout.splitlines()[3]
    assert head.split() == ["tenant", "metric", "day", "slot", "queue", "channel", "answered", "offered", "w:20"]
    assert line.split() == ["acme", "service_level", "2026-01-12", "2026-01-12T09:00:00Z", "billing", "phone", "4", "7", "1"]


def test_many_figures_stand_in_one_cell(run: Run, store: MemoryStore) -> None:
    sums = {f"w:{n}": n + 1 for n in range(30)}
    store.apply([RowWrite("figure_v1", ("acme", "m", "d", NINE, "q", "phone", 0), {"sums": sums, "applied_offset": 1}, 1)])
    assert "w:0 1 · w:1 2 ·" in run("care", "figure", "--where", "queue=q").stdout


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        (["status=open"], 2),
        (["tenant=acme", "conversation_id=c-1"], 1),
        (["tenant=acme", "conversation_id=c-1", "status=closed"], 0),
        (["tenant=other"], 0),
    ],
)
def test_rows_are_chosen_by_columns_whether_they_are_of_the_key_or_not(run: Run, where: list[str], wanted: int) -> None:
    result = run("view", "conversation", "--json", *(word for one in where for word in ("--where", one)))
    assert len(json.loads(result.stdout)["rows"]) == wanted


def test_times_are_compared_as_they_are_shown(run: Run) -> None:
    for value, wanted in (("2026-01-12T09:00:00Z", 2), (str(NINE), 2), ("2026-01-12T09:15:00Z", 0)):
        assert len(json.loads(run("care", "figure", "--json", "--where", f"slot={value}").stdout)["rows"]) == wanted


def test_a_limit_is_kept_and_said(run: Run) -> None:
    found = json.loads(run("view", "conversation", "--json", "--limit", "3").stdout)
    assert (len(found["rows"]), found["whole"]) == (3, False)
    assert "There are more: the first 3 are shown" in run("view", "conversation", "--limit", "3").stdout
    assert json.loads(run("view", "conversation", "--json", "--limit", "5").stdout)["whole"]
    figures = json.loads(run("care", "figure", "--json", "--limit", "1").stdout)
    assert [row["sums"]["offered"] for row in figures["rows"]] == [7], "a figure is never cut in its middle"


def test_a_table_too_large_to_be_read_says_so_and_shows_no_half_of_a_figure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_rows, "SCANNED_ROWS_MAX", 1)
    found = json.loads(run("care", "figure", "--json").stdout)
    assert (found["whole"], [row["queue"] for row in found["rows"]]) == (False, ["billing"])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("nothing", "figure"), "unknown_group"),
        (("care", "nothing"), "unknown_table"),
        (("care", "care_state"), "unknown_table"),
        (("care", "care_timer"), "unknown_table"),
        (("care", "figure", "--where", "nothing=1"), "unknown_column"),
        (("care", "figure", "--where", "slot=soon"), "bad_value"),
        (("care", "figure", "--where", "sums=1"), "bad_column"),
        (("view", "timeline", "--where", "sealed=1"), "unknown_column"),
        (("care@9", "figure"), "no_version"),
        (("care@", "figure"), "version_form"),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(run: Run, arguments: tuple[str, ...], reason: str) -> None:
    error = run(*arguments).exception
    assert isinstance(error, Refused)
    assert error.reason == reason
    assert error.next_step


def test_a_condition_of_another_form_is_wrong_use(run: Run) -> None:
    assert run("care", "figure", "--where", "queue").exit_code == 2


def test_a_group_of_which_no_version_is_active_or_ever_ran_is_refused(run: Run, store: MemoryStore) -> None:
    async def withdraw() -> None:
        await store.swap("projection_group", ("care",), {"active_version": 0}, expected={"active_version": 1})

    asyncio.run(withdraw())
    error = run("care", "figure").exception
    assert isinstance(error, Refused)
    assert "No version of care is active yet" in str(error)
    assert run("care@1", "figure").exit_code == 0
    empty = MemoryStore([*control_tables(), *CARE.tables()])
    with pytest.raises(Refused, match="No version of care has run here"):
        asyncio.run(table_rows.tables_of(empty, "care", None))


def test_help_shows_an_example() -> None:
    app = typer.Typer()
    projection_scaffold.register(app)
    for command in ("rows", "new"):
        assert f"touchline projection {command}" in CliRunner().invoke(app, [command, "--help"]).stdout
