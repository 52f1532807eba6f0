"""`touchline log`, as far as it goes without servers: what it refuses, and how it says so."""

import errno
import fcntl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from schemas.events import Handle
from schemas.record import Event
from streams.log.exporting import await_orphans, exclusively
from streams.store.memory import MemoryStore
from tests.support.audit import MemoryAuditTopic, entries_of, head_store
from tests.support.linking import CODEC, NOW_US, Log, Process, handle, identity_store, run
from tests.support.small_cluster import SmallCluster, exported
from touchline.commands import log, simulate
from touchline.errors import Refused


@pytest.fixture
def app() -> typer.Typer:
    found = typer.Typer()
    log.register(found)
    simulate.register(found)
    return found


def test_a_folder_without_an_export_is_refused(app: typer.Typer, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["log", "import", str(tmp_path)])
    assert isinstance(done.exception, Refused)
    assert "holds no export: there is no manifest.json" in str(done.exception)


def test_a_topic_that_is_no_part_of_the_log_is_wrong_use(app: typer.Typer, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["log", "export", str(tmp_path), "--topic", "interaction,audit"])
    assert done.exit_code == 2
    assert "choose from interaction, config" in done.output


def test_an_export_keeps_the_topics_that_it_began_with(app: typer.Typer, tmp_path: Path) -> None:
    """They are of one moment: rules that some partitions have heard of lie in both."""
    exported(SmallCluster(), tmp_path)
    done = CliRunner().invoke(app, ["log", "export", str(tmp_path), "--topic", "config"])
    assert isinstance(done.exception, Refused)
    assert "is an export of interaction, config" in str(done.exception)


def test_a_place_where_nothing_can_be_written_is_refused(app: typer.Typer, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    done = CliRunner().invoke(app, ["log", "export", str(file / "below")])
    assert isinstance(done.exception, Refused)
    assert "cannot be written" in str(done.exception)


def test_a_folder_is_one_runs_at_a_time(tmp_path: Path) -> None:
    with exclusively(tmp_path):
        with pytest.raises(Refused, match="is in use by another run"), exclusively(tmp_path):
            raise AssertionError
        await_orphans(tmp_path)
    with exclusively(tmp_path):
        pass


def test_a_file_system_without_locks_is_written_to_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some mounted ones have none: who exports sees to it alone then, and is told so."""

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with exclusively(tmp_path):
        await_orphans(tmp_path)


def test_a_folder_of_somebody_else_s_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".writers").mkdir()  # stands for one that must not be opened: tests may run as root
    with pytest.raises(Refused, match="cannot be written: is a directory"):
        await_orphans(tmp_path)


def test_help_shows_an_example(app: typer.Typer) -> None:
    for command in (["log"], ["log", "export"], ["log", "import"]):
        assert "Example:  touchline log" in CliRunner().invoke(app, [*command, "--help"]).stdout


def test_a_log_is_not_folded_under_other_rules(app: typer.Typer, tmp_path: Path) -> None:
    policies = tmp_path / "p.toml"
    policies.touch()
    done = CliRunner().invoke(app, ["simulate", str(tmp_path), "--policies", str(policies)])
    assert done.exit_code == 2
    assert "a log has its own rules" in done.output


def test_only_a_log_is_a_folder(app: typer.Typer, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["simulate", str(tmp_path), "--format", "events"])
    assert done.exit_code == 2
    assert "only a log is one" in " ".join(done.output.replace("│", " ").split())


def test_an_interrupted_export_says_how_to_go_on(app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("touchline.log_transfer.export_log", interrupted)
    done = CliRunner().invoke(app, ["log", "export", str(tmp_path)])
    assert done.exit_code == 130
    assert "run the same command again to go on" in done.output


def test_an_export_stands_on_the_audit_trail_before_anything_is_read(app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    topic, store = MemoryAuditTopic(), head_store()

    @asynccontextmanager
    async def connected(_: object) -> AsyncIterator[MemoryStore]:
        yield store

    def export_log(*_: object, begins: Callable[[Sequence[str]], None]) -> None:
        begins(("interaction", "config"))
        [entry] = entries_of(topic)
        assert (entry.actor, entry.action, entry.details) == ("ann", "exported", {"topics": "interaction,config"})
        raise Refused("That is all.")

    monkeypatch.setenv("TOUCHLINE_OPERATOR", "ann")
    monkeypatch.setattr("touchline.tables.connected", connected)
    monkeypatch.setattr("touchline.auditing.KafkaAuditTopic", lambda *_: topic)
    monkeypatch.setattr("touchline.log_transfer.export_log", export_log)
    done = CliRunner().invoke(app, ["log", "export", str(tmp_path)])
    assert str(done.exception) == "That is all."


def test_an_import_restores_whose_the_handles_are_before_anything_is_appended(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table of another log is refused while the topics are still empty; into an empty one both come, and a repetition finds all done."""
    phone, account = handle("phone", 1), handle("account", 1)
    source, target, stores = SmallCluster(), SmallCluster(), [identity_store(), identity_store()]
    for key, event in worked(identity_store(), [phone, account]):
        source.put("interaction", 0, key.encode(), CODEC.encode(event), NOW_US)
    exported(source, tmp_path)
    worked(stores[0], [phone, handle("account", 2)])

    @asynccontextmanager
    async def connected(_: object) -> AsyncIterator[MemoryStore]:
        yield stores[0]

    monkeypatch.setattr("touchline.log_transfer.KafkaTarget", lambda _: nullcontext(target))
    monkeypatch.setattr("touchline.log_transfer.connected", connected)
    done = CliRunner().invoke(app, ["log", "import", str(tmp_path)])
    assert isinstance(done.exception, Refused)
    assert done.exception.reason == "claims_differ"
    assert not any(target.log["interaction"])
    del stores[0]
    assert "would be appended" in CliRunner().invoke(app, ["log", "import", str(tmp_path), "--dry-run"]).stdout
    assert not run(stores[0].scan("identity"))
    done = CliRunner().invoke(app, ["log", "import", str(tmp_path)])
    assert "claims of handles (whose each is, and who was erased): 1 changes." in done.stdout
    assert [row["kind"] for row in run(stores[0].scan("identity"))] == ["phone"]
    assert "was imported before" in CliRunner().invoke(app, ["log", "import", str(tmp_path)]).stdout


def worked(store: MemoryStore, handles: list[Handle]) -> list[tuple[str, Event]]:
    """Let one event link its handles over a store; return the log."""
    process = Process(store, Log(), [("m-1", handles)], stepping=False)
    run(process.work())
    return process.log.records
