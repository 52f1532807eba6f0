"""Fifty of two hundred people are forgotten: nothing of them can be read any more anywhere, and nobody else has lost anything.

Each person has handles of three kinds, linked only later, and markers in every field that can hold something. What is sealed is looked
for where it lies, on topics and in tables, and opened with the installation's own keys, as whoever has broken in would do. Two of the
fifty are erased by the command, the others by what the command calls; one erasure is killed on its way.
"""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import msgspec
import pytest

from deploy.local.testing import LiveStack
from projections.registry import GROUPS
from schemas.codec import Codec, Undecodable
from schemas.events import Personal, PrivacyErased
from schemas.record import Event
from schemas.sealing import Erased, Opened, Opening, SealedItem
from streams.store.cassandra import CassandraStore
from streams.store.catalogue import keyring_tables
from streams.store.data_keys import CassandraDataKeys
from tests.support import still_open
from tests.support.harness import VIEW, Installation, installed, sums_up
from tests.support.processes import Running, ended, run, until
from tests.support.topics import stored
from touchline.erasing_said import office
from touchline.handle_names import handle_named
from touchline.keyring.keyfile import KeyFile
from touchline.keyring.keyring import Keyring

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

PEOPLE: Final = 200
FORGOTTEN: Final = frozenset(range(0, PEOPLE, 4))
BY_COMMAND: Final = (0, 4)
KILLED: Final = 8
MARK: Final = "zk7vq"
CARE: Final = GROUPS["care"]
_OF = re.compile(rf"{MARK}(\d{{3}})x|\+4930861(\d{{6}})")


def mail(n: int) -> str:
    return f"{MARK}{n:03d}x@example.org"


def phone(n: int) -> str:
    return f"+4930861{n:06d}"


def said_of(text: str) -> set[int]:
    """Return whose markers a text holds."""
    return {int(found[1] or found[2]) for found in _OF.finditer(text)}


def event(n: int, kind: str, at: str, customer: list[dict[str, Any]], name: str, **data: Any) -> dict[str, Any]:
    """Return one event of a person, with markers in it."""
    marked = {"text": f"{MARK}{n:03d}x text {name}", "subject": f"{MARK}{n:03d}x subject", "attributes": {"vip": f"{MARK}{n:03d}x attribute"}}
    more = {"nickname": f"{MARK}{n:03d}x unknown", "direction": "inbound", "actor": {"kind": "customer"}}
    envelope = {"specversion": "1.0", "id": f"{name}-{n}", "source": "/test", "type": kind, "time": f"2026-01-{at}Z"}
    return {**envelope, "data": {"customer": customer, **marked, **more, **data}}


def life(n: int) -> Iterator[dict[str, Any]]:
    """Return what happens to a person: by mail, by phone, and then with the account that ties both together."""
    by_mail, by_phone = {"kind": "email", "value": mail(n), "verified": True}, {"kind": "phone", "value": phone(n)}
    account = {"kind": "account", "value": f"{MARK}{n:03d}x-account", "verified": True}
    yield event(n, "message.received", "10T09:00:00", [by_mail], "m", channel="email", conversation_id=f"c-{n}")
    yield event(n, "contact.initiated", "10T10:00:00", [by_phone], "k", channel="phone", contact_id=f"k-{n}", queue="billing")
    yield event(n, "message.received", "11T09:00:00", [account, by_mail], "a", channel="portal", conversation_id=f"p-{n}")
    yield event(n, "store.visit", "11T10:00:00", [account, by_phone], "s", channel="store")
    agent = {"actor": {"kind": "agent", "id": "ag-1"}, "direction": "outbound", "visibility": "public", "author": "human"}
    yield event(n, "message.sent", "11T11:00:00", [by_mail], "r", channel="email", conversation_id=f"c-{n}", **agent)
    if n % 10 == 0:
        yield event(
            n, "vulnerability.flagged", "11T12:00:00", [account], "v", channel="backoffice", expires_at=f"{time.gmtime().tm_year + 1}-01-01T00:00:00Z"
        )


def unacceptable(n: int) -> dict[str, Any]:
    """Return an event that is quarantined: it lies in the future."""
    wrong = event(n, "message.received", "11T13:00:00", [{"kind": "email", "value": mail(n)}], "q", channel="email")
    return {**wrong, "time": "2099-01-01T00:00:00Z"}


def written(file: Path, events: Iterator[dict[str, Any]]) -> Path:
    """Write events as a file of lines."""
    file.write_text("".join(json.dumps(one) + "\n" for one in events))
    return file


class Found(NamedTuple):
    """Something sealed: where it lies, and what became of it when it was opened."""

    where: str
    item: SealedItem
    opening: Opening


