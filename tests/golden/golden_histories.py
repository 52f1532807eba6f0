"""Golden histories: what is in the files beside this one, and how they are folded.

`<group>.history.jsonl` holds one event per line, `{"type": ..., "appended_us": ..., "event": ...}`, in the order in which
they were appended; `event` is the class of `schemas/events.py` as JSON (bytes in base64). `<group>.policies.toml`, where there is
one, holds the rules in force. `<group>.v<version>.json` holds the digest and the rows that readers see, two days after the last event:
one file for every version that the code can run, all of the same history.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from projections.digest import difference, digest, reduced
from projections.registry import Group
from projections.rules import Config
from projections.sla.policy import read_policies
from projections.testing import World
from schemas.events import EVENT_TYPES

__all__ = ["check", "fold", "golden_path", "shown", "write_missing"]

HERE = Path(__file__).parent
_AFTERWARDS_US = 2 * 86_400_000_000
Rows = dict[str, list[dict[str, Any]]]


def golden_path(group: Group, folder: Path = HERE) -> Path:
    """Return where the golden file of a group's version is."""
    return folder / f"{group.name}.v{group.version}.json"


def fold(group: Group, folder: Path = HERE) -> Rows:
    """Fold the group's history with one version of it; return its rows."""
    rules = folder / f"{group.name}.policies.toml"
    books = (read_policies(rules.read_text(), rules.name, years=range(2025, 2028)),) if rules.exists() else ()
    world = World(group.projections, version=group.version, config=Config(books))
    for line in (folder / f"{group.name}.history.jsonl").read_text().splitlines():
        entry = json.loads(line)
        world.append(msgspec.convert(entry["event"], EVENT_TYPES[entry["type"]], builtin_types=()), appended_us=entry["appended_us"])
    world.advance_to(world.now_us + _AFTERWARDS_US)
    return world.rows()


def shown(group: Group, rows: Rows) -> Rows:
    """Return what readers see of the rows, as plain JSON values: what a golden file holds and can be compared with."""
    plain: Rows = json.loads(msgspec.json.encode(reduced(group.tables(), rows), order="sorted"))
    return plain


def check(group: Group, folder: Path = HERE) -> None:
    """Compare what a version gives with its golden file. Raises `AssertionError` with the places in which they differ."""
    path = golden_path(group, folder)
    assert path.exists(), f"{path.name} is missing: run `python tests/golden/write.py` and commit it"
    wanted, rows = json.loads(path.read_text()), fold(group, folder)
    places = difference(group.tables(), wanted["rows"], shown(group, rows))
    said = f"version {group.version} of {group.name} gives other rows than its golden file: raise the group's version, and keep this one as it was"
    assert not places, f"{said}\n" + "\n".join(map(str, places))
    assert digest(group.tables(), rows) == wanted["digest"], f"{said}: the digest differs"


def write_missing(groups: Iterable[Group], folder: Path = HERE) -> dict[Path, bool]:
    """Write the golden file of each version that has none; return all their paths, and whether each was written now."""
    written = {}
    for group in groups:
        path = golden_path(group, folder)
        written[path] = not path.exists()
        if written[path]:
            rows = fold(group, folder)
            found = {"group": group.name, "version": group.version, "digest": digest(group.tables(), rows), "rows": shown(group, rows)}
            path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return written
