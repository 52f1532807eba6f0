"""The broadcaster: what is published is told to every partition, and committed only when every partition has acknowledged."""

import asyncio
from collections.abc import Mapping

import pytest

from projections.rules import Policy, Rulebook, rulebook_of
from schemas.codec import Codec
from schemas.events import ConfigPublished
from schemas.record import Event, Record
from streams.broadcaster import KEY, BroadcasterRunner
from streams.cluster import Place
from streams.kafka import PartitionsLost
from streams.published import AT_APPEND, Unreadable, announced, publication, published
from streams.records import Batch, RawRecord
from touchline.errors import Misconfigured, Poison, Retryable

CODEC = Codec()
TOPIC = "t.config.v1"
BOOK = Rulebook(policies=(Policy(id="mail", when='channel == "email"', targets={"first_response": 60}),), clear_attributes=("plan",))


class Log:
    """Takes what is produced and says in which order things happened. `troubles` are raised by the next drains."""

    def __init__(self) -> None:
        self.records: list[tuple[int, bytes | None, bytes | None]] = []
        self.did: list[str] = []
        self.committed: dict[Place, int] = {}
        self.troubles: list[Exception] = []

    def produce(self, topic: str, key: bytes | None, value: bytes | None, headers: object = (), partition: int = -1) -> None:
        assert (topic, headers) == ("t.interaction.v1", ())
        self.records.append((partition, key, value))
        self.did.append("produce")

    async def drain(self) -> None:
        self.did.append("drain")
        if self.troubles:
            raise self.troubles.pop(0)

    def commit(self, offsets: Mapping[Place, int]) -> None:
        self.did.append("commit")
        self.committed.update(offsets)

    def events(self) -> list[tuple[int, Event | Record]]:
        told = [(partition, CODEC.decode(value or b"")) for partition, _, value in self.records]
        assert all(isinstance(event, ConfigPublished) for _, event in told)
        return told  # type: ignore[return-value]


@pytest.fixture
def log() -> Log:
    return Log()


def runner(log: Log, partitions: int = 3) -> BroadcasterRunner:
    made = BroadcasterRunner(
        log,  # type: ignore[arg-type]
        CODEC,
        topic=TOPIC,
        interaction="t.interaction.v1",
        group_id="t.config",
        partitions=lambda: partitions,
    )
    made.commit = log.commit
    return made


def record(offset: int, *, effective_us: int | None = None, book: Rulebook = BOOK, tenant: str = "acme") -> RawRecord:
    event = publication(book, tenant=tenant, record_id=f"r-{offset}", now_us=5, effective_at_us=effective_us)
    return RawRecord(offset, b"rules", CODEC.encode(event), 1_000_000 + offset)


def batch(*records: RawRecord) -> list[Batch]:
    return [Batch(0, list(records), topic=TOPIC)]


def test_every_partition_is_told_explicitly_and_then_it_is_committed(log: Log) -> None:
    asyncio.run(runner(log).run(batch(record(6))))
    assert log.did == ["produce"] * 3 + ["drain", "commit"]
    assert [partition for partition, _, _ in log.records] == [0, 1, 2]
    assert {key for _, key, _ in log.records} == {KEY} == {b"config:rules"}
    assert log.committed == {Place(TOPIC, 0): 7}
    for _, event in log.events():
        assert isinstance(event, ConfigPublished)
        header = event.header
        assert (event.kind, event.id, event.version, event.effective_at_us) == ("rules", "rules", 7, 1_000_006)
        assert (header.id, header.source, header.tenant, header.occurred_at_us) == ("rules:7", "/touchline/config", "acme", 1_000_006)
        book = rulebook_of(event)
        assert (book.version, book.effective_at_us, book.policies, book.clear_attributes) == (7, 1_000_006, BOOK.policies, ("plan",))


@pytest.mark.parametrize("effective_us", [0, -5, 10**15])
def test_an_effective_time_that_was_given_is_kept_and_1970_is_one_too(log: Log, effective_us: int) -> None:
    asyncio.run(runner(log, 1).run(batch(record(0, effective_us=effective_us))))
    assert [event.effective_at_us for _, event in log.events() if isinstance(event, ConfigPublished)] == [effective_us]


def test_nothing_is_committed_before_all_have_acknowledged_and_a_repeat_says_the_same(log: Log) -> None:
    """Killed in between: the next broadcaster tells it again, byte for byte."""
    log.troubles = [RuntimeError("killed")]
    with pytest.raises(RuntimeError):
        asyncio.run(runner(log).run(batch(record(0))))
    assert log.committed == {}
    before = list(log.records)
    asyncio.run(runner(log).run(batch(record(0))))
    assert log.records == before * 2
    assert log.committed == {Place(TOPIC, 0): 1}


