"""`touchline projection new` and `projection rows`: the first files of a projection somebody brings, and the rows that it wrote."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from touchline.settings import load_settings

if TYPE_CHECKING:
    from rich.console import Console

    from touchline.scaffold import Plan
    from touchline.table_rows import TableRows

__all__ = ["register"]

_SUMS_MAX: Final = 16
"""Figures of more names than this stand in one cell, not in columns of their own."""

_NEW: Final = "Example:  touchline projection new repeat_contacts --dry-run"
_ROWS: Final = "Example:  touchline projection rows view conversation --where status=open --limit 20"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("new", epilog=_NEW)(new)
    app.command("rows", epilog=_ROWS)(rows)


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called: small letters, digits, underscores.")],
    *,
    group: Annotated[str | None, typer.Option("--group", metavar="GROUP", help="The new group in which it runs; default: called like it.")] = None,
    folder: Annotated[Path, typer.Option("--folder", metavar="FOLDER", help="The checkout.")] = Path(),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written, and write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Begin a new projection: a small module that works, its table, its line in the registry, a golden history, a test.

    It is a group of its own, in version 1. All files are written, or none. docs/howto/new-projection.md goes on from there.
    """
    from touchline.scaffold import planned
    from touchline.scaffold_files import write

    plan = planned(folder, name, group)
    if not dry_run:
        write(plan)
    if as_json:
        typer.echo(json.dumps({"name": plan.name, "group": plan.group, "written": not dry_run, "files": list(plan.paths)}))
        return
    from touchline.terminal import console

    _draw_plan(console(), plan, written=not dry_run)


def rows(
    group: Annotated[str, typer.Argument(metavar="GROUP[@VERSION]", help="care@2; without a version the active one.")],
    table: Annotated[str, typer.Argument(metavar="TABLE", help="One of its tables, without the version.")],
    *,
    where: Annotated[list[str] | None, typer.Option("--where", metavar="COLUMN=VALUE", help="Only rows with this value; repeatable.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Rows at most.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show rows of a projection's table. Figures are added up over the partitions of the log.

    With values for a whole partition key one partition is read, else the table until there are enough rows.
    """
    from touchline.group_names import named
    from touchline.table_rows import rows_of, tables_of
    from touchline.tables import connected

    (name, version), given = named(group), _conditions(where or [])
    settings = load_settings()

    async def read() -> "TableRows":
        async with connected(settings) as store:
            return await rows_of(store, await tables_of(store, name, version), table, given, limit=limit)

    found = asyncio.run(read())
    if as_json:
        typer.echo(json.dumps(found.json(), ensure_ascii=False))
        return
    from touchline.terminal import console

    _draw_rows(console(), found)


def _conditions(where: list[str]) -> dict[str, str]:
    found = {}
    for text in where:
        column, equals, value = text.partition("=")
        if not equals or not column:
            raise typer.BadParameter("write COLUMN=VALUE.", param_hint="--where")
        found[column] = value
    return found


def _draw_plan(console: "Console", plan: "Plan", *, written: bool) -> None:
    console.print(f"{'Written' if written else 'Would be written'}: projection {plan.name}, group {plan.group} v1", style="bold", markup=False)
    for path in plan.paths:
        console.print(f"  {path}", markup=False)
    if written:
        console.print("Next: change the module into what you need, its test and its golden history with it; docs/howto/new-projection.md shows how.")
    else:
        console.print("Nothing was written; the registry would have:")
        there = set((plan.folder / plan.paths[-1]).read_text(encoding="utf-8").splitlines())
        for line in plan.registry.splitlines():
            if line not in there:
                console.print(f"  + {line.strip()}", markup=False)


def _draw_rows(console: "Console", found: "TableRows") -> None:
    from touchline.terminal import draw_table

    console.print(f"{found.table}, {found.group} v{found.version}", style="bold", markup=False)
    if not found.rows:
        console.print("No such rows, or the workers have not come so far: `touchline status` shows it.")
        return
    names = sorted({name for row in found.rows for name in row.get("sums", ())})
    flat = [_flat(row, spread=len(names) <= _SUMS_MAX) for row in found.rows]
    columns = list(dict.fromkeys([*(name for name in flat[0] if name not in names), *names, *(name for row in flat for name in row)]))
    if len(names) > _SUMS_MAX:
        columns = list(dict.fromkeys(name for row in flat for name in row))
    is_number = {name: all(isinstance(row.get(name, 0), int) for row in flat) for name in columns}
    cells = [[_cell(row.get(name, 0 if name in names else None)) for name in columns] for row in flat]
    draw_table(console, [f">{name}" if is_number[name] else name for name in columns], cells)
    if not found.is_whole:
        console.print(f"There are more: the first {len(found.rows):,} are shown; --limit and --where choose.", style="dim")


def _flat(row: dict[str, Any], *, spread: bool) -> dict[str, Any]:
    """Return a row with its figures as columns of their own, or in one cell."""
    if "sums" not in row:
        return row
    sums = row["sums"] if spread else {"sums": " · ".join(f"{name} {n}" for name, n in row["sums"].items())}
    return {**{name: value for name, value in row.items() if name != "sums"}, **sums}


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
