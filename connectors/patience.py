"""Waiting out an unwell broker or store during an import: said each time, and for so long at the most. Knows nothing of what is waited for."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import stamina
import structlog

from touchline.errors import Retryable

__all__ = ["patiently"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

WAIT_MAX_S: Final = 300.0
"""How long is waited before the import gives up; it can be resumed."""


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Return what `call()` returns, trying again after each `Retryable`, which is raised in the end; anything else passes through."""
    async for attempt in stamina.retry_context(on=Retryable, attempts=None, timeout=WAIT_MAX_S, wait_initial=0.1, wait_max=5.0):
        with attempt:
            try:
                return await call()
            except Retryable as error:
                log.warning("import_waiting", attempt=attempt.num, reason=error.what)
                raise
    raise AssertionError
