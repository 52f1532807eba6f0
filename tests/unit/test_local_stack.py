"""The local stack's parts that need no server: ports, downloads, files, processes, and what `status` says."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
import typer
from jgo.maven import PythonResolver
from typer.testing import CliRunner

from deploy.local import downloads, java, ports, process, stack_file
from deploy.local.cassandra import Cassandra
from deploy.local.downloads import Jar
from deploy.local.java import Mode
from deploy.local.kafka import Kafka
from deploy.local.server import Place, Server
from deploy.local.stack import Stack
from deploy.local.stack_file import Entry, StackFile
from touchline.commands import stack as commands
from touchline.errors import Misconfigured, Retryable
from touchline.sections import Section
from touchline.settings import Settings

CONTENT = b"the jar"
_NOBODY = 2**22 + 1
"""A pid above every system's limit."""

JAR = Jar("kafka", "0" * 64, len(CONTENT), "org.example:thing:1.0:linux")


class _Arriving(NamedTuple):
    """A stand-in for jgo's resolver: what it writes, or raises."""

    content: bytes = CONTENT
    error: Exception | None = None

    def download(self, artifact: Any) -> Path:
        if self.error:
            raise self.error
        artifact.cached_path.parent.mkdir(parents=True)
        artifact.cached_path.write_bytes(self.content)
        return Path(artifact.cached_path)


