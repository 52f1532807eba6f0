"""Golden histories: what is in the files beside this one, and how they are folded.

`<group>.history.jsonl` holds one event per line, `{"type": ..., "appended_us": ..., "event": ...}`, in the order in which
they were appended; `event` is the class of `schemas/events.py` as JSON (bytes in base64). `<group>.policies.toml`, where there is
one, holds the rules in force. `<group>.v<version>.json` holds the digest and the rows that readers see, two days after the last event.
"""

import json
from pathlib import Path
from typing import Any

import msgspec

from projections.digest import digest, reduced
from projections.registry import Group
from projections.rules import Config
from projections.sla.policy import read_policies
from projections.testing import World
from schemas.events import EVENT_TYPES

__all__ = ["fold", "golden_path", "rendered", "shown"]

HERE = Path(__file__).parent
_AFTERWARDS_US = 2 * 86_400_000_000
Rows = dict[str, list[dict[str, Any]]]


def golden_path(group: Group) -> Path:
    """Return where the golden file of a group's version is."""
    return HERE / f"{group.name}.v{group.version}.json"


def fold(group: Group) -> Rows:
    """Fold the group's history; return its rows."""
    rules = HERE / f"{group.name}.policies.toml"
    books = (read_policies(rules.read_text(), rules.name, years=range(2025, 2028)),) if rules.exists() else ()
    world = World(group.projections, version=group.version, config=Config(books))
    for line in (HERE / f"{group.name}.history.jsonl").read_text().splitlines():
        entry = json.loads(line)
        world.append(msgspec.convert(entry["event"], EVENT_TYPES[entry["type"]], builtin_types=()), appended_us=entry["appended_us"])
    world.advance_to(world.now_us + _AFTERWARDS_US)
    return world.rows()


def shown(group: Group, rows: Rows) -> Rows:
    """Return what readers see of the rows, as plain JSON values: what a golden file holds and can be compared with."""
    plain: Rows = json.loads(msgspec.json.encode(reduced(group.tables(), rows), order="sorted"))
    return plain


def rendered(group: Group, rows: Rows) -> str:
    """Return the text of a golden file."""
    found = {"group": group.name, "version": group.version, "digest": digest(group.tables(), rows), "rows": shown(group, rows)}
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"
