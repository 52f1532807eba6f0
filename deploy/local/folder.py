"""One stack's folder: where its addresses, pid files, logs and data lie, and the lock that lets one command at a time work on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local.downloads import only_one
from touchline.errors import Misconfigured

__all__ = ["Folder", "as_typed"]


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder `home`, an absolute path: it is part of the mark by which the stack knows its processes again."""

    home: Path

    @property
    def addresses(self) -> Path:
        """`stack.json`."""
        return self.home / "stack.json"

    @property
    def logs(self) -> Path:
        """The folder of the logs."""
        return self.home / "logs"

    def data(self, server: str) -> Path:
        """Return the folder of a server's configuration and data."""
        return self.home / server

    def log(self, server: str) -> Path:
        """Return what a server prints."""
        return self.logs / f"{server}.log"

    def pid_file(self, server: str) -> Path:
        """Return a server's pid file. It is there from start to stop: a pid file without a process tells of a crash."""
        return self.home / "run" / f"{server}.pid"

    def mark(self, server: str) -> str:
        """Return what a server's process carries in its command line, and no other process on this machine does."""
        return f"-Dtouchline.server={server}@{self.home}"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder's lock, so that two commands at once take turns."""
        try:
            for folder in (self.home, self.logs, self.home / "run"):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Misconfigured(f"The folder {self.home} cannot be written ({error.strerror}).", next_step="work in another folder.") from error
        with only_one(self.home / "up.flock"):
            yield


def as_typed(path: Path) -> Path:
    """Return the path as a person in the working folder would type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
