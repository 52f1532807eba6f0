"""Write timestamps for control tables that no record of the log stands behind."""

from collections.abc import Callable

__all__ = ["Ticks"]


class Ticks:
    """Timestamps in µs from a clock, each greater than the one before: of two writes of one process the later one wins."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._last_us = 0

    def next_us(self) -> int:
        """Return the next timestamp."""
        self._last_us = max(self._last_us + 1, self._now_us())
        return self._last_us
