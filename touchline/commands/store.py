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

    Of a group that never ran these are its newest version's; the tables of a later version come with `touchline projection build`.
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
    """Bring keyspaces and tables up to date and say what was done: first what no projection owns, which says the versions there are."""
    import asyncio

    from streams.store.cassandra import CassandraStore
    from streams.store.catalogue import KEYRING, MIGRATIONS, control_tables
    from streams.store.driver import Driver
    from streams.store.migration_files import read_migrations
    from streams.store.migrations import migrate as bring_up
    from streams.versions.choosing import kept_groups

    migrations, others = read_migrations(MIGRATIONS), {KEYRING: settings.keyring_keyspace}
    driver = Driver.open(settings)
    try:
        report = bring_up(driver, settings, migrations, [], others)
        groups = asyncio.run(kept_groups(CassandraStore(driver, settings.keyspace, control_tables(), in_flight_max=1)))
        versioned = bring_up(driver, settings, migrations, [table for group in groups for table in group.tables()], others)
    finally:
        driver.close()
    report.tables, report.columns = versioned.tables, versioned.columns
    return report