@pytest.fixture
def arrive(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that says what the next download brings."""
    monkeypatch.setattr("time.sleep", lambda _: None)

    def say(content: bytes = CONTENT, error: Exception | None = None) -> None:
        arriving = _Arriving(content, error)
        monkeypatch.setattr(PythonResolver, "download", lambda _, artifact: arriving.download(artifact))

    return say


def _good(tmp_path: Path) -> Jar:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    return Jar("kafka", downloads.sha256_of(path), len(CONTENT), "org.example:thing:1.0")


# -- ports


def test_a_free_default_port_is_taken_and_a_busy_one_gives_the_next() -> None:
    with socket.create_server((ports.HOST, 0)) as busy:
        port = busy.getsockname()[1]
        chosen = ports.choose({"client": port})
        assert port < chosen["client"] <= port + 200
        assert ports.is_free(chosen["client"])
    assert ports.choose({"client": port}) == {"client": port}


def test_no_port_is_given_twice_nor_one_that_another_server_has() -> None:
    with socket.create_server((ports.HOST, 0)) as busy:
        port = busy.getsockname()[1]
    chosen = ports.choose({"client": port, "controller": port}, taken={port})
    assert len({*chosen.values(), port}) == 3


def test_no_free_port_at_all_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda _port: False)
    with pytest.raises(Misconfigured, match=r"No free port between 9092 and 9292 \(client\)"):
        ports.choose({"client": 9092})


# -- downloads


def test_the_committed_list_is_whole_and_names_no_address() -> None:
    text = downloads.LOCK.read_text()
    jars = [jar for server in ("kafka", "cassandra", "registry") for jar in downloads.jars_of(server)]
    assert len(jars) == len(text.splitlines()) - 1
    assert Counter(jar.server for jar in jars) == {"kafka": 46, "cassandra": 100, "registry": 1}
    assert all(len(jar.sha256) == 64 and jar.size_bytes > 0 and 3 <= len(jar.coordinate.split(":")) <= 4 for jar in jars)
    assert "://" not in text


@pytest.mark.parametrize(
    ("coordinate", "filename"),
    [
        ("org.example:thing:1.0", "thing-1.0.jar"),
        ("org.example:thing:1.0:linux", "thing-1.0-linux.jar"),
        ("org.example:thing:1.0:all@tar.gz", "thing-1.0-all.tar.gz"),
    ],
)
def test_a_coordinate_gives_the_name_that_repositories_use(coordinate: str, filename: str) -> None:
    assert Jar("kafka", "", 0, coordinate).filename == filename


def test_a_file_that_arrives_whole_is_kept_and_not_fetched_again(tmp_path: Path, arrive: Any) -> None:
    jar = _good(tmp_path)
    arrive()
    assert [path.read_bytes() for path in downloads.fetch([jar], tmp_path)] == [CONTENT]
    arrive(error=AssertionError("fetched again"))
    assert downloads.fetch([jar], tmp_path) == [jar.path(tmp_path)]


def test_a_wrong_checksum_names_the_file_deletes_it_and_says_what_to_do(tmp_path: Path, arrive: Any) -> None:
    arrive(b"altered")
    with pytest.raises(Misconfigured, match=r"thing-1.0-linux.jar was refused and deleted.*Next: run `touchline up` again"):
        downloads.fetch([JAR], tmp_path)
    assert not list(tmp_path.rglob("*thing*"))


def test_a_cached_file_that_was_altered_is_fetched_again(tmp_path: Path, arrive: Any) -> None:
    jar = _good(tmp_path)
    arrive()
    (path,) = downloads.fetch([jar], tmp_path)
    path.write_bytes(b"rotten!")
    assert downloads.missing([jar], tmp_path) == [jar]
    downloads.fetch([jar], tmp_path)
    assert path.read_bytes() == CONTENT


def test_no_network_is_one_line_with_the_next_step(tmp_path: Path, arrive: Any) -> None:
    arrive(error=requests.ConnectionError("a long story\nabout sockets"))
    with pytest.raises(Misconfigured, match=r"org.example:thing:1.0:linux could not be downloaded \(ConnectionError\)") as refused:
        downloads.fetch([JAR], tmp_path)
    assert "\n" not in str(refused.value)
    assert "check the network" in refused.value.next_step


def test_a_full_disk_is_found_before_the_first_byte_with_both_figures(tmp_path: Path, arrive: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    arrive(error=AssertionError("fetched"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 3 * 2**20))
    with pytest.raises(Misconfigured, match=r"64 MB are needed in .* and 3 MB are free"):
        downloads.fetch([JAR], tmp_path)


def test_a_cache_that_cannot_be_written_is_told_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match=r"The cache folder .*file/cache cannot be written"):
        downloads.fetch([JAR], tmp_path / "file" / "cache")


def test_the_cache_follows_the_users_own_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert downloads.cache_dir() == tmp_path / "touchline"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert downloads.cache_dir() == Path.home() / ".cache" / "touchline"


# -- the address file


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    content = StackFile({"brokers": "127.0.0.1:9092"}, {"kafka": Entry("4.3.1", {"client": 9092, "controller": 9093}, Mode.QUICK)})
    stack_file.write(tmp_path / "stack.json", content)
    assert stack_file.read(tmp_path / "stack.json") == content
    assert [path.name for path in tmp_path.iterdir()] == ["stack.json"]


def test_no_address_file_is_an_empty_stack(tmp_path: Path) -> None:
    assert stack_file.read(tmp_path / "stack.json") == StackFile()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"settings": {}, "servers": {"kafka": 1}}', '{"settings": {}, "servers": []}', '{"settings": 1, "servers": {}}']
)
def test_a_corrupt_address_file_is_told_with_the_next_step(tmp_path: Path, text: str) -> None:
    path = tmp_path / "stack.json"
    path.write_text(text)
    with pytest.raises(Misconfigured, match=r"stack.json cannot be read .* Next: `touchline up`"):
        stack_file.read(path)


# -- Java and command lines


@pytest.mark.parametrize(
    ("release", "version"), [('JAVA_VERSION="17.0.15"', 17), ('X="1"\nJAVA_VERSION="25"', 25), ('JAVA_VERSION="1.8.0_402"', 8), ("", None)]
)
def test_a_javas_version_is_read_without_starting_it(tmp_path: Path, release: str, version: int | None) -> None:
    (tmp_path / "release").write_text(release)
    assert java.java_version(tmp_path) == version


def test_java_home_is_used_only_if_it_is_a_17(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    (tmp_path / "release").write_text('JAVA_VERSION="17.0.1"')
    assert java.java_17() == tmp_path / "bin" / "java"
    (tmp_path / "release").write_text('JAVA_VERSION="25"')
    assert tmp_path not in java.java_17().parents
    assert java.java_17().exists()


def test_quick_and_normal_differ_in_compiler_and_collector(tmp_path: Path) -> None:
    assert {"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx300m"} <= set(java.jvm_options(Mode.QUICK, 300, tmp_path))
    assert not {"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"} & set(java.jvm_options(Mode.NORMAL, 300, tmp_path))


def test_every_server_listens_on_the_loopback_address_and_the_ports_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "kafka" / "data").mkdir(parents=True)
    (tmp_path / "kafka" / "data" / "meta.properties").touch()  # formatted: the tool is not run
    kafka = Place(tmp_path / "kafka", tmp_path, {"client": 1111, "controller": 2222}, [Path("/jars/a.jar")], Mode.QUICK, 256)
    command = Kafka().command(kafka, ["-Dmark=kafka"])
    assert command.index("-Dmark=kafka") < command.index("kafka.Kafka")
    assert "listeners=PLAINTEXT://127.0.0.1:1111,CONTROLLER://127.0.0.1:2222\n" in (tmp_path / "kafka" / "server.properties").read_text()
    cassandra = Place(tmp_path / "cassandra", tmp_path, {"client": 3333, "storage": 4444, "jmx": 5555}, [], Mode.QUICK, 256)
    command = Cassandra().command(cassandra, ["-Dmark=cassandra"])
    assert {"-Dmark=cassandra", "-Dcassandra.jmx.local.port=5555", "-Xmx256m"} <= set(command)
    yaml = (tmp_path / "cassandra" / "cassandra.yaml").read_text()
    assert "native_transport_port: 3333\n" in yaml
    assert '- seeds: "127.0.0.1:4444"\n' in yaml


def test_a_server_that_is_not_there_is_not_ready() -> None:
    with socket.create_server((ports.HOST, 0)) as nobody:
        port = nobody.getsockname()[1]
    assert not Kafka().is_ready({"client": port})
    assert not Cassandra().is_ready({"client": port})


# -- processes


def _sleeper(mark: str, log: Path, body: str = "import time; time.sleep(60)") -> int:
    return process.spawn([sys.executable, "-c", body, mark], log)


def test_a_pid_counts_only_with_the_mark_in_its_command_line(tmp_path: Path) -> None:
    """The system reuses pids: a file that names a living stranger must not make it ours."""
    assert not process.is_alive(os.getpid(), f"-Dtouchline.server=kafka@{tmp_path}")
    mark = f"-Dtouchline.server=kafka@{tmp_path}"
    pid = _sleeper(mark, tmp_path / "log")
    assert process.is_alive(pid, mark)
    assert process.find(mark) == [pid]
    assert not process.is_alive(pid, mark + "2")
    assert process.signal_and_wait(pid, mark, signal.SIGTERM, 20)
    assert not process.is_alive(pid, mark)
    assert process.life_of(pid) is None


def test_a_process_that_ignores_sigterm_is_reported_so_that_it_can_be_killed(tmp_path: Path) -> None:
    mark = f"mark@{tmp_path}"
    body = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    pid = _sleeper(mark, tmp_path / "log", body)
    while "ready" not in (tmp_path / "log").read_text():
        assert process.is_alive(pid, mark)
    assert not process.signal_and_wait(pid, mark, signal.SIGTERM, 0.2)
    assert process.signal_and_wait(pid, mark, signal.SIGKILL, 20)


def test_a_process_gets_a_log_of_its_own_and_no_variable_that_alters_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1m")
    log = tmp_path / "server.log"
    log.write_text("the last run\n")
    pid = _sleeper("mark", log, "import os; print(os.environ.get('JAVA_TOOL_OPTIONS'), os.getsid(0) == os.getpid())")
    os.waitpid(pid, 0)
    assert log.read_text() == "None True\n"
    assert (tmp_path / "server.log.1").read_text() == "the last run\n"


@pytest.mark.parametrize("text", ["", "x", "-"])
def test_a_pid_file_with_nonsense_is_no_pid(tmp_path: Path, text: str) -> None:
    (tmp_path / "kafka.pid").write_text(text)
    assert process.read_pid(tmp_path / "kafka.pid") is None
    assert process.read_pid(tmp_path / "none.pid") is None


def test_the_last_words_of_a_log_are_its_last_error_and_the_line_after_but_no_stack_frame(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("INFO starting\nERROR no room\njava.lang.OutOfMemoryError: heap\n\tat a.B.c(B.java:1)\nINFO bye\n")
    assert process.last_words(log) == "java.lang.OutOfMemoryError: heap INFO bye"
    log.write_text("one\ntwo\n\n")
    assert process.last_words(log) == "two"
    assert process.last_words(tmp_path / "none") == "(no log)"


# -- status


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """Build the commands of the group alone, in an empty folder, with servers that are elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOUCHLINE_BROKERS", "127.0.0.1:1")
    app = typer.Typer()
    commands.register(app)
    return app


def _lag(settings: Settings) -> Section:
    return Section("lag", "Lag", ("group", "lag"), (("view", "7"),), {"view": 7, "brokers": settings.brokers})


def _unwell(_settings: Settings) -> None:
    raise Retryable("Kafka does not answer.", next_step="wait.")


def test_status_shows_every_section_and_gives_its_data_as_json(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "SECTIONS", [_lag, lambda _: None])
    shown = CliRunner().invoke(app, ["status"])
    assert shown.exit_code == 0
    assert "view" in shown.output
    assert json.loads(CliRunner().invoke(app, ["status", "--json"]).output) == {
        "ok": True,
        "servers": [],
        "lag": {"view": 7, "brokers": "127.0.0.1:1"},
        "troubles": [],
    }


def test_a_section_that_fails_hides_no_other_and_makes_status_exit_1(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "SECTIONS", [_unwell, _lag])
    told = CliRunner().invoke(app, ["status"])
    assert told.exit_code == 1
    assert "Kafka does not answer. Next: wait." in told.output
    assert "view" in told.output


@pytest.mark.parametrize("command", ["up", "down", "status"])
def test_every_command_has_an_example_in_its_help(app: typer.Typer, command: str) -> None:
    assert f"Example: touchline {command}" in CliRunner().invoke(app, [command, "--help"]).output


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (59.9, "59s"), (61, "1m 1s"), (7300, "2h 1m"), (90_000, "1d 1h")])
def test_lengths_of_time_are_told_in_two_parts(seconds: float, text: str) -> None:
    assert commands._duration(seconds) == text


