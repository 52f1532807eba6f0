"""Parking: a customer whose record cannot be folded waits, with all later records, while everybody else flows on."""

import traceback
from hashlib import sha256

import msgspec

from streams.store.port import CellValue, RowWrite
from touchline.errors import Poison

__all__ = ["Failure", "ParkedCustomer"]


class Failure(msgspec.Struct, frozen=True):
    """Why a record could not be folded. `digest` names the traceback, `where` its last line of our code: no values in either.

    `frames` are the lines of the traceback, the innermost last; they are not stored.
    """

    reason: str
    digest: str
    where: str
    frames: tuple[str, ...] = ()

    @classmethod
    def raised(cls, error: Exception) -> "Failure":
        """Return the failure of a projection that raised. The exception's text is left out: it may hold personal data."""
        path = _frames(error)
        digest = sha256("\n".join([type(error).__name__, *path]).encode()).hexdigest()[:16]
        return cls(f"raised:{type(error).__name__}", digest, path[-1] if path else "", path)

    @classmethod
    def poisoned(cls, poison: Poison) -> "Failure":
        """Return the failure of a record of which a projection, or the engine, says that it cannot be folded, and why."""
        return cls(poison.what, "", "", _frames(poison))


def _frames(error: Exception) -> tuple[str, ...]:
    found = traceback.extract_tb(error.__traceback__)
    return tuple(f"{frame.filename.rsplit('/', 2)[-2]}/{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}:{frame.name}" for frame in found)


class ParkedCustomer(msgspec.Struct, frozen=True):
    """One parked customer of a group version. `n` counts the waiting records; records read again are not counted twice.

    Every row of the customer was written below the timestamp `below_us` (0: not known): others may have written rows of the same keys since.
    """

    customer: str
    first_partition: int
    first_offset: int
    last_partition: int
    last_offset: int
    n: int
    reason: str
    traceback_digest: str
    failed_at: str = ""
    below_us: int = 0

    @classmethod
    def from_row(cls, row: dict[str, CellValue]) -> "ParkedCustomer":
        """Build it from a row of `parked_customer`."""
        return msgspec.convert({name: row[name] for name in cls.__struct_fields__ if row[name] is not None}, cls)

    def with_record(self, partition: int, offset: int) -> "ParkedCustomer":
        """Return the same with one more waiting record, or unchanged if that record is counted already."""
        if partition == self.last_partition and offset <= self.last_offset:
            return self
        return msgspec.structs.replace(self, last_partition=partition, last_offset=offset, n=self.n + 1)

    def writes(self, group: str, version: int, offset: int, ts_us: int) -> tuple[RowWrite, RowWrite]:
        """Return the rows that say so: the customer's, and the waiting record's place in the log."""
        columns: dict[str, CellValue] = {
            "first_partition": self.first_partition,
            "first_offset": self.first_offset,
            "last_partition": self.last_partition,
            "last_offset": self.last_offset,
            "n": self.n,
            "reason": self.reason,
            "traceback_digest": self.traceback_digest,
            "failed_at": self.failed_at,
            "below_us": self.below_us,
        }
        return (
            RowWrite("parked_customer", (group, version, self.customer), columns, ts_us + 1),
            RowWrite("parked_record", (group, version, self.customer, self.last_partition, offset), {}, ts_us + 1),
        )
