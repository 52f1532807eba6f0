"""One installation of the product on a test's real servers: topics, keyspaces, a key file, and the commands that run on them.

Everything goes through the front door: `touchline worker`, `touchline ingest`, `touchline simulate` as processes of their own,
with settings from the environment only. What is read back comes through the product's own store, or a bare Kafka consumer.
"""

import asyncio
import json
import os
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from confluent_kafka.admin import AdminClient

from deploy.local.testing import LiveStack
from projections.digest import Rows, difference, digest
from projections.registry import GROUPS, Group
from schemas.codec import Codec
from schemas.topics import CHANNELS, channel_topic, topics
from streams.assembly import resolver_group
from streams.cluster import Cluster
from streams.customer_view import decoded
from streams.store.cassandra import CassandraStore
from streams.store.catalogue import KEYRING, MIGRATIONS
from streams.store.driver import Driver
from streams.store.migration_files import read_migrations
from streams.store.migrations import migrate
from streams.store.port import GroupVersion, Store
from tests.support.processes import Running, run, until
from touchline.errors import Retryable
from touchline.settings import Settings

__all__ = ["VIEW", "Counts", "Installation", "differences", "digest_of", "installed", "scanned", "sums_up"]

T = TypeVar("T")
Counts = dict[str, Any]
"""What `touchline ingest --json` prints."""

VIEW = GROUPS["view"]
PARTITIONS = 4
CAUGHT_UP_S = 240.0
INGEST_S = 500.0

_ONE_DAY_LATER = """
import time
now_ns = time.time_ns
time.time_ns = lambda: now_ns() + 86_400_000_000_000
from touchline.cli import main
main()
"""
"""`touchline` by the clock of tomorrow; nothing else of it is changed."""


@dataclass(frozen=True, slots=True)
class Installation:
    """An installation. `folder` holds its key file, the logs of its processes and nothing of the servers."""

    stack: LiveStack
    folder: Path
    settings: Settings

    # -- commands

    def environment(self, **settings: object) -> dict[str, str]:
        """Return the environment of a process of this installation: no setting of the caller's comes through."""
        given = {name: value for name, value in {**self.settings.model_dump(), **settings}.items() if value is not None}
        rest = {name: value for name, value in os.environ.items() if not name.startswith("TOUCHLINE_")}
        return rest | {f"TOUCHLINE_{name.upper()}": str(value) for name, value in given.items()}

    def worker(self, *groups: str, name: str = "worker", **settings: object) -> Running:
        """Start `touchline worker` for these groups (none: those of the settings); several of one name share their log files."""
        chosen = [word for group in groups for word in ("--group", group)]
        return Running(name, ["touchline", "worker", *chosen], self.environment(**settings), self.folder)

    def ingesting(self, file: Path | None, *options: str) -> Running:
        """Start `touchline ingest` and let it run; without a file it takes what it is fed."""
        command = ["touchline", "ingest", str(file or "-"), "--json", *options]
        return Running("ingest", command, self.environment(), self.folder, fed=file is None)

    def ingest(self, file: Path, *options: str, a_day_later: bool = False) -> Counts:
        """Ingest a file to its end and return what became of its records; with `a_day_later` by the clock of tomorrow."""
        start = ["python", "-c", _ONE_DAY_LATER] if a_day_later else ["touchline"]
        done = run([*start, "ingest", str(file), "--json", *options], self.environment(), self.folder, within_s=INGEST_S)
        assert done.returncode == 0, done.stderr
        return sums_up(json.loads(done.stdout))

    def simulated_digest(self, *files: Path, group: Group = VIEW) -> str:
        """Return the digest of a group that `touchline simulate` comes to, without any server."""
        nowhere = {"brokers": "nowhere.invalid:9", "cassandra_hosts": "nowhere.invalid"}
        command = ["touchline", "simulate", *map(str, files), "--digest"]
        done = run(command, self.environment(**nowhere), self.folder, within_s=INGEST_S)
        assert done.returncode == 0, done.stderr
        lines = map(json.loads, done.stdout.splitlines())
        [found] = [line["digest"] for line in lines if line["group"] == group.name]
        return str(found)

    # -- how far it is

    @property
    def channel_topics(self) -> list[str]:
        """The topics of the channels."""
        return [channel_topic(self.settings.topic_prefix, channel) for channel in CHANNELS]

    def appended(self) -> int:
        """Return how many records the channel topics hold."""
        return sum(self._cluster().end_offsets(self.channel_topics).values())

    def resolved(self) -> int:
        """Return how many records of the channel topics the resolver has committed."""
        return sum(self._cluster().committed(resolver_group(self.settings), self.channel_topics).values())

    def folded(self, group: Group = VIEW) -> int:
        """Return how many records of the log a group's checkpoints are beyond."""
        return sum(self.checkpoints(group).values())

    def checkpoints(self, group: Group = VIEW) -> dict[int, int]:
        """Return the next offset of every partition, from the store."""
        found = self.read(lambda store: store.load_checkpoints(GroupVersion(group.name, group.version)))
        return {partition: checkpoint.next_offset for partition, checkpoint in found.items()}

    def is_caught_up(self, group: Group | None = VIEW) -> bool:
        """Tell whether nothing waits: neither for the resolver nor, unless `group` is None, for the group."""
        cluster = self._cluster()
        ends = {place: end for place, end in cluster.end_offsets(self.channel_topics).items() if end}
        committed = cluster.committed(resolver_group(self.settings), self.channel_topics)
        if any(committed[place] < end for place, end in ends.items()):
            return False
        if group is None:
            return True
        log = self.settings.topic("interaction")
        checkpoints = self.checkpoints(group)
        return all(checkpoints.get(place.partition, 0) >= end for place, end in cluster.end_offsets([log]).items())

    def wait_until_caught_up(self, *workers: Running, group: Group | None = VIEW, within_s: float = CAUGHT_UP_S) -> None:
        """Wait until nothing waits. A worker that ends meanwhile fails the test, with its last words."""

        def caught_up() -> bool:
            for worker in workers:
                assert worker.is_running, worker.last_words()
            with suppress(Retryable):
                return self.is_caught_up(group)
            return False

        until(caught_up, within_s, "everything is resolved and folded", pause_s=0.3)

    def _cluster(self) -> Cluster:
        return Cluster(self.settings.brokers)

    # -- what is there

    def read(self, question: Callable[[CassandraStore], Awaitable[T]]) -> T:
        """Ask the store something, over a connection of its own."""

        async def asked() -> T:
            store = await CassandraStore.connect(self.settings)
            try:
                return await question(store)
            finally:
                await store.close()

        return asyncio.run(asked())

    def rows(self, group: Group = VIEW) -> dict[str, list[dict[str, Any]]]:
        """Return all rows of a group's reader tables, by logical name."""
        return self.read(lambda store: scanned(store, group))

    def digest(self, group: Group = VIEW) -> str:
        """Return the digest of what readers of a group see."""
        return digest_of(self.rows(group), group)

    # -- life

    def create(self) -> None:
        """Create topics, keyspaces and tables, as `touchline topics create` and `touchline store migrate` do."""
        chosen = self.settings
        Cluster(chosen.brokers).create_topics(topics(chosen.topic_prefix, chosen.partitions, chosen.replication_factor))
        driver = Driver.open(chosen)
        try:
            tables = [table for group in GROUPS.values() for table in group.tables()]
            migrate(driver, chosen, read_migrations(MIGRATIONS), tables, {KEYRING: chosen.keyring_keyspace})
        finally:
            driver.close()

    def remove(self) -> None:
        """Delete topics and keyspaces, so that a stack that is kept does not grow from run to run."""
        admin = AdminClient({"bootstrap.servers": self.settings.brokers, "log_level": 2})
        mine = [spec.name for spec in topics(self.settings.topic_prefix)]
        for future in admin.delete_topics(mine).values():
            with suppress(Exception):  # it may be gone already
                future.result(20)
        self.remove_keyspace()
        replace(self, settings=self.settings.model_copy(update={"keyspace": self.settings.keyring_keyspace})).remove_keyspace()

    def remove_keyspace(self) -> None:
        """Drop the keyspace with all tables."""
        driver = Driver.open(self.settings)
        try:
            driver.execute(f"DROP KEYSPACE IF EXISTS {self.settings.keyspace}", timeout_s=60)
        finally:
            driver.close()


