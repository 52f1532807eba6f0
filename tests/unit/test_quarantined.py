"""The quarantine read backwards, and what is mended sent as a new event."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from connectors.contract import Draft, Rejected
from schemas.codec import Codec
from schemas.events import Header, MessageReceived, ProjectionRebuild, Quarantined
from streams.log.reader import LogReader
from streams.records import Batch, RawRecord
from touchline.errors import Misconfigured, Refused
from touchline.quarantined import Reports, mended, offered, original, template

CODEC = Codec()
DAY = 86_400_000_000
NOW = 20_000 * DAY


class Topic:
    """A topic in lists; what is older than `first` is gone."""

    topic = "touchline.quarantine.v1"

    def __init__(self, partitions: int = 2) -> None:
        self.partitions: list[list[RawRecord]] = [[] for _ in range(partitions)]
        self.first = 0
        self.read = 0

    def put(self, record: Any, at_us: int, partition: int = 0) -> None:
        found = self.partitions[partition]
        found.append(RawRecord(len(found), b"", record if isinstance(record, bytes) else CODEC.encode(record), at_us))

    def range_of(self, partition: int) -> tuple[int, int]:
        return 0, len(self.partitions[partition])

    def offset_at(self, partition: int, appended_us: int) -> int:
        later = [one.offset for one in self.partitions[partition] if one.appended_us >= appended_us]
        return min(later, default=len(self.partitions[partition]))

    def batches(self, partition: int, first: int, end: int, records_max: int = 1000) -> Iterator[Batch]:
        self.read += end - first
        yield Batch(partition, self.partitions[partition][first:end])

    def records(self, partition: int, offsets: Iterable[int]) -> Iterator[RawRecord]:
        for offset in offsets:
            if offset < self.first:
                raise Misconfigured("gone")
            yield self.partitions[partition][offset]


def report(id_: str, at_us: int, reason: str = "future_dated", **place: Any) -> Quarantined:
    return Quarantined(
        id=id_, source="/mail", tenant="acme", reason=reason, detail="its event time lies ahead", stage="resolver", at_us=at_us, **place
    )


def reports(topic: Topic) -> Reports:
    return Reports(topic, CODEC, len(topic.partitions))  # type: ignore[arg-type]


def test_the_newest_come_first_over_all_partitions_and_of_one_id_only_the_newest() -> None:
    topic = Topic()
    for number in range(20):
        topic.put(report(f"r{number}", NOW + number), NOW + number, number % 2)
    topic.put(report("r3", NOW + 100), NOW + 100)
    topic.put(b"no record", NOW + 200)
    found = reports(topic).newest(4)
    assert [one.report.id for one in found] == ["r3", "r19", "r18", "r17"]
    assert (found[0].partition, found[0].offset) == (0, 10)


def test_since_and_reason_choose_and_reading_backwards_ends_when_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.log.newest._STEP", 10)
    topic = Topic(1)
    for number in range(100):
        topic.put(report(f"r{number}", NOW + number, "no_subject" if number % 10 == 0 else "future_dated"), NOW + number)
    assert [one.report.id for one in reports(topic).newest(5, since_us=NOW + 98)] == ["r99", "r98"]
    topic.read = 0
    assert [one.report.id for one in reports(topic).newest(2, wanted=lambda one: one.reason == "no_subject")] == ["r90", "r80"]
    assert topic.read == 20


def test_a_report_that_is_not_there_is_refused_and_a_topic_too() -> None:
    with pytest.raises(Refused, match="Nothing with the id r1 is in quarantine"):
        reports(Topic()).find("r1")
    with pytest.raises(Misconfigured, match=r"there is no topic touchline\.quarantine\.v1"):
        reports(Topic(0)).find("r1")


def test_the_record_is_read_where_it_lies_as_long_as_it_is_kept() -> None:
    topic = Topic()
    topic.put(b"bytes", NOW, 1)
    reader: LogReader = topic  # type: ignore[assignment]
    assert original(report("r1", NOW, topic="t", partition=1, offset=0), reader) == topic.partitions[1][0]
    assert original(report("r1", NOW), reader) is None
    topic.first = 1
    assert original(report("r1", NOW, topic="t", partition=1, offset=0), reader) is None


def record_of(event: Any) -> RawRecord:
    return RawRecord(0, b"", CODEC.encode(event), NOW)


def header(**fields: Any) -> Header:
    return Header(id="m-1", source="/mail", tenant="acme", channel="email", direction="inbound", occurred_at_us=NOW, received_at_us=NOW, **fields)


def test_a_template_says_what_is_known_and_filled_in_it_is_accepted() -> None:
    known = template(report("m-1", NOW), record_of(MessageReceived(header=header(conversation_id="c-9"))), CODEC)
    assert (known["type"], known["source"], known["time"]) == ("message.received", "/mail", "2024-10-04T00:00:00Z")
    assert known["data"]["conversation_id"] == "c-9"
    assert known["id"] != "m-1"
    known["data"]["customer"] = [{"kind": "account", "value": "A-1"}]
    found = mended(json.dumps(known, indent=2).encode(), report("m-1", NOW), tenant="acme", now_us=NOW, future_max_s=300)
    assert isinstance(found, Draft)
    assert (found.corrects, found.type) == ("m-1", "message.received")
    assert [chunk.slots for chunk in offered(found).chunks] == [[found]]


def test_a_template_of_nothing_known_is_refused_until_it_is_filled_in() -> None:
    empty = template(report("r1", NOW), None, CODEC)
    found = mended(json.dumps(empty).encode(), report("r1", NOW), tenant="acme", now_us=NOW, future_max_s=300)
    assert isinstance(found, Rejected)
    told = ProjectionRebuild(header=header(), group="view", version=1, customer="c1", mode="rebuild")
    assert template(report("r1", NOW), record_of(told), CODEC)["type"] is None  # what only the product says is nobody's to send


def line(**fields: Any) -> bytes:
    data = {"channel": "email", "direction": "inbound", "customer": [{"kind": "account", "value": "A-1"}], **fields.pop("data", {})}
    base = {"specversion": "1.0", "id": "m-2", "source": "/mail", "type": "message.received", "time": "2024-10-04T00:00:00Z"}
    return json.dumps({**base, **fields, "data": data}).encode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (line(time="2031-01-01T00:00:00Z"), "future_dated"),
        (line(id="m-1"), "contradictory"),
        (line(data={"corrects": "another"}), "contradictory"),
        (line(data={"direction": "outbound"}), "contradictory"),
        (line(type="projection.rebuild"), "unknown_type"),
        (b"{", "not_json"),
        (b" " * (2 * 1024 * 1024 + 1), "too_large"),
    ],
)
def test_what_is_still_wrong_is_said(text: bytes, reason: str) -> None:
    found = mended(text, report("m-1", NOW), tenant="acme", now_us=NOW, future_max_s=300)
    assert isinstance(found, Rejected)
    assert found.reason == reason
