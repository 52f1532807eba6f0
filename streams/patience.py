"""Waiting out an unwell broker or node: back-off with jitter, for as long as it takes, and said aloud."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina
import structlog

from touchline.errors import Retryable

__all__ = ["Patience", "wait_out"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

WAIT_MAX_S = 5.0
"""The longest pause between two tries."""

DEGRADED_AFTER_S = 30.0
"""After this much waiting the health is degraded; the work waits on."""


class Patience:
    """Repeats what raised `Retryable`. `waiting_since` is a monotonic time, or None while all is well."""

    def __init__(self, name: str, on_retry: Callable[[], None] = lambda: None) -> None:
        self._name = name
        self._on_retry = on_retry
        self.waiting_since: float | None = None

    @property
    def degraded(self) -> bool:
        """Whether something has been waited for longer than `DEGRADED_AFTER_S`."""
        return self.waiting_since is not None and time.monotonic() - self.waiting_since > DEGRADED_AFTER_S

    async def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what `call()` returns, trying again after each `Retryable`; every other exception passes through."""
        async for attempt in stamina.retry_context(on=Retryable, attempts=None, timeout=None, wait_initial=0.1, wait_max=WAIT_MAX_S):
            with attempt:
                try:
                    result = await call()
                except Retryable as error:
                    self.waiting_since = self.waiting_since or time.monotonic()
                    self._on_retry()
                    log.warning("waiting", part=self._name, attempt=attempt.num, reason=error.what)
                    raise
        self.waiting_since = None
        return result


def wait_out(name: str, call: Callable[[], T]) -> T:
    """Do the same for plain code, where no loop runs yet: return what `call()` returns, trying again after each `Retryable`."""
    for attempt in stamina.retry_context(on=Retryable, attempts=None, timeout=None, wait_initial=0.1, wait_max=WAIT_MAX_S):
        with attempt:
            try:
                return call()
            except Retryable as error:
                log.warning("waiting", part=name, attempt=attempt.num, reason=error.what)
                raise
    raise AssertionError
