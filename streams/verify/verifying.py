"""Compares two versions of a group while both may be live: whether the candidate shows readers what the active one shows (engine.md §5).

    sums over whole tables, page by page  ->  who may differ (streams/verify/sums.py)
    these customers one by one, when they stand still  ->  who differs (streams/verify/looks.py)
    some of those, their records folded by both versions  ->  which event caused it (streams/verify/causes.py)

Rows of nobody, figures above all, have a look of their own (`streams/verify/shared.py`). Reads only; over the store port and the log.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from projections.digest import Difference
from projections.kernel import Config, Subject
from schemas.codec import Codec
from streams.engine import SETTLE_S
from streams.rebuild.history import History, Place
from streams.store.parked import ParkedCustomers
from streams.store.port import Checkpoint, Store
from streams.verify.causes import Cause, Causes
from streams.verify.expected import Expectation, Expectations
from streams.verify.looks import Differing, Looks
from streams.verify.report import Expecting, Report, ShownCustomer, ShownDifference, shown
from streams.verify.shared import SHARED_MAX, SharedOutcome, settle_shared
from streams.verify.sides import Sides, decoder
from streams.verify.sums import CUSTOMERS_MAX, Customer, SharedRow, Sums
from touchline.errors import Refused, TouchlineError

__all__ = ["DETAILS_MAX", "Plan", "Verification"]

DETAILS_MAX: Final = 100
"""Customers whose differences are shown and explained, at most."""

SHOWN_MAX: Final = 20
"""Differences that are shown of one customer."""

_AT_ONCE_MAX: Final = 50_000
"""Customers that are looked at between two readings of the tables that are not kept by customer."""


class Plan(msgspec.Struct, frozen=True):
    """What would be compared: the tables of both, those of one alone, and how far both are by partition as (active, candidate)."""

    tables: list[str]
    added: list[str]
    missing: list[str]
    parked: int
    offsets: dict[int, tuple[int, int]]


class Verification:
    """Compares once. `share` of the customers are looked at; `details` of those who differ are explained by `history`, if it is given.

    `told` hears (what is being done, how many rows or customers of it). `pause` waits, some seconds, between two looks.
    """

    def __init__(
        self,
        store: Store,
        sides: Sides,
        codec: Codec,
        *,
        history: History | None = None,
        expected: Sequence[Expectation] = (),
        share: float = 1.0,
        details: int = 10,
        config: Config | None = None,
        settle_s: float = SETTLE_S,
        customers_max: int = CUSTOMERS_MAX,
        told: Callable[[str, int], None] | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._sides = sides
        self._expected = Expectations(expected)
        self._share = share
        self._details = min(details, DETAILS_MAX)
        self._told = told or (lambda _what, _n: None)
        self._pause = pause
        self._decode = decoder(codec)
        self._customers_max = customers_max
        self._causes = None
        if history is not None:
            self._causes = Causes(sides, history, codec, self._decode, config=config, settle_s=settle_s)

    async def plan(self) -> Plan:
        """Say what would be compared. Raises `Refused` if the candidate has not come to where the active version is."""
        sides = self._sides
        active, candidate = sides.versions
        checkpoints = await self._store.load_checkpoints(active), await self._store.load_checkpoints(candidate)
        lacking = sorted(checkpoints[0].keys() - checkpoints[1].keys())
        if lacking:
            raise Refused(
                f"{candidate} has read nothing yet of partition{'s' if len(lacking) > 1 else ''} "
                f"{', '.join(map(str, lacking[:10]))}, of which v{active.version} has.",
                reason="not_built",
                next_step=f"`touchline projection build {candidate.group}@{candidate.version}`.",
            )
        parked = await ParkedCustomers(self._store).load(candidate)
        return Plan(
            [pair.name for pair in sides.pairs],
            [table.name for table in sides.added],
            [table.name for table in sides.missing if not self._expected.covers_table(table.name)],
            len(parked),
            _offsets(*checkpoints),
        )

    async def run(self) -> Report:
        """Compare. Raises what `plan` does, and `Retryable` as the store and the log do; nothing is changed."""
        plan = await self.plan()
        sides = self._sides
        waiting = {parked.customer for parked in await ParkedCustomers(self._store).load(sides.versions[0])}
        sums = Sums(
            self._store,
            sides,
            self._expected,
            self._decode,
            share=self._share,
            customers_max=self._customers_max,
            told=lambda n: self._told("rows read", n),
        )
        looks = Looks(self._store, sides, self._expected, self._decode, pause=self._pause)
        customers = as_expected = unlooked = n_different = n_shared = not_comparable = 0
        different: list[Differing] = []
        shared: list[SharedRow] = []
        async for suspects in sums.passes():
            customers += suspects.looked_at
            as_expected += suspects.as_expected
            shared += suspects.shared[: max(0, SHARED_MAX - len(shared))]
            n_shared += len(suspects.shared)
            comparable = [customer for customer in suspects.customers if customer[1] not in waiting]
            not_comparable += len(suspects.customers) - len(comparable)
            for start in range(0, len(comparable), _AT_ONCE_MAX):
                outcome = await looks.settle(comparable[start : start + _AT_ONCE_MAX], self._told)
                different += outcome.different[: max(0, self._details - len(different))]
                n_different += len(outcome.different)
                as_expected += outcome.as_expected
                not_comparable += len(outcome.moving) + len(outcome.too_large)
                unlooked += outcome.unlooked
                if outcome.unlooked:
                    unlooked += max(0, len(comparable) - start - _AT_ONCE_MAX)
                    break
        of_nobody = await settle_shared(self._store, sides, self._expected, shared, self._decode, pause=self._pause)
        return Report(
            group=sides.active.name,
            active=sides.active.version,
            candidate=sides.candidate.version,
            rows={table: (ours, theirs) for table, (ours, theirs) in sums.counted.rows.items()},
            added=plan.added,
            missing=plan.missing,
            customers=customers,
            different=n_different,
            unlooked=unlooked,
            as_expected=as_expected,
            not_comparable=not_comparable,
            shared_different=of_nobody.different,
            shared_not_comparable=of_nobody.moving,
            shared_unlooked=of_nobody.unlooked + n_shared - len(shared),
            expected=[Expecting(text, *taken) for text, taken in sums.counted.expected.items()],
            details=[*[await self._explain(one) for one in different], *self._of_nobody(of_nobody)],
            parked=plan.parked,
            share=self._share,
            offsets=plan.offsets,
        )

    async def _explain(self, one: Differing) -> ShownCustomer:
        """Return a customer's first differences with their causes."""
        self._told("customers to explain, this one's differences", one.n)
        differences = one.differences[:SHOWN_MAX]
        causes: Sequence[Cause | None] = [None] * len(differences)
        at = await self._end(one.customer)
        if self._causes is not None and at is not None:
            try:
                causes = await self._causes.find(one.customer, differences, end=at[0], until_us=at[1])
            except TouchlineError as error:  # the comparison is done: what it found is told, with or without the cause
                causes = [Cause("unreadable", error.what)] * len(differences)
        return ShownCustomer(*one.customer, [self._shown(one.customer, *both) for both in zip(differences, causes, strict=True)], one.n)

    def _of_nobody(self, outcome: SharedOutcome) -> list[ShownCustomer]:
        if not outcome.differences or not self._details:
            return []
        nobody: Customer = ("", "")
        return [ShownCustomer(*nobody, [self._shown(nobody, one, None) for one in outcome.differences[:SHOWN_MAX]], len(outcome.differences))]

    def _shown(self, customer: Customer, difference: Difference, cause: Cause | None) -> ShownDifference:
        return shown(self._sides.tables[difference.table], customer, difference, cause)

    async def _end(self, customer: Customer) -> tuple[Place, int] | None:
        """Return up to where both versions know a customer, and the time that had then come; None if neither has a state of him."""
        subject = Subject(*customer)
        versions = self._sides.versions
        states = [found for version in versions if (found := (await self._store.load_states(version, [subject])).get(subject)) is not None]
        if not states:
            return None
        partition = states[0].applied_partition
        known = [(await self._store.load_checkpoints(version)).get(partition) for version in versions]
        ends = [checkpoint.next_offset for checkpoint in known if checkpoint is not None]
        return Place(partition, min(ends, default=0)), max(state.appended_us for state in states) - 1


def _offsets(active: dict[int, Checkpoint], candidate: dict[int, Checkpoint]) -> dict[int, tuple[int, int]]:
    return {
        partition: (ours.next_offset, theirs.next_offset if (theirs := candidate.get(partition)) else 0) for partition, ours in sorted(active.items())
    }
