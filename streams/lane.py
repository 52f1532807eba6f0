"""One open partition of one group: how far it has come, and whose records wait."""

from streams.parking import Failure, ParkedCustomer
from streams.store.port import Checkpoint

__all__ = ["Lane"]


class Lane:
    """The engine's memory of a partition. `checkpoint` is what has been fed, not yet what has been written."""

    __slots__ = ("checkpoint", "parked")

    def __init__(self, checkpoint: Checkpoint, parked: dict[str, ParkedCustomer]) -> None:
        self.checkpoint = checkpoint
        self.parked = parked

    def park(self, customer: str, partition: int, offset: int, failure: Failure | None) -> ParkedCustomer:
        """Count one more waiting record of a customer; `failure` tells why, the first time."""
        found = self.parked.get(customer)
        if found is None:
            reason = failure or Failure("unknown", "", "")
            found = ParkedCustomer(customer, partition, offset, partition, -1, 0, reason.reason, reason.digest, reason.where)
        found = found.with_record(partition, offset)
        self.parked[customer] = found
        return found
