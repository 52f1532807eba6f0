"""The local stack: real servers on this machine, from nothing but Python. What `touchline up`, `down` and `status` and the tests drive.

A stack is a folder: `stack.json` (addresses), `run/` (pid files), `logs/`, and one folder of configuration and data for each server. Whatever
state the folder and the processes are in (one server killed, a pid file lost, the file corrupt), `start` leads to a stack that answers.
"""

import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.local import downloads, ports, process, stack_file
from deploy.local.cassandra import Cassandra
from deploy.local.folder import Folder, as_typed
from deploy.local.java import Mode
from deploy.local.kafka import Kafka
from deploy.local.registry import Registry
from deploy.local.report import Report
from deploy.local.server import Place, Server
from deploy.local.stack_file import Entry, StackFile
from touchline.errors import Misconfigured

__all__ = ["Stack"]

STOP_GRACE_S = 20.0
"""From SIGTERM to SIGKILL."""

READY_S = 120.0
"""How long a server may take to answer; a slow machine's first start takes 40 s."""

SPARE_DATA_BYTES = 512 * 1024 * 1024
"""Free space demanded where the data lie: Cassandra's commit log alone may take 256 MB."""

_DYING_S = 5.0
"""How long a killed server may hold its ports: its threads end one by one."""

_TRIES = 3
_POLL_S = 0.1


