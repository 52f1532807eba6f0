"""The local key file: the key-encryption key and the index key of an installation that has no key service.

    {"version": 1, "kek_id": "k-…", "keks": {"k-…": base64 of 32 bytes}, "index_key": base64 of 32 bytes}

The two secrets are separate: a new key-encryption key (added to `keks`, named by `kek_id`; old ones stay for reading) never
changes a handle's hash. Lose the file and everything sealed is lost, and every customer is a stranger: back it up.
"""

import base64
import binascii
import json
import os
import secrets
import stat
from functools import lru_cache
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.sealing import KEY_BYTES
from touchline.errors import Misconfigured
from touchline.keyring.wrapper import LocalWrapper

__all__ = ["KeyFile"]

_VERSION: Final = 1
_FILE_BYTES_MAX: Final = 64 * 1024
_TENANTS_CACHED_MAX: Final = 1024
_READABLE_BY_OTHERS: Final = 0o077
_RESTORE: Final = "restore it from the backup; only where nothing has been sealed yet, remove it and start again."


class KeyFile:
    """The secrets of one key file. `wrapper` wraps data keys, `index_key` gives the key of a tenant's blind index.

    `created` tells whether this call made the file, so that the front door can ask for a backup of it.
    """

    __slots__ = ("_index_key", "created", "path", "wrapper")

    def __init__(self, path: Path, kek_id: str, keks: dict[str, bytes], index_key: bytes, *, created: bool = False) -> None:
        self.path = path
        self.created = created
        self.wrapper = LocalWrapper(kek_id, keks)
        self._index_key = lru_cache(maxsize=_TENANTS_CACHED_MAX)(lambda tenant: _derived(index_key, tenant))

    @classmethod
    def load_or_create(cls, path: Path) -> "KeyFile":
        """Read the file; make it on first use, with mode 0600. Any number of processes may do so at once: one file wins.

        Raises `Misconfigured` for a file that others can read, or that is unreadable, not a file, not JSON or not of this form.
        """
        created = not path.exists() and _created(path)
        return _parsed(path, _read(path), created=created)

    def index_key(self, tenant: str) -> bytes:
        """Return the 32-byte key of a tenant's blind index: HKDF-SHA256 (RFC 5869) of the index key, info = tenant. 0.1 µs."""
        return self._index_key(tenant)

    def __repr__(self) -> str:
        """Show no key."""
        return f"KeyFile({str(self.path)!r})"


def _derived(index_key: bytes, tenant: str) -> bytes:
    # No salt: the master is uniformly random already (RFC 5869 §3.1).
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=b"touchline.index.v1\0" + tenant.encode()).derive(index_key)


def _created(path: Path) -> bool:
    """Write a new file beside its place, then link it there: whoever reads sees all of it or nothing, and the first one wins."""
    kek_id = f"k-{secrets.token_hex(8)}"
    body = {
        "version": _VERSION,
        "kek_id": kek_id,
        "keks": {kek_id: base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()},
        "index_key": base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode(),
    }
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
                json.dump(body, file)
                file.flush()
                os.fsync(file.fileno())
            created = _linked(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise Misconfigured(
            f"The key file {path} cannot be created ({error.strerror}).",
            next_step="set TOUCHLINE_KEY_FILE to a path on a local file system that this user may write.",
        ) from None
    return created


def _linked(draft: Path, path: Path) -> bool:
    try:
        os.link(draft, path)
    except FileExistsError:
        return False  # another process was first: its file counts
    return True


def _sync_folder(folder: Path) -> None:
    """Make the new name durable: data sealed by a key that a power cut takes away would be lost."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes:
    """Read what was opened, after looking at what was opened: a name could be exchanged in between. Links are followed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would block until somebody writes
    except OSError as error:
        raise Misconfigured(
            f"The key file {path} cannot be opened ({error.strerror}).", next_step="check the path, and let this user read it."
        ) from None
    try:
        _inspect(path, os.fstat(descriptor))
        return os.read(descriptor, _FILE_BYTES_MAX)
    finally:
        os.close(descriptor)


def _inspect(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Misconfigured(f"The key file {path} is not a regular file.", next_step="set TOUCHLINE_KEY_FILE to a file.")
    if found.st_mode & _READABLE_BY_OTHERS:
        raise Misconfigured(
            f"The key file {path} has mode {stat.S_IMODE(found.st_mode):04o}: others than its owner can reach it.",
            next_step=f"run `chmod 600 {path}`, and think about who may have read it.",
        )
    if found.st_size > _FILE_BYTES_MAX:
        raise Misconfigured(f"The key file {path} is larger than {_FILE_BYTES_MAX} bytes.", next_step=_RESTORE)


def _parsed(path: Path, raw: bytes, *, created: bool) -> KeyFile:
    """Check everything before a key is used; no message shows any of the content."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise Misconfigured(f"The key file {path} is not JSON.", next_step=_RESTORE) from None
    if not isinstance(body, dict) or body.get("version") != _VERSION:
        raise Misconfigured(f"The key file {path} is not of version {_VERSION}.", next_step=_RESTORE)
    kek_id, wrapped = body.get("kek_id"), body.get("keks")
    if not isinstance(wrapped, dict) or not isinstance(kek_id, str) or kek_id not in wrapped:
        raise Misconfigured(f"The key file {path} has no key under its `kek_id`.", next_step=_RESTORE)
    keks = {name: _secret(path, "keks", value) for name, value in wrapped.items()}
    index_key = _secret(path, "index_key", body.get("index_key"))
    if index_key in keks.values():
        raise Misconfigured(f"The key file {path} uses one secret for two purposes.", next_step=_RESTORE)
    return KeyFile(path, kek_id, keks, index_key, created=created)


def _secret(path: Path, name: str, value: object) -> bytes:
    try:
        secret = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != KEY_BYTES:
        raise Misconfigured(f"The key file {path}: a secret in `{name}` is not base64 of {KEY_BYTES} bytes.", next_step=_RESTORE)
    return secret
