"""The guard of engine.md §5: a group's output of its golden history changes only together with its version."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from projections.digest import difference, digest
from projections.registry import GROUPS


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_histories", Path(__file__).parent / "golden_histories.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


golden: Any = _load()


@pytest.mark.parametrize("name", GROUPS)
def test_changed_output_asks_for_a_new_version(name: str) -> None:
    group = GROUPS[name]
    path = golden.golden_path(group)
    assert path.exists(), f"{path.name} is missing: run `python tests/golden/write.py` and commit it"
    wanted, rows = json.loads(path.read_text()), golden.fold(group)
    places = difference(group.tables(), wanted["rows"], golden.shown(group, rows))
    assert not places, f"version {group.version} of {name} gives other rows: raise its version\n" + "\n".join(map(str, places))
    assert digest(group.tables(), rows) == wanted["digest"]


@pytest.mark.parametrize("name", GROUPS)
def test_a_changed_row_would_be_noticed_and_named(name: str) -> None:
    group = GROUPS[name]
    wanted = json.loads(golden.golden_path(group).read_text())["rows"]
    rows = golden.shown(group, golden.fold(group))
    table = group.reader_tables[0]
    column = next(c for c in table.columns if c not in table.primary_key)
    rows[table.name][0][column] = "changed"
    (place,) = difference(group.tables(), wanted, rows)
    assert (place.table, place.column, place.after) == (table.name, column, "changed")