def test_a_broker_that_is_away_is_waited_for(log: Log) -> None:
    log.troubles = [Retryable("away")]
    asyncio.run(runner(log).run(batch(record(0))))
    assert log.did == ["produce"] * 3 + ["drain", "drain", "commit"]


def test_a_topic_that_was_given_away_is_left_to_its_new_owner(log: Log) -> None:
    made = runner(log)

    def lost(offsets: Mapping[Place, int]) -> None:
        log.did.append(f"lost {len(offsets)}")
        raise PartitionsLost

    made.commit = lost
    asyncio.run(made.run(batch(record(0))))
    assert (log.did[-1], log.committed) == ("lost 1", {})


def test_without_the_topic_the_worker_says_what_to_do(log: Log) -> None:
    with pytest.raises(Misconfigured, match=r"t\.interaction\.v1 is missing.*topics create"):
        asyncio.run(runner(log, 0).run(batch(record(0))))


def bad_records() -> list[RawRecord]:
    """Return records that nobody can use: noise, another event, a body that is no rulebook, a condition that is none."""
    other = publication(BOOK, tenant="acme", record_id="r", now_us=5, effective_at_us=None)
    texts = [b"noise", b""]
    for changes in (
        {"kind": "other"},
        {"body": "{"},
        {"body": '{"policies": [{"id": 3}]}'},
        {"body": '{"policies": [{"id": "a", "when": "channel == 3"}]}'},
    ):
        values = {name: getattr(other, name) for name in other.__struct_fields__} | changes
        texts.append(CODEC.encode(ConfigPublished(**values)))
    return [RawRecord(offset, b"rules", text, 1) for offset, text in enumerate(texts)]


def test_what_nobody_could_use_is_left_out_and_the_rest_goes_on(log: Log) -> None:
    """And keeps its place: the version is the place in the topic."""
    bad = bad_records()
    asyncio.run(runner(log, 1).run(batch(*bad, record(len(bad)))))
    assert [event.version for _, event in log.events() if isinstance(event, ConfigPublished)] == [len(bad) + 1]
    assert log.committed == {Place(TOPIC, 0): len(bad) + 1}


def test_readers_see_the_books_of_their_tenant_in_the_order_of_publication() -> None:
    records = [record(0), record(1, tenant="other"), *[one._replace(offset=one.offset + 2) for one in bad_records()[:5]], record(9, effective_us=3)]
    found = published(batch(*records), CODEC, "acme")
    assert [(one.book.version, one.published_us, one.book.effective_at_us, one.record_id) for one in found] == [
        (1, 1_000_000, 1_000_000, "r-0"),
        (10, 1_000_009, 3, "r-9"),
    ]


def test_a_record_that_cannot_be_read_is_named_by_its_place() -> None:
    found = announced(RawRecord(4, None, b"x", 0), CODEC)
    assert isinstance(found, Unreadable)
    assert (found.offset, bool(found.reason)) == (4, True)


def test_a_body_that_is_no_rulebook_is_poison_and_unknown_keys_are_left_out() -> None:
    event = publication(BOOK, tenant="acme", record_id="r", now_us=5, effective_at_us=None)
    assert event.effective_at_us == AT_APPEND
    values = {name: getattr(event, name) for name in event.__struct_fields__}
    with pytest.raises(Poison, match="Version 0 of rules cannot be read"):
        rulebook_of(ConfigPublished(**{**values, "body": '{"policies": 3}'}))
    assert rulebook_of(ConfigPublished(**{**values, "body": '{"newer": 3}', "effective_at_us": 7})) == Rulebook(effective_at_us=7)


def test_rules_that_do_not_fit_one_record_are_refused() -> None:
    long = Rulebook(policies=tuple(Policy(id=f"{n}", when=" " * 1000 + "true") for n in range(1000)))
    with pytest.raises(Misconfigured, match="the rules take"):
        publication(long, tenant="acme", record_id="r", now_us=0, effective_at_us=None)


def test_the_broadcaster_keeps_nothing_but_what_is_under_way(log: Log) -> None:
    made = runner(log)

    async def life() -> None:
        assert await made.assign([Place(TOPIC, 0)]) == {Place(TOPIC, 0): None}
        await asyncio.gather(made.run(batch(record(0))), made.drain())
        await made.revoke([Place(TOPIC, 0)])

    asyncio.run(life())
    assert (made.progress(), made.topics, made.group_id, made.name) == ({}, (TOPIC,), "t.config", "config")
