"""Which tables there are: those of the migrations, and those of every group of projections."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from projections.registry import VERSIONS, Group
from projections.tables import Table
from streams.store.migration_files import migrated_tables, read_migrations

__all__ = ["KEYRING", "MIGRATIONS", "control_tables", "keyring_tables", "known_tables"]

MIGRATIONS = Path(__file__).with_name("migrations")
"""The numbered `.cql` files of the tables that no projection owns."""

KEYRING = "keyring"
"""The name under which migrations speak of the keyring's keyspace, whatever the settings call it."""


@cache
def _migrated() -> tuple[Table, ...]:
    return tuple(migrated_tables(read_migrations(MIGRATIONS)))


def control_tables() -> list[Table]:
    """Return the control tables of the product's keyspace."""
    return [table for table in _migrated() if not table.keyspace]


def keyring_tables() -> list[Table]:
    """Return the tables of the keyring's keyspace."""
    return [table for table in _migrated() if table.keyspace == KEYRING]


def known_tables(groups: Iterable[Group] | None = None) -> list[Table]:
    """Return every table of the product's keyspace; `groups` are by default all of the registry, in every version."""
    chosen = VERSIONS.values() if groups is None else groups
    return [*control_tables(), *(table for group in chosen for table in group.tables())]
