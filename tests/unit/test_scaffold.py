"""`touchline projection new`: what it writes passes every check as it stands, and what cannot be is refused with nothing written."""

import ast
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from tests.support.checkout import ROOT, copied, run
from touchline import scaffold_files
from touchline.commands import projection_scaffold
from touchline.errors import Refused
from touchline.scaffold import NAME_CHARS_MAX, planned
from touchline.scaffold_files import write
from touchline.scaffold_registry import groups_of, names_of, with_projection
from touchline.scaffold_text import class_name, in_order

REGISTRY = (ROOT / "projections/registry.py").read_text()
LONGEST = "a" * 14 + "_9_" + "z" * 13


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what a projection needs of the checkout."""
    parts = ("projections", "schemas", "touchline", "tests/golden", "tests/unit/test_registry.py", "tests/conftest.py", "pyproject.toml")
    return copied(tmp_path_factory.mktemp("checkout"), *parts)


@pytest.fixture
def checkout(original: Path, tmp_path: Path) -> Path:
    """Return a checkout of the test's own."""
    return copied_again(original, tmp_path / "checkout")


def copied_again(original: Path, folder: Path) -> Path:
    for path in original.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            (folder / path.relative_to(original)).parent.mkdir(parents=True, exist_ok=True)
            (folder / path.relative_to(original)).write_bytes(path.read_bytes())
    return folder


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def call(*arguments: str) -> Result:
    app = typer.Typer()
    projection_scaffold.register(app)
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize(("name", "group"), [("a_new_one", "a_new_one"), (LONGEST, "other_group")])
def test_what_is_written_passes_the_linter_the_type_checker_and_its_own_tests_as_it_stands(checkout: Path, name: str, group: str) -> None:
    assert len(LONGEST) == NAME_CHARS_MAX
    before = everything(checkout)
    result = call("new", name, "--group", group, "--folder", str(checkout), "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    new = everything(checkout).keys() - before.keys()
    assert (said["written"], said["group"], set(said["files"])) == (True, group, {*new, "projections/registry.py"})
    assert new == {
        f"projections/{name}.py",
        f"projections/{name}.cql",
        f"tests/golden/{group}.history.jsonl",
        f"tests/golden/{group}.v1.json",
        f"tests/unit/test_{name}.py",
    }
    python = [path for path in said["files"] if path.endswith(".py")]
    for command in (
        ["ruff", "check", *python],
        ["ruff", "format", "--check", *python],
        ["mypy", "--follow-imports=silent", f"projections/{name}.py", "projections/registry.py"],
        ["pytest", "-p", "no:cacheprovider", "tests/golden/test_digest_golden.py", f"tests/unit/test_{name}.py"],
    ):
        done = run(command, checkout)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert "skipped" not in done.stdout


def test_two_may_be_added_one_after_the_other_and_each_line_stands_in_order(checkout: Path) -> None:
    for name in ("zebra_count", "answer_10", "answer_9"):
        write(planned(checkout, name))
    text = (checkout / "projections/registry.py").read_text()
    modules = [node.module for node in ast.parse(text).body if isinstance(node, ast.ImportFrom)]
    ours = [module for module in modules if module and module.startswith("projections.")]
    assert ours == sorted(ours, key=in_order)
    assert ours.index("projections.answer_9") < ours.index("projections.answer_10")
    assert groups_of(text) == groups_of(REGISTRY) | {"zebra_count", "answer_10", "answer_9"}
    done = run(["ruff", "check", "projections/registry.py"], checkout)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Repeat", "small letters"),
        ("9lives", "small letters"),
        ("a-b", "small letters"),
        ("", "small letters"),
        ("naïve", "small letters"),
        ("a\n", "small letters"),
        ("../evil", "small letters"),
        ("a" * 31, "more than 30 characters"),
        ("lambda", "a word of Python's own"),
        ("resolver", "a part of the worker"),
        ("my_state", "the engine's own"),
        ("my_timer", "the engine's own"),
        ("timeline", "projections/timeline.py is there already"),
        ("sla", "projections/sla/__init__.py is there already"),
        ("registry", "projections/registry.py is there already"),
        ("view", "There is a group view already"),
        ("clock", "There is a table clock already, of projections/sla/clocks.cql"),
        ("figure", "There is a table figure already, of projections/service_levels.cql"),
        ("group", "Its class would be called Group"),
        ("event", "Its class would be called Event"),
        ("seen", "Its class would be called Seen"),
        ("value_error", "Its class would be called ValueError"),
    ],
)
def test_a_name_that_cannot_be_or_is_taken_is_refused_with_its_reason_and_nothing_is_written(original: Path, name: str, why: str) -> None:
    before = everything(original)
    for arguments in ((name,), (name, "--dry-run")):
        result = call("new", "--folder", str(original), *arguments[1:], "--", arguments[0])
        assert isinstance(result.exception, Refused)
        assert why in str(result.exception)
    assert everything(original) == before


