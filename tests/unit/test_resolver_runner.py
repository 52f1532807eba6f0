"""The resolver's runner: what is known is asked at once, a link is made between two commits, and whoever is killed leaves nothing half done."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from schemas.codec import Codec
from schemas.events import Handle, Header, IdentityLinked, MessageReceived, Quarantined
from schemas.handles import customer_id
from schemas.record import Event, Record
from streams.cluster import Place
from streams.identity.claims import Claims
from streams.identity.linker import Linker
from streams.identity.linking_rules import connected, named
from streams.identity.pairs import Pairs
from streams.identity.roots import Roots
from streams.records import Batch, RawRecord
from streams.resolver import ResolverRunner
from streams.resolving import Linkable, Resolver
from streams.store.memory import MemoryStore
from tests.support.linking import handle, identity_store

CODEC = Codec()
NOW_US = 1_768_000_000_000_000
MAIL, PHONE, COOKIE = handle("email", 1), handle("phone", 1), handle("cookie", 1)


class Store(MemoryStore):
    """Counts the reads of many claims."""

    reads = 0

    async def read_many(self, table: str, partitions: Any) -> Any:
        self.reads += 1
        return await super().read_many(table, partitions)


class Log:
    """A producer and an appender in one: takes what is produced and says in which order things happened."""

    def __init__(self) -> None:
        self.records: list[tuple[str, Event | Record]] = []
        self.did: list[str] = []
        self.committed: list[dict[Place, int]] = []

    def produce(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        event = CODEC.decode(value or b"")
        assert isinstance(event, Event | Record)
        self.records.append(((key or b"").decode(), event))
        self.did.append(f"{topic}:{event.header.id if isinstance(event, MessageReceived) else type(event).__name__}")

    def append(self, key: str, value: bytes) -> None:
        self.produce("link", key.encode(), value)

    async def drain(self) -> None:
        if self.did and self.did[-1] != "drain":
            self.did.append("drain")

    def commit(self, offsets: Mapping[Place, int]) -> None:
        self.did.append("commit")
        self.committed.append(dict(offsets))


def own(one: Handle) -> str:
    return customer_id("acme", one.kind, one.hash)


def record(offset: int, *handles: Handle) -> RawRecord:
    header = Header(id=f"e-{offset}", source="/t", tenant="acme", occurred_at_us=NOW_US, received_at_us=NOW_US, handles=handles)
    return RawRecord(offset, b"k", CODEC.encode(MessageReceived(header=header)), NOW_US)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def store() -> Store:
    return Store([*identity_store()._tables.by_name.values()])


def runner(log: Log, store: MemoryStore, **options: Any) -> ResolverRunner:
    roots = Roots(**options)
    made = ResolverRunner(
        Resolver(CODEC, future_max_s=300, roots=roots),
        log,  # type: ignore[arg-type]
        CODEC,
        topics=["channel"],
        interaction="log",
        quarantine="quarantine",
        group_id="t.resolver",
        linker=Linker(Claims(store, lambda: NOW_US), Pairs(store), roots, log, CODEC),
    )
    made.commit = log.commit
    return made


def test_a_poll_asks_for_all_its_handles_at_once_and_the_next_for_none(log: Log, store: Store) -> None:
    resolver = runner(log, store)
    poll = [Batch(0, [record(n, handle("email", n)) for n in range(50)], topic="channel")]
    asyncio.run(resolver.run(poll))
    assert store.reads == 1
    asyncio.run(resolver.run(poll))
    assert store.reads == 1
    assert [key for key, _ in log.records[:50]] == [own(handle("email", n)) for n in range(50)]


def test_a_poll_with_many_links_is_committed_in_parts(log: Log, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for the resolver sees it go on, and whoever is killed does not begin the whole poll anew."""
    monkeypatch.setattr("streams.resolver.LINKS_MAX", 2)
    pairs = [record(n, handle("email", n), handle("phone", n)) for n in range(5)]
    asyncio.run(runner(log, store).run([Batch(0, [*pairs[:3], record(3, handle("email", 0)), *pairs[4:]], topic="channel")]))
    assert log.committed == [{Place("channel", 0): 2}, {Place("channel", 0): 5}]
    assert log.did.index("log:e-0") < len(log.did) - 1 - log.did[::-1].index("link:IdentityLinked"), (
        "the first part is on the log before the last link"
    )
    keys = [key for key, event in log.records if isinstance(event, MessageReceived)]
    assert keys == [own(handle("phone", n)) for n in (0, 1, 2, 0, 4)]


