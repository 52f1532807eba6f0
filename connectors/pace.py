"""The pace of an import: as fast as it can, or as the events really came. And the wait for the resolver at its end."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

from connectors.ports import ChannelLog, Place
from touchline.errors import Retryable

__all__ = ["RESOLVER_WAIT_S", "Pace", "wait_for_resolver"]

RESOLVER_WAIT_S: Final = 20.0
"""How long the resolver may make no progress before waiting for it ends."""

_POLL_S: Final = 0.25


class Pace:
    """Keeps to event time: `speed` times as fast as it really was. The first record that is sent sets the start."""

    def __init__(self, speed: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._speed = speed
        self._monotonic = monotonic
        self._start: tuple[int, float] | None = None

    def wait_s(self, occurred_at_us: int) -> float:
        """Return how long to wait before this record is sent; 0 or less if it is due."""
        if self._start is None:
            self._start = occurred_at_us, self._monotonic()
        at_us, since_s = self._start
        return since_s + (occurred_at_us - at_us) / 1e6 / self._speed - self._monotonic()


async def wait_for_resolver(channels: ChannelLog, grown_to: Mapping[Place, int], tell: Callable[[int], None] | None = None) -> None:
    """Wait until the resolver has passed these offsets; `tell` gets how many records it is behind.

    Raises `Retryable` if it makes no progress for `RESOLVER_WAIT_S`: what was accepted is safe, and resolved once it runs.
    """
    least, since = None, time.monotonic()
    while True:
        committed = await channels.committed()
        behind = sum(max(0, end - committed.get(place, 0)) for place, end in grown_to.items())
        if tell is not None:
            tell(behind)
        if not behind:
            return
        if least is None or behind < least:
            least, since = behind, time.monotonic()
        elif time.monotonic() - since > RESOLVER_WAIT_S:
            raise Retryable(
                f"Everything is accepted, but the resolver has made no progress for {RESOLVER_WAIT_S:.0f} s; it is {behind:,} records behind.",
                next_step="start `touchline worker`, or use --no-wait.",
            )
        await asyncio.sleep(_POLL_S)
