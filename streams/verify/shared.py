"""The second look at rows that are nobody's: figures across customers, and lists such as which teams had alerts of a day.

Nobody's state says how far they have come. So one differs if it holds the same two values twice, and both versions have passed, in
between, whatever either had read at the first look; what changes from look to look is told of as not comparable.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from projections.digest import Decode, Difference, differing_columns, encoded, reduced_row, sums_added
from streams.store.port import Checkpoint, GroupVersion, Store
from streams.verify.expected import Expectations
from streams.verify.looks import settling
from streams.verify.sides import Pair, Sides
from streams.verify.sums import SharedRow

__all__ = ["SHARED_MAX", "SharedOutcome", "settle_shared"]

SHARED_MAX: Final = 1000
"""Shared rows that are looked at; further ones that may differ are counted."""

ROUNDS_MAX: Final = 6


class SharedOutcome(msgspec.Struct):
    """What looking came to, in rows. `differences` are those of the different ones, column by column."""

    differences: list[Difference] = msgspec.field(default_factory=list)
    different: int = 0
    moving: int = 0
    unlooked: int = 0


class _Seen(NamedTuple):
    """A row's two values at one look, and the offset per partition that both versions must have passed at the next one."""

    values: bytes
    passed: Mapping[int, int]


async def settle_shared(
    store: Store, sides: Sides, expected: Expectations, rows: Sequence[SharedRow], decode: Decode, *, pause: Callable[[float], Awaitable[None]]
) -> SharedOutcome:
    """Decide about these rows. Raises `Retryable` as the store does."""
    outcome = SharedOutcome(unlooked=max(0, len(rows) - SHARED_MAX))
    pairs = {pair.name: pair for pair in sides.pairs}
    pending, once = list(rows[:SHARED_MAX]), dict[SharedRow, _Seen]()
    for number in range(ROUNDS_MAX):
        if not pending:
            break
        if number:
            await pause(settling(number))
        checkpoints = [await store.load_checkpoints(version) for version in sides.versions]
        again: list[SharedRow] = []
        for row in pending:
            before, after = await asyncio.gather(*[_value(store, pairs[row.table], side, row, decode) for side in (0, 1)])
            found = _differences(pairs[row.table], row, before, after, expected)
            if not found:
                continue
            values, last = encoded((before, after)), once.get(row)
            if last is not None and last.values == values and _have_passed(checkpoints, last.passed):
                outcome.differences += found
                outcome.different += 1
                continue
            if last is None or last.values != values:
                once[row] = _Seen(values, await _farthest(store, sides.versions))
            again.append(row)
        pending = again
    outcome.moving = len(pending)
    return outcome


async def _value(store: Store, pair: Pair, side: int, wanted: SharedRow, decode: Decode) -> dict[str, Any] | None:
    """Return the row as readers see it, reduced: of a figure the sum over all Kafka partitions."""
    table, key = pair[side], wanted.values()
    found: dict[str, Any] | None = None
    for row in await store.read(table.physical, dict(zip(table.partition_key, key, strict=False))):
        one = reduced_row(table, row, decode=decode)
        if one is None or encoded(one[0]) != wanted.key:
            continue
        cells = one[1]
        if pair.is_figures:
            cells["sums"] = sums_added((found or {}).get("sums"), cells.get("sums"))
        found = cells
    return None if found is not None and pair.is_figures and not found["sums"] else found


def _differences(pair: Pair, row: SharedRow, before: dict[str, Any] | None, after: dict[str, Any] | None, expected: Expectations) -> list[Difference]:
    sides = [cells for cells in (before, after) if cells is not None]
    if any(expected.of_row(row.table, cells) for cells in sides):
        return []
    key = tuple(row.values())
    if pair.is_figures:
        sums = [(cells or {}).get("sums", {}) for cells in (before, after)]
        if any(expected.of_columns(row.table, cells) for cells in sides):
            return []
        names = sorted(name for name in sums[0].keys() | sums[1].keys() if sums[0].get(name) != sums[1].get(name))
        return [Difference(row.table, key, f"sums.{name}", sums[0].get(name), sums[1].get(name)) for name in names]
    if before is None or after is None:
        return [] if before is after else [Difference(row.table, key, "", before, after)]
    wanted = {one.column for cells in sides for one in expected.of_columns(row.table, cells)}
    return [
        Difference(row.table, key, column, before.get(column), after.get(column))
        for column in differing_columns(before, after)
        if column not in wanted
    ]


async def _farthest(store: Store, versions: tuple[GroupVersion, GroupVersion]) -> dict[int, int]:
    """Return, by partition, how far the version has come that has come farther."""
    found: dict[int, int] = {}
    for version in versions:
        for partition, checkpoint in (await store.load_checkpoints(version)).items():
            found[partition] = max(found.get(partition, 0), checkpoint.next_offset)
    return found


def _have_passed(checkpoints: Sequence[Mapping[int, Checkpoint]], passed: Mapping[int, int]) -> bool:
    return all(
        found.get(partition) is not None and found[partition].next_offset >= upto for partition, upto in passed.items() for found in checkpoints
    )
