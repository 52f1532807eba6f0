"""The local stack on real servers: `up` changes nothing that is well, repairs what is not, and `down` leaves nothing behind."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer
from cassandra.cluster import Cluster, Session
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from typer.testing import CliRunner

from deploy.local import ports, process, stack_file
from deploy.local.java import Mode
from deploy.local.stack import Stack
from deploy.local.testing import LiveStack
from tests.support.lanes import ports_above
from touchline.commands import stack as commands
from touchline.errors import Misconfigured

SERVERS = ("cassandra", "kafka")


@pytest.fixture
def app() -> typer.Typer:
    """Build the commands of the group alone."""
    app = typer.Typer()
    commands.register(app)
    return app


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Give a second stack, not yet started, that wants the same ports as the first."""
    other = Stack(tmp_path_factory.mktemp("other"), ports_above=ports_above())
    yield other
    other.stop(wipe=True)


@contextmanager
def _session(live: LiveStack) -> Iterator[Session]:
    cluster = Cluster([live.settings.cassandra_hosts], port=live.settings.cassandra_port, protocol_version=5)
    try:
        yield cluster.connect()
    finally:
        cluster.shutdown()


def _create_topic(brokers: str, name: str) -> None:
    admin = AdminClient({"bootstrap.servers": brokers})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(30)


def _topics(brokers: str) -> set[str]:
    return set(AdminClient({"bootstrap.servers": brokers}).list_topics(timeout=30).topics)


def _pids(servers: Stack) -> dict[str, int | None]:
    return {name: servers.pid(name) for name in SERVERS}


def _listening(servers: Stack) -> set[int]:
    return {port for entry in stack_file.read(servers.file).servers.values() for port in entry.ports.values() if ports.answers(port)}


def test_up_again_leaves_running_servers_as_they_are(stack: LiveStack) -> None:
    before, file = _pids(stack.servers), stack.servers.file.read_text()
    stack.repair()
    assert _pids(stack.servers) == before
    assert stack.servers.file.read_text() == file


def test_a_killed_kafka_comes_back_on_its_ports_with_its_topics_and_cassandra_is_left_alone(stack: LiveStack) -> None:
    name = f"stack-test-{os.getpid()}"
    _create_topic(stack.settings.brokers, name)
    before, settings = _pids(stack.servers), stack.servers.settings
    stack.kill("kafka")
    assert stack.servers.pid("kafka") is None
    stack.repair()
    after = _pids(stack.servers)
    assert after["cassandra"] == before["cassandra"]
    assert after["kafka"] not in {None, before["kafka"]}
    assert stack.servers.settings == settings
    assert name in _topics(stack.settings.brokers)


def test_a_killed_cassandra_comes_back_on_its_ports_with_its_rows_and_kafka_is_left_alone(stack: LiveStack) -> None:
    with _session(stack) as session:
        session.execute("CREATE KEYSPACE IF NOT EXISTS stack_test WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        session.execute("CREATE TABLE IF NOT EXISTS stack_test.kept (id int PRIMARY KEY)")
        session.execute("INSERT INTO stack_test.kept (id) VALUES (17)")
    before, settings = _pids(stack.servers), stack.servers.settings
    os.kill(before["cassandra"] or 0, signal.SIGKILL)  # as from outside: nobody waits for its ports here
    stack.repair()
    after = _pids(stack.servers)
    assert after["kafka"] == before["kafka"]
    assert after["cassandra"] not in {None, before["cassandra"]}
    assert stack.servers.settings == settings
    with _session(stack) as session:
        assert [row.id for row in session.execute("SELECT id FROM stack_test.kept")] == [17]


def test_restart_keeps_ports_and_changes_the_process(stack: LiveStack) -> None:
    before, settings = _pids(stack.servers), stack.servers.settings
    stack.restart("kafka")
    assert stack.servers.pid("kafka") not in {None, before["kafka"]}
    assert stack.servers.pid("cassandra") == before["cassandra"]
    assert stack.servers.settings == settings


def test_lost_pid_files_and_a_corrupt_address_file_are_made_anew_from_what_runs(stack: LiveStack) -> None:
    before, file = _pids(stack.servers), json.loads(stack.servers.file.read_text())
    stack.servers.file.write_text('{"settings": ')
    for pid_file in (stack.servers.home / "run").iterdir():
        pid_file.unlink()
    stack.repair()
    assert _pids(stack.servers) == before
    assert json.loads(stack.servers.file.read_text()) == file
    assert sorted(path.stem for path in (stack.servers.home / "run").iterdir()) == list(SERVERS)


def test_status_says_which_server_died_and_what_to_do(stack: LiveStack, app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stack.folder)
    monkeypatch.setattr(commands, "SECTIONS", [])
    assert CliRunner().invoke(app, ["status"]).exit_code == 0
    stack.kill("kafka")
    told = CliRunner().invoke(app, ["status"])
    assert told.exit_code == 1
    assert "Kafka has died" in told.output
    assert "Next: `touchline up`" in told.output
    servers = {server["name"]: server for server in json.loads(CliRunner().invoke(app, ["status", "--json"]).output)["servers"]}
    assert servers["kafka"]["state"] == "dead"
    assert servers["cassandra"]["state"] == "running"
    repaired = CliRunner().invoke(app, ["up"])
    assert repaired.exit_code == 0, repaired.output
    assert CliRunner().invoke(app, ["status"]).exit_code == 0


def test_two_ups_at_once_start_every_server_once_beside_another_stack(stack: LiveStack, other: Stack) -> None:
    """The second stack wants the first one's ports, and finds others; the two starts of it take turns."""
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(Stack(other.home, ports_above=ports_above()).start) for _ in range(2)]:
            done.result()
    for name in SERVERS:
        assert len(process.find(f"-Dtouchline.server={name}@{other.home}")) == 1
    assert _listening(other).isdisjoint(_listening(stack.servers))
    assert all(not report.trouble for report in [*other.reports(), *stack.servers.reports()])


