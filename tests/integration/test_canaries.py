"""Nothing personal is readable anywhere: a thousand markers go the whole way, and none is found in topics, tables, files, logs, metrics.

All markers begin with one rare text, and those that are telephone numbers with the same nine digits; both beginnings are searched for,
in every form of `tests/support/search.py`. Markers that lie open by contract (an event's id, a conversation's, an agent's) begin with
another, are searched for at the same time, and must be found wherever the search may say that it found nothing else. The file has lines
with markers that are quarantined or refused, too: what is said about them must not repeat them.

The servers are the module's own: their files hold nothing but this, and the last test stops them. `pytest -s` prints the figures.
"""

import asyncio
import json
import secrets
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import psutil
import pytest
from confluent_kafka import Producer

from connectors.centre.canaries import Planting
from connectors.centre.generator import events, lines, scaled
from deploy.local.testing import LiveStack, private_stack
from schemas.events import Personal
from schemas.sealing import Opened
from streams.store.catalogue import keyring_tables, known_tables
from streams.store.driver import Driver
from tests.support.harness import Counts, Installation
from tests.support.lanes import ports_above
from tests.support.processes import run
from tests.support.search import Search, Searched, cells, files, forms
from tests.support.topics import stored, topics_of
from touchline.opening import desk

pytestmark = pytest.mark.timeout(900)

MARKERS = 1000
SEALED, NUMBER, OPEN = "zq4kvx8wjh3n-", "861001000", "wk7pzx2vfq9t-"
"""How markers begin: planted ones, those that are telephone numbers, and those that lie open by contract."""

SEARCH = Search(SEALED, NUMBER, OPEN)
PARTITIONS = 2


def values(personal: Personal, kind: str) -> str:
    """Return the handles of a kind."""
    return " ".join(handle.value for handle in personal.handles if handle.kind == kind)


IN: dict[str, Callable[[Personal], str]] = {
    "text": lambda personal: personal.text or "",
    "subject": lambda personal: personal.subject or "",
    "attribute": lambda personal: personal.attributes["account_manager"],
    "unknown_field": lambda personal: personal.unknown["delivery_hint"],
    "unknown_nested": lambda personal: personal.unknown["form"],
    "name": lambda personal: personal.unknown["display_name"],
    "phone": lambda personal: values(personal, "phone"),
    "email": lambda personal: values(personal, "email"),
    "social": lambda personal: values(personal, "social"),
    "cookie": lambda personal: values(personal, "cookie"),
}
"""Where an operator finds what was planted in a place."""


class Day(NamedTuple):
    """A file with markers in it. Of its lines, `accepted`, `quarantined` and `refused` must become what their names say."""

    file: Path
    planted: dict[str, Planting]
    accepted: int
    quarantined: int
    refused: int


def message(number: int, envelope: Mapping[str, str] = {}, **changes: Any) -> dict[str, Any]:
    """Return a message with a marker in its text, and changes to its data and its envelope."""
    event = {"specversion": "1.0", "id": f"odd-{number}", "source": "/odd", "type": "message.received", "time": "2026-01-12T23:00:00Z"}
    data = {"channel": "email", "direction": "inbound", "customer": [{"kind": "account", "value": f"odd-{number}"}], "text": f"{SEALED}odd"}
    return {**event, **envelope, "data": {**data, **changes}}


