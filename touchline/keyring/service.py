"""The port to the keys of an installation: what every process needs of the key file, or of a key service outside.

What an outside service promises:

- `wrap` and `unwrap` end within a few seconds, or raise `touchline.errors.Retryable`; whoever calls waits `TIMEOUT_S` at most, asks
  `IN_FLIGHT_MAX` things at once, and asks again later. Both may be called again for the same key at any time.
- A blob that was wrapped is unwrapped as long as a row holds it, whatever key the service wraps with by now.
- `unwrap` answers None for a blob or a context that was changed, and raises `Misconfigured` for a `kek_id` that it never gave.
- Index keys are the same for ever, 32 bytes for each tenant: another one makes a stranger of every customer. They are at hand when
  the service is made: `index_key` never waits, and it still answers when the service is closed.
"""

import asyncio
from collections.abc import Awaitable
from typing import Final, Protocol, TypeVar

from schemas.sealing import KeyWrapper
from touchline.errors import Retryable

__all__ = ["IN_FLIGHT_MAX", "TIMEOUT_S", "GuardedWrapper", "KeyService"]

T = TypeVar("T")

TIMEOUT_S: Final = 10.0
"""How long one answer of an outside service is waited for."""

IN_FLIGHT_MAX: Final = 32
"""How much an outside service is asked at once, by one process."""


class KeyService(Protocol):
    """The keys of one installation. The default is `touchline.keyring.keyfile.KeyFile`."""

    @property
    def wrapper(self) -> KeyWrapper:
        """What wraps data keys."""
        ...

    def index_key(self, tenant: str) -> bytes:
        """Return the 32-byte key of a tenant's blind index."""
        ...

    async def close(self) -> None:
        """Release connections; harmless when repeated."""
        ...


class GuardedWrapper:
    """A `KeyWrapper` over an outside one, with a limit on how long and how much at once it is asked. Raises `Retryable` beyond it."""

    __slots__ = ("_seats", "_timeout_s", "_wrapper")

    def __init__(self, wrapper: KeyWrapper, *, timeout_s: float = TIMEOUT_S, in_flight_max: int = IN_FLIGHT_MAX) -> None:
        self._wrapper = wrapper
        self._timeout_s = timeout_s
        self._seats = asyncio.Semaphore(in_flight_max)

    async def wrap(self, secret: bytes, context: bytes) -> tuple[bytes, str]:
        """Have a data key wrapped."""
        return await self._asked(self._wrapper.wrap(secret, context))

    async def unwrap(self, wrapped: bytes, kek_id: str, context: bytes) -> bytes | None:
        """Have a blob unwrapped."""
        return await self._asked(self._wrapper.unwrap(wrapped, kek_id, context))

    async def _asked(self, question: Awaitable[T]) -> T:
        async with self._seats:
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await question
            except (TimeoutError, OSError) as error:
                what = (
                    f"The key service did not answer within {self._timeout_s:g} s" if isinstance(error, TimeoutError) else "The key service is away"
                )
                raise Retryable(f"{what} ({type(error).__name__}).", next_step="look at the key service; it is asked again.") from None
