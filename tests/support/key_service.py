"""A key service of a test's own: another format than the key file's, questions that wait, and now and then no answer.

`make` is what `TOUCHLINE_KEY_SERVICE=tests.support.key_service:make` names. One process has one service, as if it stood elsewhere.
"""

import asyncio
import hashlib
import hmac
import secrets
from typing import Final

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from touchline.errors import Misconfigured, Retryable
from touchline.settings import Settings

__all__ = ["ChestService", "ServiceWrapper", "make"]

_SEAL_BYTES: Final = 16


class ServiceWrapper:
    """AES key wrap (RFC 3394) with the context under a keyed hash beside it; ids like those of a cloud's service.

    `away` answers fail first; `waits` tells how often the loop goes round before an answer.
    """

    def __init__(self, *, waits: int = 1) -> None:
        self._secrets: dict[str, bytes] = {}
        self.kek_id = ""
        self.away = 0
        self.waits = waits
        self.asked = 0
        self.at_once = self.at_once_max = 0
        self.rotate()

    def rotate(self) -> str:
        """Make a new key and wrap by it from now on; older ones still unwrap."""
        self.kek_id = f"arn:chest:eu-central-1:key/{secrets.token_hex(4)}"
        self._secrets[self.kek_id] = secrets.token_bytes(32)
        return self.kek_id

    async def wrap(self, secret: bytes, context: bytes) -> tuple[bytes, str]:
        await self._answer()
        key = self._secrets[self.kek_id]
        blob = aes_key_wrap(key, secret)
        return self._mark(key, blob, context) + blob, self.kek_id

    async def unwrap(self, wrapped: bytes, kek_id: str, context: bytes) -> bytes | None:
        await self._answer()
        key = self._secrets.get(kek_id)
        if key is None:
            raise Misconfigured("The service never had this key.")
        mark, blob = wrapped[:_SEAL_BYTES], wrapped[_SEAL_BYTES:]
        if not hmac.compare_digest(mark, self._mark(key, blob, context)):
            return None
        try:
            return aes_key_unwrap(key, blob)
        except (InvalidUnwrap, ValueError):
            return None

    async def _answer(self) -> None:
        self.asked += 1
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        for _ in range(self.waits):
            await asyncio.sleep(0)
        self.at_once -= 1
        if self.away:
            self.away -= 1
            raise Retryable("The chest is closed.", next_step="wait.")

    @staticmethod
    def _mark(key: bytes, blob: bytes, context: bytes) -> bytes:
        return hmac.digest(hashlib.sha256(b"mark" + key).digest(), context + blob, "sha256")[:_SEAL_BYTES]


class ChestService:
    """A `KeyService`."""

    def __init__(self) -> None:
        self.wrapper = ServiceWrapper()
        self._master = secrets.token_bytes(32)
        self.closed = 0

    def index_key(self, tenant: str) -> bytes:
        return hmac.digest(self._master, tenant.encode(), "sha256")

    async def close(self) -> None:
        self.closed += 1


THE_SERVICE: Final = ChestService()


async def make(settings: Settings) -> ChestService:
    """Connect: the same service each time."""
    del settings
    await asyncio.sleep(0)
    return THE_SERVICE
