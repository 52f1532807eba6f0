"""Rebuilds in the middle of what is replayed together: a replay that dies anywhere among them and goes on is the straight one."""

import asyncio

import pytest

from projections.rules import Config
from streams.engine import Engine
from streams.rebuild.rebuilding import Rebuilder
from streams.records import RawRecord
from streams.replay.replay import Replay
from streams.replay.seen import Seen
from tests.support.clockwork import CODEC, event, published, record, rules, store
from tests.support.memory_log import Killed, MemoryLog, Mortal
from tests.support.repairing import MENDED, Listed, rebuild

TABLES = ("ring_v1", "heard_v1", "tone_v1", "clockwork_v1_state", "parked_customer")
WRITES = 25
"""More than there are."""


def replayed(log: list[RawRecord], lives: int, chunk_records: int = 1000) -> dict[str, list[str]]:
    """Replay a log by a process that dies after so many writes, and by another one; return what is in the tables then."""

    async def run() -> dict[str, list[str]]:
        into = store()
        for left in (lives, 10**9):
            mortal = Mortal(into, left)
            engine = Engine(MENDED, CODEC, tenant="acme", cached_subjects_max=100, config=Config((rules(60),)))
            rebuilder = Rebuilder(engine, mortal, Listed(into, log), codec=CODEC)  # type: ignore[arg-type]
            replay = Replay(
                engine,
                mortal,  # type: ignore[arg-type]  # what it does not say itself the store says
                MemoryLog({0: log}),
                CODEC,
                first=0,
                chunk_records=chunk_records,
                now_us=lambda: 0,
                seen=Seen(64),
                rebuild=rebuilder.rebuild,
            )
            try:
                await replay.open([0])
                assert await replay.run({0: len(log)})
            except Killed:
                continue
            finally:
                replay.close()
        return {table: sorted(map(repr, await into.scan(table))) for table in TABLES}

    return asyncio.run(run())


@pytest.mark.parametrize("answered_s", [1020, 1065, 1305])
def test_a_customer_who_is_rebuilt_twice_stands_each_time_as_in_the_straight_run(answered_s: int) -> None:
    log = [
        record(0, event("received", 1, 1000), 1000),
        rebuild(1, 1, 1010),
        record(2, event("sent", 1, answered_s), answered_s),
        record(3, event("received", 1, answered_s + 1, conversation="b"), answered_s + 1),
        record(4, event("received", 2, 1306), 1306),
        rebuild(5, 1, 1310),
        record(6, event("received", 2, 2000, conversation="d"), 2000),
    ]
    straight = replayed(log, 10**9)
    assert straight["ring_v1"]
    for lives in range(WRITES):
        assert replayed(log, lives) == straight, f"after {lives} writes"


@pytest.mark.parametrize("chunk_records", range(1, 6))
def test_rules_at_the_end_of_a_chunk_are_told_once_to_who_is_rebuilt_behind_it(chunk_records: int) -> None:
    log = [
        record(0, event("received", 1, 1000), 1000),
        record(1, event("received", 2, 1061), 1061),
        record(2, published(rules(90, 1), 1062), 1062),  # time passes for the first customer before it, and it hears of nothing yet
        rebuild(3, 1, 1063),
        record(4, event("opened", 2, 9000), 9000),
    ]
    assert "'rules'" in str(told := replayed(log, 10**9, 1000)["tone_v1"])
    counted = [row.partition("'applied_offset'")[0] for row in replayed(log, 10**9, chunk_records)["tone_v1"]]
    assert counted == [row.partition("'applied_offset'")[0] for row in told]
