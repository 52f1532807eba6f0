"""The second look: customers who may differ, one by one, compared when they stand still. Over the store port only.

Versions that are live move while we look. A customer is compared only if neither version has applied anything of his beyond the
other's checkpoint, and nothing while his rows were read; and he differs only if he does so twice in the same way, some time apart
(rows of other partitions are written a moment before a customer's state). Who never stands still is told of as not comparable.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from projections.digest import Decode, Difference, differing_columns, encoded, reduced, reduced_row
from projections.kernel import Subject
from projections.tables import Table
from streams.store.port import Checkpoint, StateRow, Store
from streams.verify.expected import Expectations
from streams.verify.rows import CustomerRows, Found
from streams.verify.sides import Sides
from streams.verify.sums import Customer

__all__ = ["DIFFERENT_MAX", "Differing", "Looks", "Outcome", "settling"]

DIFFERENT_MAX: Final = 1000
"""So many different customers are enough: the others that may differ are counted, not looked at."""

DIFFERENCES_MAX: Final = 100
"""Differences of one customer that are kept."""

SEALED: Final = "(sealed)"
"""What is shown of a sealed part."""

ROUNDS_MAX: Final = 6
_AT_ONCE: Final = 32

Both = tuple[dict[int, Checkpoint], dict[int, Checkpoint]]
States = tuple[dict[Subject, StateRow], dict[Subject, StateRow]]


class Differing(NamedTuple):
    """A customer who differs: the first differences, and how many there are in all."""

    customer: Customer
    differences: list[Difference]
    n: int


class Outcome(msgspec.Struct):
    """What looking came to. `moving` never stood still, `too_large` have too many rows, `unlooked` were left when it was enough."""

    different: list[Differing] = msgspec.field(default_factory=list)
    moving: list[Customer] = msgspec.field(default_factory=list)
    too_large: list[Customer] = msgspec.field(default_factory=list)
    as_expected: int = 0
    unlooked: int = 0


class _Look(NamedTuple):
    """One look at one customer. `differences` None: too large; `stands` only matters if there are any."""

    customer: Customer
    differences: list[Difference] | None
    as_expected: bool = False
    stands: bool = True


class Looks:
    """Looks at customers in rounds. `pause` waits, some seconds, between them."""

    def __init__(
        self, store: Store, sides: Sides, expected: Expectations, decode: Decode, *, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._store = store
        self._sides = sides
        self._expected = expected
        self._decode = decode
        self._pause = pause
        self._rows = CustomerRows(store, sides)
        self._tables = [pair.active for pair in sides.pairs if not pair.is_figures]

    async def settle(self, customers: Sequence[Customer], told: Callable[[str, int], None] | None = None) -> Outcome:
        """Decide about these customers. `told` hears (what is being done, how many of it). Raises `Retryable` as the store does."""
        outcome, once = Outcome(), dict[Customer, bytes]()
        pending = customers
        if pending:
            await self._rows.gather(pending, partial(told, "rows read to find theirs") if told else None)
        for number in range(ROUNDS_MAX):
            if not pending:
                break
            if number:
                await self._pause(settling(number))
            left, again = len(pending), list[Customer]()
            for start in range(0, len(pending), _AT_ONCE):
                batch = pending[start : start + _AT_ONCE]
                if len(once) + len(outcome.different) >= DIFFERENT_MAX and number == 0:
                    outcome.unlooked += left
                    break
                for look in await self._look(batch):
                    self._decide(look, outcome, once, again)
                left -= len(batch)
                if told:
                    told("customers to look at" if number == 0 else f"customers to look at again ({number})", left)
            pending = again
        outcome.moving += pending
        return outcome

    def _decide(self, look: _Look, outcome: Outcome, once: dict[Customer, bytes], again: list[Customer]) -> None:
        customer, differences = look.customer, look.differences
        if differences is None:
            outcome.too_large.append(customer)
        elif not differences:
            once.pop(customer, None)
            outcome.as_expected += look.as_expected
        elif not look.stands:
            once.pop(customer, None)
            again.append(customer)
        elif once.get(customer) != (seen := _fingerprint(differences)):
            once[customer] = seen
            again.append(customer)
        else:
            del once[customer]
            outcome.different.append(Differing(customer, differences[:DIFFERENCES_MAX], len(differences)))

    async def _look(self, customers: Sequence[Customer]) -> list[_Look]:
        subjects = [Subject(*customer) for customer in customers]
        checkpoints = await self._checkpoints()
        before = await self._states(subjects)
        self._rows.forget()
        looks = list(await asyncio.gather(*map(self._compare, customers)))
        moved = [Subject(*look.customer) for look in looks if look.differences]
        after = await self._states(moved) if moved else before
        return [look._replace(stands=_stands(Subject(*look.customer), checkpoints, before, after)) if look.differences else look for look in looks]

    async def _compare(self, customer: Customer) -> _Look:
        ours, theirs = await asyncio.gather(self._rows.read(customer, 0), self._rows.read(customer, 1))
        if ours is None or theirs is None:
            return _Look(customer, None)
        return self._difference(customer, ours, theirs)

    def _difference(self, customer: Customer, ours: Found, theirs: Found) -> _Look:
        before, after = (reduced(self._tables, rows, decode=self._decode) for rows in (ours, theirs))
        found: list[Difference] = []
        as_expected = False
        for table in self._tables:
            name = table.name
            left, right = ({tuple(cells.get(c) for c in table.primary_key): cells for cells in side.get(name, ())} for side in (before, after))
            for key in sorted(left.keys() | right.keys(), key=encoded):
                old, new = left.get(key), right.get(key)
                columns = [""] if old is None or new is None else differing_columns(old, new)
                if columns and any(self._expected.of_row(name, cells) for cells in (old, new) if cells is not None):
                    columns, as_expected = [], True
                if wanted := {one.column for cells in (old, new) if cells for one in self._expected.of_columns(name, cells)}.intersection(columns):
                    columns, as_expected = [column for column in columns if column not in wanted], True
                for column in columns:
                    if old is None or new is None:
                        lone = (old, ours) if new is None else (new, theirs)
                        shown = self._with_sealed(table, key, *lone)
                        found.append(Difference(name, key, "", shown if new is None else None, shown if old is None else None))
                    else:
                        found.append(Difference(name, key, column, old.get(column), new.get(column)))
        return _Look(customer, found, as_expected)

    def _with_sealed(self, table: Table, key: tuple[object, ...], cells: Mapping[str, object] | None, rows: Found) -> dict[str, object]:
        """Return a row that stands on one side only, and in place of its sealed part, which digests leave out, that it has one."""
        raw = [row for row in rows.get(table.name, ()) if row.get("sealed") is not None]
        has_one = any(found is not None and found[0] == key for row in raw if (found := reduced_row(table, row, decode=self._decode)))
        return {**(cells or {}), **({"sealed": SEALED} if has_one else {})}

    async def _checkpoints(self) -> Both:
        active, candidate = self._sides.versions
        return await self._store.load_checkpoints(active), await self._store.load_checkpoints(candidate)

    async def _states(self, subjects: Sequence[Subject]) -> States:
        active, candidate = self._sides.versions
        return await self._store.load_states(active, subjects), await self._store.load_states(candidate, subjects)


def settling(number: int) -> float:
    """Return how long to wait before this round, in seconds: 1, 2, 4, and 8 from then on."""
    return float(min(2 ** (number - 1), 8))


def _stands(subject: Subject, checkpoints: Both, before: States, after: States) -> bool:
    """Tell whether a subject stood still, with nothing applied in either version that lies beyond the other's checkpoint."""
    for ours, theirs in ((0, 1), (1, 0)):
        row, later = before[ours].get(subject), after[ours].get(subject)
        if (row and (row.applied_partition, row.applied_offset)) != (later and (later.applied_partition, later.applied_offset)):
            return False
        if row is not None:
            checkpoint = checkpoints[theirs].get(row.applied_partition)
            if checkpoint is None or row.applied_offset >= checkpoint.next_offset:
                return False
    return True


def _fingerprint(differences: Sequence[Difference]) -> bytes:
    return sha256(encoded([(one.table, one.key, one.column, one.before, one.after) for one in differences])).digest()
