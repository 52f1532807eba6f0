"""The importer: every record is accounted for and lies on the log once, whatever is repeated, mended, added or interrupted."""

import asyncio
import io
import json
from typing import Any

import pytest

from connectors.contract import Rejected
from connectors.files import LINE_BYTES_MAX, form_of, last_event_us, open_input
from connectors.ingest import Importer
from connectors.manifest import MemoryManifests
from connectors.pace import Pace, wait_for_resolver
from connectors.ports import Place
from connectors.quarantine import Quarantine
from connectors.sealer import Sealer
from connectors.tally import Counts, Result
from schemas.codec import Codec, Head
from schemas.events import Quarantined
from schemas.topics import CHANNELS, channel_topic
from touchline.errors import Misconfigured, Retryable, TouchlineError

NOW_US = 1_768_208_400_000_000
KEY = b"k" * 32
CODEC = Codec()
QUARANTINE = "touchline.quarantine.v1"


class KilledError(Exception):
    """Raised where a test kills the importer."""


class Broker:
    """A log in memory, the producer of it and the questions to it: what is drained is written. `die_after` kills at a record."""

    def __init__(self) -> None:
        self.written: list[tuple[str, bytes | None, bytes]] = []
        self.queued: list[tuple[str, bytes | None, bytes]] = []
        self.die_after: int | None = None
        self.topics = [channel_topic("touchline", channel) for channel in CHANNELS]
        self.resolved = 10**9
        self.drains = 0

    def produce(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        assert value is not None
        self.queued.append((topic, key, value))
        if self.die_after is not None and len(self.queued) + len(self.written) >= self.die_after:
            self.written += self.queued  # librdkafka had sent it: only our process is gone
            self.queued = []
            raise KilledError

    async def drain(self, timeout_s: float = 30.0) -> None:
        del timeout_s
        self.drains += 1
        await asyncio.sleep(0)
        self.written += self.queued
        self.queued = []

    async def ends(self) -> dict[Place, int]:
        return {Place(topic, 0): len(self.on(topic)) for topic in self.topics}

    async def committed(self) -> dict[Place, int]:
        return {Place(topic, 0): self.resolved for topic in self.topics}

    async def ids_from(self, offsets: dict[Place, int]) -> set[tuple[str, str]]:
        found = [value for place, start in offsets.items() for value in self.on(place.topic)[start:]]
        return {(head.header.source, head.header.id) for value in found if isinstance(head := CODEC.head(value), Head)}

    def on(self, topic: str) -> list[bytes]:
        return [value for name, _, value in self.written if name == topic]

    def ids(self) -> list[str]:
        heads = [CODEC.head(value) for topic, _, value in self.written if topic in self.topics]
        return [head.header.id for head in heads if isinstance(head, Head)]

    def quarantined(self) -> list[Quarantined]:
        return [one for value in self.on(QUARANTINE) if isinstance(one := CODEC.decode(value), Quarantined)]


class World:
    """What outlives an importer: broker and manifest."""

    def __init__(self) -> None:
        self.broker = Broker()
        self.manifests = MemoryManifests()

    def importer(self, **more: Any) -> Importer:
        parts: dict[str, Any] = {
            "tenant": "acme",
            "index_key": KEY,
            "sealer": Sealer(None, CODEC, {"acme": KEY}.__getitem__, "DE"),
            "codec": CODEC,
            "producer": self.broker,
            "quarantine": Quarantine(self.broker, CODEC, QUARANTINE, tenant="acme", source="/imports/events"),
            "manifests": self.manifests,
            "channels": self.broker,
            "clock_us": lambda: NOW_US,
        }
        return Importer(**{**parts, **more})

    def ingest(self, lines: list[bytes], **more: Any) -> Result:
        source = open_input(io.BytesIO(b"".join(lines)), "events", tenant="acme", hashed=str)
        return asyncio.run(self.importer(**more).run(source))


def line(number: int, **more: Any) -> bytes:
    data = {"channel": "email", "direction": "inbound", "customer": [{"kind": "email", "value": f"c{number % 7}@example.org"}]}
    body = {"specversion": "1.0", "id": f"m-{number}", "source": "/mail", "type": "message.received", "time": "2026-01-12T08:00:00Z"}
    return json.dumps({**body, "data": {**data, "text": f"text {number}", **more.pop("data", {})}, **more}).encode() + b"\n"


def counts(result: Result) -> tuple[int, int, int, int, int]:
    found = result.counts
    return found.received, found.accepted, found.duplicate, found.quarantined, found.refused


def test_every_line_is_received_and_either_accepted_duplicate_quarantined_or_refused() -> None:
    world = World()
    good = [line(number) for number in range(5)]
    other = [line(3), line(3, data={"text": "another text"}), line(9, time="2026-01-12T09:05:01Z"), b"{\n", b"\n", line(8, type="message.sent")]
    result = world.ingest([*good, *other])
    assert counts(result) == (10, 5, 1, 3, 1)
    assert result.reasons == {"id_reused": 1, "future_dated": 1, "not_json": 1, "contradictory": 1}
    assert world.broker.ids() == [f"m-{number}" for number in range(5)]


def test_a_file_ingested_twice_sends_nothing_the_second_time() -> None:
    world = World()
    lines = [line(number) for number in range(2500)]
    assert counts(world.ingest(lines)) == (2500, 2500, 0, 0, 0)
    assert counts(world.ingest(lines)) == (2500, 0, 2500, 0, 0)
    assert len(world.broker.ids()) == 2500


def test_a_line_that_was_only_written_differently_is_the_same_record() -> None:
    world = World()
    world.ingest([line(1)])
    assert world.ingest([json.dumps(dict(reversed(json.loads(line(1)).items()))).encode()]).counts.duplicate == 1


def test_a_file_that_has_grown_sends_only_what_is_new() -> None:
    """The last chunk of the first run was not full: its records are known as the beginning of the chunk."""
    world = World()
    lines = [line(number) for number in range(2600)]
    world.ingest(lines[:1300])
    assert counts(world.ingest(lines[:1301])) == (1301, 1, 1300, 0, 0)
    assert counts(world.ingest(lines)) == (2600, 1299, 1301, 0, 0)
    assert world.broker.ids() == [f"m-{number}" for number in range(2600)]


def test_a_file_that_was_mended_sends_only_what_was_refused_before() -> None:
    world = World()
    lines = [line(number) for number in range(1200)]
    broken = list(lines)
    broken[17] = lines[17].replace(b'"email"', b'"pigeon"', 1)
    broken[1100] = b"{\n"
    assert counts(world.ingest(broken)) == (1200, 1198, 0, 0, 2)
    assert counts(world.ingest(lines)) == (1200, 2, 1198, 0, 0)
    assert sorted(world.broker.ids()) == sorted(f"m-{number}" for number in range(1200))


def test_an_event_from_the_future_is_accepted_when_its_time_has_come() -> None:
    world = World()
    lines = [line(1), line(2, time="2026-01-12T10:00:00Z"), line(3)]
    assert counts(world.ingest(lines)) == (3, 2, 0, 1, 0)
    assert counts(world.ingest(lines, clock_us=lambda: NOW_US + 3_600_000_000)) == (3, 1, 2, 0, 0)


@pytest.mark.parametrize("die_after", [1, 999, 1000, 1001, 1700, 2499])
def test_an_import_that_is_killed_goes_on_after_what_the_log_has(die_after: int) -> None:
    """No acknowledgement and no manifest row had come for the chunk; the log itself says what it holds."""
    world = World()
    lines = [line(number) for number in range(2500)]
    world.broker.die_after = die_after
    with pytest.raises(KilledError):
        world.ingest(lines)
    world.broker.die_after = None
    result = world.ingest(lines)
    assert counts(result) == (2500, 2500 - die_after, die_after, 0, 0)
    assert world.broker.ids() == [f"m-{number}" for number in range(2500)]
    assert world.manifests.notes == {}
    assert counts(world.ingest(lines)) == (2500, 0, 2500, 0, 0)


def test_an_import_of_another_file_does_not_disturb_one_that_was_killed() -> None:
    world = World()
    one, other = [line(number) for number in range(1500)], [line(number) for number in range(5000, 5100)]
    world.broker.die_after = 1200
    with pytest.raises(KilledError):
        world.ingest(one)
    world.broker.die_after = None
    assert counts(world.ingest(other)) == (100, 100, 0, 0, 0)
    assert counts(world.ingest(one)) == (1500, 300, 1200, 0, 0)
    assert len(set(world.broker.ids())) == len(world.broker.ids()) == 1600


def test_stop_ends_after_the_chunk_under_way_and_the_next_run_goes_on() -> None:
    world = World()
    lines = [line(number) for number in range(3000)]
    importer = world.importer()
    importer._tell = lambda *_: importer.stop()
    result = asyncio.run(importer.run(open_input(io.BytesIO(b"".join(lines)), "events", tenant="acme", hashed=str)))
    assert result.interrupted
    assert counts(result) == (1000, 1000, 0, 0, 0)
    assert counts(world.ingest(lines)) == (3000, 2000, 1000, 0, 0)


def test_strict_stops_at_the_first_rejection_and_keeps_what_stood_before_it() -> None:
    world = World()
    lines = [line(number) for number in range(10)]
    result = world.ingest([*lines[:4], b"{\n", *lines[4:]], strict=True)
    assert counts(result) == (5, 4, 0, 0, 1)
    assert result.stopped_by is not None
    assert result.stopped_by.line == 5
    assert counts(world.ingest(lines)) == (10, 6, 4, 0, 0)


def test_what_is_quarantined_is_said_with_reason_and_line_and_without_content() -> None:
    world = World()
    world.ingest([line(1, time="2027-01-01T00:00:00Z", data={"text": "secret"})])
    (note,) = world.broker.quarantined()
    assert (note.reason, note.line, note.source, note.tenant, note.stage) == ("future_dated", 1, "/mail", "acme", "connector")
    assert b"secret" not in b"".join(value for _, _, value in world.broker.written)
    world.ingest([line(1, time="2027-01-01T00:00:00Z", data={"text": "secret"})])
    assert {again.id for again in world.broker.quarantined()} == {note.id}


def test_a_record_that_is_too_large_is_quarantined_and_the_rest_goes_on() -> None:
    world = World()
    huge = line(1, data={"conversation_id": "c", "attributes": {"plan": "x" * 300_000}})
    sealer = Sealer(None, CODEC, {"acme": KEY}.__getitem__, "DE", clear_attributes=["plan"])
    result = world.ingest([huge, line(2), b'{"x": "' + b"y" * (LINE_BYTES_MAX + 5) + b'"}\n', line(3)], sealer=sealer)
    assert counts(result) == (4, 2, 0, 2, 0)
    assert result.reasons == {"too_large": 2}
    assert [one.line for one in result.rejected] in ([1, 3], [3, 1])


def test_records_go_to_the_topic_of_their_channel_keyed_by_their_first_handle() -> None:
    world = World()
    world.ingest([line(1), line(8), line(2, data={"channel": "phone"}), line(3, data={"channel": "other"})])
    keys = {topic: {key for name, key, _ in world.broker.written if name == topic} for topic in world.broker.topics}
    assert {topic for topic, found in keys.items() if found} == {f"touchline.channel.{name}.v1" for name in ("email", "phone", "backoffice")}
    assert all(key is not None and len(key) == 32 for found in keys.values() for key in found)
    assert len(keys["touchline.channel.email.v1"]) == 1, "one customer, one key"


def test_an_event_of_an_agent_is_keyed_by_the_agent() -> None:
    world = World()
    world.ingest([line(1, type="agent.logged_in", data={"customer": [], "actor": {"kind": "agent", "id": "a-7"}})])
    assert world.broker.written[0][1] == b"agent:a-7"


def test_shifted_times_keep_their_distances_and_a_shifted_file_is_still_known() -> None:
    world = World()
    lines = [line(1), line(2, type="conversation.snoozed", data={"until": "2026-01-12T09:00:00Z"})]
    world.ingest(lines, shift_us=1_000_000)
    events = [CODEC.decode(value) for value in world.broker.on("touchline.channel.email.v1")]
    assert [event.header.occurred_at_us for event in events] == [NOW_US - 3_600_000_000 + 1_000_000] * 2  # type: ignore[union-attr]
    assert events[1].until_us == NOW_US + 1_000_000  # type: ignore[union-attr]
    assert counts(world.ingest(lines, shift_us=99)) == (2, 0, 2, 0, 0)


def test_a_killed_import_that_shifted_times_goes_on_with_the_same_shift() -> None:
    world = World()
    lines = [line(number) for number in range(10)]
    world.broker.die_after = 5
    with pytest.raises(KilledError):
        world.ingest(lines, shift_us=1_000_000)
    world.broker.die_after = None
    world.ingest(lines, shift_us=77)
    heads = [CODEC.head(value) for value in world.broker.on("touchline.channel.email.v1")]
    assert {head.header.occurred_at_us for head in heads if isinstance(head, Head)} == {NOW_US - 3_600_000_000 + 1_000_000}


def test_the_append_time_of_a_file_is_not_taken_over() -> None:
    """The broker's is the true one; `appendedat` is for `simulate`."""
    world = World()
    world.ingest([line(1, appendedat="2026-01-12T08:00:01Z")])
    head = CODEC.head(world.broker.written[0][2])
    assert isinstance(head, Head)
    assert head.header.appended_at_us is None


def test_a_paced_import_waits_for_each_record_and_can_be_stopped_in_between() -> None:
    world = World()
    lines = [line(0), line(1, time="2026-01-12T08:00:00.500Z"), line(2, time="2026-01-12T10:00:00Z"), line(3, time="2026-01-12T10:00:00Z")]
    importer = world.importer(pace=Pace(1.0), clock_us=lambda: NOW_US + 7_200_000_000)

    async def run() -> Result:
        asyncio.get_running_loop().call_later(0.9, importer.stop)
        return await importer.run(open_input(io.BytesIO(b"".join(lines)), "events", tenant="acme", hashed=str))

    result = asyncio.run(run())
    assert counts(result) == (2, 2, 0, 0, 0)
    assert result.interrupted
    assert counts(world.ingest(lines, pace=Pace(1e9), clock_us=lambda: NOW_US + 7_200_000_000)) == (4, 2, 2, 0, 0)
    assert world.broker.ids() == ["m-0", "m-1", "m-2", "m-3"]


def test_the_pace_is_event_time_divided_by_the_speed() -> None:
    now = [100.0]
    pace = Pace(60.0, lambda: now[0])
    assert pace.wait_s(NOW_US) == 0
    assert pace.wait_s(NOW_US + 120_000_000) == 2.0
    now[0] = 103.0
    assert pace.wait_s(NOW_US + 120_000_000) == -1.0


def test_a_broker_that_is_away_for_a_while_is_waited_out() -> None:
    world = World()
    drain = world.broker.drain
    failures = iter([Retryable("away"), Retryable("away")])

    async def unwell(timeout_s: float = 30.0) -> None:
        for failure in failures:
            raise failure
        await drain(timeout_s)

    world.broker.drain = unwell  # type: ignore[method-assign]
    assert counts(world.ingest([line(1)])) == (1, 1, 0, 0, 0)


def test_an_import_without_topics_says_which_command_makes_them() -> None:
    world = World()
    world.broker.topics.pop()
    importer = world.importer()
    importer._channels = world.broker
    with pytest.raises(Misconfigured, match="touchline topics create"):
        asyncio.run(importer.run(open_input(io.BytesIO(line(1)), "events", tenant="acme", hashed=str)))


def test_counts_that_do_not_add_up_are_an_error_of_the_program() -> None:
    with pytest.raises(TouchlineError, match="do not add up"):
        Counts(received=3, accepted=1, duplicate=1).check()


def test_waiting_for_the_resolver_ends_when_it_has_passed_and_says_what_to_start_when_it_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker()
    place = Place(broker.topics[0], 0)
    said: list[int] = []
    asyncio.run(wait_for_resolver(broker, {place: 5}, said.append))
    broker.resolved = 3
    monkeypatch.setattr("connectors.pace.RESOLVER_WAIT_S", 0.2)
    with pytest.raises(Retryable, match="touchline worker"):
        asyncio.run(wait_for_resolver(broker, {place: 5}, said.append))
    assert set(said) == {0, 2}


def test_rows_that_could_not_be_read_count_beside_the_events_of_the_others(tmp_path: Any) -> None:
    """The counting unit is the event; an unreadable row, which has none, counts as one."""
    header = "vru+line\tcall_id\tcustomer_id\tpriority\ttype\tdate\tvru_entry\tvru_exit\tvru_time\tq_start\tq_exit\tq_time\toutcome"
    good = "AA0101\t1\t0\t0\tPS\t990201\t8:00:00\t8:00:05\t5\t8:00:05\t8:00:09\t4\tHANG\t0:00:00\t0:00:00\t0\tNO_SERVER"
    path = tmp_path / "calls.tsv"
    path.write_text(f"{header}\tser_start\tser_exit\tser_time\tserver\n{good}\n{good.replace('8:00:00', '8:99:00')}\n")
    assert form_of(path) == "bank-calls"
    world = World()
    with path.open("rb") as file:
        source = open_input(file, "bank-calls", tenant="acme", hashed=str)
        result = asyncio.run(world.importer().run(source))
    assert counts(result) == (4, 3, 0, 1, 0)
    assert source.report is not None
    assert source.report.line().startswith("rows: 2 = 1 mapped + 0 phantom (skipped) + 1 quarantined")


def test_the_form_of_a_file_is_told_from_how_it_begins(tmp_path: Any) -> None:
    path = tmp_path / "file"
    for start, form in (
        (b"\xef\xbb\xbftweet_id,author_id", "tweets"),
        (b"vru+line\tcall", "bank-calls"),
        (b'{"specversion"', "events"),
        (b"", "events"),
    ):
        path.write_bytes(start)
        assert form_of(path) == form
    with pytest.raises(Misconfigured, match="cannot be opened"):
        form_of(tmp_path / "nowhere")


def test_the_last_event_time_of_a_file_is_found_whatever_its_order(tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(line(1, time="2026-01-12T09:00:00Z") + b"{\n" + line(2))
    assert last_event_us(path) == NOW_US
    path.write_bytes(b"{\n")
    assert last_event_us(path) is None


def test_a_byte_order_mark_and_empty_lines_are_none_of_the_records() -> None:
    assert counts(World().ingest([b"\xef\xbb\xbf" + line(1), b"\n", b"  \r\n", line(2)])) == (2, 2, 0, 0, 0)


def test_only_the_first_hundred_rejections_are_kept_and_all_are_counted() -> None:
    result = World().ingest([b"{\n"] * 250)
    assert (len(result.rejected), result.reasons["not_json"], result.counts.refused) == (100, 250, 250)
    assert all(isinstance(one, Rejected) for one in result.rejected)


def test_progress_is_told_after_each_chunk() -> None:
    world = World()
    told: list[int] = []
    lines = [line(number) for number in range(2001)]
    world.ingest(lines, tell=lambda *progress: told.append(progress[0]))
    assert told == [sum(map(len, lines[:1000])), sum(map(len, lines[:2000])), sum(map(len, lines))]
