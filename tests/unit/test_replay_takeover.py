"""What a replay leaves for the live worker that takes over: every bucket of its timers said, and a checkpoint that begins no later than any."""

import asyncio
from collections.abc import Sequence

import pytest

from projections.rules import Config
from streams.engine import Engine
from streams.records import RawRecord
from streams.replay.replay import Replay
from streams.replay.seen import Seen
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion, RowWrite
from tests.support.clockwork import CODEC, GROUP, SECOND, event, published, record, rules, store
from tests.support.memory_log import MemoryLog
from touchline.errors import Retryable

VERSION = GroupVersion("clockwork", 1)
TIMERS, BUCKETS = "clockwork_v1_timer", "clockwork_v1_timer_bucket"


class Unwell:
    """A store that refuses the first write to the index of timers."""

    def __init__(self, inner: MemoryStore) -> None:
        self._inner = inner
        self.refused = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def write(self, rows: Sequence[RowWrite]) -> None:
        """Write, or refuse."""
        if not self.refused and any(row.table == TIMERS for row in rows):
            self.refused += 1
            raise Retryable("overloaded")
        await self._inner.write(rows)


def replayed(records: list[RawRecord], into: object, now_s: float, cached: int = 100) -> int:
    """Replay one partition by a process of its own; return the bucket from which a live worker begins to read."""

    async def run() -> int:
        engine = Engine(GROUP, CODEC, tenant="acme", cached_subjects_max=cached, config=Config((rules(60),)))
        log = MemoryLog({0: records})
        replay = Replay(engine, into, log, CODEC, first=0, chunk_records=4, now_us=lambda: round(now_s * SECOND), seen=Seen(64))  # type: ignore[arg-type]
        try:
            await replay.open([0])
            assert await replay.run({0: len(records)})
        finally:
            replay.close()
        return (await into.load_checkpoints(VERSION))[0].oldest_timer_bucket  # type: ignore[attr-defined,no-any-return]

    return asyncio.run(run())


def test_a_store_that_refuses_the_index_once_gets_it_whole_with_the_next_try() -> None:
    into = store()
    unwell = Unwell(into)
    replayed([record(0, event("received", 1, 1000), 1000)], unwell, 1001)
    assert unwell.refused == 1
    [timer] = asyncio.run(into.scan(TIMERS))
    assert [row["bucket_hour"] for row in asyncio.run(into.scan(BUCKETS))] == [timer["bucket_hour"]], "else nobody ever finds the timer"


def test_a_timer_that_a_later_round_arms_in_an_earlier_hour_is_found() -> None:
    into, log = store(), [record(0, event("received", 1, 10_800), 10_800), record(1, event("sent", 1, 10_801), 10_801)]
    assert replayed(log, into, 20_000) == 3, "nobody waits: from the last record on"
    log.append(record(2, event("received", 2, 10_738.5), 10_798))  # another broker leads now, and its clock is behind
    assert replayed(log, into, 20_000) == 2
    assert [row["bucket_hour"] for row in asyncio.run(into.scan(TIMERS))] == [2]


@pytest.mark.parametrize(
    ("asked_s", "now_s", "why"),
    [
        (3590.0, 3591.0, "what comes sooner may be armed yet"),
        (3590.0, 9000.0, "by a record that was appended while the last round was under way"),
        (3539.9995, 4000.0, "an hour of the index is of µs, one of the wheel of ms"),
    ],
)
def test_the_checkpoint_begins_no_later_than_the_last_record_and_the_oldest_timer(asked_s: float, now_s: float, why: str) -> None:
    assert replayed([record(0, event("received", 1, asked_s), asked_s)], store(), now_s) == 0, why


@pytest.mark.parametrize("cached", [1, 100])
def test_who_had_no_timer_any_more_hears_of_rules_with_the_next_record_also_when_read_back(cached: int) -> None:
    others = [record(n, event("sent", 3, 1210 + n), 1210 + n) for n in range(4, 8)]
    book = record(2, published(rules(90, 1), 1200), 1200)
    log = [record(0, event("received", 1, 1000), 1000), record(1, event("sent", 2, 1001), 1001), book, record(3, event("sent", 2, 1201), 1201)]
    into = store()
    replayed([*log, *others, record(8, event("received", 1, 1300, conversation="b"), 1300)], into, 1301, cached)
    told = [row["sums"] for row in asyncio.run(into.scan("tone_v1")) if row["tone"] == "rules"]
    assert told == [{"told": 1}]
