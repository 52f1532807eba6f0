"""Migration files: numbered, checked by their sums, additive only. Reads files; knows no server."""

import re
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import msgspec

from projections.tables import Table, add_columns, parse_tables, statements
from touchline.errors import Misconfigured

__all__ = ["Migration", "migrated_tables", "read_migrations"]

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.cql")
_CREATE = re.compile(r"create table if not exists (?:(\w+)\.)?(\w+) ?\(", re.IGNORECASE)
_ADD = re.compile(r"alter table (?:(\w+)\.)?(\w+) add if not exists (\w+) (.+)", re.IGNORECASE)


class Migration(msgspec.Struct, frozen=True):
    """One file. `checksum` is of its statements, so that comments may be mended; `statements` can each be run again."""

    number: int
    name: str
    statements: tuple[str, ...]
    checksum: str

    def qualified(self, keyspace: str, others: dict[str, str]) -> list[str]:
        """Return the statements with real keyspaces: `keyspace` where none is named, else `others[name]`."""
        return [_qualified(statement, keyspace, others) for statement in self.statements]


def read_migrations(folder: Path) -> list[Migration]:
    """Read a folder's migrations in order. Raises `Misconfigured` for gaps, strange names and what is not additive."""
    found = []
    for number, path in enumerate(sorted(folder.glob("*.cql")), 1):
        name = _FILE.fullmatch(path.name)
        if name is None or int(name.group(1)) != number:
            raise Misconfigured(f"{path.name} is not migration number {number}.", next_step="name it `NNNN_what_it_does.cql`, without gaps.")
        texts = tuple(statements(path.read_text()))
        for text in texts:
            _check_additive(path.name, text)
        found.append(Migration(number, name.group(2), texts, sha256(";".join(texts).encode()).hexdigest()))
    return found


def migrated_tables(migrations: Iterable[Migration]) -> list[Table]:
    """Return the tables as they are after all migrations."""
    found: dict[str, Table] = {}
    for migration in migrations:
        for text in migration.statements:
            if added := _ADD.fullmatch(text):
                found[added.group(2)] = add_columns(found[added.group(2)], {added.group(3): added.group(4)}, origin=migration.name)
            for table in parse_tables(text, None, origin=f"migration {migration.number:04}"):
                found[table.physical] = table
    return list(found.values())


def _check_additive(file: str, statement: str) -> None:
    if not (_CREATE.match(statement) or _ADD.fullmatch(statement)):
        raise Misconfigured(
            f"{file}: `{statement[:60]}` is not additive.",
            next_step="use CREATE TABLE IF NOT EXISTS or ALTER TABLE … ADD IF NOT EXISTS with one column; a change of type is a new table.",
        )


def _qualified(statement: str, keyspace: str, others: dict[str, str]) -> str:
    found = _CREATE.match(statement) or _ADD.fullmatch(statement)
    if found is None:  # pragma: no cover - read_migrations refuses it
        raise AssertionError
    start = found.start(1) if found.group(1) else found.start(2)
    return f"{statement[:start]}{others[found.group(1)] if found.group(1) else keyspace}.{statement[found.start(2) :]}"
