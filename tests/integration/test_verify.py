"""Two versions compared on real servers by the command: the same log folded by both, with one more facet, and with a row that was damaged."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from deploy.local.testing import LiveStack
from projections.registry import VERSIONS, Group
from schemas.codec import Codec
from streams.books import positions
from streams.engine import Engine
from streams.log.reader import LogReader
from streams.store.catalogue import KEYRING, MIGRATIONS
from streams.store.driver import Driver
from streams.store.migration_files import read_migrations
from streams.store.migrations import migrate
from streams.store.port import GroupVersion, RowWrite, Store
from streams.tallies import Tallies
from streams.versions.versions import Versions
from tests.integration.test_care import MINUTES
from tests.support.clockwork import event, published
from tests.support.harness import Installation, installed
from tests.support.next_version import CARE_2, COMMAND, FACET, VIEW_2, environment
from tests.support.processes import run
from tests.support.side_by_side import partition_of
from touchline.publishing import read_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CODEC = Codec()
CUSTOMERS = 120
AT_S = 1_767_600_000.0
GROUPS = (VERSIONS["view", 1], VIEW_2, VERSIONS["care", 1], CARE_2)


@pytest.fixture(scope="module")
def here(stack: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Give an installation with a log that both versions of both groups have folded."""
    with installed(stack, tmp_path_factory.mktemp("verify"), "verify") as found:
        driver = Driver.open(found.settings)
        tables = [table for group in GROUPS for table in group.tables()]
        migrate(driver, found.settings, read_migrations(MIGRATIONS), tables, {KEYRING: found.settings.keyring_keyspace})
        driver.close()
        append(found)
        found.read(lambda store: fold_all(found, store))
        yield found


def append(to: Installation) -> None:
    """Append messages, answers and rules: half of the customers wait longer than the rules allow."""
    policies = to.folder / "policies.toml"
    policies.write_text(MINUTES.format(target="1m"))
    producer = Producer({"bootstrap.servers": to.settings.brokers, "log_level": 2})
    topic, partitions = to.settings.topic("interaction"), to.settings.partitions
    book = read_file(policies, effective_at_us=0)
    for partition in range(partitions):
        producer.produce(topic, CODEC.encode(published(book, AT_S)), b"config:rules", partition)
    for at, kind in enumerate(["received", "sent", "received", "received"]):
        for customer in range(CUSTOMERS):
            if kind == "sent" and customer % 2:
                continue
            one = event(kind, customer, AT_S + 90 * at + customer, channel="email", conversation=f"m{at // 2}")
            key = one.header.customer_id.encode()
            producer.produce(topic, CODEC.encode(one), key, partition_of(key, partitions))
    assert producer.flush(60) == 0


async def fold_all(here: Installation, store: Store) -> None:
    """Fold the log in every version, and note the second ones as shadows of the first."""
    versions = Versions(store)
    with LogReader(here.settings.brokers, here.settings.topic("interaction")) as reader:
        for group in GROUPS:
            version = GroupVersion(group.name, group.version)
            if group.version == 1:
                await versions.begin(version, 1)
            else:
                await versions.add(version, 1)
                await versions.move(version, "building", "shadow", 2)
            await fold(here, store, reader, group)


async def fold(here: Installation, store: Store, reader: LogReader, group: Group) -> None:
    """Fold the log in one version, as a driver does."""
    version = GroupVersion(group.name, group.version)
    engine = Engine(group, CODEC, tenant="acme", cached_subjects_max=100_000, settle_s=here.settings.settle_s)
    tallies = Tallies(group, store)
    for partition in range(here.settings.partitions):
        engine.open(partition, None, books=positions(await store.read("config_position", {"partition": partition})))
        for batch in reader.batches(partition, *reader.range_of(partition), 100):
            taken = engine.take(batch)
            work = engine.feed(taken, await store.load_states(version, engine.missing(taken)))
            await tallies.add([work], engine.work_number)
            await store.write(work.fan_out)
            await store.write(work.own)
            await store.save_checkpoints(version, {partition: work.checkpoint})
            engine.acknowledge(engine.work_number)