LIES_OPEN = message(
    0,
    {"id": f"{OPEN}event", "type": "message.sent"},
    direction="outbound",
    conversation_id=f"{OPEN}conversation",
    actor={"kind": "agent", "id": f"{OPEN}agent"},
    visibility="public",
    author="human",
)
ODD = [
    message(1, customer=[{"kind": "phone", "value": f"{SEALED}odd"}, {"kind": "email", "value": f"@{SEALED}odd@"}]),
    message(2, attributes={f"{SEALED}name": {"deep": f"{SEALED}value"}}, **{f"{SEALED}field": 1}),
    message(3, {"hint": f"{SEALED}odd"}),
]
QUARANTINED = [
    message(4, {"time": "2099-01-01T00:00:00Z"}),
    message(5, direction="outbound"),
    message(1, text=f"{SEALED}another content"),
    message(6, text=SEALED * 100_000),
]
REFUSED = [
    message(10, {"type": f"{SEALED}odd"}),
    message(11, {"time": f"{SEALED}odd"}),
    message(12, channel=f"{SEALED}odd"),
    message(13, customer=[{"kind": f"{SEALED}odd", "value": f"{SEALED}odd"}]),
    message(14, actor=f"{SEALED}odd"),
    message(15, attributes=[f"{SEALED}odd"]),
    message(16, source_seq=f"{SEALED}odd"),
]
BROKEN = [f'{{"id": "{SEALED}cut off'.encode(), f'{{"id": "{SEALED}'.encode() + b'\xff"}', f'["{SEALED}"]'.encode()]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    """Write the file, out of reach of the search."""
    size, planted, file = scaled(30_000), dict[str, Planting](), tmp_path_factory.mktemp("day") / "day.jsonl"
    markers = [f"{SEALED}{number:04d}" for number in range(MARKERS)]
    made = events(20260112, datetime(2026, 1, 12, tzinfo=UTC), size.customers, size.agents, "acme", canaries=markers, planted=planted)
    with file.open("wb") as out:
        accepted = lines(made, out) + lines([LIES_OPEN, *ODD], out)
        lines([*QUARANTINED, *REFUSED], out)
        out.write(b"".join(line + b"\n" for line in BROKEN))
    assert len(planted) == MARKERS
    return Day(file, planted, accepted, len(QUARANTINED), len(REFUSED) + len(BROKEN))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """Start servers whose files hold nothing of other tests, and which other tests do not miss when they are stopped."""
    with private_stack(tmp_path_factory.mktemp("canaries"), ports_above()) as live:
        for name, setting in (("kafka", live.settings.brokers.split(":")[1]), ("cassandra", live.settings.cassandra_port)):
            assert int(setting) in listened_on(live.servers.pid(name)), f"the {name} that answers at {setting} is another stack's"
        yield live


def listened_on(pid: int | None) -> set[int]:
    """Return the ports on which a process listens: of two stacks started at once, one may take the other's servers for its own."""
    found = psutil.Process(pid).net_connections("tcp") if pid is not None else ()
    return {connection.laddr.port for connection in found if connection.status == psutil.CONN_LISTEN}


class Done(NamedTuple):
    """The installation after everything has been folded; its folder lies in that of the servers."""

    here: Installation
    counts: Counts
    metrics: str


@pytest.fixture(scope="module")
def done(servers: LiveStack, day: Day) -> Done:
    """Ingest and fold the file, everything at log level debug."""
    home = servers.folder / "home"
    home.mkdir()
    unique = f"canaries_{secrets.token_hex(3)}"
    chosen = {"topic_prefix": unique, "keyspace": unique, "keyring_keyspace": f"{unique}_keys", "partitions": PARTITIONS}
    more = {"tenant": "acme", "key_file": home / "keys.json", "log_level": "debug"}
    here = Installation(servers, home, servers.settings_with(**chosen, **more))
    here.create()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with here.worker(metrics_port=port) as worker:
        worker.wait_for("consuming", part="resolver").wait_for("consuming", part="view.v1")
        with here.ingesting(day.file) as ingest:
            assert ingest.exit_code(300) == 0, ingest.last_words()
        here.wait_until_caught_up(worker)
        with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            metrics = answer.read().decode()
        assert worker.stop() == 0, worker.last_words()
    (home / "metrics.txt").write_text(metrics)
    uncompressed = Producer({"bootstrap.servers": here.settings.brokers, "compression.type": "none"})
    uncompressed.produce(here.settings.topic("escalation"), f"{OPEN}uncompressed".encode())
    assert uncompressed.flush(30) == 0
    return Done(here, json.loads(ingest.said()), metrics)


@pytest.fixture(scope="module")
def whose(done: Done) -> dict[str, str]:
    """Return the customer_id of every event of the timeline."""
    return {str(row["event_id"]): str(row["customer_id"]) for row in done.here.rows()["timeline"]}


def report(what: str, found: Searched) -> None:
    """Print the figures, and fail with what was found of what is sealed."""
    sys.stdout.write(f"\n{what}: {found}; what lies open: {', '.join(sorted(found.places_of(OPEN)))}\n")
    assert found.of(SEALED, NUMBER) == []


def test_the_search_finds_every_marker_in_every_form(day: Day) -> None:
    written = {planting.written for planting in day.planted.values()}
    assert len(written) == MARKERS
    places = [(f"{text} {form}", b"\x00\x01" + pattern + b"\x02") for text in written for form, pattern in forms(text).items()]
    found = SEARCH.over(places)
    assert found.places_of(SEALED) | found.places_of(NUMBER) == {where for where, _ in places}
    assert SEARCH.over([("", b"nothing of all that")]).hits == []


def test_every_line_becomes_what_it_should(done: Done, day: Day) -> None:
    counts = tuple(done.counts[name] for name in ("accepted", "duplicate", "quarantined", "refused"))
    assert counts == (day.accepted, 0, day.quarantined, day.refused), done.counts["reasons"]
    assert 'touchline_records_total{group="view",result="applied"' in done.metrics


