"""`stack.json`: which servers the stack has and where they listen. `touchline/settings.py` reads its `settings`."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.java import Mode
from touchline.errors import Misconfigured

__all__ = ["Entry", "StackFile", "read", "write"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One server: the version and ports it was last started with, and how its JVM compiles."""

    version: str
    ports: dict[str, int]
    mode: Mode


@dataclass(frozen=True, slots=True)
class StackFile:
    """The whole file."""

    settings: dict[str, str | int] = field(default_factory=dict)
    servers: dict[str, Entry] = field(default_factory=dict)


def read(path: Path) -> StackFile:
    """Read the file; an empty one if there is none. Raises `Misconfigured` if it is not what `write` wrote."""
    try:
        found = json.loads(path.read_text())
        servers = {
            str(name): Entry(str(entry["version"]), {str(use): int(port) for use, port in entry["ports"].items()}, Mode(entry["mode"]))
            for name, entry in found["servers"].items()
        }
        return StackFile(dict(found["settings"]), servers)
    except FileNotFoundError:
        return StackFile()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Misconfigured(f"{path} cannot be read ({type(error).__name__}).", next_step="`touchline up`, which writes it anew.") from error


def write(path: Path, content: StackFile) -> None:
    """Write the file in one step, so that no reader ever sees half of it."""
    servers = {name: {"version": entry.version, "ports": entry.ports, "mode": entry.mode.value} for name, entry in content.servers.items()}
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"settings": content.settings, "servers": servers}, indent=2) + "\n")
    part.replace(path)
