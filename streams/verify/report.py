"""What comparing two versions came to, for people and as JSON: counts side by side, who differs, where, and which event caused it.

Nothing sealed is opened: a sealed part of a row is shown as `(sealed)`, and bodies lose what is sealed in them.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from projections.digest import Difference
from projections.tables import Table
from streams.excerpts import counted
from streams.plain import is_time, plain_json, utc
from streams.verify.causes import Cause
from streams.verify.sums import Customer

__all__ = ["NOT_COMPARABLE_SHARE_MAX", "Expecting", "Report", "ShownCustomer", "ShownDifference", "shown"]

NOT_COMPARABLE_SHARE_MAX: Final = 0.01
"""Versions do not count as equal if a greater share of the customers never stood still: nobody knows about them."""

_NOT_COMPARABLE_FEW: Final = 10


class ShownDifference(msgspec.Struct, frozen=True):
    """One place in which two versions differ, in readable form. `column` "": the row stands on one side only, the other one is None."""

    table: str
    key: dict[str, Any]
    column: str
    active: Any
    candidate: Any
    cause: Cause | None

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        return {
            "table": self.table,
            "key": self.key,
            "column": self.column or None,
            "active": self.active,
            "candidate": self.candidate,
            "cause": self.cause and _cause_json(self.cause),
        }


class ShownCustomer(msgspec.Struct, frozen=True):
    """A customer who differs: some of the places, and how many there are in all. `customer_id` "": rows that are nobody's."""

    tenant: str
    customer_id: str
    differences: list[ShownDifference]
    n: int


class Expecting(msgspec.Struct, frozen=True):
    """What was expected, and how many rows of either version it took."""

    text: str
    active: int
    candidate: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome. Counts are customers, `rows` by table those of (active, candidate) that readers use; `shared_*` count rows of nobody.

    `different` were confirmed; `unlooked` may differ too, nobody looked once there were enough. `as_expected` differ in what was
    expected and in nothing else. `not_comparable` never stood still, or wait, parked in the active version. `parked` wait in the candidate.
    """

    group: str
    active: int
    candidate: int
    rows: dict[str, tuple[int, int]]
    added: list[str]
    missing: list[str]
    customers: int
    different: int
    unlooked: int
    as_expected: int
    not_comparable: int
    shared_different: int
    shared_not_comparable: int
    shared_unlooked: int
    expected: list[Expecting]
    details: list[ShownCustomer]
    parked: int
    share: float
    offsets: dict[int, tuple[int, int]]

    @property
    def equal(self) -> bool:
        """Whether the candidate may take the active version's place: nothing differs but what was expected, and enough could be seen."""
        return not self.reasons

    @property
    def reasons(self) -> list[str]:
        """Why it may not, one sentence each; none: it may."""
        found = []
        if self.parked:
            found.append(
                f"{counted(self.parked, 'customer')} wait{'s' if self.parked == 1 else ''} in v{self.candidate}, parked: `touchline parked list`"
            )
        if self.missing:
            found.append(f"v{self.candidate} lacks the table{'s' if len(self.missing) > 1 else ''} {', '.join(self.missing)}")
        if self.different or self.unlooked:
            more = f"; {self.unlooked:,} more may, nobody looked" if self.unlooked else ""
            found.append(f"{counted(self.different, 'customer')} differ{'s' if self.different == 1 else ''}{more}")
        if self.shared_different or self.shared_unlooked:
            more = f"; {self.shared_unlooked:,} more may, nobody looked" if self.shared_unlooked else ""
            found.append(
                f"{counted(self.shared_different, 'row')} of nobody (figures, lists) differ{'s' if self.shared_different == 1 else ''}{more}"
            )
        if self.not_comparable > max(_NOT_COMPARABLE_FEW, NOT_COMPARABLE_SHARE_MAX * self.customers):
            found.append(f"{counted(self.not_comparable, 'customer')} could not be compared: run it again when less is going on")
        return found

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        return {
            "group": self.group,
            "version": self.candidate,
            **self.summary(),
            "rows": {table: {"active": ours, "candidate": theirs} for table, (ours, theirs) in self.rows.items()},
            "only_in_candidate": self.added,
            "only_in_active": self.missing,
            "as_expected": self.as_expected,
            "not_looked_at": self.unlooked,
            "shared_rows": {"different": self.shared_different, "not_comparable": self.shared_not_comparable, "not_looked_at": self.shared_unlooked},
            "offsets": {str(partition): {"active": ours, "candidate": theirs} for partition, (ours, theirs) in self.offsets.items()},
            "reasons": self.reasons,
            "details": [
                {"tenant": one.tenant, "customer_id": one.customer_id or None, "n": one.n, "differences": [each.json() for each in one.differences]}
                for one in self.details
            ],
        }

    def summary(self) -> dict[str, Any]:
        """Return what is kept with the version (`Versions.note_verified`), for whoever promotes it."""
        return {
            "equal": self.equal,
            "customers": self.customers,
            "different": self.different + self.unlooked,
            "not_comparable": self.not_comparable,
            "parked": self.parked,
            "expected": [{"expect": one.text, "active_rows": one.active, "candidate_rows": one.candidate} for one in self.expected],
            "against": self.active,
            "sample": self.share,
        }

    def noted(self) -> str:
        """Return `summary` as text."""
        return json.dumps(self.summary(), ensure_ascii=False)


def shown(table: Table, customer: Customer, difference: Difference, cause: Cause | None) -> ShownDifference:
    """Return a difference in readable form; the key's columns by name, without the tenant and the customer whom the report names anyway."""
    key = dict(zip(table.primary_key, difference.key, strict=False))
    known = dict(zip(("tenant", "customer_id"), customer, strict=True))
    named = {name: _cell(table, name, value) for name, value in key.items() if value is not None and value != known.get(name)}
    before, after = difference.before, difference.after
    if difference.column:
        column = difference.column
        return ShownDifference(difference.table, named, column, _cell(table, column, before), _cell(table, column, after), cause)
    return ShownDifference(difference.table, named, "", _row(table, before), _row(table, after), cause)


def _row(table: Table, cells: object) -> dict[str, Any] | None:
    """Return the columns of a row that stands on one side only, those of its key left out; None for the side without it."""
    if not isinstance(cells, Mapping):
        return None
    return {name: _cell(table, name, value) for name, value in cells.items() if name not in table.primary_key}


def _cell(table: Table, column: str, value: object) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, int) and is_time(column, table.columns.get(column, "")):
        return utc(value)
    return plain_json(value)


def _cause_json(cause: Cause) -> dict[str, Any]:
    return {
        "kind": cause.kind,
        "name": cause.name or None,
        "id": cause.id or None,
        "at": None if cause.at_us is None else utc(cause.at_us),
        "partition": None if cause.partition < 0 else cause.partition,
        "offset": None if cause.offset < 0 else cause.offset,
    }
