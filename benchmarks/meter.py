"""The clocks of a measured process: its own CPU with all threads, the servers' CPU, wall time; and what goes through a store."""

import os
import platform
import threading
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types

from benchmarks.figures import Usage
from projections.kernel import Subject
from streams.store.cassandra import CassandraStore
from streams.store.port import Cells, CellValue, Checkpoint, GroupVersion, RowWrite, StateRow

__all__ = ["CountedStore", "Meter", "machine", "rss_mb"]


def machine() -> dict[str, object]:
    """Return what must be known to judge figures. A load above the number of CPUs means that others were at work."""
    return {"cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "python": platform.python_version()}


class Meter:
    """Measures from `start` to `usage`. `pids` are those of `cassandra` and `kafka`, as far as they are known."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._servers = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._before: dict[str, float] = {}
        self._threads: dict[str, float] = {}
        self._cpu_s = self._wall_s = 0.0

    def start(self) -> None:
        """Begin; beginning again forgets what was."""
        self._before = {name: _cpu_s(server) for name, server in self._servers.items()}
        self._threads = _threads()
        self._cpu_s, self._wall_s = time.process_time(), time.perf_counter()

    def by_thread(self) -> dict[str, float]:
        """Return this process's CPU seconds since the start by thread name: the loop, the poll thread, the driver's, librdkafka's."""
        now = _threads()
        return {name: used for name in now if (used := round(now[name] - self._threads.get(name, 0.0), 3)) > 0}

    def usage(self, events: int, *, rows: int = 0, requests: int = 0) -> Usage:
        """Return what has been used since the start."""
        wall_s, cpu_s = time.perf_counter() - self._wall_s, time.process_time() - self._cpu_s
        used = {name: _cpu_s(server) - self._before[name] for name, server in self._servers.items()}
        return Usage(events, wall_s, cpu_s, used.get("cassandra"), used.get("kafka"), rows, requests)


class CountedStore:
    """A `Store` that counts rows and requests and else does what the real one does. `inner` stays usable beside it."""

    def __init__(self, inner: CassandraStore) -> None:
        self.rows = 0
        self.requests = 0
        self._inner = inner
        send = inner.driver.send

        def counted(*request: object) -> None:
            self.requests += 1
            send(*request)  # type: ignore[arg-type]  # handed on as it came

        inner.driver.send = counted  # type: ignore[method-assign,assignment]  # the one place through which every request goes

    async def write(self, rows: Sequence[RowWrite]) -> None:
        """Write and count."""
        self.rows += len(rows)
        await self._inner.write(rows)

    async def load_states(self, group: GroupVersion, subjects: Iterable[Subject]) -> dict[Subject, StateRow]:
        """Hand on."""
        return await self._inner.load_states(group, subjects)

    async def load_checkpoints(self, group: GroupVersion) -> dict[int, Checkpoint]:
        """Hand on."""
        return await self._inner.load_checkpoints(group)

    async def save_checkpoints(self, group: GroupVersion, checkpoints: Mapping[int, Checkpoint]) -> None:
        """Hand on; checkpoints are rows too."""
        self.rows += len(checkpoints)
        await self._inner.save_checkpoints(group, checkpoints)

    async def read(
        self,
        table: str,
        partition: Mapping[str, str | int],
        *,
        limit: int | None = None,
        after: tuple[str | int, ...] | None = None,
        upto: tuple[str | int, ...] | None = None,
    ) -> list[dict[str, CellValue]]:
        """Hand on."""
        return await self._inner.read(table, partition, limit=limit, after=after, upto=upto)

    async def read_many(self, table: str, partitions: Sequence[Mapping[str, str | int]]) -> list[list[dict[str, CellValue]]]:
        """Hand on."""
        return await self._inner.read_many(table, partitions)

    async def swap(self, table: str, key: tuple[str | int, ...], columns: Cells, *, expected: Cells | None) -> bool:
        """Hand on."""
        return await self._inner.swap(table, key, columns, expected=expected)

    def pages(self, table: str) -> AsyncIterator[list[dict[str, CellValue]]]:
        """Hand on."""
        return self._inner.pages(table)

    async def scan(self, table: str) -> list[dict[str, CellValue]]:
        """Hand on."""
        return await self._inner.scan(table)

    async def close(self) -> None:
        """Hand on."""
        await self._inner.close()


def rss_mb() -> float:
    """Return the memory of this process that is in RAM, in MiB."""
    return float(psutil.Process(os.getpid()).memory_info().rss / 2**20)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _threads() -> dict[str, float]:
    """Return CPU seconds by thread name, summed over threads of one name: Python's own, and those of libraries by the system's (Linux)."""
    named = {thread.native_id: thread.name for thread in threading.enumerate()}
    found: dict[str, float] = {}
    for thread in psutil.Process().threads():
        name = named.get(thread.id) or _comm(thread.id)
        found[name] = found.get(name, 0.0) + thread.user_time + thread.system_time
    return found


def _comm(thread_id: int) -> str:
    try:
        return Path(f"/proc/self/task/{thread_id}/comm").read_text().strip()
    except OSError:
        return "other"
