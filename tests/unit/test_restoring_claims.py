"""The identity tables from an exported log: the rows that the log was written beside, whatever happened to people, and killed wherever."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import pytest

from schemas.events import Handle, Header, IdentityLinked
from schemas.record import Event
from streams.control_topic import KnownBy
from streams.identity.claim import Claim, Name
from streams.log import restoring_claims
from streams.log.manifest import load
from streams.log.restoring_claims import RestoringClaims
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from tests.support.erasures import TENANT, Cut, Place
from tests.support.identity_invariants import wrong_claims
from tests.support.linking import CODEC, NOW_US, Log, Process, handle, run
from tests.support.small_cluster import SmallCluster, exported
from touchline.erasing_person import Person
from touchline.errors import Refused

TABLES = ("identity", "identities_by_customer", "identity_pair", "identity_proposal")
PARTITIONS = 3
ACCOUNT, PHONE, MAIL, COOKIE = (handle(kind, 1) for kind in ("account", "phone", "email", "cookie"))
SHOP, FEED = handle("account", 30), handle("social", 30)
GONE, GONE_PHONE = handle("account", 90), handle("phone", 90)
EVENTS = (
    ("m-1", [ACCOUNT, PHONE]),
    ("m-2", [PHONE, COOKIE]),
    ("m-3", [COOKIE, MAIL]),
    ("unmerge-phone", [PHONE]),
    ("m-4", [handle("account", 2), COOKIE]),
    ("m-5", [handle("account", 3), handle("account", 4)]),  # somebody must decide, and has not
    ("m-6", [handle("account", 5), handle("account", 6)]),
    ("merge-6", [handle("account", 5), handle("account", 6)]),
    ("m-7", [handle("account", 7), handle("account", 8)]),
    ("reject-7", [handle("account", 7), handle("account", 8)]),
    ("merge-20", [handle("account", 20), MAIL]),  # both own an account
    ("unmerge-20", [handle("account", 20)]),
    ("merge-again", [handle("account", 20), MAIL]),
    ("m-8", [SHOP, FEED]),
    ("m-9", [GONE, GONE_PHONE, handle("email", 90)]),
    ("m-10", [GONE, handle("account", 91)]),  # proposed, and erased with the person
    ("reject-40", [handle("email", 40), handle("phone", 40)]),
)
HEADER = Header(id="1", source="/test", tenant=TENANT, occurred_at_us=NOW_US, received_at_us=NOW_US)
RETURNED = (("m-11", [GONE_PHONE, handle("account", 92)]), ("m-12", [GONE, COOKIE]))


class Lived(NamedTuple):
    """An installation in which people were linked, unlinked, decided about, forgotten, and came back; and its log."""

    place: Place
    log: list[tuple[str, Event]]

    @property
    def store(self) -> MemoryStore:
        return self.place.store


def claim_of(of: Handle) -> Claim:
    """Return the claim of a handle that was never linked."""
    return Claim.absent(Name(TENANT, of.kind, of.hash))


def working(store: MemoryStore, *events: tuple[str, list[Handle]]) -> Process:
    """Return a resolver that has worked through some events."""
    process = Process(store, Log(), events, stepping=False)
    run(process.work())
    return process


@pytest.fixture
def lived() -> Lived:
    place = Place()
    first = working(place.store, *EVENTS)
    own, root = run(first.linker.claims.read([claim_of(FEED).name, claim_of(SHOP).name]))
    assert run(first.linker.take_back(own, root, reason="history_too_long"))
    one, target = claim_of(handle("cookie", 50)), claim_of(handle("account", 50))
    assert run(first.linker.propose(one, target, reason="history_too_long", evidence="m-50"))
    asyncio.run(place.erase(KnownBy(GONE.kind, GONE.hash)))
    again = working(place.store, *RETURNED)
    asyncio.run(place.erase(KnownBy(GONE_PHONE.kind, GONE_PHONE.hash)))  # and whoever had that number next, too
    last = working(place.store, ("m-13", [GONE_PHONE, SHOP]))
    forgotten = [(event.customer, event) for event in place.log]
    return Lived(place, [*first.log.records, *again.log.records, *last.log.records, *forgotten])


def export(records: Sequence[tuple[str, Event]], folder: Path, seed: int = 0) -> Path:
    """Export a log of these records; which customers share a partition follows from `seed`."""
    cluster = SmallCluster(PARTITIONS)
    for at, (key, event) in enumerate(records):
        cluster.put("interaction", crc32(f"{seed} {key}".encode()) % PARTITIONS, key.encode(), CODEC.encode(event), NOW_US + at)
    exported(cluster, folder)
    return folder


def empty() -> MemoryStore:
    return MemoryStore(known_tables())


def restored(folder: Path, store: Any) -> RestoringClaims:
    """Restore, as the command does."""
    manifest, into = load(folder), RestoringClaims(store, CODEC)
    assert manifest is not None
    asyncio.run(into.restore(folder, manifest, lambda _: None))
    return into


def rows(store: MemoryStore) -> dict[str, list[dict[str, Any]]]:
    """Return the identity tables. Of pairs without what the log does not say: who decided, in which µs, and why somebody was accepted."""
    found = {table: [dict(row) for row in run(store.scan(table))] for table in TABLES}
    for row in found["identity_pair"]:
        del row["actor"], row["changed_at"]
        if row["state"] == "accepted":
            row["reason"] = row["event_id"] = None
    return {table: sorted(those, key=lambda row: [str(row[key]) for key in sorted(row)]) for table, those in found.items()}


@pytest.mark.parametrize("seed", range(6))
def test_the_tables_are_those_that_the_log_was_written_beside(lived: Lived, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Row by row, in whatever partitions the records lie and whatever portions they are heard in; heard again nothing changes."""
    monkeypatch.setattr(restoring_claims, "_PORTION", 1 + 2 * seed)
    folder, into, whole = export(lived.log, tmp_path, seed), empty(), rows(lived.store)
    assert restored(folder, into).unnamed == 0
    found = rows(into)
    assert found == whole
    assert all(found.values())
    assert {row["generation"] for row in found["identity"]} == {0, 1, 2}
    assert not wrong_claims(found["identity"], found["identities_by_customer"], by_people=True)
    for there in (into, lived.store):  # once more; and where the tables survived their log
        assert restored(folder, there).restored == 0
        assert rows(there) == whole


