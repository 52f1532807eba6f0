"""What befalls a worker: another is killed, a server dies, a checkpoint lies outside the log, a projection fails."""

import asyncio
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest

from connectors.centre.generator import events, lines, scaled
from connectors.manifest import CHUNK_RECORDS
from connectors.producer import Producer
from deploy.local.testing import LiveStack
from projections.customer import Customer, CustomerState
from projections.kernel import Moment, Step
from projections.registry import Group
from projections.tables import Table
from projections.timeline import Timeline
from schemas.codec import Codec
from schemas.record import Event
from streams.cluster import Cluster
from streams.consumption import Consumption
from streams.engine import Engine
from streams.outbox import KafkaEffects
from streams.runner import GroupRunner
from streams.store.cassandra import CassandraStore
from streams.store.parked import ParkedCustomers
from streams.store.port import Checkpoint, GroupVersion
from tests.support.harness import VIEW, Installation, installed
from tests.support.processes import Running, until
from tests.support.topics import ids_on
from touchline.opening import customer_of

EVENTS = 3 * CHUNK_RECORDS
PARTITIONS = 4
GROUP = GroupVersion("view", 1)


class Day(NamedTuple):
    """A file of generated events, and the digest and the key file with which `simulate` comes to it."""

    file: Path
    key_file: Path
    digest: str


