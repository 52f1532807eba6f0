"""A new projection in a checkout: what it is called, what that must not clash with, and which files it begins with.

Knows names and texts; `scaffold_files` writes them. Nothing of the checkout is imported or run here: it may be any checkout.
"""

import builtins
import keyword
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from projections.tables import Table, parse_tables, state_table, timer_tables
from touchline.errors import Misconfigured, Refused
from touchline.scaffold_registry import REGISTRY, groups_of, names_of, with_projection
from touchline.scaffold_text import FIRST_VERSION, class_name, cql, history, module, tests

__all__ = ["NAME_CHARS_MAX", "Plan", "planned"]

NAME_CHARS_MAX: Final = 30
"""Cassandra's table names have 48 characters at most; `<group>_v99_timer_bucket` needs 17 of them beside the name."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_PROJECTION: Final = re.compile(r"^\s*name(?:: ClassVar\[str\])? = \"(\w+)\"", re.MULTILINE)
_WORKERS: Final = frozenset({"resolver", "config"})
_NOT_READ: Final = ("_state", "_timer", "_timer_bucket")
_CHECKOUT: Final = (
    REGISTRY,
    "projections/kernel.py",
    "tests/golden/write.py",
    "tests/golden/golden_histories.py",
    "tests/unit",
    "schemas",
    "touchline",
)
_NOBODY: Final = "a_name_of_no_projection"
_OTHER: Final = "choose another name."


class Plan(msgspec.Struct, frozen=True):
    """What would be written into the checkout `folder`. `files` are new, by their path in it; `registry` is the changed text of the registry.

    `golden` is the path of the golden file, which the checkout's own code writes (`scaffold_files.write`).
    """

    folder: Path
    name: str
    group: str
    files: dict[str, str]
    registry: str
    golden: str

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path that is new or changed, in the order in which one reads them."""
        return (*self.files, self.golden, REGISTRY)


def planned(folder: Path, name: str, group: str | None = None) -> Plan:
    """Return what a new projection of this name begins with; `group` is by default called like it.

    Raises `Refused`, saying why: the name cannot be one, or something has it already; the folder is no checkout.
    """
    whose = group or name
    _check_form(name, "projection")
    _check_form(whose, "group")
    lost = [part for part in _CHECKOUT if not (folder / part).exists()]
    if lost:
        raise Refused(
            f"{folder} is no checkout of Touchline: it has no {lost[0]}.",
            reason="no_checkout",
            next_step="change into one, or name it with --folder.",
        )
    files = {
        f"projections/{name}.py": module(name),
        f"projections/{name}.cql": cql(name),
        f"tests/golden/{whose}.history.jsonl": history(),
        f"tests/unit/test_{name}.py": tests(name),
    }
    golden = f"tests/golden/{whose}.v{FIRST_VERSION}.json"
    registry = (folder / REGISTRY).read_text(encoding="utf-8")
    changed = with_projection(registry, name, whose)
    for clash in _clashes(folder, name, whose, registry, (*files, golden)):
        raise Refused(clash, reason="name_taken", next_step=_OTHER)
    return Plan(folder, name, whose, files, changed, golden)


def _check_form(name: str, what: str) -> None:
    why = None
    if not _NAME.fullmatch(name):
        why = "it is written in small letters, digits and underscores, a letter first"
    elif len(name) > NAME_CHARS_MAX:
        why = f"it has more than {NAME_CHARS_MAX} characters, and the tables' names begin with it"
    elif keyword.iskeyword(name):
        why = "it is a word of Python's own"
    elif name in _WORKERS:
        why = "a part of the worker is called so"
    elif name.endswith(_NOT_READ):
        why = f"tables whose names end in {', '.join(_NOT_READ)} are the engine's own"
    if why is not None:
        raise Refused(f"{name[: 2 * NAME_CHARS_MAX]!r} cannot be the name of a {what}: {why}.", reason="bad_name", next_step=_OTHER)


def _clashes(folder: Path, name: str, group: str, registry: str, new: tuple[str, ...]) -> Iterator[str]:
    """Say what in the checkout has one of the new names already, the plainest first."""
    if group in groups_of(registry):
        yield (
            f"There is a group {group} already. A projection that joins it changes its output, which is a new version of it: a module,"
            f" a `.cql`, and a further line Group({group!r}, …) beside the one that stands there."
        )
    for path in (*new, f"projections/{name}/__init__.py"):
        if (folder / path).exists():
            yield f"{path} is there already."
    projections = folder / "projections"
    if name in {found for path in _sources(projections, "py") for found in _PROJECTION.findall(path.read_text(encoding="utf-8"))}:
        yield f"There is a projection {name} already."
    there = {path: {table.name for table in _tables(path)} for path in _sources(projections, "cql")}
    engines = {f"{one}{end}" for one in groups_of(registry) for end in _NOT_READ}
    mine = {name, *(table.name for table in (state_table(group, FIRST_VERSION), *timer_tables(group, FIRST_VERSION)))}
    for file, names in there.items():
        for table in sorted(mine & names):
            yield f"There is a table {table} already, of {file.relative_to(folder)}."
    if mine & engines:
        yield f"There is a table {min(mine & engines)} already."
    kind = class_name(name)
    used = names_of(module(_NOBODY)) | names_of(tests(_NOBODY))
    if kind in (used - {class_name(_NOBODY)}) | names_of(registry) | set(dir(builtins)):
        yield f"Its class would be called {kind}, as something else is that the registry or the module has."


def _sources(projections: Path, kind: str) -> list[Path]:
    return sorted(projections.rglob(f"*.{kind}"))


def _tables(path: Path) -> list[Table]:
    try:
        return parse_tables(path.read_text(encoding="utf-8"), FIRST_VERSION, origin=path.name)
    except Misconfigured as error:
        raise Refused(f"The checkout is not whole: {error.what}", reason="no_checkout", next_step=error.next_step) from error