class Stack:
    """One local stack in `home`. Several stacks live side by side, each with ports of its own.

    `registry` adds the schema registry. `mode` None keeps what runs and starts the rest quick. `heaps_mb` overrides heap sizes by server name.
    `ports_above` shifts the default ports. `say` is told, in a line each, what a person should know. `fetch` gets the title, the jars and the
    cache folder and returns the files; the command line gives one that draws a bar.
    """

    def __init__(
        self,
        home: Path,
        *,
        registry: bool = False,
        mode: Mode | None = None,
        heaps_mb: Mapping[str, int] | None = None,
        ports_above: int = 0,
        say: Callable[[str], None] = lambda _: None,
        fetch: Callable[[str, Sequence[downloads.Jar], Path], Sequence[Path]] = lambda _title, jars, cache: downloads.fetch(jars, cache),
    ) -> None:
        self._folder = Folder(home.resolve())
        self._mode = mode
        self._heaps_mb = dict(heaps_mb or {})
        self._ports_above = ports_above
        self._say = say
        self._fetch = fetch
        self._registry = registry

    @property
    def home(self) -> Path:
        """The stack's folder."""
        return self._folder.home

    @property
    def file(self) -> Path:
        """Where the addresses are written."""
        return self._folder.addresses

    @property
    def settings(self) -> dict[str, str | int]:
        """The settings by which clients find this stack, as in its file."""
        return stack_file.read(self.file).settings

    def start(self) -> None:
        """Make every server answer: leave those that run, start those that do not, on their old ports and data."""
        with self._folder.alone():
            downloads.require_space(self.home, SPARE_DATA_BYTES, "the servers' data")
            before = self._read_or_renew()
            servers = self._servers(before)
            running = {server.name: pid for server in servers if (pid := self._kept(server, before)) is not None}
            for name, pid in running.items():
                process.write_pid(self._folder.pid_file(name), pid)  # it may have been lost
            self._launch_and_wait([server for server in servers if server.name not in running], running, before, servers)

    def stop(self, *, wipe: bool = False) -> list[str]:
        """Stop every server, in order: registry, Kafka, Cassandra. With `wipe`, remove their data, logs and addresses too. Returns who ran."""
        with self._folder.alone():
            stopped = [server.title for server in _ALL_IN_STOP_ORDER if self._end(server)]
            if wipe:
                for name in (*(server.name for server in _ALL_IN_STOP_ORDER), "logs", "run"):
                    shutil.rmtree(self.home / name, ignore_errors=True)
                self.file.unlink(missing_ok=True)
            return stopped

    def kill(self, name: str) -> None:
        """End one server as a power cut would (SIGKILL). Its pid file stays, as after a crash."""
        server = _by_name(name)
        for pid in process.find(self._folder.mark(server.name)):
            process.signal_and_wait(pid, self._folder.mark(server.name), signal.SIGKILL, STOP_GRACE_S)

    def restart(self, name: str) -> None:
        """Stop one server if it runs, and start it on the same ports and data."""
        with self._folder.alone():
            before = stack_file.read(self.file)
            server = _by_name(name)
            self._end(server)
            self._launch_and_wait([server], {}, before, self._servers(before))

    def reports(self) -> list[Report]:
        """Return every server of this stack as it is now. Empty if the stack was never started here."""
        known = stack_file.read(self.file)
        servers = [server for server in self._servers(known) if server.name in known.servers]
        with ThreadPoolExecutor(max(1, len(servers))) as pool:
            return list(pool.map(lambda server: Report.of(server, known.servers[server.name], self._folder, self._pid(server)), servers))

    def pid(self, name: str) -> int | None:
        """Return the pid of a living server, or None."""
        return self._pid(_by_name(name))

    # -- which servers, and which of them live

    def _servers(self, before: StackFile) -> list[Server]:
        """Kafka and Cassandra, and the registry if it is asked for or was not brought down. The slowest starter comes first."""
        registry = Registry()
        with_registry = self._registry or (registry.name in before.servers and self._folder.pid_file(registry.name).exists())
        return [Cassandra(), Kafka(), *([registry] if with_registry else [])]

    def _kept(self, server: Server, before: StackFile) -> int | None:
        """Return the pid of a server that may stay as it is. A stray one (no address known, no data, another mode) is ended first."""
        pid = self._pid(server)
        if pid is None:
            if (last := process.read_pid(self._folder.pid_file(server.name))) is not None:
                process.wait_while_dying(last, _DYING_S)
            return None
        entry = before.servers.get(server.name)
        if entry and self._folder.data(server.name).is_dir() and self._mode in (None, entry.mode) and entry.version == server.version:
            return pid
        self._say(f"{server.title} is restarted (it ran with other options).")
        self._end(server)
        return None

    def _pid(self, server: Server) -> int | None:
        mark = self._folder.mark(server.name)
        pid = process.read_pid(self._folder.pid_file(server.name))
        if pid is not None and process.is_alive(pid, mark):
            return pid
        found = process.find(mark)  # the pid file may be lost while the process lives
        return found[0] if found else None

    def _read_or_renew(self) -> StackFile:
        """Read the file. A corrupt one is told and then rebuilt from what runs: the processes carry their ports in their command lines."""
        try:
            return stack_file.read(self.file)
        except Misconfigured as error:
            self._say(f"{error.what} It is written anew.")
        servers = {}
        for server in _ALL_IN_STOP_ORDER:
            pid = self._pid(server)
            words = process.argument(pid, _PORTS) if pid is not None else None
            if words:
                mode, *pairs = words.split(",")
                servers[server.name] = Entry(server.version, {use: int(port) for use, _, port in (pair.partition(":") for pair in pairs)}, Mode(mode))
        return StackFile({}, servers)

    # -- starting

    def _launch_and_wait(self, starting: Sequence[Server], running: Mapping[str, int], before: StackFile, servers: Sequence[Server]) -> None:
        """Start servers side by side and wait for all.

        One that lost a race for a port gets another and a second try; so does one that ran and was dying when we looked.
        """
        files: dict[str, Sequence[Path]] = {}
        entries = {name: entry for name, entry in before.servers.items() if name in {server.name for server in servers}}
        pids = dict(running)
        for attempt in range(1, _TRIES + 1):
            for server in starting:
                if server.name not in files:
                    files[server.name] = self._fetch(f"{server.title} {server.version}", downloads.jars_of(server.name), downloads.cache_dir())
                entries[server.name] = self._entry(server, entries)
            self._write(entries, servers)
            for server in starting:
                pids[server.name] = self._launch(server, entries[server.name], files[server.name])
            ended = self._wait(servers, pids, entries)
            if not ended:
                return
            died = [server for server in ended if server.name not in files]
            robbed = [server for server in ended if server.name in files and any(ports.answers(port) for port in entries[server.name].ports.values())]
            if attempt == _TRIES or len(died) + len(robbed) < len(ended):
                break
            for server in died:
                process.wait_while_dying(pids[server.name], _DYING_S)
            starting = [*died, *robbed]
        log = self._folder.log(ended[0].name)
        raise Misconfigured(
            f'{ended[0].title} ended while it started. {as_typed(log)} says: "{process.last_words(log)}".',
            next_step="mend what it says, then `touchline up`.",
        )

    def _entry(self, server: Server, entries: Mapping[str, Entry]) -> Entry:
        old = entries.get(server.name)
        wanted = (
            old.ports if old and old.ports.keys() == server.ports.keys() else {use: port + self._ports_above for use, port in server.ports.items()}
        )
        others = {port for name, entry in entries.items() if name != server.name for port in entry.ports.values()}
        chosen = ports.choose(wanted, others)
        for use, port in chosen.items():
            if port != wanted[use]:
                self._say(f"Port {wanted[use]} is taken; {server.title} uses {port} ({use}).")
        return Entry(server.version, chosen, self._mode or (old.mode if old else Mode.QUICK))

    def _write(self, entries: Mapping[str, Entry], servers: Sequence[Server]) -> None:
        settings: dict[str, str | int] = {}
        for server in servers:
            if server.name in entries:
                settings |= server.settings(entries[server.name].ports)
        stack_file.write(self.file, StackFile(settings, dict(entries)))

    def _launch(self, server: Server, entry: Entry, files: Sequence[Path]) -> int:
        heap_mb = self._heaps_mb.get(server.name, server.heap_mb)
        place = Place(self._folder.data(server.name), self._folder.logs, entry.ports, files, entry.mode, heap_mb)
        carried = ",".join([entry.mode.value, *(f"{use}:{port}" for use, port in entry.ports.items())])
        pid = process.spawn(server.command(place, [self._folder.mark(server.name), _PORTS + carried]), self._folder.log(server.name))
        process.write_pid(self._folder.pid_file(server.name), pid)
        return pid

    def _wait(self, servers: Sequence[Server], pids: Mapping[str, int], entries: Mapping[str, Entry]) -> list[Server]:
        """Wait until all answer and return an empty list; or return those whose process ended."""
        deadline = time.monotonic() + READY_S
        waiting = [server for server in servers if server.name in pids]
        while waiting:
            if ended := [server for server in waiting if not process.is_alive(pids[server.name], self._folder.mark(server.name))]:
                return ended
            # Another stack that starts at the same time may have taken the port first, and its server would answer for ours.
            waiting = [
                server
                for server in waiting
                if not (process.listens(pids[server.name], entries[server.name].ports["client"]) and server.is_ready(entries[server.name].ports))
            ]
            if waiting and time.monotonic() > deadline:
                raise Misconfigured(
                    f"{waiting[0].title} runs and has not answered for {READY_S:.0f} s.",
                    next_step=f"`touchline down`, then `touchline up`; its log is {as_typed(self._folder.log(waiting[0].name))}.",
                )
            time.sleep(_POLL_S if waiting else 0)
        return []

    # -- stopping

    def _end(self, server: Server) -> bool:
        """End every process that carries the server's mark in this stack, and remove its pid file. True if there was one."""
        mark = self._folder.mark(server.name)
        found = process.find(mark)
        for pid in found:
            if not process.signal_and_wait(pid, mark, signal.SIGTERM, STOP_GRACE_S):
                self._say(f"{server.title} did not stop within {STOP_GRACE_S:.0f} s and is killed.")
                process.signal_and_wait(pid, mark, signal.SIGKILL, STOP_GRACE_S)
        self._folder.pid_file(server.name).unlink(missing_ok=True)
        return bool(found)


_PORTS = "-Dtouchline.ports="
_ALL_IN_STOP_ORDER: tuple[Server, ...] = (Registry(), Kafka(), Cassandra())


def _by_name(name: str) -> Server:
    return next(server for server in _ALL_IN_STOP_ORDER if server.name == name)