@pytest.mark.parametrize("group", ["care", "Group", "config", "x" * 31])
def test_a_group_that_cannot_be_or_is_there_is_refused_too(original: Path, group: str) -> None:
    with pytest.raises(Refused, match=r"group care already|name of a group"):
        planned(original, "a_new_one", group)


def test_a_file_that_is_there_is_never_overwritten(checkout: Path) -> None:
    for path in ("tests/unit/test_fresh.py", "tests/golden/fresh.history.jsonl", "tests/golden/fresh.v1.json"):
        (checkout / path).write_text("mine")
        with pytest.raises(Refused, match=f"{path} is there already"):
            planned(checkout, "fresh")
        (checkout / path).unlink()
    assert planned(checkout, "fresh").name == "fresh"


def test_a_projection_of_that_name_in_a_module_of_another_is_refused(checkout: Path) -> None:
    (checkout / "projections/other.py").write_text('class Other:\n    name: ClassVar[str] = "fresh"\n')
    with pytest.raises(Refused, match="There is a projection fresh already"):
        planned(checkout, "fresh")


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    result = call("new", "fresh", "--folder", str(tmp_path))
    assert isinstance(result.exception, Refused)
    assert result.exception.reason == "no_checkout"
    assert "projections/registry.py" in str(result.exception)


def test_a_dry_run_shows_the_files_and_the_lines_and_writes_nothing(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    before = everything(original)
    result = call("new", "fresh_one", "--folder", str(original), "--dry-run")
    assert result.exit_code == 0
    assert 'Group("fresh_one", 1, (FreshOne(),)),' in result.stdout
    assert "from projections.fresh_one import FreshOne" in result.stdout
    assert everything(original) == before


def _no_disk() -> None:
    raise OSError(28, os.strerror(28))


def _interrupted() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("fails_at", range(6))
@pytest.mark.parametrize("failure", [_no_disk, _interrupted])
def test_whatever_fails_on_the_way_nothing_half_written_stays(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, failure: Callable[[], None], fails_at: int
) -> None:
    before, moved, real = everything(checkout), [0], scaffold_files._move

    def move(path: Path, text: str, placed: list[Path], *, new: bool) -> None:
        moved[0] += 1
        if moved[0] > fails_at:
            failure()
        real(path, text, placed, new=new)

    plan = planned(checkout, "fresh")
    monkeypatch.setattr(scaffold_files, "_move", move)
    monkeypatch.setattr(scaffold_files, "_golden", lambda _: "{}\n")
    with pytest.raises((Refused, KeyboardInterrupt)):
        write(plan)
    assert everything(checkout) == before


def test_a_module_that_does_not_run_in_this_checkout_is_never_put_there(checkout: Path) -> None:
    """The golden writer of the checkout folds with it first."""
    kernel = checkout / "projections/kernel.py"
    kernel.write_text(kernel.read_text().replace("class Moment(", "class Instant(").replace("Moment", "Instant"))
    before = everything(checkout)
    with pytest.raises(Refused, match="nothing was written") as refused:
        write(planned(checkout, "fresh"))
    assert refused.value.reason == "golden_failed"
    assert {path: text for path, text in everything(checkout).items() if ".pyc" not in path} == before


@pytest.mark.parametrize(
    "text", ["VERSIONS = {}\n", "def broken(:\n", "from projections.kernel import Group\nVERSIONS = versioned(Group('a', 1, ()))\n"]
)
def test_a_registry_of_another_form_is_left_alone(text: str) -> None:
    with pytest.raises(Refused, match="no line can be added"):
        with_projection(text, "fresh", "fresh")


def test_names_of_classes_follow_from_those_of_modules() -> None:
    assert [class_name(name) for name in ("repeat_contacts", "a", "a_1b", "a__b")] == ["RepeatContacts", "A", "A1b", "AB"]
    assert {"Group", "Timeline", "Misconfigured", "versioned"} <= names_of(REGISTRY)