def test_down_leaves_no_process_and_no_port(other: Stack) -> None:
    pids = [pid for pid in _pids(other).values() if pid]
    other.start()
    other.stop()
    assert not [pid for pid in pids if process.life_of(pid)]
    assert not [name for name in SERVERS if process.find(f"-Dtouchline.server={name}@{other.home}")]
    assert not _listening(other)
    assert [report.trouble for report in other.reports()] == [
        "Cassandra is stopped. Next: `touchline up`.",
        "Kafka is stopped. Next: `touchline up`.",
    ]


def test_ports_that_were_taken_meanwhile_are_told_and_replaced_and_data_stay(other: Stack) -> None:
    old = stack_file.read(other.file).servers
    other.start()
    brokers = str(other.settings["brokers"])
    _create_topic(brokers, "kept")
    other.stop()
    said: list[str] = []
    robbed = [old["kafka"].ports["client"], old["kafka"].ports["controller"], old["cassandra"].ports["client"]]
    robbers = [socket.create_server((ports.HOST, port)) for port in robbed]
    try:
        Stack(other.home, say=said.append).start()
    finally:
        for robber in robbers:
            robber.close()
    assert len(said) == len(robbed)
    assert all(any(f"Port {port} is taken" in line for line in said) for port in robbed)
    assert other.settings["brokers"] != brokers
    assert "kept" in _topics(str(other.settings["brokers"]))


def test_a_jvm_that_ends_at_start_is_told_in_one_line_with_its_log(other: Stack) -> None:
    other.stop()
    with pytest.raises(Misconfigured, match=r"Kafka ended while it started. .*kafka.log says: .*heap.*") as refused:
        Stack(other.home, heaps_mb={"kafka": 1}).start()
    assert "\n" not in str(refused.value)
    other.start()
    assert all(not report.trouble for report in other.reports())


def test_asking_for_normal_compilers_restarts_a_quick_stack_and_a_plain_up_keeps_them(other: Stack) -> None:
    Stack(other.home, mode=Mode.NORMAL).start()
    before = _pids(other)
    other.start()
    assert _pids(other) == before
    assert {report.mode for report in other.reports()} == {Mode.NORMAL}


def test_the_registry_joins_a_running_stack_with_its_rule_set(other: Stack) -> None:
    with_registry = Stack(other.home, registry=True)
    with_registry.start()
    assert str(with_registry.settings["registry_url"]).endswith("/apis/ccompat/v7")
    with_registry.kill("registry")
    other.start()  # a plain up repairs it: it was not brought down
    assert [report.name for report in other.reports()] == ["cassandra", "kafka", "registry"]
    other.stop()
    assert not process.find(f"-Dtouchline.server=registry@{other.home}")


def test_a_wipe_removes_data_logs_and_addresses_and_nothing_else(other: Stack) -> None:
    keys = other.home / "keys.json"
    keys.write_text("{}")
    other.stop(wipe=True)
    assert {path.name for path in other.home.iterdir()} == {"keys.json", "up.flock"}


def test_down_without_a_stack_says_so(app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(app, ["down"])
    assert (told.exit_code, told.output) == (0, "No local stack in this folder.\n")
    assert CliRunner().invoke(app, ["status"]).exit_code == 1
    assert not list(tmp_path.iterdir())
