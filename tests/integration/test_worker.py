"""A worker as its operator sees it: started by either command, ended by Ctrl-C, told off for wrong settings, and what it publishes."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from connectors.centre.generator import events, lines, scaled
from deploy.local.testing import LiveStack
from projections.registry import GROUPS
from schemas.codec import Codec
from schemas.events import CustomerSnapshot
from streams.assembly import resolver_group
from streams.cluster import Cluster
from streams.customer_view import CustomerView
from tests.support.harness import Installation, installed
from tests.support.processes import Running, run
from tests.support.topics import Stored, ids_on, stored

ROOT = Path(__file__).resolve().parents[2]
EVENTS = 1500
COMMANDS = {"touchline": ["touchline", "worker"], "faust": ["faust", "-A", "streams.app", "worker", "--without-web"]}
either = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)


class Folded(NamedTuple):
    """An installation in which a file was ingested and folded by a worker that was then ended."""

    here: Installation
    log: list[dict[str, Any]]
    exit_code: int
    children: list[psutil.Process]


def started(here: Installation, command: list[str], **settings: object) -> Running:
    """Start a worker from the checkout; an empty setting keeps out what a stack of the checkout may say."""
    return Running(str(here.folder / "worker"), command, here.environment(registry_url="", **settings), ROOT)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a file of generated events."""
    size, file = scaled(EVENTS * 2), tmp_path_factory.mktemp("day") / "day.jsonl"
    with file.open("wb") as out:
        day = events(20260113, datetime(2026, 1, 13, tzinfo=UTC), size.customers, size.agents, "acme")
        assert lines(islice(day, EVENTS // 2, EVENTS * 3 // 2), out) == EVENTS
    return file


@pytest.fixture(scope="module", params=COMMANDS.values(), ids=COMMANDS)
def folded(request: pytest.FixtureRequest, stack: LiveStack, day: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folded]:
    """Let a worker, started by each command, fold the file, and end it by SIGINT."""
    with installed(stack, tmp_path_factory.mktemp("worker"), "wrk") as here, started(here, request.param) as worker:
        assert here.ingest(day)["accepted"] == EVENTS
        here.wait_until_caught_up(worker, group=GROUPS["care"])  # it appends what agents have to do, which the view reads too
        here.wait_until_caught_up(worker)
        children = psutil.Process(worker.pid).children(recursive=True)
        worker.interrupt()
        yield Folded(here, worker.log(), worker.exit_code(), children)


def test_it_folds_everything_as_simulate_does_and_ctrl_c_ends_it_at_the_last_record(folded: Folded, day: Path) -> None:
    here, cluster = folded.here, Cluster(folded.here.settings.brokers)
    assert folded.exit_code == 0
    assert here.digest() == here.simulated_digest(day)
    log = cluster.end_offsets([here.settings.topic("interaction")])
    assert len(ids_on(here.settings.brokers, [here.settings.topic("interaction")])) == EVENTS, "each is there; on a busy machine some twice"
    assert here.checkpoints() == {place.partition: end for place, end in log.items() if end}
    assert cluster.committed(f"{here.settings.topic_prefix}.view.v1", [here.settings.topic("interaction")]) == log
    assert cluster.committed(resolver_group(here.settings), here.channel_topics) == cluster.end_offsets(here.channel_topics)


def test_when_it_has_ended_no_process_and_no_folder_of_its_is_left(folded: Folded) -> None:
    assert not [*ROOT.glob(f"{folded.here.settings.topic_prefix}*")]
    assert not [child for child in folded.children if child.is_running()]
    assert not [process for process in psutil.process_iter() if belongs_to(process, folded.here)]


def belongs_to(process: psutil.Process, here: Installation) -> bool:
    try:
        return process.environ().get("TOUCHLINE_TOPIC_PREFIX") == here.settings.topic_prefix
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return False


def test_a_process_of_an_installation_would_be_found(folded: Folded) -> None:
    """Or the test above would prove nothing."""
    with Running("sleep", ["python", "-c", "input()"], folded.here.environment(), folded.here.folder, fed=True) as process:
        assert [found.pid for found in psutil.process_iter() if belongs_to(found, folded.here)] == [process.pid]


def test_the_topic_of_customers_holds_cloudevents_and_the_latest_snapshot_of_each(folded: Folded) -> None:
    here, codec = folded.here, Codec()
    latest: dict[str, Stored] = {}
    for one in stored(here.settings.brokers, [here.settings.topic("customer")]):
        latest[one.key.decode()] = one
    tables: dict[str, list[dict[str, Any]]] = {}
    for row in here.rows()["customer"]:
        tables.setdefault(row["customer_id"], []).append(row)
    assert latest.keys() == tables.keys()
    assert len(latest) > 50
    for who, one in latest.items():
        snapshot, said = codec.decode(one.value), {name: value.decode() for name, value in one.headers}
        assert isinstance(snapshot, CustomerSnapshot)
        view = CustomerView.of(tables[who], codec, tenant="acme", customer_id=who, version=1)
        assert (snapshot.customer_id, snapshot.tenant) == (who, "acme")
        assert snapshot.merged_into == view.canonical_id
        if view.canonical_id is not None:
            continue
        assert (snapshot.contact, snapshot.preferences) == (view.contact, view.preferences)
        assert (snapshot.last_contacts, snapshot.open_conversations) == (view.last_contacts, view.open_conversations)
        assert datetime.fromisoformat(said.pop("ce_time")) == datetime.fromtimestamp(snapshot.event_time_us / 1e6, UTC)
        assert said == {
            "content-type": "application/avro",
            "ce_specversion": "1.0",
            "ce_id": f"{who}/{snapshot.partition}/{snapshot.offset}",
            "ce_source": "/touchline",
            "ce_type": "customer.snapshot",
            "ce_dataschema": f"urn:touchline:schema:touchline.customer.Snapshot:{int.from_bytes(one.value[1:5], 'big')}",
            "ce_subject": who,
        }


@either
def test_wrong_settings_are_told_all_at_once_and_end_it_with_78(stack: LiveStack, tmp_path: Path, command: list[str]) -> None:
    code, said = refused(stack, tmp_path, command, partitions=0, log_level="loud")
    assert code == 78, said
    assert "TOUCHLINE_PARTITIONS" in said
    assert "TOUCHLINE_LOG_LEVEL" in said
    assert "Traceback" not in said


@either
def test_an_unknown_group_ends_it_with_78(stack: LiveStack, tmp_path: Path, command: list[str]) -> None:
    code, said = refused(stack, tmp_path, command, groups="resolver,nobody")
    assert code == 78, said
    assert "there is no group nobody. Next: choose from resolver, config, view, care" in said
    assert "Traceback" not in said


def test_an_unknown_group_given_as_an_option_ends_it_with_78(stack: LiveStack, tmp_path: Path) -> None:
    code, said = refused(stack, tmp_path, [*COMMANDS["touchline"], "--group", "nobody", "--group", "noone"])
    assert code == 78, said
    assert "there is no group nobody, noone." in said


@either
def test_a_version_that_this_code_does_not_have_ends_it_with_78(stack: LiveStack, tmp_path: Path, command: list[str]) -> None:
    code, said = refused(stack, tmp_path, command, groups="resolver,view@9")
    assert code == 78, said
    assert "this code has no version 9 of the group view" in said
    assert "Traceback" not in said


@either
def test_missing_topics_end_it_with_78_and_the_next_step(stack: LiveStack, tmp_path: Path, command: list[str]) -> None:
    code, said = refused(stack, tmp_path, command, topic_prefix="nowhere")
    assert code == 78, said
    assert "nowhere.channel.phone.v1 among them. Next: run `touchline topics create`." in said
    assert "Traceback" not in said


def refused(stack: LiveStack, folder: Path, command: list[str], **settings: object) -> tuple[int, str]:
    """Start a worker that cannot start; return its exit code and what it said."""
    here = Installation(stack, folder, stack.settings)
    done = run(command, here.environment(registry_url="", **settings), ROOT, within_s=180)
    return done.returncode, done.stdout + done.stderr