@contextmanager
def installed(stack: LiveStack, folder: Path, name: str, *, key_file: Path | None = None, **settings: object) -> Iterator[Installation]:
    """Give an installation under names that no other run has; processes are the caller's to end before it goes."""
    unique = f"{name}_{secrets.token_hex(3)}"
    home = folder / unique
    home.mkdir(parents=True)
    chosen = {
        "topic_prefix": unique,
        "keyspace": unique,
        "keyring_keyspace": f"{unique}_keys",
        "partitions": PARTITIONS,
        "tenant": "acme",
        "key_file": (key_file or home / "keys.json").resolve(),
        **settings,
    }
    found = Installation(stack, home, stack.settings_with(**chosen))
    found.create()
    try:
        yield found
    finally:
        stack.repair()
        found.remove()


async def scanned(store: Store, group: Group = VIEW) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of a group's reader tables in any store, by logical name."""
    return {table.name: await store.scan(table.physical) for table in group.reader_tables}


def digest_of(rows: Rows, group: Group = VIEW) -> str:
    """Return the digest of rows."""
    codec = Codec()
    return digest(group.tables(), rows, decode=lambda schema_id, body: decoded(codec, body, schema_id))


def differences(before: Rows, after: Rows, group: Group = VIEW) -> str:
    """Return the first ways in which two sets of rows differ, for the message of a failed test."""
    codec = Codec()
    found = difference(group.tables(), before, after, limit=10, decode=lambda schema_id, body: decoded(codec, body, schema_id))
    return "\n".join(map(str, found))


def sums_up(counts: Counts) -> Counts:
    """Return the counts of an import after checking that every record is accounted for."""
    assert counts["received"] == counts["accepted"] + counts["duplicate"] + counts["quarantined"] + counts["refused"], counts
    return counts
