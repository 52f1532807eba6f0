"""Bounds of a read, in a table's own order: compared in memory, or cut into ranges that CQL can say.

`after` (exclusive) and `upto` (inclusive) are beginnings of the clustering key. A row lies after a beginning if it comes
behind every row that starts with it; it lies up to one if it comes before, or starts with it.
"""

from collections.abc import Sequence

import msgspec

from projections.tables import Clustering, Table
from streams.store.cells import value_bytes
from touchline.errors import Misconfigured

__all__ = ["Bound", "Slice", "check_bounds", "in_bounds", "select", "select_many", "slices", "sort_rows", "swap"]

Bound = tuple[str | int, ...]


class Slice(msgspec.Struct, frozen=True):
    """One range of rows: the first columns equal `equal`, the next lies beyond `lower` and before (or at) `upper`.

    `lower` and `upper` are in the table's order, each at most one value; `upper_closed` includes the bound itself.
    """

    equal: Bound
    lower: Bound = ()
    upper: Bound = ()
    upper_closed: bool = False

    def packed(self, table: Table) -> list[bytes]:
        """Return the values to bind, as bytes, in the order in which `condition` names them."""
        columns = [c.column for c in table.clustering]
        fixed = len(self.equal)
        named = [*zip(columns, self.equal, strict=False), *((columns[fixed], value) for value in (*self.lower, *self.upper))]
        return [value_bytes(table, column, value) for column, value in named]

    def condition(self, clustering: Sequence[Clustering]) -> str:
        """Return the CQL that follows `WHERE <partition key>`, with a question mark for each value."""
        clauses = [f" AND {c.column} = ?" for c in clustering[: len(self.equal)]]
        if self.lower:
            column = clustering[len(self.equal)]
            clauses.append(f" AND {column.column} {'<' if column.descending else '>'} ?")
        if self.upper:
            column = clustering[len(self.equal)]
            sign = ">" if column.descending else "<"
            clauses.append(f" AND {column.column} {sign}{'=' if self.upper_closed else ''} ?")
        return "".join(clauses)


def check_bounds(table: Table, after: Bound | None, upto: Bound | None) -> None:
    """Raise `Misconfigured` for a bound that is empty or longer than the clustering key."""
    for bound in (after, upto):
        if bound is not None and not 1 <= len(bound) <= len(table.clustering):
            raise Misconfigured(
                f"table {table.physical}: a bound has {len(bound)} values and the clustering key has {len(table.clustering)}.",
                next_step="pass a beginning of the clustering key.",
            )


def compare(left: Bound, right: Bound, clustering: Sequence[Clustering]) -> int:
    """Return -1, 0 or 1 for the order of two beginnings; where one starts with the other they are equal."""
    for mine, other, column in zip(left, right, clustering, strict=False):
        if mine != other:
            behind = mine > other  # type: ignore[operator]
            return 1 if behind != column.descending else -1
    return 0


def in_bounds(key: Bound, clustering: Sequence[Clustering], after: Bound | None, upto: Bound | None) -> bool:
    """Tell whether a whole clustering key lies within the bounds."""
    return (after is None or compare(key, after, clustering) > 0) and (upto is None or compare(key, upto, clustering) <= 0)


def sort_rows(keys: list[Bound], clustering: Sequence[Clustering]) -> list[Bound]:
    """Sort whole clustering keys in the table's order."""
    if not any(c.descending for c in clustering):
        return sorted(keys)
    for at in range(len(clustering) - 1, -1, -1):
        keys = sorted(keys, key=lambda key, at=at: key[at], reverse=clustering[at].descending)  # type: ignore[misc]
    return keys


def slices(table: Table, after: Bound | None, upto: Bound | None) -> list[Slice]:
    """Return the ranges, in order, that together hold the rows within the bounds; none if no row can be.

    CQL's own comparison of several columns looks at values, not at the table's order, so a table with mixed orders needs
    one range per column of a bound.
    """
    check_bounds(table, after, upto)
    if after is None:
        return [Slice(())] if upto is None else _before(upto, 0)
    if upto is None:
        return _behind(after, 0)
    common = 0
    while common < min(len(after), len(upto)) and after[common] == upto[common]:
        common += 1
    if common == len(upto):
        return _behind(after, common)
    if common == len(after) or compare(after, upto, table.clustering) > 0:
        return []
    last = common == len(upto) - 1
    middle = Slice(after[:common], after[common : common + 1], upto[common : common + 1], upper_closed=last)
    return [*_behind(after, common + 1), middle, *_before(upto, common + 1)]


def _behind(after: Bound, fixed: int) -> list[Slice]:
    """Return the rows behind `after` that share its first `fixed` values: the nearest ones first."""
    return [Slice(after[:at], lower=after[at : at + 1]) for at in range(len(after) - 1, fixed - 1, -1)]


def _before(upto: Bound, fixed: int) -> list[Slice]:
    """Return the rows up to `upto` that share its first `fixed` values: the farthest ones first."""
    last = len(upto) - 1
    return [Slice(upto[:at], upper=upto[at : at + 1], upper_closed=at == last) for at in range(fixed, last + 1)]


def select(table: Table, keyspace: str, part: Slice | None = None) -> str:
    """Return the SELECT of all columns: of a partition's range, with marks for its key, the range's values and a limit; else of the table."""
    query = f"SELECT {', '.join(table.columns)} FROM {keyspace}.{table.physical}"  # noqa: S608 - names of our own .cql files; values are bound
    if part is None:
        return query
    return f"{query} WHERE {' AND '.join(f'{column} = ?' for column in table.partition_key)}{part.condition(table.clustering)} LIMIT ?"


def select_many(table: Table, keyspace: str) -> str:
    """Return the SELECT of several whole partitions: marks for all of the partition key but its last column, and for a list of that one."""
    *fixed, last = table.partition_key
    conditions = " AND ".join([*(f"{column} = ?" for column in fixed), f"{last} IN ?"])
    return f"SELECT {', '.join(table.columns)} FROM {keyspace}.{table.physical} WHERE {conditions}"  # noqa: S608 - as above


def swap(table: Table, keyspace: str, columns: Sequence[str], expected: Sequence[str] | None) -> str:
    """Return the lightweight transaction that sets columns: marks for key and columns of a new row, else for columns, key and what is expected."""
    key = table.primary_key
    if expected is None:
        names = [*key, *columns]
        marks = ", ".join("?" * len(names))
        return f"INSERT INTO {keyspace}.{table.physical} ({', '.join(names)}) VALUES ({marks}) IF NOT EXISTS"  # noqa: S608 - as above
    which = " AND ".join(f"{column} = ?" for column in key)
    condition = " AND ".join(f"{column} = ?" for column in expected) or "EXISTS"
    return f"UPDATE {keyspace}.{table.physical} SET {', '.join(f'{column} = ?' for column in columns)} WHERE {which} IF {condition}"  # noqa: S608 - as above
