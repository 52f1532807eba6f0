"""How fast a replay may go, so that those who serve are not slowed down. Pure: what was measured comes in, a rate goes out.

Additive increase, multiplicative decrease: while the live version falls behind, the rate is halved with each look; while it keeps up,
a tenth of the best rate so far is given back. Where nobody is live there is nothing to yield to.
"""

from typing import Final

import msgspec

__all__ = ["LAG_RECORDS_MAX", "LOOK_EVERY_S", "RATE_MIN", "Governor", "Pace"]

LOOK_EVERY_S: Final = 2.0
"""How often the live lag is looked at, in seconds."""

LAG_RECORDS_MAX: Final = 500
"""A lag of fewer records is no lag: what has just been appended is on its way."""

RATE_MIN: Final = 200.0
"""A replay never goes slower than this, in events per second: one that stood still would never catch up with the log's end."""

_LESS: Final = 0.5
_MORE: Final = 0.1
_FREE: Final = 1.25
"""The rate is let go where it is this much above what the replay reaches by itself."""


class Governor(msgspec.Struct):
    """Decides the rate of a replay, in events per second over all processes; None: as fast as it can.

    `rate_max` is what the operator allows. `yielding` tells whether the live lag has pushed the rate below that.
    """

    rate_max: float | None = None
    rate: float | None = None
    yielding: bool = False
    _lag: int = 0
    _best: float = 0.0

    def __post_init__(self) -> None:
        self.rate = self.rate_max

    def look(self, live_lag: int | None, reached: float) -> float | None:
        """Return the rate from here on. `live_lag`: records before the live version, None if nobody is; `reached`: events/s lately."""
        self._best = max(self._best, reached)
        if live_lag is None:
            self.rate, self.yielding, self._lag = self.rate_max, False, 0
            return self.rate
        grows = live_lag > LAG_RECORDS_MAX and live_lag >= self._lag
        falls = live_lag > LAG_RECORDS_MAX and not grows
        self._lag = live_lag
        if grows:
            was = reached if self.rate is None else min(self.rate, reached) if reached else self.rate
            self.rate = max(RATE_MIN if self.rate_max is None else min(RATE_MIN, self.rate_max), was * _LESS)
            self.yielding = True
        elif not falls and self.yielding and self.rate is not None:
            self._give_back(self.rate)
        return self.rate

    def _give_back(self, rate: float) -> None:
        """Raise the rate by one step; let it go where the operator's limit, or what can be reached, is met."""
        risen = rate + max(self._best * _MORE, RATE_MIN)
        limit = self._best * _FREE if self.rate_max is None else self.rate_max
        if risen >= limit:
            self.rate, self.yielding = self.rate_max, False
        else:
            self.rate = risen


class Pace(msgspec.Struct):
    """Spreads the work of one process over time: says how long to wait. Times are monotonic seconds, given by the caller.

    What was not used is not saved up beyond `burst_s`: after a pause the rate is kept all the same.
    """

    rate: float | None = None
    burst_s: float = 1.0
    _free_at_s: float = 0.0

    def change(self, rate: float | None, now_s: float) -> None:
        """Go at another rate from now on; what is done already counts at the new one."""
        if rate and self.rate and self._free_at_s > now_s:
            self._free_at_s = now_s + (self._free_at_s - now_s) * self.rate / rate
        self.rate = rate

    def wait_s(self, events: int, now_s: float) -> float:
        """Note that so many events are about to be done; return how long to wait before them."""
        if self.rate is None or self.rate <= 0:
            self._free_at_s = now_s
            return 0.0
        start_s = max(self._free_at_s, now_s - self.burst_s)
        self._free_at_s = start_s + events / self.rate
        return max(0.0, start_s - now_s)
