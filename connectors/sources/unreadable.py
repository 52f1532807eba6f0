"""The one error of the row mappings: a row that cannot be read."""

__all__ = ["UnreadableError"]


class UnreadableError(Exception):
    """Raised when a row cannot be read: it is quarantined, the rest goes on. `reason` is a short code; the text names the column."""

    def __init__(self, reason: str, what: str) -> None:
        super().__init__(what)
        self.reason = reason