def test_whoever_returns_is_who_they_were_and_whoever_was_erased_is_new(lived: Lived, tmp_path: Path) -> None:
    """A linked handle comes to its root, an unlinked one to itself, an erased one to a customer who never was; and people stay two."""
    into = empty()
    restored(export(lived.log, tmp_path), into)
    old, new = working(lived.store), working(into)
    for number, seen in enumerate((PHONE, MAIL, COOKIE, SHOP, FEED, GONE, GONE_PHONE, *(handle("account", n) for n in (2, 4, 6, 8, 20)))):
        assert run(new.resolve(f"n-{number}", [seen])) == run(old.resolve(f"n-{number}", [seen]))
    assert run(new.resolve("n-gone", [GONE])) not in {event.customer for event in lived.place.log}
    assert run(new.resolve("n-phone", [PHONE])) != run(new.resolve("n-both", [PHONE, ACCOUNT]))
    assert not any(isinstance(event, IdentityLinked) for _, event in new.log.records)
    told = {event.header.id for _, event in lived.log}
    run(new.resolve("n-more", [GONE_PHONE, handle("email", 99)]))
    run(working(into, ("unmerge", [PHONE])).resolve("n-link", [PHONE, SHOP]))
    links = [event for _, event in new.log.records if isinstance(event, IdentityLinked)]
    assert links
    assert not {link.header.id for link in links} & told