def test_links_are_made_before_anything_of_their_poll_is_appended(log: Log, store: Store) -> None:
    resolver = runner(log, store)
    asyncio.run(resolver.run([Batch(0, [record(0, MAIL), record(1, MAIL, PHONE), record(2, MAIL)], topic="channel")]))
    assert log.did == [
        *("link:IdentityLinked", "drain", "link:IdentityLinked", "drain"),
        *("log:e-0", "log:e-1", "log:e-2", "drain", "commit"),
    ]
    assert log.committed == [{Place("channel", 0): 3}]
    assert [key for key, event in log.records if isinstance(event, MessageReceived)] == [own(PHONE)] * 3


def test_what_was_appended_is_committed_before_a_link_that_is_found_late(log: Log, store: Store) -> None:
    resolver = runner(log, store, entries_max=2)  # what the first look learned is forgotten again
    asyncio.run(resolver.run([Batch(0, [record(0, MAIL), record(1, handle("email", 9), handle("phone", 9)), record(2, MAIL)], topic="channel")]))
    appended = [number for number, done in enumerate(log.did) if done.startswith("log:")]
    assert len(appended) == 3
    assert log.did[appended[0] + 1 : appended[0] + 3] == ["drain", "commit"]


def test_links_that_have_a_handle_in_common_are_made_in_order_and_others_beside_them() -> None:
    events = [(MAIL, PHONE), (COOKIE, handle("email", 8)), (handle("email", 9), PHONE)]
    asked = [Linkable(named(handles, "acme"), f"e-{number}") for number, handles in enumerate(events)]
    assert [[one.evidence for one in together] for together in connected(asked)] == [["e-0", "e-2"], ["e-1"]]


def test_handles_that_came_along_are_known_to_be_elsewhere_at_once(log: Log, store: Store) -> None:
    resolver = runner(log, store)
    poll = [record(0, COOKIE, MAIL), record(1, COOKIE), record(2, MAIL, PHONE), record(3, COOKIE)]
    asyncio.run(resolver.run([Batch(0, poll, topic="channel")]))
    assert log.records[-1][0] == own(PHONE)
    assert len([event for _, event in log.records if isinstance(event, IdentityLinked)]) == 6


def test_a_memory_far_too_small_still_resolves_everything(log: Log, store: Store) -> None:
    resolver = runner(log, store, entries_max=2)
    poll = [record(n, handle("email", n), handle("phone", n)) for n in range(1, 6)]
    asyncio.run(resolver.run([Batch(0, poll, topic="channel")]))
    assert [key for key, event in log.records if isinstance(event, MessageReceived)] == [own(handle("phone", n)) for n in range(1, 6)]


def test_what_cannot_be_resolved_is_set_aside_and_committed_with_the_rest(log: Log, store: Store) -> None:
    resolver = runner(log, store)
    asyncio.run(resolver.run([Batch(0, [record(0), RawRecord(1, b"k", b"no event", NOW_US), record(2, MAIL)], topic="channel")]))
    assert [type(event) for _, event in log.records] == [Quarantined, Quarantined, MessageReceived]
    assert log.committed == [{Place("channel", 0): 3}]


def test_many_records_of_one_customer_are_committed_in_parts(log: Log, store: Store) -> None:
    resolver = runner(log, store)
    asyncio.run(resolver.run([Batch(0, [record(n, MAIL) for n in range(130)], topic="channel")]))
    assert [offsets[Place("channel", 0)] for offsets in log.committed] == [64, 128, 130]
