"""From a file to the tables on real servers: real calls, real messages, bad input, and a projection that fails."""

import asyncio
import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer as BareProducer

from connectors.centre.generator import events, lines, scaled
from connectors.producer import Producer
from deploy.local.testing import LiveStack
from projections.customer import Customer
from projections.digest import digests_by_customer
from projections.kernel import Moment, Step
from schemas.codec import Codec
from schemas.events import HandleKind, Quarantined
from schemas.handles import customer_id, handle_hash, normalise
from schemas.record import Event
from streams.cluster import Place
from streams.customer_view import decoded
from streams.engine import Engine
from streams.outbox import KafkaEffects
from streams.records import Batch, RawRecord
from streams.runner import GroupRunner
from streams.store.cassandra import CassandraStore
from tests.support.harness import VIEW, Installation, installed
from tests.support.processes import Running
from tests.support.topics import ids_on, stored
from touchline.keyring.keyfile import KeyFile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CALLS, TWEETS = DATA / "bank_calls_1999-02-01_14.tsv", DATA / "support_tweets_2017_a.csv"
needs_data = pytest.mark.skipif(not CALLS.exists(), reason="../shared/data with the real calls and messages is not here")


@pytest.fixture
def running(stack: LiveStack, tmp_path: Path) -> Iterator[tuple[Installation, Running]]:
    """Give an installation whose worker runs, and must have left well in the end."""
    with ExitStack() as ends:
        here = ends.enter_context(installed(stack, tmp_path, "pipeline"))
        worker = ends.enter_context(here.worker())
        worker.wait_for("consuming", part="resolver").wait_for("consuming", part="view.v1")
        yield here, worker
        assert worker.stop() == 0, worker.last_words()


def customer(here: Installation, kind: HandleKind, value: str) -> str:
    """Return the customer_id of a handle."""
    key = KeyFile.load_or_create(here.settings.key_file).index_key(here.settings.tenant)
    return customer_id(here.settings.tenant, kind, handle_hash(key, kind, normalise(kind, value, here.settings.default_region)))


