"""The tables of the projections, read from the `.cql` beside each: the one source of truth for names, keys and types.

A file holds `CREATE TABLE` statements. A table of a projection is named `<name>_vN` there; `N` becomes the group's version.
Only a small, additive part of CQL is understood, and what the write rules forbid (counters, collections that are not
frozen) is refused here, before a server sees it.
"""

import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from touchline.errors import Misconfigured

__all__ = [
    "COLUMN_TYPES",
    "Clustering",
    "Table",
    "add_columns",
    "parse_tables",
    "projection_tables",
    "readers_use",
    "state_table",
    "statements",
    "timer_tables",
]

COLUMN_TYPES = frozenset(
    {
        "text",
        "int",
        "bigint",
        "double",
        "boolean",
        "blob",
        "frozen<list<text>>",
        "frozen<set<text>>",
        "frozen<map<text,text>>",
        "frozen<map<text,blob>>",
        "frozen<map<text,bigint>>",
    }
)
"""Every column type that the stores can hold. Times are `bigint`, epoch microseconds; ids are `text`."""

_KEY_TYPES = frozenset({"text", "int", "bigint"})
_COMPACTION = "{'class': 'UnifiedCompactionStrategy'}"
_COMMENTS = re.compile(r"--[^\n]*|//[^\n]*|/\*.*?\*/", re.DOTALL)
_CREATE = re.compile(r"create\s+table\s+(?:if\s+not\s+exists\s+)?(?:(\w+)\.)?(\w+)\s*\(", re.IGNORECASE)
_TTL = re.compile(r"^\d+$")
_STATE_COLUMNS = {
    "tenant": "text",
    "subject": "text",
    "projection": "text",
    "state": "blob",
    "recent_ids": "blob",
    "applied_partition": "int",
    "applied_offset": "bigint",
    "appended_us": "bigint",
    "timers": "blob",
    "ties": "blob",
}
_STATE_STATIC = frozenset({"recent_ids", "applied_partition", "applied_offset", "appended_us", "timers", "ties"})
_BY_DAY = "{'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS', 'compaction_window_size': 1}"


class Clustering(msgspec.Struct, frozen=True):
    """One column of the clustering key and its order."""

    column: str
    descending: bool = False


class Table(msgspec.Struct, frozen=True):
    """One table. `name` is what projections say (`timeline`), `physical` what the store has (`timeline_v1`).

    `columns` holds every column with its CQL type, keys first. `keyspace` is "" for the product's own, else the role
    (`keyring`) of another. `options` are those of `WITH`, without the clustering order.
    """

    name: str
    physical: str
    partition_key: tuple[str, ...]
    clustering: tuple[Clustering, ...]
    columns: dict[str, str]
    static: frozenset[str] = frozenset()
    options: dict[str, str] = {}
    keyspace: str = ""

    @property
    def primary_key(self) -> tuple[str, ...]:
        """The columns of the whole key, in order."""
        return (*self.partition_key, *(c.column for c in self.clustering))

    @property
    def default_ttl_s(self) -> int:
        """Seconds after which a row expires that is written without a TTL of its own; 0 = never."""
        return int(self.options.get("default_time_to_live", "0"))

    def cql(self, keyspace: str) -> str:
        """Return the statement that creates this table in a keyspace, if it is not there."""
        lines = [f"{column} {kind}{' static' if column in self.static else ''}" for column, kind in self.columns.items()]
        key = ", ".join([f"({', '.join(self.partition_key)})", *(c.column for c in self.clustering)])
        options = {"compaction": _COMPACTION, **self.options}
        clauses = [f"{name} = {value}" for name, value in options.items()]
        if self.clustering:
            order = ", ".join(f"{c.column} {'DESC' if c.descending else 'ASC'}" for c in self.clustering)
            clauses.insert(0, f"CLUSTERING ORDER BY ({order})")
        return f"CREATE TABLE IF NOT EXISTS {keyspace}.{self.physical} ({', '.join(lines)}, PRIMARY KEY ({key})) WITH {' AND '.join(clauses)}"


