"""What a key file holds: the key-encryption keys of an installation and its index key. Pure; shows no key.

    {"version": 1, "kek_id": "k-…", "keks": {"k-…": base64 of 32 bytes}, "index_key": base64 of 32 bytes, "next": "k-…"}

`kek_id` wraps, all of `keks` unwrap. A new key is first put among them as `next`, and wraps only when that is durable. The two secrets
are separate: a new key-encryption key never changes a handle's hash.
"""

import base64
import binascii
import json
import secrets
from pathlib import Path
from typing import Final

import msgspec

from schemas.sealing import KEY_BYTES
from touchline.errors import Misconfigured
from touchline.keyring.secret_file import RESTORE

__all__ = ["Contents", "new_kek_id"]

_VERSION: Final = 1


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a key file. `next` is a key that is to wrap from the next step on."""

    kek_id: str
    keks: dict[str, bytes]
    index_key: bytes
    next: str | None = None

    @classmethod
    def new(cls) -> "Contents":
        """Make random keys."""
        kek_id = new_kek_id()
        return cls(kek_id=kek_id, keks={kek_id: secrets.token_bytes(KEY_BYTES)}, index_key=secrets.token_bytes(KEY_BYTES))

    @classmethod
    def parsed(cls, path: Path, raw: bytes) -> "Contents":
        """Check everything before a key is used. Raises `Misconfigured`, naming the file and showing none of its content."""
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            raise Misconfigured(f"The key file {path} is not JSON.", next_step=RESTORE) from None
        if not isinstance(body, dict) or body.get("version") != _VERSION:
            raise Misconfigured(f"The key file {path} is not of version {_VERSION}.", next_step=RESTORE)
        kek_id, wrapped, following = body.get("kek_id"), body.get("keks"), body.get("next")
        if not isinstance(wrapped, dict) or not isinstance(kek_id, str) or kek_id not in wrapped:
            raise Misconfigured(f"The key file {path} has no key under its `kek_id`.", next_step=RESTORE)
        if following is not None and (not isinstance(following, str) or following not in wrapped):
            raise Misconfigured(f"The key file {path} has no key under its `next`.", next_step=RESTORE)
        keks = {name: _secret(path, "keks", value) for name, value in wrapped.items()}
        index_key = _secret(path, "index_key", body.get("index_key"))
        if index_key in keks.values():
            raise Misconfigured(f"The key file {path} uses one secret for two purposes.", next_step=RESTORE)
        return cls(kek_id=kek_id, keks=keks, index_key=index_key, next=following)

    @property
    def older(self) -> tuple[str, ...]:
        """The keys that wrapped before and only unwrap now."""
        return tuple(name for name in self.keks if name not in {self.kek_id, self.next})

    def written(self) -> bytes:
        """Return the bytes of the file."""
        body: dict[str, object] = {
            "version": _VERSION,
            "kek_id": self.kek_id,
            "keks": {name: base64.b64encode(secret).decode() for name, secret in self.keks.items()},
            "index_key": base64.b64encode(self.index_key).decode(),
        }
        if self.next is not None:
            body["next"] = self.next
        return json.dumps(body).encode()

    def with_next(self, kek_id: str) -> "Contents":
        """Return it with a new random key that does not wrap yet."""
        return msgspec.structs.replace(self, keks={**self.keks, kek_id: secrets.token_bytes(KEY_BYTES)}, next=kek_id)

    def promoted(self) -> "Contents":
        """Return it with the next key as the one that wraps."""
        return self if self.next is None else msgspec.structs.replace(self, kek_id=self.next, next=None)

    def without(self, kek_ids: tuple[str, ...]) -> "Contents":
        """Return it without some keys; the one that wraps and the next one stay."""
        kept = {name: secret for name, secret in self.keks.items() if name not in kek_ids or name in {self.kek_id, self.next}}
        return msgspec.structs.replace(self, keks=kept)

    def __repr__(self) -> str:
        """Show no key."""
        return f"Contents({self.kek_id}, {len(self.keks)} keys)"


def new_kek_id() -> str:
    """Return an id for a key-encryption key that is to be made."""
    return f"k-{secrets.token_hex(8)}"


def _secret(path: Path, name: str, value: object) -> bytes:
    try:
        secret = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != KEY_BYTES:
        raise Misconfigured(f"The key file {path}: a secret in `{name}` is not base64 of {KEY_BYTES} bytes.", next_step=RESTORE)
    return secret