def calls_in_the_file() -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Count the rows by outcome, the calls by customer, and their events, without any code of the product."""
    outcomes, customers, told = Counter[str](), Counter[str](), Counter[str]()
    with CALLS.open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            outcomes[row["outcome"]] += 1
            told += told_by(row) if row["outcome"] != "PHANTOM" else Counter()
            if row["outcome"] != "PHANTOM" and row["customer_id"].isdigit() and row["customer_id"] != "0":
                customers[row["customer_id"]] += 1
    return outcomes, customers, told


def told_by(call: dict[str, str]) -> Counter[str]:
    """Tell from a row of the file which events its call has, without any code of the product."""
    entry = seconds(call["vru_entry"])
    left_menu, queue, end = ((at := seconds(call[name])) + 86_400 * (entry - at > 43_200) for name in ("vru_exit", "q_start", "ser_exit"))
    queued = any(call[name].strip("0:") for name in ("q_time", "q_start", "q_exit"))
    if call["outcome"] == "HANG":
        return Counter(["initiated", "queued", "abandoned/queue"] if queued else ["initiated", "abandoned/menu"])
    connected = queue + int(call["q_time"]) if queued else max(entry, left_menu)
    served = any(call[name].strip("0:") for name in ("ser_start", "ser_exit", "ser_time"))
    return Counter(["initiated", "queued", "connected", *(["completed"] if served and end > connected else [])])


def seconds(clock: str) -> int:
    """Return the second of the day."""
    hours, minutes, rest = map(int, clock.split(":"))
    return hours * 3600 + minutes * 60 + rest


@needs_data
def test_every_row_of_the_bank_s_calls_is_accounted_for_and_a_second_import_adds_nothing(running: tuple[Installation, Running]) -> None:
    here, worker = running
    outcomes, customers, told = calls_in_the_file()
    counts = here.ingest(CALLS, "--format", "bank-calls")
    rows = counts["rows"]
    assert rows["rows"] == 17_456 == outcomes.total() == rows["mapped"] + rows["phantom"] + rows["quarantined"]
    assert (rows["phantom"], rows["quarantined"]) == (outcomes["PHANTOM"], 0)
    here.wait_until_caught_up(worker)

    timeline = here.rows()["timeline"]
    types = Counter(row["type"] for row in timeline)
    assert len(timeline) == counts["accepted"] == counts["received"]
    assert types["contact.initiated"] == outcomes["AGENT"] + outcomes["HANG"]
    assert (types["contact.connected"], types["contact.abandoned"]) == (outcomes["AGENT"], outcomes["HANG"])
    assert Counter("/".join([row["type"].removeprefix("contact."), *filter(None, [(row["summary"] or {}).get("stage")])]) for row in timeline) == told

    calls = Counter(row["customer_id"] for row in timeline if row["type"] == "contact.initiated")
    most = customers.most_common(11)
    assert most[9][1] > most[10][1], "the tenth place is shared: this would compare by chance"
    assert calls.most_common(10) == [(customer(here, "account", name), n) for name, n in most[:10]]

    digest, appended = here.digest(), here.appended()
    again = here.ingest(CALLS, "--format", "bank-calls", a_day_later=True)
    assert (again["accepted"], again["duplicate"]) == (0, counts["accepted"])
    assert (here.appended(), here.digest(), len(here.rows()["timeline"])) == (appended, digest, len(timeline))
    here.ingest(TWEETS)
    here.wait_until_caught_up(worker)
    assert here.digest() == here.simulated_digest(CALLS, TWEETS) != digest


@needs_data
def test_the_messages_are_accounted_for_and_a_customer_of_two_brands_has_one_timeline(running: tuple[Installation, Running]) -> None:
    here, worker = running
    with TWEETS.open(newline="") as file:
        tweets = {row["tweet_id"]: row for row in csv.DictReader(file)}
    brands: dict[str, set[str]] = defaultdict(set)
    for row in tweets.values():
        asked = tweets.get(row["in_response_to_tweet_id"].removesuffix(".0"))
        if row["inbound"] == "False" and asked is not None and asked["inbound"] == "True":
            brands[asked["author_id"]].add(row["author_id"])
    of_two = sorted(author for author, names in brands.items() if len(names) > 1)
    assert of_two

    counts = here.ingest(TWEETS, "--format", "tweets")
    assert counts["rows"]["rows"] == len(tweets) == counts["rows"]["mapped"] + counts["rows"]["without_customer"] + counts["rows"]["quarantined"]
    here.wait_until_caught_up(worker)
    rows = here.rows()
    types = Counter(row["type"] for row in rows["timeline"])
    assert types.total() == counts["accepted"] == counts["rows"]["mapped"]
    written = [row for row in tweets.values() if row["inbound"] == "True"]
    assert types["message.received"] == len(written)
    for author in of_two:
        mine = [row for row in rows["timeline"] if row["customer_id"] == customer(here, "social", author)]
        assert {row["event_id"] for row in mine if row["direction"] == "inbound"} == {r["tweet_id"] for r in written if r["author_id"] == author}
        teams = {row["team"] for row in rows["conversation"] if row["customer_id"] == mine[0]["customer_id"]}
        assert teams >= brands[author], (teams, brands[author])

    digest = here.digest()
    again = here.ingest(TWEETS, "--format", "tweets")
    assert (again["accepted"], again["duplicate"]) == (0, counts["accepted"])
    assert here.digest() == digest == here.simulated_digest(TWEETS)


def message(number: int, **changes: Any) -> dict[str, Any]:
    """Return a message in the public form."""
    data = {"channel": "email", "direction": "inbound", "conversation_id": f"c-{number}", "actor": {"kind": "customer"}}
    data |= {"customer": [{"kind": "email", "value": f"p{number}@example.org"}], "text": "Where is it?", **changes.pop("data", {})}
    return (
        {"specversion": "1.0", "id": f"m-{number}", "source": "/mail", "type": "message.received", "time": "2026-01-12T09:00:00Z"}
        | changes
        | {"data": data}
    )


def quarantined(here: Installation) -> Counter[tuple[str, str]]:
    """Count what lies on the quarantine topic by (stage, reason)."""
    found = [Codec().decode(record.value) for record in stored(here.settings.brokers, [here.settings.topic("quarantine")])]
    return Counter((note.stage, note.reason) for note in found if isinstance(note, Quarantined))


def test_bad_input_is_refused_or_quarantined_with_its_reason_and_all_of_it_is_counted(running: tuple[Installation, Running], tmp_path: Path) -> None:
    here, worker = running
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    offered: list[object] = [
        message(1),
        message(2, time=tomorrow),
        message(3, data={"text": "x" * 300_000}),
        message(4, data={"direction": "outbound"}),
        message(1, data={"text": "the same id, but something else"}),
        message(1),
        message(5, type="message.never_heard_of"),
        message(6, time="2026-01-12T09:00:00"),
        message(7),
        {name: value for name, value in message(8).items() if name != "time"},
    ]
    undecodable = json.dumps(message(9, data={"text": "?"})).encode().replace(b'"?"', b'"\xff"')
    file = tmp_path / "mixed.jsonl"
    file.write_bytes(b"".join(json.dumps(one).encode() + b"\n" for one in offered) + b'{"specversion": "1.0"\n' + b"\xff\xfe\n" + undecodable)
    counts = here.ingest(file)
    set_aside = dict.fromkeys(("future_dated", "too_large", "contradictory", "id_reused"), 1)
    refused = {"unknown_type": 1, "naive_time": 1, "not_json": 2, "missing_field": 1, "not_utf8": 1}
    assert counts["reasons"] == set_aside | refused
    expected = {"received": 13, "accepted": 2, "duplicate": 1, "quarantined": 4, "refused": 6}
    assert {name: counts[name] for name in expected} == expected
    here.wait_until_caught_up(worker)
    assert quarantined(here) == {("connector", reason): n for reason, n in set_aside.items()}
    assert {row["event_id"] for row in here.rows()["timeline"]} == {"m-1", "m-7"}


def test_garbage_on_a_channel_topic_is_quarantined_by_the_resolver_and_the_worker_goes_on(
    running: tuple[Installation, Running], tmp_path: Path
) -> None:
    here, worker = running
    file = tmp_path / "good.jsonl"
    file.write_bytes(b"".join(json.dumps(message(number)).encode() + b"\n" for number in range(50)))
    here.ingest(file)
    good = next(record for record in stored(here.settings.brokers, [here.settings.topic("channel.email")]))
    garbage: dict[str, bytes | None] = {
        "not_framed": b"garbage",
        "unknown_schema": b"\x00\x7f\xff\xff\xff" + good.value[5:],
        "corrupt": good.value[:40],
        "too_large": good.value + bytes(300_000),
        "not_an_event": Codec().encode(Quarantined(id="q", source="/x", tenant="acme", reason="r", stage="connector", at_us=0)),
    }
    producer = BareProducer({"bootstrap.servers": here.settings.brokers})
    for value in (*garbage.values(), None, b""):
        producer.produce(here.settings.topic("channel.email"), value, b"nobody", partition=good.partition)
    producer.flush(30)
    more = tmp_path / "more.jsonl"
    more.write_bytes(b"".join(json.dumps(message(number)).encode() + b"\n" for number in range(50, 100)))
    here.ingest(more)
    here.wait_until_caught_up(worker)
    assert quarantined(here) == {("resolver", reason): 1 for reason in garbage} | {("resolver", "not_framed"): 3}
    assert len({row["customer_id"] for row in here.rows()["timeline"]}) == 100
    assert ids_on(here.settings.brokers, [here.settings.topic("interaction")]).total() == 100
    assert worker.is_running


def test_a_projection_that_raises_parks_that_customer_only(
    running: tuple[Installation, Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same log is folded twice: well by the worker, and into tables beside them by a runner whose projection fails for one."""
    here, worker = running
    size, file = scaled(2000), tmp_path / "day.jsonl"
    with file.open("wb") as out:
        lines(events(8, datetime(2026, 1, 12, tzinfo=UTC), size.customers, size.agents, "acme"), out)
    here.ingest(file)
    here.wait_until_caught_up(worker)
    well = here.rows()
    busiest = Counter(row["customer_id"] for row in well["timeline"] if not row["hidden"])
    victim, n = busiest.most_common(1)[0]

    apply = Customer.apply

    def fragile(self: Customer, state: Any, event: Event, at: Moment) -> Step[Any]:
        if event.header.customer_id == victim:
            raise ValueError("a text that may be personal")
        return apply(self, state, event, at)

    monkeypatch.setattr(Customer, "apply", fragile)
    beside = replace(here, settings=here.settings.model_copy(update={"keyspace": f"{here.settings.keyspace}_b"}))
    beside.create()
    try:
        beside.read(lambda store: fold_everything(beside, store))
        rows = beside.rows()
        [parked] = beside.read(lambda store: store.scan("parked_customer"))
        waiting = beside.read(lambda store: store.scan("parked_record"))
        assert beside.is_caught_up()
    finally:
        beside.remove_keyspace()
    assert (parked["customer"], parked["reason"]) == (victim, "raised:ValueError")
    assert "personal" not in str(parked)
    assert parked["n"] == len(waiting) >= n
    expected, found = by_customer(well), by_customer(rows)
    assert victim in {name for _, name in expected}
    assert victim not in {name for _, name in found}, "nothing of a parked customer is shown"
    assert found == {owner: value for owner, value in expected.items() if owner[1] != victim}


async def fold_everything(here: Installation, store: CassandraStore) -> None:
    """Run the view group over the whole log, in this process."""
    codec, topic = Codec(), here.settings.topic("interaction")
    effects = KafkaEffects(Producer(here.settings.brokers), codec, here.settings.topic)
    engine = Engine(VIEW, codec, tenant=here.settings.tenant, cached_subjects_max=10_000)
    runner = GroupRunner(engine, store, effects, topic=topic)
    by_partition: dict[int, list[RawRecord]] = defaultdict(list)
    for record in await asyncio.to_thread(lambda: list(stored(here.settings.brokers, [topic]))):
        by_partition[record.partition].append(RawRecord(record.offset, record.key, record.value, record.timestamp_ms * 1000))
    await runner.assign([Place(topic, partition) for partition in by_partition])
    for partition, records in by_partition.items():
        for start in range(0, len(records), 500):
            await runner.run([Batch(partition, records[start : start + 500], 0, topic)])
    await runner.drain()


def by_customer(rows: dict[str, list[dict[str, Any]]]) -> dict[tuple[str, str], str]:
    """Return a digest per customer."""
    codec = Codec()
    return digests_by_customer(VIEW.tables(), rows, decode=lambda schema_id, body: decoded(codec, body, schema_id))
