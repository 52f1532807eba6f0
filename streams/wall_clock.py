"""The clock of this machine, in the unit of every time of the product. What follows from the log must not ask it."""

import time

__all__ = ["now_us"]


def now_us() -> int:
    """Return the time, epoch µs."""
    return time.time_ns() // 1000