class Dying:
    """A store whose process is killed before its change number `lives`, or right after it."""

    def __init__(self, store: MemoryStore, lives: int, *, after: bool) -> None:
        self._store, self._lives, self._after = store, lives, after

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)
        if name not in {"write", "swap"}:
            return call

        async def counted(*given: Any, **named: Any) -> Any:
            self._lives -= 1
            if self._lives < 0 and not self._after:
                raise Cut
            done = await call(*given, **named)
            if self._lives < 0:
                raise Cut
            return done

        return counted


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_change_and_run_again_it_comes_to_the_same(lived: Lived, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:  # noqa: FBT001
    """The half that was restored is heard again with the rest."""
    monkeypatch.setattr(restoring_claims, "_PORTION", 7)
    folder, whole, kills = export(lived.log, tmp_path), rows(lived.store), 0
    while True:
        into = empty()
        try:
            restored(folder, Dying(into, kills, after=after))
        except Cut:
            kills += 1
            restored(folder, into)
            assert rows(into) == whole, f"killed at change {kills}"
        else:
            break
    assert kills > 50


def test_a_link_that_was_told_under_one_of_the_two_is_completed_by_whoever_meets_it(tmp_path: Path) -> None:
    """The process that linked them was killed in between, and then the log was exported."""
    told = working(empty(), ("m-1", [ACCOUNT, PHONE])).log.records
    folder, into = export(told[:1], tmp_path), empty()
    restored(folder, into)
    assert [row["announced"] for row in run(into.scan("identity"))] == [False]
    assert working(into, ("m-2", [PHONE])).log.records[:2] == told[:2]
    assert [row["announced"] for row in run(into.scan("identity"))] == [True]


def test_an_erasure_that_is_told_again_names_the_same_generations() -> None:
    """Somebody else has taken it up, and was slower."""
    place = Place()

    async def happened() -> None:
        await place.view("c-1", KnownBy(PHONE.kind, PHONE.hash))
        erasure = await place.erasing.begin(Person(TENANT, "c-1", frozenset({"c-1"}), (claim_of(PHONE),)), reason="asked", actor="op-1")
        await place.erasing.run(erasure)
        await place.erasing._say(erasure)

    asyncio.run(happened())
    first, second = place.log
    assert first == second
    assert list(first.handles.values()) == [1]


def test_a_row_that_says_more_than_the_log_stays(lived: Lived, tmp_path: Path) -> None:
    """Life went on behind the export: a link is undone in the table, and the log does not know."""
    folder = export(lived.log, tmp_path)
    working(lived.store, ("unmerge-cookie", [COOKIE]))
    kept = rows(lived.store)
    assert restored(folder, lived.store).restored == 0
    assert rows(lived.store) == kept


def test_a_table_of_another_log_is_refused(tmp_path: Path) -> None:
    """The same handle, at the same turn, is linked to somebody else there."""
    folder = export(working(empty(), ("m-1", [ACCOUNT, PHONE])).log.records, tmp_path)
    into = empty()
    working(into, ("m-1", [SHOP, PHONE]))
    with pytest.raises(Refused, match="links a phone to another customer than this log does at the same turn") as refused:
        restored(folder, into)
    assert refused.value.reason == "claims_differ"
    assert "TOUCHLINE_KEYSPACE" in str(refused.value.next_step)


@pytest.mark.parametrize(("of", "root"), [(claim_of(PHONE).own, None), ("nobody", ACCOUNT)])
def test_what_does_not_name_its_handles_is_counted_and_left_out(tmp_path: Path, of: str, root: Handle | None) -> None:
    """A link whose root's handle is not told; one whose customer is none of its handle's."""
    event = IdentityLinked(header=HEADER, handle=PHONE, from_=of, to="c", root=root)
    into = empty()
    done = restored(export([("c", event)], tmp_path), into)
    assert (done.unnamed, done.restored, run(into.scan("identity"))) == (1, 0, [])
