"""The outcome of an import: every record that was offered is accounted for."""

from collections import Counter

import msgspec

from connectors.contract import Rejected
from connectors.ports import Place
from touchline.errors import TouchlineError

__all__ = ["Counts", "Result"]


class Counts(msgspec.Struct):
    """What became of the records that were offered."""

    received: int = 0
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    refused: int = 0

    def check(self) -> None:
        """Raise `TouchlineError` if a record is unaccounted for: that is an error of this program."""
        if self.received != self.accepted + self.duplicate + self.quarantined + self.refused:
            raise TouchlineError(f"The counts of this import do not add up: {self}.", next_step="report it; the log itself is consistent.")


class Result(msgspec.Struct):
    """The outcome. `reasons` counts rejections by code, `rejected` holds the first 100, `grown_to` the ends of what grew.

    `stopped_by` is the rejection that ended a strict import; `interrupted` tells that `stop` did. Both can be resumed.
    """

    counts: Counts = msgspec.field(default_factory=Counts)
    reasons: Counter[str] = msgspec.field(default_factory=Counter)
    rejected: list[Rejected] = msgspec.field(default_factory=list)
    grown_to: dict[Place, int] = msgspec.field(default_factory=dict)
    stopped_by: Rejected | None = None
    interrupted: bool = False
