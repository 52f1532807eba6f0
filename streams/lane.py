"""One open partition of one group: how far it has come, which rules it has read, and whose records wait."""

from collections.abc import Iterable

from projections.rules import Config
from streams.books import Books, Position
from streams.parking import Failure, ParkedCustomer
from streams.store.port import Checkpoint
from streams.versions.promotions import Promotions

__all__ = ["Lane"]


class Lane:
    """The engine's memory of a partition. `checkpoint` is what has been fed, not yet what has been written.

    `books` are the rulebooks by tenant; a tenant of which none was read has `config`. `promotions` tell which version speaks where.
    """

    __slots__ = ("books", "checkpoint", "config", "parked", "promotions")

    def __init__(
        self, checkpoint: Checkpoint, parked: dict[str, ParkedCustomer], config: Config, promotions: Promotions, read: Iterable[Position] = ()
    ) -> None:
        self.checkpoint = checkpoint
        self.parked = parked
        self.config = config
        self.promotions = promotions
        self.books: dict[str, Books] = {}
        for position in read:
            self.learn(position)

    def learn(self, position: Position) -> bool:
        """Take one rulebook in; False if its version was known."""
        books = self.books.get(position.tenant)
        if books is None:
            books = self.books[position.tenant] = Books(self.config)
        return books.add(position.offset, position.appended_us, position.book)

    def wait(self, customer: str, parked: ParkedCustomer | None) -> None:
        """Let a customer wait as `parked` says, or no longer (None)."""
        if parked is None:
            self.parked.pop(customer, None)
        else:
            self.parked[customer] = parked

    def park(self, customer: str, partition: int, offset: int, failure: Failure | None, ts_us: int) -> ParkedCustomer:
        """Count one more waiting record of a customer, whose write timestamp would be `ts_us`; `failure` tells why, the first time."""
        found = self.parked.get(customer)
        if found is None:
            reason = failure or Failure("unknown", "", "")
            found = ParkedCustomer(customer, partition, offset, partition, -1, 0, reason.reason, reason.digest, reason.where, ts_us)
        found = found.with_record(partition, offset)
        self.parked[customer] = found
        return found
