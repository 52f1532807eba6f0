"""The first look at two versions: a sum of hashes per customer, over whole tables read page by page. Tells who may differ, not how.

Rows are reduced to what the digest sees (`projections/digest.py`), hashed, and added up modulo 2**256: no order matters, and nothing
is held but one number per customer, the active version's sum less the candidate's. Where that is 0 the rows are the same. Where it
is not, a second look decides (`streams/verify/looks.py`): a bucket of a day counts beside its month's here, a month that holds
nothing shown counts too, and tables that are being written have moved between the two readings.

Customers are dealt into 1, 2, 4 ... parts by a hash as soon as there are too many for the memory; then each part is a pass of its own.
"""

from collections.abc import AsyncIterator, Callable
from hashlib import blake2b, sha256
from typing import Any, Final, NamedTuple

import msgspec

from projections.digest import Decode, encoded, owner_of, reduced_row
from streams.store.port import Store
from streams.verify.expected import Expectation, Expectations
from streams.verify.sides import Pair, Sides

__all__ = ["CUSTOMERS_MAX", "Counted", "Customer", "SharedRow", "Sums", "Suspects"]

CUSTOMERS_MAX: Final = 500_000
"""Customers of one pass: some 200 bytes each."""

PARTS_MAX: Final = 2**16
"""More parts than that are never needed: thirty billion customers."""

_MODULUS: Final = 2**256
_SAMPLE_OF: Final = 2**32
_ACTIVE, _CANDIDATE = 0, 1

Customer = tuple[str, str]
"""(tenant, customer_id)."""


class SharedRow(NamedTuple):
    """A row that is no customer's: of which table (logical name), under which reduced key, MessagePack."""

    table: str
    key: bytes

    def values(self) -> list[Any]:
        """Return the key's values, in the order of the table's primary key."""
        found: list[Any] = msgspec.msgpack.decode(self.key)
        return found


class Counted(msgspec.Struct):
    """What was counted on the way, whole: rows that count by table as [active, candidate], and rows that expectations took."""

    rows: dict[str, list[int]] = msgspec.field(default_factory=dict)
    expected: dict[str, list[int]] = msgspec.field(default_factory=dict)
    read: int = 0


class Suspects(NamedTuple):
    """What one pass came to. `as_expected` counts customers that differ in what is expected and in nothing else."""

    customers: list[Customer]
    shared: list[SharedRow]
    looked_at: int
    as_expected: int


class _Pass:
    """The sums of one part of the customers, and of the rows that are nobody's."""

    __slots__ = ("full", "part", "parts", "rest", "shared")

    def __init__(self, part: int, parts: int) -> None:
        self.part, self.parts = part, parts
        self.rest: dict[Customer, int] = {}
        self.full: dict[Customer, int] = {}
        self.shared: dict[SharedRow, Any] = {}

    def __len__(self) -> int:
        return len(self.rest) + len(self.shared)

    def halve(self) -> None:
        """Keep one half of the customers; the other one gets a pass of its own."""
        self.parts *= 2
        self.rest = {customer: n for customer, n in self.rest.items() if _number(*customer) % self.parts == self.part}
        self.full = {customer: n for customer, n in self.full.items() if customer in self.rest}
        self.shared = {row: n for row, n in self.shared.items() if _number(*row) % self.parts == self.part}