@pytest.fixture(scope="module")
def day(stack: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> Day:
    folder = tmp_path_factory.mktemp("day")
    file, key_file, size = folder / "day.jsonl", folder / "keys.json", scaled(EVENTS * 2)
    with file.open("wb") as out:
        everything = events(20260114, datetime(2026, 1, 14, tzinfo=UTC), size.customers, size.agents, "acme")
        assert lines(islice(everything, EVENTS // 2, EVENTS * 3 // 2), out) == EVENTS
    here = Installation(stack, folder, stack.settings_with(tenant="acme", key_file=key_file))
    return Day(file, key_file, here.simulated_digest(file))


@pytest.fixture
def here(stack: LiveStack, day: Day, tmp_path: Path) -> Iterator[Installation]:
    """Give an installation in which nothing has happened."""
    with installed(stack, tmp_path, "faults", key_file=day.key_file) as here:
        yield here


@pytest.fixture
def waiting(here: Installation, day: Day) -> Installation:
    """Give the same when the file lies in its channels, and nobody has read it yet."""
    assert here.ingest(day.file, "--no-wait")["accepted"] == EVENTS
    return here


def all_is_there_once(here: Installation, day: Day) -> bool:
    log = ids_on(here.settings.brokers, [here.settings.topic("interaction")])
    assert len(log) == EVENTS, "the resolver lost something"
    assert here.read(lambda store: store.scan("parked_customer")) == []
    return here.digest() == day.digest


def opened(worker: Running) -> set[int]:
    """Return the partitions of the log that a worker's view has taken over so far."""
    return {entry["partition"] for entry in worker.log() if entry["event"] == "partition_opened" and entry["group"] == "view.v1"}


# -- other workers


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "stopped"])
def test_workers_share_the_partitions_and_one_takes_over_when_the_other_goes(here: Installation, day: Day, killed: bool) -> None:  # noqa: FBT001
    """Events flow before, while and after it goes: those of its partitions can only be folded by the one that stays."""
    third = [b"".join(part) for part in batched(day.file.read_bytes().splitlines(keepends=True), CHUNK_RECORDS)]
    with here.ingesting(None, "--format", "events", "--no-wait") as ingest, here.worker(name="goes", poll_records_max=10) as goes:
        ingest.feed(third[0])
        until(lambda: len(opened(goes)) == PARTITIONS, 90, "the first worker has every partition")
        with here.worker(name="stays", poll_records_max=10) as stays:
            until(lambda: opened(stays), 90, "the second worker has some of them")
            assert len(opened(stays)) < PARTITIONS, "one of them has nothing to do"
            before = here.folded()
            ingest.feed(third[1])
            until(lambda: here.folded() > before, 90, "they fold")
            if killed:
                goes.kill()
            else:
                assert goes.stop() == 0, goes.last_words()
            ingest.feed(third[2])
            ingest.no_more()
            assert ingest.exit_code() == 0, ingest.last_words()
            here.wait_until_caught_up(stays)
            assert opened(stays) == set(range(PARTITIONS))
            assert stays.stop() == 0, stays.last_words()
    assert all_is_there_once(here, day)


def batched(lines_: list[bytes], size: int) -> list[list[bytes]]:
    return [lines_[start : start + size] for start in range(0, len(lines_), size)]


# -- servers


@pytest.mark.parametrize("server", ["cassandra", "kafka"])
def test_a_server_that_dies_is_waited_for_and_nothing_is_lost(stack: LiveStack, waiting: Installation, day: Day, server: str) -> None:
    here = waiting
    done = here.folded if server == "cassandra" else here.resolved
    with here.worker(poll_records_max=10) as worker:
        until(lambda: 0 < done() < EVENTS, 90, "it is in the middle of its work", pause_s=0.01)
        stack.kill(server)
        if server == "cassandra":
            worker.wait_for("waiting", part="view.v1")
        else:
            worker.wait_for("broker_unwell")
        assert worker.is_running, worker.last_words()
        stack.restart(server)
        here.wait_until_caught_up(worker)
        assert worker.stop() == 0, worker.last_words()
    assert all_is_there_once(here, day)


# -- checkpoints


def test_a_checkpoint_outside_the_log_ends_the_worker_with_a_line_that_says_where(waiting: Installation) -> None:
    here = waiting
    with here.worker("resolver") as resolver:
        here.wait_until_caught_up(resolver, group=None)
        assert resolver.stop() == 0, resolver.last_words()
    topic = here.settings.topic("interaction")
    ends = {place.partition: end for place, end in Cluster(here.settings.brokers).end_offsets([topic]).items()}
    beyond = Checkpoint(next_offset=ends[2] + 1000, write_ts_us=1, active=True, event_time_us=0)
    here.read(lambda store: store.save_checkpoints(GROUP, {2: beyond}))
    with here.worker("view") as worker:
        assert worker.exit_code() not in {0, None}
        said = worker.last_words()
    assert re.search(rf"the checkpoint of {topic} partition 2 is {ends[2] + 1000}, but the log holds 0 to {ends[2]}\.", said), said
    assert here.checkpoints()[2] == ends[2] + 1000, "it moved the checkpoint"


# -- a projection that fails


class Unwilling(Customer):
    """Cannot fold one event."""

    poison: ClassVar[str] = "poison"

    def apply(self, state: CustomerState, event: Event, at: Moment) -> Step[CustomerState]:
        if event.header.id == self.poison:
            raise ValueError("nobody may read this")
        return super().apply(state, event, at)


class ViewTables(Group):
    """A group with the tables of the view."""

    def tables(self) -> tuple[Table, ...]:
        return VIEW.tables()


async def run_to_the_end(here: Installation, group: Group) -> None:
    """Run a group in this process, from its checkpoints to the end of the log."""
    codec, store = Codec(), await CassandraStore.connect(here.settings)
    effects = KafkaEffects(Producer(here.settings.brokers), codec, here.settings.topic)
    engine = Engine(group, codec, tenant=here.settings.tenant, cached_subjects_max=1000)
    runner = GroupRunner(engine, store, effects, topic=here.settings.topic("interaction"))
    consumption = Consumption(runner, here.settings, runner.run, asyncio.get_running_loop())
    polling = asyncio.create_task(asyncio.to_thread(consumption.run))
    try:
        await asyncio.to_thread(until, lambda: polling.done() or here.is_caught_up(), 60, "the group is at the end of the log")
    finally:
        consumption.stop()
        await polling
        await store.close()


def message(event_id: str, who: str) -> dict[str, Any]:
    data = {"channel": "email", "direction": "inbound", "customer": [{"kind": "email", "value": who}], "text": "Where is it?"}
    return {"specversion": "1.0", "id": event_id, "source": "/mail", "type": "message.received", "time": "2026-01-12T08:30:00Z", "data": data}


def test_an_event_that_a_projection_cannot_fold_parks_that_customer_only_and_for_good(stack: LiveStack, tmp_path: Path) -> None:
    """A restart changes nothing, even with a projection that could fold it by now."""
    ann, wei = "ann@example.org", "wei@example.net"
    with installed(stack, tmp_path, "parked") as here, here.worker("resolver") as resolver:

        def ingest(*messages: dict[str, Any]) -> None:
            file = tmp_path / "messages.jsonl"
            file.write_text("".join(f"{json.dumps(one)}\n" for one in messages))
            assert here.ingest(file)["accepted"] == len(messages)

        def shown(who: str) -> set[str]:
            return {row["event_id"] for row in here.rows()["timeline"] if row["customer_id"] == customer_of(here.settings, "acme", f"email:{who}")}

        def parked() -> list[tuple[str, int, str]]:
            found = here.read(lambda store: ParkedCustomers(store).load(GROUP))
            assert all(f"{Path(__file__).name}:" in one.failed_at for one in found)
            return [(one.customer, one.n, one.reason) for one in found]

        ingest(message("a1", ann), message("w1", wei), message("poison", ann), message("a2", ann), message("w2", wei))
        hers = customer_of(here.settings, "acme", f"email:{ann}")
        asyncio.run(run_to_the_end(here, ViewTables("view", 1, (Timeline(), Unwilling()))))
        assert parked() == [(hers, 2, "raised:ValueError")]
        assert (shown(ann), shown(wei)) == ({"a1"}, {"w1", "w2"})

        ingest(message("a3", ann), message("w3", wei))
        asyncio.run(run_to_the_end(here, VIEW))
        assert parked() == [(hers, 3, "raised:ValueError")]
        assert (shown(ann), shown(wei)) == ({"a1"}, {"w1", "w2", "w3"})
        assert resolver.stop() == 0, resolver.last_words()
