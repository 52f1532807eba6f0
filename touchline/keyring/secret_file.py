"""A small file of secrets that only its owner can reach: read whole, made once, changed by one at a time. Knows nothing of keys.

Whoever reads sees all of one version or all of another. A change is written beside the file and renamed into its place, under a lock
on the folder; drafts that killed processes left behind are removed by the next change, so that no second copy lies about.
"""

import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Final, NamedTuple

from touchline.errors import Misconfigured, Retryable

__all__ = ["RESTORE", "Change", "Look", "changing", "create", "look", "read"]

RESTORE: Final = "restore it from the backup; only where nothing has been sealed yet, remove it and start again."

_FILE_BYTES_MAX: Final = 64 * 1024
_READABLE_BY_OTHERS: Final = 0o077
_LOCK_S: Final = 10.0
_LOCK_PAUSE_S: Final = 0.05


class Look(NamedTuple):
    """What tells one version of a file from another, without reading it."""

    device: int
    inode: int
    changed_ns: int
    bytes: int


class Change:
    """One change of a file, under its lock: `raw` is what it holds now."""

    def __init__(self, path: Path, raw: bytes) -> None:
        self._path = path
        self.raw = raw

    def replace(self, raw: bytes) -> None:
        """Put other content in its place: durable on return, and never half there. Mode and owner stay. Raises `Misconfigured`."""
        path, draft = self._path, _draft(self._path)
        try:
            before = path.stat()
            try:
                with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                    if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                        os.fchown(file.fileno(), before.st_uid, before.st_gid)  # root rotates, somebody else reads
                    os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
                    file.write(raw)
                    file.flush()
                    os.fsync(file.fileno())
                draft.replace(path)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
            _sync_folder(path.parent)
        except OSError as error:
            raise Misconfigured(
                f"The key file {path} cannot be changed ({error.strerror}).", next_step="change it where this user may write, and put it there again."
            ) from None
        self.raw = raw


@contextmanager
def changing(path: Path) -> Iterator[Change]:
    """Lock the file's folder, look at the file and let it be changed; links are followed. Waits ten seconds for others at most."""
    real = path.resolve()
    try:
        folder = os.open(real.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _cannot_be_opened(path, error) from None
    try:
        _lock(folder, path)
        raw, _ = read(real)
        for left in real.parent.glob(f".{escape(real.name)}.*"):
            left.unlink(missing_ok=True)
        yield Change(real, raw)
    finally:
        os.close(folder)  # which ends the lock


def create(path: Path, raw: bytes) -> bool:
    """Write a new file beside its place, then link it there: the first one wins. Tell whether it was this one. Raises `Misconfigured`."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(raw)
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


def read(path: Path) -> tuple[bytes, Look]:
    """Read what was opened, after looking at what was opened: a name could be exchanged in between. Links are followed.

    Raises `Misconfigured` for what is no file, cannot be opened, can be reached by others, or is too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would block until somebody writes
    except OSError as error:
        raise _cannot_be_opened(path, error) from None
    try:
        found = os.fstat(descriptor)
        _inspect(path, found)
        return os.read(descriptor, _FILE_BYTES_MAX), _look(found)
    finally:
        os.close(descriptor)


def look(path: Path) -> Look:
    """Look at the file without reading it. Raises `Misconfigured` if it cannot be found."""
    try:
        return _look(path.stat())
    except OSError as error:
        raise _cannot_be_opened(path, error) from None


def _look(found: os.stat_result) -> Look:
    return Look(found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}.draft")


def _lock(folder: int, path: Path) -> None:
    deadline = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Retryable(f"Another process is changing the key file {path}.", next_step="try again when it has ended.") from None
            time.sleep(_LOCK_PAUSE_S)
        except OSError as error:
            raise Misconfigured(f"The folder of {path} cannot be locked ({error.strerror}).", next_step="keep it on a local file system.") from None
        else:
            return


def _linked(draft: Path, path: Path) -> bool:
    try:
        os.link(draft, path)
    except FileExistsError:
        return False  # another process was first: its file counts
    except FileNotFoundError:
        if path.exists():
            return False  # and has changed its file since, which cleans up drafts
        raise
    return True


def _sync_folder(folder: Path) -> None:
    """Make the new name durable: data sealed by a key that a power cut takes away would be lost."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_be_opened(path: Path, error: OSError) -> Misconfigured:
    return Misconfigured(f"The key file {path} cannot be opened ({error.strerror}).", next_step="check the path, and let this user read it.")


def _inspect(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Misconfigured(f"The key file {path} is not a regular file.", next_step="set TOUCHLINE_KEY_FILE to a file.")
    if found.st_mode & _READABLE_BY_OTHERS:
        raise Misconfigured(
            f"The key file {path} has mode {stat.S_IMODE(found.st_mode):04o}: others than its owner can reach it.",
            next_step=f"run `chmod 600 {path}`, and think about who may have read it.",
        )
    if found.st_size > _FILE_BYTES_MAX:
        raise Misconfigured(f"The key file {path} is larger than {_FILE_BYTES_MAX} bytes.", next_step=RESTORE)
