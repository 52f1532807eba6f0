"""The local key file: the key-encryption keys and the index key of an installation that has no key service.

Lose the file and everything sealed is lost, and every customer is a stranger: back it up. What it holds: `contents.py`; how it is
read and changed: `secret_file.py`.
"""

from functools import lru_cache
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.sealing import KEY_BYTES
from touchline.errors import Misconfigured
from touchline.keyring.contents import Contents
from touchline.keyring.file_wrapper import FileWrapper
from touchline.keyring.secret_file import Look, changing, create, read

__all__ = ["KEKS_MAX", "KeyFile"]

KEKS_MAX: Final = 2
"""Key-encryption keys that are valid at a time: the one that wraps, and the one before until nothing is wrapped by it."""

_TENANTS_CACHED_MAX: Final = 1024


class KeyFile:
    """The secrets of one key file. `wrapper` wraps data keys, `index_key` gives the key of a tenant's blind index.

    `created` tells whether this call made the file, so that the front door can ask for a backup of it.
    """

    __slots__ = ("_index_key", "created", "path", "wrapper")

    def __init__(self, path: Path, contents: Contents, seen: Look, *, created: bool = False) -> None:
        self.path = path
        self.created = created
        self.wrapper = FileWrapper(path, contents, seen)
        index_key = contents.index_key
        self._index_key = lru_cache(maxsize=_TENANTS_CACHED_MAX)(lambda tenant: _derived(index_key, tenant))

    @classmethod
    def load_or_create(cls, path: Path) -> "KeyFile":
        """Read the file; make it on first use, with mode 0600. Any number of processes may do so at once: one file wins.

        Raises `Misconfigured` for a file that others can read, or that is unreadable, not a file, not JSON or not of this form.
        """
        created = not path.exists() and create(path, Contents.new().written())
        raw, seen = read(path)
        return cls(path, Contents.parsed(path, raw), seen, created=created)

    def index_key(self, tenant: str) -> bytes:
        """Return the 32-byte key of a tenant's blind index: HKDF-SHA256 (RFC 5869) of the index key, info = tenant. 0.1 µs."""
        return self._index_key(tenant)

    async def close(self) -> None:
        """Do nothing: a file needs no closing."""

    def kek_ids(self) -> tuple[str, tuple[str, ...]]:
        """Return the key that wraps and those that only unwrap, as the file says now."""
        contents = Contents.parsed(self.path, read(self.path)[0])
        return contents.kek_id, contents.older

    def unfinished(self) -> bool:
        """Tell whether a key was put into the file that does not wrap yet: somebody was killed in between."""
        return Contents.parsed(self.path, read(self.path)[0]).next is not None

    def add_kek(self, kek_id: str) -> None:
        """Put a new random key into the file, durably, and only then let it wrap. Raises `Misconfigured` where there are two already."""
        with changing(self.path) as change:
            contents = Contents.parsed(self.path, change.raw)
            if len(contents.keks) >= KEKS_MAX:
                raise Misconfigured(
                    f"The key file {self.path} has {len(contents.keks)} key-encryption keys already: another rotation is under way.",
                    next_step="run `touchline keys rotate --resume`, which ends it.",
                )
            added = contents.with_next(kek_id)
            change.replace(added.written())
            change.replace(added.promoted().written())

    def promote_kek(self) -> None:
        """Let a key wrap that was put into the file by somebody who was killed before it did."""
        with changing(self.path) as change:
            contents = Contents.parsed(self.path, change.raw)
            if contents.next is not None:
                change.replace(contents.promoted().written())

    def remove_keks(self, kek_ids: tuple[str, ...], *, current: str) -> bool:
        """Take keys out of the file, unless another one than `current` wraps by now; tell whether that was so."""
        with changing(self.path) as change:
            contents = Contents.parsed(self.path, change.raw)
            if contents.kek_id != current:
                return False
            left = contents.without(kek_ids)
            if left != contents:
                change.replace(left.written())
            return True

    def __repr__(self) -> str:
        """Show no key."""
        return f"KeyFile({str(self.path)!r})"


def _derived(index_key: bytes, tenant: str) -> bytes:
    # No salt: the master is uniformly random already (RFC 5869 §3.1).
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=b"touchline.index.v1\0" + tenant.encode()).derive(index_key)
