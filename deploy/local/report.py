"""What `touchline status` says of one server: where it listens, whether it lives, and in plain words what is wrong. Must not change anything."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local import process
from deploy.local.folder import Folder, as_typed
from deploy.local.java import Mode
from deploy.local.server import Server
from deploy.local.stack_file import Entry

__all__ = ["Report"]


@dataclass(frozen=True, slots=True)
class Report:
    """One server as it is now. `trouble` says in plain words what is wrong and what to do, or is empty. `died`: it ended by itself."""

    name: str
    title: str
    version: str
    ports: Mapping[str, int]
    mode: Mode | None
    life: process.Life | None
    log: Path
    trouble: str = ""
    died: bool = False

    @classmethod
    def of(cls, server: Server, entry: Entry, folder: Folder, pid: int | None) -> "Report":
        """Look at a server that was started as `entry` says; `pid` is that of its process, None if none lives."""
        life = process.life_of(pid) if pid is not None else None
        log = folder.log(server.name)
        if life is None:
            died = folder.pid_file(server.name).exists()
            trouble = f"{server.title} has died; its log is {as_typed(log)}." if died else f"{server.title} is stopped."
            return cls(server.name, server.title, entry.version, entry.ports, entry.mode, None, log, f"{trouble} Next: `touchline up`.", died)
        trouble = "" if server.is_ready(entry.ports) else f"{server.title} runs but does not answer (yet). Next: wait, or `touchline down` and `up`."
        return cls(server.name, server.title, entry.version, entry.ports, entry.mode, life, log, trouble)