def statements(text: str) -> list[str]:
    """Split CQL into statements: comments dropped, white space folded, no semicolons. Strings may not hold either."""
    return [folded for part in _COMMENTS.sub(" ", text).split(";") if (folded := " ".join(part.split()))]


def parse_tables(text: str, version: int | None, *, origin: str = "CQL") -> list[Table]:
    """Return the tables that the `CREATE TABLE` statements of `text` describe; other statements are passed over.

    With a `version`, every name must end in `_vN`, and `N` becomes the version; without one, none may. Raises
    `Misconfigured`, naming `origin`, table and column, for what is not understood or not allowed.
    """
    return [_parse(statement, version, origin) for statement in statements(text) if _CREATE.match(statement)]


def projection_tables(projections: Iterable[object], version: int) -> list[Table]:
    """Return the tables in the `.cql` files beside the modules of these projections; a projection without one has none."""
    found: dict[Path, None] = {}
    for projection in projections:
        kind = projection if isinstance(projection, type) else type(projection)
        found[Path(inspect.getfile(kind)).with_suffix(".cql")] = None
    return [table for path in found if path.exists() for table in parse_tables(path.read_text(), version, origin=path.name)]


def state_table(group: str, version: int) -> Table:
    """Return the table of a group's states: a row per subject and projection, and the subject-wide values as static columns.

    Static, because they are one cell per subject however many projections the group has.
    """
    return Table(
        name=f"{group}_state",
        physical=f"{group}_v{version}_state",
        partition_key=("tenant", "subject"),
        clustering=(Clustering("projection"),),
        columns=dict(_STATE_COLUMNS),
        static=_STATE_STATIC,
    )


def timer_tables(group: str, version: int) -> tuple[Table, Table]:
    """Return the index of a group's timers by the hour in which they expire, and which hours of a Kafka partition hold some.

    A row is the earliest timer of one subject when it was written; the truth is in the states. Hours are those since 1970.
    """
    index = Table(
        name=f"{group}_timer",
        physical=f"{group}_v{version}_timer",
        partition_key=("partition", "bucket_hour"),
        clustering=(Clustering("expires_at"), Clustering("tenant"), Clustering("subject")),
        columns={
            "partition": "int",
            "bucket_hour": "int",
            "expires_at": "bigint",
            "tenant": "text",
            "subject": "text",
            "projection": "text",
            "name": "text",
            "due_at": "bigint",
        },
        options={"compaction": _BY_DAY},
    )
    buckets = Table(
        name=f"{group}_timer_bucket",
        physical=f"{group}_v{version}_timer_bucket",
        partition_key=("partition",),
        clustering=(Clustering("bucket_hour"),),
        columns={"partition": "int", "bucket_hour": "int"},
    )
    return index, buckets


def readers_use(table: Table) -> bool:
    """Tell whether views and digests read this table: no states, no timers, nothing that expires by itself."""
    return not (table.name.endswith(("_state", "_timer", "_timer_bucket")) or table.default_ttl_s)


def add_columns(table: Table, added: Mapping[str, str], *, origin: str = "CQL") -> Table:
    """Return the table with further columns, as `ALTER TABLE … ADD` leaves it."""
    for column, kind in added.items():
        _check_type(origin, table.physical, column, kind)
    return msgspec.structs.replace(table, columns={**table.columns, **added})


