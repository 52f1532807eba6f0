"""Where the benchmarks run: a stack with normal compilers, and topics and keyspaces of their own on it, taken away at the end."""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient

from benchmarks.material import Keyed
from connectors.producer import Producer
from deploy.local.java import Mode
from deploy.local.stack import Stack
from projections.tables import Table
from schemas.topics import topic_name, topics
from streams.cluster import Cluster
from streams.store.catalogue import KEYRING, MIGRATIONS
from streams.store.driver import Driver
from streams.store.migration_files import read_migrations
from streams.store.migrations import migrate
from touchline.settings import STACK_FILE, Settings, load_settings

__all__ = ["PARTITIONS", "Stage", "staged"]

PARTITIONS = 4
"""Of every topic, as in the benchmark job."""

PORTS_ABOVE = 20_000
_HOME = STACK_FILE.parent / "bench"
_SERVERS = ("kafka", "cassandra")


class Stage:
    """A running stack and what was made on it. `folder` is for files; `pids` are those of the servers that are ours."""

    def __init__(self, addresses: Mapping[str, Any], pids: Mapping[str, int], folder: Path) -> None:
        self.pids = dict(pids)
        self.folder = folder
        self._addresses = dict(addresses)
        self._mark = secrets.token_hex(3)
        self._topics: list[str] = []
        self._keyspaces: list[str] = []
        self._driver = Driver.open(self.settings("none"))

    def settings(self, name: str, **overrides: Any) -> Settings:  # noqa: ANN401 - any setting by its name
        """Return settings that lead here, with topics and keyspaces of this name; others' are never touched."""
        own = f"bench_{self._mark}_{name}"
        return Settings(
            **{
                **self._addresses,
                "topic_prefix": own,
                "keyspace": own,
                "keyring_keyspace": f"{own}_keys",
                "key_file": self.folder / "keys.json",
                "partitions": PARTITIONS,
                "tenant": "acme",
                "log_level": "warning",
                **overrides,
            }
        )

    def make_topics(self, settings: Settings) -> None:
        """Create every topic of the product under the prefix of these settings."""
        outcomes = Cluster(settings.brokers).create_topics(topics(settings.topic_prefix, PARTITIONS))
        self._topics += [outcome.topic for outcome in outcomes]

    def make_tables(self, settings: Settings, tables: Iterable[Table]) -> None:
        """Create the keyspaces of these settings with control tables and these."""
        migrate(self._driver, settings, read_migrations(MIGRATIONS), list(tables), {KEYRING: settings.keyring_keyspace})
        self._keyspaces += [settings.keyspace, settings.keyring_keyspace]

    def empty(self, settings: Settings, tables: Iterable[Table]) -> None:
        """Empty these tables and the checkpoints, so that a worker begins at the beginning."""
        for name in (*(table.physical for table in tables), "projection_checkpoint"):
            self._driver.execute(f"TRUNCATE {settings.keyspace}.{name}", timeout_s=60)

    def append(self, settings: Settings, log: Iterable[Keyed], name: str = "interaction") -> int:
        """Append records to a topic of these settings, by default the canonical log; return how many."""
        producer, topic, n = Producer(settings.brokers, delivery_timeout_s=60), topic_name(settings.topic_prefix, name), 0
        for n, (key, value) in enumerate(log, 1):  # noqa: B007 - the count is the answer
            producer.produce(topic, key, value)
        producer.flush(120)
        return n

    def close(self) -> None:
        """Remove the topics and keyspaces that were made here."""
        if self._topics:
            admin = AdminClient({"bootstrap.servers": str(self._addresses["brokers"]), "log_level": 2})  # kept in a name while it works
            for future in admin.delete_topics(self._topics).values():
                future.result(30)
        for keyspace in self._keyspaces:
            self._driver.execute(f"DROP KEYSPACE IF EXISTS {keyspace}", timeout_s=60)
        self._driver.close()


@contextmanager
def staged(*, here: bool, say: Callable[[str], None]) -> Iterator[Stage]:
    """Yield a stage: a private stack in `.touchline/bench`, stopped at the end; or with `here` that of the settings, left as it is."""
    folder = _HOME.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if here:
        settings = load_settings()
        addresses = settings.model_dump(include={"brokers", "cassandra_hosts", "cassandra_port", "local_dc"})
        stage = Stage(addresses, _pids(Stack(STACK_FILE.parent)) if STACK_FILE.exists() else {}, folder)
        try:
            yield stage
        finally:
            stage.close()
        return
    stack = Stack(folder, mode=Mode.NORMAL, ports_above=PORTS_ABOVE, say=say)
    stack.start()
    try:
        stage = Stage(stack.settings, _pids(stack), folder)
        try:
            yield stage
        finally:
            stage.close()
    finally:
        stack.stop()


def _pids(stack: Stack) -> dict[str, int]:
    return {name: pid for name in _SERVERS if (pid := stack.pid(name)) is not None}
