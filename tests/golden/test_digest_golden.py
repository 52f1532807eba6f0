"""The guard of engine.md §5: a version's output of its group's golden history never changes; changed output is a new version."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import msgspec
import pytest

from projections.digest import difference
from projections.kernel import Moment, Step, Subject, Timer, Upsert
from projections.registry import VERSIONS, Group, versioned
from projections.testing import message_received
from schemas import events
from schemas.record import Event

EVERY = pytest.mark.parametrize(("name", "version"), VERSIONS)


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_histories", Path(__file__).parent / "golden_histories.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


golden: Any = _load()


@EVERY
def test_changed_output_asks_for_a_new_version(name: str, version: int) -> None:
    golden.check(VERSIONS[name, version])


@EVERY
def test_a_changed_row_would_be_noticed_and_named(name: str, version: int) -> None:
    group = VERSIONS[name, version]
    wanted = json.loads(golden.golden_path(group).read_text())["rows"]
    rows = golden.shown(group, golden.fold(group))
    table = group.reader_tables[0]
    column = next(c for c in table.columns if c not in table.primary_key)
    rows[table.name][0][column] = "changed"
    (place,) = difference(group.tables(), wanted, rows)
    assert (place.table, place.column, place.after) == (table.name, column, "changed")


def test_every_golden_file_belongs_to_a_version_that_the_code_can_run() -> None:
    """What was retired everywhere takes its file along."""
    there = {path.name for path in Path(__file__).parent.glob("*.v*.json")}
    assert there == {golden.golden_path(group).name for group in VERSIONS.values()}


class Said(msgspec.Struct):
    """How much a customer has said."""

    n: int = 0


class Words:
    """Counts what a customer says; the table is one of those that stand beside this test."""

    name: ClassVar[str] = "words"
    version: ClassVar[int] = 1
    handles: ClassVar[frozenset[type[Event]]] = frozenset({events.MessageReceived})
    depends_on: ClassVar[tuple[str, ...]] = ()
    step = 1

    def initial(self, subject: Subject) -> Said:
        return Said()

    def apply(self, state: Said, event: Event, at: Moment) -> Step[Said]:
        state.n += self.step
        return Step(state, rows=(Upsert("spoken", (event.header.tenant, event.header.customer_id or ""), {"n": state.n}),))

    def expire(self, state: Said, timer: Timer, at: Moment) -> Step[Said]:
        return Step(state)


class Twice(Words):
    """The next version of it, which counts otherwise."""

    version = 2
    step = 2


class Changed(Words):
    """The first version after somebody changed it in place."""

    step = 3


def test_an_older_version_that_was_changed_in_place_fails_with_the_difference_while_the_newer_one_stands(tmp_path: Path) -> None:
    line = {"type": "message.received", "appended_us": 1, "event": json.loads(msgspec.json.encode(message_received(id="m-1")))}
    (tmp_path / "words.history.jsonl").write_text(json.dumps(line) + "\n")
    both = versioned(Group("words", 1, (Words(),)), Group("words", 2, (Twice(),)))
    assert set(golden.write_missing(both.values(), tmp_path).values()) == {True}
    for group in both.values():
        golden.check(group, tmp_path)
    golden.check(Group("words", 2, (Twice(),)), tmp_path)
    with pytest.raises(AssertionError, match=r"version 1 of words .*\nspoken\['acme', 'cu-1'\]\.n: 1 -> 3") as failed:
        golden.check(Group("words", 1, (Changed(),)), tmp_path)
    assert "raise the group's version" in str(failed.value)
    assert set(golden.write_missing(both.values(), tmp_path).values()) == {False}, "what is there is never overwritten"


def test_a_version_without_a_golden_file_is_red(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"words\.v2\.json is missing: run `python tests/golden/write\.py`"):
        golden.check(Group("words", 2, (Twice(),)), tmp_path)