def test_no_marker_lies_in_a_topic(done: Done) -> None:
    """In all topics of the brokers, internal ones too: keys, values and headers, decompressed."""
    found: dict[str, bytearray] = {name: bytearray() for name in topics_of(done.here.settings.brokers, "")}
    records = 0
    for record in stored(done.here.settings.brokers, found):
        found[record.topic] += b"\n".join([record.key, record.value, *cells(record.headers), b""])
        records += 1
    assert records > 2 * MARKERS
    searched = SEARCH.over(found.items())
    report(f"{records} records in topics", searched)
    settings = done.here.settings
    assert {settings.topic("channel.email"), settings.topic("interaction"), settings.topic("customer")} <= searched.places_of(OPEN)


def test_no_marker_lies_in_a_cell_of_a_table(done: Done) -> None:
    """In all tables of both keyspaces, as the server knows them."""
    settings = done.here.settings
    driver = Driver.open(settings)
    try:
        tables = [
            f"{keyspace}.{name}"
            for keyspace in (settings.keyspace, settings.keyring_keyspace)
            for [name] in driver.execute("SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s", [keyspace])
        ]
        searched = SEARCH.over((table, b"\n".join(cells(driver.execute(f"SELECT * FROM {table}", timeout_s=60)))) for table in tables)  # noqa: S608
    finally:
        driver.close()
    report("tables", searched)
    expected = {settings.keyspace: known_tables(), settings.keyring_keyspace: keyring_tables()}
    assert {f"{keyspace}.{table.physical}" for keyspace, known in expected.items() for table in known} <= set(tables)
    assert {f"{settings.keyspace}.{name}_v1" for name in ("timeline", "conversation", "customer")} <= searched.places_of(OPEN)


def test_every_marker_is_there_for_the_operator(done: Done, day: Day, whose: dict[str, str]) -> None:
    """Nothing that was sealed is lost: all thousand come back where they were planted, through the door of `touchline timeline`."""

    async def opened() -> dict[str, Personal]:
        async with desk(done.here.settings) as operator:
            customers = {whose[planting.event_id] for planting in day.planted.values()}
            asked = (operator.timeline("acme", one, limit=100_000, cursor=None, closed=False, hidden=True) for one in customers)
            pages = await asyncio.gather(*asked)
        shown = (event for events, _ in pages for event in events)
        return {event.row.event_id: event.opening.personal for event in shown if isinstance(event.opening, Opened)}

    found = asyncio.run(opened())
    lost = [planting for planting in day.planted.values() if planting.written not in IN[planting.place](found[planting.event_id])]
    assert lost == []


@pytest.mark.parametrize(("place", "command"), [("text", ["timeline", "--all", "-n", "1000"]), ("phone", ["customer", "show"])])
def test_the_command_line_shows_a_marker_and_logs_none(done: Done, day: Day, whose: dict[str, str], place: str, command: list[str]) -> None:
    planting = next(planting for planting in day.planted.values() if planting.place == place)
    shown = run(["touchline", "--debug", *command, whose[planting.event_id], "--json"], done.here.environment(), done.here.folder)
    assert shown.returncode == 0, shown.stderr
    assert planting.written in shown.stdout
    assert SEARCH.over([("stderr", shown.stderr.encode())]).of(SEALED, NUMBER) == []


def test_no_marker_lies_in_the_commit_log(done: Done) -> None:
    """It is not compressed; when the server is stopped, what it holds has gone into the tables."""
    found = SEARCH.over(files(done.here.stack.folder / ".touchline/cassandra/data/commitlog"))
    report("commit log", found)
    assert found.places_of(OPEN)


def test_no_marker_lies_in_a_file_of_the_servers_and_processes(done: Done) -> None:
    """Data, logs, settings, addresses, keys, metrics. It stops the servers: everything has then been written.

    Data files may be compressed: in those a beginning is readable where it comes for the first time in a block, and what the
    blocks hold was searched above.
    """
    done.here.stack.servers.stop()
    found = SEARCH.over(files(done.here.stack.folder))
    report("files", found)
    home = {f"home/{name}" for name in ("ingest.out", "ingest.err", "worker.out", "worker.err", "metrics.txt", "keys.json")}
    assert home | {f".touchline/{name}" for name in ("stack.json", "logs/kafka.log", "logs/cassandra.log")} <= found.sizes.keys()
    assert all("DEBUG" in (done.here.folder / f"{name}.err").read_text() for name in ("ingest", "worker"))
    opened, settings = found.places_of(OPEN), done.here.settings
    assert any(place.startswith(f".touchline/kafka/data/{settings.topic('escalation')}-") for place in opened)
    assert any(place.startswith(f".touchline/cassandra/data/data/{settings.keyspace}/timeline_v1-") for place in opened)
