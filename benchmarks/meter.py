"""The clocks of a measured process: its own CPU with all threads, the servers' CPU, wall time; and what goes through a store."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence

import psutil  # type: ignore[import-untyped]  # ships no types

from benchmarks.figures import Usage
from projections.kernel import Subject
from streams.store.cassandra import CassandraStore
from streams.store.port import CellValue, Checkpoint, GroupVersion, RowWrite, StateRow

__all__ = ["CountedStore", "Meter", "rss_mb"]


class Meter:
    """Measures from `start` to `usage`. `pids` are those of `cassandra` and `kafka`, as far as they are known."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._servers = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._before: dict[str, float] = {}
        self._cpu_s = self._wall_s = 0.0

    def start(self) -> None:
        """Begin; beginning again forgets what was."""
        self._before = {name: _cpu_s(server) for name, server in self._servers.items()}
        self._cpu_s, self._wall_s = time.process_time(), time.perf_counter()

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

        inner.driver.send = counted  # type: ignore[method-assign]  # the one place through which every request goes

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
