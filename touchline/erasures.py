"""The table of erasures: what each still has to do, so that anybody can take one up that was cut off. Values and their rows."""

import secrets
from collections.abc import Callable
from typing import Final, Literal, Self, get_args

import msgspec

from streams.control_topic import KnownBy, handles_of
from streams.store.columns import Row, integer, text
from streams.store.port import CellValue, RowWrite, Store
from streams.store.ticks import Ticks

__all__ = ["STEPS", "Erasure", "Erasures", "Step"]

Step = Literal["begun", "told", "destroyed", "forgotten", "searched", "announced", "done"]
"""What was done last: begun (nothing yet), `privacy.erased` on the log, keys destroyed, claims cleared, raw payloads deleted, everybody told,
and all of it: keys that were made meanwhile are destroyed too."""

STEPS: Final[tuple[Step, ...]] = get_args(Step)

_TABLE: Final = "erasure"
_PAGE_ROWS: Final = 500


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """One erasure of one person. `customer` is the root, `customers` all that the person was; times are epoch µs.

    `erased_at_us`: when the keys were destroyed; text of events up to then is gone. `done_at_us`: when nothing was left to be done.
    """

    tenant: str
    id: str
    customer: str
    customers: frozenset[str]
    handles: frozenset[str]
    reason: str
    actor: str
    begun_at_us: int
    step: Step = "begun"
    erased_at_us: int | None = None
    done_at_us: int | None = None

    @classmethod
    def of(cls, row: Row) -> Self:
        """Build it from a row of `erasure`."""
        step = text(row, "step", "begun")
        return cls(
            tenant=text(row, "tenant"),
            id=text(row, "id"),
            customer=text(row, "customer", ""),
            customers=_set(row, "customers"),
            handles=_set(row, "handles"),
            reason=text(row, "reason", ""),
            actor=text(row, "actor", ""),
            begun_at_us=integer(row, "begun_at", 0),
            step=msgspec.convert(step, Step) if step in STEPS else "begun",
            erased_at_us=integer(row, "erased_at", 0) or None,
            done_at_us=integer(row, "done_at", 0) or None,
        )

    @property
    def known_by(self) -> list[KnownBy]:
        """The handles, in order."""
        return handles_of(self.handles)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to be done."""
        return self.step == "done"


class Erasures:
    """Reads and writes them. What is written last counts."""

    def __init__(self, store: Store, now_us: Callable[[], int]) -> None:
        self._store = store
        self._now_us = now_us
        self._ticks = Ticks(now_us)

    def new_id(self) -> str:
        """Return an id that sorts by time."""
        return f"er-{self._now_us():016d}-{secrets.token_hex(4)}"

    async def save(self, erasure: Erasure) -> Erasure:
        """Write it, and return it."""
        columns: dict[str, CellValue] = {
            "customer": erasure.customer,
            "customers": erasure.customers,
            "handles": erasure.handles,
            "step": erasure.step,
            "reason": erasure.reason,
            "actor": erasure.actor,
            "begun_at": erasure.begun_at_us,
            "erased_at": erasure.erased_at_us,
            "done_at": erasure.done_at_us,
        }
        await self._store.write([RowWrite(_TABLE, (erasure.tenant, erasure.id), columns, self._ticks.next_us())])
        return erasure

    async def read(self, tenant: str, id_: str) -> Erasure | None:
        """Return one as it stands now; None if there is none."""
        rows = await self._store.read(_TABLE, {"tenant": tenant}, after=(id_[:-1],), upto=(id_,))
        return next((Erasure.of(row) for row in rows if row["id"] == id_), None)

    async def all(self, tenant: str) -> list[Erasure]:
        """Return every erasure of a tenant, the oldest first."""
        found: list[Erasure] = []
        after: tuple[str | int, ...] | None = None
        while rows := await self._store.read(_TABLE, {"tenant": tenant}, limit=_PAGE_ROWS, after=after):
            found += map(Erasure.of, rows)
            after = (text(rows[-1], "id"),)
        return found

    async def unfinished(self, tenant: str | None = None) -> list[Erasure]:
        """Return those that something is left to be done of, of one tenant or of all, the oldest first."""
        found = [Erasure.of(row) for row in await self._store.scan(_TABLE)] if tenant is None else await self.all(tenant)
        return sorted((one for one in found if not one.is_done), key=lambda one: (one.begun_at_us, one.id))

    async def of_customer(self, tenant: str, customer: str) -> Erasure | None:
        """Return the last erasure in which a customer was forgotten; None if there was none."""
        return next((one for one in reversed(await self.all(tenant)) if customer in one.customers), None)


def _set(row: Row, column: str) -> frozenset[str]:
    value = row[column]
    return frozenset(value) if isinstance(value, frozenset | set | tuple) else frozenset()