def sealed_on_topics(here: Installation) -> Iterator[tuple[str, SealedItem]]:
    """Return every sealed part on the topics that have some."""
    codec = Codec()
    for record in stored(here.settings.brokers, [here.settings.topic("interaction"), *here.channel_topics]):
        found = codec.decode(record.value)
        assert not isinstance(found, Undecodable)
        if isinstance(found, Event) and found.sealed is not None and found.sealed_key is not None:
            yield record.topic, SealedItem(found.header.tenant, found.header.id, found.sealed, found.sealed_key)


def sealed_in_tables(here: Installation) -> Iterator[tuple[str, SealedItem]]:
    """Return every sealed part in the tables that readers use."""
    for name, rows in here.rows(VIEW).items():
        for row in rows:
            if row.get("sealed") is not None:
                yield name, SealedItem(row["tenant"], row.get("event_id") or row["sealed_event_id"], row["sealed"], row["sealed_key"])


def theirs(here: Installation, n: int) -> Path:
    """Return a file of a person's sealed parts."""
    found = everything(here)
    items = [one.item for one in found if isinstance(one.opening, Opened) and said_of(msgspec.json.encode(one.opening.personal).decode()) == {n}]
    assert items
    return still_open.written(here.folder / f"parts-{n}.json", items)


class Process:
    """A process that opens sealed parts with the keys of the installation; it keeps what it has read for as long as any may."""

    def __init__(self, here: Installation) -> None:
        self._here = here
        self._loop = asyncio.Runner()
        self._store = self._loop.run(CassandraStore.connect(here.settings))
        keys = CassandraDataKeys(self._store.beside(here.settings.keyring_keyspace, keyring_tables()), lambda: time.time_ns() // 1000)
        self._keyring = Keyring(keys, KeyFile.load_or_create(here.settings.key_file).wrapper, Codec())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.run(self._store.close())
        self._loop.close()

    def everything(self) -> list[Found]:
        """Open whatever is sealed anywhere."""
        places = [*sealed_on_topics(self._here), *sealed_in_tables(self._here)]
        opened = self._loop.run(self._keyring.open_many([item for _, item in places]))
        return [Found(where, item, opening) for (where, item), opening in zip(places, opened, strict=True)]


def everything(here: Installation) -> list[Found]:
    """Open whatever is sealed anywhere, as a process that has read no key yet."""
    with Process(here) as process:
        return process.everything()


def read_of(found: list[Found]) -> dict[int, Counter[bytes]]:
    """Return, by person, everything that could be read of them and how often."""
    read: dict[int, Counter[bytes]] = {}
    for one in found:
        if isinstance(one.opening, Opened):
            text = msgspec.json.encode(one.opening.personal)
            for n in said_of(text.decode()):
                read.setdefault(n, Counter())[text] += 1
    return read


def rows_of_others(here: Installation, gone: set[str]) -> dict[str, list[str]]:
    """Return the rows of both groups that are of nobody who was forgotten."""
    rows = {**here.rows(VIEW), **here.rows(CARE)}
    kept = {name: [row for row in some if row.get("customer_id", row.get("home_customer_id")) not in gone] for name, some in rows.items()}
    return {name: sorted(repr([(column, in_order(row[column])) for column in sorted(row)]) for row in some) for name, some in kept.items()}


def in_order(value: object) -> object:
    """Return a value whose text is always the same."""
    return sorted(value) if isinstance(value, set | frozenset) else sorted(value.items()) if isinstance(value, dict) else value


def called(here: Installation, *words: str, code: int = 0) -> str:
    """Run a command and return all that it said, on both streams."""
    done = run(["touchline", *words], here.environment(roles="agent,vulnerability"), here.folder, within_s=300)
    assert done.returncode == code, f"{words[:2]} {done.stderr}"
    return done.stdout + done.stderr


def erased_in_process(here: Installation, people: list[int]) -> None:
    """Erase people as the command does, all but the last step, without a process for each."""

    async def erase() -> None:
        async with office(here.settings) as desk:
            for n in people:
                person = await desk.people.by_handle("acme", handle_named(here.settings, "acme", f"phone:{phone(n)}"))
                assert person is not None, n
                assert len(person.handles) == 3, n
                await desk.erasing.run(await desk.erasing.begin(person, reason="asked", actor="op-1"), wait=False)

    asyncio.run(erase())


def customers_of(here: Installation, people: list[int]) -> dict[int, tuple[str, frozenset[str]]]:
    """Return (root, all customers) of people."""

    async def find() -> dict[int, tuple[str, frozenset[str]]]:
        async with office(here.settings) as desk:
            found = {n: await desk.people.by_handle("acme", handle_named(here.settings, "acme", f"email:{mail(n)}")) for n in people}
        return {n: (person.root, person.customers) for n, person in found.items() if person is not None}

    return asyncio.run(find())


def killed_on_its_way(here: Installation, n: int) -> None:
    """Begin an erasure and kill it as soon as its row is there."""
    command = ["touchline", "privacy", "erase", "--handle", f"email:{mail(n)}", "--reason", "asked", "--by", "killed"]
    with Running("erase", command, here.environment(), here.folder) as process:
        began = lambda: any(row["actor"] == "killed" for row in here.read(lambda store: store.scan("erasure")))  # noqa: E731 - once
        until(began, 60, "the erasure has begun", pause_s=0.05)
        process.kill()
    [row] = [row for row in here.read(lambda store: store.scan("erasure")) if row["actor"] == "killed"]
    assert row["step"] != "done"


def settled(here: Installation, worker: Running) -> None:
    """Wait until everything has been resolved, linked, copied and folded."""
    for group in (VIEW, CARE, VIEW):  # copies are appended by the view group, and folded by both
        here.wait_until_caught_up(worker, group=group)


def test_nothing_of_whoever_was_forgotten_can_be_read_and_nobody_else_has_lost_anything(stack: LiveStack, tmp_path: Path) -> None:
    with installed(stack, tmp_path, "erasure", operator="op-1") as here:
        with Process(here) as warm, here.worker() as worker:
            worker.wait_for("consuming", part="resolver").wait_for("consuming", part="view.v1").wait_for("consuming", part="care.v1")
            quarantined = [unacceptable(n) for n in range(0, PEOPLE, 10)]
            day = [one for n in range(PEOPLE) for one in life(n)]
            counts = here.ingest(written(tmp_path / "day.jsonl", iter([*day, *quarantined])))
            assert (counts["accepted"], counts["quarantined"]) == (len(day), len(quarantined)), counts["reasons"]
            settled(here, worker)
            people = customers_of(here, list(range(PEOPLE)))
            assert {len(customers) for _, customers in people.values()} == {3}, "three customers each, linked to one"
            gone = {customer for n in FORGOTTEN for customer in people[n][1]}
            before, others = read_of(warm.everything()), rows_of_others(here, gone)
            assert set(before) == set(range(PEOPLE))

            for n in BY_COMMAND:
                plan = json.loads(called(here, "privacy", "erase", "--handle", f"email:{mail(n)}", "--dry-run", "--json"))
                assert set(plan["customers"]) == people[n][1]
            with ended(*(still_open.started(here, how, theirs(here, BY_COMMAND[0])) for how in ("hears", "deaf"))) as readers:
                asked = time.time()
                assert said_of(called(here, "privacy", "erase", "--customer", people[BY_COMMAND[0]][0], "--reason", "asked", "--no-wait")) == set()
                answered = time.time()
                for reader in readers:
                    closed = still_open.when_gone(reader, 120)
                    said = f"{closed - asked:.1f} s after the command began, {closed - answered:.1f} s after it ended"
                    print(f"\n{reader.name}: nothing of them opens any more {said}")  # noqa: T201 - a figure
            began_s = time.monotonic()
            assert said_of(called(here, "privacy", "erase", "--customer", people[BY_COMMAND[1]][0], "--reason", "asked", "--no-wait")) == set()
            killed_on_its_way(here, KILLED)
            erased_in_process(here, sorted(FORGOTTEN - {*BY_COMMAND, KILLED}))
            called(here, "privacy", "erase", "--resume")
            print(f"\n{len(FORGOTTEN) - 1} more people forgotten in {time.monotonic() - began_s:.1f} s, the minute included")  # noqa: T201 - a figure
            settled(here, worker)

            found = everything(here)
            after = read_of(found)
            assert set(after) == set(range(PEOPLE)) - FORGOTTEN
            assert after == {n: before[n] for n in after}, "of everybody else everything is there, as it was"
            assert Counter(type(one.opening) for one in found).keys() == {Opened, Erased}
            assert set(read_of(warm.everything())) == set(after), "a process that had read the keys before has them no more"
            assert rows_of_others(here, gone) == others
            _check_keys(here)
            _check_topics(here, gone, {people[n][0] for n in set(range(PEOPLE)) - FORGOTTEN})
            _check_commands(here, people)
            _check_return(here, tmp_path, worker, people)
            assert worker.stop() == 0, worker.last_words()
        digests = {group.name: here.digest(group) for group in (VIEW, CARE)}
        called(here, "log", "export", str(tmp_path / "log"))
        simulated = run(["touchline", "simulate", str(tmp_path / "log"), "--digest"], here.environment(brokers="nowhere.invalid:9"), here.folder)
        assert {line["group"]: line["digest"] for line in map(json.loads, simulated.stdout.splitlines())} == digests


def _check_keys(here: Installation) -> None:
    """Of whoever was forgotten there is no key, wrapped or not; of everybody else there is."""

    async def scan(store: CassandraStore) -> list[dict[str, Any]]:
        return await store.beside(here.settings.keyring_keyspace, keyring_tables()).scan("data_key")

    rows = here.read(scan)
    hashes = {
        handle_named(here.settings, "acme", written).hash.hex()
        for n in FORGOTTEN
        for written in (f"email:{mail(n)}", f"phone:{phone(n)}", f"account:{MARK}{n:03d}x-account")
    }
    assert {row["handle_hash"] for row in rows} >= hashes
    for row in rows:
        assert (row["state"] == "destroyed") == (row["handle_hash"] in hashes)
        assert bool(row["wrapped"]) == (row["state"] == "active")


def _check_topics(here: Installation, gone: set[str], others: set[str]) -> None:
    """Snapshots are tombstones, and every consumer of an output topic has heard of it; in clear nothing lay anywhere."""
    latest: dict[str, bytes] = {}
    noticed: dict[str, set[str]] = {name: set() for name in ("sla", "alert", "escalation")}
    names = {here.settings.topic(name): name for name in ("customer", "quarantine", "control", "audit", "config", *noticed)}
    for record in stored(here.settings.brokers, names):
        name = names[record.topic]
        assert said_of(record.key.decode("latin-1") + record.value.decode("latin-1")) == set(), name
        if name == "customer":
            latest[record.key.decode()] = record.value
        elif name in noticed and isinstance(found := Codec().decode(record.value), PrivacyErased):
            noticed[name].add(found.customer)
    assert {customer for customer, value in latest.items() if not value} == gone
    assert others <= {customer for customer, value in latest.items() if value}
    assert all(heard == gone for heard in noticed.values())


def _check_commands(here: Installation, people: dict[int, tuple[str, frozenset[str]]]) -> None:
    """No command shows anything of somebody who was forgotten, and each says when that was; everybody else is shown."""
    for n in (0, 4, KILLED, 40):
        root, customers = people[n]
        shown = [called(here, "customer", "show", "--handle", f"email:{mail(n)}"), called(here, "privacy", "report", "--customer", root)]
        shown += [called(here, "privacy", "erase", "--handle", f"phone:{phone(n)}", "--reason", "asked")]
        for customer in sorted(customers):
            shown += [called(here, "customer", "show", customer), called(here, "timeline", customer, "--all", "-n", "1000", "--json")]
        assert said_of("".join(shown)) == set()
        assert "Erased at" in shown[0]
        assert all("Was forgotten at" in text for text in shown[1:3])
    for words in (("quarantine", "list", "--limit", "100"), ("parked", "list"), ("clocks",), ("alerts",), ("status",)):
        assert said_of(called(here, *words)) == set(), words
    for n in (1, 2, 3, 9):
        assert said_of(called(here, "customer", "show", "--handle", f"phone:{phone(n)}")) == {n}
        assert said_of(called(here, "privacy", "report", "--handle", f"email:{mail(n)}", "--json")) == {n}
    called(here, "privacy", "erase", "--handle", "email:nobody@example.org", "--reason", "asked", code=1)


def _check_return(here: Installation, folder: Path, worker: Running, people: dict[int, tuple[str, frozenset[str]]]) -> None:
    """Whoever comes back is a new customer, who can be read; what was said before cannot."""
    again = event(0, "message.received", "10T09:00:00", [{"kind": "email", "value": mail(0)}], "back", channel="email", conversation_id="c-back")
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    sums_up(here.ingest(written(folder / "back.jsonl", iter([{**again, "time": now}]))))
    settled(here, worker)
    shown = json.loads(called(here, "customer", "show", "--handle", f"email:{mail(0)}", "--json"))
    assert shown["customer_id"] not in people[0][1]
    assert [(one["event_id"], one["sealed"]) for one in shown["timeline"]] == [("back-0", "opened")]


def test_markers_are_found_where_they_are() -> None:
    """A search that finds nothing must be able to find something."""
    personal = Personal(text=f"{MARK}007x text", attributes={"a": mail(11)})
    assert said_of(msgspec.json.encode(personal).decode()) == {7, 11}
    assert said_of(phone(12)) == {12}
    assert said_of("nothing of all that") == set()
