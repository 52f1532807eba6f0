"""The local key wrapper: data keys encrypted by a key-encryption key that this process holds."""

import os
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.sealing import NONCE_BYTES
from touchline.errors import Misconfigured

__all__ = ["LocalWrapper"]

_VERSION: Final = b"\x01"


class LocalWrapper:
    """A `KeyWrapper` by AES-256-GCM: version (1 byte), nonce (12), wrapped key (32), tag (16).

    Nonces are random: NIST SP 800-38D §8.3 allows 2^32 per key, here one per handle, purpose and year, so a key-encryption
    key is good for four billion of them. `kek_id` names the one that wraps; the others only unwrap (rotated ones).
    """

    __slots__ = ("_ciphers", "_kek_id")

    def __init__(self, kek_id: str, keks: Mapping[str, bytes]) -> None:
        self._kek_id = kek_id
        self._ciphers = {name: AESGCM(secret) for name, secret in keks.items()}

    def knows(self, kek_id: str) -> bool:
        """Tell whether it can unwrap what this key wrapped."""
        return kek_id in self._ciphers

    async def wrap(self, secret: bytes, context: bytes) -> tuple[bytes, str]:
        """Encrypt a data key; return the blob and the id of the key-encryption key. 2 µs."""
        nonce = os.urandom(NONCE_BYTES)
        return _VERSION + nonce + self._ciphers[self._kek_id].encrypt(nonce, secret, _VERSION + context), self._kek_id

    async def unwrap(self, wrapped: bytes, kek_id: str, context: bytes) -> bytes | None:
        """Decrypt a blob; None if it or its context was changed. Raises `Misconfigured` for a key-encryption key it has not."""
        cipher = self._ciphers.get(kek_id)
        if cipher is None:
            raise Misconfigured(
                f"The key-encryption key {kek_id!r} is not in this process's key file.",
                next_step="give every process of this installation the same key file, old keys included.",
            )
        if wrapped[:1] != _VERSION:
            return None
        try:
            return cipher.decrypt(wrapped[1 : 1 + NONCE_BYTES], wrapped[1 + NONCE_BYTES :], _VERSION + context)
        except (InvalidTag, ValueError):  # ValueError: cut so short that there is no whole nonce
            return None

    def __repr__(self) -> str:
        """Show no key."""
        return f"LocalWrapper({self._kek_id})"
