"""The digest: one hash of what a version of a group shows its readers. Knows tables and rows; must not know who stores them.

Two versions, two drivers or two orders of arrival that mean the same have the same digest (engine.md §5). Left out is what
may differ without meaning: tables that readers do not use, hidden timeline rows and months that hold nothing else, and the
columns `sealed*`, `src_*`, `applied_*`, `as_of`, `updated_at`. A timeline bucket of a day counts as its month: which events
lie above the cap depends on arrival, and readers read all buckets of a month as one. Figures count as readers see them: the
partial values of all partitions added up. Rows of open clocks that have moved or closed are on their way out and do not count. Nor does what lies
under a customer who is linked to another one: readers are led on to that one, who has all of it, and how much came before the link is a
question of arrival.

Rows are dictionaries of all their columns, by logical table name. A column that is None and one that is absent are the
same. `body` may be a `Record`, or stored bytes beside `schema_id`; with `decode` both have the same digest.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Final

import msgspec

from projections.tables import Table, readers_use
from schemas.record import Event, Record

__all__ = [
    "Decode",
    "Difference",
    "Rows",
    "difference",
    "differing_columns",
    "digest",
    "digests_by_customer",
    "encoded",
    "linked_away",
    "owner_of",
    "reduced",
    "reduced_row",
    "sums_added",
]

Rows = Mapping[str, Iterable[Mapping[str, object]]]
"""Rows by logical table name (`timeline`, not `timeline_v1`)."""

Decode = Callable[[int, bytes], object]
"""(schema_id, body) -> the record; what `Codec` does behind its framing."""

_LEFT_OUT_PREFIXES: Final = ("sealed", "src_", "applied_")
_LEFT_OUT: Final = frozenset({"as_of", "updated_at"})
_GONE: Final = frozenset({"moved", "closed"})
_MONTH_CHARS: Final = len("2026-01")

_encode = msgspec.msgpack.Encoder(order="sorted").encode

_Key = tuple[object, ...]
_Cells = dict[str, object]


class Difference(msgspec.Struct, frozen=True):
    """One way in which two sets of rows differ. `column` is "" where the whole row stands on one side only (the other is None)."""

    table: str
    key: tuple[object, ...]
    column: str
    before: object
    after: object

    def __str__(self) -> str:
        where = f"{self.table}{list(self.key)}"
        if self.column:
            return f"{where}.{self.column}: {_short(self.before)} -> {_short(self.after)}"
        return f"{where}: {'only after' if self.before is None else 'only before'}"


def digest(tables: Iterable[Table], rows: Rows, *, decode: Decode | None = None) -> str:
    """Return the SHA-256, in hex, of the rows of those tables that readers use; sorted, so that no order of rows matters."""
    return _hash(_seen_by_readers(tables, rows, decode))


def digests_by_customer(tables: Iterable[Table], rows: Rows, *, decode: Decode | None = None) -> dict[tuple[str, str], str]:
    """Return a digest per (tenant, customer_id). A row without a customer_id counts for its home, else for ("", "")."""
    owned: dict[tuple[str, str], dict[str, dict[_Key, _Cells]]] = {}
    for table, found in _seen_by_readers(tables, rows, decode).items():
        for key, cells in found.items():
            owned.setdefault(owner_of(cells), {}).setdefault(table, {})[key] = cells
    return {owner: _hash(found) for owner, found in sorted(owned.items())}


def reduced(tables: Iterable[Table], rows: Rows, *, decode: Decode | None = None) -> dict[str, list[dict[str, object]]]:
    """Return what the digest sees of the rows, sorted by key: for golden files and for showing."""
    seen = _seen_by_readers(tables, rows, decode)
    return {table: [seen[table][key] for key in sorted(seen[table], key=_encode)] for table in sorted(seen)}


def difference(tables: Iterable[Table], before: Rows, after: Rows, *, limit: int = 100, decode: Decode | None = None) -> list[Difference]:
    """Return how two sets of rows differ in what the digest sees, at most `limit` places, sorted by table and key."""
    tables = tuple(tables)
    left, right = _seen_by_readers(tables, before, decode), _seen_by_readers(tables, after, decode)
    found: list[Difference] = []
    for table in sorted(left.keys() | right.keys()):
        ours, theirs = left.get(table, {}), right.get(table, {})
        for key in sorted(ours.keys() | theirs.keys(), key=_encode):
            if len(found) >= limit:
                return found[:limit]
            found.extend(_compare(table, key, ours.get(key), theirs.get(key)))
    return found[:limit]


def reduced_row(table: Table, row: Mapping[str, object], *, decode: Decode | None = None) -> tuple[_Key, _Cells] | None:
    """Return what the digest sees of one row of a reader table, and under which key; None if it does not count.

    For rows that come one after the other (`streams/verify/sums.py`). Two things show only beside other rows: the partial
    values of a figure lie under one key and are added up (`sums_added`), and a month counts if a row of the timeline in it does.
    Several rows under one key are the same row: a timeline's bucket of a month and of a day in it.
    """
    if (table.name == "timeline" and row.get("hidden")) or (table.name == "open_clock" and row.get("state") in _GONE):
        return None
    cells = _cells(table, row, decode)
    return tuple(cells.get(column) for column in table.primary_key), cells


def linked_away(customers: Iterable[Mapping[str, object]]) -> set[tuple[str, str]]:
    """Return who is linked to another customer, (tenant, customer), by the rows of the table `customer`."""
    return {owner_of(row) for row in customers if row.get("canonical_id")}


def sums_added(*sums: object) -> dict[str, int]:
    """Add up partial values of a figure; what comes to nothing is not there."""
    total: Counter[str] = Counter()
    for one in sums:
        total.update(one if isinstance(one, dict) else {})
    return {name: n for name, n in total.items() if n}


def owner_of(cells: Mapping[str, object]) -> tuple[str, str]:
    """Return (tenant, customer) whose row it is: without a customer_id its home's; without either, nobody's (`""`)."""
    return str(cells.get("tenant") or ""), str(cells.get("customer_id") or cells.get("home_customer_id") or "")


def encoded(value: object) -> bytes:
    """Return a value of a row, or a whole row, as the bytes that digests are made of."""
    return _encode(value)


def differing_columns(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """Return the columns in which two reduced rows differ, sorted."""
    return [column for column in sorted(before.keys() | after.keys()) if _encode(before.get(column)) != _encode(after.get(column))]


def _compare(table: str, key: _Key, before: _Cells | None, after: _Cells | None) -> list[Difference]:
    if before is None or after is None:
        return [Difference(table, key, "", before, after)]
    return [Difference(table, key, column, before.get(column), after.get(column)) for column in differing_columns(before, after)]


def _seen_by_readers(tables: Iterable[Table], rows: Rows, decode: Decode | None) -> dict[str, dict[_Key, _Cells]]:
    """Return the rows that count, by table and key, reduced to the columns that count."""
    seen: dict[str, dict[_Key, _Cells]] = {}
    customers = list(rows.get("customer", ()))
    linked = linked_away(customers)
    for table in tables:
        if not readers_use(table):
            continue
        kept: dict[_Key, _Cells] = {}
        for row in customers if table.name == "customer" else rows.get(table.name, ()):
            found = reduced_row(table, row, decode=decode)
            if found is None or (linked and owner_of(row) in linked):
                continue
            key, cells = found
            if "sums" in table.columns:
                cells["sums"] = sums_added(kept.get(key, {}).get("sums"), cells.get("sums"))
            kept[key] = cells
        seen[table.name] = {key: cells for key, cells in kept.items() if cells["sums"]} if "sums" in table.columns else kept
    if "timeline" in seen and "timeline_months" in seen:
        shown = {(cells["tenant"], cells["customer_id"], cells["month"]) for cells in seen["timeline"].values()}
        seen["timeline_months"] = {key: cells for key, cells in seen["timeline_months"].items() if key in shown}
    return {table: kept for table, kept in seen.items() if kept}


def _cells(table: Table, row: Mapping[str, object], decode: Decode | None) -> _Cells:
    cells = {
        column: value for column, value in row.items() if value is not None and column not in _LEFT_OUT and not column.startswith(_LEFT_OUT_PREFIXES)
    }
    body, schema_id = cells.get("body"), cells.get("schema_id")
    if decode is not None and isinstance(body, bytes) and isinstance(schema_id, int):
        cells["body"] = decode(schema_id, body)
        del cells["schema_id"]
    if table.name.startswith("timeline"):
        cells["month"] = str(cells["month"])[:_MONTH_CHARS]
    return cells


def _hash(seen: Mapping[str, Mapping[_Key, _Cells]]) -> str:
    hashed = sha256()
    for table in sorted(seen):
        hashed.update(_encode(table))
        for row in sorted(_encode(cells) for cells in seen[table].values()):
            hashed.update(row)
    return hashed.hexdigest()


def _short(value: object) -> str:
    shown = msgspec.json.encode(value, order="sorted").decode() if isinstance(value, Record | Event) else repr(value)
    return shown if len(shown) <= 200 else f"{shown[:200]}…"  # noqa: PLR2004 - a line