class Sums:
    """Reads both versions. `share` of the customers, by a hash, are looked at; rows that are nobody's all are.

    `told` is called with the number of rows that were read so far.
    """

    def __init__(
        self,
        store: Store,
        sides: Sides,
        expected: Expectations,
        decode: Decode,
        *,
        share: float = 1.0,
        customers_max: int = CUSTOMERS_MAX,
        told: Callable[[int], None] | None = None,
    ) -> None:
        self._store = store
        self._sides = sides
        self._expected = expected
        self._decode = decode
        self._sample_below = round(share * _SAMPLE_OF)
        self._customers_max = customers_max
        self._told = told or (lambda _: None)
        self.counted = Counted(rows={pair.name: [0, 0] for pair in sides.pairs}, expected={one.text: [0, 0] for one in expected.all})

    async def passes(self) -> AsyncIterator[Suspects]:
        """Yield what each pass finds. Raises `Retryable` as the store does."""
        part, parts = 0, 1
        while part < parts:
            one = _Pass(part, parts)
            for pair in self._sides.pairs:
                for side in (_ACTIVE, _CANDIDATE):
                    await self._read(one, pair, side, counts=part == 0)
            parts = max(parts, one.parts)  # only the first pass can find that there are more than fit
            part += 1
            yield _suspects(one)

    async def _read(self, one: _Pass, pair: Pair, side: int, *, counts: bool) -> None:
        counted = self.counted
        async for page in self._store.pages(pair[side].physical):
            n = self._add(one, pair, side, page, counts=counts)
            counted.read += len(page)
            if counts:
                counted.rows[pair.name][side] += n
            while len(one) > self._customers_max and one.part == 0 and one.parts < PARTS_MAX:
                one.halve()
            self._told(counted.read)

    def _add(self, one: _Pass, pair: Pair, side: int, page: list[dict[str, Any]], *, counts: bool) -> int:
        """Add one page of one version; return how many of its rows count. Hot path."""
        table, sign = pair[side], 1 if side == _ACTIVE else -1
        name, expected = table.name, self._expected.concern(table.name)
        known: Customer = ("", "")
        is_chosen, n = False, 0
        for row in page:
            found = reduced_row(table, row, decode=self._decode)
            if found is None:
                continue
            key, cells = found
            n += 1
            rest: dict[str, Any] | None = cells
            if expected:
                rest = self._rest(name, cells, side, counts=counts)
            customer = owner_of(cells)
            if pair.is_figures or not customer[1]:
                at = SharedRow(name, encoded(key))
                if rest is not None and _number(*at) % one.parts == one.part:
                    one.shared[at] = _added(one.shared.get(at), rest, sign, is_figure=pair.is_figures)
                continue
            if customer != known:
                known, number = customer, _number(*customer)
                is_chosen = number % one.parts == one.part and number >> 32 < self._sample_below
            if not is_chosen:
                continue
            hashed = _hashed(name, cells)
            sums = one.rest
            if rest is cells:
                sums[customer] = (sums.get(customer, 0) + sign * hashed) % _MODULUS
            else:
                sums[customer] = (sums.get(customer, 0) + sign * (_hashed(name, rest) if rest is not None else 0)) % _MODULUS
            if expected:
                one.full[customer] = (one.full.get(customer, 0) + sign * hashed) % _MODULUS
        return n

    def _rest(self, table: str, cells: dict[str, Any], side: int, *, counts: bool) -> dict[str, Any] | None:
        """Return what of a row must be the same in both; None if all of it may differ."""
        whole = self._expected.of_row(table, cells)
        columns = self._expected.of_columns(table, cells)
        if counts:
            self._count(whole, side)
            self._count(columns, side)
        if whole:
            return None
        return {name: value for name, value in cells.items() if name not in {one.column for one in columns}} if columns else cells

    def _count(self, expected: list[Expectation], side: int) -> None:
        for one in expected:
            self.counted.expected[one.text][side] += 1


def _added(known: Any, cells: dict[str, Any], sign: int, *, is_figure: bool) -> Any:  # noqa: ANN401 - a figure's sums by name, or a number
    """Add a shared row: of a figure name by name, of another its hash."""
    if not is_figure:
        return ((known or 0) + sign * _hashed("", cells)) % _MODULUS
    total: dict[str, int] = known or {}
    for name, n in (cells.get("sums") or {}).items():
        total[name] = total.get(name, 0) + sign * n
    return total


def _suspects(one: _Pass) -> Suspects:
    differing = sorted(customer for customer, n in one.rest.items() if n)
    shared = sorted(row for row, n in one.shared.items() if (any(n.values()) if isinstance(n, dict) else n))
    as_expected = sum(1 for customer, n in one.full.items() if n and not one.rest[customer])
    return Suspects(differing, shared, len(one.rest), as_expected)


def _hashed(table: str, cells: dict[str, Any]) -> int:
    return int.from_bytes(sha256(encoded((table, cells))).digest())


def _number(first: str, second: str | bytes) -> int:
    """Return 64 bits by which customers, and rows that are nobody's, are dealt into parts (lower half) and sampled (upper half)."""
    rest = second if isinstance(second, bytes) else second.encode()
    return int.from_bytes(blake2b(first.encode() + b"\0" + rest, digest_size=8).digest())
