"""Readers over the store port: pages of a timeline across months and days, cursors, filters."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from projections.registry import GROUPS
from schemas.codec import Codec
from streams import merging, reading
from streams.plain import instant_us
from streams.reading import CustomerReader, Page
from streams.store.memory import MemoryStore
from streams.store.port import CellValue, GroupVersion, RowWrite
from streams.timeline_row import TimelineRow
from touchline.errors import Refused

TENANT, CUSTOMER = "acme", "cu-1"
CODEC = Codec()
VIEW = GroupVersion("view", GROUPS["view"].version)


class CountingStore(MemoryStore):
    """A store that notes every read."""

    def __init__(self) -> None:
        super().__init__(GROUPS["view"].tables())
        self.reads: list[tuple[str, Mapping[str, str | int]]] = []

    async def read(self, table: str, partition: Mapping[str, str | int], **bounds: Any) -> list[dict[str, CellValue]]:
        self.reads.append((table, partition))
        return await super().read(table, partition, **bounds)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


def put(store: MemoryStore, bucket: str, at: str | int, event_id: str, **columns: CellValue) -> None:
    """Write one row of the timeline and its bucket."""
    at_us = instant_us(at) if isinstance(at, str) else at
    told: dict[str, CellValue] = {"channel": "email", "type": "message.received", "direction": "inbound", "hidden": False, **columns}
    store.apply(
        [
            RowWrite("timeline_v1", (TENANT, CUSTOMER, bucket, at_us, event_id), told, 1),
            RowWrite("timeline_months_v1", (TENANT, CUSTOMER, bucket), {}, 1),
        ]
    )


def page(store: MemoryStore, **wanted: Any) -> Page:
    """Read one page."""
    return asyncio.run(CustomerReader(store, CODEC, VIEW).timeline(TENANT, CUSTOMER, **wanted))


def ids(rows: Sequence[TimelineRow]) -> list[str]:
    return [row.event_id for row in rows]


def whole(store: MemoryStore, **wanted: Any) -> list[str]:
    """Read page after page to the end."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        read = page(store, cursor=cursor, **wanted)
        found += ids(read.rows)
        cursor = read.next_cursor
        if cursor is None:
            return found


def history(store: MemoryStore, seed: int, count: int = 300) -> list[tuple[int, str, dict[str, CellValue]]]:
    """Write random events over four months, some in their days' buckets, several at one instant; return them newest first."""
    dice = random.Random(seed)  # noqa: S311 - not a secret
    written = []
    for n in range(count):
        month, day = dice.choice(["2025-11", "2025-12", "2026-01", "2026-02"]), dice.randint(1, 28)
        at_us = instant_us(f"{month}-{day:02d}T{dice.choice(['00:00:00', '12:00:00', '23:59:59'])}Z") + dice.choice([0, 0, 1])
        columns: dict[str, CellValue] = {"channel": dice.choice(["email", "phone", "store"]), "hidden": dice.random() < 0.2}
        columns["type"] = dice.choice(["message.received", "message.sent", "contact.queued"])
        put(store, f"{month}-{day:02d}" if dice.random() < 0.5 else month, at_us, f"e-{n}", **columns)
        written.append((at_us, f"e-{n}", columns))
    return sorted(written, key=lambda event: (-event[0], event[1]))


@pytest.mark.parametrize("limit", [1, 7, 100, 500])
@pytest.mark.parametrize("seed", range(3))
def test_pages_run_through_months_and_days_newest_first_without_a_gap_or_a_repeat(store: CountingStore, seed: int, limit: int) -> None:
    written = history(store, seed)
    assert whole(store, limit=limit, hidden=True) == [event_id for _, event_id, _ in written]
    assert whole(store, limit=limit) == [event_id for _, event_id, columns in written if not columns["hidden"]]


def test_every_filter_lets_through_what_it_names_and_nothing_else(store: CountingStore) -> None:
    written = history(store, 9)
    since_us, until_us = instant_us("2025-12-10T12:00:00Z"), instant_us("2026-01-20T12:00:00Z")
    expected = [
        event_id
        for at_us, event_id, columns in written
        if since_us <= at_us < until_us
        and not columns["hidden"]
        and columns["channel"] in {"email", "phone"}
        and columns["type"] in {"message.received", "message.sent"}
    ]
    wanted = {"since_us": since_us, "until_us": until_us, "channels": ["email", "phone"]}
    assert whole(store, limit=5, types=["message"], **wanted) == expected
    assert whole(store, limit=5, types=["message.received", "message.sent"], **wanted) == expected
    assert whole(store, limit=5, channels=["bot"]) == []


def test_the_time_since_is_included_and_the_time_until_is_not(store: CountingStore) -> None:
    for hour in (9, 10, 11):
        put(store, "2026-01", f"2026-01-12T{hour:02d}:00:00Z", f"at-{hour}")
    found = page(store, since_us=instant_us("2026-01-12T09:00:00Z"), until_us=instant_us("2026-01-12T11:00:00Z"))
    assert ids(found.rows) == ["at-10", "at-9"]