def _parse(statement: str, version: int | None, origin: str) -> Table:
    head = _CREATE.match(statement)
    if head is None:  # pragma: no cover - parse_tables has matched it
        raise AssertionError
    keyspace, written = head.group(1) or "", head.group(2).lower()
    name, physical = _names(written, version, origin)
    end = _closing(statement, head.end() - 1)
    columns: dict[str, str] = {}
    static: set[str] = set()
    key = ""
    for part in _split(statement[head.end() : end]):
        words = part.split(None, 1)
        if re.match(r"primary\s+key\s*\(", part, re.IGNORECASE):
            key = part[part.index("(") + 1 : _closing(part, part.index("("))]
            continue
        if len(words) != 2:  # noqa: PLR2004 - a column is a name and a type
            raise _wrong(origin, written, f"`{part}` is no column")
        column, kind = words[0].lower(), words[1].lower()
        if kind.endswith(" primary key"):
            kind, key = kind.removesuffix(" primary key"), column
        if kind.endswith(" static"):
            kind = kind.removesuffix(" static")
            static.add(column)
        columns[column] = _check_type(origin, written, column, kind)
    partition_key, clustering = _key(key)
    order, options = _options(statement[end + 1 :], origin, written)
    for column in (*partition_key, *clustering):
        if columns.get(column) not in _KEY_TYPES:
            raise _wrong(origin, written, f"the key column `{column}` is missing or has a type that no key may have")
    if order and tuple(order) != clustering[: len(order)]:
        raise _wrong(origin, written, "CLUSTERING ORDER BY does not follow the clustering columns")
    ordered = {column: columns[column] for column in (*partition_key, *clustering)} | columns
    return Table(
        name, physical, partition_key, tuple(Clustering(c, order.get(c, False)) for c in clustering), ordered, frozenset(static), options, keyspace
    )


def _names(written: str, version: int | None, origin: str) -> tuple[str, str]:
    name = written.removesuffix("_vn")
    if (version is None) != (name == written):
        raise _wrong(origin, written, "a projection's table ends in `_vN`, and no other does")
    return name, name if version is None else f"{name}_v{version}"


def _key(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    parts = [part.lower() for part in _split(text)]
    first = parts[0] if parts else ""
    return tuple(_split(first.strip("() "))), tuple(parts[1:])


def _options(text: str, origin: str, table: str) -> tuple[dict[str, bool], dict[str, str]]:
    """Return the clustering order (column -> descending) and the other options as written."""
    order: dict[str, bool] = {}
    options: dict[str, str] = {}
    body = re.sub(r"^\s*with\s+", "", text, flags=re.IGNORECASE).strip()
    for clause in re.split(r"\s+and\s+", body, flags=re.IGNORECASE) if body else []:
        if found := re.fullmatch(r"clustering\s+order\s+by\s*\((.*)\)", clause, re.IGNORECASE):
            for part in _split(found.group(1)):
                column, _, direction = part.lower().partition(" ")
                order[column] = direction.strip() == "desc"
            continue
        name, equals, value = (part.strip() for part in clause.partition("="))
        if not equals:
            raise _wrong(origin, table, f"the option `{clause}` is not understood")
        options[name.lower()] = value
    if not _TTL.match(options.get("default_time_to_live", "0")):
        raise _wrong(origin, table, "default_time_to_live is not a number of seconds")
    return order, options


def _check_type(origin: str, table: str, column: str, kind: str) -> str:
    plain = re.sub(r"\s+", "", kind.lower())
    if plain not in COLUMN_TYPES:
        raise _wrong(origin, table, f"the column `{column}` has the type `{plain}`, which the stores do not hold")
    return plain


def _split(text: str) -> list[str]:
    """Split at commas that stand in no bracket."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text):
        depth += (char in "(<{") - (char in ")>}")
        if char == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    return [part for part in (*parts, text[start:].strip()) if part]


def _closing(text: str, opening: int) -> int:
    """Return where the bracket that opens at `opening` closes."""
    depth = 0
    for at in range(opening, len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if depth == 0:
            return at
    return len(text)


def _wrong(origin: str, table: str, why: str) -> Misconfigured:
    return Misconfigured(f"{origin}: table `{table}`: {why}.", next_step=f"correct {origin}; types: {', '.join(sorted(COLUMN_TYPES))}.")