def verify(here: Installation, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run the command by the code of tomorrow; return its exit code and what it printed."""
    done = run([*COMMAND, "projection", "verify", *arguments, "--json"], environment(here.environment()), here.folder, within_s=120)
    assert done.returncode in {0, 1}, done.stderr
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


def noted(here: Installation, group: str) -> dict[str, Any]:
    """Return what stands with the second version of a group."""
    standing = here.read(lambda store: Versions(store).read(group))
    assert standing is not None
    found: dict[str, Any] = json.loads(standing.versions[2].verified or "{}")
    return found


def test_a_dry_run_says_what_would_be_compared_and_notes_nothing(here: Installation) -> None:
    code, plan = verify(here, "care", "--dry-run")
    assert code == 0
    assert (plan["version"], plan["against"], plan["done"]) == (2, 1, False)
    assert {"clock", "alert", "figure"} <= set(plan["tables"])
    assert noted(here, "care") == {}


def test_the_same_code_makes_equal_versions(here: Installation) -> None:
    code, report = verify(here, "care@2")
    assert (code, report["equal"], report["different"], report["not_comparable"]) == (0, True, 0, 0), report
    assert report["customers"] == CUSTOMERS
    assert report["rows"]["clock"]["active"] == report["rows"]["clock"]["candidate"] > CUSTOMERS
    assert report["rows"]["alert"]["active"] > 0
    assert noted(here, "care")["equal"] is True


def test_one_more_facet_is_a_difference_that_names_its_event_unless_it_is_expected(here: Installation) -> None:
    code, report = verify(here, "view@2", "--details", "2")
    assert (code, report["equal"], report["different"]) == (1, False, CUSTOMERS // 2)
    assert noted(here, "view")["equal"] is False
    first = report["details"][0]
    (place,) = first["differences"]
    assert (place["table"], place["key"], place["active"]) == ("customer", {"facet": FACET}, None)
    assert place["candidate"]["body"]["channels"] == {"email": 1}
    cause = place["cause"]
    assert (cause["kind"], cause["name"]) == ("record", "message.sent")
    with LogReader(here.settings.brokers, here.settings.topic("interaction")) as reader:
        (record,) = reader.records(cause["partition"], [cause["offset"]])
    assert record.key == first["customer_id"].encode()
    code, report = verify(here, "view", "--expect", f"customer.facet={FACET}")
    assert (code, report["equal"], report["as_expected"]) == (0, True, CUSTOMERS // 2)
    assert noted(here, "view")["expected"] == [{"expect": f"customer.facet={FACET}", "active_rows": 0, "candidate_rows": CUSTOMERS // 2}]


def test_a_damaged_row_is_found_and_told_apart_from_what_the_log_says(here: Installation) -> None:
    async def damage(store: Store) -> None:
        rows = await store.read("clock_v2", {"tenant": "acme", "customer_id": "c7"})
        key = tuple(rows[0][column] for column in ("tenant", "customer_id", "conversation_id", "metric", "instance"))
        await store.write([RowWrite("clock_v2", key, {"policy": "another"}, 10**16)])  # type: ignore[arg-type]

    here.read(damage)
    code, report = verify(here, "care")
    assert (code, report["different"]) == (1, 1)
    (customer,) = report["details"]
    (place,) = customer["differences"]
    assert (customer["customer_id"], place["table"], place["column"], place["candidate"]) == ("c7", "clock", "policy", "another")
    assert (place["cause"]["kind"], place["cause"]["name"]) == ("not_in_log", "v2")
    assert noted(here, "care")["equal"] is False


def test_what_cannot_be_compared_is_refused_with_the_next_step(here: Installation) -> None:
    for arguments, said in (
        (("view@1",), "is the active version itself"),
        (("care@7",), "no such version"),
        (("care@2", "--expect", "clock.nothing"), "no column nothing"),
        (("nobody",), "no group nobody"),
    ):
        done = run([*COMMAND, "projection", "verify", *arguments], environment(here.environment()), here.folder, within_s=60)
        assert done.returncode in {1, 78}, done.stdout
        assert said in done.stderr
        assert "Next:" in done.stderr or "next" in done.stderr.lower()