def test_the_command_line_loads_no_heavy_library_before_a_command_needs_it() -> None:
    """`touchline --help` must be quick: rich, psutil, jgo and the driver wait."""
    program = "import sys; import touchline.commands.stack; print(sorted({'psutil', 'jgo', 'cassandra', 'requests'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


class Dying(Stack):
    """A stack whose Cassandra looks alive at first and is found dead while all are waited for. It starts no process."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, fetch=lambda *_: [])
        self.launched: list[str] = []
        self._ended = [[Cassandra()], []]

    def _kept(self, server: Server, before: StackFile) -> int | None:
        del server, before
        return _NOBODY

    def _launch(self, server: Server, entry: Entry, files: Sequence[Path]) -> int:
        del entry, files
        self.launched.append(server.name)
        return _NOBODY

    def _wait(self, servers: Sequence[Server], pids: Mapping[str, int], entries: Mapping[str, Entry]) -> list[Server]:
        del servers, pids, entries
        return list(self._ended.pop(0))


def test_a_server_that_was_dying_when_looked_at_is_started_again_and_only_that_one(tmp_path: Path) -> None:
    stack = Dying(tmp_path / ".touchline")
    stack.start()
    assert stack.launched == ["cassandra"]


def test_a_port_counts_as_ours_only_if_our_own_process_listens_there() -> None:
    """Of two stacks that start together, the one that lost a port must not take the other's server for its own."""
    with socket.create_server((ports.HOST, 0)) as ours:
        port = ours.getsockname()[1]
        assert process.listens(os.getpid(), port)
        assert not process.listens(os.getppid(), port)
    assert not process.listens(os.getpid(), port)
