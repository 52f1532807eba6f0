"""What the stack knows about a server: the seam between `stack.py` and `kafka.py`, `cassandra.py` and `registry.py`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deploy.local.java import Mode

__all__ = ["Place", "Server"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where one server lives in one stack: its own folder, the folder of the logs, its ports by use, its files and its Java."""

    home: Path
    logs: Path
    ports: Mapping[str, int]
    jars: Sequence[Path]
    mode: Mode
    heap_mb: int


class Server(Protocol):
    """One server. Knows its files and its protocol; must not know pid files, locks or the other servers."""

    @property
    def name(self) -> str:
        """The name in commands, files and folders."""

    @property
    def title(self) -> str:
        """The name for people."""

    @property
    def version(self) -> str:
        """The version that runs."""

    @property
    def ports(self) -> Mapping[str, int]:
        """Default port by use; the first is the one that clients use."""

    @property
    def heap_mb(self) -> int:
        """The JVM's heap unless the stack is told otherwise."""

    def command(self, place: Place, marks: Sequence[str]) -> list[str]:
        """Write the configuration, make the data folder fit to start from, and return the command line with `marks` among the JVM's options."""

    def is_ready(self, ports: Mapping[str, int]) -> bool:
        """Tell whether clients are answered; must return within some seconds and must not raise."""

    def settings(self, ports: Mapping[str, int]) -> dict[str, str | int]:
        """Return the settings (touchline/settings.py) by which clients find it."""
