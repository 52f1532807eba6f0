"""Rules on the real log: what is published reaches every partition, also when the broadcaster is killed; importers obey it."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from deploy.local.testing import LiveStack
from projections.rules import rulebook_of
from schemas.codec import Codec
from schemas.events import ConfigPublished, MessageReceived
from streams.cluster import Cluster, Place
from streams.log.reader import read_topic
from streams.published import announced
from tests.support.harness import Installation, installed
from tests.support.processes import run, until
from tests.support.topics import Stored, stored
from touchline.publishing import published_rules

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "policies.toml"
KILLED_AFTER_S = (0.0, 0.02, 0.2)
CODEC = Codec()


@pytest.fixture(scope="module")
def here(stack: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(stack, tmp_path_factory.mktemp("config"), "cfg") as made:
        yield made


def config(here: Installation, *words: str) -> Any:
    done = run(["touchline", "config", *words, "--json"], here.environment(), here.folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def told(here: Installation) -> dict[int, list[Stored]]:
    """Return what lies on each partition of interaction.v1 about rules, in order."""
    found: dict[int, list[Stored]] = {partition: [] for partition in range(here.settings.partitions)}
    for one in sorted(stored(here.settings.brokers, [here.settings.topic("interaction")]), key=lambda one: (one.partition, one.offset)):
        if one.key == b"config:rules":
            found[one.partition].append(one)
    return found


def version(one: Stored) -> int:
    event = CODEC.decode(one.value)
    assert isinstance(event, ConfigPublished)
    assert event.header.id == f"rules:{event.version}"
    return rulebook_of(event).version


def is_broadcast(here: Installation) -> bool:
    topic = here.settings.topic("config")
    cluster = Cluster(here.settings.brokers)
    return cluster.committed(f"{here.settings.topic_prefix}.config", [topic]) == cluster.end_offsets([topic])


def test_what_is_published_is_told_to_every_partition_and_shown(here: Installation) -> None:
    first = config(here, "publish", str(EXAMPLE), "--effective-at", "1970-01-01T00:00:00Z", "--wait", "0")
    assert (first["version"], first["effective_at"], first["in_force"], first["policies"]) == (1, "1970-01-01T00:00:00Z", 1, 5)
    assert not first["told"], "no worker runs"
    with here.worker("config") as worker:
        worker.wait_for("config_broadcast", version=1)
        second = config(here, "publish", str(EXAMPLE))
        worker.wait_for("config_broadcast", version=2)
        until(lambda: is_broadcast(here), 30, "the offsets are committed")
        assert worker.stop() == 0
    assert second["effective_at"] == second["published_at"]
    assert second["told"], "publishing waits until the log knows"
    assert {partition: [version(one) for one in found] for partition, found in told(here).items()} == {partition: [1, 2] for partition in range(4)}
    rules = published_rules(here.settings, here.settings.tenant)
    assert [one.book.version for one in rules] == [1, 2]
    assert all(rulebook_of(CODEC.decode(found[0].value)) == rules[0].book for found in told(here).values())  # type: ignore[arg-type]
    assert config(here, "show")["version"] == 2
    assert config(here, "show", "--as-of", "2000-01-01")["version"] == 1


def test_a_broadcaster_that_is_killed_is_completed_by_the_next_one(here: Installation) -> None:
    """Killed at three moments of its work; repeats are the same records, so that the engine knows them."""
    for after_s in KILLED_AFTER_S:
        published = config(here, "publish", str(EXAMPLE), "--wait", "0")["version"]
        with here.worker("config", name=f"killed-{after_s}") as worker:
            worker.wait_for("consuming")
            if after_s:
                worker.wait_for("config_broadcast", version=published)
            worker.kill()
    with here.worker("config", name="last") as worker:
        until(lambda: is_broadcast(here), 60, "everything is told")
        assert worker.stop() == 0
    topic = here.settings.topic("config")
    [batch] = read_topic(here.settings.brokers, topic)
    assert Cluster(here.settings.brokers).end_offsets([topic]) == {Place(topic, 0): len(batch.records)}
    said = {record.offset + 1: CODEC.encode(event) for record in batch.records if isinstance(event := announced(record, CODEC), ConfigPublished)}
    for found in told(here).values():
        assert {version(one): one.value for one in found} == said
        assert all(one.value == said[version(one)] for one in found)
        firsts = list(dict.fromkeys(version(one) for one in found))
        assert all(one < two for one, two in pairwise(firsts))


def test_importers_leave_clear_what_the_newest_rules_name(here: Installation) -> None:
    """`plan` and `priority` are on the example's list; another attribute is sealed."""
    data = {
        "channel": "email",
        "direction": "inbound",
        "conversation_id": "c-1",
        "customer": [{"kind": "email", "value": "ann@example.org"}],
        "attributes": {"plan": "gold", "mood": "canary-mood"},
    }
    line = {"specversion": "1.0", "id": "m-1", "source": "/m", "type": "message.received", "time": "2026-01-12T09:00:00Z", "data": data}
    file = here.folder / "one.jsonl"
    file.write_text(json.dumps(line))
    config(here, "publish", str(EXAMPLE), "--wait", "0")
    assert here.ingest(file, "--no-wait")["accepted"] == 1
    [one] = stored(here.settings.brokers, [here.settings.topic("channel.email")])
    event = CODEC.decode(one.value)
    assert isinstance(event, MessageReceived)
    assert event.attributes == {"plan": "gold"}
    assert b"canary-mood" not in one.value
