"""`touchline store`: keyspaces and tables in Cassandra."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from streams.store.migrations import Report
    from touchline.settings import Settings

__all__ = ["migrate_store", "register"]

store = typer.Typer(
    name="store",
    help="Keyspaces and tables in Cassandra.\n\nExample:  touchline store migrate",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    app.add_typer(store)


@store.command(epilog="Example:  touchline store migrate --json")
def migrate(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False) -> None:
    """Create what is missing: keyspaces, control tables, and the tables of every group of projections.

    Harmless when repeated, and from several machines at once. Nothing is ever dropped or changed in type.
    """
    from touchline.settings import load_settings

    settings = load_settings()
    report = migrate_store(settings)
    done = {"keyspaces": report.keyspaces, "migrations": report.migrations, "tables": report.tables, "columns": report.columns}
    if as_json:
        typer.echo(json.dumps({"keyspace": settings.keyspace, "changed": report.changed, **done}))
        return
    for what, names in done.items():
        for name in names:
            typer.echo(f"{what.removesuffix('s'):10} {name}")
    typer.echo(f"Keyspace {settings.keyspace} is up to date{'.' if report.changed else ': nothing to do.'}")


def migrate_store(settings: "Settings") -> "Report":
    """Bring keyspaces and tables up to date and say what was done."""
    from projections.registry import GROUPS
    from streams.store.catalogue import KEYRING, MIGRATIONS
    from streams.store.driver import Driver
    from streams.store.migration_files import read_migrations
    from streams.store.migrations import migrate as bring_up

    migrations = read_migrations(MIGRATIONS)
    tables = [table for group in GROUPS.values() for table in group.tables()]
    driver = Driver.open(settings)
    try:
        return bring_up(driver, settings, migrations, tables, {KEYRING: settings.keyring_keyspace})
    finally:
        driver.close()