def test_events_that_arrive_between_two_pages_neither_repeat_nor_hide_any(store: CountingStore) -> None:
    for day in range(10, 20):
        put(store, "2026-01", f"2026-01-{day}T12:00:00Z", f"old-{day}")
    first = page(store, limit=4)
    assert ids(first.rows) == ["old-19", "old-18", "old-17", "old-16"]
    put(store, "2026-02", "2026-02-01", "newer")
    put(store, "2026-01-18", "2026-01-18T13:00:00Z", "late, in what was shown")
    put(store, "2026-01-12", "2026-01-12T13:00:00Z", "late, in what is to come")
    second = page(store, limit=50, cursor=first.next_cursor)
    assert ids(second.rows) == ["old-15", "old-14", "old-13", "late, in what is to come", "old-12", "old-11", "old-10"]
    assert second.next_cursor is None


def test_events_of_one_instant_are_split_between_pages_by_their_ids(store: CountingStore) -> None:
    for name in "cab":
        put(store, "2026-01", "2026-01-12", name)
    assert [ids(page(store, limit=2).rows), whole(store, limit=1)] == [["a", "b"], ["a", "b", "c"]]


def test_a_late_repeat_that_stands_in_two_buckets_is_shown_once(store: CountingStore) -> None:
    put(store, "2026-01", "2026-01-12", "m-1")
    put(store, "2026-01-12", "2026-01-12", "m-1")
    put(store, "2026-01", "2026-01-11", "m-0")
    assert whole(store, limit=1) == whole(store, limit=9) == ["m-1", "m-0"]


def test_a_full_page_that_ends_with_the_last_event_has_no_cursor(store: CountingStore) -> None:
    put(store, "2026-01", "2026-01-12", "m-1")
    put(store, "2025-12", "2025-12-12", "m-0")
    assert page(store, limit=2).next_cursor is None
    assert page(store, limit=1).next_cursor is not None


def test_the_first_page_reads_the_newest_bucket_and_no_other(store: CountingStore) -> None:
    for month in ("2025-11", "2025-12", "2026-01"):
        for day in range(1, 29):
            put(store, month, f"{month}-{day:02d}", f"{month}-{day}")
    page(store, limit=10)
    assert [partition.get("month") for table, partition in store.reads if table == "timeline_v1"] == ["2026-01"]
    store.reads.clear()
    page(store, limit=10, since_us=instant_us("2025-12-03"), until_us=instant_us("2025-12-20"))
    assert [partition.get("month") for table, partition in store.reads if table == "timeline_v1"] == ["2025-12"]


def test_no_request_asks_for_more_rows_than_the_chunk_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int | None] = []

    class Noting(CountingStore):
        async def read(self, table: str, partition: Mapping[str, str | int], **bounds: Any) -> list[dict[str, CellValue]]:
            if table == "timeline_v1":
                limits.append(bounds.get("limit"))
            return await super().read(table, partition, **bounds)

    monkeypatch.setattr(merging, "CHUNK_ROWS_MAX", 32)
    store = Noting()
    for n in range(200):
        put(store, "2026-01", 1_768_000_000_000_000 + n, f"e-{n}")
    assert len(page(store, limit=200).rows) == 200
    assert max(limit or 10**9 for limit in limits) <= 32


def test_a_page_behind_a_narrow_filter_ends_and_its_cursor_goes_on(store: CountingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SCANNED_ROWS_MAX", 20)
    for n in range(100):
        put(store, "2026-01", 1_768_000_000_000_000 + n, f"e-{n:02d}", channel="phone" if n == 5 else "email")
    first = page(store, limit=10, channels=["phone"])
    assert first.rows == ()
    assert first.next_cursor is not None
    assert whole(store, limit=10, channels=["phone"]) == ["e-05"]


def test_a_cursor_of_another_customer_or_other_filters_is_refused(store: CountingStore) -> None:
    put(store, "2026-01", "2026-01-12", "m-1")
    put(store, "2026-01", "2026-01-11", "m-0")
    cursor = page(store, limit=1).next_cursor
    reader = CustomerReader(store, CODEC, VIEW)
    assert ids(page(store, limit=9, cursor=cursor).rows) == ["m-0"], "another limit is no other filter"
    with pytest.raises(Refused, match="another customer or to other filters"):
        asyncio.run(reader.timeline(TENANT, "cu-2", cursor=cursor))
    for other in ({"hidden": True}, {"channels": ["email"]}, {"types": ["message"]}, {"since_us": 1}, {"until_us": 2**60}):
        with pytest.raises(Refused) as refused:
            page(store, cursor=cursor, **other)
        assert refused.value.reason == "cursor_invalid"


@pytest.mark.parametrize("cursor", ["", "x", "öäü", "AAAA", "====", "A" * 5000, "LKyu9etlm9UABkgvBIBjq/JhMDJl"])
def test_a_cursor_that_is_none_is_refused_and_never_raises_anything_else(store: CountingStore, cursor: str) -> None:
    with pytest.raises(Refused):
        page(store, cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, 501])
def test_a_page_has_between_one_and_five_hundred_rows(store: CountingStore, limit: int) -> None:
    with pytest.raises(Refused, match="cannot be had"):
        page(store, limit=limit)


def test_times_outside_the_calendar_are_bounds_like_others(store: CountingStore) -> None:
    put(store, "2026-01", "2026-01-12", "m-1")
    assert ids(page(store, since_us=-(2**62), until_us=2**62).rows) == ["m-1"]


def test_a_customer_without_events_has_an_empty_timeline(store: CountingStore) -> None:
    assert page(store) == Page((), None)
